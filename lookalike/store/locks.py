"""Locks between processes on one host, by flock: the kernel drops a lock when its process dies, however it dies.

Four kinds of names below `<root>/locks`: `<step>-<key>` while a step is built, `builds` (shared)
while any build or rollback runs, `publish` while the current build is chosen, `build-<build_id>`
(shared) while a searcher answers from that build. The garbage collector asks for `builds` and
`build-<build_id>` exclusively, and leaves alone what it does not get.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Hold a lock that nobody else holds; waits for it, and says for what."""
    descriptor = _open(root, name)
    try:
        if not _try(descriptor):
            logger.info("another process is making %s; waiting for it", waiting_for)
            while not _try(descriptor):
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def shared_lock(root: Path, name: str) -> Iterator[None]:
    """Hold a lock together with others that share it; waits while somebody holds it alone."""
    descriptor = _open(root, name)
    try:
        _flock(descriptor, LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def hold_shared(root: Path, name: str) -> int | None:
    """Take a shared lock for as long as the returned descriptor is open.

    None where there are no locks: the root cannot be written, or its file system does not lock. Nobody can then
    clear away what is read there, or only somebody who was told that there are no locks.
    """
    try:
        descriptor = _open(root, name)
    except ArtifactError:
        return None
    try:
        _flock(descriptor, LOCK_SH)
    except ArtifactError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def try_exclusive(root: Path, name: str) -> Iterator[bool]:
    """Whether the lock could be had alone at once; it is held until the block ends."""
    descriptor = _open(root, name)
    try:
        yield _try(descriptor)
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
