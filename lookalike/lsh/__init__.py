"""The hashing engine: approximate nearest neighbors by random hyperplanes, with exact search and lshash3 beside it.

    index = HyperplaneLSH.build(vectors, **tune_lsh(vectors, target_recall=0.95).as_kwargs())
    neighbors = index.query(vector, k=10)
    index.save(folder); index = load_index(folder)

All engines share `VectorIndex`. Notes on the method, and measurements: `docs/engine.md`.
"""

from pathlib import Path

from lookalike.errors import IndexFormatError
from lookalike.lsh.base import Metric, Neighbors
from lookalike.lsh.built import store_parameters, tune_built
from lookalike.lsh.engine import HyperplaneLSH
from lookalike.lsh.exact import ExactIndex
from lookalike.lsh.index import VectorIndex
from lookalike.lsh.lshash_adapter import LSHashIndex
from lookalike.lsh.storage import read_description
from lookalike.lsh.streaming import build_on_disk
from lookalike.lsh.tuning import LSHParams, tune_lsh

__all__ = [
    "ExactIndex",
    "HyperplaneLSH",
    "LSHParams",
    "LSHashIndex",
    "Metric",
    "Neighbors",
    "VectorIndex",
    "build_on_disk",
    "load_index",
    "store_parameters",
    "tune_built",
    "tune_lsh",
]

_ENGINES: dict[str, type[HyperplaneLSH] | type[ExactIndex] | type[LSHashIndex]] = {
    index.engine: index for index in (HyperplaneLSH, ExactIndex, LSHashIndex)
}


def load_index(folder: Path | str, mmap: bool = True) -> HyperplaneLSH | ExactIndex | LSHashIndex:
    """The index in `folder`, of whichever engine wrote it.

    Raises:
        IndexFormatError: no index there, an unknown format or engine, or damaged files.
        LookalikeError: it needs lshash3, which is not installed.
    """
    engine = read_description(Path(folder))["engine"]
    if engine not in _ENGINES:
        raise IndexFormatError(f"{folder} holds an index of engine {engine!r}; known are {', '.join(_ENGINES)}")
    return _ENGINES[engine].load(folder, mmap=mmap)
