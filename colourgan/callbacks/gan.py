"""What the callbacks that train discriminators share: columns, learning rates, an end at NaN."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from math import isfinite
from statistics import fmean

import torch
from fastai.callback.core import CancelFitException
from fastai.learner import ValueMetric
from torch import Tensor, nn
from torch.optim import Optimizer

from colourgan.callbacks.base import TrainingCallback, epoch_of
from colourgan.callbacks.precision import grad_scaler, precision_of
from colourgan.errors import Diverged, UsageError
from colourgan.objectives import Objective


class GANCallback(TrainingCallback):
    """The base of Adversarial and CycleConsistency.

    names: the losses and shares that a subclass notes for every batch; each becomes a column in the
    recorder, the mean over an epoch's training batches. A subclass calls `__init__` with the base
    learning rate of its optimizers, the discriminators' first.
    """

    # Behind Precision, whose autocast ends in after_loss: inside it a discriminator would keep
    # computing with the low-precision copies of its weights from before its step.
    order, run_valid = 12, False
    names: tuple[str, ...] = ()

    def __init__(self, lr: float, *optimizers: Optimizer):
        self.lr, self.optimizer, self.optimizers = lr, optimizers[0], optimizers
        self.d_scaler = grad_scaler(False, {})
        self.columns = [ValueMetric(partial(self._mean, name), name) for name in self.names]
        self.before_train()

    def start_fit(self) -> None:
        """Adds the columns; goes on with the loss scale and Adam's moments of the last training."""
        for optimizer in self.optimizers:
            optimizer.load_state_dict(optimizer.state_dict())  # moves the moments to the weights
        precision = precision_of(self.learn)
        fp16 = precision is not None and precision.resolved == "fp16"
        self.d_scaler = grad_scaler(fp16, self.d_scaler.state_dict())
        new = [m for m in self.columns if m not in self.learn.metrics]
        self.learn.metrics = [*self.learn.metrics, *new]

    def before_train(self) -> None:
        """Starts the means of a new epoch."""
        self.values = defaultdict(list)

    def scale_rates(self, factor: float, floor: float = 0.0) -> None:
        """Sets the optimizers' learning rate to factor × lr, but at least `floor`."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = max(self.lr * factor, floor)

    def _step_discriminator(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        self.d_scaler.scale(loss).backward()
        self.d_scaler.step(self.optimizer)
        self.d_scaler.update()

    def _note(self, **values: Tensor) -> None:
        numbers = torch.stack([value.detach() for value in values.values()]).tolist()
        for name, number in zip(values, numbers, strict=True):
            if not isfinite(number):
                self._stop(name, number)
            self.values[name].append(number)

    def _stop(self, name: str, number: float) -> None:
        if self.finding_lr:
            raise CancelFitException
        raise Diverged(
            f"{name} is {number} in epoch {epoch_of(self.learn)}, batch {self.iter}: training "
            "stopped, the last good model is kept; try a lower learning rate or precision fp32"
        )

    def _mean(self, name: str) -> float:
        return fmean(self.values[name] or [float("nan")])


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside the block a backward pass goes through these modules and leaves them no gradient."""
    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.requires_grad_, True)
            module.requires_grad_(False)
        yield


def refuse_negative(**values: float) -> None:
    """Raises UsageError naming the first of these options that is below 0, or NaN."""
    for name, value in values.items():
        if not value >= 0:
            raise UsageError(f"{name} must not be negative: {value}")


def refuse_batch_norm(discriminator: nn.Module, objective: Objective) -> None:
    """Raises UsageError if the objective looks at each image by itself and the norm does not."""
    batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    if objective.per_sample and any(isinstance(m, batch_norms) for m in discriminator.modules()):
        raise UsageError(
            "a gradient penalty is of each image by itself, and batch norm mixes the images of a "
            "batch: choose norm layer, instance, spectral or none for the discriminator"
        )
