"""A build of many tiny images, and the memory that it takes: `python -m tests.crash.many_images 100000 FOLDER`."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.tiny_build import folder_source, run_build

N_LABELS = 20


def make_many_images(folder: Path, n_images: int) -> None:
    """Write small JPEG files of noise."""
    rng = np.random.default_rng(0)
    for label in range(N_LABELS):
        (folder / f"label{label:02d}").mkdir(parents=True)
    for number in range(n_images):
        pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"label{number % N_LABELS:02d}" / f"{number:06d}.jpg", quality=80)


def main(n_images: int, folder: Path) -> None:
    """Build, and print before each stage the seconds so far and the peak of the memory."""
    make_many_images(folder / "images", n_images)
    started = time.perf_counter()

    def report(stage: str) -> None:
        peak_megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = time.perf_counter() - started
        print(f"{seconds:7.1f} s  {peak_megabytes:6.0f} MB  before {stage}", flush=True)  # noqa: T201

    settings = [*folder_source(folder / "images"), "embedding.shard_rows=1024", "training.batch_size=64"]
    run_build(folder / "root", settings, report)
    report("end")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
