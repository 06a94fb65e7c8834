"""Adversarial: a discriminator that trains beside the generator of a fastai learner.

GANCallback, `frozen` and the two checks are shared with CycleConsistency.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import nan
from statistics import fmean

import torch
from fastai.callback.core import CancelBatchException, CancelFitException
from fastai.learner import ValueMetric
from torch import Tensor, nn
from torch.optim import Optimizer

from colourgan import processes
from colourgan.callbacks.accumulation import Part, part_of
from colourgan.callbacks.base import TrainingCallback, Watch, model_device
from colourgan.callbacks.precision import autocast_of, before_pass, grad_scaler, precision_of
from colourgan.errors import Diverged, UsageError
from colourgan.objectives import Objective
from colourgan.optimizers import fused_adam


class GANCallback(TrainingCallback):
    """The base of Adversarial and CycleConsistency.

    names: the losses and shares that a subclass notes; each becomes a column in the recorder, the
    mean of what was noted in an epoch. saved: the attributes that are networks, optimizers and the
    like, and belong to its state. A subclass calls `__init__` with the base learning rate of its
    optimizers, the discriminators' first.
    """

    # After Precision, whose autocast ends in after_loss: inside it a discriminator would keep
    # computing with the low-precision copies of its weights made before its step.
    order, run_valid = 12, False
    names: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()

    def __init__(self, lr: float, *optimizers: Optimizer):
        self.lr, self.optimizer, self.optimizers = lr, optimizers[0], optimizers
        self.d_scaler, self.steps, self.watch = grad_scaler(False, {}), 0, Watch()
        self.columns = [ValueMetric(partial(self._mean, name), name) for name in self.names]

    def start_fit(self) -> None:
        """Moves all to the generator's device; goes on with Adam's moments and the loss scale."""
        for part in (getattr(self, name) for name in self.saved):
            if isinstance(part, nn.Module):
                part.to(model_device(self.learn), memory_format=torch.channels_last).train()
        for optimizer in self.optimizers:
            optimizer.load_state_dict(optimizer.state_dict())  # moves the moments to the weights
        precision = precision_of(self.learn)
        fp16 = precision is not None and precision.resolved == "fp16"
        self.d_scaler = grad_scaler(fp16, self.d_scaler.state_dict())

    def before_train(self) -> None:
        self.watch = Watch()  # the means are of one epoch

    def scale_rates(self, factor: float, floor: float = 0.0) -> None:
        """Sets the optimizers' learning rate to factor × lr, but at least `floor`."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = max(self.lr * factor, floor)

    def _step_discriminator(self, losses: Iterable[Tensor]) -> None:
        """One step on the sum of losses; of a generator each is freed before the next is made."""
        self.optimizer.zero_grad()
        for loss in losses:
            self.d_scaler.scale(loss).backward()
        groups = self.optimizer.param_groups
        processes.average_gradients(p for group in groups for p in group["params"])
        self.d_scaler.step(self.optimizer)
        self.d_scaler.update()

    def _note(self, **losses: Tensor) -> None:
        try:
            self.watch.note(self.learn, **losses)
        except Diverged:
            if self.finding_lr:
                raise CancelFitException from None
            raise

    def after_train(self) -> None:
        self.watch.read(self.learn)

    def _mean(self, name: str) -> float:
        return fmean(self.watch.values[name] or [nan])

    def state_dict(self) -> dict:
        """The networks, their optimizers and loss scale, and how many steps were taken."""
        parts = {name: getattr(self, name).state_dict() for name in self.saved}
        return {**parts, "scaler": self.d_scaler.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        """Takes over all of that; raises as torch does if a network is another."""
        for name in self.saved:
            getattr(self, name).load_state_dict(state[name])
        self.d_scaler = grad_scaler(bool(state["scaler"]), state["scaler"])
        self.steps = state["steps"]


class Adversarial(GANCallback):
    """Turns a learner's training into GAN training; the learner's loss becomes one of two terms.

    discriminator: called with L (N, 1, H, W) and ab (N, 2, H, W), returns logits; trained by its
    own Adam with `lr` and `betas`, without weight decay; `lr` is constant unless a schedule calls
    `scale_rates`. objective: an `objectives.Objective`. The generator minimises
    reconstruction_weight × the learner's loss (L1 or another) + adversarial_weight ×
    objective.g_loss.

    d_steps: steps of the discriminator for each step of the generator; each takes a batch of its
    own, and the generator steps on every d_steps-th. g_steps: conversely, steps of the generator
    for each step of the discriminator. same_batch: the further steps of the one are on the batch of
    the first, so that both step on every batch. What the discriminator says, the penalty too, is
    computed anew for each of its steps; for each of the generator's the forward pass and all that
    follows it, so other callbacks have their events from after_pred to after_step once a step, but
    before_batch and after_batch once a batch, and `learn.loss` is that of the last step.

    d_noise_l, d_noise_ab: standard deviations, in network units, of Gaussian noise on what the
    discriminator sees: L, for true and for predicted colors alike and in the generator's loss too,
    then clamped to [-1, 1]; and true ab. Every batch has one draw of it, from torch's global
    generator, in all of its steps. So nabraun03/image-colorization-wgan, Trainer.py, with .1 and
    .116 in these units; there ab is clamped as well, to ±127.5 CIE units, which it hardly reaches.

    With `Accumulation` a batch is its parts together: what is said here of a batch holds, and each
    step is on the gradients of all parts.

    While `alone` is set, the discriminator trains on every batch, with same_batch d_steps times,
    and the generator stays as it is: it predicts as in validation, and neither its weights nor the
    statistics of its batch norm change.

    Every epoch gets four columns in the recorder: the means over the steps of d_loss and g_loss
    (the adversarial term, before its weight), and the shares of logits for true and for predicted
    colors that are right (d_real_accuracy, d_fake_accuracy), see `Objective.accuracy`. A gradient
    penalty, part of d_loss, also has the column d_penalty. `learn.loss` stays the
    learner's own loss, and `learn.model` the generator alone. NaN or infinity in a loss ends
    `learn.fit` with RunError before any step is taken on it; it ends `lr_find` as divergence does.
    Raises UsageError for a negative weight or noise, for steps below 1 or both above 1, and for
    batch norm with an objective that penalises the gradient of each image by itself.
    Source: defaults of Isola et al., "Image-to-Image Translation with Conditional Adversarial
    Networks", CVPR 2017, section 3.3 and its algorithm: the discriminator first, on separate
    batches of true and predicted colors.
    """

    names = ("d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy")
    saved = ("discriminator", "optimizer")
    alone = False

    def __init__(
        self,
        discriminator: nn.Module,
        objective: Objective,
        *,
        reconstruction_weight: float = 100.0,
        adversarial_weight: float = 1.0,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        d_steps: int = 1,
        g_steps: int = 1,
        same_batch: bool = False,
        d_noise_l: float = 0.0,
        d_noise_ab: float = 0.0,
    ):
        refuse_negative(reconstruction_weight=reconstruction_weight)
        refuse_negative(adversarial_weight=adversarial_weight)
        refuse_negative(d_noise_l=d_noise_l, d_noise_ab=d_noise_ab)
        for name, steps in {"d_steps": d_steps, "g_steps": g_steps}.items():
            if steps < 1:
                raise UsageError(f"{name} must be 1 or more, not {steps}")
        if d_steps > 1 and g_steps > 1:
            raise UsageError(f"d_steps {d_steps} and g_steps {g_steps}: one of them must be 1")
        refuse_batch_norm(discriminator, objective)
        self.discriminator, self.objective = discriminator, objective
        self.reconstruction_weight = reconstruction_weight
        self.adversarial_weight = adversarial_weight
        self.d_steps, self.g_steps, self.same_batch = d_steps, g_steps, same_batch
        self.d_noise_l, self.d_noise_ab = d_noise_l, d_noise_ab
        # Of a batch: passes of the generator, those that are done, L and true ab of each part as
        # shown, the adversarial loss so far.
        self.passes, self.done, self.shown, self.g_loss = 1, 0, [], 0.0
        self.names = (*self.names, *(["d_penalty"] if objective.per_sample else []))
        super().__init__(lr, fused_adam(discriminator.parameters(), lr, betas))

    def before_train(self) -> None:
        super().before_train()
        if self.alone:  # comes after fastai's own choice of the mode
            self.learn.model.eval()

    def before_batch(self) -> None:
        self.passes, self.done = self.g_steps if self.same_batch else 1, 0
        precision = precision_of(self.learn)
        if precision and not self._moves_generator(self.steps + 1):
            precision.enter(torch.no_grad())  # until the loss is computed

    def _moves_generator(self, step: int) -> bool:
        return not self.alone and (self.same_batch or step % self.d_steps == 0)

    def after_loss(self) -> None:
        """The discriminator's steps, then the generator's adversarial loss if it is its turn."""
        self._note(l1_loss=self.loss_grad)
        part = part_of(self.learn)
        first = self.done == 0 and part.number == 0
        if first:
            self.shown = [self._noisy(xb[0], yb[0]) for xb, yb in part.all]
            if self.alone or self.same_batch or self.steps % self.g_steps == 0:
                fakes = self._predicted(part)
                for _ in range(self.d_steps if self.same_batch else 1):
                    self._step_discriminator(self._d_losses(part, fakes))
        self.steps += first and not self.alone
        if not self._moves_generator(self.steps):
            self._leave_out(part, fakes)
        L, _ = self.shown[part.number]
        with frozen(self.discriminator), autocast_of(self.learn):
            logits = self.discriminator(L, self.pred)
        adversarial = self.objective.g_loss(logits.float())
        self.g_loss = part.share * adversarial.detach() + (self.g_loss if part.number else 0.0)
        if part.is_last:
            self._note(g_loss=self.g_loss)
        weighted = self.reconstruction_weight * self.loss_grad
        self.learn.loss_grad = weighted + self.adversarial_weight * adversarial

    def after_batch(self) -> None:
        """The generator's further steps on the same batch: fastai's own pass, for each again."""
        self.done += 1
        while self.done < self.passes:
            before_pass(self.learn)
            try:
                self.learn._do_one_batch()
            except CancelBatchException:
                self.learn("after_cancel_batch")
            self.done += 1

    def after_cancel_batch(self) -> None:
        self.passes = 0

    def _noisy(self, L: Tensor, ab: Tensor) -> tuple[Tensor, Tensor]:
        if self.d_noise_l:
            L = (L + self.d_noise_l * torch.randn_like(L)).clamp(-1, 1)
        if self.d_noise_ab:
            ab = ab + self.d_noise_ab * torch.randn_like(ab)
        return L, ab

    def _predicted(self, part: Part) -> list[Tensor]:
        """The generator's colors for all parts, detached; the first part's are `learn.pred`."""
        found = [self.pred.detach()]
        with torch.no_grad(), same_statistics(self.learn.model):
            for xb, _ in part.all[1:]:
                with autocast_of(self.learn):
                    found.append(self.learn.model(*xb).float())
        return found

    def _leave_out(self, part: Part, fakes: list[Tensor]) -> None:
        """Ends the batch before a step of the generator; its loss is noted, of all parts."""
        if len(part.all) > 1:
            of_parts = zip(part.shares, fakes, part.all, strict=True)
            losses = [share * self.learn.loss_func(fake, *yb) for share, fake, (_, yb) in of_parts]
            self.learn.loss = torch.stack(losses).sum()
        raise CancelBatchException

    def _d_losses(self, part: Part, fakes: list[Tensor]) -> Iterator[Tensor]:
        """The discriminator's loss on each part, times its share; notes that of the whole."""
        found = defaultdict(float)
        for i, (share, (L, real), fake) in enumerate(
            zip(part.shares, self.shown, fakes, strict=True)
        ):
            with autocast_of(self.learn):
                on_real, on_fake = self.discriminator(L, real), self.discriminator(L, fake)
            on_real, on_fake = on_real.float(), on_fake.float()
            penalty = self.objective.penalty(self.discriminator, L, real, fake)
            loss = self.objective.d_loss(on_real, on_fake) + penalty
            d_real, d_fake = self.objective.accuracy(on_real, on_fake)
            values = {
                **({"d_penalty": penalty} if self.objective.per_sample else {}),
                "d_loss": loss,
                "d_real_accuracy": d_real,
                "d_fake_accuracy": d_fake,
            }
            for name, value in values.items():
                found[name] += share * value.detach()
            if i == len(fakes) - 1:
                self._note(**found)
            yield share * loss


@contextmanager
def same_statistics(network: nn.Module) -> Iterator[None]:
    """Inside the block the running statistics of its batch norms stay as they are."""
    norms = [m for m in network.modules() if getattr(m, "track_running_stats", False)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside the block a backward pass goes through these modules and leaves them no gradient."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def refuse_negative(**values: float) -> None:
    """Raises UsageError naming the first of these options that is below 0, or NaN."""
    for name, value in values.items():
        if not value >= 0:
            raise UsageError(f"{name} must not be negative: {value}")


def refuse_batch_norm(discriminator: nn.Module, objective: Objective) -> None:
    """Raises UsageError for batch norm with a penalty of each image by itself."""
    batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    if objective.per_sample and any(isinstance(m, batch_norms) for m in discriminator.modules()):
        raise UsageError(
            "a gradient penalty looks at each image by itself, and batch norm mixes the images of "
            "a batch: choose norm layer, instance, spectral or none for the discriminator"
        )
