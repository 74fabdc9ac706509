"""Showing text on Prefect's pages. The pages are only a view: what they show is in the artifacts too."""

import logging

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext

logger = logging.getLogger("lookalike.pages")


def show_markdown(key: str, markdown: str, description: str) -> None:
    """Show a Markdown text under a fixed key, whose versions make a history; outside of runs do nothing, never fail."""
    if TaskRunContext.get() is None:
        return
    try:
        create_markdown_artifact(key=key, markdown=markdown, description=description)
    except Exception:
        logger.warning("%s could not be shown on Prefect's pages", key, exc_info=True)
