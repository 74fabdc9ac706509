"""Which Prefect server a command uses, the one that the user names or a private one; trouble is said in one line.

Prefect is imported inside the functions: what it finds in the environment must be in order before.
"""

import contextlib
import io
import logging
import os
import warnings
from typing import TYPE_CHECKING

import httpx
from pydantic import ValidationError

from flows.private_server import PrivateServer, start
from lookalike.errors import ConfigError, LookalikeError

if TYPE_CHECKING:
    from prefect.settings import Settings

logger = logging.getLogger("lookalike.server")


def start_server() -> PrivateServer | None:
    """Start a private server unless the user names one, by PREFECT_API_URL or in Prefect's own settings.

    Must come before anything that imports Prefect, which then finds the settings of that server.
    The server may not be ready yet: `check_server` waits for it.
    """
    if _named_server() is not None:
        return None
    server = start()
    _use_settings_of(server)
    return server


def require_server(command: str) -> None:
    """Raise ConfigError, before Prefect is needed, unless the user names a server for this command; then check it."""
    if _named_server() is None:
        raise ConfigError(
            f"`lookalike {command}` needs a Prefect server: start one with `prefect server start`, "
            "then set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    check_server()


def check_server(private: PrivateServer | None = None) -> None:
    """Return when the server can be used; LookalikeError if it does not start, does not answer, or refuses us."""
    if private is not None:
        private.wait()
        return
    from prefect.client.orchestration import get_client

    url = _named_server()
    if url is None:
        return
    try:
        with get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except (httpx.HTTPError, RuntimeError) as error:
        refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403)
        cause = "refuses us; set PREFECT_API_AUTH_STRING" if refused else "does not answer; start it or correct the URL"
        raise LookalikeError(f"the Prefect server at {url} (PREFECT_API_URL) {cause}") from error


def _named_server() -> str | None:
    """The address of the user's server, from the environment or a profile; ConfigError if settings cannot be read."""
    try:
        settings = _read_settings()
    except Exception as error:  # Whatever pydantic, TOML or the file system says of one of several sources.
        if os.environ.get("PREFECT_API_URL"):
            raise ConfigError(f"Prefect cannot read its settings: {_one_line(error)}") from error
        logger.warning("Prefect cannot read its settings (%s); they are not used", _one_line(error))
        return None
    ephemeral = settings.server.ephemeral
    if not settings.api.url and not ephemeral.enabled and "enabled" in ephemeral.model_fields_set:
        raise ConfigError(
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE forbids a private server; set PREFECT_API_URL to name one"
        )
    return settings.api.url


def _read_settings() -> "Settings":
    # Prefect also prints and warns of what it raises.
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from prefect.settings import get_current_settings

        return get_current_settings()


def _use_settings_of(server: PrivateServer) -> None:
    """Let this process and its children talk to that server, whatever profiles the user has."""
    os.environ.pop("PREFECT_PROFILE", None)
    os.environ["PREFECT_API_URL"] = server.api_url
    os.environ["PREFECT_HOME"] = str(server.home)
    os.environ["PREFECT_PROFILES_PATH"] = str(server.home / "profiles.toml")
    try:
        _read_settings()
        # In case Prefect read the settings before.
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
    except Exception as error:
        raise ConfigError(f"Prefect cannot read its settings: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_input=False)
        return "; ".join(f"{error.title} {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems)
    return " ".join(str(error).split()) or type(error).__name__
