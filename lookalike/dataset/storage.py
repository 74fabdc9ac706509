"""The files of the stage's artifact: catalog.parquet, rejects.parquet and dataset.json."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.dataset.records import NO_LABEL, Reject, Row
from lookalike.errors import DatasetError
from lookalike.files import read_document, replacing, write_json_atomic

FORMAT_VERSION = 1
IMAGES_FOLDER = "images"
_CATALOG = "catalog.parquet"
REJECTS_NAME = "rejects.parquet"
_DESCRIPTION = "dataset.json"

CATALOG_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
    ]
)
REJECTS_SCHEMA = pa.schema([("path", pa.string()), ("stage", pa.string()), ("error", pa.string())])


@dataclass(frozen=True)
class DatasetSummary:
    """Counts of one dataset; `n_files` = `n_images` + `n_rejects` + `n_excluded`. Without labels `n_labels` is 0.

    `n_left_out` counts what is no part of the files: hidden and system entries, the artifact root, and
    entries of `dataset.exclude_paths`; a folder that is left out counts once.

    `n_stray` of the rejects are no images by their names (notes, thumbnails' caches and the like); the
    others are images that cannot be read, whatever they hold.
    """

    n_files: int
    n_images: int
    n_labels: int
    n_train: int
    n_valid: int
    n_rejects: int
    n_stray: int
    n_excluded: int
    n_left_out: int
    n_bytes: int


@dataclass(frozen=True)
class Dataset:
    """A stored dataset: the folder that `path` in the catalog is relative to, the catalog, and the sorted labels.

    A collection without labels has no `classes`, and empty labels in its catalog.
    `n_damaged` counts the images that stand in the rejects because they could not be read. `vectors` says where the
    vectors are if they were computed elsewhere; there are no images then.
    """

    root: Path
    catalog: pa.Table
    classes: list[str]
    n_damaged: int = 0
    vectors: "VectorSource | None" = None


@dataclass(frozen=True)
class VectorSource:
    """Files of vectors that were computed elsewhere: their path, dimension, and the digest of their content."""

    path: str
    dim: int
    digest: str


def write_dataset(
    folder: Path,
    root: str,
    origin: str,
    rows: Sequence[Row],
    rejects: Sequence[Reject],
    held_out: set[str],
    n_files: int,
    n_left_out: int,
    vectors: VectorSource | None = None,
) -> DatasetSummary:
    """Write the three files into `folder` and return the counts. The same input gives the same bytes."""
    summary = _summarise(rows, rejects, held_out, n_files, n_left_out)
    splits = ("valid" if row.image_id in held_out else "train" for row in rows)
    records = ({**asdict(row), "split": split, "bytes": row.n_bytes} for row, split in zip(rows, splits, strict=True))
    _write_parquet(folder / _CATALOG, CATALOG_SCHEMA, records)
    write_rejects(folder, "download_dataset", rejects)
    description = {
        "format_version": FORMAT_VERSION,
        "root": root,
        "origin": origin,
        "classes": _labels_of(rows),
        "counts": asdict(summary),
        **({} if vectors is None else {"vectors": asdict(vectors)}),
    }
    write_json_atomic(folder / _DESCRIPTION, description)
    return summary


def write_rejects(folder: Path, stage: str, rejects: Iterable[Reject]) -> Path:
    """Write which files a stage does not use, and why, to `rejects.parquet` (path, stage, error); return its path."""
    _write_parquet(folder / REJECTS_NAME, REJECTS_SCHEMA, ({**asdict(reject), "stage": stage} for reject in rejects))
    return folder / REJECTS_NAME


def open_dataset(folder: Path) -> Dataset:
    """Return the dataset stored in `folder`, its catalog sorted by path; that of vectors is in their order.

    Raises `DatasetError` if a file is missing, damaged or of another format, or the images are gone.
    """
    description = _read_description(folder)
    root = dataset_root(folder)
    vectors = VectorSource(**description["vectors"]) if "vectors" in description else None
    if vectors is None and not root.is_dir():
        raise DatasetError(f"the images of this dataset are gone: {root} is not a folder")
    counts = description["counts"]
    n_damaged = counts["n_rejects"] - counts["n_stray"]
    return Dataset(root, _read_catalog(folder / _CATALOG), list(description["classes"]), n_damaged, vectors)


def dataset_root(folder: Path) -> Path:
    """Return the folder that the catalog's paths are relative to, which may be gone; raises as `open_dataset`."""
    return Path(folder, _read_description(folder)["root"])


def _read_description(folder: Path) -> dict[str, Any]:
    needs = {"root": str, "classes": list, "counts": dict}
    return read_document(folder / _DESCRIPTION, DatasetError, needs, version=FORMAT_VERSION)


def _summarise(
    rows: Sequence[Row], rejects: Sequence[Reject], held_out: set[str], n_files: int, n_left_out: int
) -> DatasetSummary:
    n_valid = sum(row.image_id in held_out for row in rows)
    return DatasetSummary(
        n_files=n_files,
        n_images=len(rows),
        n_labels=len(_labels_of(rows)),
        n_train=len(rows) - n_valid,
        n_valid=n_valid,
        n_rejects=len(rejects),
        n_stray=sum(reject.is_stray for reject in rejects),
        n_excluded=n_files - len(rows) - len(rejects),
        n_left_out=n_left_out,
        n_bytes=sum(row.n_bytes for row in rows),
    )


def _labels_of(rows: Sequence[Row]) -> list[str]:
    return sorted({row.label for row in rows} - {NO_LABEL})


def _write_parquet(path: Path, schema: pa.Schema, records: Iterable[Mapping[str, object]]) -> None:
    table = pa.Table.from_pylist(list(records), schema=schema)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _read_catalog(path: Path) -> pa.Table:
    try:
        catalog = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"cannot read {path}: {' '.join(str(error).split())}; it is missing or damaged") from error
    if catalog.schema.names != CATALOG_SCHEMA.names:
        raise DatasetError(f"{path} has the columns {catalog.schema.names}, expected {CATALOG_SCHEMA.names}")
    return catalog
