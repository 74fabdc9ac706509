"""Task query: answer queries from the published build, and show the answers in the run's log and on its page."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from lookalike.search import Searcher
from lookalike.search.output import check_ending, check_room, save_results
from lookalike.search.results import describe_failure, describe_result
from tasks.pages import show_markdown
from tasks.states import with_named_states

logger = logging.getLogger("lookalike.query")


@task(name="query", cache_policy=NO_CACHE, persist_result=False)
@with_named_states
def query(root: Path, images: Sequence[str], n: int, exact: bool, output: Path | None) -> list[dict[str, Any]]:
    """Return one JSON-able result per image, in order; never cached, since the published build may change."""
    if output is not None:
        check_ending(output)
    with Searcher.open(root) as searcher:
        if output is not None:
            check_room(output, len(images), min(n, len(searcher)))
        results = searcher.query_many(images, n, exact=exact)
    text = "\n\n".join(describe_result(result) for result in results)
    for line in filter(None, text.splitlines()):
        logger.info("%s", line)
    for result in results:
        if result.error is not None:
            logger.warning("%s", describe_failure(result.query, result.error))
    show_markdown("query-result", f"```\n{text}\n```", "The most similar images")
    if output is not None:
        save_results(results, output)
    return [result.as_json() for result in results]
