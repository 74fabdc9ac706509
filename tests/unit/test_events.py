import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import ArtifactError
from lookalike.pipeline.descriptions import describe_builds, describe_experiments, describe_outcome, describe_status
from lookalike.pipeline.garbage import clear
from lookalike.pipeline.maintenance import list_builds, list_experiments, roll_back, verify
from lookalike.pipeline.publishing import RefusedBuildError, find_status, publish, record_experiment, refuse_if_shrunken
from lookalike.store.artifacts import Store
from lookalike.store.events import append_event, find_build, make_current, read_current, read_event, read_events
from lookalike.store.manifests import MANIFEST, read_manifest
from tests.staged import config_of, staged

# Written by version 0.1.0, which had no events.
EARLIER_ROOT = Path(__file__).parents[1] / "data" / "earlier_root"
EARLIER_BUILD = "285850a1e7c2"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "root")


def published(store: Store, content: object = 0, *settings: str, **metrics) -> str:
    return publish(store, config_of(store, *settings), staged(store, content, **metrics), 0.0)["build_id"]


def refused(store: Store, content: object = 0, **metrics) -> str:
    with pytest.raises(RefusedBuildError) as refusal:
        published(store, content, "evaluation.min_recall_at_10=1", **metrics)
    return refusal.value.outcome["build_id"]


def test_a_refusal_of_the_published_build_takes_nothing_back(store):
    """Thresholds are no part of a build's id."""
    first, second = published(store, 1), published(store, 2)
    assert refused(store, 2) == second
    builds = list_builds(store)
    assert [build["build_id"] for build in builds] == [first, second]
    assert all(build["published"] and build["is_complete"] for build in builds)
    assert [event["event"] for event in builds[1]["events"]] == ["published", "refused"]
    assert "evaluation.min_recall_at_10 demands 1.0" in builds[1]["events"][1]["reasons"][0]
    assert describe_builds(builds).splitlines()[2].endswith("refused since")
    roll_back(store, first)
    assert clear(store, keep=2, grace_seconds=0) == []
    assert roll_back(store, second).build_id == second


def test_status_tells_of_a_refusal_that_is_newer_than_what_is_published(store):
    first = published(store, 1)
    assert find_status(store, None)["latest"] == {
        "event": "published",
        "at": read_events(store.root)[-1].at,
        "build_id": first,
        "reasons": [],
    }
    second = refused(store, 2)
    status = find_status(store, None)
    assert status["published"]["build_id"] == first
    assert (status["latest"]["event"], status["latest"]["build_id"]) == ("refused", second)
    assert f"refused since: build {second} of " in describe_status(status | {"published": None})
    record_experiment(store, config_of(store), staged(store, 3), "trial")
    assert find_status(store, None)["latest"]["build_id"] == second


def test_every_refusal_is_an_event_and_an_unchanged_publication_is_none(store):
    published(store)
    published(store)
    refused(store)
    refused(store)
    assert [event.kind for event in read_events(store.root)] == ["published", "refused", "refused"]
    published(store, 0, "query.n=3")
    assert read_events(store.root)[-1].kind == "published", "another configuration"


def test_rollback_goes_to_another_build_and_to_the_newest_configuration(store):
    first = published(store, 1)
    published(store, 1, "query.n=3")
    second = published(store, 2)
    published(store, 2, "query.n=4")
    assert roll_back(store, None).build_id == first
    assert store.read_current()["config"]["query"]["n"] == 3
    with pytest.raises(ArtifactError, match=f"no build was published before the current one, {first}"):
        roll_back(store, None)
    assert roll_back(store, second).config["query"]["n"] == 4


def test_an_experiment_cannot_become_current(store):
    published(store, 1)
    trial = record_experiment(store, config_of(store), staged(store, 2), "trial")
    with pytest.raises(ArtifactError, match=f"build {trial} is the experiment trial, which no gate has seen; publish"):
        roll_back(store, trial)
    assert published(store, 2) == trial
    published(store, 1)
    assert roll_back(store, trial).build_id == trial


def test_an_early_refusal_is_listed_without_figures(store):
    published(store, n_images=180)
    dataset = staged(store, n_images=60, n_rejects=120)["download_dataset"]
    with pytest.raises(RefusedBuildError, match=r"has 60 images, build \w+ had 180") as refusal:
        refuse_if_shrunken(store, config_of(store), 0.0, dataset)
    assert f"120 files were rejected: {dataset.artifact.folder / 'rejects.parquet'}" in str(refusal.value)
    assert refusal.value.exit_code == 3
    assert refusal.value.outcome["steps"] == {"download_dataset": "built"}
    assert describe_outcome(refusal.value.outcome, store.root).endswith("  60 images")
    row = list_builds(store)[-1]
    assert (row["n_images"], row["accuracy"], row["published"], row["is_complete"]) == (60, None, False, False)
    assert describe_builds(list_builds(store)).splitlines()[2].endswith("refused")
    with pytest.raises(ArtifactError, match="was refused by its gate"):
        roll_back(store, row["build_id"])
    refuse_if_shrunken(store, config_of(store, "evaluation.max_shrinkage=1"), 0.0, dataset)


def test_the_gate_refuses_a_shrunken_collection_too(store):
    published(store, n_images=180)
    with pytest.raises(RefusedBuildError, match=r"evaluation\.max_shrinkage allows a loss of 10%"):
        published(store, n_images=60)
    published(store, 0, "evaluation.max_shrinkage=1", n_images=60)
    published(store, 1, n_images=59)


def test_accuracy_that_falls_is_refused_whatever_is_current(store):
    """As when a forced precision published 0.887 after 0.9595: another build may have been current in between."""
    published(store, 1, accuracy=0.9595)
    published(store, 2, "dataset.seed=1", accuracy=0.5)
    with pytest.raises(RefusedBuildError, match=r"accuracy is 0\.8870, build \w+ reached 0\.9595"):
        published(store, 3, "training.precision=bf16", accuracy=0.887)


def test_what_experiments_reached_is_demanded_of_nobody(store):
    record_experiment(store, config_of(store), staged(store, 1, accuracy=0.99), "trial")
    published(store, 2, accuracy=0.8)


def test_an_unchanged_experiment_is_recorded_once(store):
    ids = [record_experiment(store, config_of(store), staged(store, content), "trial") for content in (1, 1, 2, 1)]
    assert [event.build_id for event in read_events(store.root)] == [ids[0], ids[2], ids[0]]
    assert [line.split()[-1] for line in describe_experiments(list_experiments(store)).splitlines()[1:]] == [
        "trial"
    ] * 2


@pytest.mark.parametrize(("given_id", "found"), [("abc1", "abc1"), ("abc", "abc"), ("abd", "abd9"), ("abc12", "abc12")])
def test_a_build_is_found_by_its_id_or_the_beginning_of_it(store, given_id, found):
    assert find_build(builds_called(store, "abc", "abc1", "abc12", "abd9"), given_id).build_id == found


@pytest.mark.parametrize(
    ("given_id", "message"),
    [
        ("ab", "ab is the beginning of several builds: abc1, abd9"),
        ("abe", "there is no build 'abe'; there are: abc1, abd9"),
        ("", "there is no build ''"),
        ("abc11", "there is no build 'abc11'"),
    ],
)
def test_an_id_that_fits_none_or_several_is_one_line(store, given_id, message):
    with pytest.raises(ArtifactError, match=message):
        find_build(builds_called(store, "abc1", "abd9"), given_id)


def builds_called(store: Store, *names: str):
    published(store)
    build = read_current(store.root).build
    shutil.rmtree(store.root / "events")
    (store.root / "current.json").unlink()
    for name in names:
        append_event(store.root, "published", build.model_copy(update={"build_id": name}))
    return read_events(store.root)


# The root of an earlier version.


@pytest.fixture
def earlier(tmp_path) -> Store:
    return Store(Path(shutil.copytree(EARLIER_ROOT, tmp_path / "artifacts")))


def test_the_published_build_of_an_earlier_root_is_read(earlier):
    assert [(event.kind, event.build_id) for event in read_events(earlier.root)] == [("published", EARLIER_BUILD)]
    (row,) = list_builds(earlier)
    assert (row["build_id"], row["published"], row["is_current"]) == (EARLIER_BUILD, True, True)
    assert describe_builds([row]).count("cleared away") == 1
    assert find_status(earlier, None)["published"]["build_id"] == EARLIER_BUILD
    with pytest.raises(ArtifactError, match="no build was published before the current one"):
        roll_back(earlier, None)


def test_the_first_event_keeps_what_an_earlier_root_says_of_its_current_build(earlier):
    number = read_current(earlier.root).sequence
    third = published(earlier, 7)
    assert [(event.build_id, event.sequence) for event in read_events(earlier.root)] == [
        (EARLIER_BUILD, number),
        (third, number + 1),
    ]


def as_earlier_version(store: Store) -> None:
    """The root as version 0.1.0 would have left it."""
    current = json.loads((store.root / "current.json").read_text())
    del current["collection"]
    (store.root / "current.json").write_text(json.dumps(current))
    shutil.rmtree(store.root / "events")


def test_an_earlier_root_goes_on(store):
    second = published(store, 2)
    as_earlier_version(store)
    assert clear(store, keep=2, grace_seconds=0) == []
    third = published(store, 3)
    assert [build["build_id"] for build in list_builds(store)] == [second, third]
    assert all(build["published"] and build["is_complete"] for build in list_builds(store))
    assert roll_back(store, None).build_id == second


# Damage.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> dict:
    """The content of an event, of current.json, and of a manifest, with their readers."""
    store = Store(tmp_path_factory.mktemp("examples"))
    published(store)
    (event,) = (store.root / "events").glob("*.json")
    manifest = next(store.root.glob(f"*/*/{MANIFEST}"))
    files = {
        event: read_event,
        store.root / "current.json": read_event,
        manifest: read_manifest,
    }
    return {path.name: (json.loads(path.read_text()), read) for path, read in files.items()}


@given(data=st.data())
def test_a_file_that_was_altered_is_read_or_refused_never_a_traceback(examples, tmp_path_factory, data):
    content, read = data.draw(st.sampled_from(list(examples.values())))
    content = json.loads(json.dumps(content))
    place = content
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(json_values)
    path = tmp_path_factory.mktemp("altered") / "file.json"
    path.write_text(json.dumps(content))
    said = message_of(read, path)
    assert said is None or ("altered" in said and "\n" not in said)
    if read is read_event and said is None:
        root = path.parent / "root"
        (root / "events").mkdir(parents=True)
        path.rename(root / "events" / "00000001-published-x.json")
        assert describe_builds(list_builds(Store(root))).count("\n") <= 1
        assert describe_experiments(list_experiments(Store(root)))


def message_of(read, path: Path) -> str | None:
    try:
        read(path)
    except ArtifactError as error:
        return str(error)
    return None


def test_a_damaged_event_is_passed_over_reported_and_its_number_not_used_again(store, caplog):
    published(store, 1)
    refused(store, 2)
    newest = sorted((store.root / "events").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    assert [build["published"] for build in list_builds(store)] == [True]
    assert f"{newest.name} is not valid JSON" in caplog.text
    assert any(newest.name in problem for problem in verify(store, deep=False))
    published(store, 3)
    assert [event.sequence for event in read_events(store.root)] == [1, 3]


def test_events_without_locks_replace_no_other_build(store):
    """Two processes that both think it is their turn take the same number."""
    published(store)
    build = read_current(store.root).build
    event = append_event(store.root, "refused", build)
    (store.root / "events" / f"{event.sequence:08d}-refused-{build.build_id}.json").rename(store.root / "aside")
    other = append_event(store.root, "refused", build.model_copy(update={"build_id": "other"}))
    (store.root / "aside").rename(store.root / "events" / f"{event.sequence:08d}-refused-{build.build_id}.json")
    assert other.sequence == event.sequence
    assert len(read_events(store.root)) == 3


def test_what_is_current_is_published_even_if_all_events_are_gone(store):
    first = published(store, 1)
    shutil.rmtree(store.root / "events")
    assert [(build["build_id"], build["published"]) for build in list_builds(store)] == [(first, True)]


def test_a_kill_between_event_and_current_leaves_a_whole_history(store, monkeypatch):
    first = published(store, 1)
    monkeypatch.setattr("lookalike.pipeline.publishing.make_current", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        published(store, 2)
    monkeypatch.undo()
    assert store.read_current()["build_id"] == first
    second = published(store, 2)
    assert store.read_current()["build_id"] == second
    assert roll_back(store, None).build_id == first


def test_times_are_utc_in_any_time_zone(store, monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        published(store)
    finally:
        monkeypatch.undo()
        time.tzset()
    event = read_events(store.root)[0]
    assert event.at.endswith("+00:00")
    assert event.build.created_at.endswith("+00:00")


def test_make_current_takes_a_copy_that_reads_as_before(store):
    published(store)
    before = store.read_current()
    make_current(store.root, read_events(store.root)[0])
    assert store.read_current() == before
    assert {"published", "sequence", "build_id", "artifacts", "config", "metrics"} <= before.keys()
