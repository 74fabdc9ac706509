import pytest

from lookalike.config.sections import DatasetConfig
from lookalike.pipeline.baseline import baseline_of, collection_of
from lookalike.store.events import Build, Event


def build(build_id: str = "new", *, accuracy: float | None = 0.9, n_images: int = 100, **dataset) -> Build:
    section = DatasetConfig(**{"source": "folder", "folder": "/pictures", **dataset}).model_dump(mode="json")
    metrics = {"accuracy": accuracy, "n_images": n_images}
    return Build(
        build_id=build_id,
        created_at="2026-11-25T00:00:00+00:00",
        config={"dataset": section, "training": {}, "query": {}},
        config_digest="0",
        collection=collection_of(section),
        artifacts={},
        metrics={name: value for name, value in metrics.items() if value is not None},
    )


def history(*happened: tuple[str, Build]) -> list[Event]:
    return [Event(kind=kind, sequence=n, at="", build=one) for n, (kind, one) in enumerate(happened, start=1)]


def reached(events: list[Event], new: Build | None = None) -> float | None:
    figure = baseline_of(events, new or build(), 0.05).figures.get("accuracy")
    return figure.value if figure else None


def test_nothing_before():
    before = baseline_of([], build(), 0.05)
    assert (before.figures, before.n_images) == ({}, None)


@pytest.mark.parametrize(
    ("kind", "counts"), [("published", True), ("rolled_back", True), ("refused", False), ("experiment", False)]
)
def test_only_what_was_published_counts(kind, counts):
    events = history((kind, build("old", accuracy=0.95)))
    assert reached(events) == (0.95 if counts else None)
    assert baseline_of(events, build(), 0.05).n_images == (100 if counts else None)


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.90, 0.95, 0.93], 0.95),
        ([0.95, 0.91, 0.91], 0.95),  # Little by little would be 0.91.
        ([0.9595, 0.887], 0.887),  # Published all the same, so it was meant.
        ([0.9595, 0.887, 0.92], 0.92),
        ([0.9, None, 0.88], 0.9),
    ],
)
def test_the_best_figure_counts_until_a_fall_was_meant(accuracies, expected):
    assert reached(history(*(("published", build(str(n), accuracy=a)) for n, a in enumerate(accuracies)))) == expected


def test_going_back_accepts_the_lower_figures():
    good, worse = build("good", accuracy=0.99), build("worse", accuracy=0.9)
    assert reached(history(("published", worse), ("published", good))) == 0.99
    assert reached(history(("published", worse), ("published", good), ("rolled_back", worse))) == 0.9


def test_the_number_of_images_is_that_of_the_newest():
    before = baseline_of(
        history(("published", build("a", n_images=9)), ("published", build("b", n_images=5))), build(), 0
    )
    assert (before.n_images, before.build_id) == (5, "b")


@pytest.mark.parametrize(
    ("changes", "same_images", "same_figures"),
    [
        ({"exclude_labels": ("dogs",)}, True, True),
        ({"folder": "/pictures/../pictures"}, True, True),
        ({"seed": 1}, True, False),
        ({"valid_fraction": 0.5}, True, False),
        ({"folder": "/others"}, False, False),
        ({"source": "caltech101", "folder": None}, False, False),
        ({"source": "synthetic", "folder": None}, False, False),
    ],
)
def test_what_is_the_same_collection(changes, same_images, same_figures):
    before = baseline_of(history(("published", build("old", **changes))), build(), 0.05)
    assert (before.n_images is not None, bool(before.figures)) == (same_images, same_figures)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"mirrors": ({"url": "https://example.org/a.zip"},)}, {}, True),
        ({"archive": "/a.zip"}, {}, True),
        ({"source": "synthetic"}, {"source": "synthetic", "valid_fraction": 0.3}, True),
        ({"source": "synthetic"}, {"source": "synthetic", "synthetic_labels": 3}, False),
    ],
)
def test_collections_that_are_not_folders(one, other, is_same):
    sections = [DatasetConfig(**{"source": "caltech101", **keys}).model_dump(mode="json") for keys in (one, other)]
    assert (collection_of(sections[0]) == collection_of(sections[1])) is is_same


def test_a_folder_is_known_by_its_whole_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    sections = [{"source": "folder", "folder": name} for name in ("pics", f"{tmp_path}/pics/", "~/pics")]
    assert {collection_of(section)["folder"] for section in sections} == {str(tmp_path / "pics")}


def test_builds_from_before_a_setting_existed_had_its_default():
    old = build("old")
    del old.config["dataset"]["seed"]
    assert reached(history(("published", old))) == 0.9
    old.config["dataset"]["seed"] = 1
    assert reached(history(("published", old))) is None


def test_a_record_of_version_0_1_names_no_collection():
    assert reached(history(("published", build("old").model_copy(update={"collection": None})))) == 0.9
