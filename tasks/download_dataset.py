"""Task download_dataset: get the images, catalog and split them."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.pipeline.registry import Plan
from tasks.stage_runs import Inputs, TaskOutcome, run


@task(name="download_dataset", cache_policy=NO_CACHE, persist_result=False)
def download_dataset(plan: Plan, inputs: Inputs) -> TaskOutcome:
    """Return the dataset's artifact; never retried, since a download tries its mirrors several times."""
    return run(plan, "download_dataset", inputs)
