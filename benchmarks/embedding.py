"""Speed of embedding against the article's way, as ratios inside one run.

    .venv/bin/python -m benchmarks.embedding --images FOLDER [--backbone tf_efficientnet_lite0] [--count 640]

FOLDER holds JPEG images in one sub-folder a label. The article's way: fp32, batch 64, one loop that decodes with
Pillow, a hook whose output is appended to an array. Ours: the stage `embed_all` itself, its files written. Weights are
random, since they do not change the speed. Every way runs in a process of its own, whose allocator is as the system
left it; the ways take turns, so that other load on the machine meets all of them alike; figures are medians.
"""

import argparse
import io
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

TURNS = 3
IMAGE_SIZE = 224
# Multiplications and additions of one image of 224 by 224.
GFLOP_AN_IMAGE = {"resnet34": 7.34, "tf_efficientnet_lite0": 0.81}


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


def embed_as_the_stage(folder: Path, backbone: str) -> dict[str, float | str]:
    """Run the stage; returns its seconds, the network's loading left out, and the process's peak memory."""
    from lookalike.config import EmbeddingConfig
    from lookalike.embedding import embed_all

    with tempfile.TemporaryDirectory() as output:
        config = EmbeddingConfig(layer="head.activation")
        summary = embed_all(config, folder / "dataset", folder / "model", Path(output))
    peak_megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": summary.seconds,
        "images": summary.rows,
        "peak_megabytes": round(peak_megabytes),
        "precision": summary.precision,
    }


def run_network_alone(folder: Path, backbone: str) -> dict[str, float | str]:
    """Images a second of the stage's network on decoded pixels, beside the machine's rate of matrix products."""
    import torch

    from lookalike.embedding.model import ModelReference, open_model
    from lookalike.network.arithmetic import resolve_precision

    precision = resolve_precision("auto")
    model = open_model(ModelReference(folder / "model", "head.activation", precision))
    pixels = np.random.default_rng(0).integers(0, 255, (8, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    square = torch.ones(1024, 1024, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    with model.session() as embed:
        per_second = [
            (
                _per_second(lambda number: embed(pixels), 30, 8),
                _per_second(lambda number: square @ square, 60, 2 * 1.024**3),
            )
            for _ in range(TURNS)
        ]
    images, products = (statistics.median(values) for values in zip(*per_second, strict=True))
    found: dict[str, float | str] = {"precision": precision, "images_per_second": images, "gflop_per_second": products}
    if backbone in GFLOP_AN_IMAGE:
        found["share_of_products"] = images * GFLOP_AN_IMAGE[backbone] / products
    return found


def _per_second(work: Callable[[int], object], times: int, amount: float) -> float:
    """Amount a second of work done on all cores, one piece a core."""
    from lookalike.network.arithmetic import parallel_batches

    list(parallel_batches(work, range(4)))
    start = time.perf_counter()
    list(parallel_batches(work, range(times)))
    return times * amount / (time.perf_counter() - start)


WAYS = {"article": embed_as_the_article, "stage": embed_as_the_stage, "network": run_network_alone}


def in_own_process(way: str, folder: Path, backbone: str) -> dict[str, float]:
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
        turns = [{way: in_own_process(way, folder, backbone) for way in ("article", "stage")} for _ in range(TURNS)]
        network = in_own_process("network", folder, backbone)
        decoding = decode_ratio(folder)
    return {
        "backbone": backbone,
        "images_per_second": {
            way: statistics.median(turn[way]["images"] / turn[way]["seconds"] for turn in turns)
            for way in ("article", "stage")
        },
        "stage_against_article": statistics.median(
            turn["article"]["seconds"] / turn["article"]["images"] / turn["stage"]["seconds"] * turn["stage"]["images"]
            for turn in turns
        ),
        "precision": turns[0]["stage"]["precision"],
        "peak_megabytes": {"images": count, "megabytes": max(turn["stage"]["peak_megabytes"] for turn in turns)},
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
