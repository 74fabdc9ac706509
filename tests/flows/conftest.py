"""One Prefect server and one tiny build for all tests of this folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A network of a few hundred thousand parameters, untrained: what is tested here is the pipeline.
TINY = [
    "dataset.source=synthetic",
    "dataset.synthetic_labels=3",
    "dataset.synthetic_images_per_label=10",
    "training.backbone=timm:test_efficientnet",
    "training.weights=none",
    "training.image_size=64",
    "training.embedding_units=32",
    "training.frozen_epochs=1",
    "training.unfrozen_epochs=1",
    "training.batch_size=8",
    "embedding.shard_rows=8",
    "evaluation.min_recall_at_10=0.5",
    "query.allow_private_addresses=true",
]


@pytest.fixture(scope="session")
def prefect_server():
    """One server for the session; heartbeats off, since each flow call would wait a second for its thread."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(scope="session")
def build(prefect_server) -> Callable[..., dict[str, Any]]:
    """Run the build flow on the tiny configuration below a root, with further settings."""
    from flows.build import build as build_flow

    def run(root: Path, *settings: str) -> dict[str, Any]:
        return build_flow(None, [*TINY, f"artifacts.root={root}", *settings])

    return run


@pytest.fixture(scope="session")
def built(build, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A root with one published build, and its outcome; tests must not change it."""
    root = tmp_path_factory.mktemp("artifacts root é")
    return root, build(root)


def run_cli(*arguments: str, timeout_seconds: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        env={**os.environ, **environment},
        check=False,
    )


def last_json(text: str) -> dict[str, Any]:
    """The JSON object on the last line of an output."""
    return json.loads(text.strip().splitlines()[-1])
