import json
import os
import shutil
import time
from pathlib import Path

import pytest

from lookalike.errors import ArtifactError
from lookalike.pipeline.garbage import clear, find_garbage
from lookalike.pipeline.maintenance import list_builds, roll_back, verify
from lookalike.search import Searcher
from lookalike.store.artifacts import Store
from lookalike.store.events import append_event, make_current, publications, read_current, read_events
from lookalike.store.manifests import MANIFEST
from tests.tiny_build import folder_source, run_build
from tests.tiny_model import make_images


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A root with two published builds and one that its gate refused, in this order; tests work on copies."""
    folder = tmp_path_factory.mktemp("history")
    source = folder_source(make_images(folder / "images", per_label=5))
    first = run_build(folder / "root", source)
    second = run_build(folder / "root", [*source, "index.seed=1"])
    # The gate's own refusal is tested elsewhere; a record says all that counts here.
    root = folder / "root"
    append_event(root, "refused", read_current(root).build.model_copy(update={"build_id": "refused"}), reasons=["why"])
    return folder / "root", first["build_id"], second["build_id"]


@pytest.fixture
def store(history, tmp_path) -> Store:
    return Store(Path(shutil.copytree(history[0], tmp_path / "root")))


def artifact(store: Store, step: str) -> Path:
    return store.root / store.read_current()["artifacts"][step]


def flip_a_byte(path: Path, *, keep_time: bool = False) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_builds_are_listed_in_their_order(store, history):
    builds = list_builds(store)
    assert [build["build_id"] for build in builds] == [history[1], history[2], "refused"]
    assert [build["is_current"] for build in builds] == [False, True, False]
    assert [build["published"] for build in builds] == [True, True, False]
    assert all(build["is_complete"] and build["size_bytes"] > 0 for build in builds)


def test_no_builds_no_problems_no_garbage_in_an_empty_root(tmp_path):
    store = Store(tmp_path)
    assert list_builds(store) == []
    assert verify(store, deep=True) == []
    assert clear(store, keep=1, grace_seconds=0) == []


def test_rollback_goes_to_the_published_build_before_and_back_by_name(store, history):
    assert roll_back(store, None).build_id == history[1]
    assert Searcher.open(store.root).build_id == history[1]
    assert roll_back(store, history[2]).build_id == history[2]
    assert Searcher.open(store.root).build_id == history[2]


def test_rollback_from_the_first_build_says_that_there_is_none(store, history):
    roll_back(store, history[1])
    with pytest.raises(ArtifactError, match=f"no build was published before the current one, {history[1]}"):
        roll_back(store, None)


@pytest.mark.parametrize(
    ("build_id", "message"),
    [
        ("refused", "was refused by its gate"),
        ("absent", "there is no build 'absent'; there are: "),
        ("../x", "no build"),
        ("", "no build"),
    ],
)
def test_a_wrong_rollback_is_refused_and_changes_nothing(store, build_id, message):
    before = (store.root / "current.json").read_bytes()
    with pytest.raises(ArtifactError, match=message):
        roll_back(store, build_id)
    assert (store.root / "current.json").read_bytes() == before


def test_rollback_to_a_damaged_build_is_refused(store, history):
    flip_a_byte(store.root / publications(read_events(store.root))[0].build.artifacts["build_lsh"] / "index.json")
    with pytest.raises(ArtifactError, match=r"is damaged \(index\.json: its content has changed\)"):
        roll_back(store, None)


def test_rollback_before_any_build(tmp_path):
    with pytest.raises(ArtifactError, match="nothing is published"):
        roll_back(Store(tmp_path), None)


def test_rollback_needs_no_readable_current_if_a_build_is_named(store, history):
    (store.root / "current.json").write_text("{")
    roll_back(store, history[1])
    assert store.read_current()["build_id"] == history[1]


def test_a_whole_root_verifies(store):
    assert verify(store, deep=False) == []
    assert verify(store, deep=True) == []


def remove_model(store: Store) -> None:
    (artifact(store, "fine_tune") / "model.safetensors").unlink()


def truncate_shard(store: Store) -> None:
    path = artifact(store, "embed_all") / "shards" / "embeddings-00000.parquet"
    path.write_bytes(path.read_bytes()[:-10])


def alter_index(store: Store) -> None:
    flip_a_byte(artifact(store, "build_lsh") / "vectors.npy")


def break_manifest(store: Store) -> None:
    (artifact(store, "embed_all").parent / MANIFEST).write_text("{")


def strip_manifest(store: Store) -> None:
    path = artifact(store, "embed_all").parent / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["files"]
    path.write_text(json.dumps(manifest))


def break_current(store: Store) -> None:
    (store.root / "current.json").write_text("[]")


def break_event(store: Store) -> None:
    next((store.root / "events").glob("*-refused.json")).write_text("{}")


def remove_evaluation(store: Store) -> None:
    shutil.rmtree(artifact(store, "evaluate_recall"))


def alter_image(store: Store) -> None:
    dataset = json.loads((artifact(store, "download_dataset") / "dataset.json").read_text())
    path = Path(dataset["root"]) / "blue" / "00.png"
    original = path.read_bytes()
    path.write_bytes(original + b"more")
    store.restore = lambda: path.write_bytes(original)  # The folder of images is shared by all tests.


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (remove_model, "model.safetensors: No such file"),
        (truncate_shard, "shards/embeddings-00000.parquet: "),
        (alter_index, "vectors.npy: its content has changed"),
        (break_manifest, "manifest.json is not valid JSON"),
        (strip_manifest, "manifest.json was altered (files)"),
        (break_current, "current.json is not the record of a build"),
        (break_event, "refused.json is not the record of a build"),
        (remove_evaluation, "metrics.json: No such file"),
        (alter_image, "image blue/00.png: its bytes are not those that were indexed"),
    ],
)
def test_verify_names_the_damage(store, damage, expected):
    damage(store)
    try:
        problems = verify(store, deep=False)
    finally:
        getattr(store, "restore", lambda: None)()
    assert any(expected in problem for problem in problems), problems


def test_a_byte_altered_under_the_same_time_is_found_by_a_deep_verify_alone(store):
    flip_a_byte(artifact(store, "evaluate_recall") / "report.md", keep_time=True)
    assert verify(store, deep=False) == []
    assert any("report.md: its content has changed" in problem for problem in verify(store, deep=True))


def test_a_damaged_event_does_not_stop_the_next_build_and_keeps_its_number(store, caplog):
    break_event(store)
    assert [event.sequence for event in read_events(store.root)] == [1, 2]
    assert append_event(store.root, "refused", read_current(store.root).build).sequence == 4
    assert "refused.json is not the record of a build; it was altered; it is left out" in caplog.text


def removed(store: Store, **options) -> set[str]:
    return {str(item.path.relative_to(store.root)) for item in clear(store, **{"grace_seconds": 0, **options})}


def test_gc_keeps_the_newest_published_builds_and_what_they_share(store, history):
    assert removed(store, keep=2) == set()
    gone = removed(store, keep=1)
    assert {path.split("/")[0] for path in gone} == {"build_lsh", "evaluate_recall"}
    assert verify(store, deep=True) == []
    assert [build["is_complete"] for build in list_builds(store)] == [False, True, True]
    with pytest.raises(ArtifactError, match="was cleared away and cannot become current; build it again"):
        roll_back(store, history[1])


def test_gc_keeps_what_is_current_although_it_is_old(store, history):
    roll_back(store, history[1])
    clear(store, keep=1, grace_seconds=0)
    assert verify(store, deep=True) == []
    assert Searcher.open(store.root).build_id == history[1]


def test_gc_keeps_what_a_searcher_answers_from(store, history):
    roll_back(store, history[1])
    searcher = Searcher.open(store.root)
    roll_back(store, history[2])
    assert removed(store, keep=1) == set()
    del searcher
    assert removed(store, keep=1) != set()


def leave_behind(store: Store, age_seconds: float) -> list[Path]:
    """What killed builds leave: work in progress, a folder without a manifest, half-written files."""
    folders = [store.root / "embed_all" / "0123456789" / name for name in ("partial", "attempt-0123")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 100)
    files = [store.root / ".tmp-one", store.root / "events" / ".tmp-two", store.root / "downloads" / ".tmp-three"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"half")
    for path in (*folders, *files):
        os.utime(path, (time.time() - age_seconds,) * 2)
    return [*folders, *files]


def test_gc_clears_what_killed_builds_left(store):
    left = leave_behind(store, age_seconds=7200)
    garbage = clear(store, keep=3)
    assert {item.path for item in garbage} == set(left)
    assert sum(item.size_bytes for item in garbage) == 2 * 100 + 3 * 4
    assert not any(path.exists() for path in left)
    assert not (store.root / "embed_all" / "0123456789").exists()


@pytest.mark.parametrize("age_seconds", [60, -7200], ids=["young", "from the future, after a clock went backwards"])
def test_gc_leaves_alone_what_is_young(store, age_seconds):
    left = leave_behind(store, age_seconds)
    assert clear(store, keep=3) == []
    assert all(path.exists() for path in left)


def test_a_dry_run_removes_nothing(store):
    left = leave_behind(store, age_seconds=7200)
    assert {item.path for item in find_garbage(store, keep=3)} == set(left)
    assert all(path.exists() for path in left)


@pytest.mark.parametrize("command", [clear, find_garbage])
def test_gc_refuses_while_a_build_runs(store, command):
    with store.building(), pytest.raises(ArtifactError, match="a build is running"):
        command(store, keep=1, grace_seconds=0)


def test_builds_keep_their_order_when_the_clock_goes_back(store, history):
    earlier = {"build_id": "later", "created_at": "1999-01-01T00:00:00+00:00"}
    newest = read_current(store.root).build.model_copy(update=earlier)
    make_current(store.root, append_event(store.root, "published", newest))
    assert [build["build_id"] for build in list_builds(store)][-1] == "later"
    assert roll_back(store, None).build_id == history[2]
