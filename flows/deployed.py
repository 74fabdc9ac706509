"""What a deployment fixes for its runs: their settings come on top of its own, and its artifact root stays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.runtime import deployment

from lookalike.config.loading import load_config
from lookalike.config.sections import LookalikeConfig
from lookalike.errors import ConfigError


def load_run_config(config_file: str | None, settings: list[str]) -> LookalikeConfig:
    """The configuration of this run; ConfigError if it would write to another root than its deployment."""
    deployed = deployed_parameters()
    own = list(deployed.get("settings") or [])
    config = _load(config_file, [*own, *settings])
    if deployed:
        check_root(_load(deployed.get("config_file"), own).artifacts.root, config.artifacts.root)
    return config


def check_root(fixed: Path, wanted: Path) -> None:
    """Raise ConfigError unless both are one folder."""
    if wanted.resolve() != fixed.resolve():
        raise ConfigError(
            f"this deployment works on the artifact root {fixed}, and its runs cannot work on {wanted}; "
            "deploy that collection under a name of its own"
        )


def deployed_parameters() -> Mapping[str, Any]:
    """The parameters of the deployment that this run belongs to, as they were deployed; none for other runs."""
    if deployment.id is None:
        return {}
    with get_client(sync_client=True) as client:
        return client.read_deployment(deployment.id).parameters


def _load(config_file: str | None, settings: list[str]) -> LookalikeConfig:
    return load_config(Path(config_file) if config_file else None, settings)
