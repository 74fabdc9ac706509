"""How runs end: an error that a user can act on becomes a state with its one line; a defect keeps its traceback."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect.states import Failed

from lookalike.errors import QualityGateError, describe_error
from tasks.run_logs import write_run_logs

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def with_named_states(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Wrap the body of a flow or task, so that its explained errors are returned as states.

    A build that its gate refused ends as Refused, everything else as Failed. Who calls the flow sees
    the error raised all the same, since Prefect unpacks a state: hence the type.
    """

    @functools.wraps(function)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
        write_run_logs()
        try:
            return function(*args, **kwargs)
        except Exception as error:
            problem = describe_error(error)
            if problem is None:
                raise
            name = "Refused" if isinstance(error, QualityGateError) else "Failed"
            return Failed(name=name, message=problem, data=error)

    return run
