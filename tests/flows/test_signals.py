"""Builds that somebody ends: SIGTERM, as sent by a service manager; and the watch over those killed outright."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import TINY, run_cli

# So many images that drawing them outlasts the test.
ENDLESS = ("dataset.synthetic_images_per_label=5000", "dataset.synthetic_labels=12")


@pytest.fixture
def api_url(prefect_server) -> str:
    from prefect.settings import get_current_settings

    return str(get_current_settings().api.url)


def start_build(root: Path, api_url: str) -> subprocess.Popen[str]:
    """A build in a process of its own that has begun its first stage."""
    settings = [*TINY, f"artifacts.root={root}", *ENDLESS]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "build", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PREFECT_API_URL": api_url},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "download_dataset ..." in line:
            return process
    raise AssertionError("the build ended before its first stage")


def newest_build_state(api_url: str) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        return str(client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)[0].state_name)


def test_sigterm_ends_a_build_in_seconds_with_one_line(api_url, tmp_path):
    process = start_build(tmp_path, api_url)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.strip().splitlines()[-1] == "lookalike: terminated; a new start goes on from what is finished"
    assert "Traceback" not in errors
    assert newest_build_state(api_url) == "Crashed"
    assert not (tmp_path / "current.json").exists()


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    settings = [argument for setting in (*TINY, f"artifacts.root={tmp_path}") for argument in ("--set", setting)]
    done = run_cli("build", *settings, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 1
    assert "the Prefect server at http://127.0.0.1:9/api (PREFECT_API_URL) does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_watch_over_killed_runs_is_set_up_once(prefect_server):
    from prefect.automations import Automation
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.zombies import NAME, watch_for_killed_runs

    with contextlib.suppress(ValueError):  # `lookalike serve`, tested on the same server, sets it up too.
        Automation.read(name=NAME).delete()
    assert not watch_for_killed_runs(), "without heartbeats every run would look killed"
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 40}):
        assert watch_for_killed_runs()
        assert not watch_for_killed_runs()
    automation = Automation.read(name=NAME)
    assert automation.trigger.within.total_seconds() == 120
    automation.delete()
