"""The command that answers queries; it needs no Prefect."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.declaring import DONE, FAILED, JSON, ROOT, argument, command, positive, set_option
from flows.console import complain, say, say_json
from lookalike.errors import ConfigError, describe_system_error
from lookalike.files import user_path

if TYPE_CHECKING:
    from lookalike.search import QueryResult


@command(
    "find the most similar images",
    argument("images", nargs="*", metavar="IMAGE", help="a path, an http(s) URL, or id:<image_id>"),
    argument("--vector", type=user_path, metavar="F.npy", help="an embedding (dim,), or several (n, dim)"),
    argument("-n", type=positive, metavar="N", help="neighbors of each image (default: 6)"),
    argument("--exact", action="store_true", help="compare with every image instead of asking the index"),
    argument("--output", type=user_path, metavar="F", help="write the result as a picture (.png, .jpg) or .html"),
    argument("--show", action="store_true", help="open the picture in a viewer"),
    ROOT,
    argument("--build", metavar="ID", help="ask this build or experiment instead of the published one"),
    set_option("override a query limit", "query.KEY=VALUE"),
    JSON,
)
def query(
    images: list[str],
    vector: Path | None,
    n: int | None,
    exact: bool,
    output: Path | None,
    show: bool,
    root: Path,
    build: str | None,
    settings: list[str],
    as_json: bool,
) -> int:
    """Answer queries from the published build, or the one that is named; 1 if any of them failed."""
    from lookalike.search import Searcher
    from lookalike.search.output import check_ending, check_room
    from lookalike.search.query_vectors import read_query_vectors
    from lookalike.search.results import describe_failure, describe_result

    if not images and vector is None:
        raise ConfigError("nothing to search for: name an IMAGE, or a file of vectors with --vector F.npy")
    if output is not None:
        check_ending(output)
    with Searcher.open(root, settings, build=build) as searcher:
        vectors = read_query_vectors(vector, searcher.dim) if vector is not None else {}
        n_neighbors = min(n or searcher.config.n, len(searcher))
        # The viewer is given a PNG.
        for picture in filter(None, (output, Path("picture.png") if show else None)):
            check_room(picture, len(images) + len(vectors), n_neighbors)
        results = searcher.query_many(images, n, exact=exact)
        results += [searcher.query_vector(one, n, exact=exact, name=name) for name, one in vectors.items()]
    if as_json:
        say_json({"results": [result.as_json() for result in results]})
    else:
        say("\n\n".join(describe_result(result) for result in results))
    failures = [describe_failure(result.query, result.error) for result in results if result.error is not None]
    for failure in failures:
        complain(failure)
    is_shown = _show(results, output, show)
    return DONE if is_shown and not failures else FAILED


@command(
    "write the vectors of a build for another search engine",
    ROOT,
    argument("--to", required=True, choices=("parquet", "npy", "faiss"), help="parquet is a file, the others a folder"),
    argument("--output", required=True, type=user_path, metavar="PATH", help="what to write"),
    argument("--build", metavar="ID", help="this build or experiment instead of the published one"),
)
def export(root: Path, to: str, output: Path, build: str | None) -> int:
    """Write centred, normalised vectors with ids, labels and paths, and the mean."""
    from lookalike.search.export import export as write_export

    count = write_export(root, to, output, build)
    say(f"{count:,} vectors: {output}")
    return DONE


def _show(results: Sequence["QueryResult"], output: Path | None, show: bool) -> bool:
    """Write and open the picture, if asked for; False if that failed. The answers are printed already."""
    try:
        if output is not None:
            from lookalike.search.output import save_results

            save_results(results, output)
            logging.getLogger("lookalike.query").info("picture: %s", output)
        if show:
            from lookalike.search.picture import draw_results

            draw_results(results).show()
    except (OSError, ValueError, MemoryError) as error:
        complain(f"cannot write {output or 'the picture'}: {describe_system_error(error) or error}")
        return False
    return True
