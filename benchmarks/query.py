"""How long a query takes: cold, as a command, and warm, in a process that has opened the index.

    .venv/bin/python -m benchmarks.query --root artifacts [--images 50]

The images that ask are held-out ones of the collection itself, given by path. Warm queries decode, embed and search on
one core, once the compiled search is loaded.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lookalike.search import Searcher

COLD_TURNS = 5
# The first images of a process set things up.
WARM_UP = 8


def held_out_images(root: Path, count: int) -> list[Path]:
    """Paths of held-out images of the published build, spread over the collection."""
    from lookalike.dataset.storage import open_dataset
    from lookalike.store.artifacts import Store

    record = Store(root).read_current()
    if record is None:
        raise SystemExit(f"nothing is published below {root}; run `lookalike build` first")
    dataset = open_dataset(root / record["artifacts"]["download_dataset"])
    rows = dataset.catalog.filter(dataset.catalog["split"].to_numpy() == "valid")["path"].to_pylist()
    return [dataset.root / path for path in rows[:: max(1, len(rows) // count)][:count]]


def cold_seconds(root: Path, image: Path) -> list[float]:
    """Seconds of the whole command, several times in a row."""
    seconds = []
    for _ in range(COLD_TURNS):
        start = time.perf_counter()
        command = [sys.executable, "-m", "flows.cli", "query", str(image), "--root", str(root)]
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def warm_milliseconds(root: Path, images: list[Path]) -> list[float]:
    """Milliseconds of each query on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    searcher = Searcher.open(root)
    searcher._index.warm_up()  # type: ignore[attr-defined]
    for image in images[:WARM_UP]:
        searcher.query(image)
    return [searcher.query(image).latency_ms for image in images]


def main() -> None:
    """Measure both and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("artifacts"))
    parser.add_argument("--images", type=int, default=50)
    options = parser.parse_args()
    images = held_out_images(options.root, options.images)
    cold = cold_seconds(options.root, images[0])
    warm = sorted(warm_milliseconds(options.root, images))
    found = {
        "load": os.getloadavg()[0],
        "cold_seconds": {"first": cold[0], "median": statistics.median(cold)},
        "warm_ms": {"p50": statistics.median(warm), "p95": warm[int(0.95 * len(warm))]},
        "images": len(images),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
