"""Task download_dataset: get the images, catalog and split them."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.config.sections import LookalikeConfig
from tasks.stage_runs import TaskOutcome, run


@task(name="download_dataset", cache_policy=NO_CACHE, persist_result=False)
def download_dataset(config: LookalikeConfig) -> TaskOutcome:
    """Return the dataset's artifact; downloads have retries of their own, mirror by mirror."""
    return run(config, "download_dataset")
