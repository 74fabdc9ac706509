"""Commands for a Prefect server that is running: serve, deploy, notify."""

from pathlib import Path

from flows.commands.declaring import CONFIG, DONE, SET, argument, command, positive
from lookalike.config.loading import load_config
from lookalike.config.sections import LookalikeConfig


@command("rebuild on a schedule, and answer queries as a Prefect deployment", CONFIG, SET)
def serve(config_file: Path | None, settings: list[str]) -> int:
    """Serve scheduled rebuilds and queries on demand until stopped."""
    config = _config_with_server("serve", config_file, settings)
    from flows.deployments import serve_collection

    serve_collection(config, config_file, settings)
    return DONE


@command(
    "the same for Prefect workers: register both in a work pool",
    CONFIG,
    SET,
    argument("--pool", required=True, metavar="P", help="a Prefect work pool of type process"),
)
def deploy(config_file: Path | None, settings: list[str], pool: str) -> int:
    """Register the same deployments as `serve` for the workers of a work pool."""
    config = _config_with_server("deploy", config_file, settings)
    from flows.deployments import deploy_collection

    deploy_collection(config, config_file, settings, pool)
    return DONE


@command(
    "have Prefect report refused, failed and missing builds",
    CONFIG,
    SET,
    argument("--block", required=True, metavar="TYPE/NAME", help="a notification block of Prefect"),
    argument("--hours", type=positive, default=24, metavar="H", help="without a publication (default: 24)"),
)
def notify(config_file: Path | None, settings: list[str], block: str, hours: int) -> int:
    """Set up Prefect automations that report refused, failed and missing builds through a notification block."""
    config = _config_with_server("notify", config_file, settings)
    from flows.notifications import notify_of_builds

    notify_of_builds(config.name, block, hours)
    return DONE


def _config_with_server(command_name: str, config_file: Path | None, settings: list[str]) -> LookalikeConfig:
    """Return the configuration; ConfigError, before Prefect is imported, if the user names no server."""
    config = load_config(config_file, settings)
    from flows.server import require_server

    require_server(command_name)
    return config
