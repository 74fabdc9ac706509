"""The precision of the embeddings: bf16 where it is faster on this machine and finds the neighbors of fp32."""

import logging
import statistics
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.config.sections import EmbeddingConfig
from lookalike.dataset.storage import Dataset
from lookalike.embedding.checks import Bf16Check, check_bf16
from lookalike.embedding.model import EmbeddingModel, Runner
from lookalike.embedding.shards import read_batch
from lookalike.errors import EmbeddingError, ImageError
from lookalike.network.inference import Graph

logger = logging.getLogger(__name__)

_TRIAL_IMAGES = 8
_TRIAL_TURNS = 5
# Smaller gains are not worth the lower precision.
_MIN_SPEEDUP = 1.2


@dataclass(frozen=True)
class Rates:
    """Images per second of the network alone, in both precisions."""

    fp32: float
    bf16: float

    def bf16_pays(self, images: int, checked: int) -> bool:
        """Whether bf16 saves more time on so many images than it takes to embed `checked` of them in both."""
        saved, spent = images * (1 / self.fp32 - 1 / self.bf16), checked * (1 / self.fp32 + 1 / self.bf16)
        return self.bf16 >= _MIN_SPEEDUP * self.fp32 and saved > spent


def choose_runner(
    config: EmbeddingConfig, model: EmbeddingModel, graph: Graph | None, dataset: Dataset
) -> tuple[Runner, Bf16Check | None]:
    """Return what embeds the collection, and the check of bf16 if there was one.

    EmbeddingError if bf16 was demanded and does not find nearly the neighbors of fp32.
    """
    single = model.runner(graph, "fp32")
    if config.precision == "fp32" or (config.precision == "auto" and _is_too_small(config, dataset)):
        return single, None
    half = model.runner(graph, "bf16")
    if half.precision == "fp32":
        logger.info("embedding: this processor has no bf16; fp32 is used")
        return half, None
    if config.precision == "auto" and not _is_faster(config, model, single, half, dataset):
        return single, None
    if not config.precision_check_rows:
        return half, None
    check = check_bf16(model, single, half, dataset, config.precision_check_rows, config.workers)
    if check.is_passed:
        return half, check
    if config.precision == "bf16":
        raise EmbeddingError(
            f"with bf16 only {check.overlap:.3f} of the ten nearest neighbors are those of fp32 (at least "
            f"{check.min_overlap} is required), and precision@10 falls by {check.precision_drop:.4f} (at most "
            f"{check.max_precision_drop}): set embedding.precision to fp32 or auto"
        )
    logger.info("embedding: bf16 finds other neighbors than fp32 (overlap %.3f); fp32 is used", check.overlap)
    return single, check


def _is_too_small(config: EmbeddingConfig, dataset: Dataset) -> bool:
    rows: int = dataset.catalog.num_rows
    return rows <= max(config.precision_check_rows, _TRIAL_IMAGES)


def _is_faster(config: EmbeddingConfig, model: EmbeddingModel, single: Runner, half: Runner, dataset: Dataset) -> bool:
    pixels = _first_pixels(model, dataset)
    if not len(pixels):
        return False
    rates = measure_rates(single, half, pixels)
    pays = rates.bf16_pays(dataset.catalog.num_rows, config.precision_check_rows)
    logger.info(
        "embedding: %.0f images per second in fp32, %.0f in bf16, measured on %d images; %s is used%s",
        rates.fp32, rates.bf16, len(pixels), "bf16" if pays else "fp32",
        " if it finds the same neighbors" if pays and config.precision_check_rows else "",
    )  # fmt: skip
    return pays


def _first_pixels(model: EmbeddingModel, dataset: Dataset) -> NDArray[np.uint8]:
    pixels = read_batch(dataset.root, dataset.catalog.slice(0, _TRIAL_IMAGES), model.preprocessing)
    return np.array([image for image in pixels if not isinstance(image, ImageError)])


def measure_rates(single: Runner, half: Runner, pixels: NDArray[np.uint8]) -> Rates:
    """Time both on the same images, by turns, since the machine may be busy with other work; medians."""
    runners = (single, half)
    _ = [_seconds(run, pixels[: run.batch_size]) for run in runners]  # The first batch sets things up.
    turns = [[_seconds(run, pixels) for run in runners] for _ in range(_TRIAL_TURNS)]
    return Rates(*(len(pixels) / statistics.median(seconds) for seconds in zip(*turns, strict=True)))


def _seconds(run: Runner, pixels: NDArray[np.uint8]) -> float:
    start = time.perf_counter()
    for first in range(0, len(pixels), run.batch_size):
        run(pixels[first : first + run.batch_size])
    return time.perf_counter() - start
