import pytest

from lookalike.config.sections import EvaluationConfig
from lookalike.pipeline.gate import Baseline, Reached, gate_problems

REJECTS = "120 files were rejected: /art/rejects.parquet"
LABELLED = {"accuracy": 0.95, "precision_at_10": 0.94, "map": 0.92}


def metrics(**changes) -> dict:
    recall = {"recall_at_10": 0.97, "recall_at_10_interval": [0.95, 0.98], "n_queries": 50, "n_images": 180}
    return {name: value for name, value in {**recall, **LABELLED, **changes}.items() if value is not None}


def baseline(n_images: int = 180, **figures: float) -> Baseline:
    return Baseline({name: Reached(value, "before") for name, value in figures.items()}, n_images, "before")


def problems(now: dict, before: Baseline, **settings) -> list[str]:
    return gate_problems(now, EvaluationConfig(**settings), before, REJECTS)


def test_a_first_build_is_held_to_its_recall_alone():
    assert problems(metrics(), Baseline()) == []
    (problem,) = problems(metrics(recall_at_10_interval=[0.85, 0.99]), Baseline())
    assert problem.startswith("recall_at_10 is 0.9700 (95 % interval 0.8500 to 0.9900, 50 queries), evaluation.min_")


@pytest.mark.parametrize("figure", LABELLED)
def test_a_fall_of_any_figure_names_figure_before_now_and_allowed(figure):
    before = baseline(**{**LABELLED, figure: 0.9595})
    (problem,) = problems(metrics(**{figure: 0.887}), before)
    assert problem == (
        f"{figure} is 0.8870, build before reached 0.9595, and evaluation.max_regression allows a fall of 0.05 "
        "(if the fall is meant, allow it once with --set evaluation.max_regression=1)"
    )
    assert problems(metrics(**{figure: 0.887}), before, max_regression=1) == []


@pytest.mark.parametrize(("now", "is_refused"), [(0.85, False), (0.849999, True), (0.9, False), (1.0, False)])
def test_a_fall_of_exactly_what_is_allowed_passes(now, is_refused):
    # 0.9 - 0.05 is a little more than 0.85 in floating point.
    assert bool(problems(metrics(accuracy=now), baseline(accuracy=0.9))) is is_refused


UNLABELLED = dict.fromkeys(LABELLED)


def test_without_labels_the_recall_of_copies_counts():
    before = baseline(copy_recall_at_10=0.99)
    (problem,) = problems(metrics(**UNLABELLED, copy_recall_at_10=0.9), before)
    assert problem.startswith("copy_recall_at_10 is 0.9000, build before reached 0.9900")
    assert problems(metrics(copy_recall_at_10=0.9), before) == [], "labels say more"


def test_figures_that_one_of_the_builds_lacks_are_not_compared():
    assert problems(metrics(**UNLABELLED, copy_recall_at_10=0.9), baseline(**LABELLED)) == []
    assert problems(metrics(), baseline(copy_recall_at_10=0.99)) == []
    assert problems(metrics(**UNLABELLED), baseline(**LABELLED, copy_recall_at_10=0.9)) == []


@pytest.mark.parametrize(
    ("n_images", "allowed", "is_refused"),
    [(60, 0.1, True), (161, 0.1, True), (162, 0.1, False), (500, 0.1, False), (1, 1.0, False), (179, 0.0, True)],
)
def test_a_collection_may_lose_its_share(n_images, allowed, is_refused):
    found = problems(metrics(n_images=n_images), baseline(180), max_shrinkage=allowed)
    assert bool(found) is is_refused


def test_a_shrunken_collection_is_told_why_and_how_to_allow_it():
    (problem,) = problems(metrics(n_images=60), baseline(180))
    assert problem == (
        "the collection has 60 images, build before had 180, and evaluation.max_shrinkage allows a loss of 10% "
        "(120 files were rejected: /art/rejects.parquet); if it is meant to be smaller, allow it once with "
        "--set evaluation.max_shrinkage=1"
    )


def test_all_problems_are_named_together():
    now = metrics(accuracy=0.5, map=0.5, n_images=2, recall_at_10_interval=[0.1, 0.2])
    assert len(problems(now, baseline(**LABELLED))) == 4
