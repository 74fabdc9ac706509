"""An index written straight to disk, from vectors that come in parts: memory for blocks and tables, not for vectors.

1. vectors: written in the precision of the index as they come, and their mean,
2. rows: scales, sketches and keys, from blocks of the written vectors, in several threads,
3. tables: each sorted from its keys.

Blocks have fixed places, whatever the parts: the files have the same bytes as those of an index that was built in
memory and saved.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.lsh.base import Float32Array
from lookalike.lsh.checks import checked_ids, checked_vectors
from lookalike.lsh.content import Content, hash_distinct_rows
from lookalike.lsh.copies import FirstCopies, coarse_keys, first_copies, first_copies_of_keys, first_rows
from lookalike.lsh.engine import HyperplaneLSH
from lookalike.lsh.hyperplanes import Keys
from lookalike.lsh.space import space_of_rows
from lookalike.lsh.storage import GrowingArray, growing_array, write_description
from lookalike.lsh.tables import joined_buckets, sort_table
from lookalike.lsh.vectors import StoredVectors, as_stored
from lookalike.threads import ordered_map

# A multiple of the rows that are added up at once for the mean.
_ROWS_PER_BLOCK = 8192
# Arrays with one element or row per vector, in the order of `_hashed_block`.
_ROW_ARRAYS = ("scales", "sketches", "alignments")
_KEYS_FILE = "keys.partial"


def build_on_disk(
    parts: Iterable[ArrayLike],
    folder: Path | str,
    *,
    n_rows: int,
    dim: int,
    ids: ArrayLike | None = None,
    **parameters: Any,
) -> HyperplaneLSH:
    """The index over `n_rows` vectors that come in `parts` (m, dim) of any sizes, written to `folder` and mapped.

    `parameters` are those of `HyperplaneLSH.build`. The parts are taken once, one at a time.

    Raises:
        TypeError, ValueError: as `HyperplaneLSH.build`; or the parts hold more or fewer vectors.
    """
    row_ids = checked_ids(ids, n_rows)
    # An index of no rows checks the parameters, and holds all that does not depend on the rows.
    empty = HyperplaneLSH.build(np.empty((0, dim), np.float32), **parameters)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"vectors": _write_vectors(parts, folder, n_rows, empty._content)}
    vectors = _FileRows(folder / "vectors.npy")
    content = empty._content
    given_mean = None if content.follows_mean else content.space.mean
    space = space_of_rows(content.space.metric, vectors, parameters.get("center", True), given_mean)  # type: ignore[arg-type]
    empty._content = replace(content, space=space)
    output = _Output(folder, n_rows, empty._content, files)
    try:
        keys, row_keys = output.write_rows(vectors)
        copies = first_copies_of_keys(vectors.mapped(), row_keys)
        output.write_tables(keys, copies)
    finally:
        (folder / _KEYS_FILE).unlink(missing_ok=True)
    _, stored, arrays = empty._stored()
    whole = {**arrays, "ids": row_ids, "mean": space.mean} | ({} if copies is None else {"copies": copies})
    for name in whole.keys() - output.files.keys():
        output.write(name, whole[name])
    write_description(folder, HyperplaneLSH.engine, {"metric": space.metric, **stored}, output.files)
    return HyperplaneLSH.load(folder)


class _FileRows:
    """The vectors in a `.npy` file, read by slices: pages of a mapping would count as memory of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as stream:
            np.lib.format.read_magic(stream)
            self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(stream)
            self._offset = stream.tell()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> StoredVectors:
        first, last, _ = rows.indices(len(self))
        place, dim = self._offset + first * self.shape[1] * self.dtype.itemsize, self.shape[1]
        return np.fromfile(self._path, self.dtype, (last - first) * dim, offset=place).reshape(-1, dim)

    def mapped(self) -> StoredVectors:
        """The vectors as an array."""
        return np.load(self._path, mmap_mode="r" if len(self) else None)  # type: ignore[no-any-return]


@dataclass
class _Output:
    """The folder that is written, and the facts about the files that are complete."""

    folder: Path
    n_rows: int
    content: Content
    files: dict[str, Any]

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Write an array that is in memory."""
        with growing_array(self.folder / f"{name}.npy", array.dtype, array.shape) as file:
            file.append(array)
        self.files[name] = file.facts

    def write_rows(self, vectors: _FileRows) -> tuple[Keys, NDArray[np.uint64]]:
        """Write what is stored of each row; keys (n_tables, n), on disk, and the coarse keys that tell equal rows."""
        n_tables = self.content.planes.n_tables
        keys = np.memmap(self.folder / _KEYS_FILE, np.uint32, "w+", shape=(n_tables, max(self.n_rows, 1)))
        row_keys, files = np.empty(self.n_rows, np.uint64), list[GrowingArray]()
        with ExitStack() as stack:
            for name in _ROW_ARRAYS:
                like = getattr(self.content.main, name)
                shape = (self.n_rows, *like.shape[1:])
                files.append(stack.enter_context(growing_array(self.folder / f"{name}.npy", like.dtype, shape)))
            starts = range(0, self.n_rows, _ROWS_PER_BLOCK)
            blocks = ordered_map(lambda start: self._hashed_block(vectors[start : start + _ROWS_PER_BLOCK]), starts)
            for start, block in zip(starts, blocks, strict=True):
                some = slice(start, start + _ROWS_PER_BLOCK)
                keys[:, some], row_keys[some], *arrays = block
                for file, array in zip(files, arrays, strict=True):
                    file.append(array)
        self.files |= {name: file.facts for name, file in zip(_ROW_ARRAYS, files, strict=True)}
        return keys[:, : self.n_rows], row_keys

    def write_tables(self, keys: Keys, copies: FirstCopies | None) -> None:
        """Write the tables of all rows, of equal rows only the first."""
        firsts = None if copies is None else first_rows(copies)
        shape, buckets = (len(keys), self.n_rows if firsts is None else len(firsts)), []

        def sorted_table(table: int) -> Any:
            return sort_table(np.array(keys[table] if firsts is None else keys[table, firsts]), n_bits)

        n_bits = self.content.planes.n_bits
        with growing_array(self.folder / "table_rows.npy", np.int32, shape) as file:
            for rows, found in ordered_map(sorted_table, range(len(keys)), ahead=1):
                file.append(rows if firsts is None else firsts.astype(np.int32)[rows])
                buckets.append(found)
        self.files["table_rows"] = file.facts
        starts, bucket_keys, offsets = joined_buckets(buckets)
        for name, array in (("table_starts", starts), ("table_keys", bucket_keys), ("table_offsets", offsets)):
            self.write(name, array)

    def _hashed_block(self, block: StoredVectors) -> tuple[NDArray[Any], ...]:
        """Keys, coarse keys, and `_ROW_ARRAYS` of some rows."""
        scales = self.content.space.row_scales(block)
        copies = first_copies(block, scales)
        arrays: list[NDArray[Any]]
        keys, *arrays = hash_distinct_rows(block, copies, self.content.space, self.content.planes)
        return keys, coarse_keys(block, scales), scales, *arrays


def _write_vectors(parts: Iterable[ArrayLike], folder: Path, n_rows: int, content: Content) -> dict[str, Any]:
    """Write all vectors in the precision of the content; the facts about their file."""
    dtype, n_written = content.main.vectors.dtype, 0
    with growing_array(folder / "vectors.npy", dtype, (n_rows, content.space.dim)) as file:
        for block in _aligned(parts, content.space.dim):
            n_written += len(block)
            if n_written > n_rows:
                break
            file.append(as_stored(block, dtype, n_written - len(block)))
        if n_written != n_rows:
            raise ValueError(f"the parts must hold {n_rows} vectors in all, but {n_written} have come")
    return file.facts


def _aligned(parts: Iterable[ArrayLike], dim: int) -> Iterator[Float32Array]:
    """The rows of all parts in blocks of fixed size, the last one shorter; each is overwritten by the next."""
    buffer, filled, first_row = np.empty((_ROWS_PER_BLOCK, dim), np.float32), 0, 0
    for part in parts:
        rows = checked_vectors(part, dim, first_row=first_row)
        first_row += len(rows)
        while len(rows):
            taken = min(len(rows), _ROWS_PER_BLOCK - filled)
            buffer[filled : filled + taken] = rows[:taken]
            rows, filled = rows[taken:], filled + taken
            if filled == _ROWS_PER_BLOCK:
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]
