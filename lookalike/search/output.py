"""Writing results to a file, in the format that its ending names."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lookalike.errors import ConfigError
from lookalike.search.results import QueryResult

Saver = Callable[[Sequence[QueryResult], Path], None]


def saver_for(output: Path | None) -> Saver:
    """The function that writes results to `output`; asked for before any work is done.

    Raises ConfigError for an ending other than .png, .jpg, .jpeg, .html and .htm. For None it
    returns a function that writes nothing.
    """
    if output is None:
        return lambda results, path: None
    ending = output.suffix.lower()
    if ending in {".html", ".htm"}:
        from lookalike.search.page import save_page

        return save_page
    if ending in {".png", ".jpg", ".jpeg"}:
        from lookalike.search.picture import save_picture

        return save_picture
    raise ConfigError(f"--output must end in .png, .jpg or .html, got {output.name!r}")
