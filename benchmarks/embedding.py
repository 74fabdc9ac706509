"""Speed of embedding and training against the plain way, as ratios inside one run.

    .venv/bin/python -m benchmarks.embedding --images FOLDER [--backbone tf_efficientnet_lite0] [--count 320]

The plain way is that of the article: fp32, batch 64, one loop that decodes with Pillow and appends the hook's
output to an array. Weights are random, since they do not change the speed. Every figure is a median of several
turns, the ways taking turns, so that other load on the machine meets all of them alike.
"""

import argparse
import io
import json
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


def plain_embed(backbone: str, paths: list[Path]) -> None:
    """Embed as the article does; run in a process of its own, whose allocator is as the system left it."""
    import torch

    from lookalike.network.backbones import build_body, find_backbone

    body = build_body(find_backbone(backbone)).module.eval()
    outputs: list[np.ndarray] = []
    body.register_forward_hook(lambda module, inputs, output: outputs.append(output.mean((2, 3)).numpy()))
    with torch.no_grad():
        for start in range(0, len(paths), 64):
            pixels = [decoded_plainly(path) for path in paths[start : start + 64]]
            body(torch.stack([torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1 for image in pixels]))
    np.concatenate(outputs)


def decoded_plainly(path: Path) -> np.ndarray:
    """Pixels by Pillow's plain load and resize."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))


def own_embed(backbone: str, paths: list[Path]) -> None:
    """Embed as the stage does: graph with folded BatchNorm, channels-last, one batch a core."""
    import torch

    from lookalike.images import open_image
    from lookalike.network.arithmetic import keep_freed_memory, parallel_batches, resolve_precision
    from lookalike.network.backbones import build_body, find_backbone
    from lookalike.network.graph import GraphBody, export_graph
    from lookalike.network.head import Head
    from lookalike.network.network import Network
    from lookalike.network.preprocessing import Preprocessing

    keep_freed_memory()
    body = build_body(find_backbone(backbone))
    preprocessing = Preprocessing(IMAGE_SIZE, "squish", body.mean, body.std)
    features = body.module.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    rebuilt = GraphBody(*export_graph(body.module, IMAGE_SIZE)).to(memory_format=torch.channels_last)
    network = Network(preprocessing, rebuilt, Head(features, 512, 10)).eval()
    if resolve_precision("auto") == "bf16":
        network.use_bf16_body()

    def embed(some: list[Path]) -> np.ndarray:
        pixels = np.stack([preprocessing.pixels(open_image(path, target_size=IMAGE_SIZE)) for path in some])
        with torch.inference_mode():
            return network.features(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()

    batches = [paths[start : start + 8] for start in range(0, len(paths), 8)]
    embed(batches[0])
    start = time.perf_counter()
    np.concatenate(list(parallel_batches(embed, batches)))
    print(time.perf_counter() - start)


def timed_plain_embed(backbone: str, paths: list[Path]) -> None:
    """Warm up, then print the seconds of the plain way."""
    plain_embed(backbone, paths[:8])
    start = time.perf_counter()
    plain_embed(backbone, paths)
    print(time.perf_counter() - start)


def seconds_in_own_process(way: str, backbone: str, images: Path, count: int) -> float:
    """Run one way in a fresh process and return the seconds that it printed last."""
    command = [sys.executable, "-m", "benchmarks.embedding", "--images", str(images), "--way", way]
    done = subprocess.run(
        [*command, "--backbone", backbone, "--count", str(count)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def median_seconds(work: Callable[[], object], turns: int = 5) -> float:
    """Median seconds of several calls, after one that does not count."""
    work()
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def decode_ratio() -> float:
    """How many times faster a 12-megapixel JPEG is decoded for the network than by a plain load and resize."""
    from lookalike.images import open_image
    from lookalike.network.preprocessing import Preprocessing

    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((4000, 3000), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    preprocessing = Preprocessing(IMAGE_SIZE, "squish", (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        path.write_bytes(buffer.getvalue())
        plain = median_seconds(lambda: decoded_plainly(path))
        own = median_seconds(lambda: preprocessing.pixels(open_image(path, target_size=IMAGE_SIZE)))
    return plain / own


def training_ratios(backbone: str, first_trained: str | None) -> dict[str, float]:
    """Images a second of a training step: one copy on all threads, a copy a core, later layers only."""
    import torch
    from torch import nn

    from lookalike.network.arithmetic import keep_freed_memory
    from lookalike.network.backbones import build_body, find_backbone
    from lookalike.training.replicas import replica_count, replicated
    from lookalike.training.splitting import split_body

    class Scores(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features.mean((2, 3))[:, :10]

    body = build_body(find_backbone(backbone)).module
    images, labels = torch.randn(32, 3, IMAGE_SIZE, IMAGE_SIZE), torch.randint(10, (32,))
    loss, model = nn.CrossEntropyLoss(), nn.Sequential(body, Scores()).train()
    found = {"plain": 32 / median_seconds(lambda: loss(model(images), labels).backward(), TURNS)}
    keep_freed_memory()
    model.to(memory_format=torch.channels_last)
    last = images.to(memory_format=torch.channels_last)
    count = replica_count(32, torch.device("cpu"))
    with replicated(model, loss, count, "fp32") as replicas:
        replicas.set_training(True)
        found["copies"] = 32 / median_seconds(lambda: replicas.backward(last, labels), TURNS)
    if first_trained:
        before, after = split_body(body, first_trained)
        with torch.inference_mode():
            stored = before.eval()(last).clone()
        with replicated(nn.Sequential(after, Scores()), loss, count, "fp32") as replicas:
            replicas.set_training(True)
            found["later layers"] = 32 / median_seconds(lambda: replicas.backward(stored.clone(), labels), TURNS)
    return found


def main() -> None:
    """Run one way, or compare all and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG images")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--first-trained", default=None, help="layer from which on the later layers are trained")
    parser.add_argument("--way", choices=["plain", "own"])
    options = parser.parse_args()
    paths = sorted(options.images.rglob("*.jpg"))[:: max(1, len(list(options.images.rglob("*.jpg"))) // options.count)]
    paths = paths[: options.count]
    if options.way:
        (timed_plain_embed if options.way == "plain" else own_embed)(options.backbone, paths)
        return
    turns = [
        {way: seconds_in_own_process(way, options.backbone, options.images, options.count) for way in ("plain", "own")}
        for _ in range(TURNS)
    ]
    speeds = {way: len(paths) / statistics.median(turn[way] for turn in turns) for way in ("plain", "own")}
    result = {
        "backbone": options.backbone,
        "embed_images_per_second": speeds,
        "embed_ratio": statistics.median(turn["plain"] / turn["own"] for turn in turns),
        "decode_12_megapixels_ratio": decode_ratio(),
        "training_images_per_second": training_ratios(options.backbone, options.first_trained),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
