"""The artifact store: content-addressed, crash-safe, and without any Prefect.

Layout below the root::

    <step>/<key>/manifest.json         written last, atomically: the artifact exists from then on
    <step>/<key>/<attempt>/...         the files of the attempt that the manifest names
    <step>/<key>/partial/...           work in progress; a resumable step finds it again after a crash
    builds/<build_id>.json             one record a finished build, published or refused
    current.json                       a copy of the published build's record
    events/, current.json              what happened to the builds, and which one is published: see `events.py`
    locks/<name>.lock                  see `locks.py`

The key of a step is the digest of its name, its code version, its settings and the digests of
what it reads. Keys chain through output digests: an artifact that is rebuilt to the same bytes
leaves everything after it cached.
"""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lookalike.errors import ArtifactError
from lookalike.files import (
    TEMPORARY_PREFIX,
    digest_of,
    flush_everything,
    sha256_of_file,
    user_path,
    write_json_atomic,
)
from lookalike.store.events import current_record, read_current
from lookalike.store.locks import HeldLock, exclusive_lock, shared_lock, try_exclusive
from lookalike.store.manifests import FORMAT_VERSION, MANIFEST, damaged_files, read_manifest

logger = logging.getLogger(__name__)

PARTIAL = "partial"


@dataclass(frozen=True)
class StepSpec:
    """Everything that decides what a step produces."""

    step: str
    code_version: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def key(self) -> str:
        """The step's cache key: 20 hexadecimal digits."""
        return digest_of(self.as_json())[:20]

    def as_json(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return {
            "step": self.step,
            "code_version": self.code_version,
            "settings": dict(self.settings),
            "inputs": dict(self.inputs),
        }


@dataclass(frozen=True)
class ArtifactReference:
    """A finished artifact: what tasks hand to each other instead of data."""

    step: str
    key: str
    digest: str
    folder: Path
    summary: Mapping[str, Any]
    seconds: float


# Fills a folder and returns a small JSON-able summary of what it made.
BuildFunction = Callable[[Path], Mapping[str, Any]]


class Store:
    """Finds, builds and verifies artifacts below one root folder; a relative one is looked up once, here."""

    def __init__(self, root: Path | str) -> None:
        # Once and for all: neither a change of the working folder nor of a link leads elsewhere half-way.
        self.root = Path(os.path.realpath(user_path(root)))

    def check(self, spec: StepSpec) -> ArtifactReference | None:
        """Return the artifact of `spec`, or None if it is missing, incomplete or damaged.

        A file is hashed only if its modification time is not that of the manifest.
        """
        manifest_path = self.root / spec.step / spec.key / MANIFEST
        if not manifest_path.is_file():
            return None
        try:
            manifest = read_manifest(manifest_path)
        except ArtifactError as error:
            logger.warning("%s; building it again", error)
            return None
        reference = self._reference(manifest)
        damage = damaged_files(reference.folder, manifest["files"], deep=False)
        if damage:
            logger.warning("%s is damaged (%s); building it again", reference.step, "; ".join(damage[:3]))
            return None
        return reference

    def ensure(
        self, spec: StepSpec, build: BuildFunction, *, resumable: bool = False, timed_files: Collection[str] = ()
    ) -> tuple[ArtifactReference, bool]:
        """The artifact of `spec` and whether it was already there; builds it if not.

        `build` fills a private folder. Nobody else builds the same artifact meanwhile: another
        process waits here, and then finds it done. A `resumable` build is handed what a killed
        one left behind. `timed_files` hold seconds that were measured: they are checked for damage
        like all others, but are no part of the artifact's digest, which would else differ each time.
        """
        reference = self.check(spec)
        if reference is not None:
            return reference, True
        with exclusive_lock(self.root, f"{spec.step}-{spec.key}", waiting_for=spec.step):
            reference = self.check(spec)
            if reference is not None:
                return reference, True
            return self._build(spec, build, resumable=resumable, timed_files=timed_files), False

    def finished_folders(self, step: str, code_version: str) -> list[Path]:
        """Return the folders of all artifacts that a version of a step's code has finished; they may be damaged."""
        found = []
        for path in sorted(self.root.glob(f"{step}/*/{MANIFEST}")):
            with suppress(ArtifactError):
                manifest = read_manifest(path)
                if manifest["spec"]["code_version"] == code_version:
                    found.append(path.parent / manifest["attempt"])
        return found

    def find(self, folder: Path) -> ArtifactReference | None:
        """Return the finished artifact whose files are in `folder`, or None if it is missing or damaged."""
        with suppress(ArtifactError):
            manifest = read_manifest(folder.parent / MANIFEST)
            if manifest["attempt"] == folder.name and not damaged_files(folder, manifest["files"], deep=False):
                return self._reference(manifest)
        return None

    def building(self) -> AbstractContextManager[None]:
        """Keep `alone` out while a build or rollback runs; several may run at once."""
        return shared_lock(self.root, "builds")

    def publishing(self) -> AbstractContextManager[None]:
        """Let no other process choose what is published; waits for its turn."""
        return exclusive_lock(self.root, "publish", waiting_for="what is published")

    def in_use(self, build_id: str) -> HeldLock:
        """Keep a build from being cleared away until the lock is released."""
        return HeldLock(self.root, _lock_of(build_id))

    def unused(self, build_id: str) -> AbstractContextManager[bool]:
        """Yield whether nobody uses a build; if so, `in_use` waits until the block ends."""
        return try_exclusive(self.root, _lock_of(build_id))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep `building` waiting; raises ArtifactError if a build runs, or if there is no such root."""
        self.check_exists()
        with try_exclusive(self.root, "builds") as is_alone:
            if not is_alone:
                raise ArtifactError("a build is running; clear away when it has ended")
            yield

    def check_exists(self) -> None:
        """Raise ArtifactError if there is no such root: looking after it must not make one."""
        if not self.root.is_dir():
            raise ArtifactError(f"there is no artifact root {self.root}")

    def read_current(self) -> dict[str, Any] | None:
        """The record of the published build, or None before the first one; a damaged one raises ArtifactError."""
        current = read_current(self.root)
        return None if current is None else current_record(current)

    def find_current(self) -> dict[str, Any] | None:
        """As `read_current`, but a damaged record counts as none: a build goes on, and writes a new one."""
        try:
            return self.read_current()
        except ArtifactError as error:
            logger.warning("%s; this build will replace it", error)
            return None

    def relative(self, folder: Path) -> str:
        """A folder of the store as a path relative to the root, with forward slashes."""
        return folder.relative_to(self.root).as_posix()

    def _build(
        self, spec: StepSpec, build: BuildFunction, *, resumable: bool, timed_files: Collection[str]
    ) -> ArtifactReference:
        step_folder = self.root / spec.step / spec.key
        partial = step_folder / PARTIAL
        _prepare(partial, resumable=resumable)
        started = time.perf_counter()
        summary = build(partial)
        seconds = time.perf_counter() - started
        # A new name for each attempt: a reader of the previous one keeps a whole view of it.
        attempt = f"attempt-{uuid.uuid4().hex[:12]}"
        manifest = _manifest(spec, partial, attempt, dict(summary), seconds, timed_files)
        # The files must be on the disk before the manifest says that they are. One call: an
        # fsync for each of 9,000 images takes half a minute.
        flush_everything()
        # Only now, at the last moment: a build that is killed before can still go on in its partial folder.
        partial.rename(step_folder / attempt)
        write_json_atomic(step_folder / MANIFEST, manifest)
        return self._reference(manifest)

    def _reference(self, manifest: Mapping[str, Any]) -> ArtifactReference:
        step, key = manifest["spec"]["step"], manifest["key"]
        return ArtifactReference(
            step=step,
            key=key,
            digest=manifest["digest"],
            folder=self.root / step / key / manifest["attempt"],
            summary=manifest["summary"],
            seconds=manifest["seconds"],
        )


def _lock_of(build_id: str) -> str:
    return f"build-{build_id}"


def _prepare(partial: Path, *, resumable: bool) -> None:
    """An empty folder to build in, or for a resumable build what a killed one finished."""
    if not resumable:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    # Half-written files of a killed build would else become part of the artifact.
    for path in partial.rglob(f"{TEMPORARY_PREFIX}*"):
        path.unlink()


def _manifest(
    spec: StepSpec,
    folder: Path,
    attempt: str,
    summary: dict[str, Any],
    seconds: float,
    timed_files: Collection[str],
) -> dict[str, Any]:
    files = {path.relative_to(folder).as_posix(): _file_entry(path) for path in _files_below(folder)}
    return {
        "format_version": FORMAT_VERSION,
        "spec": spec.as_json(),
        "key": spec.key,
        "attempt": attempt,
        "files": files,
        "digest": digest_of({name: entry["sha256"] for name, entry in files.items() if name not in timed_files}),
        "summary": summary,
        "seconds": round(seconds, 3),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _file_entry(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256_of_file(path)}
