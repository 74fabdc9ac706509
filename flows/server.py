"""Whether the Prefect server that PREFECT_API_URL names can be used: asked first, so that the answer is one line."""

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from lookalike.errors import LookalikeError


def check_server() -> None:
    """Raise LookalikeError if a server is named but does not answer, or refuses us; without one do nothing."""
    url = get_current_settings().api.url
    if not url:
        return
    try:
        with get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except (httpx.HTTPError, RuntimeError) as error:
        refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403)
        cause = "refuses us; set PREFECT_API_AUTH_STRING" if refused else "does not answer; start it or correct the URL"
        raise LookalikeError(f"the Prefect server at {url} (PREFECT_API_URL) {cause}") from error
