"""SIGKILL at every point of a build: nothing wrong is published, and the next build ends as if nothing had been."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookalike.pipeline.garbage import clear
from lookalike.pipeline.maintenance import verify
from lookalike.store.artifacts import Store
from tests.crash.conftest import Reference, Zygote, leftovers, manifests, root_before
from tests.tiny_build import answer_of

STAGES = ("download_dataset", "fine_tune", "embed_all", "build_lsh", "evaluate_recall", "publish")
# Of many alike points (images of an archive, steps of an epoch) this many are taken.
MOST_ALIKE = 2


def points_of(reference: Reference, stage: str) -> list[tuple[int, str]]:
    """(number, fault) of every point of a stage, counted from the stage's start."""
    events = [(kind, path) for at, kind, path in reference.events if at == stage]
    points: list[tuple[int, str]] = []
    seen: dict[tuple[str, str], int] = {}
    for number, (kind, path) in enumerate(events):
        # Single images, of which the archive holds many; every other file has its own name.
        alike = (kind, str(Path(path).parent) if Path(path).suffix == ".png" else path)
        seen[alike] = seen.get(alike, 0) + 1
        if seen[alike] > MOST_ALIKE:
            continue
        points.append((number, "kill_at"))
        if kind == "fsync":
            points.append((number, "tear_at"))
    return points


def break_and_repair(zygote: Zygote, reference: Reference, stage: str, number: int, fault: str, root: Path) -> None:
    """Kill a build at a point, look at what is left, build again, and compare with the undisturbed build."""
    root_before(reference, stage, root)
    killed = zygote.run(root, reference.settings, stage=stage, **{fault: number})
    assert killed["exit"] == -9, "the point was not reached"
    assert answer_of(root) in (reference.old.answer, reference.new.answer)
    finished = manifests(root)
    done = zygote.run(root, reference.settings)["outcomes"][0]
    assert "error" not in done, done
    check_repaired(reference, root, finished, done)


def check_repaired(reference: Reference, root: Path, finished: dict[str, bytes], done: dict) -> None:
    expected = reference.new.outcome
    assert done["digests"] == expected["digests"]
    assert done["build_id"] == expected["build_id"]
    assert answer_of(root) == reference.new.answer
    after = manifests(root)
    assert {place: after[place] for place in finished} == finished, "finished work was done again"
    assert verify(Store(root), deep=True) == []
    clear(Store(root), keep=1, grace_seconds=0)
    assert leftovers(root) == []
    assert verify(Store(root), deep=True) == []
    assert answer_of(root) == reference.new.answer


def find_point(reference: Reference, stage: str, kind: str, *, path_part: str = "", nth: int = 0) -> int:
    events = [event for event in reference.events if event[0] == stage]
    found = [number for number, (_, at, path) in enumerate(events) if at == kind and path_part in path]
    return found[nth]


@pytest.mark.parametrize(
    ("stage", "fault", "kind", "path_part", "nth"),
    [
        ("download_dataset", "kill_at", "os.rename", "partial", 1),
        ("embed_all", "tear_at", "fsync", "", 1),
        ("build_lsh", "kill_at", "sync", "", 0),
        ("publish", "tear_at", "fsync", "events", 0),
        ("publish", "kill_at", "os.rename", "events", 0),
        ("publish", "kill_at", "os.rename", "", -1),
    ],
    ids=[
        "while unpacking",
        "half a shard",
        "before the manifest",
        "half an event",
        "before the event",
        "before current.json",
    ],
)
def test_a_kill_changes_nothing_in_the_end(zygote, reference, tmp_path, stage, fault, kind, path_part, nth):
    number = find_point(reference, stage, kind, path_part=path_part, nth=nth)
    break_and_repair(zygote, reference, stage, number, fault, tmp_path / "root")


def test_two_undisturbed_builds_are_equal_to_the_last_bit(zygote, reference, tmp_path):
    done = zygote.run(tmp_path, reference.settings)["outcomes"][0]
    assert done["digests"] == reference.new.outcome["digests"]
    assert done["build_id"] == reference.new.outcome["build_id"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_every_point_of_a_stage(zygote, reference, tmp_path, stage):
    points = points_of(reference, stage)
    failures = list(sweep(zygote, reference, stage, points, tmp_path))
    print(f"{stage}: {len(points)} kills, {len(failures)} failures")  # noqa: T201
    assert not failures, "\n".join(failures)


def sweep(
    zygote: Zygote, reference: Reference, stage: str, points: list[tuple[int, str]], folder: Path
) -> Iterator[str]:
    events = [event for event in reference.events if event[0] == stage]
    for number, fault in points:
        root = folder / f"{fault} {number}"
        try:
            break_and_repair(zygote, reference, stage, number, fault, root)
        except Exception as error:  # One failure must not hide the others.
            yield f"{stage} {fault} {number} {events[number][1:]}: {str(error)[:400]}"
        shutil.rmtree(root, ignore_errors=True)
