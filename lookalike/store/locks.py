"""Locks between processes on one host, by flock: the kernel drops a lock when its process dies, however it dies.

The files of the locks are `<root>/locks/<name>.lock`; which names there are is known to `Store` alone.
"""

import logging
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lookalike.errors import ArtifactError

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
except ImportError:  # Windows
    flock = None  # type: ignore[assignment]
    LOCK_EX = LOCK_NB = LOCK_SH = 0  # type: ignore[misc]

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.2


@contextmanager
def exclusive_lock(root: Path, name: str, *, waiting_for: str) -> Iterator[None]:
    """Hold a lock that nobody else holds; waits for it, and logs for what."""
    with _opened(root, name) as descriptor:
        if not _try(descriptor):
            logger.info("another process is making %s; waiting for it", waiting_for)
            while not _try(descriptor):
                time.sleep(_POLL_SECONDS)
        yield


@contextmanager
def shared_lock(root: Path, name: str) -> Iterator[None]:
    """Hold a lock together with others that share it; waits while a process holds it alone."""
    with _opened(root, name) as descriptor:
        _flock(descriptor, LOCK_SH)
        yield


@contextmanager
def try_exclusive(root: Path, name: str) -> Iterator[bool]:
    """Yield whether the lock could be had alone at once; it is held until the block ends."""
    with _opened(root, name) as descriptor:
        yield _try(descriptor)


class HeldLock:
    """A shared lock that is held until `release` is called, or until nothing refers to this object any more.

    It holds nothing where there are no locks: the root cannot be written, or its file system does not lock. Then
    nobody can clear away what is read there, or only a process that was told that there are no locks.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._locks = ExitStack()
        with suppress(ArtifactError):
            self._locks.enter_context(shared_lock(root, name))
        self._finalizer = weakref.finalize(self, self._locks.close)

    def release(self) -> None:
        """Let go of the lock; releasing it again does nothing."""
        self._finalizer()


@contextmanager
def _opened(root: Path, name: str) -> Iterator[int]:
    descriptor = _open(root, name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(root: Path, name: str) -> int:
    path = root / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not inherited by processes that this one starts, as all that Python opens.
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ArtifactError(f"cannot open the lock {path}: {error.strerror or error}") from error


def _try(descriptor: int) -> bool:
    """Whether the lock could be had alone at once."""
    try:
        _flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _flock(descriptor: int, operation: int) -> None:
    if flock is None:
        raise ArtifactError("this system has no flock, which keeps builds apart; on Windows run lookalike in WSL")
    try:
        flock(descriptor, operation)
    except BlockingIOError:
        raise
    except OSError as error:
        raise ArtifactError(
            f"the file system of the artifact root cannot lock files ({error.strerror or error}); choose an "
            "artifacts.root on a local disk, or mount this one with locks"
        ) from error
