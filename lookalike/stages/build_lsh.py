"""Stage build_lsh: from the stored embeddings to a stored index, with parameters given or tuned.

The folder holds the index (see `storage`) and `build.json`: parameters, tuning, statistics, and the
fingerprint of the embeddings that it was built from.
"""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.config.sections import IndexConfig
from lookalike.embedding.table import iterate_shards, load_embeddings, load_metadata
from lookalike.files import write_json_atomic
from lookalike.lsh import LSHashIndex, VectorIndex, build_on_disk, store_parameters, tune_built, tune_lsh

logger = logging.getLogger(__name__)

# lshash3 has nothing to tune: `auto` means what the article took, neighboring buckets included.
_ARTICLE_BITS = 10
_ARTICLE_TABLES = 5
# With fewer held-out images than this, all images are better company for the confidence interval.
_FEWEST_TUNING_ROWS = 50
# Of larger collections, parameters are planned on a sample, and measured on the index.
_MOST_TUNING_VECTORS = 200_000


def build_lsh(config: IndexConfig, embeddings_folder: Path, folder: Path) -> dict[str, Any]:
    """Build the configured index over all embeddings in `folder`, and return its parameters.

    The ids of the index are the row numbers of the embeddings. The vectors are read shard by shard.
    """
    metadata = load_metadata(embeddings_folder)
    build = _build_lshash3 if config.engine == "lshash3" else _build_hyperplane_lsh
    index, parameters = build(config, embeddings_folder, metadata, folder)
    summary = {"engine": config.engine, "n_vectors": len(index), "dim": index.dim, **parameters}
    fingerprint = metadata["fingerprint"]
    write_json_atomic(folder / "build.json", {**summary, "fingerprint": fingerprint, "stats": index.stats()})
    return summary


def _build_hyperplane_lsh(
    config: IndexConfig, embeddings_folder: Path, metadata: Mapping[str, Any], folder: Path
) -> tuple[VectorIndex, dict[str, Any]]:
    space: dict[str, Any] = {"metric": config.metric, "center": config.center, "seed": config.seed}
    parts = (vectors for vectors, _ in iterate_shards(embeddings_folder, metadata))
    build = partial(
        build_on_disk, parts, folder, n_rows=metadata["rows"], dim=metadata["dim"], storage=config.storage, **space
    )
    given: dict[str, Any] = {
        name: value
        for name, value in (("n_bits", config.n_bits), ("n_tables", config.n_tables), ("probes", config.probes))
        if value != "auto"
    }
    if len(given) == 3:
        return build(**given), given
    step = -(-metadata["rows"] // _MOST_TUNING_VECTORS) or 1
    vectors, held_out = _sampled(embeddings_folder, metadata, step)
    target: dict[str, Any] = {"target_recall": config.target_recall}
    sampled: dict[str, Any] = {"n_rows": metadata["rows"]} if step > 1 else {}
    params = tune_lsh(vectors, query_rows=held_out, **target, **space, **given, **sampled)
    del vectors
    index = build(**params.as_kwargs())
    if step > 1 and params.plan == "probe":
        rows = None if held_out is None else held_out * step
        params = tune_built(index, seed=config.seed, query_rows=rows, probes=given.get("probes"), **target)
        index = store_parameters(folder, params)
    chosen = params.as_kwargs()
    logger.info("index parameters for recall %.2f: %s", config.target_recall, chosen)
    return index, {**chosen, "tuned_recall": params.recall}


def _sampled(
    embeddings_folder: Path, metadata: Mapping[str, Any], step: int
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Every `step`-th vector, and which of them are held out, if those are many.

    The network was not trained on the held-out images, nor will it be on what users ask.
    """
    parts, held_out, first_row = [], [], 0
    for vectors, split in iterate_shards(embeddings_folder, metadata):
        some = slice(-first_row % step, None, step)
        parts.append(np.array(vectors[some]))
        held_out.append(split[some] == "valid")
        first_row += len(vectors)
    rows = np.flatnonzero(np.concatenate(held_out))
    return np.concatenate(parts), rows if len(rows) >= _FEWEST_TUNING_ROWS else None


def _build_lshash3(
    config: IndexConfig, embeddings_folder: Path, _metadata: Mapping[str, Any], folder: Path
) -> tuple[VectorIndex, dict[str, Any]]:
    parameters: dict[str, Any] = {
        "n_bits": _ARTICLE_BITS if config.n_bits == "auto" else config.n_bits,
        "n_tables": _ARTICLE_TABLES if config.n_tables == "auto" else config.n_tables,
        "probe": "plain" if config.probes == 1 else "hamming",
    }
    vectors = load_embeddings(embeddings_folder).vectors
    index = LSHashIndex.build(vectors, metric=config.metric, center=config.center, seed=config.seed, **parameters)
    index.save(folder)
    return index, parameters
