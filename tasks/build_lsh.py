"""Task build_lsh: hash the vectors into an index."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.config.sections import LookalikeConfig
from lookalike.pipeline.registry import StageResult
from tasks.stage_runs import TaskOutcome, run


@task(name="build_lsh", cache_policy=NO_CACHE, persist_result=False)
def build_lsh(config: LookalikeConfig, embeddings: StageResult) -> TaskOutcome:
    """Return the index's artifact."""
    return run(config, "build_lsh", embeddings)
