"""Training by fastai: the head alone on stored features, or layers of the body and the head together."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lookalike.config.sections import TrainingConfig
from lookalike.network.arithmetic import one_thread
from lookalike.network.head import Head
from lookalike.progress import progress_bar
from lookalike.training.callbacks import progress_callback, replica_callback
from lookalike.training.losses import make_loss
from lookalike.training.precision import PrecisionChoice, choose_precision
from lookalike.training.replicas import replica_count, replicated

if TYPE_CHECKING:
    from fastai.learner import Learner

# Features cost nothing to load, so the frozen phase can use the batch size that trains best.
FEATURE_BATCH_SIZE = 64


class EpochRecord(NamedTuple):
    """One row of the training history."""

    phase: str
    epoch: int
    train_loss: float
    valid_loss: float
    accuracy: float
    seconds: float


class HeadOnFeatures(nn.Module):
    """The head without its pooling, for features that are pooled already."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, pooled: Tensor) -> Tensor:
        """Class scores (n, classes) of features (n, C)."""
        return self.head.classify(pooled)


def train_head(
    head: Head, train: Iterable[Any], valid: Iterable[Any], epochs: int, config: TrainingConfig, phase: str
) -> list[EpochRecord]:
    """Train a head on batches of pooled features, one-cycle, and return the table of epochs."""
    learner = _learner(HeadOnFeatures(head), train, valid, config)
    with one_thread():
        return _fit(learner, epochs, config.frozen_learning_rate, phase)


def train_network(
    layers: nn.Module, head: Head, train: Iterable[Any], valid: Iterable[Any], config: TrainingConfig
) -> tuple[list[EpochRecord], PrecisionChoice]:
    """Train layers of the body and the head together, one-cycle; return the table of epochs and the arithmetic used.

    The earlier half of the layers, the later half and the head learn at rates between the two of
    `unfrozen_learning_rates` (discriminative rates, Howard and Ruder 2018).
    """
    learner = _learner(nn.Sequential(layers, head), train, valid, config, splitter=parameter_groups)
    learner.model.to(memory_format=torch.channels_last)
    epochs, count = config.unfrozen_epochs, replica_count(config.batch_size, next(head.parameters()).device)
    choice = choose_precision(config.precision, learner, count, epochs * len(learner.dls.train))
    with replicated(learner.model, learner.loss_func, count, choice.precision) as replicas:
        learner.add_cb(replica_callback(replicas))
        return _fit(learner, epochs, slice(*config.unfrozen_learning_rates), "unfrozen"), choice


def parameter_groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of a (body, head) pair in three groups: earlier and later half of the body, head."""
    body, head = model.children()
    parameters = list(body.parameters())
    middle = len(parameters) // 2
    return [parameters[:middle], parameters[middle:], list(head.parameters())]


def _learner(
    model: nn.Module, train: Iterable[Any], valid: Iterable[Any], config: TrainingConfig, **options: Any
) -> "Learner":
    # fastai's import warns of what no user can change. Filters are process-wide, so they change for a moment only.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The first two add no_bar and fit_one_cycle to Learner.
        import fastai.callback.progress
        import fastai.callback.schedule  # noqa: F401
        from fastai.data.core import DataLoaders
        from fastai.learner import Learner
        from fastai.metrics import accuracy

    loaders = DataLoaders(train, valid, device=next(model.parameters()).device)
    return Learner(loaders, model, loss_func=make_loss(config), metrics=accuracy, **options)


def _fit(learner: "Learner", epochs: int, learning_rate: Any, phase: str) -> list[EpochRecord]:
    steps = epochs * len(learner.dls.train)
    seconds: list[float] = []
    with progress_bar(f"{phase} training", steps, unit="step") as bar, learner.no_logging(), learner.no_bar():
        learner.fit_one_cycle(epochs, learning_rate, cbs=progress_callback(bar, seconds))
    table = enumerate(zip(learner.recorder.values, seconds, strict=True), start=1)
    return [
        EpochRecord(phase, epoch, float(train_loss), float(valid_loss), float(accuracy), elapsed)
        for epoch, ((train_loss, valid_loss, accuracy), elapsed) in table
    ]
