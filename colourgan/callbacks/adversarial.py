"""Adversarial: a discriminator that trains beside the generator of a fastai learner."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import isfinite
from statistics import fmean

import torch
from fastai.callback.core import CancelBatchException, CancelFitException
from fastai.learner import ValueMetric
from torch import Tensor, nn

from colourgan.callbacks.base import TrainingCallback, epoch_of, model_device
from colourgan.callbacks.precision import autocast_of, grad_scaler, precision_of
from colourgan.errors import RunError, UsageError
from colourgan.objectives import Objective

COLUMNS = ("d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy")


class Adversarial(TrainingCallback):
    """Turns a learner's training into GAN training; the learner's loss becomes one of two terms.

    discriminator: called with L (N, 1, H, W) and ab (N, 2, H, W), returns logits; trained by its
    own Adam of `lr` and `betas`, constant whatever schedule the generator follows, no weight decay.
    objective: an `objectives.Objective`. The generator minimises l1_weight × the learner's loss +
    objective.g_loss. d_steps: steps of the discriminator for each step of the generator; each takes
    a batch of its own, and the generator moves on every d_steps-th.

    Every epoch gets four columns in the recorder: the means over the training batches of d_loss and
    g_loss (the adversarial term only), and the shares of logits for true colors above 0
    (d_real_accuracy) and for predicted ones below 0 (d_fake_accuracy). `learn.loss` stays the
    learner's own loss, and `learn.model` the generator alone. NaN or infinity in a loss ends
    `learn.fit` with RunError before any step is taken on it; it ends `lr_find` as divergence does.
    Raises UsageError if d_steps is below 1.
    Source: defaults of Isola et al., "Image-to-Image Translation with Conditional Adversarial
    Networks", CVPR 2017, section 3.3 and its algorithm: the discriminator first, on separate
    batches of true and predicted colors.
    """

    # Behind Precision, whose autocast ends in after_loss: inside it a discriminator would keep
    # computing with the low-precision copies of its weights from before its step.
    order, run_valid = 12, False

    def __init__(
        self,
        discriminator: nn.Module,
        objective: Objective,
        *,
        l1_weight: float = 100.0,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        d_steps: int = 1,
    ):
        if d_steps < 1:
            raise UsageError(f"d_steps must be 1 or more, not {d_steps}")
        self.discriminator, self.objective = discriminator, objective
        self.l1_weight, self.d_steps, self.steps = l1_weight, d_steps, 0
        self.optimizer = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=betas)
        self.d_scaler = grad_scaler(False, {})
        self.columns = [ValueMetric(partial(self._mean, name), name) for name in COLUMNS]
        self.before_train()

    @property
    def learn(self):
        """The learner; leaving it (`learn.remove_cb`) takes the columns along."""
        return vars(self).get("_learn")

    @learn.setter
    def learn(self, learn):
        if learn is None and self.learn is not None:
            self.learn.metrics = [m for m in self.learn.metrics if m not in self.columns]
        vars(self)["_learn"] = learn

    def start_fit(self) -> None:
        """Brings the discriminator and its optimizer to the generator's device."""
        self.discriminator.to(model_device(self.learn)).train()
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves Adam's moments
        precision = precision_of(self.learn)
        fp16 = precision is not None and precision.resolved == "fp16"
        self.d_scaler = grad_scaler(fp16, self.d_scaler.state_dict())
        new = [m for m in self.columns if m not in self.learn.metrics]
        self.learn.metrics = [*self.learn.metrics, *new]

    def before_train(self) -> None:
        """Starts the means of a new epoch."""
        self.values = {name: [] for name in ("l1_loss", *COLUMNS)}

    def after_loss(self) -> None:
        """The discriminator's step, then the generator's adversarial loss if it is its turn."""
        L, real, fake = self.xb[0], self.yb[0], self.pred
        self._train_discriminator(L, real, fake.detach())
        self.steps += 1
        if self.steps % self.d_steps:
            raise CancelBatchException
        adversarial = self._adversarial_loss(L, fake)
        self.learn.loss_grad = self.l1_weight * self.loss_grad + adversarial

    def _train_discriminator(self, L: Tensor, real: Tensor, fake: Tensor) -> None:
        with autocast_of(self.learn):
            on_real, on_fake = self.discriminator(L, real), self.discriminator(L, fake)
        on_real, on_fake = on_real.float(), on_fake.float()
        loss = self.objective.d_loss(on_real, on_fake)
        loss = loss + self.objective.penalty(self.discriminator, L, real, fake)
        self._note(
            l1_loss=self.loss_grad,
            d_loss=loss,
            d_real_accuracy=(on_real > 0).float().mean(),
            d_fake_accuracy=(on_fake < 0).float().mean(),
        )
        self.optimizer.zero_grad()
        self.d_scaler.scale(loss).backward()
        self.d_scaler.step(self.optimizer)
        self.d_scaler.update()

    def _adversarial_loss(self, L: Tensor, fake: Tensor) -> Tensor:
        with _frozen(self.discriminator), autocast_of(self.learn):
            logits = self.discriminator(L, fake)
        loss = self.objective.g_loss(logits.float())
        self._note(g_loss=loss)
        return loss

    def _note(self, **values: Tensor) -> None:
        numbers = torch.stack([value.detach() for value in values.values()]).tolist()
        for name, number in zip(values, numbers, strict=True):
            if not isfinite(number):
                self._stop(name, number)
            self.values[name].append(number)

    def _stop(self, name: str, number: float) -> None:
        if self.finding_lr:
            raise CancelFitException
        raise RunError(
            f"{name} is {number} in epoch {epoch_of(self.learn)}, batch {self.iter}: training "
            "stopped, the last good model is kept; try a lower learning rate or precision fp32"
        )

    def _mean(self, name: str) -> float:
        return fmean(self.values[name] or [float("nan")])

    def state_dict(self) -> dict:
        """The discriminator, its optimizer and loss scale, and how many steps it has taken."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.d_scaler.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict) -> None:
        """Takes over all of that; raises as torch does if the discriminator is another."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.d_scaler = grad_scaler(bool(state["scaler"]), state["scaler"])
        self.steps = state["steps"]


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
