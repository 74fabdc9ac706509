"""Stage build_lsh: from the stored embeddings to a stored index, with parameters given or tuned.

The folder holds the index (see `storage`) and `build.json`: parameters, tuning, statistics, and the
fingerprint of the embeddings that it was built from.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.config.sections import IndexConfig
from lookalike.embedding.table import EmbeddingTable, load_embeddings
from lookalike.files import write_json_atomic
from lookalike.lsh import HyperplaneLSH, LSHashIndex, VectorIndex, tune_lsh

logger = logging.getLogger(__name__)

# lshash3 has nothing to tune: `auto` means what the article took, neighboring buckets included.
_ARTICLE_BITS = 10
_ARTICLE_TABLES = 5
# With fewer held-out images than this, all images are better company for the confidence interval.
_FEWEST_TUNING_ROWS = 50


def build_lsh(config: IndexConfig, embeddings_folder: Path, folder: Path) -> dict[str, Any]:
    """Build the configured index over all embeddings, save it to `folder`, and return its parameters.

    The ids of the index are the row numbers of the embeddings.
    """
    embeddings = load_embeddings(embeddings_folder)
    build = _build_lshash3 if config.engine == "lshash3" else _build_hyperplane_lsh
    index, parameters = build(config, embeddings)
    index.save(folder)
    summary = {"engine": config.engine, "n_vectors": len(index), "dim": index.dim, **parameters}
    fingerprint = embeddings.metadata["fingerprint"]
    write_json_atomic(folder / "build.json", {**summary, "fingerprint": fingerprint, "stats": index.stats()})
    return summary


def _build_hyperplane_lsh(config: IndexConfig, embeddings: EmbeddingTable) -> tuple[VectorIndex, dict[str, Any]]:
    vectors = embeddings.vectors
    space: dict[str, Any] = {"metric": config.metric, "center": config.center, "seed": config.seed}
    given: dict[str, Any] = {
        name: value
        for name, value in (("n_bits", config.n_bits), ("n_tables", config.n_tables), ("probes", config.probes))
        if value != "auto"
    }
    if len(given) == 3:
        return HyperplaneLSH.build(vectors, **space, **given), given
    params = tune_lsh(
        vectors, target_recall=config.target_recall, query_rows=_tuning_rows(embeddings), **space, **given
    )
    chosen: dict[str, Any] = params.as_kwargs()
    logger.info("index parameters for recall %.2f: %s", config.target_recall, chosen)
    return HyperplaneLSH.build(vectors, **space, **chosen), {**chosen, "tuned_recall": params.recall}


def _tuning_rows(embeddings: EmbeddingTable) -> NDArray[np.int64] | None:
    """The held-out rows: the network was not trained on them, nor will it be on what users ask."""
    held_out = np.flatnonzero(np.array(embeddings.table["split"].to_pylist()) == "valid")
    return held_out if len(held_out) >= _FEWEST_TUNING_ROWS else None


def _build_lshash3(config: IndexConfig, embeddings: EmbeddingTable) -> tuple[VectorIndex, dict[str, Any]]:
    parameters: dict[str, Any] = {
        "n_bits": _ARTICLE_BITS if config.n_bits == "auto" else config.n_bits,
        "n_tables": _ARTICLE_TABLES if config.n_tables == "auto" else config.n_tables,
        "probe": "plain" if config.probes == 1 else "hamming",
    }
    vectors = embeddings.vectors
    index = LSHashIndex.build(vectors, metric=config.metric, center=config.center, seed=config.seed, **parameters)
    return index, parameters
