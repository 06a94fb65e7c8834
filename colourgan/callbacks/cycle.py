"""CycleConsistency: training from pictures of which no grey one belongs to a color one."""

from collections.abc import Iterator
from itertools import chain

import torch
from fastai.data.core import TfmdDL
from fastai.torch_core import to_device
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from colourgan.callbacks.base import model_device
from colourgan.callbacks.gan import GANCallback, frozen, refuse_batch_norm, refuse_negative
from colourgan.callbacks.pool import ImagePool
from colourgan.callbacks.precision import autocast_of, grad_scaler, precision_of
from colourgan.errors import UsageError
from colourgan.objectives import Objective

Images = tuple[Tensor, ...]


class CycleConsistency(GANCallback):
    """Turns a learner's training into CycleGAN's; the learner's loss is only watched.

    G, `learn.model`, colors grey pictures: L (N, 1, H, W) → ab (N, 2, H, W). backward: a network F
    that turns ab into L. The learner's training loader holds the grey pictures x and `colors`, a
    loader of batches (L, ab), the color pictures y (see `unpaired_dataloaders`); every batch of the
    one is trained on with the next of the other. d_color(L, ab) tells color pictures y from (L of
    x, G(L of x)), d_grey(L) tells x from F(ab of y); both return logits. For each of them an
    `ImagePool` of pool_size shows generated pictures again.

    G and F together minimise objective.g_loss of both discriminators + cycle_weight ×
    (|F(G(L)) - L| of x + |G(F(ab)) - ab| of y); this replaces the learner's loss in the gradient,
    so that no picture's true colors reach G. The paper's identity loss is left out (its weight is
    0): between one channel and two there is no identity. As in `Adversarial` the discriminators
    step first, both by one Adam on the sum of their losses; F has an Adam of its own, like theirs
    of `lr` and `betas`, constant unless a schedule calls `scale_rates`; G keeps the learner's.
    seed: of the pools.

    Columns in the recorder, the means over an epoch's batches: d_loss (of both discriminators the
    mean), g_loss (of both adversarial terms the sum) and cycle_loss (without its weight). NaN or
    infinity in one ends `learn.fit` with RunError and `lr_find` as divergence does. Raises
    UsageError for a negative cycle_weight or pool_size, for a loader without a batch, and for batch
    norm with an objective that penalises the gradient of each image by itself.
    Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
    Networks", ICCV 2017, sections 3 and 4.
    """

    names = ("d_loss", "g_loss", "cycle_loss")

    def __init__(
        self,
        backward: nn.Module,
        d_color: nn.Module,
        d_grey: nn.Module,
        objective: Objective,
        colors: TfmdDL,
        *,
        cycle_weight: float = 10.0,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        pool_size: int = 50,
        seed: int = 0,
    ):
        refuse_negative(cycle_weight=cycle_weight)
        for discriminator in (d_color, d_grey):
            refuse_batch_norm(discriminator, objective)
        if not len(colors):
            raise UsageError("the loader of color pictures has no batch")
        self.backward, self.d_color, self.d_grey = backward, d_color, d_grey
        self.objective, self.colors, self.cycle_weight = objective, colors, cycle_weight
        self.color_pool, self.grey_pool = ImagePool(pool_size, seed), ImagePool(pool_size, seed + 1)
        self.steps, self._batches = 0, iter(())
        judges = chain(d_color.parameters(), d_grey.parameters())
        d_adam = torch.optim.Adam(judges, lr=lr, betas=betas)
        self.f_optimizer = torch.optim.Adam(backward.parameters(), lr=lr, betas=betas)
        super().__init__(lr, d_adam, self.f_optimizer)

    def start_fit(self) -> None:
        """Brings the three networks and their optimizers to the generator's device."""
        for module in (self.backward, self.d_color, self.d_grey):
            module.to(model_device(self.learn)).train()
        super().start_fit()

    def before_train(self) -> None:
        """Starts the means of a new epoch, and the color pictures in a new order."""
        super().before_train()
        # Afresh: a training that is resumed after an epoch could not go on within this one.
        self._batches = self._endless()

    def after_loss(self) -> None:
        """The discriminators' step, then the loss of both generators in place of the learner's."""
        L, fake_ab = self.xb[0], self.pred
        true_L, ab = to_device(next(self._batches), L.device)
        with autocast_of(self.learn):
            fake_L = self.backward(ab)
        fake_L = fake_L.float()
        fake_color = self.color_pool.exchange(L, fake_ab.detach())
        fake_grey = self.grey_pool.exchange(fake_L.detach())
        self._train_discriminators((true_L, ab), fake_color, (L,), fake_grey)
        adversarial = self._adversarial_loss((L, fake_ab), (fake_L,))
        cycle = self._cycle_loss(L, fake_ab, fake_L, ab)
        self._note(g_loss=adversarial, cycle_loss=cycle)
        self.f_optimizer.zero_grad()
        self.learn.loss_grad = adversarial + self.cycle_weight * cycle
        self.steps += 1

    def after_backward(self) -> None:
        """F's step: its gradients come from the backward pass of the generator's loss."""
        # By Precision's scaler, whose scale they carry, before it adapts it in after_step.
        precision = precision_of(self.learn)
        scaler = precision.scaler if precision else grad_scaler(False, {})
        scaler.step(self.f_optimizer)

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.colors

    def _train_discriminators(
        self, color: Images, fake_color: Images, grey: Images, fake_grey: Images
    ) -> None:
        on_color = self._discriminator_loss(self.d_color, color, fake_color)
        on_grey = self._discriminator_loss(self.d_grey, grey, fake_grey)
        self._note(d_loss=(on_color + on_grey) / 2)
        self._step_discriminator(on_color + on_grey)

    def _discriminator_loss(self, discriminator: nn.Module, real: Images, fake: Images) -> Tensor:
        with autocast_of(self.learn):
            on_real, on_fake = discriminator(*real), discriminator(*fake)
        loss = self.objective.d_loss(on_real.float(), on_fake.float())
        return loss + self._penalty(discriminator, real, fake)

    def _penalty(self, discriminator: nn.Module, real: Images, fake: Images) -> Tensor | float:
        """The objective's, of whole pictures: here L is no condition, it differs as ab does."""
        channels = [image.shape[1] for image in real]

        def judge(_, images: Tensor) -> Tensor:
            return discriminator(*images.split(channels, dim=1))

        return self.objective.penalty(judge, real[0], torch.cat(real, 1), torch.cat(fake, 1))

    def _adversarial_loss(self, fake_color: Images, fake_grey: Images) -> Tensor:
        with frozen(self.d_color, self.d_grey), autocast_of(self.learn):
            on_color, on_grey = self.d_color(*fake_color), self.d_grey(*fake_grey)
        return self.objective.g_loss(on_color.float()) + self.objective.g_loss(on_grey.float())

    def _cycle_loss(self, L: Tensor, fake_ab: Tensor, fake_L: Tensor, ab: Tensor) -> Tensor:
        with autocast_of(self.learn):
            back_L, back_ab = self.backward(fake_ab), self.learn.model(fake_L)
        return l1_loss(back_L.float(), L) + l1_loss(back_ab.float(), ab)

    def state_dict(self) -> dict:
        """The three networks, their optimizers and loss scale, the pools, the colors' order."""
        return {
            "steps": self.steps,
            "scaler": self.d_scaler.state_dict(),
            "order": self.colors.rng.getstate(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def load_state_dict(self, state: dict) -> None:
        """Takes over all of that; raises as torch does if a network is another."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.steps = state["steps"]
        self.d_scaler = grad_scaler(bool(state["scaler"]), state["scaler"])
        version, numbers, gauss = state["order"]
        self.colors.rng.setstate((version, tuple(numbers), gauss))

    def _parts(self) -> dict:
        names = "backward", "d_color", "d_grey", "optimizer", "f_optimizer"
        return {name: getattr(self, name) for name in (*names, "color_pool", "grey_pool")}
