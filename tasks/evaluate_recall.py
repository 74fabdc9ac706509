"""Task evaluate_recall: measure the index and the embedding, and show the figures on Prefect's pages."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.pipeline.registry import Plan, StageResult
from tasks.pages import show_markdown
from tasks.stage_runs import Inputs, TaskOutcome, run


@task(name="evaluate_recall", cache_policy=NO_CACHE, persist_result=False)
def evaluate_recall(plan: Plan, inputs: Inputs) -> TaskOutcome:
    """Return the evaluation's artifact."""
    outcome = run(plan, "evaluate_recall", inputs)
    if isinstance(outcome, StageResult):
        report = (outcome.artifact.folder / "report.md").read_text(encoding="utf-8")
        show_markdown("evaluation", report, "Recall of the index and quality of the embedding")
    return outcome
