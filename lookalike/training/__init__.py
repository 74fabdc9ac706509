"""Stage fine_tune: teaches an ImageNet network the classes of the collection.

Importing this package is cheap; torch, fastai and the network libraries are imported when training starts.
"""

from pathlib import Path

from lookalike.config import TrainingConfig
from lookalike.extensions import is_extension, load_extension
from lookalike.network.backbones import find_backbone
from lookalike.network.weights import check_weights
from lookalike.training.summary import TrainingSummary

__all__ = ["TrainingSummary", "check_backbone", "fine_tune"]


def check_backbone(config: TrainingConfig) -> None:
    """Raise ConfigError if `training.backbone` is no known network or `training.weights` cannot work.

    Call it before anything runs; networks other than those of the shipped configurations cost an import of torch.
    """
    find_backbone(config.backbone)
    check_weights(config)
    if is_extension(config.loss):
        load_extension("training.loss", config.loss)


def fine_tune(config: TrainingConfig, dataset_folder: Path, folder: Path) -> TrainingSummary:
    """Train the network on a stored dataset and write it into `folder`; returns accuracy and seconds.

    The folder gets `model.safetensors`, `model.json`, `history.csv` and, if there is an epoch, `training_curve.png`,
    each whole or not at all. In order: the head learns on the frozen body's pooled features, which are computed once
    (`frozen_epochs`); all layers learn together (`unfrozen_epochs`); the body is mixed with its initial
    weights (`interpolation`); a fresh head learns on the final body's features (`final_head_epochs`). With no epochs
    at all nothing is trained, and the accuracy is None.

    Raises ConfigError for a wrong backbone or weights, ModelError if the weights cannot be had or do not
    fit, DatasetError if the dataset cannot be trained on.
    """
    from lookalike.training.stages import run_fine_tune

    check_backbone(config)
    return run_fine_tune(config, dataset_folder, folder)
