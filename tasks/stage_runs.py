"""What the five stage tasks share: running a stage against the store, and handing its result to the next ones."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from lookalike.pipeline.registry import STAGES, Plan, StageResult, run_stage
from lookalike.store.artifacts import Store
from tasks.states import with_named_states

logger = logging.getLogger("lookalike.build")

Inputs = Mapping[str, StageResult]
TaskOutcome = StageResult | State[StageResult]


@with_named_states
def run(plan: Plan, name: str, inputs: Inputs) -> TaskOutcome:
    """Run a stage; a cached one is returned as a state named Cached, so that Prefect's pages show it.

    A task that returns a State hands the State to its caller: flows unwrap it with `add_result`.
    """
    logger.info("%s ...", name)
    result = run_stage(Store(plan.config.artifacts.root), plan, name, inputs)
    if result.cached:
        logger.info("%s: cached", name)
        return Completed(name="Cached", message=f"{name} is unchanged", data=result)
    logger.info("%s: built in %.1f s", name, result.artifact.seconds)
    return result


def add_result(results: dict[str, StageResult], plan: Plan, task: Task[[Plan, Inputs], Any]) -> StageResult:
    """Run the task of a stage inside of a flow, add its result to `results`, and return it, or raise its error.

    Prefect draws the graph of a run from what tasks are handed: only the inputs that the registry names.
    """
    inputs = {name: results[name] for name in STAGES[task.name].inputs}
    results[task.name] = task(plan, inputs, return_state=True).result()
    return results[task.name]
