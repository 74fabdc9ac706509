"""Prefect tasks: one thin task per stage.

Prefect reads its settings when it is first imported, so the project's defaults must be in place
before. They stand here because every task and flow imports this package first; a value that the
user has set wins.
"""

import os
import tempfile
from pathlib import Path

from lookalike.fetch.proxies import keep_loopback_direct

_PREFECT_DEFAULTS = {
    # No telemetry: neither the client's events nor the server's heartbeat.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The default of 20 seconds is too short for a server of Prefect's own on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # The default, pickle, runs code in whoever reads a result.
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    # Our own progress is what a user should see; Prefect's pages still get every line.
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    # The default of 10 seconds is most of what a query on demand takes.
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
}

for _name, _value in _PREFECT_DEFAULTS.items():
    os.environ.setdefault(_name, _value)

keep_loopback_direct()

try:
    Path.home()
except RuntimeError:
    # Neither HOME nor an entry of the user, as in containers: Prefect could not even be imported.
    os.environ["HOME"] = tempfile.gettempdir()
