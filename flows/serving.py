"""`lookalike serve`: one process that rebuilds on a schedule and answers queries as Prefect deployments."""

import logging
from pathlib import Path

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from prefect.settings import get_current_settings

from flows.build import build
from flows.query import query
from flows.server import check_server
from flows.zombies import watch_for_killed_runs
from lookalike.config import LookalikeConfig
from lookalike.errors import ConfigError

logger = logging.getLogger("lookalike.serve")


def serve_deployments(config: LookalikeConfig, config_file: Path | None, settings: list[str]) -> None:
    """Serve `build/scheduled` and `query/on-demand` until stopped; needs a Prefect server.

    A rebuild that is due while another runs is cancelled: the running one will do. Runs whose
    process was killed are marked as crashed by the server.
    """
    if not get_current_settings().api.url:
        raise ConfigError(
            "`lookalike serve` needs a Prefect server: start one with `prefect server start`, "
            "then set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    check_server()
    scheduled = RunnerDeployment.from_flow(
        build,
        name="scheduled",
        schedule=Cron(config.schedule.cron, timezone=config.schedule.timezone),
        parameters={"config_file": str(config_file) if config_file else None, "settings": settings},
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        description="Rebuild what has changed, and publish it if it passes its gate",
    )
    on_demand = RunnerDeployment.from_flow(
        query,
        name="on-demand",
        parameters={"n": config.query.n, "root": str(config.artifacts.root)},
        description="The images most similar to a path, a URL or an id",
    )
    watch_for_killed_runs()
    logger.info("serving build/scheduled (%s, %s) and query/on-demand", config.schedule.cron, config.schedule.timezone)
    serve(scheduled, on_demand)
