import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from flows.build import already_checked
from flows.cli import main
from lookalike.config.loading import load_config
from lookalike.dataset import listing
from lookalike.errors import ConfigError, QualityGateError
from lookalike.pipeline.registry import STAGES, Plan
from lookalike.search import Searcher
from lookalike.store.artifacts import Store
from lookalike.store.events import read_events
from tests.flows.conftest import TINY
from tests.tiny_build import folder_source
from tests.tiny_model import make_images

# The order of the calls in the flow must be that of the registry.
STEPS = list(STAGES)


@pytest.fixture
def copied_root(built, tmp_path) -> Path:
    root = tmp_path / "root"
    shutil.copytree(built[0], root)  # Keeps modification times, so that everything is still fresh.
    return root


def built_steps(outcome) -> list[str]:
    return [step for step, state in outcome["steps"].items() if state == "built"]


def test_the_first_build_makes_everything_and_publishes(built):
    root, outcome = built
    assert built_steps(outcome) == STEPS
    assert outcome["published"]
    assert json.loads((root / "current.json").read_text())["build_id"] == outcome["build_id"]
    for relative in outcome["artifacts"].values():
        assert (root / relative).is_dir()


def test_the_metrics_hold_every_public_figure(built):
    root, outcome = built
    metrics = outcome["metrics"]
    assert metrics == json.loads((root / outcome["artifacts"]["evaluate_recall"] / "metrics.json").read_text())
    for name in ("recall_at_1", "recall_at_10", "recall_at_100", "candidate_fraction", "precision_at_1",
                 "precision_at_10", "map", "accuracy"):  # fmt: skip
        assert 0 <= metrics[name] <= 1, name
    assert metrics["n_images"] == 30
    assert metrics["n_queries"] == 6
    for engine in ("lsh", "exact"):
        assert 0 < metrics["latency_ms"][engine]["p50"] <= metrics["latency_ms"][engine]["p95"]
    assert set(metrics["baselines"]) == {"lshash3"}


def test_a_second_build_does_nothing_and_changes_nothing(build, built):
    root, first = built
    before = (root / "current.json").read_bytes()
    again = build(root)
    assert built_steps(again) == []
    assert again["build_id"] == first["build_id"]
    assert (root / "current.json").read_bytes() == before


def test_an_index_setting_rebuilds_index_and_evaluation_alone(build, copied_root):
    outcome = build(copied_root, "index.n_bits=3", "index.n_tables=4", "index.probes=2")
    assert built_steps(outcome) == ["build_lsh", "evaluate_recall"]


def test_a_query_setting_rebuilds_nothing_but_is_published(build, copied_root):
    outcome = build(copied_root, "query.n=3")
    assert built_steps(outcome) == []
    assert len(Searcher.open(copied_root).query(f"id:{any_image_id(copied_root)}").neighbors) == 3


def any_image_id(root: Path) -> str:
    from lookalike.dataset.storage import open_dataset

    record = Store(root).read_current()
    return open_dataset(root / record["artifacts"]["download_dataset"]).catalog["image_id"][0].as_py()


def test_a_deleted_shard_rebuilds_the_embedding_to_the_same_bytes(build, copied_root):
    record = Store(copied_root).read_current()
    (copied_root / record["artifacts"]["embed_all"] / "shards" / "embeddings-00001.parquet").unlink()
    outcome = build(copied_root)
    assert built_steps(outcome) == ["embed_all"]
    assert Store(copied_root).read_current()["digests"] == record["digests"]


def test_a_flipped_byte_of_the_model_rebuilds_the_model(build, copied_root):
    record = Store(copied_root).read_current()
    path = copied_root / record["artifacts"]["fine_tune"] / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert "fine_tune" in built_steps(build(copied_root))


def test_the_gate_refuses_and_the_old_build_stays(build, copied_root):
    before = (copied_root / "current.json").read_bytes()
    settings = ("index.n_bits=1", "index.n_tables=1", "index.probes=1", "evaluation.min_recall_at_10=1.0")
    # lshash3 in plain mode: our own engine fills up a short answer by an exact scan on so small a collection.
    with pytest.raises(
        QualityGateError, match=r"recall_at_10 is 0\.\d+ .*demands 1\.0.*nothing was published"
    ) as caught:
        build(copied_root, "index.engine=lshash3", *settings)
    assert not caught.value.outcome["published"]
    assert (copied_root / "current.json").read_bytes() == before
    refused = read_events(copied_root)[-1]
    assert (refused.kind, refused.build_id) == ("refused", caught.value.outcome["build_id"])


def test_a_collection_that_shrank_is_refused_before_training(build, tmp_path):
    images = make_images(tmp_path / "images")
    root, settings = (
        tmp_path / "root",
        (*folder_source(images), "evaluation.min_recall_at_10=0", "dataset.max_failure_fraction=1"),
    )
    build(root, *settings)
    for path in sorted(images.rglob("*.png"))[::3]:
        path.write_bytes(b"")
    with pytest.raises(QualityGateError, match=r"has 16 images, .* had 24, .* \(8 files were rejected: /") as caught:
        build(root, *settings)
    assert caught.value.outcome["steps"] == {"download_dataset": "built"}
    assert build(root, *settings, "evaluation.max_shrinkage=1", "evaluation.max_regression=1")["published"]


def test_a_lower_demand_publishes_without_measuring_again(build, copied_root):
    outcome = build(copied_root, "evaluation.min_recall_at_10=0.1")
    assert built_steps(outcome) == []
    assert outcome["published"]


def test_a_cached_stage_is_shown_as_such(build, built):
    from prefect.client.orchestration import get_client

    build(built[0])
    with get_client(sync_client=True) as client:
        newest = client.read_task_runs(limit=200)
    assert "Cached" in {run.state_name for run in newest}


def test_the_query_flow_answers_like_the_searcher(built):
    from flows.query import query

    root, _ = built
    source = f"id:{any_image_id(root)}"
    answer = query([source, "absent.jpg"], n=4, root=str(root))
    assert answer[0]["neighbors"] == Searcher.open(root).query(source, 4).as_json()["neighbors"]
    assert "absent.jpg does not exist" in answer[1]["error"]


def test_the_query_flow_refuses_wrong_parameters(prefect_server):
    from prefect.exceptions import ParameterTypeError

    from flows.query import query

    with pytest.raises(ParameterTypeError):
        query(["a.jpg"], n=0)


def test_a_searcher_stays_with_its_root_when_the_process_moves(built, tmp_path, monkeypatch):
    monkeypatch.chdir(built[0].parent)
    searcher = Searcher.open(built[0].name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (30, 20), (9, 8, 7)).save(tmp_path / "query.png")
    assert len(searcher.query("~/query.png", 3).neighbors) == 3


@pytest.fixture
def reads(monkeypatch) -> Counter[str]:
    """How often a folder was listed, and how often a file was hashed, by path."""
    counts: Counter[str] = Counter()
    list_files, file_digest = listing.list_files, hashlib.file_digest

    def counted_list(root, *arguments, **options):
        counts[str(root)] += 1
        return list_files(root, *arguments, **options)

    def counted_digest(stream, name):
        counts[stream.name] += 1
        return file_digest(stream, name)

    monkeypatch.setattr(listing, "list_files", counted_list)
    monkeypatch.setattr(hashlib, "file_digest", counted_digest)
    return counts


def options(*settings: str) -> list[str]:
    return [argument for setting in (*TINY, *settings) for argument in ("--set", setting)]


def test_a_build_lists_its_folder_once_and_the_next_one_lists_it_again(prefect_server, reads, tmp_path, capsys):
    images = make_images(tmp_path / "images")
    settings = options(*folder_source(images), f"artifacts.root={tmp_path / 'root'}", "dataset.exclude_labels=[red]")
    for count, name in ((1, "blue/first.png"), (2, "blue/second.png")):
        Image.new("RGB", (20, 20), (0, 0, 50 * count)).save(images / name)
        assert main(["build", *settings, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["steps"]["download_dataset"] == "built"
        assert reads[str(images)] == count


def test_a_build_hashes_its_archive_once(prefect_server, reads, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "pictures"), "zip", make_images(tmp_path / "images")))
    source = ("dataset.source=caltech101", f"dataset.archive={archive}", "dataset.exclude_labels=[red]")
    assert main(["build", *options(*source, f"artifacts.root={tmp_path / 'root'}")]) == 0
    assert reads[str(archive)] == 1


def test_what_was_checked_for_another_configuration_is_checked_again(build, tmp_path):
    with already_checked(Plan(load_config(None, TINY))), pytest.raises(ConfigError, match="there is no layer 'wrong'"):
        build(tmp_path, "embedding.layer=wrong")
