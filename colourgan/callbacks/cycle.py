"""CycleConsistency: training from unpaired grey and color pictures."""

from itertools import chain, count

import torch
from fastai.data.core import TfmdDL
from fastai.torch_core import to_device
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from colourgan.callbacks.accumulation import Accumulation
from colourgan.callbacks.adversarial import GANCallback, frozen, refuse_batch_norm, refuse_negative
from colourgan.callbacks.precision import autocast_of, grad_scaler, precision_of
from colourgan.errors import UsageError
from colourgan.objectives import Objective
from colourgan.optimizers import fused_adam

Images = tuple[Tensor, ...]


class ImagePool:
    """A store of `size` generated images that keeps a discriminator from chasing the newest ones.

    The first `size` images are stored and shown. After that each image is, with probability .5,
    either shown as it is or exchanged: it replaces a random stored one, which is shown instead.
    seed: of the pool's own random generator, which nothing else draws from. Size 0 shows all images
    as they are. Raises UsageError for a negative size.
    Source: Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial
    Training", CVPR 2017, section 2.3; size 50: Zhu et al. (CycleGAN), ICCV 2017, section 4.
    """

    def __init__(self, size: int = 50, seed: int = 0):
        refuse_negative(pool_size=size)
        self.size = size
        self.images: list[Images] = []
        self.random = torch.Generator().manual_seed(seed)

    def exchange(self, *images: Tensor) -> Images:
        """As many images as are handed in, some of them older.

        images: (N, C, H, W), the parts of an image (say L and ab), which stay together; detached.
        """
        shown = []
        for image in zip(*images, strict=True):
            copy = tuple(part.clone() for part in image)  # a slice would keep the whole batch
            if len(self.images) < self.size:
                self.images.append(copy)
            elif self.size and torch.rand((), generator=self.random) >= 0.5:
                place = int(torch.randint(self.size, (), generator=self.random))
                stored, self.images[place] = self.images[place], copy
                image = tuple(part.to(image[0].device) for part in stored)
            shown.append(image)
        return tuple(torch.stack(part) for part in zip(*shown, strict=True))

    def state_dict(self) -> dict:
        return {"images": list(self.images), "random": self.random.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.images = [tuple(parts) for parts in state["images"]]
        self.random.set_state(state["random"].cpu())


class CycleConsistency(GANCallback):
    """Turns a learner's training into CycleGAN's; the learner's loss is only watched.

    G, `learn.model`, colors grey pictures: L (N, 1, H, W) → ab (N, 2, H, W). backward: a network F
    that turns ab into L. The learner's training loader holds the grey pictures x and `colors`, a
    loader of batches (L, ab), the color pictures y (see `unpaired_dataloaders`); each batch of the
    former is paired with the next of the latter. d_color(L, ab) tells color pictures y from (L of
    x, G(L of x)), d_grey(L) tells x from F(ab of y); both return logits. For each of them an
    `ImagePool` of pool_size shows generated pictures again.

    G and F together minimise objective.g_loss of both discriminators + cycle_weight ×
    (|F(G(L)) - L| of x + |G(F(ab)) - ab| of y); this replaces the learner's loss in the gradient,
    so that no picture's true colors reach G. The paper's identity loss is left out (its weight is
    0): between one channel and two there is no identity. As in `Adversarial` the discriminators
    step first, both by one Adam on the sum of their losses; F has an Adam of its own, like theirs
    with `lr` and `betas`, constant unless a schedule calls `scale_rates`; G keeps the learner's
    optimizer. seed: of the pools.

    Columns in the recorder, the means over an epoch's batches: d_loss (the discriminators' mean),
    g_loss (the sum of both adversarial terms) and cycle_loss (without its weight). NaN or
    infinity in one ends `learn.fit` with RunError and `lr_find` as divergence does. Raises
    UsageError for a negative cycle_weight or pool_size, for a loader without a batch, and for batch
    norm with an objective that penalises the gradient of each image by itself.
    Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
    Networks", ICCV 2017, sections 3 and 4.
    """

    names = ("d_loss", "g_loss", "cycle_loss")
    saved = ("backward", "d_color", "d_grey", "optimizer", "f_optimizer", "color_pool", "grey_pool")

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
        judges = chain(d_color.parameters(), d_grey.parameters())
        d_adam = fused_adam(judges, lr, betas)
        self.f_optimizer = fused_adam(backward.parameters(), lr, betas)
        super().__init__(lr, d_adam, self.f_optimizer)

    def start_fit(self) -> None:
        super().start_fit()
        if any(isinstance(callback, Accumulation) for callback in self.learn.cbs):
            raise UsageError("CycleConsistency takes batches whole: leave Accumulation out")

    def before_train(self) -> None:
        super().before_train()
        # Color pictures without end, begun afresh: a training that is resumed after an epoch could
        # not go on within the order of the last.
        self._batches = (batch for _ in count() for batch in self.colors)

    def after_loss(self) -> None:
        """The discriminators' step, then the loss of both generators in place of the learner's."""
        L, fake_ab = self.xb[0], self.pred
        true_L, ab = to_device(next(self._batches), L.device)
        with autocast_of(self.learn):
            fake_L = self.backward(ab)
        fake_L = fake_L.float()
        fake_color = self.color_pool.exchange(L, fake_ab.detach())
        fake_grey = self.grey_pool.exchange(fake_L.detach())
        d_color = self._discriminator_loss(self.d_color, (true_L, ab), fake_color)
        d_grey = self._discriminator_loss(self.d_grey, (L,), fake_grey)
        self._note(d_loss=(d_color + d_grey) / 2)
        self._step_discriminator([d_color + d_grey])
        with frozen(self.d_color, self.d_grey), autocast_of(self.learn):
            on_color, on_grey = self.d_color(L, fake_ab), self.d_grey(fake_L)
        g_loss = self.objective.g_loss
        adversarial = g_loss(on_color.float()) + g_loss(on_grey.float())
        with autocast_of(self.learn):
            back_L, back_ab = self.backward(fake_ab), self.learn.model(fake_L)
        cycle = l1_loss(back_L.float(), L) + l1_loss(back_ab.float(), ab)
        self._note(g_loss=adversarial, cycle_loss=cycle)
        self.f_optimizer.zero_grad()
        self.learn.loss_grad = adversarial + self.cycle_weight * cycle
        self.steps += 1

    def after_backward(self) -> None:
        """F's step: its gradients come from the backward pass of the generator's loss."""
        # By the scaler whose scale they carry (Precision's, or fastai's `to_fp16`), before that is
        # adapted in after_step.
        precision = precision_of(self.learn)
        scaler = precision.scaler if precision else vars(self.learn).get("scaler")
        (scaler or grad_scaler(False, {})).step(self.f_optimizer)

    def _discriminator_loss(self, discriminator: nn.Module, real: Images, fake: Images) -> Tensor:
        with autocast_of(self.learn):
            on_real, on_fake = discriminator(*real), discriminator(*fake)
        channels = [image.shape[1] for image in real]

        def judge(_, images: Tensor) -> Tensor:
            return discriminator(*images.split(channels, dim=1))

        # Of whole pictures: here L is no condition, it differs as ab does.
        penalty = self.objective.penalty(judge, real[0], torch.cat(real, 1), torch.cat(fake, 1))
        return self.objective.d_loss(on_real.float(), on_fake.float()) + penalty

    def state_dict(self) -> dict:
        """That of every GAN, the pools, and the order of the color pictures."""
        return {**super().state_dict(), "order": self.colors.rng.getstate()}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        version, numbers, gauss = state["order"]
        self.colors.rng.setstate((version, tuple(numbers), gauss))
