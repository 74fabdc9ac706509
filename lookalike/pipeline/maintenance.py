"""Looking after the store: which builds there are, whether they are whole, and going back to one."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lookalike.errors import ArtifactError, LookalikeError
from lookalike.files import sha256_of_file
from lookalike.pipeline.garbage import size_bytes
from lookalike.store.artifacts import Store
from lookalike.store.events import (
    FIGURES,
    Build,
    Event,
    append_event,
    event_files,
    find_build,
    make_current,
    publications,
    read_current,
    read_event,
    read_events,
)
from lookalike.store.manifests import MANIFEST, damaged_files, read_manifest

_SAMPLED_IMAGES = 32


def list_builds(store: Store) -> list[dict[str, Any]]:
    """All builds that were put to the gate, in their order: figures, size, what is current, and their events.

    `published` says whether a build ever was; a later refusal does not change that. `is_complete` is false
    once a stage of the build was cleared away, or if it was refused before all were built. Figures that a
    build does not have are None.
    """
    events = [event for event in read_events(store.root) if event.kind != "experiment"]
    newest = {event.build_id: event for event in events}
    shown = newest | {event.build_id: event for event in publications(events)}
    return _rows(store, sorted(shown.values(), key=lambda event: event.sequence), events)


def list_experiments(store: Store) -> list[dict[str, Any]]:
    """All experiments in their order, as in `list_builds`, each with its `name`."""
    events = [event for event in read_events(store.root) if event.kind == "experiment"]
    newest = {(event.name, event.build_id): event for event in events}
    return _rows(store, list(newest.values()), events)


def _rows(store: Store, shown: Sequence[Event], events: Sequence[Event]) -> list[dict[str, Any]]:
    current = read_current(store.root)
    sizes = {folder: size_bytes(store.root / folder) for event in shown for folder in event.build.artifacts.values()}
    return [
        {
            "build_id": event.build_id,
            "name": event.name,
            "created_at": event.build.created_at,
            "published": event.kind == "published",
            "is_current": current is not None and event.build_id == current.build_id,
            "is_complete": event.build.is_complete(store.root),
            "config_digest": event.build.config_digest,
            **{name: event.build.metrics.get(name) for name in ("n_images", *FIGURES)},
            "size_bytes": sum(sizes[folder] for folder in event.build.artifacts.values()),
            "events": [other.summary() for other in events if other.build_id == event.build_id],
        }
        for event in shown
    ]


def roll_back(store: Store, build_id: str | None) -> Build:
    """Make an earlier published build current again, and return its record.

    `build_id` may be the beginning of an id; without one it is the newest other build that was published
    before the current one. Raises ArtifactError if there is none, if it never was published, or if any of
    its files is damaged or gone.
    """
    store.check_exists()
    # Shared with builds, so that nothing is cleared away between the check and the change.
    with store.building(), store.publishing():
        chosen = _usable_build(store, build_id)
        append_event(store.root, "rolled_back", chosen.build)
        make_current(store.root, chosen)
    return chosen.build


def _usable_build(store: Store, build_id: str | None) -> Event:
    events = read_events(store.root)
    chosen = find_build(events, build_id) if build_id is not None else _published_before(store, events)
    build = chosen.build
    if chosen.kind == "experiment":
        raise ArtifactError(
            f"build {build.build_id} is the experiment {chosen.name}, which no gate has seen; publish it with "
            "`lookalike build --config F`, which finds its stages finished"
        )
    if chosen.kind != "published":
        raise ArtifactError(f"build {build.build_id} was refused by its gate and cannot become current")
    build = build.model_copy(
        update={"artifacts": {step: _newest_folder(store, build, step) for step in build.artifacts}}
    )
    if not build.is_complete(store.root):
        raise ArtifactError(f"build {build.build_id} was cleared away and cannot become current; build it again")
    damage = [problem for folder in build.artifacts.values() for problem in _damage_of(store.root / folder)]
    if damage:
        raise ArtifactError(f"build {build.build_id} is damaged ({'; '.join(damage[:3])}); it cannot become current")
    return chosen.model_copy(update={"build": build})


def _newest_folder(store: Store, build: Build, step: str) -> str:
    """Return the folder of a stage, or the one in which it was built again to the same bytes."""
    folder = store.root / build.artifacts[step]
    with suppress(ArtifactError):
        manifest = read_manifest(folder.parent / MANIFEST)
        if manifest["digest"] == build.digests.get(step):
            folder = folder.with_name(manifest["attempt"])
    return store.relative(folder)


def _damage_of(folder: Path) -> list[str]:
    """Return what is wrong with the files of an artifact; a folder that the manifest no longer names is trusted."""
    try:
        manifest = read_manifest(folder.parent / MANIFEST)
    except ArtifactError as error:
        return [str(error)]
    return damaged_files(folder, manifest["files"], deep=False) if manifest["attempt"] == folder.name else []


def _published_before(store: Store, events: Sequence[Event]) -> Event:
    current = read_current(store.root)
    if current is None:
        raise ArtifactError(f"nothing is published below {store.root}, so there is nothing to go back from")
    earlier = [
        event
        for event in events
        if event.kind == "published" and event.sequence < current.sequence and event.build_id != current.build_id
    ]
    if not earlier:
        raise ArtifactError(f"no build was published before the current one, {current.build_id}")
    return earlier[-1]


def verify(store: Store, *, deep: bool) -> list[str]:
    """Return what is wrong below the root, one line each.

    Checks every finished artifact against its manifest, that the published build is complete and its
    counts agree, and that a sample of the images still has the bytes that were cataloged. Artifacts are hashed only
    where size or modification time have changed. `deep` hashes every artifact and every image.
    """
    store.check_exists()
    problems = [*_problems_of_artifacts(store, deep), *_problems_of_events(store)]
    try:
        current = read_current(store.root)
        if current is not None:
            problems += _problems_of_build(store, current.build, deep)
    except (LookalikeError, KeyError) as error:
        problems.append(f"current.json: {error}")
    return problems


def _problems_of_artifacts(store: Store, deep: bool) -> Iterator[str]:
    for path in sorted(store.root.glob(f"*/*/{MANIFEST}")):
        try:
            manifest = read_manifest(path)
        except ArtifactError as error:
            yield str(error)
            continue
        for problem in damaged_files(path.parent / manifest["attempt"], manifest["files"], deep=deep):
            yield f"{path.parent.relative_to(store.root).as_posix()}: {problem}"


def _problems_of_events(store: Store) -> Iterator[str]:
    for path in event_files(store.root):
        try:
            read_event(path)
        except ArtifactError as error:
            yield str(error)


def _problems_of_build(store: Store, build: Build, deep: bool) -> Iterator[str]:
    for step, folder in build.artifacts.items():
        if not (store.root / folder).is_dir():
            yield f"the published build lacks {folder} ({step})"
            return
    from lookalike.dataset.storage import open_dataset
    from lookalike.embedding.table import load_rows
    from lookalike.lsh import load_index

    dataset = open_dataset(store.root / build.artifacts["download_dataset"])
    rows = load_rows(store.root / build.artifacts["embed_all"])
    n_indexed = len(load_index(store.root / build.artifacts["build_lsh"]))
    if n_indexed != rows.num_rows:
        yield f"the index holds {n_indexed} vectors, the embeddings {rows.num_rows} rows"
    if dataset.vectors is not None:
        return  # There are no images.
    stride = 1 if deep else max(1, rows.num_rows // _SAMPLED_IMAGES)
    for path, image_id in zip(rows["path"][::stride].to_pylist(), rows["image_id"][::stride].to_pylist(), strict=True):
        problem = _image_problem(dataset.root / path, image_id)
        if problem:
            yield f"image {path}: {problem}"


def _image_problem(path: Path, image_id: str) -> str | None:
    try:
        return None if sha256_of_file(path) == image_id else "its bytes are not those that were indexed"
    except OSError as error:
        return error.strerror or str(error)
