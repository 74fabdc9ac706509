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

    A task that returns a State hands the State to its caller: flows unwrap it with `StageRuns`.
    """
    logger.info("%s ...", name)
    result = run_stage(Store(plan.config.artifacts.root), plan, name, inputs)
    if result.cached:
        logger.info("%s: cached", name)
        return Completed(name="Cached", message=f"{name} is unchanged", data=result)
    logger.info("%s: built in %.1f s", name, result.artifact.seconds)
    return result


class StageRuns:
    """The stages that a flow has run; a call runs the next one on the inputs that the registry names.

    Prefect draws its graph of a run from what a task is handed, so each gets its inputs and no other results.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.results: dict[str, StageResult] = {}

    def __call__(self, task: Task[[Plan, Inputs], Any]) -> StageResult:
        """Run the task of a stage and return its result, or raise its error."""
        inputs = {name: self.results[name] for name in STAGES[task.name].inputs}
        result: StageResult = task(self.plan, inputs, return_state=True).result()
        self.results[task.name] = result
        return result
