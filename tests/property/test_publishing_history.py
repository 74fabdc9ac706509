"""Whatever happens to builds, in any order: what is current is whole, and what was published stays so."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lookalike.errors import ArtifactError
from lookalike.pipeline import publishing
from lookalike.pipeline.garbage import clear
from lookalike.pipeline.maintenance import list_builds, roll_back
from lookalike.pipeline.publishing import RefusedBuildError, publish, record_experiment
from lookalike.search.held_build import hold_build
from lookalike.store.artifacts import Store
from lookalike.store.events import publications, read_current, read_events
from lookalike.store.locks import HeldLock
from lookalike.store.manifests import MANIFEST, read_manifest
from tests.staged import METRICS, config_of, staged

contents = st.integers(0, 4)
# Of the two thresholds, every build meets one.
thresholds = st.sampled_from([0.5, 0.99])


class History(RuleBasedStateMachine):
    """A store, and beside it what must be true of it."""

    def __init__(self):
        super().__init__()
        self.store = Store(Path(tempfile.mkdtemp()) / "a root é")
        self.store.root.mkdir()
        self.current = None
        self.published: list[str] = []  # In the order of their newest publication.
        self.experiments: list[str] = []
        self.needed: set[str] = set()
        self.in_use: dict[str, HeldLock] = {}
        self.files: dict[str, bytes] = {}

    def teardown(self):
        for lock in self.in_use.values():
            lock.release()
        shutil.rmtree(self.store.root.parent)

    @rule(content=contents, demanded=thresholds, n=st.integers(1, 2))
    def build(self, content, demanded, n):
        config = config_of(self.store, f"evaluation.min_recall_at_10={demanded}", f"query.n={n}")
        results = staged(self.store, content)
        if demanded > METRICS["recall_at_10"]:
            with pytest.raises(RefusedBuildError) as refusal:
                publish(self.store, config, results, 0.0)
            assert read_events(self.store.root)[-1].build_id == refusal.value.outcome["build_id"]
            return
        n_events = len(read_events(self.store.root))
        self.current = publish(self.store, config, results, 0.0)["build_id"]
        if len(read_events(self.store.root)) > n_events:  # Else it was current, and keeps its place.
            self._note_published(self.current)

    @rule(content=contents)
    def build_killed_before_it_is_current(self, content):
        config = config_of(self.store, "evaluation.min_recall_at_10=0.5", "query.n=3")
        results = staged(self.store, content)
        with patch.object(publishing, "make_current", side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
            publish(self.store, config, results, 0.0)
        newest = read_events(self.store.root)[-1]
        if newest.kind == "published":
            self._note_published(newest.build_id)

    @rule(content=contents, name=st.sampled_from(["one", "two"]))
    def experiment(self, content, name):
        build_id = record_experiment(self.store, config_of(self.store), staged(self.store, content), name)
        newest = [e for e in read_events(self.store.root) if e.kind == "experiment" and e.name == name][-1]
        assert newest.build_id == build_id
        self.experiments = [e.build_id for e in read_events(self.store.root) if e.kind == "experiment"]
        self.needed.add(build_id)

    @rule(data=st.data())
    @precondition(lambda self: self.published)
    def roll_back_to(self, data):
        build_id = data.draw(st.sampled_from(self.published))
        if build_id in self.needed:
            assert roll_back(self.store, build_id).build_id == build_id
            self.current = build_id
        else:
            with pytest.raises(ArtifactError, match="was cleared away"):
                roll_back(self.store, build_id)

    @rule()
    def roll_back_to_the_one_before(self):
        with suppress(ArtifactError):
            before = self.current
            self.current = roll_back(self.store, None).build_id
            assert self.current != before

    @rule(keep=st.integers(1, 3))
    def clear(self, keep):
        clear(self.store, keep=keep, grace_seconds=0)
        newest_experiments = list(dict.fromkeys(reversed(self.experiments)))[:keep]
        self.needed &= {*self.published[-keep:], *newest_experiments, *self.in_use, self.current}
        left = {folder.relative_to(self.store.root).as_posix() for folder in self.store.root.glob("*/*/attempt-*")}
        allowed = {
            folder
            for event in read_events(self.store.root)
            if event.build_id in self.needed
            for folder in event.build.artifacts.values()
        }
        assert left <= allowed

    @rule(data=st.data())
    @precondition(lambda self: self.needed - self.in_use.keys())
    def open_searcher(self, data):
        build_id = data.draw(st.sampled_from(sorted(self.needed - self.in_use.keys())))
        self.in_use[build_id] = hold_build(self.store, build_id).lock

    @rule(data=st.data())
    @precondition(lambda self: self.in_use)
    def close_searcher(self, data):
        self.in_use.pop(data.draw(st.sampled_from(sorted(self.in_use)))).release()

    def _note_published(self, build_id):
        self.published = [*(known for known in self.published if known != build_id), build_id]
        self.needed.add(build_id)

    @invariant()
    def current_is_published_and_whole(self):
        current = read_current(self.store.root)
        assert (current and current.build_id) == self.current
        if current:
            assert current.build.is_complete(self.store.root)
            assert [build["build_id"] for build in list_builds(self.store) if build["is_current"]] == [self.current]

    @invariant()
    def what_was_published_stays_so(self):
        assert [event.build_id for event in publications(read_events(self.store.root))] == self.published
        assert {build["build_id"] for build in list_builds(self.store) if build["published"]} == set(self.published)

    @invariant()
    def what_is_needed_is_whole(self):
        complete = {
            event.build_id for event in read_events(self.store.root) if event.build.is_complete(self.store.root)
        }
        assert self.needed <= complete
        for path in self.store.root.glob(f"*/*/{MANIFEST}"):
            assert (path.parent / read_manifest(path)["attempt"] / "file").is_file(), "a manifest without its files"

    @invariant()
    def events_are_numbered_and_never_change(self):
        files = {path.name: path.read_bytes() for path in (self.store.root / "events").glob("*")}
        assert {name: files[name] for name in self.files} == self.files
        self.files = files
        sequences = [event.sequence for event in read_events(self.store.root)]
        assert sequences == list(range(1, len(sequences) + 1))


@pytest.fixture
def _no_syncs(monkeypatch):
    """That files reach the disk is tested by killing builds; here it would only take time."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


TestHistory = pytest.mark.usefixtures("_no_syncs")(History.TestCase)
TestHistory.settings = settings(max_examples=15, stateful_step_count=25)
