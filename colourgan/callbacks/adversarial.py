"""Adversarial: a discriminator that trains beside the generator of a fastai learner."""

import torch
from fastai.callback.core import CancelBatchException
from torch import Tensor, nn

from colourgan.callbacks.base import model_device
from colourgan.callbacks.gan import GANCallback, frozen, refuse_batch_norm, refuse_negative
from colourgan.callbacks.precision import autocast_of, grad_scaler
from colourgan.errors import UsageError
from colourgan.objectives import Objective


class Adversarial(GANCallback):
    """Turns a learner's training into GAN training; the learner's loss becomes one of two terms.

    discriminator: called with L (N, 1, H, W) and ab (N, 2, H, W), returns logits; trained by its
    own Adam of `lr` and `betas`, without weight decay; `lr` is constant unless a schedule calls
    `scale_rates`. objective: an `objectives.Objective`. The generator minimises l1_weight × the
    learner's loss (L1 or another) + adversarial_weight × objective.g_loss. d_steps: steps of the
    discriminator for each step of the generator; each takes a batch of its own, and the generator
    moves on every d_steps-th. g_steps: the other way round, one step of the discriminator for so
    many of the generator. While `alone` is set, the discriminator trains on every batch and the
    generator stays as it is: it predicts as in validation, and neither its weights nor the
    statistics of its batch norm move.

    Every epoch gets four columns in the recorder: the means over the training batches of d_loss and
    g_loss (the adversarial term, before its weight), and the shares of logits for true colors above
    the objective's threshold (d_real_accuracy) and for predicted ones below it (d_fake_accuracy).
    A gradient penalty, part of d_loss, has the column d_penalty besides. `learn.loss` stays the
    learner's own loss, and `learn.model` the generator alone. NaN or infinity in a loss ends
    `learn.fit` with RunError before any step is taken on it; it ends `lr_find` as divergence does.
    Raises UsageError for a negative weight, for steps below 1 or above 1 on both sides, and for
    batch norm with an objective that penalises the gradient of each image by itself.
    Source: defaults of Isola et al., "Image-to-Image Translation with Conditional Adversarial
    Networks", CVPR 2017, section 3.3 and its algorithm: the discriminator first, on separate
    batches of true and predicted colors.
    """

    names = ("d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy")
    alone = False

    def __init__(
        self,
        discriminator: nn.Module,
        objective: Objective,
        *,
        l1_weight: float = 100.0,
        adversarial_weight: float = 1.0,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        d_steps: int = 1,
        g_steps: int = 1,
    ):
        _check(discriminator, objective, l1_weight, adversarial_weight, d_steps, g_steps)
        self.discriminator, self.objective = discriminator, objective
        self.l1_weight, self.adversarial_weight = l1_weight, adversarial_weight
        self.d_steps, self.g_steps, self.steps = d_steps, g_steps, 0
        self.names = (*self.names, *(["d_penalty"] if objective.per_sample else []))
        super().__init__(lr, torch.optim.Adam(discriminator.parameters(), lr=lr, betas=betas))

    def start_fit(self) -> None:
        """Brings the discriminator and its optimizer to the generator's device."""
        self.discriminator.to(model_device(self.learn)).train()
        super().start_fit()

    def before_train(self) -> None:
        """Starts the means of a new epoch."""
        super().before_train()
        if self.alone:  # comes after fastai's own choice of the mode
            self.learn.model.eval()

    def after_loss(self) -> None:
        """The discriminator's step, then the generator's adversarial loss if it is its turn."""
        L, real, fake = self.xb[0], self.yb[0], self.pred
        self._note(l1_loss=self.loss_grad)
        if self.alone or self.steps % self.g_steps == 0:
            self._train_discriminator(L, real, fake.detach())
        if self.alone:
            raise CancelBatchException
        self.steps += 1
        if self.steps % self.d_steps:
            raise CancelBatchException
        adversarial = self.adversarial_weight * self._adversarial_loss(L, fake)
        self.learn.loss_grad = self.l1_weight * self.loss_grad + adversarial

    def _train_discriminator(self, L: Tensor, real: Tensor, fake: Tensor) -> None:
        with autocast_of(self.learn):
            on_real, on_fake = self.discriminator(L, real), self.discriminator(L, fake)
        on_real, on_fake = on_real.float(), on_fake.float()
        penalty = self.objective.penalty(self.discriminator, L, real, fake)
        loss = self.objective.d_loss(on_real, on_fake) + penalty
        self._note(
            **({"d_penalty": penalty} if self.objective.per_sample else {}),
            d_loss=loss,
            d_real_accuracy=(on_real > self.objective.threshold).float().mean(),
            d_fake_accuracy=(on_fake < self.objective.threshold).float().mean(),
        )
        self._step_discriminator(loss)

    def _adversarial_loss(self, L: Tensor, fake: Tensor) -> Tensor:
        with frozen(self.discriminator), autocast_of(self.learn):
            logits = self.discriminator(L, fake)
        loss = self.objective.g_loss(logits.float())
        self._note(g_loss=loss)
        return loss

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


def _check(
    discriminator: nn.Module,
    objective: Objective,
    l1_weight: float,
    adversarial_weight: float,
    d_steps: int,
    g_steps: int,
) -> None:
    refuse_negative(l1_weight=l1_weight, adversarial_weight=adversarial_weight)
    for name, steps in {"d_steps": d_steps, "g_steps": g_steps}.items():
        if steps < 1:
            raise UsageError(f"{name} must be 1 or more, not {steps}")
    if d_steps > 1 and g_steps > 1:
        raise UsageError(f"d_steps {d_steps} and g_steps {g_steps}: one of them must be 1")
    refuse_batch_norm(discriminator, objective)
