"""The parameters of a deployment in its runs: a run may override settings, but not the artifact root."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.runtime import deployment

from lookalike.config.loading import load_config
from lookalike.config.sections import LookalikeConfig
from lookalike.errors import ConfigError


def load_run_config(config_file: str | None, settings: list[str]) -> LookalikeConfig:
    """Return the configuration of this run; ConfigError if its artifact root is not that of its deployment."""
    deployed = deployed_parameters()
    own = list(deployed.get("settings") or [])
    config = _load(config_file, [*own, *settings])
    if deployed:
        check_root(_load(deployed.get("config_file"), own).artifacts.root, config.artifacts.root)
    return config


def check_root(fixed: Path, wanted: Path) -> None:
    """Raise ConfigError unless both paths are the same folder."""
    if wanted.resolve() != fixed.resolve():
        raise ConfigError(
            f"this deployment works on the artifact root {fixed}, and its runs cannot work on {wanted}; "
            "deploy that collection under another name"
        )


def deployed_parameters() -> Mapping[str, Any]:
    """Return the parameters of the deployment of this run, as deployed; none for other runs."""
    if deployment.id is None:
        return {}
    with get_client(sync_client=True) as client:
        return client.read_deployment(deployment.id).parameters


def _load(config_file: str | None, settings: list[str]) -> LookalikeConfig:
    return load_config(Path(config_file) if config_file else None, settings)
