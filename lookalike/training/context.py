"""What the phases of a training share, and how it is set up."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lookalike.config.sections import TrainingConfig
from lookalike.dataset.storage import Dataset
from lookalike.network.arithmetic import best_device
from lookalike.network.backbones import Body
from lookalike.network.embedding_network import EmbeddingNetwork
from lookalike.network.head import feature_layout
from lookalike.network.model_folder import HeadShape
from lookalike.network.preprocessing import Preprocessing
from lookalike.training.augmentation import Augmentation
from lookalike.training.batches import LabelledImages
from lookalike.training.features import ImageViews
from lookalike.training.loop import EpochRecord
from lookalike.training.precision import PrecisionChoice


@dataclass
class Training:
    """What the phases of a training share, and their results so far."""

    config: TrainingConfig
    preprocessing: Preprocessing
    train: LabelledImages
    valid: LabelledImages
    head_shape: HeadShape
    network: EmbeddingNetwork
    device: torch.device
    folder: Path
    precision: PrecisionChoice = field(default_factory=PrecisionChoice)
    epochs: list[EpochRecord] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def views(self, images: LabelledImages, augmentation: Augmentation = "none") -> ImageViews:
        """Return the views of some images that this training uses."""
        return ImageViews(images, self.preprocessing, augmentation, self.config.seed)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the seconds that the block takes to `seconds[phase]`."""
        start = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start


def labelled_images(dataset: Dataset, split: str, classes: Sequence[str]) -> LabelledImages:
    """Return the images of one split with a label among `classes`, in the order of the catalog."""
    numbers = {name: number for number, name in enumerate(classes)}
    columns = dataset.catalog.select(["path", "label", "split"]).to_pydict()
    rows = [row for row, name in enumerate(columns["split"]) if name == split and columns["label"][row] in numbers]
    labels = torch.tensor([numbers[columns["label"][row]] for row in rows], dtype=torch.int64)
    return LabelledImages(dataset.root, [columns["path"][row] for row in rows], labels)


def prepare(
    config: TrainingConfig, body: Body, train: LabelledImages, valid: LabelledImages, classes: int, folder: Path
) -> Training:
    """Return the network with a fresh head, and everything else that the phases of training share.

    Large intermediate results go to temporary files in `folder`, which are removed again.
    """
    device = best_device()
    preprocessing = Preprocessing(config.image_size, config.resize, body.mean, body.std)
    body.module.eval()
    with torch.inference_mode():
        shape = tuple(body.module(torch.zeros(1, 3, config.image_size, config.image_size)).shape)
    features = feature_count(body, shape)
    head_shape = HeadShape(
        in_features=features,
        units=config.embedding_units - config.pretrained_components,
        pretrained_components=config.pretrained_components,
        classes=classes,
        layout=feature_layout(shape, features),
        activation=config.activation,
        classifier=config.classifier,
        dropout=config.dropout,
    )
    network = EmbeddingNetwork(preprocessing, body.module, head_shape.build())
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Training(config, preprocessing, train, valid, head_shape, network, device, folder)


def feature_count(body: Body, shape: tuple[int, ...]) -> int:
    """Return the number of channels: timm networks state it, torchvision's are channels-first."""
    stated = getattr(body.module, "num_features", None)
    return int(stated) if body.backbone.library == "timm" and isinstance(stated, int) and stated in shape else shape[1]
