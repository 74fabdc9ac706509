"""What `gc` leaves alone: other people's files, builds that somebody is opening, roots that are not there."""

import logging
import threading
import time
from pathlib import Path

import pytest

from lookalike.errors import ArtifactError
from lookalike.pipeline import garbage
from lookalike.pipeline.garbage import clear, find_garbage, size_bytes
from lookalike.pipeline.maintenance import roll_back, verify
from lookalike.pipeline.publishing import RefusedBuildError, publish, record_experiment
from lookalike.search.held_build import hold_build
from lookalike.store.artifacts import Store
from tests.staged import config_of, staged


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "partial" / "a root é")  # Both have confused it.
    store.root.mkdir(parents=True)
    return store


def published(store: Store, content: int) -> str:
    return publish(store, config_of(store), staged(store, content), 0.0)["build_id"]


def test_files_and_empty_folders_of_others_stay(store):
    others = [store.root / "photos" / "2026", store.root / "photos" / ".tmp-of-another-program"]
    for folder in others:
        folder.mkdir(parents=True)
    (store.root / "photos" / "2026" / ".tmp-draft").write_text("mine")
    ours = [store.root / ".tmp-a", store.root / "events" / ".tmp-b", store.root / "build_lsh" / "key" / ".tmp-c"]
    for path in ours:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    assert {item.path for item in clear(store, keep=1, grace_seconds=0)} == set(ours)
    assert all(folder.is_dir() for folder in others)
    assert (store.root / "photos" / "2026" / ".tmp-draft").exists()


@pytest.mark.parametrize("command", [clear, find_garbage])
def test_a_root_that_is_not_there_is_one_line_and_is_not_made(tmp_path, command):
    with pytest.raises(ArtifactError, match=r"there is no artifact root /.*absent"):
        command(Store(tmp_path / "absent"), keep=1)
    with pytest.raises(ArtifactError, match="there is no artifact root"):
        roll_back(Store(tmp_path / "absent"), None)
    with pytest.raises(ArtifactError, match="there is no artifact root"):
        verify(Store(tmp_path / "absent"), deep=False)
    assert not (tmp_path / "absent").exists()


def test_the_newest_experiments_and_the_newest_published_builds_are_kept(store):
    for content in range(4):
        published(store, content)
    trials = [record_experiment(store, config_of(store), staged(store, n), f"trial {n}") for n in (10, 11, 12)]
    clear(store, keep=2, grace_seconds=0)
    assert sum(1 for _ in store.root.glob("build_lsh/*/attempt-*")) == 4
    for trial in trials[1:]:
        hold_build(store, trial).lock.release()
    with pytest.raises(
        ArtifactError, match=f"build {trials[0]} was cleared away and cannot be queried; build it again"
    ):
        hold_build(store, trials[0])


def test_what_cannot_be_removed_is_said_and_not_counted(store, monkeypatch, caplog):
    published(store, 0)
    published(store, 1)
    assert len(find_garbage(store, keep=1, grace_seconds=0)) == 4

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(garbage.shutil, "rmtree", refuse)
    with caplog.at_level(logging.WARNING):
        removed = clear(store, keep=1, grace_seconds=0)
    assert [item.path.name for item in removed] == ["manifest.json"] * 2
    assert caplog.text.count("could not be removed: Permission denied") == 2


def test_a_searcher_that_opens_a_build_while_it_is_cleared_waits_and_finds_it_gone(store, monkeypatch):
    first = published(store, 0)
    published(store, 1)
    opened: list[object] = []

    def open_first() -> None:
        try:
            opened.append(hold_build(store, first))
        except ArtifactError as error:
            opened.append(str(error))

    thread = threading.Thread(target=open_first)
    remove = garbage._remove

    def remove_while_somebody_opens(path: Path) -> bool:
        if not thread.ident:
            thread.start()
            time.sleep(0.3)
            assert opened == [], "it did not wait"
        return remove(path)

    monkeypatch.setattr(garbage, "_remove", remove_while_somebody_opens)
    clear(store, keep=1, grace_seconds=0)
    thread.join(10)
    assert opened == [f"build {first} was cleared away and cannot be queried; build it again"]


def test_a_searcher_that_came_first_keeps_its_build(store):
    first = published(store, 0)
    published(store, 1)
    held = hold_build(store, first)
    assert clear(store, keep=1, grace_seconds=0) == []
    assert all(folder.is_dir() for folder in held.folders.values())
    held.lock.release()
    assert clear(store, keep=1, grace_seconds=0) != []


def test_older_folders_of_a_kept_build_that_are_in_use_stay(store):
    first = published(store, 0)
    held = hold_build(store, first)
    # Damaged and built again to the same bytes: the same build in other folders.
    (held.folders["build_lsh"] / "file").write_text("damaged")
    assert published(store, 0) == first
    assert clear(store, keep=1, grace_seconds=0) == []
    held.lock.release()
    (gone,) = clear(store, keep=1, grace_seconds=0)
    assert gone.path == held.folders["build_lsh"]
    assert verify_manifests(store) == []


def test_rollback_finds_what_was_built_again_to_the_same_bytes(store):
    build_id = published(store, 0)
    damaged = store.root / store.read_current()["artifacts"]["build_lsh"]
    (damaged / "file").write_text("damaged")
    with pytest.raises(RefusedBuildError):
        publish(store, config_of(store, "evaluation.min_recall_at_10=1"), staged(store, 0), 0.0)
    assert clear(store, keep=1, grace_seconds=0) == [], "current needs the one, the manifest names the other"
    assert verify_manifests(store) == []
    roll_back(store, build_id)
    assert store.root / store.read_current()["artifacts"]["build_lsh"] != damaged
    assert [item.path for item in clear(store, keep=1, grace_seconds=0)] == []


def verify_manifests(store: Store) -> list[str]:
    return [problem for problem in verify(store, deep=False) if "current.json" not in problem]


def test_the_size_of_what_vanishes_is_nothing(tmp_path, monkeypatch):
    assert size_bytes(tmp_path / "absent") == 0
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"12345")
    assert size_bytes(tmp_path / "folder") == 5
    monkeypatch.setattr(Path, "lstat", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    assert size_bytes(tmp_path / "folder" / "file") == 0


def test_a_store_keeps_its_root_when_the_working_folder_or_a_link_changes(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("one")
    monkeypatch.chdir(tmp_path)
    relative, linked = Store("one"), Store(Path("link"))
    monkeypatch.chdir(tmp_path / "other")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("other")
    assert relative.root == linked.root == tmp_path / "one"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/one").root == tmp_path / "one"
