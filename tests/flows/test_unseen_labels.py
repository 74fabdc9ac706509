"""Labels that are left out of training: in the index and in the figures all the same."""

from pathlib import Path

import pytest

from lookalike.config.loading import load_config
from lookalike.pipeline.registry import Plan, find_stages, run_stage
from lookalike.store.artifacts import Store
from tests.tiny_build import TINY_SETTINGS, folder_source, run_build
from tests.tiny_model import make_images


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A root, the settings of its build, and the outcome."""
    folder = tmp_path_factory.mktemp("unseen")
    settings = [
        *folder_source(make_images(folder / "images", per_label=10)),
        "training.unseen_labels=[green]",
        "training.retrain=on_new_labels",
        "evaluation.distorted_queries=4",
    ]
    return folder / "root", settings, run_build(folder / "root", settings)


def test_they_are_embedded_and_judged(built):
    root, _, outcome = built
    metrics = outcome["metrics"]
    assert metrics["n_images"] == 30
    unseen = metrics["unseen_labels"]
    assert (unseen["n_labels"], unseen["n_queries"]) == (1, 2)
    # All that is asked there is green.
    assert unseen["among_unseen"]["precision_at_10"] == 1.0
    assert 0 <= unseen["among_all"]["precision_at_10"] <= 1
    assert metrics["distorted"]["n_queries"] == 4
    report = (root / outcome["artifacts"]["evaluate_recall"] / "report.md").read_text()
    assert "1 labels that the network was not trained on, among themselves | 1 | 1 | 1 |" in report
    assert "4 queries strongly distorted" in report


def test_a_label_that_is_not_to_be_trained_is_no_new_label(built):
    root, settings, _ = built
    config = load_config(None, [*TINY_SETTINGS, f"artifacts.root={root}", *settings])
    for setting in ("training.unseen_labels=[green, purple]", "training.unseen_labels=[]"):
        changed = load_config(None, [*TINY_SETTINGS, f"artifacts.root={root}", *settings, setting])
        assert find_stages(Store(root), Plan(changed))["fine_tune"] is None
    (Path(config.dataset.folder) / "red" / "00.png").rename(Path(config.dataset.folder) / "red" / "other name.png")

    run_stage(Store(root), Plan(config), "download_dataset", {})
    assert find_stages(Store(root), Plan(config))["fine_tune"] is not None
