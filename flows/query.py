"""The query flow: the same answers as `lookalike query`, for deployments and other flows."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.states import Completed
from pydantic import Field

from flows.deployed import check_root, deployed_parameters
from lookalike.errors import LookalikeError
from lookalike.files import user_path
from lookalike.search.results import describe_failure
from tasks.query import query as query_task
from tasks.states import with_named_states


# Small JSON values, kept so that whoever started a deployed run can fetch them from its state.
@flow(name="query", persist_result=True, result_serializer="json", validate_parameters=True)
@with_named_states
def query(
    images: Annotated[list[str], Field(min_length=1)],
    n: Annotated[int, Field(ge=1)] = 6,
    exact: bool = False,
    root: str = "artifacts",
    output: str | None = None,
) -> list[dict[str, Any]]:
    """Return one result per image, in order: query, error, neighbors, candidates, latency_ms.

    If some images have no answer, the run ends as PartlyFailed, which is Completed, with the causes;
    if none has one, it is Failed, and LookalikeError is raised.

    Args:
        images: Paths on the machine of the index, http(s) URLs, or id:IMAGE_ID of indexed images.
        n: Neighbors per image.
        exact: Compare with every image instead of asking the index.
        root: Folder of all artifacts; that of a deployment cannot be changed.
        output: Write the answers as a picture (.png, .jpg) or a page (.html) to this file.
    """
    fixed = deployed_parameters().get("root")
    if fixed is not None:
        check_root(Path(fixed), user_path(root))
    state = query_task(user_path(root), images, n, exact, user_path(output) if output else None, return_state=True)
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
