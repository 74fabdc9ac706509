"""The vectors of a build for other engines: centred and normalised, so that these rank as lookalike does.

lookalike subtracts the mean of the collection before it compares vectors. Another engine that is given the stored
vectors compares them without that, and ranks them differently.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.embedding.table import load_metadata, read_shard, shard_paths, vectors_of
from lookalike.errors import ConfigError, LookalikeError
from lookalike.files import flush_everything, read_json, replacing, reserve_disk, temporary_beside, write_json_atomic
from lookalike.lsh import load_index
from lookalike.lsh.space import SMALLEST_NORM
from lookalike.search.held_build import hold_build
from lookalike.store.artifacts import Store

_FORMAT = "lookalike export 1"
_FORMAT_KEY = b"lookalike.export"
_DESCRIPTION = "export.json"
_FOLDER_FILES = frozenset({_DESCRIPTION, "mean.npy", "rows.jsonl", "vectors.npy", "index.faiss"})
_COLUMNS = ("id", "label", "path", "split")

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class _Export:
    """What is exported: the shards in order, the metric and mean of the index, and what the copy says of itself."""

    shards: list[Path]
    metric: str
    mean: Vectors
    description: dict[str, Any]

    def parts(self) -> Iterator[tuple[pa.Table, Vectors]]:
        """Yield the texts (id, label, path, split) and the points (n, dim) float32 of each shard."""
        seen: Counter[str] = Counter()
        for path in self.shards:
            shard = read_shard(path, ["image_id", "label", "path", "split", "embedding"])
            texts = shard.drop_columns(["embedding"]).rename_columns(list(_COLUMNS))
            ids = pa.array([_distinct(name, seen) for name in texts["id"].to_pylist()], pa.string())
            vectors = vectors_of(shard["embedding"].combine_chunks())
            yield texts.set_column(0, "id", ids), comparable(vectors, self.mean, self.metric)


def comparable(vectors: Vectors, mean: Vectors, metric: str) -> Vectors:
    """Return vectors (n, dim) minus the mean (dim,), of unit length for the metric cosine, as float32.

    A vector equal to the mean becomes zeros. For inner_product the mean is zeros, and nothing changes.
    """
    points = vectors.astype(np.float64) - mean
    if metric == "cosine":
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        points = np.where(norms < SMALLEST_NORM, 0.0, points / np.maximum(norms, SMALLEST_NORM))
    return np.ascontiguousarray(points, dtype=np.float32)


def export(root: Path, kind: str, output: Path, build_id: str | None = None) -> int:
    """Write the vectors of the published build, or of `build_id`, to `output`; return their number.

    `kind` is `parquet` (one file), `npy` or `faiss` (a folder). It is written whole or not at all, and replaces only
    an earlier export. Raises ConfigError if `output` is anything else, or if FAISS is not installed; ArtifactError if
    there is no such build.
    """
    write = _WRITERS[kind]
    _check_output(output, is_folder=kind != "parquet")
    if kind == "faiss":
        _import_faiss()
    held = hold_build(Store(root), build_id)
    try:
        index = load_index(held.folders["build_lsh"])
        embeddings = held.folders["embed_all"]
        metadata = load_metadata(embeddings)
        description = {
            "format": _FORMAT,
            "build_id": held.build.build_id,
            "metric": index.metric,
            "rows": metadata["rows"],
            "dim": metadata["dim"],
        }
        write(_Export(shard_paths(embeddings, metadata), index.metric, index.mean, description), output)
    finally:
        held.lock.release()
    return int(metadata["rows"])


def _distinct(name: str, seen: Counter[str]) -> str:
    """Files of the same bytes share an id; those after the first get a number."""
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}-{seen[name]}"


def _write_parquet(content: _Export, output: Path) -> None:
    vector = pa.list_(pa.float32(), len(content.mean))
    schema = pa.schema([("id", pa.string()), ("embedding", vector), *((name, pa.string()) for name in _COLUMNS[1:])])
    notes = {
        _FORMAT_KEY: _FORMAT,
        "lookalike.build_id": content.description["build_id"],
        "lookalike.metric": content.metric,
        "lookalike.mean": json.dumps(content.mean.astype(float).tolist()),
    }
    schema = schema.with_metadata(notes)
    with replacing(output) as temporary, pq.ParquetWriter(temporary, schema, use_dictionary=["label"]) as writer:
        for texts, points in content.parts():
            embedding = pa.FixedSizeListArray.from_arrays(pa.array(points.reshape(-1)), points.shape[1])
            writer.write_table(texts.append_column("embedding", embedding).select(schema.names).cast(schema))


def _write_npy(content: _Export, output: Path) -> None:
    with _replacing_folder(output) as folder:
        shape = (content.description["rows"], content.description["dim"])
        path = folder / "vectors.npy"
        stored: Vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        reserve_disk(path)
        start = 0
        for points in _write_texts(content, folder):
            stored[start : start + len(points)] = points
            start += len(points)


def _write_faiss(content: _Export, output: Path) -> None:
    faiss = _import_faiss()
    kind = faiss.IndexFlatL2 if content.metric == "euclidean" else faiss.IndexFlatIP
    with _replacing_folder(output) as folder:
        index = kind(content.description["dim"])
        for points in _write_texts(content, folder):
            index.add(points)
        faiss.write_index(index, str(folder / "index.faiss"))


def _write_texts(content: _Export, folder: Path) -> Iterator[Vectors]:
    """Write everything but the vectors, which are yielded in the order of the lines of `rows.jsonl`."""
    np.save(folder / "mean.npy", content.mean)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as lines:
        for texts, points in content.parts():
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in texts.to_pylist())
            yield points
    write_json_atomic(folder / _DESCRIPTION, content.description)


_WRITERS: Mapping[str, Callable[[_Export, Path], None]] = {
    "parquet": _write_parquet,
    "npy": _write_npy,
    "faiss": _write_faiss,
}


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError("--to faiss needs FAISS; install it with `pip install faiss-cpu`") from error
    return faiss


def _check_output(output: Path, *, is_folder: bool) -> None:
    is_there = output.exists() or output.is_symlink()
    if is_there and not (output.is_dir() == is_folder and _is_export(output)):
        kind = "folder" if is_folder else "Parquet file"
        raise ConfigError(f"{output} exists and is no {kind} that an export wrote; choose another --output")


def _is_export(output: Path) -> bool:
    try:
        if output.is_dir():
            description = read_json(output / _DESCRIPTION, LookalikeError)
            has_own_files_only = {path.name for path in output.iterdir()} <= _FOLDER_FILES
            return isinstance(description, dict) and description.get("format") == _FORMAT and has_own_files_only
        return (pq.read_schema(output).metadata or {}).get(_FORMAT_KEY) == _FORMAT.encode()
    except (OSError, pa.ArrowException, LookalikeError):
        return False


@contextmanager
def _replacing_folder(output: Path) -> Iterator[Path]:
    """Yield a new folder beside `output`, which takes its place on success and is removed on any exception."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary, before = temporary_beside(output), temporary_beside(output)
    temporary.mkdir()
    try:
        yield temporary
        flush_everything()
        if output.exists():
            output.rename(before)
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if before.exists():
            before.rename(output)
        raise
    shutil.rmtree(before, ignore_errors=True)
