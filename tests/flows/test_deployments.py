"""Deployments as users run them: processes of their own against a real Prefect server."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import TINY, run_cli

PROJECT = Path(__file__).parents[2]
START_TIMEOUT_SECONDS = 120


@pytest.fixture(scope="module")
def environment(prefect_server) -> dict[str, str]:
    from prefect.settings import get_current_settings

    return {
        **os.environ,
        "PREFECT_API_URL": str(get_current_settings().api.url),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "LOOKALIKE_HOME": str(PROJECT),
    }


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], ready: str) -> Iterator[None]:
    """Run a command until the block ends; begins when `ready` stands in its output."""
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        seen: list[str] = []
        for line in process.stdout:
            seen.append(line)
            if ready in line:
                break
        else:
            pytest.fail(f"{command} ended early: {''.join(seen)}")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def ask(root: Path, output: Path) -> list[dict[str, Any]]:
    from prefect.deployments import run_deployment

    from lookalike.search import Searcher

    image_id = Searcher.open(root)._rows["image_id"][0].as_py()
    parameters = {"images": [f"id:{image_id}"], "n": 3, "root": str(root), "output": str(output)}
    run = run_deployment("query/on-demand", parameters=parameters, timeout=START_TIMEOUT_SECONDS, poll_interval=0.2)
    assert run.state.is_completed(), run.state.message
    return run.state.result()


def test_serve_answers_on_demand_and_schedules_the_rebuild(built, environment, tmp_path):
    from prefect.client.orchestration import get_client

    root, _ = built
    settings = [a for s in (*TINY, f"artifacts.root={root}", "schedule.cron=5 4 * * *") for a in ("--set", s)]
    command = [sys.executable, "-m", "flows.cli", "serve", *settings]
    with running(command, environment, ready="serving build/scheduled (5 4 * * *, UTC)"):
        # The line above is printed just before the deployments are registered.
        run_with_retries = next(answer for answer in answers_until_registered(root, tmp_path / "served.png"))
    assert [neighbor["rank"] for neighbor in run_with_retries[0]["neighbors"]] == [1, 2, 3]
    assert (tmp_path / "served.png").stat().st_size > 0
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("build/scheduled")
    assert [schedule.schedule.cron for schedule in deployment.schedules] == ["5 4 * * *"]
    assert deployment.global_concurrency_limit.limit == 1


def answers_until_registered(root: Path, output: Path) -> Iterator[list[dict[str, Any]]]:
    import time

    from prefect.exceptions import ObjectNotFound

    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            yield ask(root, output)
        except ObjectNotFound:
            time.sleep(0.2)
    pytest.fail("the deployment was not registered in time")


def test_prefect_yaml_works_with_a_worker(built, environment, tmp_path):
    root, _ = built
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    for arguments in (["work-pool", "create", "lookalike", "--type", "process"], ["deploy", "--all"]):
        done = subprocess.run(
            [*prefect, *arguments],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    worker = [*prefect, "worker", "start", "--pool", "lookalike"]
    with running(worker, environment, ready="started!"):
        answer = ask(root, tmp_path / "worker.html")
    assert len(answer[0]["neighbors"]) == 3
    assert "<section>" in (tmp_path / "worker.html").read_text()


def test_serve_without_a_server_says_what_to_do(tmp_path):
    done = run_cli("serve", PREFECT_HOME=str(tmp_path), timeout_seconds=60)
    assert done.returncode == 2
    assert "needs a Prefect server: start one with `prefect server start`" in done.stderr
    assert "Traceback" not in done.stderr
