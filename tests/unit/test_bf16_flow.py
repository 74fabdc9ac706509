"""From images to a query in one process, in fp32 and in bf16, with one replica and with two, on every machine."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from lookalike.embedding.table import load_embeddings
from lookalike.search import QueryResult, Searcher
from lookalike.training import loop
from tests.state import unchanged_state
from tests.tiny_build import folder_source, run_build
from tests.tiny_model import make_images

FLOWS = [("fp32", 1), ("fp32", 2), ("bf16", 1), ("bf16", 2)]
SETTINGS = [
    "training.unfrozen_epochs=2",
    "training.final_head_epochs=1",
    "training.batch_size=16",
    # An untrained network is no good one: its neighbors may differ by more than is demanded of a real one.
    "embedding.precision_check_rows=0",
]


@dataclass(frozen=True)
class Flow:
    precision: str
    replicas: int
    root: Path
    outcome: dict[str, Any]
    answer: QueryResult

    def folder(self, stage: str) -> Path:
        return self.root / self.outcome["artifacts"][stage]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("bf16"), per_label=12)


@pytest.fixture(scope="module")
def flows(warm, images, tmp_path_factory):
    """The flow by precision and number of replicas; no stage of any leaves a trace, nor does the query."""
    return {key: run_flow(*key, images, tmp_path_factory.mktemp("flow")) for key in FLOWS}


def run_flow(precision: str, replicas: int, images: Path, root: Path) -> Flow:
    settings = [f"training.precision={precision}", f"embedding.precision={precision}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "replica_count", lambda batch_size, device: replicas)
        outcome = run_build(root, [*folder_source(images), *SETTINGS, *settings], around_stage=unchanged_state)
    with unchanged_state():
        answer = Searcher.open(root).query(images / "red" / "03.png", 5)
    return Flow(precision, replicas, root, outcome, answer)


@pytest.fixture(params=FLOWS, ids=lambda key: "{} with {} replicas".format(*key))
def flow(request, flows):
    return flows[request.param]


def test_every_stored_tensor_is_fp32(flow):
    tensors = load_file(flow.folder("fine_tune") / "model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} <= {"float32", "int64"}


def test_embeddings_are_float32(flow):
    shards = sorted(flow.folder("embed_all").glob("shards/embeddings-*.parquet"))
    assert shards
    assert {str(pq.read_schema(shard).field("embedding").type.value_type) for shard in shards} == {"float"}
    assert load_embeddings(flow.folder("embed_all")).vectors.dtype == np.float32


def test_the_precision_used_is_the_one_asked_for_and_is_recorded(flow):
    assert {flow.outcome["summaries"][stage]["precision"] for stage in ("fine_tune", "embed_all")} == {flow.precision}
    assert json.loads((flow.folder("fine_tune") / "model.json").read_text())["training_precision"] == flow.precision


def test_an_image_finds_itself_and_its_like(flow):
    first, *others = flow.answer.neighbors
    assert first.path == "red/03.png"
    assert first.similarity > 0.99
    assert {neighbor.label for neighbor in others} == {"red"}


@pytest.mark.parametrize("replicas", [1, 2])
def test_bf16_gives_nearly_the_vectors_and_answers_of_fp32(flows, replicas):
    single, half = flows["fp32", replicas], flows["bf16", replicas]
    ours, theirs = (load_embeddings(flow.folder("embed_all")).vectors for flow in (half, single))
    ours, theirs = (vectors - vectors.mean(axis=0) for vectors in (ours, theirs))
    cosines = (ours * theirs).sum(axis=1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    assert cosines.min() > 0.97
    assert (cosines < 0.999999).any(), "nothing was computed in bf16"
    for mine, other in zip(half.answer.neighbors, single.answer.neighbors, strict=True):
        assert mine.similarity == pytest.approx(other.similarity, abs=0.05)
