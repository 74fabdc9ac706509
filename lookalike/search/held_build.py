"""Which build answers a query, held so that `lookalike gc` leaves its files alone."""

from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import ArtifactError
from lookalike.store.artifacts import Store
from lookalike.store.events import Build, Event, find_build, read_current, read_events
from lookalike.store.locks import HeldLock


@dataclass(frozen=True)
class HeldBuild:
    """A complete build, the folder of each of its stages, and the lock that keeps them until it is released."""

    build: Build
    folders: dict[str, Path]
    lock: HeldLock


def hold_build(store: Store, build_id: str | None = None) -> HeldBuild:
    """Return the published build, or the build or experiment whose id is, or begins with, `build_id`.

    Raises ArtifactError if there is none, or if it is incomplete.
    """
    while True:
        event = _find(store, build_id)
        lock = store.in_use(event.build_id)
        # Before the lock was held, another build may have become current, and this one been cleared away.
        if build_id is not None or read_current(store.root) == event:
            break
        lock.release()
    build = event.build
    if not build.is_complete(store.root):
        lock.release()
        was = "was cleared away" if build.is_finished else "was refused after its first stage"
        raise ArtifactError(f"build {build.build_id} {was} and cannot be queried; build it again")
    return HeldBuild(build, {stage: store.root / folder for stage, folder in build.artifacts.items()}, lock)


def _find(store: Store, build_id: str | None) -> Event:
    if build_id is not None:
        return find_build(read_events(store.root), build_id)
    current = read_current(store.root)
    if current is None:
        raise ArtifactError(f"nothing is published below {store.root}; run `lookalike build` first")
    return current
