"""What can be said of the settings of training without importing torch."""

from lookalike.config.extensions import is_extension, load_extension
from lookalike.config.sections import TrainingConfig
from lookalike.network.backbones import find_backbone
from lookalike.network.weights import check_weights


def check_backbone(config: TrainingConfig) -> None:
    """Raise ConfigError if `training.backbone` is no known network or `training.weights` cannot work.

    Call it before anything runs; networks other than those of the shipped configurations cost an import of torch.
    """
    find_backbone(config.backbone)
    check_weights(config)
    if is_extension(config.loss):
        load_extension("training.loss", config.loss)
