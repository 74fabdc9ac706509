import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lookalike.config.sections import DatasetConfig, EmbeddingConfig
from lookalike.dataset.storage import open_dataset
from lookalike.embedding.checks import TOLERANCE
from lookalike.embedding.embedder import Embedder
from lookalike.embedding.shards import plan_shards
from lookalike.embedding.table import load_embeddings, load_metadata, load_rows, load_vector
from lookalike.errors import ConfigError, EmbeddingError, ModelError
from lookalike.images.reading import open_image
from lookalike.network.inference import OpenVINORunner, UnsupportedNetworkError, relative_difference
from lookalike.stages import embed_all as stage
from lookalike.stages.download_dataset import download_dataset
from lookalike.stages.embed_all import embed_all
from tests.tiny_model import make_images


@pytest.fixture
def folder(embeddings_folder, tmp_path):
    """A copy of finished embeddings that a test may damage."""
    return shutil.copytree(embeddings_folder, tmp_path / "embeddings")


@pytest.fixture
def own_dataset(tmp_path):
    """Images and dataset that a test may damage."""
    images = make_images(tmp_path / "images", per_label=4)
    download_dataset(DatasetConfig(source="folder", folder=images), tmp_path / "dataset", tmp_path / "downloads")
    return images, tmp_path / "dataset"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shard(folder, number):
    return folder / "shards" / f"embeddings-0000{number}.parquet"


def test_rows_are_those_of_the_catalog_in_order(embeddings_folder, dataset_folder):
    catalog = open_dataset(dataset_folder).catalog
    embeddings = load_embeddings(embeddings_folder)
    assert embeddings.vectors.shape == (catalog.num_rows, 16)
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.vectors.flags.c_contiguous
    for column in ("image_id", "path", "label", "split", "width", "height"):
        assert embeddings.table[column].to_pylist() == catalog[column].to_pylist()


def test_shards_have_padded_names_fixed_rows_and_metadata(embeddings_folder):
    shards = sorted((embeddings_folder / "shards").iterdir())
    assert shards == [shard(embeddings_folder, number) for number in range(4)]
    schema = pq.read_schema(shards[0])
    assert str(schema.field("embedding").type).startswith("fixed_size_list<element: float")
    metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert metadata["lookalike.layer"] == "head.activation"
    assert metadata["lookalike.fingerprint"] == load_metadata(embeddings_folder)["fingerprint"]
    assert [pq.read_metadata(path).num_rows for path in shards] == [8, 8, 8, 6]


def test_pandas_reads_the_folder_of_shards_as_one_table(embeddings_folder):
    table = pd.read_parquet(embeddings_folder / "shards")
    embeddings = load_embeddings(embeddings_folder)
    assert table["path"].tolist() == embeddings.table["path"].to_pylist()
    assert np.array_equal(np.stack(table["embedding"]), embeddings.vectors)


def test_folder_of_an_earlier_version_asks_for_a_new_build(folder):
    description = json.loads((folder / "embedding.json").read_text())
    (folder / "embedding.json").write_text(json.dumps(description | {"format_version": 1}))
    for read in (load_metadata, load_embeddings, load_rows):
        with pytest.raises(EmbeddingError, match=r"has format 1 of an earlier version.*run `lookalike build` again"):
            read(folder)


def test_rows_and_single_vectors_agree_with_the_table(embeddings_folder):
    embeddings = load_embeddings(embeddings_folder)
    assert load_rows(embeddings_folder).equals(embeddings.table)
    for row in (0, 7, 8, 29):
        assert np.array_equal(load_vector(embeddings_folder, row), embeddings.vectors[row])
    for row in (-1, 30):
        with pytest.raises(IndexError, match="from 0 to 29"):
            load_vector(embeddings_folder, row)


@pytest.mark.parametrize(("batch_size", "workers", "shard_rows"), [(1, 1, 8), (7, 3, 8), (32, 2, 100)])
def test_how_the_work_is_cut_changes_no_vector(
    dataset_folder, model_folder, embeddings_folder, tmp_path, batch_size, workers, shard_rows
):
    config = EmbeddingConfig(precision="fp32", shard_rows=shard_rows, batch_size=batch_size, workers=workers)
    embed_all(config, dataset_folder, model_folder, tmp_path)
    found, expected = load_embeddings(tmp_path), load_embeddings(embeddings_folder)
    assert np.allclose(found.vectors, expected.vectors, rtol=1e-4, atol=1e-5)


def test_same_run_twice_gives_the_same_bytes(
    embedding_config, dataset_folder, model_folder, embeddings_folder, tmp_path
):
    embed_all(embedding_config, dataset_folder, model_folder, tmp_path)
    assert contents(tmp_path) == contents(embeddings_folder)


def test_interrupted_run_goes_on_from_its_finished_shards(embedding_config, dataset_folder, model_folder, folder):
    whole = contents(folder)
    for name in ("shards/embeddings-00001.parquet", "embedding.json", "rejects.parquet", "network.xml"):
        (folder / name).unlink()
    kept = shard(folder, 0)
    before = kept.stat().st_ino
    summary = embed_all(embedding_config, dataset_folder, model_folder, folder)
    assert summary.reused_shards == 3
    assert kept.stat().st_ino == before
    assert contents(folder) == whole


def test_damaged_shard_is_made_again(embedding_config, dataset_folder, model_folder, folder):
    whole = contents(folder)
    truncated, flipped = shard(folder, 0), shard(folder, 2)
    truncated.write_bytes(truncated.read_bytes()[:-100])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 3] ^= 1
    flipped.write_bytes(data)
    summary = embed_all(embedding_config, dataset_folder, model_folder, folder)
    assert summary.reused_shards == 2
    assert contents(folder) == whole


def test_shards_of_another_model_are_not_reused(embedding_config, dataset_folder, other_model_folder, folder):
    assert embed_all(embedding_config, dataset_folder, other_model_folder, folder).reused_shards == 0


def test_shards_beyond_the_plan_are_removed(embedding_config, dataset_folder, model_folder, folder):
    shutil.copy(shard(folder, 0), shard(folder, 9))
    embed_all(embedding_config, dataset_folder, model_folder, folder)
    assert not shard(folder, 9).exists()


def test_unreadable_and_changed_images_are_rejects(embedding_config, own_dataset, model_folder, tmp_path):
    images, dataset = own_dataset
    (images / "blue" / "00.png").write_bytes((images / "blue" / "01.png").read_bytes())
    (images / "green" / "02.png").unlink()
    summary = embed_all(embedding_config, dataset, model_folder, tmp_path / "out", max_failure_fraction=0.5)
    rejects = pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    assert (summary.rows, summary.rejects) == (10, 2)
    assert [reject["path"] for reject in rejects] == ["blue/00.png", "green/02.png"]
    assert "changed since" in rejects[0]["error"]
    assert {reject["stage"] for reject in rejects} == {"embed_all"}
    paths = load_rows(tmp_path / "out")["path"].to_pylist()
    assert len(paths) == 10
    assert not {"blue/00.png", "green/02.png"} & set(paths)
    again = embed_all(embedding_config, dataset, model_folder, tmp_path / "out", max_failure_fraction=0.5)
    assert again.rejects == 2


def test_too_many_rejects_fail_the_stage(embedding_config, own_dataset, model_folder, tmp_path):
    images, dataset = own_dataset
    (images / "blue" / "00.png").unlink()
    with pytest.raises(EmbeddingError, match=r"1 of 12 .*max_failure_fraction = 0\.05.*00\.png"):
        embed_all(embedding_config, dataset, model_folder, tmp_path / "out")
    assert not (tmp_path / "out" / "embedding.json").exists()


def test_images_found_damaged_earlier_count_as_rejects_and_strays_do_not(
    embedding_config, own_dataset, model_folder, tmp_path
):
    _, dataset = own_dataset
    description = json.loads((dataset / "dataset.json").read_text())
    for n_rejects, n_stray in ((4, 4), (4, 3)):
        description["counts"] |= {"n_rejects": n_rejects, "n_stray": n_stray}
        (dataset / "dataset.json").write_text(json.dumps(description))
        if n_rejects == n_stray:
            assert embed_all(embedding_config, dataset, model_folder, tmp_path / "out").rejects == 0
        else:
            with pytest.raises(EmbeddingError, match=r"1 of 13 .*see the rejects of download_dataset"):
                embed_all(embedding_config, dataset, model_folder, tmp_path / "out")


def test_only_rejects_fail_the_stage(embedding_config, own_dataset, model_folder, tmp_path):
    shutil.rmtree(own_dataset[0])
    own_dataset[0].mkdir()
    with pytest.raises(EmbeddingError, match="12 of 12"):
        embed_all(embedding_config, own_dataset[1], model_folder, tmp_path / "out", max_failure_fraction=1.0)


def test_wrong_layer_lists_the_layers(embedding_config, dataset_folder, model_folder, tmp_path):
    config = embedding_config.model_copy(update={"layer": "head.lineer"})
    with pytest.raises(ConfigError, match=r"embedding\.layer.*head\.lineer.*head\.linear"):
        embed_all(config, dataset_folder, model_folder, tmp_path)


@pytest.mark.parametrize(("layer", "dim"), [("head.pool", 256), ("head.linear", 16), ("body.blocks.1", 24)])
def test_any_layer_can_be_hooked(embedding_config, dataset_folder, model_folder, tmp_path, layer, dim):
    config = embedding_config.model_copy(update={"layer": layer})
    assert embed_all(config, dataset_folder, model_folder, tmp_path).dim == dim
    assert load_embeddings(tmp_path).metadata["network"] is not None


def test_network_that_cannot_be_converted_is_run_by_torch(
    embedding_config, dataset_folder, model_folder, embeddings_folder, tmp_path, monkeypatch, caplog
):
    def refuse(network, example):
        raise UnsupportedNetworkError("no rule for aten::moody")

    monkeypatch.setattr("lookalike.embedding.model.convert", refuse)
    for precision in ("fp32", "bf16"):
        folder = tmp_path / precision
        config = embedding_config.model_copy(update={"precision": precision})
        caplog.clear()
        assert embed_all(config, dataset_folder, model_folder, folder).precision == precision
        assert [record.message for record in caplog.records if "aten::moody" in record.message] == [
            "OpenVINO cannot run this network, so that torch does, more slowly: no rule for aten::moody"
        ]
        found, expected = load_embeddings(folder), load_embeddings(embeddings_folder)
        assert found.metadata["network"] is None
        assert not (folder / "network.xml").exists()
        assert found.vectors.dtype == np.float32
        assert relative_difference(expected.vectors, found.vectors) < TOLERANCE[precision]
        image = open_image(open_dataset(dataset_folder).root / found.table["path"][3].as_py())
        vector = Embedder.open(model_folder, folder).embed(image)
        assert relative_difference(found.vectors[3], vector) < TOLERANCE[precision]


class AlmostRight(OpenVINORunner):
    def __call__(self, batch):
        return super().__call__(batch) * 1.01


def test_vectors_other_than_those_of_the_hook_are_noticed(
    embedding_config, dataset_folder, model_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("lookalike.embedding.model.OpenVINORunner", AlmostRight)
    with pytest.raises(EmbeddingError, match=r"differs by 0\.01 from the one computed again"):
        embed_all(embedding_config, dataset_folder, model_folder, tmp_path)


def test_rows_shifted_against_their_images_are_noticed(
    embedding_config, dataset_folder, model_folder, tmp_path, monkeypatch
):
    make_shards = stage._make_shards

    def make_and_shift(*arguments):
        result = make_shards(*arguments)
        path = shard(tmp_path, 1)
        table = pq.read_table(path)
        shifted = table["embedding"].combine_chunks().take([1, 2, 3, 4, 5, 6, 7, 0])
        pq.write_table(table.set_column(table.schema.get_field_index("embedding"), "embedding", shifted), path)
        return result

    monkeypatch.setattr(stage, "_make_shards", make_and_shift)
    with pytest.raises(EmbeddingError, match="differs by"):
        embed_all(embedding_config, dataset_folder, model_folder, tmp_path)


def test_missing_shard_is_a_clear_error(folder):
    shard(folder, 3).unlink()
    with pytest.raises(EmbeddingError, match="embeddings-00003"):
        load_embeddings(folder)


def test_damaged_model_is_a_clear_error(embedding_config, dataset_folder, model_folder, tmp_path):
    damaged = shutil.copytree(model_folder, tmp_path / "model")
    data = bytearray((damaged / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="digest"):
        embed_all(embedding_config, dataset_folder, damaged, tmp_path / "out")


@pytest.mark.parametrize(("rows", "size", "edges"), [(0, 4, []), (4, 4, [(0, 4)]), (9, 4, [(0, 4), (4, 8), (8, 9)])])
def test_plan_shards(rows, size, edges):
    assert [(shard.start, shard.stop) for shard in plan_shards(rows, size)] == edges
