"""Task build_lsh: hash the vectors into an index."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.pipeline.registry import Plan
from tasks.stage_runs import Inputs, TaskOutcome, run


@task(name="build_lsh", cache_policy=NO_CACHE, persist_result=False)
def build_lsh(plan: Plan, inputs: Inputs) -> TaskOutcome:
    """Return the index's artifact."""
    return run(plan, "build_lsh", inputs)
