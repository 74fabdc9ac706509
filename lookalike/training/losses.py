"""The loss that training minimizes: cross-entropy, or a function of the user's."""

from torch import Tensor, nn

from lookalike.config.extensions import is_extension, load_extension
from lookalike.config.sections import TrainingConfig
from lookalike.errors import ConfigError

_KEY = "training.loss"


class CustomLoss(nn.Module):
    """A user's function of class scores (n, classes) and class numbers (n,) int64, which returns the mean loss."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._function = load_extension(_KEY, name)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The scalar loss; raises ConfigError if the function returns anything else."""
        loss = self._function(scores, labels)
        if not isinstance(loss, Tensor) or loss.ndim:
            shape = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ConfigError(f"{_KEY}: {self._name} must return the mean loss as a tensor without axes, got {shape}")
        return loss


def make_loss(config: TrainingConfig) -> nn.Module:
    """The loss module of a configuration; raises ConfigError if its function cannot be loaded."""
    if is_extension(config.loss):
        return CustomLoss(config.loss)
    return nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
