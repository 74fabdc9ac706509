"""Checks of the training settings that need no import of torch."""

from lookalike.config.extensions import is_extension, load_extension
from lookalike.config.sections import TrainingConfig
from lookalike.network.backbones import find_backbone
from lookalike.network.weights import check_weights


def check_backbone(config: TrainingConfig) -> None:
    """Raise ConfigError if `training.backbone` names no network or `training.weights` cannot be used.

    Networks other than those of the shipped configurations cost an import of torch.
    """
    find_backbone(config.backbone)
    check_weights(config)
    if is_extension(config.loss):
        load_extension("training.loss", config.loss)
