"""Training on all cores of a processor: each core takes its share of a batch through a copy of the network.

With one batch on all cores the threads synchronize after every layer, forward and backward, and if another program
holds a core for a moment, all wait. Copies synchronize once per step. All copies share the memory of the parameters;
each has its gradients and BatchNorm statistics, and the statistics of the first copy are kept.
"""

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.network.arithmetic import ResolvedPrecision, autocast, one_thread
from lookalike.network.head import SeededDropout
from lookalike.threads import resolve_workers

# With fewer images in its share, a copy's BatchNorm statistics become noise.
_MIN_IMAGES_A_REPLICA = 8


def replica_count(batch_size: int, device: torch.device) -> int:
    """Return the number of copies to train with: one per core while each gets enough images, and one on a GPU."""
    return 1 if device.type != "cpu" else max(1, min(resolve_workers("auto"), batch_size // _MIN_IMAGES_A_REPLICA))


class Replicas:
    """Computes the loss of a batch and its gradients in `precision`, on several cores; see `replicated`.

    A single replica computes in the caller's thread, on as many of torch's threads as the caller has.
    """

    def __init__(
        self, models: Sequence[nn.Module], loss: nn.Module, precision: ResolvedPrecision, map_function: Any = map
    ) -> None:
        self._models = models
        self._loss = loss
        self.precision = precision
        self._map = map_function

    def backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch, and leave its gradients in the model's parameters."""
        n_chunks = min(len(self._models), max(1, len(labels) // 2))
        chunks = labels.tensor_split(n_chunks)
        weights = [len(chunk) / len(labels) for chunk in chunks]
        losses = self._map(self._backward_share, self._models, images.tensor_split(n_chunks), chunks, weights)
        total = torch.stack(list(losses)).sum()
        self._collect_gradients()
        return total

    def _backward_share(self, model: nn.Module, images: Tensor, labels: Tensor, weight: float) -> Tensor:
        with torch.enable_grad():
            with autocast(images.device, self.precision):
                scores = model(images)
            loss: Tensor = self._loss(scores.float(), labels) * weight
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def predict(self, images: Tensor) -> Tensor:
        """Return the model's scores, the images shared among the cores; the model is in evaluation mode."""
        chunks = [chunk for chunk in images.tensor_split(len(self._models)) if len(chunk)]
        return torch.cat(list(self._map(self._predict_share, chunks)))

    def _predict_share(self, images: Tensor) -> Tensor:
        # Evaluation changes nothing in the model, so that all threads can use the first copy and its statistics.
        with torch.no_grad(), autocast(images.device, self.precision):
            scores: Tensor = self._models[0](images)
        return scores.float()

    def _collect_gradients(self) -> None:
        """Add the gradients of the copies to those of the model, in a fixed order."""
        first, *others = [list(model.parameters()) for model in self._models]
        for parameters in others:
            for mine, theirs in zip(first, parameters, strict=True):
                if theirs.grad is not None and mine.grad is not None:
                    mine.grad += theirs.grad
                theirs.grad = None

    def set_training(self, training: bool) -> None:
        """Put all copies in training or evaluation mode."""
        for model in self._models:
            model.train(training)


@contextmanager
def replicated(model: nn.Module, loss: nn.Module, count: int, precision: ResolvedPrecision) -> Iterator[Replicas]:
    """Yield the copies of a model; at the end their threads stop and torch's number of threads is as before."""
    if count == 1:
        yield Replicas([model], loss, precision)
        return
    models = [model, *(_sharing_copy(model) for _ in range(count - 1))]
    with one_thread(), ThreadPoolExecutor(count, "lookalike-replica", lambda: torch.set_num_threads(1)) as pool:
        yield Replicas(models, loss, precision, pool.map)


def _sharing_copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares the memory of the parameters, but not the statistics and gradients."""
    other = copy.deepcopy(model)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        theirs.data = mine.data
        theirs.grad = None
    for module in other.modules():
        if isinstance(module, SeededDropout):
            module.reseed(int(torch.randint(2**31, ())))
    return other
