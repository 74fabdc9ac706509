"""Callbacks for fastai's training loop: the progress bar, and training steps on all cores."""

import time
from typing import Any

from lookalike.training.replicas import Replicas


def progress_callback(bar: Any, seconds: list[float]) -> Any:
    """Return a fastai callback that updates the bar after each batch and appends the seconds of each epoch."""
    from fastai.callback.core import Callback

    class ProgressOnBar(Callback):  # type: ignore[misc]
        order = 60  # After the recorder (50), whose figures it shows.

        def before_epoch(self) -> None:
            self.started = time.perf_counter()

        def after_batch(self) -> None:
            if self.training:
                bar.update(1)

        def after_epoch(self) -> None:
            seconds.append(time.perf_counter() - self.started)
            train_loss, valid_loss, accuracy = self.learn.recorder.values[-1]
            bar.set_postfix_str(f"loss {train_loss:.3f} valid {valid_loss:.3f} accuracy {accuracy:.4f}", refresh=False)

    return ProgressOnBar()


def replica_callback(replicas: Replicas) -> Any:
    """Return a fastai callback that computes each batch, in training and evaluation, instead of fastai's own loop.

    The whole batch is computed in one hook. After a hook cancels a batch, fastai calls no later hook of that batch, so
    a context entered in one hook and left in another would never be left.
    """
    from fastai.callback.core import Callback, CancelBatchException

    class ReplicaSteps(Callback):  # type: ignore[misc]
        order = 70  # After the scheduler (60), which sets the rates of this step.

        def before_train(self) -> None:
            replicas.set_training(True)

        def before_batch(self) -> None:
            if self.training:
                self.learn.loss = replicas.backward(*self.xb, *self.yb)
                self.learn.opt.step()
                self.learn.opt.zero_grad()
            else:
                self.learn.pred = replicas.predict(*self.xb)
                self.learn.loss = self.loss_func(self.learn.pred, *self.yb)
            raise CancelBatchException

    return ReplicaSteps()
