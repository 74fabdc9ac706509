"""Task embed_all: one vector for every image."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.config.sections import LookalikeConfig
from lookalike.pipeline.registry import StageResult
from tasks.stage_runs import TaskOutcome, run


@task(name="embed_all", cache_policy=NO_CACHE, persist_result=False)
def embed_all(config: LookalikeConfig, dataset: StageResult, model: StageResult) -> TaskOutcome:
    """Return the embeddings' artifact; a run that was interrupted goes on from its last finished shard."""
    return run(config, "embed_all", dataset, model)
