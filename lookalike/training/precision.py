"""The precision of the unfrozen phase: the one asked for or, with `auto`, the one in which steps are faster."""

import copy
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from lookalike.config.sections import Precision
from lookalike.network.arithmetic import ResolvedPrecision, bf16_may_pay, own_random_state
from lookalike.training.replicas import replicated

if TYPE_CHECKING:
    from fastai.learner import Learner

logger = logging.getLogger(__name__)

# Smaller gains are within the noise of a busy machine, and not worth the lower precision.
_MIN_SPEEDUP = 1.2
# Steps timed in each precision: at most so many, and at most this share of the steps to come.
_MOST_TIMED_STEPS = 5
_TIMED_SHARE = 0.05
_LONGEST_SECONDS = 5.0
_TRIAL_LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class PrecisionChoice:
    """The precision to use, and the seconds of a training step in each precision that was timed, if any was."""

    precision: ResolvedPrecision = "fp32"
    step_seconds: Mapping[str, float] = field(default_factory=dict)


def choose_precision(precision: Precision, learner: "Learner", count: int, steps: int) -> PrecisionChoice:
    """Return the precision for `steps` steps of a learner on `count` replicas; `auto` times a few steps in both.

    The timed steps train a copy of the network with a separate optimizer, and leave the state of torch's random
    numbers unchanged.
    """
    if precision != "auto":
        return PrecisionChoice(precision)
    device = next(learner.model.parameters()).device
    if not bf16_may_pay(device):
        logger.info("training precision: fp32 (this machine has no fast bf16)")
        return PrecisionChoice()
    with own_random_state():
        seconds = _time_steps(learner, count, device, turns=int(steps * _TIMED_SHARE))
    used, other = faster_precision(seconds["fp32"], seconds["bf16"])
    logger.info("training precision: %s (%.3g s per step; %s %.3g s)", used, seconds[used], other, seconds[other])
    return PrecisionChoice(used, {name: round(value, 6) for name, value in seconds.items()})


def faster_precision(fp32_seconds: float, bf16_seconds: float) -> tuple[ResolvedPrecision, ResolvedPrecision]:
    """Return the precision for steps of these durations, and the other one: bf16 only if it is clearly faster."""
    return ("bf16", "fp32") if fp32_seconds >= _MIN_SPEEDUP * bf16_seconds else ("fp32", "bf16")


def _time_steps(learner: "Learner", count: int, device: torch.device, turns: int) -> dict[str, float]:
    """Return the seconds of the fastest step in each precision, since interruptions only make steps slower."""
    # A copy, since a loader that shuffles counts its passes.
    images, labels = (part.to(device) for part in next(iter(copy.copy(learner.dls.train))))
    model = copy.deepcopy(learner.model)
    optimizer = learner.opt_func(learner.splitter(model), lr=_TRIAL_LEARNING_RATE)
    with replicated(model, learner.loss_func, count, "fp32") as replicas:
        replicas.set_training(True)

        def step(precision: ResolvedPrecision) -> float:
            replicas.precision = precision
            start = time.perf_counter()
            replicas.backward(images, labels)
            optimizer.step()
            optimizer.zero_grad()
            _wait_for(device)
            return time.perf_counter() - start

        return _fastest(step, turns)


def _fastest(step: Callable[[ResolvedPrecision], float], turns: int) -> dict[str, float]:
    started = time.perf_counter()
    step("fp32"), step("bf16")  # The first steps set things up.
    seconds = {"fp32": step("fp32"), "bf16": step("bf16")}
    for _ in range(1, min(turns, _MOST_TIMED_STEPS)):
        if time.perf_counter() - started > _LONGEST_SECONDS:
            break
        seconds = {"fp32": min(seconds["fp32"], step("fp32")), "bf16": min(seconds["bf16"], step("bf16"))}
    return seconds


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
