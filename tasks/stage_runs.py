"""What the five stage tasks share: running a stage against the store, and showing a cached one as such."""

import logging
from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed

from lookalike.config.sections import LookalikeConfig
from lookalike.pipeline.registry import StageResult, run_stage
from lookalike.store.artifacts import ArtifactReference, Store
from tasks.states import with_named_states

logger = logging.getLogger("lookalike.build")

TaskOutcome = StageResult | State[StageResult]


@with_named_states
def run(config: LookalikeConfig, name: str, *inputs: StageResult) -> TaskOutcome:
    """Run a stage; a cached one is returned as a state named Cached, so that Prefect's pages show it.

    A task that returns a State hands the State to its caller: flows unwrap it with `result_of`.
    """
    references: dict[str, ArtifactReference] = {result.artifact.step: result.artifact for result in inputs}
    logger.info("%s ...", name)
    result = run_stage(Store(config.artifacts.root), config, name, references)
    if result.cached:
        logger.info("%s: cached", name)
        return Completed(name="Cached", message=f"{name} is unchanged", data=result)
    logger.info("%s: built in %.1f s", name, result.artifact.seconds)
    return result


def result_of(task: Callable[..., Any], *arguments: Any) -> StageResult:
    """Call a stage task inside a flow and return its result, or raise its error."""
    result: StageResult = task(*arguments, return_state=True).result()
    return result
