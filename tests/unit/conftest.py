"""No stage, and no part of one, leaves a trace in the process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import LocalServer
from tests.state import unchanged_state, warm_up

_FOLDERS_OF_STAGES = {"dataset", "training", "embedding", "lsh", "evaluation", "search"}


def _is_of_a_stage(folder: Path) -> bool:
    return folder.name in _FOLDERS_OF_STAGES


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A local HTTP server, for one test."""
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="session")
def warm() -> None:
    """The process as it is once everything has been imported and used."""
    warm_up()


@pytest.fixture(autouse=True)
def _no_trace(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test of a stage that leaves the state of the process changed."""
    if not _is_of_a_stage(request.path.parent):
        yield
        return
    request.getfixturevalue("warm")
    with unchanged_state(but=["torch: random"] if request.node.get_closest_marker("draws") else []):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> Iterator[None]:
    """The same of what is made once for several tests, such as a trained model."""
    if fixturedef.scope == "function" or not _is_of_a_stage(Path(fixturedef.baseid)):
        return (yield)
    request.getfixturevalue("warm")
    with unchanged_state():
        return (yield)
