"""Stage embed_all: every image of the collection becomes a vector, by a forward hook on one layer.

Importing this package imports neither torch nor OpenVINO, so that reading stored embeddings is cheap.
"""

from collections.abc import Sequence
from pathlib import Path

from lookalike.config import EmbeddingConfig
from lookalike.embedding.embedder import Embedder
from lookalike.embedding.summary import EmbeddingSummary
from lookalike.embedding.table import EmbeddingTable, load_embeddings, load_metadata, load_rows, load_vector

__all__ = [
    "Embedder",
    "EmbeddingSummary",
    "EmbeddingTable",
    "embed_all",
    "load_embeddings",
    "load_metadata",
    "load_rows",
    "load_vector",
]


def embed_all(
    config: EmbeddingConfig,
    dataset_folder: Path,
    model_folder: Path,
    folder: Path,
    earlier_folders: Sequence[Path] = (),
) -> EmbeddingSummary:
    """Embed every image of a stored dataset into Parquet shards in `folder`; returns counts and speed.

    The folder gets `network.xml` and `network.bin`, with which queries embed, `shards/embeddings-00000.parquet` and
    so on, `rejects.parquet` and, last, `embedding.json`. Whole shards that an interrupted run of the same model and
    dataset left in `folder` are kept. Rows are in the order of the catalog, and rows + rejects = rows of the catalog.
    Afterwards a seeded sample of rows must match what torch and a forward hook make of their images. Vectors in
    `earlier_folders` that the same model made of the same images are taken over.

    Raises ConfigError if `embedding.layer` names no layer, ModelError if the model is damaged, EmbeddingError
    if more images than `embedding.max_failure_fraction` could not be read or a check failed.
    """
    from lookalike.embedding.stage import run_embed_all

    return run_embed_all(config, dataset_folder, model_folder, folder, earlier_folders)
