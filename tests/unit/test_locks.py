import errno
import gc
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lookalike.errors import ArtifactError
from lookalike.store import locks
from lookalike.store.locks import HeldLock, exclusive_lock, shared_lock, try_exclusive


def hold(root: Path, name: str, shared: bool, ready, release) -> None:
    lock = shared_lock(root, name) if shared else exclusive_lock(root, name, waiting_for=name)
    with lock:
        ready.set()
        release.wait(60)


class Holder:
    """Another process that holds a lock until told to let go, or killed."""

    def __init__(self, root: Path, name: str, *, shared: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._ready, self._release = context.Event(), context.Event()
        self._process = context.Process(target=hold, args=(root, name, shared, self._ready, self._release))

    def __enter__(self):
        self._process.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_):
        # To set an event that a killed process was waiting for would wait for that process for ever.
        if self._process.is_alive():
            self._release.set()
        self._process.join(60)

    def let_go(self) -> None:
        self._release.set()

    def kill(self) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(60)


def test_an_exclusive_lock_keeps_other_processes_out_until_it_is_released(tmp_path):
    with Holder(tmp_path, "a"), try_exclusive(tmp_path, "a") as is_alone:
        assert not is_alone
    with try_exclusive(tmp_path, "a") as is_alone:
        assert is_alone


def test_shared_locks_go_together_but_not_with_an_exclusive_one(tmp_path):
    with Holder(tmp_path, "a", shared=True), shared_lock(tmp_path, "a"), try_exclusive(tmp_path, "a") as is_alone:
        assert not is_alone


def test_a_lock_ends_with_its_process_however_it_dies(tmp_path):
    with Holder(tmp_path, "a") as holder:
        holder.kill()
        with try_exclusive(tmp_path, "a") as is_alone:
            assert is_alone


def test_locks_of_other_names_do_not_matter(tmp_path):
    with exclusive_lock(tmp_path, "a", waiting_for="a"), try_exclusive(tmp_path, "b") as is_alone:
        assert is_alone


def test_who_waits_is_told_for_what_and_gets_the_lock_in_the_end(tmp_path, caplog):
    with Holder(tmp_path, "a") as holder:

        def on_message(record) -> bool:
            holder.let_go()
            return True

        caplog.handler.addFilter(on_message)
        with caplog.at_level("INFO", "lookalike.store.locks"), exclusive_lock(tmp_path, "a", waiting_for="embed_all"):
            assert "another process is making embed_all; waiting for it" in caplog.text
        caplog.handler.removeFilter(on_message)


@pytest.mark.parametrize("is_collected", [False, True])
def test_a_held_lock_is_shared_until_it_is_released_or_collected(tmp_path, is_collected):
    held = [HeldLock(tmp_path, "a")]
    with shared_lock(tmp_path, "a"), try_exclusive(tmp_path, "a") as is_alone:
        assert not is_alone
    if is_collected:
        held.clear()
        gc.collect()
    else:
        held[0].release()
    with try_exclusive(tmp_path, "a") as is_alone:
        assert is_alone
    for lock in held:
        lock.release()


def test_a_root_without_room_for_locks_is_used_without(tmp_path):
    root = tmp_path / "a file"
    root.write_text("in the way")
    HeldLock(root, "a").release()
    assert root.read_text() == "in the way"


def test_a_failing_block_releases_its_lock(tmp_path):
    with pytest.raises(KeyError), exclusive_lock(tmp_path, "a", waiting_for="a"):
        raise KeyError
    with try_exclusive(tmp_path, "a") as is_alone:
        assert is_alone


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("cause", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_one_clear_line(tmp_path, monkeypatch, cause):
    def refuse(descriptor, operation):
        raise OSError(cause, os.strerror(cause))

    monkeypatch.setattr(locks, "flock", refuse)
    before = open_descriptors()
    for lock in (
        exclusive_lock(tmp_path, "a", waiting_for="a"),
        shared_lock(tmp_path, "a"),
        try_exclusive(tmp_path, "a"),
    ):
        with pytest.raises(ArtifactError, match=f"cannot lock files.*{os.strerror(cause)}.*artifacts.root"), lock:
            pytest.fail("there is no such lock")
    # Queries go on: who could clear away what they read would have to lock, too.
    held = HeldLock(tmp_path, "a")
    assert open_descriptors() == before
    held.release()


def test_a_system_without_flock_is_one_clear_line(tmp_path):
    """Windows has no `fcntl`; what needs no lock must be importable there."""
    script = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from pathlib import Path\n"
        "import lookalike.store.artifacts, lookalike.search.sources, lookalike.store.locks as locks\n"
        f"root = Path({str(tmp_path)!r})\n"
        "locks.HeldLock(root, 'a').release()\n"
        "with locks.exclusive_lock(root, 'a', waiting_for='a'): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    message = "this system has no flock, which keeps builds apart; on Windows run lookalike in WSL"
    assert done.stderr.splitlines()[-1] == f"lookalike.errors.ArtifactError: {message}"


def test_a_lock_that_cannot_be_opened_is_one_clear_line(tmp_path):
    (tmp_path / "locks").write_text("in the way")
    with pytest.raises(ArtifactError, match=r"cannot open the lock .*a\.lock: "), shared_lock(tmp_path, "a"):
        pytest.fail("there is no such lock")


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_the_rights_of_a_lock_are_those_that_the_umask_grants(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with shared_lock(tmp_path, "a"):
            assert stat.S_IMODE((tmp_path / "locks" / "a.lock").stat().st_mode) == mode
    finally:
        os.umask(before)
