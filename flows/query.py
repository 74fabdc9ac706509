"""The query flow: the same answers as `lookalike query`, for deployments and other flows."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.states import Completed
from pydantic import Field

from flows.deployed import check_root, deployed_parameters
from lookalike.descriptions import describe_failure
from lookalike.errors import LookalikeError
from tasks.query import query as query_task
from tasks.states import with_named_states


# Small JSON values, kept so that whoever started a deployed run can fetch them from its state.
@flow(name="query", persist_result=True, result_serializer="json", validate_parameters=True)
@with_named_states
def query(
    images: Annotated[list[str], Field(min_length=1, description="Paths, http(s) URLs, or id:<image_id>")],
    n: Annotated[int, Field(ge=1, description="Neighbors of each image")] = 6,
    exact: Annotated[bool, Field(description="Compare with every image instead of asking the index")] = False,
    root: Annotated[str, Field(description="Folder of all artifacts")] = "artifacts",
    output: Annotated[str | None, Field(description="Write a picture (.png, .jpg) or page (.html) there")] = None,
) -> list[dict[str, Any]]:
    """Return one result per image, in order: query, error, neighbors, candidates, latency_ms.

    If some images have no answer, the run ends as PartlyFailed, which is Completed, with the causes;
    if none has one, it is Failed, and LookalikeError is raised.
    """
    fixed = deployed_parameters().get("root")
    if fixed is not None:
        check_root(Path(fixed), Path(root))
    state = query_task(Path(root), images, n, exact, Path(output) if output else None, return_state=True)
    results: list[dict[str, Any]] = state.result()
    failures = [describe_failure(one["query"], one["error"]) for one in results if one["error"] is not None]
    if len(failures) == len(results):
        raise LookalikeError("; ".join(failures))
    if failures:
        # Who calls the flow gets the results, as Prefect unpacks them.
        return Completed(name="PartlyFailed", message="; ".join(failures), data=results)  # type: ignore[return-value]
    return results


if __name__ == "__main__":
    query(["examples/sailboat.jpg"])
