"""Writing results to a file, in the format of its ending, and how many results such a file can hold."""

from collections.abc import Sequence
from pathlib import Path

from lookalike.errors import ConfigError
from lookalike.search.results import QueryResult

_PAGES = frozenset({".html", ".htm"})
_JPEGS = frozenset({".jpg", ".jpeg"})
_JPEG_MAX_SIDE = 65_500
# 600 MB of memory; few viewers open a larger picture.
_MAX_PIXELS = 200_000_000


def check_ending(output: Path) -> None:
    """Raise ConfigError unless `output` ends in .png, .jpg, .jpeg, .html or .htm; called before any work is done."""
    if output.suffix.lower() not in {".png", *_JPEGS, *_PAGES}:
        raise ConfigError(f"--output must end in .png, .jpg or .html, got {output.name!r}")


def save_results(results: Sequence[QueryResult], output: Path) -> None:
    """Write results to `output`, whole or not at all, as a page or as a picture by its ending."""
    if output.suffix.lower() in _PAGES:
        from lookalike.search.page import save_page

        save_page(results, output)
    else:
        from lookalike.search.picture import save_picture

        save_picture(results, output)


def check_room(output: Path, n_results: int, n_neighbors: int) -> None:
    """Raise ConfigError if a picture at `output` cannot hold that many results of that many neighbors each."""
    ending = output.suffix.lower()
    if ending in _PAGES or n_results <= (fitting := _fitting_results(ending, n_neighbors)):
        return
    fits_png = ending in _JPEGS and n_results <= _fitting_results(".png", n_neighbors)
    raise ConfigError(
        f"{output.name} can hold {fitting} queries of {n_neighbors} neighbors, got {n_results}; write "
        f"{'a .png picture or ' if fits_png else ''}a .html page, or ask for less"
    )


def _fitting_results(ending: str, n_neighbors: int) -> int:
    from lookalike.search.picture import result_size

    width, height = result_size(n_neighbors)
    by_pixels = _MAX_PIXELS // (width * height)
    if ending not in _JPEGS:
        return by_pixels
    return min(by_pixels, _JPEG_MAX_SIDE // height) if width <= _JPEG_MAX_SIDE else 0
