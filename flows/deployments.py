"""A collection's two deployments, `build/NAME` and `query/NAME`, and the two ways to run them: serve and deploy.

Both ways register the same names with the schedule of the configuration, so going from one to the
other leaves one schedule.
"""

import logging
from pathlib import Path

from prefect import serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.build import build
from flows.query import query
from flows.zombies import watch_for_killed_runs
from lookalike.config.sections import LookalikeConfig
from lookalike.errors import ConfigError, LookalikeError

logger = logging.getLogger("lookalike.serve")

_ROOT_SETTING = "artifacts.root="


def serve_collection(config: LookalikeConfig, config_file: Path | None, settings: list[str]) -> None:
    """Serve the collection's deployments from this process until it is stopped; needs a Prefect server.

    A rebuild that is due while another runs is cancelled: the running one will do. Runs whose
    process was killed are marked as crashed by the server.
    """
    _check_name(config)
    watch_for_killed_runs()
    logger.info(
        "serving build/%s (%s, %s) and query/%s",
        config.name, config.schedule.cron, config.schedule.timezone, config.name,
    )  # fmt: skip
    serve(*_deployments(config, config_file, settings))


def deploy_collection(config: LookalikeConfig, config_file: Path | None, settings: list[str], pool: str) -> None:
    """Register the collection's deployments for the workers of a work pool of type process.

    Runs start in the current folder, with the Python environment of their worker.
    """
    _check_name(config)
    _check_pool(pool)
    watch_for_killed_runs()
    for deployment in _deployments(config, config_file, settings):
        deployment.job_variables = {"working_dir": str(Path.cwd())}
        try:
            deployment.apply(work_pool_name=pool)
        except DeploymentApplyError as error:
            raise LookalikeError(f"{deployment.flow_name}/{deployment.name}: {error}") from error
    logger.info(
        "deployed build/%s (%s, %s) and query/%s; run them with: PREFECT_WORKER_QUERY_SECONDS=1 prefect worker start "
        "--pool %s",
        config.name, config.schedule.cron, config.schedule.timezone, config.name, pool,
    )  # fmt: skip


def _deployments(config: LookalikeConfig, config_file: Path | None, settings: list[str]) -> list[RunnerDeployment]:
    root = str(config.artifacts.root.absolute())
    return [
        RunnerDeployment.from_flow(
            build,
            name=config.name,
            schedule=Cron(config.schedule.cron, timezone=config.schedule.timezone),
            parameters={
                "config_file": str(config_file.absolute()) if config_file else None,
                "settings": [*settings, f"{_ROOT_SETTING}{root}"],
            },
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
            description="Rebuild what has changed, and publish it if it passes its gate",
            entrypoint_type=EntrypointType.MODULE_PATH,
        ),
        RunnerDeployment.from_flow(
            query,
            name=config.name,
            parameters={"n": config.query.n, "root": root},
            description="The images most similar to a path, a URL or an id",
            entrypoint_type=EntrypointType.MODULE_PATH,
        ),
    ]


def _check_name(config: LookalikeConfig) -> None:
    """Raise ConfigError if the collection's name belongs to another root on this server."""
    root = config.artifacts.root.absolute()
    with get_client(sync_client=True) as client:
        try:
            deployed = client.read_deployment_by_name(f"query/{config.name}").parameters.get("root")
        except ObjectNotFound:
            deployed = None
    if deployed is not None and Path(deployed) != root:
        raise ConfigError(
            f"the name {config.name!r} belongs to the collection at {deployed} on this Prefect server; give the one at "
            f"{root} another: `name: NAME` in its configuration, or --set name=NAME"
        )


def _check_pool(pool: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            kind = client.read_work_pool(pool).type
        except ObjectNotFound as error:
            raise ConfigError(
                f"the server has no work pool {pool!r}; make it with `prefect work-pool create {pool} --type process`"
            ) from error
    if kind != "process":
        raise ConfigError(f"the work pool {pool!r} is of type {kind}; `lookalike deploy` is for pools of type process")
