"""The stage embed_all from start to end: convert the network, choose the precision, embed, check, describe."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lookalike.config.sections import EmbeddingConfig
from lookalike.dataset.records import Reject
from lookalike.dataset.storage import Dataset, open_dataset, write_rejects
from lookalike.embedding.checks import Bf16Check, verify_rows
from lookalike.embedding.earlier import Places, find_earlier, read_vectors
from lookalike.embedding.given import store_given_vectors
from lookalike.embedding.model import EmbeddingModel, Runner
from lookalike.embedding.precision import choose_runner
from lookalike.embedding.shards import Shard, ShardResult, embed_shard, finished_shard, plan_shards, task_digest
from lookalike.embedding.summary import EmbeddingSummary
from lookalike.embedding.table import SHARD_PATTERN, SHARDS_FOLDER, write_metadata
from lookalike.errors import EmbeddingError
from lookalike.network.inference import load_graph, save_graph
from lookalike.progress import progress_bar

_REJECTS_NAMED_IN_ERROR = 3


def embed_all(
    config: EmbeddingConfig,
    dataset_folder: Path,
    model_folder: Path,
    folder: Path,
    earlier_folders: Sequence[Path] = (),
    *,
    max_failure_fraction: float = 0.05,
) -> EmbeddingSummary:
    """Embed every image of a stored dataset into Parquet shards in `folder`; returns counts and speed.

    The folder gets `network.xml` and `network.bin`, with which queries embed, `shards/embeddings-00000.parquet` and
    so on, `rejects.parquet` and, last, `embedding.json`. Whole shards that an interrupted run of the same model and
    dataset left in `folder` are kept. Rows are in the order of the catalog, and rows + rejects = rows of the catalog.
    Afterwards a seeded sample of rows must match what torch and a forward hook make of their images. Vectors in
    `earlier_folders` that the same model made of the same images are taken over. Vectors that were computed elsewhere
    are read, checked, and written as the same shards.

    Raises ConfigError if `embedding.layer` names no layer, ModelError if the model is damaged, EmbeddingError
    if a larger share of the images than `max_failure_fraction` could not be read, those that the dataset
    rejected included, or a check failed.
    """
    dataset = open_dataset(dataset_folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards = plan_shards(dataset.catalog.num_rows, config.shard_rows)
    _remove_other_shards(folder, shards)
    start = time.perf_counter()
    if dataset.vectors is not None:
        store_given_vectors(dataset, dataset.vectors, shards, folder)
        return _summary_of_given(dataset, dataset.vectors.dim, len(shards), time.perf_counter() - start)
    model = EmbeddingModel(model_folder, config.layer)
    graph = model.convert()
    network = None if graph is None else save_graph(graph, folder)
    # From here on the stored graph, which is what queries will run.
    run, check = choose_runner(config, model, network and load_graph(folder, network), dataset)
    start = time.perf_counter()
    earlier = find_earlier(earlier_folders, model.fingerprint, run.precision)
    results, reused, embedded = _make_shards(config, model, run, dataset, shards, folder, earlier)
    seconds = time.perf_counter() - start
    rejects = [reject for result in results for reject in result.rejects]
    _check_counts(max_failure_fraction, dataset, results, rejects)
    verify_rows(model, run.precision, dataset.root, folder, results, config.verify_rows)
    write_rejects(folder, "embed_all", rejects)
    _write_description(folder, model, run.precision, check, network, results, rejects)
    return EmbeddingSummary(
        rows=sum(result.rows for result in results),
        rejects=len(rejects),
        dim=model.dim,
        shards=len(shards),
        reused_shards=reused,
        embedded=embedded,
        precision=run.precision,
        bf16_overlap=check.overlap if check else None,
        seconds=seconds,
        images_per_second=embedded / seconds,
    )


def _summary_of_given(dataset: Dataset, dim: int, n_shards: int, seconds: float) -> EmbeddingSummary:
    return EmbeddingSummary(
        rows=dataset.catalog.num_rows,
        rejects=0,
        dim=dim,
        shards=n_shards,
        reused_shards=0,
        embedded=0,
        precision="fp32",
        bf16_overlap=None,
        seconds=seconds,
        images_per_second=0.0,
    )


def _make_shards(
    config: EmbeddingConfig,
    model: EmbeddingModel,
    run: Runner,
    dataset: Dataset,
    shards: Sequence[Shard],
    folder: Path,
    earlier: Places,
) -> tuple[list[ShardResult], int, int]:
    """Return all shards' results, how many an earlier run had finished, and how many images were embedded now."""
    results: list[ShardResult] = []
    reused = embedded = 0
    with progress_bar("embedding", dataset.catalog.num_rows) as bar:
        for shard in shards:
            rows = dataset.catalog.slice(shard.start, shard.stop - shard.start)
            path = folder / SHARDS_FOLDER / shard.name
            result = finished_shard(path, task_digest(model.fingerprint, run.precision, rows))
            if result is not None:
                reused += 1
                bar.update(rows.num_rows)
            else:
                known = read_vectors(earlier, rows["image_id"].to_pylist())
                result = embed_shard(
                    model,
                    run,
                    dataset.root,
                    rows,
                    path,
                    batch_size=config.batch_size,
                    workers=config.workers,
                    known=known,
                    on_progress=bar.update,
                )
                embedded += sum(image_id not in known for image_id in rows["image_id"].to_pylist())
            results.append(result)
    return results, reused, embedded


def _remove_other_shards(folder: Path, shards: Sequence[Shard]) -> None:
    """Remove shards that a run of another size left, so that nobody takes them for part of this one."""
    names = {shard.name for shard in shards}
    for path in (folder / SHARDS_FOLDER).glob(SHARD_PATTERN):
        if path.name not in names:
            path.unlink()


def _check_counts(
    max_failure_fraction: float, dataset: Dataset, results: Sequence[ShardResult], rejects: Sequence[Reject]
) -> None:
    cataloged = dataset.catalog.num_rows
    rows = sum(result.rows for result in results)
    if rows + len(rejects) != cataloged:
        raise EmbeddingError(f"{rows} embedded + {len(rejects)} rejected images are not the {cataloged} of the catalog")
    # Those that download_dataset could not read count too; files that are no images by their names do not.
    unreadable, total = len(rejects) + dataset.n_damaged, cataloged + dataset.n_damaged
    if rows == 0 or unreadable > max_failure_fraction * total:
        first = "; ".join(reject.error for reject in rejects[:_REJECTS_NAMED_IN_ERROR])
        raise EmbeddingError(
            f"{unreadable} of {total} images could not be read, more than dataset.max_failure_fraction = "
            f"{max_failure_fraction:g} allows: {first or 'see the rejects of download_dataset'}"
        )


def _write_description(
    folder: Path,
    model: EmbeddingModel,
    precision: str,
    check: Bf16Check | None,
    network: dict[str, str] | None,
    results: Sequence[ShardResult],
    rejects: Sequence[Reject],
) -> None:
    write_metadata(
        folder,
        fingerprint=model.fingerprint,
        layer=model.layer,
        precision=precision,
        dim=model.dim,
        preprocessing=model.preprocessing.to_json(),
        shards={result.name: result.rows for result in results},
        rejects=len(rejects),
        bf16_check=asdict(check) if check else None,
        network=network,
    )
