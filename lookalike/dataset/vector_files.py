"""Vectors that were computed elsewhere, in Parquet or NumPy files: read in blocks, every row checked."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.errors import DatasetError
from lookalike.files import sha256_of_bytes
from lookalike.limits import LARGEST_COMPONENT

BLOCK_ROWS = 8192
_EXPECTED = "expected id (text or whole numbers), embedding (lists of floats), and optionally label, path, split"
_OPTIONAL = ("label", "path", "split")


@dataclass(frozen=True)
class Block:
    """Some rows: `texts` with the columns id, label, path and split (null where there is none), and `vectors`.

    `vectors` (n, dim) are float32 and C-contiguous. The first row is row `start` of `file`.
    """

    file: Path
    start: int
    texts: pa.Table
    vectors: NDArray[np.float32]

    def row(self, number: int) -> str:
        """Return the name of a row of the block for a message."""
        return _row_name(self.file, self.start + number)


class ContentDigest:
    """A digest of the ids and components of vectors, in their order, however the files are cut into blocks."""

    def __init__(self) -> None:
        self._ids, self._components = hashlib.sha256(), hashlib.sha256()

    def add(self, block: Block) -> None:
        """Add the rows of the next block."""
        self._ids.update("".join(f"{name}\0" for name in block.texts["id"].to_pylist()).encode())
        self._components.update(block.vectors.tobytes())

    def hexdigest(self) -> str:
        """Return the hexadecimal sha256 of all rows added."""
        return sha256_of_bytes(self._ids.digest() + self._components.digest())


def vector_files(path: Path) -> list[Path]:
    """Return the files that `path` names: itself, or the Parquet files of a folder, sorted by name.

    Raises DatasetError if there are none.
    """
    if path.is_dir():
        files = sorted(file for file in path.glob("*.parquet") if file.is_file() and not file.name.startswith("."))
        if not files:
            raise DatasetError(f"{path} holds no .parquet file; name a folder of Parquet files, or one file")
        return files
    if not path.is_file():
        raise DatasetError(f"{path} does not exist; expected a Parquet or .npy file, or a folder of Parquet files")
    if path.suffix.lower() not in {".parquet", ".npy"}:
        raise DatasetError(f"{path} must end in .parquet or .npy")
    return [path]


def read_blocks(path: Path, block_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Yield all rows that `path` names, in order, as blocks of at most `block_rows`; see `vector_files`.

    Every vector is finite and has the same dimension, and every id is distinct. The ids of a .npy file are its row
    numbers. Raises DatasetError, which names the file and the first wrong row, for anything else.
    """
    dim: int | None = None
    seen: set[str] = set()
    for file in vector_files(path):
        for block in _read_file(file, block_rows):
            dim = dim or block.vectors.shape[1]
            _check_vectors(block, dim)
            _add_ids(block, seen)
            yield block
    if not seen:
        raise DatasetError(f"{path} holds no vectors")


def _read_file(file: Path, block_rows: int) -> Iterator[Block]:
    read = _read_npy if file.suffix.lower() == ".npy" else _read_parquet
    try:
        yield from read(file, block_rows)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(f"cannot read {file}: {' '.join(str(error).split())}") from error


def _read_npy(file: Path, block_rows: int) -> Iterator[Block]:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] < 1:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise DatasetError(f"{file} must hold floats of shape (n, dim), got {found}")
    for start in range(0, len(array), block_rows):
        rows = array[start : start + block_rows]
        ids = pa.array([str(row) for row in range(start, start + len(rows))])
        texts = {"id": ids, **dict.fromkeys(_OPTIONAL, pa.nulls(len(rows), pa.string()))}
        yield Block(file, start, pa.table(texts), _fp32(rows))


def _read_parquet(file: Path, block_rows: int) -> Iterator[Block]:
    # The path as bytes, because Arrow takes every name for UTF-8.
    with pa.OSFile(os.fsencode(file)) as stream, pq.ParquetFile(stream) as parquet:
        schema = parquet.schema_arrow
        columns = ["id", "embedding", *(name for name in _OPTIONAL if name in schema.names)]
        _check_schema(file, schema, columns)
        start = 0
        for batch in parquet.iter_batches(block_rows, columns=columns):
            if batch.num_rows:
                texts = {name: _texts(batch, name) for name in ("id", *_OPTIONAL)}
                yield Block(file, start, pa.table(texts), _stacked(batch.column("embedding"), file, start))
            start += batch.num_rows


def _check_schema(file: Path, schema: pa.Schema, columns: list[str]) -> None:
    for name in columns:
        count = schema.names.count(name)
        if count != 1:
            cause = "lacks the column" if count == 0 else "has more than one column"
            raise DatasetError(f"{file} {cause} {name}; it has {', '.join(schema.names) or 'none'}; {_EXPECTED}")
        kind = schema.field(name).type
        if not (_is_vector(kind) if name == "embedding" else _is_text(kind)):
            raise DatasetError(f"{file}: the column {name} is of type {kind}; {_EXPECTED}")


def _is_vector(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer)
    return pa.types.is_null(kind) or any(test(kind) for test in tests)


def _texts(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, pa.string())
    texts = batch.column(name).cast(pa.string())
    texts.validate(full=True)  # Text that is not UTF-8 could not be read later.
    return texts


def _stacked(column: pa.Array, file: Path, start: int) -> NDArray[np.float32]:
    """Return a column of lists as (n, dim); DatasetError if lists are missing, have holes or differ in length."""
    missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
    if len(missing):
        raise DatasetError(f"{_row_name(file, start + missing[0])} has no embedding")
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    other = np.flatnonzero(lengths != lengths[0])
    if len(other):
        row = int(other[0])
        raise DatasetError(
            f"{_row_name(file, start + row)} has {lengths[row]} components, the rows before have {lengths[0]}"
        )
    if lengths[0] == 0:
        raise DatasetError(f"{_row_name(file, start)} has an empty embedding")
    values = column.flatten()
    if values.null_count:
        hole = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise DatasetError(f"{_row_name(file, start + hole // int(lengths[0]))} has a component that is null")
    return _fp32(values.to_numpy(zero_copy_only=False).reshape(len(column), int(lengths[0])))


def _row_name(file: Path, row: int) -> str:
    return f"{file}: row {row} (counted from 0)"


def _fp32(values: NDArray[np.floating]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def _check_vectors(block: Block, dim: int) -> None:
    vectors = block.vectors
    if vectors.shape[1] != dim:
        raise DatasetError(f"{block.row(0)} has {vectors.shape[1]} components, the rows before have {dim}")
    # Comparisons with NaN are false.
    if not (vectors.max() <= LARGEST_COMPONENT and vectors.min() >= -LARGEST_COMPONENT):
        row = int(np.flatnonzero(~(np.abs(vectors) <= LARGEST_COMPONENT).all(axis=1))[0])
        kind = "NaN" if np.isnan(vectors[row]).any() else f"infinite, or beyond {LARGEST_COMPONENT:g}"
        raise DatasetError(f"{block.row(row)} has a component that is {kind}")


def _add_ids(block: Block, seen: set[str]) -> None:
    """Add the ids of a block to those of the rows before; DatasetError if one is missing or occurs twice."""
    for row, name in enumerate(block.texts["id"].to_pylist()):
        if not name or "\0" in name:
            raise DatasetError(f"{block.row(row)} has no id, or one with a zero byte")
        if name in seen:
            raise DatasetError(f"{block.row(row)} has the id {name!r}, which a row before has too")
        seen.add(name)
