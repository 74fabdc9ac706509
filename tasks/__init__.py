"""Prefect tasks: one thin task a stage.

Prefect reads its settings when it is first imported, so the project's defaults must be in place
before. They stand here because every task and flow imports this package first; a value that the
user has set wins.
"""

import os

_PREFECT_DEFAULTS = {
    # No telemetry: neither the client's events nor the server's heartbeat.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The default of 20 seconds is too short for the private server on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # The default, pickle, runs code in whoever reads a result.
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    # Our own progress is what a user should see; Prefect's pages still get every line.
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "lookalike",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}

for _name, _value in _PREFECT_DEFAULTS.items():
    os.environ.setdefault(_name, _value)
