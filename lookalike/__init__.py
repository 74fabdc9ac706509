"""lookalike finds the images of a collection that look most like a given image.

    from lookalike import Searcher
    result = Searcher.open("artifacts").query("photo.jpg", n=6)

The library beneath the pipeline: it never imports Prefect, and works without it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lookalike.lsh import HyperplaneLSH, LSHParams, tune_lsh
    from lookalike.search import QueryResult, Searcher

__all__ = ["HyperplaneLSH", "LSHParams", "QueryResult", "Searcher", "tune_lsh"]

_HOMES = {
    "HyperplaneLSH": "lookalike.lsh",
    "LSHParams": "lookalike.lsh",
    "QueryResult": "lookalike.search",
    "Searcher": "lookalike.search",
    "tune_lsh": "lookalike.lsh",
}


def __getattr__(name: str) -> Any:
    # Imported when first used: whoever needs the hashing alone should not wait for the rest.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
