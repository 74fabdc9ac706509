"""What happened to the builds of a root: published, refused, made current again, tried as an experiment.

    events/<sequence>-<kind>-<build_id>.json   one file per event, written once and never changed
    current.json                               the record of the published build, which queries answer from

What is true of a build follows from its events, so a refusal takes no publication back. Events are numbered,
because a clock can go backwards. Events are written within `Store.publishing`.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lookalike.errors import ArtifactError
from lookalike.files import read_json, write_json_atomic

logger = logging.getLogger(__name__)

Kind = Literal["published", "refused", "rolled_back", "experiment"]
# Those of a build's figures that are listed and compared; a collection without labels lacks some of them.
FIGURES = ("accuracy", "precision_at_10", "map", "recall_at_10", "copy_recall_at_10")
_CURRENT = "current.json"
_NUMBERED = re.compile(r"(\d{8,})-")


class Build(BaseModel):
    """A finished build: what it was made from and with, what it reached, and the folder of each of its stages."""

    model_config = ConfigDict(frozen=True, extra="allow")

    # Part of the names of files.
    build_id: str = Field(pattern=r"^[\w-]+$")
    created_at: str
    config: dict[str, Any]
    config_digest: str
    collection: dict[str, Any] | None = None
    artifacts: dict[str, str]
    keys: dict[str, str] = {}
    digests: dict[str, str] = {}
    metrics: dict[str, Any]
    versions: dict[str, str] = {}

    @field_validator("config")
    @classmethod
    def _has_its_sections(cls, config: dict[str, Any]) -> dict[str, Any]:
        if not all(isinstance(config.get(section), dict) for section in ("dataset", "training", "query")):
            raise ValueError("expected the sections of a configuration")
        return config

    @field_validator("metrics")
    @classmethod
    def _has_numbers(cls, metrics: dict[str, Any]) -> dict[str, Any]:
        listed = [metrics.get("n_images"), *(metrics[name] for name in FIGURES if metrics.get(name) is not None)]
        if not all(isinstance(value, int | float) for value in listed):
            raise ValueError("expected figures")
        return metrics

    @property
    def is_finished(self) -> bool:
        """False for a build that was refused after its first stage."""
        return "evaluate_recall" in self.artifacts

    def is_complete(self, root: Path) -> bool:
        """Whether all five stages were built and none of them was cleared away."""
        return self.is_finished and all((root / folder).is_dir() for folder in self.artifacts.values())


class Event(BaseModel):
    """One thing that happened to a build; `reasons` are those of a refusal, `name` is that of an experiment."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    sequence: int
    at: str
    build: Build
    reasons: tuple[str, ...] = ()
    name: str | None = None

    @property
    def build_id(self) -> str:
        """The id of the build that it happened to."""
        return self.build.build_id

    def summary(self) -> dict[str, Any]:
        """The event without the build's record, as plain JSON values."""
        return {"event": self.kind, "at": self.at, "build_id": self.build_id, "reasons": list(self.reasons)}


def read_events(root: Path) -> list[Event]:
    """Everything that happened, in order; a damaged event is left out with a warning, and reported by `verify`."""
    recorded = _recorded_events(root)
    return sorted([*recorded, *_unrecorded_publication(root, recorded)], key=lambda event: event.sequence)


def append_event(
    root: Path, kind: Kind, build: Build, *, reasons: Sequence[str] = (), name: str | None = None
) -> Event:
    """Write the next event, whole or not at all, and return it."""
    recorded = _recorded_events(root)
    for event in _unrecorded_publication(root, recorded):
        _write(root, event)
    event = Event(
        kind=kind,
        sequence=_next_sequence(root, recorded),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        build=build,
        reasons=tuple(reasons),
        name=name,
    )
    _write(root, event)
    return event


def make_current(root: Path, publication: Event) -> None:
    """Let queries answer from a published build from now on; those that are open keep theirs."""
    write_json_atomic(root / _CURRENT, current_record(publication))


def current_record(publication: Event) -> dict[str, Any]:
    """The content of `current.json`: the build, that it is published, and the number of its publication."""
    return {**publication.build.model_dump(mode="json"), "published": True, "sequence": publication.sequence}


def read_current(root: Path) -> Event | None:
    """The publication that queries answer from, or None before the first one; a damaged one raises ArtifactError."""
    path = root / _CURRENT
    return read_event(path) if path.is_file() else None


def event_files(root: Path) -> list[Path]:
    """Return the files of all events in order; they may be damaged."""
    return sorted((root / "events").glob("*.json"))


def read_event(path: Path) -> Event:
    """Return the event in a file, or the publication in `current.json`; ArtifactError if it is damaged or neither."""
    content = read_json(path, ArtifactError)
    try:
        return Event.model_validate(_as_event(content))
    except ValidationError as error:
        raise ArtifactError(f"{path} is not the record of a build; it was altered") from error


def publications(events: Iterable[Event]) -> list[Event]:
    """The newest publication of every build that was ever published, in order."""
    newest = {event.build_id: event for event in events if event.kind == "published"}
    return sorted(newest.values(), key=lambda event: event.sequence)


def find_build(events: Sequence[Event], build_id: str) -> Event:
    """The newest publication of a build, or its newest event if it never was published.

    `build_id` may be the beginning of one id. Raises ArtifactError if it fits none, or several.
    """
    known = list(dict.fromkeys(event.build_id for event in events))
    fitting = [name for name in known if build_id and name.startswith(build_id)]
    if build_id not in known and len(fitting) != 1:
        if fitting:
            raise ArtifactError(f"{build_id} is the beginning of several builds: {', '.join(fitting)}")
        raise ArtifactError(f"there is no build {build_id!r}; there are: {', '.join(known) or 'none'}")
    chosen = build_id if build_id in known else fitting[0]
    own = [event for event in events if event.build_id == chosen]
    return (publications(own) or own)[-1]


def _recorded_events(root: Path) -> list[Event]:
    events = []
    for path in event_files(root):
        try:
            events.append(read_event(path))
        except ArtifactError as error:
            logger.warning("%s; it is left out", error)
    return events


def _unrecorded_publication(root: Path, recorded: Sequence[Event]) -> list[Event]:
    """Return the current publication if no event tells of it: version 0.1.0 wrote no events, and they may be lost."""
    try:
        current = read_current(root)
    except ArtifactError:
        return []  # Commands that need it say so.
    if current is None or any(_identity(event) == _identity(current) for event in recorded):
        return []
    return [current]


def _identity(event: Event) -> tuple[int, str, str]:
    return event.sequence, event.kind, event.build_id


def _next_sequence(root: Path, recorded: Sequence[Event]) -> int:
    """One more than all numbers, those in the names of damaged events included."""
    named = [int(match[1]) for path in event_files(root) if (match := _NUMBERED.match(path.name))]
    known = [event.sequence for event in (*recorded, *_unrecorded_publication(root, recorded))]
    return max([*named, *known], default=0) + 1


def _write(root: Path, event: Event) -> None:
    # With the build's id in its name no event can replace that of another build, even where locks do not work.
    name = f"{event.sequence:08d}-{event.kind}-{event.build_id}.json"
    write_json_atomic(root / "events" / name, event.model_dump(mode="json"))


def _as_event(content: Any) -> Any:
    """Return the content of an event; `current.json` holds the bare record of a build, with its number."""
    if not isinstance(content, dict) or "build_id" not in content:
        return content
    build = {name: value for name, value in content.items() if name not in ("published", "sequence")}
    return {"kind": "published", "sequence": content.get("sequence"), "at": content.get("created_at"), "build": build}
