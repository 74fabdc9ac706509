"""Task build_lsh: hash the vectors into an index."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.config.sections import LookalikeConfig
from tasks.stage_runs import Inputs, TaskOutcome, run


@task(name="build_lsh", cache_policy=NO_CACHE, persist_result=False)
def build_lsh(config: LookalikeConfig, inputs: Inputs) -> TaskOutcome:
    """Return the index's artifact."""
    return run(config, "build_lsh", inputs)
