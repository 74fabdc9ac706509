"""SIGKILL at every write of a publication, a refusal, a rollback and an experiment: the history stays true."""

import shutil
from pathlib import Path

import pytest

from lookalike.pipeline.garbage import clear
from lookalike.pipeline.maintenance import list_builds, list_experiments
from lookalike.pipeline.publishing import publish
from lookalike.store.artifacts import Store
from lookalike.store.events import publications, read_current, read_events
from tests.staged import config_of, staged


@pytest.fixture(scope="module")
def two_builds(tmp_path_factory) -> Path:
    """A root in which build 0 and then build 1 were published, and the stages of builds 2 and 3 are finished."""
    store = Store(tmp_path_factory.mktemp("events") / "root")
    for content in (0, 1):
        publish(store, config_of(store), staged(store, content), 0.0)
    for content in (2, 3):
        staged(store, content)
    return store.root


def state_of(root: Path) -> tuple:
    """What is current, and what is known of every build."""
    store = Store(root)
    current = read_current(root)
    assert current.build.is_complete(root)
    rows = [(row["build_id"], row["published"], row["is_complete"]) for row in list_builds(store)]
    assert (current.build_id, True, True) in rows
    return current.build_id, rows, [row["build_id"] for row in list_experiments(store)]


@pytest.mark.parametrize("action", ["publish", "refuse", "roll back", "experiment"])
def test_a_kill_at_any_write_leaves_the_state_before_or_after(zygote, two_builds, tmp_path, action):
    undisturbed = Path(shutil.copytree(two_builds, tmp_path / "undisturbed"))
    done = zygote.run(undisturbed, [], act=action)
    before, after = state_of(two_builds), state_of(undisturbed)
    points = [kind for stage, kind, _ in done["events"] if stage == action]
    assert "os.rename" in points
    faults = [(number, "kill_at") for number in range(len(points))]
    faults += [(number, "tear_at") for number, kind in enumerate(points) if kind == "fsync"]
    for number, fault in faults:
        root = Path(shutil.copytree(two_builds, tmp_path / f"{fault} {number}"))
        assert zygote.run(root, [], act=action, stage=action, **{fault: number})["exit"] == -9
        current, builds, experiments = state_of(root)
        assert current in (before[0], after[0])
        assert {id for id, is_published, _ in builds if is_published} >= {row[0] for row in before[1] if row[1]}
        assert experiments in (before[2], after[2])
        zygote.run(root, [], act=action)
        assert state_of(root) == after
        clear(Store(root), keep=4, grace_seconds=0)
        assert list(root.rglob(".tmp-*")) == []
        sequences = [event.sequence for event in read_events(root)]
        assert sequences == list(range(1, len(sequences) + 1))
        assert len(publications(read_events(root))) == len([row for row in after[1] if row[1]])
