"""Files as they are made on systems of all kinds: rights, missing calls, home folders."""

import errno
import io
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lookalike import files
from lookalike.dataset.archive import extract_archive
from lookalike.errors import DatasetError
from lookalike.threads import available_cores, ordered_map, resolve_workers


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o077, 0o022, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_have_the_rights_that_the_umask_grants(tmp_path, umask):
    files.write_json_atomic(tmp_path / "new" / "a.json", {})
    assert mode_of(tmp_path / "new" / "a.json") == 0o666 & ~umask
    assert mode_of(tmp_path / "new") == 0o777 & ~umask
    files.write_bytes_atomic(tmp_path / "new" / "a.json", b"again")
    assert mode_of(tmp_path / "new" / "a.json") == 0o666 & ~umask


def test_unpacked_files_and_folders_have_the_rights_that_the_umask_grants(tmp_path, umask):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cat/1.png", "dog/2.png"):
            archive.writestr(name, b"x")
    extract_archive(tmp_path / "a.zip", tmp_path / "images")
    assert {mode_of(path) for path in (tmp_path / "images").rglob("*.png")} == {0o666 & ~umask}
    assert {mode_of(path) for path in (tmp_path / "images", tmp_path / "images" / "cat")} == {0o777 & ~umask}


def with_holes(path: Path) -> bytes:
    """An array file as training makes it, written in part; returns its content."""
    stored = np.lib.format.open_memmap(path, "w+", np.float16, (1000, 3000))
    stored[7] = 5
    stored.flush()
    return path.read_bytes()


@pytest.mark.parametrize("cause", [None, errno.EOPNOTSUPP, errno.EINVAL])
def test_room_is_reserved_where_the_system_has_no_call_for_it(tmp_path, monkeypatch, cause):
    def refuse(*_):
        raise OSError(cause, os.strerror(cause))

    if cause is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    content = with_holes(tmp_path / "a.npy")
    assert (tmp_path / "a.npy").stat().st_blocks * 512 < len(content)
    files.reserve_disk(tmp_path / "a.npy")
    assert (tmp_path / "a.npy").read_bytes() == content
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= len(content)


def test_room_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with_holes(tmp_path / "a.npy")
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="No space left"):
        files.reserve_disk(tmp_path / "a.npy")


def test_files_are_written_where_nothing_can_be_flushed(tmp_path, monkeypatch):
    def answer(cause):
        def fsync(descriptor):
            raise OSError(cause, os.strerror(cause))

        return fsync

    monkeypatch.setattr(os, "fsync", answer(errno.EINVAL))
    files.write_bytes_atomic(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
    monkeypatch.setattr(os, "fsync", answer(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.write_bytes_atomic(tmp_path / "a", b"y")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"x"]


def test_nothing_is_flushed_at_once_where_there_is_no_call_for_it(monkeypatch):
    calls = []
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    files.flush_everything()
    monkeypatch.delattr(os, "sync")
    files.flush_everything()
    assert calls == ["sync"]


def test_cores_are_counted_where_a_process_is_bound_to_none(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert (available_cores(), resolve_workers("auto")) == (3, 3)
    assert list(ordered_map(str, range(5))) == ["0", "1", "2", "3", "4"]


def test_home_folders_are_those_of_the_environment_or_of_the_user(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert files.user_path("~/a") == Path("/somewhere/a")
    assert files.user_path(Path("a/~/b")) == Path("a/~/b")
    assert files.user_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    monkeypatch.delenv("HOME")
    assert files.user_path("~/a").is_absolute()


def test_names_that_are_the_same_to_a_file_system_are_refused(tmp_path, monkeypatch):
    """Emulated: a file system that does not tell upper from lower case."""
    path_open = Path.open

    def caseless(path, mode="r", *rest):
        return path_open(Path(str(path).lower()) if "x" in mode else path, mode, *rest)

    monkeypatch.setattr(Path, "open", caseless)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cat/a.png", "cat/A.png"):
            archive.writestr(name, b"x")
    with pytest.raises(DatasetError, match=r"holds 'cat/A.png' twice, or another name that is the same here"):
        extract_archive(tmp_path / "a.zip", tmp_path / "images")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_an_archive_of_a_mac_loses_its_outer_folder(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in (
            "Pics/cat/1.png",
            "Pics/dog/2.png",
            "Pics/.DS_Store",
            "__MACOSX/Pics/cat/._1.png",
            "__MACOSX/._Pics",
        ):
            archive.writestr(name, b"x")
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    extract_archive(tmp_path / "a.zip", tmp_path / "images")
    visible = sorted(path.name for path in (tmp_path / "images").iterdir() if not path.name.startswith("."))
    assert visible == ["cat", "dog"]
