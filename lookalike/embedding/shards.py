"""Embedding of one shard: rows of the catalog in, one Parquet file out, independent of all other shards.

A shard stores its rejects and the digest of its task. After an interruption the finished shards can be told, and shards
can be made in any order, by any number of processes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.dataset.records import Reject
from lookalike.embedding.model import EmbeddingModel, Runner
from lookalike.embedding.table import FORMAT_VERSION, ROW_COLUMNS, read_shard, shard_name, shard_notes
from lookalike.errors import EmbeddingError, ImageError
from lookalike.files import digest_of, replacing, sha256_of_bytes
from lookalike.images.reading import open_image
from lookalike.network.arithmetic import parallel_batches
from lookalike.network.preprocessing import Preprocessing

_TASK_KEY, _REJECTS_KEY = "lookalike.task", "lookalike.rejects"


@dataclass(frozen=True)
class Shard:
    """Rows `start` to `stop` of the catalog, and the name of the file that will hold them."""

    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """File name of the shard."""
        return shard_name(self.number)


@dataclass(frozen=True)
class ShardResult:
    """A finished shard: its file name, how many rows it holds, and which images could not be read."""

    name: str
    rows: int
    rejects: tuple[Reject, ...]


def plan_shards(n_rows: int, shard_rows: int) -> list[Shard]:
    """Return the shards that cover rows 0 to n_rows, each of `shard_rows` but for the last."""
    starts = range(0, n_rows, shard_rows)
    return [Shard(number, start, min(start + shard_rows, n_rows)) for number, start in enumerate(starts)]


def task_digest(fingerprint: str, precision: str, rows: pa.Table) -> str:
    """Return the digest of everything that a shard's content depends on."""
    columns = (rows[name].to_pylist() for name in ROW_COLUMNS)
    return digest_of([FORMAT_VERSION, fingerprint, precision, *columns])


def finished_shard(path: Path, task: str) -> ShardResult | None:
    """Return a shard that an earlier run finished, or None if it is missing, damaged or of another task."""
    if not path.is_file():
        return None
    try:
        # The whole file is read, so that the checksums of its pages are verified.
        table = read_shard(path)
    except EmbeddingError:
        return None
    metadata = table.schema.metadata or {}
    if metadata.get(_TASK_KEY.encode(), b"").decode() != task:
        return None
    rejects = tuple(Reject(**reject) for reject in json.loads(metadata[_REJECTS_KEY.encode()]))
    return ShardResult(path.name, table.num_rows, rejects)


def embed_shard(
    model: EmbeddingModel,
    run: Runner,
    root: Path,
    rows: pa.Table,
    path: Path,
    *,
    batch_size: int | Literal["auto"] = "auto",
    workers: int | Literal["auto"] = "auto",
    known: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    on_progress: Callable[[int], object] = lambda count: None,
) -> ShardResult:
    """Embed the images of `rows` (columns of the catalog) and write them to `path`, whole or not at all.

    An image that cannot be read, or whose bytes are no longer those that were cataloged, becomes a reject; the
    other rows stay in order. `known` are vectors (dim,) by image_id that the same model has made before.
    """
    outcomes: list[NDArray[np.float32] | ImageError | None] = [known.get(i) for i in rows["image_id"].to_pylist()]
    on_progress(sum(outcome is not None for outcome in outcomes))
    unknown = [row for row, outcome in enumerate(outcomes) if outcome is None]
    size = run.batch_size if batch_size == "auto" else batch_size
    made = embed_rows(run, model.preprocessing, root, rows.take(pa.array(unknown, type=pa.int64())), size, workers)
    for row, outcome in zip(unknown, made, strict=True):
        outcomes[row] = outcome
        on_progress(1)
    kept = [row for row, outcome in enumerate(outcomes) if not isinstance(outcome, ImageError)]
    results = zip(rows["path"].to_pylist(), outcomes, strict=True)
    rejects = [Reject(path, str(outcome)) for path, outcome in results if isinstance(outcome, ImageError)]
    vectors = np.array([outcomes[row] for row in kept], dtype=np.float32).reshape(len(kept), model.dim)
    notes = _notes(model, run.precision, rows, rejects)
    write_shard(path, rows.take(pa.array(kept, type=pa.int64())), vectors, notes)
    return ShardResult(path.name, len(kept), tuple(rejects))


def embed_rows(
    run: Runner,
    preprocessing: Preprocessing,
    root: Path,
    rows: pa.Table,
    batch_size: int,
    workers: int | Literal["auto"] = "auto",
) -> Iterator[NDArray[np.float32] | ImageError]:
    """Yield, for each row, its embedding (dim,) or what is wrong with the image.

    Each worker decodes a batch and hands it to the network, so that there is always one of them for each core.
    """
    batches = [rows.slice(start, batch_size) for start in range(0, rows.num_rows, batch_size)]
    work = partial(_embed_batch, run, preprocessing, root)
    for batch in parallel_batches(work, batches, workers):
        yield from batch


def _embed_batch(
    run: Runner, preprocessing: Preprocessing, root: Path, rows: pa.Table
) -> list[NDArray[np.float32] | ImageError]:
    pixels = read_batch(root, rows, preprocessing)
    readable = [image for image in pixels if not isinstance(image, ImageError)]
    vectors = iter(run(np.stack(readable)) if readable else ())
    return [image if isinstance(image, ImageError) else next(vectors) for image in pixels]


def read_batch(root: Path, rows: pa.Table, preprocessing: Preprocessing) -> list[NDArray[np.uint8] | ImageError]:
    """Return the pixels of each row, or why they cannot be read; see `read_pixels`."""
    pixels: list[NDArray[np.uint8] | ImageError] = []
    for path, image_id in zip(rows["path"].to_pylist(), rows["image_id"].to_pylist(), strict=True):
        try:
            pixels.append(read_pixels(root / path, image_id, preprocessing))
        except ImageError as error:
            pixels.append(error)
    return pixels


def read_pixels(path: Path, image_id: str, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the pixels of an image file; ImageError if it is unreadable or not the one that was cataloged."""
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise ImageError(f"cannot read {path.name}: {cause.strerror or cause}") from cause
    if sha256_of_bytes(data) != image_id:
        raise ImageError(f"{path.name} has changed since the dataset was made; build the dataset again")
    # No limit on its pixels: the dataset has checked these very bytes.
    image = open_image(data, max_pixels=None, target_size=preprocessing.image_size, name=path.name)
    return preprocessing.pixels(image)


def _notes(model: EmbeddingModel, precision: str, rows: pa.Table, rejects: Sequence[Reject]) -> dict[str, str]:
    """Return the metadata of a shard's file."""
    return {
        **shard_notes(model.fingerprint),
        "lookalike.layer": model.layer,
        "lookalike.precision": precision,
        "lookalike.image_size": str(model.preprocessing.image_size),
        _TASK_KEY: task_digest(model.fingerprint, precision, rows),
        _REJECTS_KEY: json.dumps([asdict(reject) for reject in rejects]),
    }


def write_shard(path: Path, rows: pa.Table, vectors: NDArray[np.float32], notes: dict[str, str]) -> None:
    """Write rows of the catalog and their vectors (n, dim) to `path`, whole or not at all; `notes` are its metadata.

    The same content gives the same bytes.
    """
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), type=pa.float32())
    embedding = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table = rows.select(list(ROW_COLUMNS)).append_column("embedding", embedding).replace_schema_metadata(notes)
    with replacing(path) as temporary:
        # Floats do not compress; stored plainly, reading them back is little more than a copy.
        pq.write_table(
            table, temporary, compression="none", use_dictionary=["label", "split"], write_page_checksum=True
        )
