"""Writing the synthetic set: which labels, which file formats, one random stream for each picture."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lookalike.dataset.synthetic.compose import DRAWINGS, draw_picture
from lookalike.progress import track
from lookalike.threads import ordered_map

# Mostly JPEG, and some of each other kind, so that every way of decoding is used.
_KINDS = ("jpeg", "grey jpeg", "png", "transparent png", "palette png")
_KIND_SHARES = (0.86, 0.035, 0.035, 0.035, 0.035)
# Grain hardly compresses, so more effort would cost time and save little.
_PNG_EFFORT = 3


def synthetic_labels(n_labels: int) -> list[str]:
    """Return the names of the first `n_labels` labels; raises `ValueError` if there are not so many."""
    if not 1 <= n_labels <= len(DRAWINGS):
        raise ValueError(f"n_labels must be from 1 to {len(DRAWINGS)}, got {n_labels}")
    return list(DRAWINGS)[:n_labels]


def write_synthetic_images(folder: Path, n_labels: int, images_per_label: int, seed: int) -> None:
    """Write `images_per_label` images of each of the first `n_labels` labels to folder/<label>/.

    Each picture depends on the seed, its label and its number only: a larger set contains the smaller.
    """
    labels = synthetic_labels(n_labels)
    for label in labels:
        (folder / label).mkdir(parents=True)
    todo = [(label, number) for label in labels for number in range(1, images_per_label + 1)]
    for _ in track(ordered_map(partial(_write_one, folder, seed), todo), "drawing images", len(todo)):
        pass


def _write_one(folder: Path, seed: int, task: tuple[str, int]) -> None:
    label, number = task
    rng = np.random.default_rng([seed, list(DRAWINGS).index(label), number])
    kind = str(rng.choice(_KINDS, p=_KIND_SHARES))
    picture = draw_picture(label, rng, transparent=kind == "transparent png")
    quality = int(rng.integers(80, 94))
    _save(picture, folder / label / f"{label}_{number:04d}", kind, quality)


def _save(picture: Image.Image, path: Path, kind: str, quality: int) -> None:
    match kind:
        case "jpeg":
            picture.save(path.with_suffix(".jpg"), quality=quality)
        case "grey jpeg":
            picture.convert("L").save(path.with_suffix(".jpg"), quality=quality)
        case "palette png":
            picture.quantize(64, Image.Quantize.FASTOCTREE).save(path.with_suffix(".png"), compress_level=_PNG_EFFORT)
        case _:
            picture.save(path.with_suffix(".png"), compress_level=_PNG_EFFORT)
