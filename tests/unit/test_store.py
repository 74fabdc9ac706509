import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import ArtifactError
from lookalike.store.artifacts import StepSpec, Store
from lookalike.store.manifests import MANIFEST, damaged_files, read_manifest


def spec(**changes) -> StepSpec:
    values = {"step": "embed_all", "code_version": "1", "settings": {"a": 1}, "inputs": {"model": "m"}} | changes
    return StepSpec(**values)


def write_two_files(folder: Path) -> dict[str, int]:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "one.bin").write_bytes(b"one")
    (folder / "sub" / "two.bin").write_bytes(b"two")
    return {"rows": 2}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "a root with spaces")


def test_first_build_then_cached(store):
    first, first_cached = store.ensure(spec(), write_two_files)
    second, second_cached = store.ensure(spec(), write_two_files)
    assert (first_cached, second_cached) == (False, True)
    assert first == second
    assert first.summary == {"rows": 2}
    assert (first.folder / "sub" / "two.bin").read_bytes() == b"two"


@pytest.mark.parametrize(
    "change",
    [{"code_version": "2"}, {"settings": {"a": 2}}, {"inputs": {"model": "n"}}, {"step": "build_lsh"}],
    ids=lambda change: next(iter(change)),
)
def test_any_part_of_the_spec_changes_the_key(store, change):
    store.ensure(spec(), write_two_files)
    assert spec(**change).key != spec().key
    assert store.check(spec(**change)) is None


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [delete, truncate, flip_a_byte])
def test_a_damaged_file_is_noticed_and_rebuilt_to_the_same_digest(store, damage):
    first, _ = store.ensure(spec(), write_two_files)
    damage(first.folder / "one.bin")
    assert store.check(spec()) is None
    second, cached = store.ensure(spec(), write_two_files)
    assert not cached
    assert second.digest == first.digest
    assert second.folder != first.folder


def test_a_change_that_keeps_size_and_time_is_found_by_a_deep_check(store):
    reference, _ = store.ensure(spec(), write_two_files)
    path = reference.folder / "one.bin"
    before = path.stat()
    flip_a_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    files = read_manifest(reference.folder.parent / MANIFEST)["files"]
    assert damaged_files(reference.folder, files, deep=False) == []
    assert damaged_files(reference.folder, files, deep=True) == ["one.bin: its content has changed"]


def test_a_touched_file_with_the_same_content_stays_cached(store):
    reference, _ = store.ensure(spec(), write_two_files)
    os.utime(reference.folder / "one.bin", ns=(1, 1))
    assert store.check(spec()) == reference


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format_version": 99}'])
def test_a_damaged_manifest_means_build_again(store, content):
    reference, _ = store.ensure(spec(), write_two_files)
    (reference.folder.parent / MANIFEST).write_bytes(content)
    _, cached = store.ensure(spec(), write_two_files)
    assert not cached


def test_a_failed_build_leaves_no_artifact(store):
    def fail(folder: Path) -> dict[str, int]:
        (folder / "half").write_bytes(b"half")
        raise ArtifactError("no")

    with pytest.raises(ArtifactError):
        store.ensure(spec(), fail)
    assert store.check(spec()) is None


@pytest.mark.parametrize("resumable", [False, True])
def test_only_a_resumable_step_finds_what_a_failed_one_left(store, resumable):
    seen: list[bool] = []

    def fail_once(folder: Path) -> dict[str, int]:
        seen.append((folder / "finished-part").exists())
        (folder / "finished-part").write_bytes(b"x")
        if len(seen) == 1:
            raise ArtifactError("first time")
        return {}

    with pytest.raises(ArtifactError):
        store.ensure(spec(), fail_once, resumable=resumable)
    store.ensure(spec(), fail_once, resumable=resumable)
    assert seen == [False, resumable]


def build_slowly(root: Path, marker: Path) -> None:
    def build(folder: Path) -> dict[str, int]:
        with marker.open("a") as stream:
            stream.write("built\n")
        time.sleep(0.5)
        return write_two_files(folder)

    Store(root).ensure(spec(), build)


def test_two_processes_build_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    marker = tmp_path / "marker"
    processes = [context.Process(target=build_slowly, args=(tmp_path / "root", marker)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert marker.read_text() == "built\n"


def build_and_hang(root: Path, ready) -> None:
    def build(folder: Path) -> dict[str, int]:
        (folder / "finished-part").write_bytes(b"x")
        ready.set()
        time.sleep(600)
        return {}

    Store(root).ensure(spec(), build, resumable=True)


def test_sigkill_in_a_build_neither_blocks_nor_publishes(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=build_and_hang, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    store = Store(tmp_path)
    assert store.check(spec()) is None
    reference, cached = store.ensure(spec(), lambda folder: {"found": len(list(folder.iterdir()))}, resumable=True)
    assert not cached
    assert reference.summary == {"found": 1}


names = st.text(alphabet="abcdefghij", min_size=1, max_size=8)


@given(content=st.dictionaries(names, st.binary(max_size=64), max_size=6))
def test_digest_depends_on_names_and_content_alone(tmp_path_factory, content):
    def write(folder: Path) -> dict[str, int]:
        for name, data in content.items():
            (folder / name).write_bytes(data)
        return {}

    digests = {Store(tmp_path_factory.mktemp("root")).ensure(spec(), write)[0].digest for _ in range(2)}
    assert len(digests) == 1


settings_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(settings=st.dictionaries(names, settings_values, max_size=4))
def test_the_key_survives_json_and_reordering(settings):
    reordered = dict(reversed(list(json.loads(json.dumps(settings)).items())))
    assert spec(settings=settings).key == spec(settings=reordered).key


def test_a_relative_root_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = Store(Path("root"))
    reference, _ = store.ensure(spec(), write_two_files)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.root == tmp_path / "root"
    assert store.check(spec()) == reference
    assert reference.folder.is_relative_to(tmp_path / "root")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_root_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/root").root == tmp_path / "root"
