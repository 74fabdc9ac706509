"""Locks between processes on one host, by flock: the kernel drops a lock when its process dies, however it dies.

Four kinds of names below `<root>/locks`: `<step>-<key>` while a step is built, `builds` (shared)
while any build or rollback runs, `publish` while the current build is chosen, `build-<build_id>`
(shared) while a searcher answers from that build. The garbage collector asks for `builds` and
`build-<build_id>` exclusively, and leaves alone what it does not get.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.2


@contextmanager
def exclusive_lock(root: Path, name: str, *, waiting_for: str) -> Iterator[None]:
    """Hold a lock that nobody else holds; waits for it, and says for what."""
    descriptor = _open(root, name)
    try:
        if not _try(descriptor, fcntl.LOCK_EX):
            logger.info("another process is making %s; waiting for it", waiting_for)
            while not _try(descriptor, fcntl.LOCK_EX):
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def shared_lock(root: Path, name: str) -> Iterator[None]:
    """Hold a lock together with others that share it; waits while somebody holds it alone."""
    descriptor = _open(root, name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def hold_shared(root: Path, name: str) -> int | None:
    """Take a shared lock for as long as the returned descriptor is open, or None if the root cannot be written."""
    try:
        descriptor = _open(root, name)
    except OSError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def try_exclusive(root: Path, name: str) -> Iterator[bool]:
    """Whether the lock could be had alone at once; it is held until the block ends."""
    descriptor = _open(root, name)
    try:
        yield _try(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _open(root: Path, name: str) -> int:
    path = root / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
