"""Looking after the store: which builds there are, whether they are whole, going back, and clearing away."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.errors import ArtifactError, LookalikeError
from lookalike.files import TEMPORARY_PREFIX, sha256_of_file
from lookalike.locks import exclusive_lock, shared_lock, try_exclusive
from lookalike.store import MANIFEST, PARTIAL, Store, damaged_files, read_manifest, read_record

DEFAULT_GRACE_SECONDS = 3600.0
_SAMPLED_IMAGES = 32


@dataclass(frozen=True)
class Garbage:
    """Something that no kept build needs: a folder or a file, and its size."""

    path: Path
    size_bytes: int


def list_builds(store: Store) -> list[dict[str, Any]]:
    """All finished builds, oldest first: id, date, configuration, figures, size, and whether it is current.

    `is_complete` is false once a stage of the build was cleared away.
    """
    current = store.read_current() or {}
    return [
        {
            "build_id": record["build_id"],
            "created_at": record["created_at"],
            "published": record["published"],
            "is_current": record["build_id"] == current.get("build_id"),
            "is_complete": all((store.root / folder).is_dir() for folder in record["artifacts"].values()),
            "config_digest": record["config_digest"],
            "n_images": record["metrics"]["n_images"],
            "recall_at_10": record["metrics"]["recall_at_10"],
            # Of these a build has the one or the other: precision needs labels.
            "precision_at_10": record["metrics"].get("precision_at_10"),
            "copy_recall_at_10": record["metrics"].get("copy_recall_at_10"),
            "size_bytes": sum(_size_bytes(store.root / folder) for folder in record["artifacts"].values()),
        }
        for record in store.read_builds()
    ]


def roll_back(store: Store, build_id: str | None) -> dict[str, Any]:
    """Make an earlier published build current again, and return its record.

    Without an id it is the newest published build that was made before the current one. Raises
    ArtifactError if there is none, if it was refused by its gate, or if any of its files is damaged.
    """
    # Shared with builds, so that nothing is cleared away between the check and the change.
    with shared_lock(store.root, "builds"), exclusive_lock(store.root, "publish", waiting_for="what is published"):
        record = _usable_build(store, build_id)
        store.make_current(record)
    return record


def _usable_build(store: Store, build_id: str | None) -> dict[str, Any]:
    record = _chosen_build(store, build_id)
    if not record["published"]:
        raise ArtifactError(f"build {record['build_id']} was refused by its gate and cannot become current")
    damage = [problem for step, folder in record["artifacts"].items() for problem in _damage_of(store, step, folder)]
    if damage:
        raise ArtifactError(
            f"build {record['build_id']} is damaged ({'; '.join(damage[:3])}); it cannot become current"
        )
    return record


def verify(store: Store, *, deep: bool) -> list[str]:
    """What is wrong below the root, one line each; empty when all is well.

    Checks every finished artifact against its manifest, that the published build is whole and its
    stages add up, and that files of images still have the bytes that were cataloged: a sample of
    them, and their sizes and times alone where nothing has changed. `deep` reads every byte.
    """
    problems = [
        f"{reference.step}/{reference.key}: {problem}"
        for reference in store.references()
        for problem in _damage_of(store, reference.step, store.relative(reference.folder), deep=deep)
    ]
    problems += _unreadable_files(store)
    try:
        current = store.read_current()
        if current is not None:
            problems += _problems_of_build(store, current, deep)
    except (LookalikeError, KeyError) as error:
        problems.append(f"current.json: {error}")
    return problems


def find_garbage(store: Store, *, keep: int, grace_seconds: float = DEFAULT_GRACE_SECONDS) -> list[Garbage]:
    """Everything that may be cleared away: what neither the current nor the `keep` newest published builds need.

    Never what is in use by a searcher, nor what is younger than the grace period. Nothing at all
    while a build runs, since what it has finished belongs to no record yet: ArtifactError then.
    """
    with try_exclusive(store.root, "builds") as is_alone:
        if not is_alone:
            raise ArtifactError("a build is running; clear away when it has ended")
        return list(_garbage(store, keep, grace_seconds))


def clear(store: Store, *, keep: int, grace_seconds: float = DEFAULT_GRACE_SECONDS) -> list[Garbage]:
    """Remove the garbage (see `find_garbage`) and return what was removed."""
    with try_exclusive(store.root, "builds") as is_alone:
        if not is_alone:
            raise ArtifactError("a build is running; clear away when it has ended")
        garbage = list(_garbage(store, keep, grace_seconds))
        for item in garbage:
            _remove(item.path)
        for folder in store.root.glob("*/*"):
            with suppress(OSError):  # Not empty: in use.
                folder.rmdir()
    return garbage


def _chosen_build(store: Store, build_id: str | None) -> dict[str, Any]:
    builds = store.read_builds()
    if build_id is not None:
        for record in builds:
            if record["build_id"] == build_id:
                return record
        known = ", ".join(record["build_id"] for record in builds) or "none"
        raise ArtifactError(f"there is no build {build_id}; there are: {known}")
    current = store.read_current()
    if current is None:
        raise ArtifactError(f"nothing is published below {store.root}, so there is nothing to go back from")
    earlier = [r for r in builds if r["published"] and r["sequence"] < current["sequence"]]
    if not earlier:
        raise ArtifactError(f"no build was published before the current one, {current['build_id']}")
    return earlier[-1]


def _damage_of(store: Store, step: str, folder: str, *, deep: bool = False) -> list[str]:
    manifest_path = (store.root / folder).parent / MANIFEST
    try:
        manifest = read_manifest(manifest_path)
    except ArtifactError as error:
        return [str(error)]
    if manifest["attempt"] != Path(folder).name:
        return [] if (store.root / folder).is_dir() else [f"{folder} is gone"]
    return damaged_files(store.root / folder, manifest["files"], deep=deep)


def _unreadable_files(store: Store) -> Iterator[str]:
    """What is wrong with manifests and with records of builds."""
    manifests = sorted(store.root.glob(f"*/*/{MANIFEST}"))
    for path, read in [(path, read_manifest) for path in manifests] + [(p, read_record) for p in store.build_records()]:
        try:
            read(path)
        except ArtifactError as error:
            yield str(error)


def _problems_of_build(store: Store, record: Mapping[str, Any], deep: bool) -> Iterator[str]:
    for step, folder in record["artifacts"].items():
        if not (store.root / folder).is_dir():
            yield f"the published build lacks {folder} ({step})"
            return
    from lookalike.dataset import open_dataset
    from lookalike.embedding import load_rows
    from lookalike.lsh import load_index

    dataset = open_dataset(store.root / record["artifacts"]["download_dataset"])
    rows = load_rows(store.root / record["artifacts"]["embed_all"])
    n_indexed = len(load_index(store.root / record["artifacts"]["build_lsh"]))
    if n_indexed != rows.num_rows:
        yield f"the index holds {n_indexed} vectors, the embeddings {rows.num_rows} rows"
    step = 1 if deep else max(1, rows.num_rows // _SAMPLED_IMAGES)
    for path, image_id in zip(rows["path"][::step].to_pylist(), rows["image_id"][::step].to_pylist(), strict=True):
        problem = _image_problem(dataset.root / path, image_id)
        if problem:
            yield f"image {path}: {problem}"


def _image_problem(path: Path, image_id: str) -> str | None:
    try:
        return None if sha256_of_file(path) == image_id else "its bytes are not those that were indexed"
    except OSError as error:
        return error.strerror or str(error)


def _garbage(store: Store, keep: int, grace_seconds: float) -> Iterator[Garbage]:
    kept = _kept_folders(store, keep)
    for folder in store.root.glob("*/*/*/"):
        is_ours = folder.name == PARTIAL or folder.name.startswith("attempt-")
        if is_ours and folder not in kept and _age_seconds(folder) >= grace_seconds:
            yield Garbage(folder, _size_bytes(folder))
    for manifest in store.root.glob(f"*/*/{MANIFEST}"):
        # Without its files it would only be reported as damage.
        if not any(folder.parent == manifest.parent for folder in kept) and _age_seconds(manifest) >= grace_seconds:
            yield Garbage(manifest, manifest.stat().st_size)
    # A download that was given up, or finished by another mirror; one that goes on is younger.
    for path in (store.root / "downloads").glob("*.partial*"):
        if _age_seconds(path) >= grace_seconds:
            yield Garbage(path, _size_bytes(path))
    for path in store.root.rglob(f"{TEMPORARY_PREFIX}*"):
        inside_other_garbage = PARTIAL in path.parts
        if not inside_other_garbage and _age_seconds(path) >= grace_seconds:
            yield Garbage(path, _size_bytes(path))


def _kept_folders(store: Store, keep: int) -> set[Path]:
    published = [record for record in store.read_builds() if record["published"]]
    current = store.read_current()
    records = [*published[max(0, len(published) - keep) :], *([current] if current else [])]
    records += [record for record in store.read_builds() if _is_in_use(store, record["build_id"])]
    return {store.root / folder for record in records for folder in record["artifacts"].values()}


def _is_in_use(store: Store, build_id: str) -> bool:
    with try_exclusive(store.root, f"build-{build_id}") as is_alone:
        return not is_alone


def _age_seconds(path: Path) -> float:
    # A file from the future, after a clock went backwards, counts as new and is kept.
    return time.time() - path.lstat().st_mtime


def _size_bytes(path: Path) -> int:
    if path.is_file() or path.is_symlink():
        return path.lstat().st_size
    # Nothing there, after it was cleared away, gives 0.
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
