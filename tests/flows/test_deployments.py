"""Deployments as users run them: a real Prefect server, `lookalike serve`, and a worker, in processes of their own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from lookalike.config.loading import load_config
from lookalike.errors import ConfigError
from lookalike.search import Searcher
from lookalike.store.artifacts import Store
from tests.flows.conftest import TINY, run_cli
from tests.servers import LocalServer, content

PROJECT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 120
POOL = "test-pool"
EVERY_MINUTE = "* * * * *"


@contextlib.contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """Run a command in a folder until the block ends; yields the file of its output."""
    output = folder / f"{command[-1].strip('/').replace('/', '-')[-40:]}.log"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(happens: Callable[[], Any], what: str, seconds: float = TIMEOUT_SECONDS) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = happens()
        if answer:
            return answer
        time.sleep(0.3)
    pytest.fail(f"not in {seconds:g} s: {what}")


@pytest.fixture(scope="module")
def environment(prefect_server, tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of clients of a whole server: the one of the other tests runs no scheduler."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    common = {
        **os.environ,
        "PREFECT_HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port", str(port)]
    with running(command, folder, {**common, "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}):

        def is_up() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{url}/health").is_success
            return False

        wait_for(is_up, "the server answers")
        with temporary_settings({PREFECT_API_URL: url}):
            yield {**common, "PREFECT_API_URL": url}


@pytest.fixture(scope="module")
def collections(built, environment, tmp_path_factory) -> Iterator[dict[str, Path]]:
    """The configuration files of two collections with a schedule of every minute: one served, one with a worker."""
    folder = tmp_path_factory.mktemp("collections é")
    files = {}
    for name in ("served", "worked"):
        shutil.copytree(built[0], folder / f"root-{name}")
        values: dict[str, Any] = {"schedule": {"cron": EVERY_MINUTE}, "artifacts": {"root": f"root-{name}"}}
        for setting in TINY:
            section, _, key_and_value = setting.partition(".")
            key, _, value = key_and_value.partition("=")
            values.setdefault(section, {})[key] = yaml.safe_load(value)
        files[name] = folder / f"{name}.yaml"
        files[name].write_text(yaml.safe_dump(values))
    serve = [sys.executable, "-m", "flows.cli", "serve", "--config", "served.yaml"]
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", POOL]
    with running(serve, folder, environment), running(worker, folder, environment):
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            wait_for(
                lambda: [pool for pool in client.read_work_pools() if pool.name == POOL], "the worker made its pool"
            )
        done = cli(folder, environment, "deploy", "--config", "worked.yaml", "--pool", POOL)
        assert done.returncode == 0, done.stderr
        assert f"deployed build/worked ({EVERY_MINUTE}, UTC) and query/worked" in done.stderr
        wait_for(lambda: "query/served" in deployments(), "serve registered its deployments")
        yield files


def cli(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS,
    )  # fmt: skip


def deployments() -> dict[str, Any]:
    """All deployments of the server, by `flow/name`."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        return {f"{flows[one.flow_id]}/{one.name}": one for one in client.read_deployments()}


def start(deployment: str, **parameters: Any) -> Any:
    """Start a run now; returns it."""
    from prefect.deployments import run_deployment

    return run_deployment(deployment, parameters=parameters, timeout=0)


def end_of(run: Any) -> Any:
    """The final state of a run."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:

        def final_state() -> Any:
            state = client.read_flow_run(run.id).state
            return state if state.is_final() else None

        return wait_for(final_state, f"the end of run {run.name}")


def log_of(run: Any) -> list[str]:
    """The lines of a run's log that its own process wrote, as Prefect's page shows them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    with get_client(sync_client=True) as client:

        def whole_log() -> list[Any]:
            records = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
            # The flow's own last line; tasks finish earlier, and lines arrive in parts.
            ends = [
                record for record in records if record.name == "prefect.flow_runs" and "Finished in" in record.message
            ]
            return records if ends else []

        records = wait_for(whole_log, "the end of the log", 20)
    return [record.message for record in records if record.name != "prefect.flow_runs.worker"]


def image_of(root: Path) -> str:
    return f"id:{Searcher.open(root)._rows['image_id'][0].as_py()}"


def test_queries_are_answered_on_demand_with_neighbors_in_the_log(collections):
    folder = collections["served"].parent
    runs = []
    for name in collections:
        image = image_of(folder / f"root-{name}")
        good = start(f"query/{name}", images=[image], n=3, output=f"{name}.html")
        runs.append((name, image, good, start(f"query/{name}", images=["absent.jpg"])))
    for name, image, good, bad in runs:
        state = end_of(good)
        assert state.is_completed(), state.message
        assert [neighbor["rank"] for neighbor in state.result()[0]["neighbors"]] == [1, 2, 3]
        assert "<section>" in (folder / f"{name}.html").read_text()  # In the folder of serve, and of deploy.
        lines = log_of(good)
        assert sum(line.startswith(f"{image}: 3 most similar") for line in lines) == 1
        nearest = state.result()[0]["neighbors"][0]
        assert sum(line.startswith("     1  ") and line.endswith(nearest["path"]) for line in lines) == 1
        state = end_of(bad)
        assert (state.type.value, state.name) == ("FAILED", "Failed")
        assert state.message.startswith("absent.jpg does not exist; expected an image file")


def test_a_schedule_starts_runs_by_serve_and_by_a_worker_and_their_log_says_all(collections):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    by_name = deployments()
    for name in collections:
        (schedule,) = by_name[f"build/{name}"].schedules
        assert schedule.schedule.cron == EVERY_MINUTE
        assert by_name[f"build/{name}"].global_concurrency_limit.limit == 1
    with get_client(sync_client=True) as client:

        def scheduled_run(name: str) -> Any:
            of_deployment = FlowRunFilter(deployment_id={"any_": [by_name[f"build/{name}"].id]})
            runs = client.read_flow_runs(flow_run_filter=of_deployment)
            return next((run for run in runs if run.auto_scheduled and run.state.is_completed()), None)

        for name in collections:
            run = wait_for(lambda name=name: scheduled_run(name), f"a scheduled run of build/{name} completes")
            log = log_of(run)
            for expected in (
                "30 images and 0 rejected files in the catalog",
                "published after",
                "embed_all: cached",
                "recall@10",
                "next: lookalike query IMAGE --root",
            ):
                assert sum(expected in line for line in log) == 1, (expected, log)
            client.pause_deployment(by_name[f"build/{name}"].id)

        def is_idle(name: str) -> bool:
            of_deployment = FlowRunFilter(deployment_id={"any_": [by_name[f"build/{name}"].id]})
            runs = client.read_flow_runs(flow_run_filter=of_deployment)
            # Runs that the scheduler was just creating when the deployment was paused; they would still start.
            for run in [run for run in runs if run.state.is_scheduled()]:
                client.delete_flow_run(run.id)
            return all(run.state.is_final() for run in runs)

        # Rebuilds of the tests below would be cancelled beside one that is still running.
        for name in collections:
            wait_for(lambda name=name: is_idle(name), f"the scheduled runs of build/{name} end")


def test_runs_add_to_the_settings_of_their_deployment_and_keep_its_root(collections, tmp_path):
    elsewhere = ["query.n=4", f"artifacts.root={tmp_path}"]
    runs = [start(f"build/{name}", settings=elsewhere) for name in collections]
    runs.append(start("query/served", images=["x.jpg"], root=str(tmp_path)))
    for run in runs:
        state = end_of(run)
        assert state.is_failed()
        assert state.message.startswith("this deployment works on the artifact root")
        log = log_of(run)
        assert len([line for line in log if state.message in line]) == 1
        assert "Traceback" not in "".join(log)
    assert not any(tmp_path.iterdir())
    state = end_of(start("build/served", settings=["query.n=4"]))
    assert state.is_completed(), state.message
    config = Store(collections["served"].parent / "root-served").read_current()["config"]
    assert (config["query"]["n"], config["name"], config["training"]["image_size"]) == (4, "served", 64)


def test_a_name_belongs_to_one_root(collections, tmp_path):
    from flows.deployments import deploy_collection, serve_collection

    settings = [f"artifacts.root={tmp_path}"]
    config = load_config(collections["served"], settings)
    before = deployments()["build/served"]
    for register in (serve_collection, partial(deploy_collection, pool=POOL)):
        with pytest.raises(ConfigError, match=r"the name 'served' belongs to the collection at .*--set name=NAME"):
            register(config, collections["served"], settings)
    assert deployments()["build/served"].updated == before.updated


def test_serve_and_deploy_share_names_and_schedule(collections, monkeypatch):
    from flows.deployments import deploy_collection

    monkeypatch.chdir(collections["served"].parent)
    config, before = load_config(collections["served"]), deployments()
    assert set(before) == {"build/served", "query/served", "build/worked", "query/worked"}
    with pytest.raises(ConfigError, match="make it with `prefect work-pool create absent --type process`"):
        deploy_collection(config, collections["served"], [], "absent")
    deploy_collection(config, collections["served"], [], POOL)
    after = deployments()
    assert set(after) == set(before)
    assert after["build/served"].id == before["build/served"].id
    assert after["build/served"].work_pool_name == POOL
    assert len(after["build/served"].schedules) == 1


def test_people_are_told_of_refused_failed_and_missing_builds(collections, environment):
    from prefect.automations import Automation
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    from flows.notifications import notify_of_builds

    folder = collections["worked"].parent
    with LocalServer() as server:
        url = server.serve("/told", content(b""))
        told = {"subject": "{{subject}}", "body": "{{body}}"}
        CustomWebhookNotificationBlock(name="test", url=url, method="GET", params=told).save("test", overwrite=True)
        arguments = ("notify", "--config", "worked.yaml", "--block", "custom-webhook/test")
        assert cli(folder, environment, *arguments).returncode == 0
        notify_of_builds("worked", "custom-webhook/test", hours=10 / 3600)  # In the place of the others.
        gate = ["index.engine=lshash3", "index.n_bits=1", "index.n_tables=1", "index.probes=1"]
        refused = end_of(start("build/worked", settings=[*gate, "evaluation.min_recall_at_10=1.0"]))
        assert (refused.type.value, refused.name) == ("FAILED", "Refused")
        assert "the quality gate was not met" in refused.message
        assert end_of(start("build/worked", settings=["index.n_bit=1"])).name == "Failed"
        for title in ("build+refused", "build+failed", "no+publication"):
            wait_for(lambda title=title: any(title in path for path, _ in server.requests), f"a message of {title}", 60)
        (path,) = {path for path, _ in server.requests if "build+refused" in path}
        assert "the+quality+gate+was+not+met" in path
    for what in ("build refused", "build failed", "no publication"):
        Automation.read(name=f"lookalike worked: {what}").delete()


def test_serve_without_a_server_says_what_to_do(tmp_path):
    done = run_cli("serve", PREFECT_HOME=str(tmp_path), timeout_seconds=60)
    assert done.returncode == 2
    assert "`lookalike serve` needs a Prefect server: start one with `prefect server start`" in done.stderr
    assert "Traceback" not in done.stderr
