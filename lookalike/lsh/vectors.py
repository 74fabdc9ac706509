"""Stored vectors: float32 or half precision, in memory or mapped from a file.

Distances are defined on what is stored: vectors in half precision are widened to float32, which is exact, and then
treated as all others.
"""

import mmap
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float32Array, Int64Array

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Storage = Literal["fp32", "fp16"]
StoredVectors = NDArray[np.float32] | NDArray[np.float16]

# Files smaller than this are read in one go; advice about single rows would cost more than it saves.
_SMALLEST_ADVISED_BYTES = 64 * 2**20
# While pages are read because they were announced, the process does not wait for them.
_ANNOUNCED_QUERIES = 32
_DTYPES: dict[Storage, Any] = {"fp32": np.float32, "fp16": np.float16}


def as_stored(vectors: Float32Array, dtype: Any, first_row: int = 0) -> StoredVectors:
    """Vectors (n, dim) in the precision of the index, not copied if they have it.

    Raises:
        ValueError: a value is too large for half precision; the message names its row, counted from `first_row`.
    """
    with np.errstate(over="ignore"):
        stored: StoredVectors = vectors.astype(dtype, copy=False)
    if stored.dtype == np.float16:
        good = np.isfinite(stored).all(axis=1)
        if not good.all():
            row = first_row + int(np.flatnonzero(~good)[0])
            raise ValueError(f"storage fp16 holds values up to 65,504, but row {row} has larger ones; use fp32")
    return stored


def dtype_of(storage: Storage) -> Any:
    """The dtype of vectors in this precision."""
    return _DTYPES[storage]


def storage_of(vectors: StoredVectors) -> Storage:
    """The precision of stored vectors."""
    return "fp16" if vectors.dtype == np.float16 else "fp32"


def widened(vectors: StoredVectors) -> Float32Array:
    """The same numbers in float32, not copied if they are float32."""
    return vectors.astype(np.float32, copy=False)


def bits_of(array: NDArray[Any]) -> NDArray[Any]:
    """The same bytes as unsigned integers of the same size."""
    bits: NDArray[Any] = array.view(f"u{array.dtype.itemsize}")
    return bits


def is_on_disk(vectors: StoredVectors) -> bool:
    """Whether the vectors are mapped from a file so large that reading ahead of single rows pays."""
    return vectors.nbytes >= _SMALLEST_ADVISED_BYTES and _mapping_of(vectors) is not None


def expect_random_reads(vectors: StoredVectors) -> None:
    """Tell the system that a page is no reason to read the pages after it, if the vectors are on disk."""
    mapping = _mapping_of(vectors)
    if mapping is not None and vectors.nbytes >= _SMALLEST_ADVISED_BYTES:
        _advise(mapping, "MADV_RANDOM", 0, vectors.nbytes)


def will_need(vectors: StoredVectors, rows: Int64Array | slice) -> None:
    """Tell the system to read these rows, if they are on disk: it then reads many at once."""
    mapping = _mapping_of(vectors) if vectors.nbytes >= _SMALLEST_ADVISED_BYTES else None
    if mapping is None:
        return
    size = vectors.shape[1] * vectors.itemsize
    if isinstance(rows, slice):
        first, last, _ = rows.indices(len(vectors))
        _advise(mapping, "MADV_WILLNEED", first * size, (last - first) * size)
        return
    for row in rows.tolist():
        _advise(mapping, "MADV_WILLNEED", row * size, size)


def release(vectors: StoredVectors, rows: slice) -> None:
    """Give back the memory of rows that are on disk; the system may keep their pages."""
    mapping = _mapping_of(vectors) if vectors.nbytes >= _SMALLEST_ADVISED_BYTES else None
    if mapping is not None:
        first, last, _ = rows.indices(len(vectors))
        size = vectors.shape[1] * vectors.itemsize
        _advise(mapping, "MADV_DONTNEED", first * size, (last - first) * size)


class DiskReads:
    """Whether the rows of a query should be announced: mapped pages may be missing from memory.

    Announcing rows that are in memory would double the time of a query. So rows are announced for the first queries,
    and for some queries after each one in which the process waited for a page.
    """

    def __init__(self, vectors: StoredVectors) -> None:
        self._is_on_disk = is_on_disk(vectors) and resource is not None
        self._faults = -1
        self._queries_left = 0

    def are_likely(self) -> bool:
        """To be asked before each query."""
        if not self._is_on_disk:
            return False
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        self._queries_left = _ANNOUNCED_QUERIES if faults > self._faults else max(self._queries_left - 1, 0)
        self._faults = faults
        return self._queries_left > 0


def _advise(mapping: tuple[mmap.mmap, int], advice: str, first_byte: int, n_bytes: int) -> None:
    file, offset = mapping
    if hasattr(file, "madvise"):  # Not on Windows.
        start = (offset + first_byte) // mmap.PAGESIZE * mmap.PAGESIZE
        file.madvise(getattr(mmap, advice), start, offset + first_byte + n_bytes - start)


def _mapping_of(array: NDArray[Any]) -> tuple[mmap.mmap, int] | None:
    """The mapped file that holds the array, and where in it the array begins."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap):
        return None
    return base, array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
