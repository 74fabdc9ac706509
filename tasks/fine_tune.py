"""Task fine_tune: fine-tune the network on the collection's labels."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.pipeline.registry import Plan
from tasks.stage_runs import Inputs, TaskOutcome, run


@task(name="fine_tune", cache_policy=NO_CACHE, persist_result=False)
def fine_tune(plan: Plan, inputs: Inputs) -> TaskOutcome:
    """Return the model's artifact; never retried, since training that failed once fails again."""
    return run(plan, "fine_tune", inputs)
