"""The stored embeddings: Parquet shards in `shards/`, one row per image, and `embedding.json` that describes them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.errors import EmbeddingError
from lookalike.files import read_document, write_json_atomic

FORMAT_VERSION = 2
SHARDS_FOLDER = "shards"
DESCRIPTION_NAME = "embedding.json"
SHARD_PATTERN = "embeddings-*.parquet"
# The layer of vectors that were computed elsewhere: no network is stored with them.
NO_LAYER = ""
ROW_COLUMNS = ("image_id", "path", "label", "split", "width", "height")

# What `embedding.json` must have.
_NEEDED = {
    **dict.fromkeys(("fingerprint", "layer", "precision"), str),
    **dict.fromkeys(("dim", "rows"), int),
    **dict.fromkeys(("shards", "shard_rows"), list),
    "preprocessing": dict,
}


@dataclass(frozen=True)
class EmbeddingTable:
    """All embeddings: `vectors` (n, dim) float32, C-contiguous; `table` the other columns; `metadata` embedding.json.

    Row i of `vectors` and of `table` are the same image. Rows are in the order of the dataset's catalog.
    """

    vectors: NDArray[np.float32]
    table: pa.Table
    metadata: dict[str, Any]


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"embeddings-{number:05d}.parquet"


def shard_notes(fingerprint: str) -> dict[str, str]:
    """Return the Parquet metadata that every shard of embeddings with this fingerprint has."""
    return {"lookalike.format_version": str(FORMAT_VERSION), "lookalike.fingerprint": fingerprint}


def write_metadata(
    folder: Path,
    *,
    fingerprint: str,
    layer: str,
    precision: str,
    dim: int,
    preprocessing: Mapping[str, Any],
    shards: Mapping[str, int],
    rejects: int,
    bf16_check: Mapping[str, Any] | None = None,
    network: Mapping[str, str] | None = None,
) -> None:
    """Write `embedding.json`. `shards` are the rows of each shard by its name, in order.

    `network` holds the sha256 of the network's files; None if there is none, or only torch can run it.
    """
    description = {
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "layer": layer,
        "precision": precision,
        "bf16_check": bf16_check,
        "network": network,
        "dim": dim,
        "preprocessing": preprocessing,
        "rows": sum(shards.values()),
        "rejects": rejects,
        "shards": list(shards),
        "shard_rows": list(shards.values()),
    }
    write_json_atomic(folder / DESCRIPTION_NAME, description)


def load_metadata(folder: Path) -> dict[str, Any]:
    """Return `embedding.json`; EmbeddingError if it is missing, damaged or of another format."""
    return read_document(folder / DESCRIPTION_NAME, EmbeddingError, _NEEDED, version=FORMAT_VERSION)


def shard_paths(folder: Path, metadata: Mapping[str, Any]) -> list[Path]:
    """Return the files of all shards, in the order of their rows."""
    return [folder / SHARDS_FOLDER / name for name in metadata["shards"]]


def load_embeddings(folder: Path) -> EmbeddingTable:
    """Return all embeddings of a folder; EmbeddingError if a shard is missing, damaged or from another model."""
    metadata = load_metadata(folder)
    table = _read_shards(folder, metadata, None)
    vectors = np.empty((table.num_rows, metadata["dim"]), dtype=np.float32)
    start = 0
    for chunk in table["embedding"].chunks:
        vectors[start : start + len(chunk)] = vectors_of(chunk)
        start += len(chunk)
    return EmbeddingTable(vectors, table.drop_columns(["embedding"]), metadata)


def iterate_shards(folder: Path, metadata: Mapping[str, Any]) -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
    """The vectors (m, dim) and the column `split` of each shard in turn; raises as `load_embeddings`."""
    for path, count in zip(shard_paths(folder, metadata), metadata["shard_rows"], strict=True):
        shard = read_shard(path, ["embedding", "split"])
        if shard.num_rows != count:
            raise EmbeddingError(f"{path} holds {shard.num_rows} rows, expected {count}; embed again")
        vectors = vectors_of(shard["embedding"].combine_chunks())
        yield vectors, np.array(shard["split"].to_pylist(), dtype=object)


def load_rows(folder: Path, columns: Sequence[str] = ROW_COLUMNS) -> pa.Table:
    """Return the columns other than the embedding, which is not read from the disk; raises as `load_embeddings`."""
    return _read_shards(folder, load_metadata(folder), list(columns))


def load_vector(folder: Path, row: int) -> NDArray[np.float32]:
    """Return the embedding (dim,) float32 of one row; IndexError if there is no such row."""
    metadata = load_metadata(folder)
    if not 0 <= row < metadata["rows"]:
        raise IndexError(f"row must be from 0 to {metadata['rows'] - 1}, got {row}")
    for path, count in zip(shard_paths(folder, metadata), metadata["shard_rows"], strict=True):
        if row < count:
            chunk = read_shard(path, ["embedding"])["embedding"].combine_chunks()
            return np.ascontiguousarray(vectors_of(chunk)[row])
        row -= count
    raise EmbeddingError(f"{folder / DESCRIPTION_NAME} states more rows than its shards hold; embed again")


def vectors_of(embeddings: pa.FixedSizeListArray) -> NDArray[np.float32]:
    """Return a fixed-size-list column as a view (n, dim)."""
    dim = embeddings.type.list_size
    vectors: NDArray[np.float32] = embeddings.flatten().to_numpy(zero_copy_only=True).reshape(-1, dim)
    return vectors


def read_shard(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Return a shard, its pages' checksums verified; EmbeddingError if it is missing or damaged."""
    try:
        # Not pq.read_table, which imports pyarrow.dataset and with it pandas: 0.3 s of a cold query.
        # The path as bytes, because Arrow takes every name for UTF-8.
        with pa.OSFile(os.fsencode(path)) as file, pq.ParquetFile(file, page_checksum_verification=True) as shard:
            return shard.read(columns=columns)
    except (OSError, pa.ArrowException) as cause:
        raise EmbeddingError(f"cannot read {path}: {' '.join(str(cause).split())}; embed again") from cause


def _read_shards(folder: Path, metadata: dict[str, Any], columns: list[str] | None) -> pa.Table:
    shards = [read_shard(path, columns) for path in shard_paths(folder, metadata)]
    table = pa.concat_tables([shard.replace_schema_metadata(None) for shard in shards])
    if table.num_rows != metadata["rows"]:
        raise EmbeddingError(f"{folder} holds {table.num_rows} rows, expected {metadata['rows']}; embed again")
    return table
