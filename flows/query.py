"""The query flow: the same answers as `lookalike query`, for deployments and other flows."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from tasks.query import query as query_task


# Small JSON values, kept so that whoever started a deployed run can fetch them from its state.
@flow(name="query", persist_result=True, result_serializer="json", validate_parameters=True)
def query(
    images: Annotated[list[str], Field(min_length=1, description="Paths, http(s) URLs, or id:<image_id>")],
    n: Annotated[int, Field(ge=1, description="Neighbors of each image")] = 6,
    exact: Annotated[bool, Field(description="Compare with every image instead of asking the index")] = False,
    root: Annotated[str, Field(description="Folder of all artifacts")] = "artifacts",
    output: Annotated[str | None, Field(description="Write a picture (.png, .jpg) or page (.html) there")] = None,
) -> list[dict[str, Any]]:
    """Return one result an image, in order: query, error, neighbors, candidates, latency_ms."""
    return query_task(Path(root), images, n, exact, Path(output) if output else None)


if __name__ == "__main__":
    query(["examples/sailboat.jpg"])
