"""Task embed_all: embed every image."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.pipeline.registry import Plan
from tasks.stage_runs import Inputs, TaskOutcome, run


@task(name="embed_all", cache_policy=NO_CACHE, persist_result=False)
def embed_all(plan: Plan, inputs: Inputs) -> TaskOutcome:
    """Return the embeddings' artifact; an interrupted run continues after its last finished shard."""
    return run(plan, "embed_all", inputs)
