"""The log of a run on Prefect's pages: our own lines in it, and no tracebacks of what a user can mend.

Workers import Prefect before this project, so what belongs to its logging cannot come from settings.
"""

import logging

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from lookalike.errors import describe_error

# Prefect logs through these what ended a task, a flow, and the process of a deployed run.
_PREFECT_LOGGERS = ("prefect.task_runs", "prefect.flow_runs", "prefect.engine")


def write_run_logs() -> None:
    """Send the library's lines to the run that they are logged in, each once; may be called any number of times."""
    library = logging.getLogger("lookalike")
    if library.level == logging.NOTSET:
        library.setLevel(logging.INFO)
    if not any(isinstance(handler, APILogHandler) for handler in library.handlers):
        handler = APILogHandler()
        handler.addFilter(_is_in_a_run)
        library.addHandler(handler)
    for name in _PREFECT_LOGGERS:
        logging.getLogger(name).addFilter(_needs_traceback)  # A filter that is there already is not added again.


def _is_in_a_run(record: logging.LogRecord) -> bool:
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def _needs_traceback(record: logging.LogRecord) -> bool:
    """False for a traceback of an error that is explained in one line, which the state of the run has."""
    if record.exc_info is None:
        return True
    error = record.exc_info[1]
    # Without an error: the line of Prefect that a task returned a failed state; the state's own line follows.
    return error is not None and describe_error(error) is None
