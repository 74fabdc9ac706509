"""Speed of embedding against the article's way, as ratios inside one run.

    .venv/bin/python -m benchmarks.embedding --images FOLDER [--backbone tf_efficientnet_lite0] [--count 640]

FOLDER holds JPEG images in one sub-folder a label. The article's way: fp32, batch 64, one loop that decodes with
Pillow, a hook whose output is appended to an array. Ours: the stage `embed_all` itself, in fp32 and in bf16, its files
written. Weights are random, since they do not change the speed. Every way runs in a process of its own; the ways take
turns, so that other load on the machine meets all of them alike; figures are medians.
"""

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lookalike.config import Precision

if TYPE_CHECKING:
    from lookalike.embedding.model import Runner

TURNS = 3
IMAGE_SIZE = 224


def prepare(images: Path, backbone: str, count: int, folder: Path) -> None:
    """Make `folder/dataset`, of `count` of the images, and `folder/model`, an untrained network with a head."""
    from lookalike.config import DatasetConfig, TrainingConfig
    from lookalike.dataset import download_dataset
    from lookalike.training import fine_tune

    found = sorted(images.rglob("*.jpg"))
    for path in found[:: max(1, len(found) // count)][:count]:
        target = folder / "images" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    dataset = DatasetConfig(source="folder", folder=folder / "images", valid_fraction=0.05)
    download_dataset(dataset, folder / "dataset", folder / "downloads")
    training = TrainingConfig(
        backbone=backbone, weights="none", image_size=IMAGE_SIZE, frozen_epochs=0, unfrozen_epochs=0
    )
    fine_tune(training, folder / "dataset", folder / "model")


def embed_as_the_article(folder: Path, backbone: str) -> dict[str, float]:
    """Embed in a plain loop; returns the seconds, the network's building left out."""
    import torch
    from torch import nn

    from lookalike.network.backbones import build_body, find_backbone

    body = build_body(find_backbone(backbone)).module
    channels = body(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)).shape[1]
    hooked = nn.ReLU()
    network = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 512), hooked).eval()
    outputs: list[np.ndarray] = []
    hooked.register_forward_hook(lambda module, inputs, output: outputs.append(output.numpy()))
    paths = sorted((folder / "images").rglob("*.jpg"))
    with torch.no_grad():
        network(torch.zeros(8, 3, IMAGE_SIZE, IMAGE_SIZE))
        start = time.perf_counter()
        for first in range(0, len(paths), 64):
            pixels = [decoded_plainly(path) for path in paths[first : first + 64]]
            network(torch.stack([torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1 for image in pixels]))
        np.concatenate(outputs)
    return {"seconds": time.perf_counter() - start, "images": len(paths)}


def decoded_plainly(path: Path) -> np.ndarray:
    """Pixels by Pillow's plain load and resize."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))


def embed_as_the_stage(folder: Path, backbone: str, precision: Precision = "fp32") -> dict[str, float | str]:
    """Run the stage; returns its seconds, the network's loading and conversion left out, and the peak memory."""
    from lookalike.config import EmbeddingConfig
    from lookalike.embedding import embed_all

    with tempfile.TemporaryDirectory() as output:
        config = EmbeddingConfig(layer="head.activation", precision=precision, precision_check_rows=0)
        start = time.perf_counter()
        summary = embed_all(config, folder / "dataset", folder / "model", Path(output))
        whole_seconds = time.perf_counter() - start
    peak_megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": summary.seconds,
        "whole_seconds": whole_seconds,
        "images": summary.rows,
        "peak_megabytes": round(peak_megabytes),
        "precision": summary.precision,
    }


def run_network_alone(folder: Path, backbone: str) -> dict[str, float | str]:
    """Images a second of the stage's network on decoded pixels, in both precisions, all cores busy."""
    from lookalike.embedding.model import EmbeddingModel

    model = EmbeddingModel(folder / "model", "head.activation")
    graph = model.convert()
    pixels = np.random.default_rng(0).integers(0, 255, (8, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    runners = {"fp32": model.runner(graph, "fp32"), "bf16": model.runner(graph, "bf16")}
    turns = [{name: _rate(run, pixels) for name, run in runners.items()} for _ in range(TURNS)]
    return {name: statistics.median(turn[name] for turn in turns) for name in runners}


def _rate(run: "Runner", pixels: np.ndarray) -> float:
    """Images a second from as many threads as there are cores."""
    from lookalike.threads import ordered_map

    batches = [pixels[: run.batch_size]] * (240 // run.batch_size)
    list(ordered_map(run, batches[:8]))
    start = time.perf_counter()
    list(ordered_map(run, batches))
    return len(batches) * run.batch_size / (time.perf_counter() - start)


WAYS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "article": embed_as_the_article,
    "fp32": embed_as_the_stage,
    "bf16": partial(embed_as_the_stage, precision="bf16"),
    "network": run_network_alone,
}
IN_TURN = ("article", "fp32", "bf16")


def in_own_process(way: str, folder: Path, backbone: str) -> dict[str, Any]:
    """Run one way in a fresh process and return what it found."""
    command = [sys.executable, "-m", "benchmarks.embedding", "--way", way, "--folder", str(folder)]
    done = subprocess.run([*command, "--backbone", backbone], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def median_seconds(work: Callable[[], object], turns: int = 5) -> float:
    """Median seconds of several calls, after one that does not count."""
    work()
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def decode_ratio(folder: Path) -> float:
    """How many times faster a 12-megapixel JPEG is decoded for the network than by a plain load and resize."""
    from lookalike.images import open_image
    from lookalike.network.preprocessing import Preprocessing

    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((4000, 3000), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    preprocessing = Preprocessing(IMAGE_SIZE, "squish", (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
    path = folder / "photograph.jpg"
    path.write_bytes(buffer.getvalue())
    plain = median_seconds(lambda: decoded_plainly(path))
    own = median_seconds(lambda: preprocessing.pixels(open_image(path, target_size=IMAGE_SIZE)))
    return plain / own


def compare(images: Path, backbone: str, count: int) -> dict[str, object]:
    """All ways in turn, several times; returns medians, ratios, and what they were made of."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(images, backbone, count, folder)
        turns = [{way: in_own_process(way, folder, backbone) for way in IN_TURN} for _ in range(TURNS)]
        network = in_own_process("network", folder, backbone)
        decoding = decode_ratio(folder)
    rates = [{way: found["images"] / found["seconds"] for way, found in turn.items()} for turn in turns]
    return {
        "backbone": backbone,
        "load": os.getloadavg()[0],
        "images_per_second": {way: statistics.median(rate[way] for rate in rates) for way in IN_TURN},
        "times_the_article": {
            way: statistics.median(rate[way] / rate["article"] for rate in rates) for way in IN_TURN[1:]
        },
        "computed_in": {way: turns[0][way]["precision"] for way in IN_TURN[1:]},
        "whole_seconds": {way: statistics.median(turn[way]["whole_seconds"] for turn in turns) for way in IN_TURN[1:]},
        "peak_megabytes": {way: max(turn[way]["peak_megabytes"] for turn in turns) for way in IN_TURN[1:]},
        "network_alone": network,
        "decode_12_megapixels_ratio": decoding,
    }


def main() -> None:
    """Run one way, or compare all and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEG images, one sub-folder a label")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--count", type=int, default=640)
    parser.add_argument("--way", choices=sorted(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(WAYS[options.way](options.folder, options.backbone)))
    elif options.images is None:
        parser.error("--images is needed")
    else:
        print(json.dumps(compare(options.images, options.backbone, options.count), indent=2))


if __name__ == "__main__":
    main()
