"""Stage build_lsh over shards, and parameters that are measured on the index itself."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.config.sections import IndexConfig
from lookalike.errors import EmbeddingError
from lookalike.lsh import ExactIndex, HyperplaneLSH, load_index, store_parameters, tune_built
from lookalike.lsh.recall import recalls_at_k
from lookalike.stages import build_lsh as stage

from .conftest import clustered_vectors
from .test_engine import assert_equal_answers

DIM = 32


def write_embeddings(folder, vectors, cuts, valid_share=0.2):
    (folder / "shards").mkdir(parents=True)
    names, split = [], np.where(np.random.default_rng(0).random(len(vectors)) < valid_share, "valid", "train")
    for number, rows in enumerate(np.split(np.arange(len(vectors)), cuts)):
        names.append(f"embeddings-{number:05d}.parquet")
        flat = pa.array(vectors[rows].reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, DIM)
        pq.write_table(
            pa.table({"embedding": column, "split": pa.array(split[rows])}),
            folder / "shards" / names[-1],
            write_page_checksum=True,
        )
    metadata = {
        "format_version": 2,
        "rows": len(vectors),
        "dim": DIM,
        "shards": names,
        "shard_rows": np.diff([0, *cuts, len(vectors)]).tolist(),
        "fingerprint": "f",
        "layer": "pooled",
        "precision": "fp32",
        "preprocessing": {},
    }
    (folder / "embedding.json").write_text(json.dumps(metadata))


@pytest.fixture(scope="module")
def vectors():
    return clustered_vectors(6000, DIM)


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
def test_index_of_shards_does_not_depend_on_their_cuts(tmp_path, vectors, storage):
    config = IndexConfig(storage=storage)
    for name, cuts in (("few", [3000]), ("many", [1, 700, 701, 4200])):
        write_embeddings(tmp_path / name, vectors, cuts)
        stage.build_lsh(config, tmp_path / name, tmp_path / f"{name}-index")
    few, many = (tmp_path / f"{name}-index" for name in ("few", "many"))
    assert {path.name for path in few.iterdir()} == {path.name for path in many.iterdir()}
    for path in few.iterdir():
        assert path.read_bytes() == (many / path.name).read_bytes(), path.name
    assert load_index(few).stats()["storage"] == storage


@pytest.mark.parametrize("held_out", [0.0, 0.3])
def test_parameters_planned_on_a_sample_are_measured_on_the_index(tmp_path, vectors, monkeypatch, held_out):
    monkeypatch.setattr(stage, "_MOST_TUNING_VECTORS", 1000)
    write_embeddings(tmp_path / "e", vectors, [100, 5000], held_out)
    summary = stage.build_lsh(IndexConfig(target_recall=0.9), tmp_path / "e", tmp_path / "i")
    index = load_index(tmp_path / "i")
    assert (index.probes, index.rerank, index.plan) == tuple(summary[name] for name in ("probes", "rerank", "plan"))
    assert summary["tuned_recall"] >= 0.9
    queries = clustered_vectors(200, DIM, seed=5)
    truth = ExactIndex.build(vectors, mean=index.mean).query_batch(queries, 10)
    assert recalls_at_k(index.query_batch(queries, 10), truth, 10).mean() >= 0.88


def test_tune_built_leaves_the_index_and_gives_up_with_a_scan(tmp_path):
    rng = np.random.default_rng(0)
    uniform = rng.standard_normal((3000, 24)).astype(np.float32)
    index = HyperplaneLSH.build(uniform, n_bits=5, n_tables=1, probes=2)
    index.save(tmp_path)
    before = index.query_batch(uniform[:9], 5)
    params = tune_built(index, target_recall=0.999, probes=2)
    assert (params.plan, params.recall, params.probes) == ("scan", 1.0, 2)
    assert_equal_answers(index.query_batch(uniform[:9], 5), before)
    scanning = store_parameters(tmp_path, params)
    assert scanning.plan == "scan"
    assert_equal_answers(scanning.query_batch(uniform[:9], 5), [index.search_exact(row, 5) for row in uniform[:9]])


def test_shards_that_hold_other_numbers_of_rows_are_refused(tmp_path, vectors):
    write_embeddings(tmp_path, vectors, [100])
    metadata = json.loads((tmp_path / "embedding.json").read_text())
    metadata["shard_rows"][0] = 99
    (tmp_path / "embedding.json").write_text(json.dumps(metadata))
    with pytest.raises(EmbeddingError, match="holds 100 rows, expected 99"):
        stage.build_lsh(IndexConfig(), tmp_path, tmp_path / "i")
