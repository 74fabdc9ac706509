"""One zygote for all tests of this folder, and roots with a published build to break."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lookalike.store.manifests import read_manifest
from tests.servers import LocalServer, content
from tests.tiny_build import answer_of
from tests.tiny_model import make_images


class Zygote:
    """Starts builds in forked children; see `zygote.py`."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def start(self, root: Path, settings: list[str], **fault: Any) -> int:
        """Start a build below a root, with a fault; return its number."""
        child: int = self._ask({"do": "start", "root": str(root), "settings": settings, **fault})["child"]
        return child

    def wait(self, child: int) -> dict[str, Any]:
        """How a build ended: `exit`, and if it was not killed its `outcomes` and `events`."""
        return self._ask({"do": "wait", "child": child})

    def run(self, root: Path, settings: list[str], **fault: Any) -> dict[str, Any]:
        """Start a build and wait for its end."""
        return self.wait(self.start(root, settings, **fault))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@dataclass(frozen=True)
class Published:
    """A finished build: its outcome, and the answer to a query by which it is recognised."""

    outcome: dict[str, Any]
    answer: list[tuple[str, float]]


@dataclass(frozen=True)
class Reference:
    """Undisturbed builds: `old` is published in `root`; `new` followed, in a copy; its points in their order."""

    root: Path
    finished: Path
    settings: list[str]
    old: Published
    new: Published
    events: list[tuple[str, str, str]]


def archive_of(folder: Path) -> bytes:
    """The folder as a gzipped tar, in a fixed order."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.add(path, f"images/{path.relative_to(folder)}")
    return stream.getvalue()


@pytest.fixture(scope="session")
def zygote(tmp_path_factory) -> Iterator[Zygote]:
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def image_server(tmp_path_factory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("sources")
    with LocalServer() as server:
        for name, per_label in (("old", 5), ("new", 6)):
            server.serve(f"/{name}.tar.gz", content(archive_of(make_images(folder / name, per_label))))
        yield server


def mirror(server: LocalServer, name: str) -> list[str]:
    return ["dataset.source=caltech101", f'dataset.mirrors=[{{url: "{server.url(f"/{name}.tar.gz")}"}}]']


@pytest.fixture(scope="session")
def reference(zygote, image_server, tmp_path_factory) -> Reference:
    """The undisturbed builds that all others are compared with."""
    root = tmp_path_factory.mktemp("reference") / "old root"
    old = zygote.run(root, mirror(image_server, "old"))["outcomes"][0]
    old_answer = answer_of(root)
    finished = root.with_name("new root")
    shutil.copytree(root, finished)
    settings = mirror(image_server, "new")
    done = zygote.run(finished, settings)
    new = Published(done["outcomes"][0], answer_of(finished))
    events = [tuple(event) for event in done["events"]]
    return Reference(root, finished, settings, Published(old, old_answer), new, events)


def root_before(reference: Reference, stage: str, target: Path) -> Path:
    """A copy of the finished root as it was when `stage` began: the old build is published, earlier stages are done."""
    if stage == "download_dataset":
        shutil.copytree(reference.root, target)
        return target
    shutil.copytree(reference.finished, target)
    steps = list(reference.new.outcome["artifacts"])
    later = steps[steps.index(stage) :] if stage in steps else []
    for step in later:
        shutil.rmtree((target / reference.new.outcome["artifacts"][step]).parent)
    for event in (target / "events").glob(f"*-{reference.new.outcome['build_id']}.json"):
        event.unlink()
    shutil.copy2(reference.root / "current.json", target)
    return target


def manifests(root: Path) -> dict[str, bytes]:
    """The finished artifacts of a root: every manifest, by its place."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.glob("*/*/manifest.json")}


def leftovers(root: Path) -> list[str]:
    """What only a killed build can have left: temporary files, work in progress, folders that no manifest names."""
    named = {path.parent / read_manifest(path)["attempt"] for path in root.glob("*/*/manifest.json")}
    attempts = {path for path in root.glob("*/*/attempt-*") if path not in named}
    return sorted(str(path.relative_to(root)) for path in {*attempts, *root.rglob(".tmp-*"), *root.glob("*/*/partial")})
