"""Checks of the embeddings: stored rows belong to their images, and bf16 finds nearly the neighbors of fp32."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.dataset.storage import Dataset
from lookalike.embedding.model import EmbeddingModel, Runner
from lookalike.embedding.shards import ShardResult, embed_rows, read_pixels
from lookalike.embedding.table import ROW_COLUMNS, SHARDS_FOLDER, read_shard, vectors_of
from lookalike.errors import EmbeddingError, ImageError
from lookalike.network.inference import CONVERSION_TOLERANCE, relative_difference

# Largest |stored - torch's| / |torch's|. fp32 keeps 7 digits, bf16 3, and both lose some of them layer by layer. The
# embedding of another image differs by 1 and more.
TOLERANCE = {"fp32": CONVERSION_TOLERANCE, "bf16": 0.15}
MIN_OVERLAP = 0.95
MAX_PRECISION_DROP = 0.002
_NEIGHBORS = 10
_SEED = 0


def verify_rows(
    model: EmbeddingModel, precision: str, root: Path, folder: Path, shards: Sequence[ShardResult], count: int
) -> None:
    """Compare a seeded sample of stored rows with what torch and the forward hook give; EmbeddingError if one differs.

    This catches a wrong conversion, and rows that were shifted against their images, whatever the cause.
    """
    total = sum(shard.rows for shard in shards)
    sample = np.sort(np.random.default_rng(_SEED).choice(total, size=min(count, total), replace=False))
    start = 0
    for shard in shards:
        rows = sample[(sample >= start) & (sample < start + shard.rows)] - start
        if len(rows):
            _verify_shard(model, TOLERANCE[precision], root, folder / SHARDS_FOLDER / shard.name, rows)
        start += shard.rows


def _verify_shard(model: EmbeddingModel, tolerance: float, root: Path, path: Path, rows: NDArray[np.int64]) -> None:
    table = read_shard(path, [*ROW_COLUMNS, "embedding"])
    stored = vectors_of(table["embedding"].combine_chunks())
    for row in rows:
        name = table["path"][int(row)].as_py()
        pixels = read_pixels(root / name, table["image_id"][int(row)].as_py(), model.preprocessing)
        difference = relative_difference(model.reference(pixels[None])[0], stored[row])
        if difference > tolerance:
            raise EmbeddingError(
                f"the stored embedding of {name} differs by {difference:.2g} from the one computed again, more than "
                f"{tolerance:g}: delete {path.name} and build again"
            )


@dataclass(frozen=True)
class Bf16Check:
    """What bf16 changes on a sample of `images`.

    `overlap` is the mean share of the ten nearest neighbors that bf16 and fp32 have in common,
    `precision_drop` by how much bf16 has fewer of the image's own label among them.
    """

    images: int
    overlap: float
    precision_drop: float
    min_overlap: float = MIN_OVERLAP
    max_precision_drop: float = MAX_PRECISION_DROP

    @property
    def is_passed(self) -> bool:
        """Whether bf16 may be used."""
        return self.overlap >= self.min_overlap and self.precision_drop <= self.max_precision_drop


def check_bf16(
    model: EmbeddingModel,
    single: Runner,
    half: Runner,
    dataset: Dataset,
    count: int,
    workers: int | Literal["auto"] = "auto",
) -> Bf16Check:
    """Compare bf16 with fp32 on a seeded sample of the catalog's images; those that cannot be read are left out."""
    catalog = dataset.catalog
    rows = np.sort(
        np.random.default_rng(_SEED).choice(catalog.num_rows, size=min(count, catalog.num_rows), replace=False)
    )
    sample = catalog.take(pa.array(rows))
    made = [
        list(embed_rows(run, model.preprocessing, dataset.root, sample, run.batch_size, workers))
        for run in (single, half)
    ]
    readable = [row for row, vector in enumerate(made[0]) if not isinstance(vector, ImageError)]
    in_fp32, in_bf16 = (
        np.array([vectors[row] for row in readable], dtype=np.float32).reshape(len(readable), model.dim)
        for vectors in made
    )
    return compare_neighbors(np.array(sample["label"].to_pylist(), dtype=np.str_)[readable], in_fp32, in_bf16)


def compare_neighbors(
    labels: NDArray[np.str_], single: NDArray[np.float32], half: NDArray[np.float32], k: int = _NEIGHBORS
) -> Bf16Check:
    """Return what differs among each row's k nearest others, by centered cosine, in fp32 and bf16 embeddings."""
    k = min(k, len(labels) - 1)
    if k < 1:
        return Bf16Check(len(labels), overlap=1.0, precision_drop=0.0)
    in_fp32, in_bf16 = _nearest_others(single, k), _nearest_others(half, k)
    overlap = np.mean([len(set(one) & set(other)) / k for one, other in zip(in_fp32, in_bf16, strict=True)])
    precisions = [np.mean(labels[nearest] == labels[:, None]) for nearest in (in_fp32, in_bf16)]
    return Bf16Check(len(labels), round(float(overlap), 6), round(float(precisions[0] - precisions[1]), 6))


def _nearest_others(vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    centered = vectors - vectors.mean(axis=0)
    unit = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]
