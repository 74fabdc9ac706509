"""What stands in for labels: distorted images that have to find themselves, and the gate on it."""

import numpy as np
import pytest
from PIL import Image

from lookalike.config.sections import EvaluationConfig
from lookalike.evaluation.quality import judge_copies
from lookalike.evaluation.ranking import copy_ranks
from lookalike.pipeline.gate import Baseline, Reached, gate_problems
from tests.unit.evaluation.test_quality import MeanBrightness, material

EYE = np.eye(4, dtype=np.float32)
IDS = np.array(list("abcd"))


def test_the_rank_counts_all_images_that_are_nearer():
    queries = np.array([[1, 0.5, 0.4, 0.3], [0.9, 0.8, 0.7, 0.6]], np.float32)
    assert copy_ranks(queries, EYE, IDS, np.array([0, 3])).tolist() == [1, 4]
    assert copy_ranks(queries, EYE, IDS, np.array([2, 2])).tolist() == [3, 3]


def test_another_row_of_the_same_image_is_the_image():
    assert copy_ranks(EYE[:1], EYE, np.array(["a", "b", "c", "a"]), np.array([3])).tolist() == [1]


def test_an_embedding_in_which_all_are_equal_finds_nothing():
    equal = np.zeros((4, 4), np.float32)
    assert copy_ranks(equal, equal, IDS, np.arange(4)).tolist() == [4] * 4


def test_without_queries_or_other_images():
    assert copy_ranks(EYE[:0], EYE, IDS, np.arange(0)).tolist() == []
    assert copy_ranks(EYE[:1], EYE[:1], IDS[:1], np.array([0])).tolist() == [1]


def test_distorted_images_find_themselves(tmp_path):
    brightness = [10, 70, 130, 190, 250]
    for row, value in enumerate(brightness):
        Image.new("RGB", (60, 50), (value,) * 3).save(tmp_path / f"{row}.png")
    rows = material(
        [""] * 5, [[value / 255] for value in brightness], is_train=[True, False] * 2 + [True], query_rows=[1, 3]
    )
    found = judge_copies(EvaluationConfig(), rows, 10, tmp_path, MeanBrightness())
    assert found["n_copy_queries"] == 2
    assert found["copy_recall_at_10"] == 1.0
    assert found == judge_copies(EvaluationConfig(), rows, 10, tmp_path, MeanBrightness())
    assert judge_copies(EvaluationConfig(), rows, 1, tmp_path, MeanBrightness())["n_copy_queries"] == 1
    assert judge_copies(EvaluationConfig(), rows, 0, tmp_path, MeanBrightness()) == {}


UNLABELLED = {
    "n_images": 500,
    "n_queries": 100,
    "recall_at_10": 0.99,
    "recall_at_10_interval": [0.98, 1.0],
    "copy_recall_at_1": 0.4,
    "copy_recall_at_10": 0.6,
    "n_copy_queries": 100,
}


@pytest.mark.parametrize(
    ("recall", "before", "problem"),
    [
        (0.3, None, None),
        (0.29, None, "copy_recall_at_10 is 0.2900 (100 queries), evaluation.min_copy_recall_at_10 demands 0.3"),
        (0.6, 0.64, None),
        (0.6, 0.7, "copy_recall_at_10 is 0.6000, build abc reached 0.7000"),
    ],
)
def test_the_gate_holds_a_collection_without_labels_to_its_copies(recall, before, problem):
    reached = {} if before is None else {"copy_recall_at_10": Reached(before, "abc"), "accuracy": Reached(1.0, "abc")}
    metrics = UNLABELLED | {"copy_recall_at_10": recall}
    problems = gate_problems(metrics, EvaluationConfig(), Baseline(reached), "no rejects")
    assert [text.startswith(problem) for text in problems] == ([True] if problem else [])
