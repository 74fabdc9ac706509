"""Clearing away what no kept build needs, and nothing else: the root may hold other things, or builds in use."""

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import ArtifactError
from lookalike.files import TEMPORARY_PREFIX
from lookalike.pipeline.registry import STAGES
from lookalike.store.artifacts import PARTIAL, Store
from lookalike.store.events import Event, publications, read_current, read_events
from lookalike.store.manifests import MANIFEST, read_manifest

logger = logging.getLogger(__name__)

DEFAULT_GRACE_SECONDS = 3600.0


@dataclass(frozen=True)
class Garbage:
    """Something that no kept build needs: a folder or a file, and its size."""

    path: Path
    size_bytes: int


def find_garbage(store: Store, *, keep: int, grace_seconds: float = DEFAULT_GRACE_SECONDS) -> list[Garbage]:
    """Return everything that may be cleared away.

    Needed are the current build, the `keep` newest published builds, the `keep` newest experiments, and
    the builds that searchers answer from. Files younger than the grace period stay too. Raises ArtifactError if
    there is no such root, or a build runs: no record names yet what that build has finished.
    """
    with _garbage(store, keep, grace_seconds) as garbage:
        return garbage


def clear(store: Store, *, keep: int, grace_seconds: float = DEFAULT_GRACE_SECONDS) -> list[Garbage]:
    """Remove the garbage (see `find_garbage`) and return what was removed; what cannot be removed is logged."""
    with _garbage(store, keep, grace_seconds) as garbage:
        removed = [item for item in garbage if _remove(item.path)]
        for folder in _key_folders(store):
            with suppress(OSError):  # Not empty: in use.
                folder.rmdir()
    return removed


def size_bytes(path: Path) -> int:
    """The size of a file, or of all files in a folder; what is not there, or vanishes meanwhile, counts 0."""
    if path.is_dir() and not path.is_symlink():
        return sum(size_bytes(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)
    with suppress(FileNotFoundError):
        return path.lstat().st_size
    return 0


@contextmanager
def _garbage(store: Store, keep: int, grace_seconds: float) -> Iterator[list[Garbage]]:
    """Yield the garbage; until the block ends no build starts, and no searcher opens a build that is not needed."""
    with store.alone(), ExitStack() as locks:
        needed = _needed_folders(store, keep, locks)
        old = [path for path in _removable(store, needed) if _age_seconds(path) >= grace_seconds]
        yield [Garbage(path, size_bytes(path)) for path in old]


def _needed_folders(store: Store, keep: int, locks: ExitStack) -> set[Path]:
    """Return the folders of all builds that are kept or in use; `locks` takes the locks of the others."""
    events = read_events(store.root)
    current = read_current(store.root)
    kept = [*publications(events)[-keep:], *_newest_experiments(events, keep), *([current] if current else [])]
    needed = _folders(store, kept)
    # Also of a kept build: a searcher may answer from folders that the same build had before.
    others = [
        event for event in events if event.build.is_complete(store.root) and not _folders(store, [event]) <= needed
    ]
    used = {
        build_id for build_id in {event.build_id for event in others} if not locks.enter_context(store.unused(build_id))
    }
    return needed | _folders(store, [event for event in others if event.build_id in used])


def _folders(store: Store, events: Sequence[Event]) -> set[Path]:
    return {store.root / folder for event in events for folder in event.build.artifacts.values()}


def _newest_experiments(events: list[Event], keep: int) -> list[Event]:
    newest = {event.build_id: event for event in events if event.kind == "experiment"}
    return sorted(newest.values(), key=lambda event: event.sequence)[-keep:]


def _removable(store: Store, needed: set[Path]) -> Iterator[Path]:
    """What only this program can have written, in the places where it writes."""
    needed_keys = {folder.parent for folder in needed}
    for folder in _key_folders(store):
        kept = needed | _named_by_manifest(folder) if folder in needed_keys else set()
        yield from (path for path in folder.glob("attempt-*") if path not in kept)
        yield from folder.glob(PARTIAL)
        # Without its files it would only be reported as damage.
        yield from (path for path in folder.glob(MANIFEST) if folder not in needed_keys)
        yield from folder.glob(f"{TEMPORARY_PREFIX}*")
    for folder in (store.root, store.root / "events", store.root / "downloads"):
        yield from folder.glob(f"{TEMPORARY_PREFIX}*")


def _named_by_manifest(folder: Path) -> set[Path]:
    with suppress(ArtifactError):
        return {folder / read_manifest(folder / MANIFEST)["attempt"]}
    return set()


def _key_folders(store: Store) -> list[Path]:
    return [folder for step in STAGES for folder in sorted((store.root / step).glob("*/"))]


def _age_seconds(path: Path) -> float:
    # A file from the future, after a clock went backwards, counts as new and is kept.
    return time.time() - path.lstat().st_mtime


def _remove(path: Path) -> bool:
    """Whether it could be removed."""
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s could not be removed: %s", path, error.strerror or error)
        return False
    return True
