"""OBJECTIVES: what the discriminator and the generator each minimise in adversarial training."""

from dataclasses import dataclass
from inspect import signature
from math import inf

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu

from colourgan.errors import UsageError
from colourgan.registry import Registry

OBJECTIVES = Registry("objective")


class Objective:
    """The base of every adversarial loss; logits are float32 of any shape, losses are scalars.

    threshold: the logit above which the discriminator says "real", None where logits mean something
    only beside each other. per_sample: whether `penalty` needs a discriminator whose output for one
    image depends on that image alone: no batch norm.
    """

    threshold: float | None = 0.0
    per_sample: bool = False

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """What the discriminator minimises, given its logits for true and for predicted colors."""
        raise NotImplementedError

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """What the generator minimises, given the discriminator's logits for its colors."""
        raise NotImplementedError

    def accuracy(self, real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of the logits for true and for predicted colors on the right side of `threshold`.

        Without one, on the right side of the middle between the means of these logits.
        """
        middle = self.threshold
        if middle is None:
            middle = (real_logits.mean() + fake_logits.mean()) / 2
        return (real_logits > middle).float().mean(), (fake_logits < middle).float().mean()

    def penalty(
        self, discriminator: nn.Module, L: Tensor, real: Tensor, fake: Tensor
    ) -> Tensor | float:
        """A term added to the discriminator's loss (a gradient penalty, say); 0 unless overridden.

        L (N, 1, H, W), real and fake ab (N, 2, H, W), detached, in float32 and outside autocast.
        """
        return 0.0


def build_objective(name: str, real_label: float = 1.0, penalty_weight: float = 10.0) -> Objective:
    """The objective of that name, given those of the two settings that it has.

    real_label: of "bce" and "least_squares"; penalty_weight: of "wgan_gp". Raises UsageError for an
    unknown name, a value that the objective refuses, and for a setting other than the default that
    the objective does not have.
    """
    make = OBJECTIVES[name]
    taken = signature(make).parameters
    if real_label != 1 and "real_label" not in taken:
        raise UsageError(
            f"label smoothing: objective '{name}' has no labels; leave real_label at 1"
        )
    if penalty_weight != 10 and "penalty_weight" not in taken:
        raise UsageError(f"objective '{name}' has no gradient penalty; leave penalty_weight at 10")
    settings = {"real_label": real_label, "penalty_weight": penalty_weight}
    return make(**{key: value for key, value in settings.items() if key in taken})


@OBJECTIVES.register("bce")
@dataclass(frozen=True)
class BinaryCrossEntropy(Objective):
    """Cross-entropy, non-saturating: the generator maximises log D instead of minimising log(1-D).

    The discriminator's loss is the mean of its real and its fake term: halved, as in pix2pix, so
    that it learns slowly relative to the generator. real_label: its target for true colors; .9 is
    one-sided label smoothing (Salimans et al. 2016, section 3.4). Raises UsageError if it is not
    above 0 and at most 1.
    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, section 3; Isola et al., 2017,
    section 3.3.
    """

    real_label: float = 1.0

    def __post_init__(self):
        if not 0 < self.real_label <= 1:
            wanted = f"real_label must be above 0 and at most 1, not {self.real_label}"
            raise UsageError(f"label smoothing: {wanted}")

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The mean of both terms; ln 2 for a discriminator that cannot tell."""
        real = _cross_entropy(real_logits, self.real_label)
        return (real + _cross_entropy(fake_logits, 0.0)) / 2

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """-log D(fake), with a label of 1 whatever `real_label` is."""
        return _cross_entropy(fake_logits, 1.0)


@OBJECTIVES.register("least_squares")
@dataclass(frozen=True)
class LeastSquares(Objective):
    """Squared distance of a logit from its label: 1 for true and 0 for predicted colors.

    The discriminator's loss is the mean of its real and its fake term, and the generator's is not
    halved: so CycleGAN's code; the paper halves all three. real_label: the discriminator's target
    for true colors, as for "bce". Raises UsageError if it is not above 0 and at most 1.
    Source: Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, equation 9.
    """

    real_label: float = 1.0
    threshold = 0.5  # no field: nobody sets it
    __post_init__ = BinaryCrossEntropy.__post_init__  # the same check of real_label

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The mean of both terms; .25 for a discriminator that cannot tell and says .5."""
        return ((real_logits - self.real_label).square().mean() + fake_logits.square().mean()) / 2

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        return (fake_logits - 1).square().mean()


@OBJECTIVES.register("hinge")
@dataclass(frozen=True)
class Hinge(Objective):
    """Logits count until they are right by a margin of 1; the generator raises its own.

    Source: Lim and Ye, "Geometric GAN", 2017; Miyato et al., "Spectral Normalization for Generative
    Adversarial Networks", ICLR 2018, equations 16 and 17.
    """

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The sum of both terms; 2 for a discriminator that says 0, 0 beyond both margins."""
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()


@OBJECTIVES.register("wgan_gp")
@dataclass(frozen=True)
class WassersteinGradientPenalty(Objective):
    """The distance between the mean logits, from a discriminator held to slopes of 1.

    penalty_weight: λ of the gradient penalty. Raises UsageError if it is below 0.
    Source: Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, algorithm 1.
    """

    penalty_weight: float = 10.0
    per_sample = True
    threshold = None  # a constant added to all logits changes nothing

    def __post_init__(self):
        if not 0 <= self.penalty_weight < inf:
            raise UsageError(f"penalty_weight must be 0 or more, not {self.penalty_weight}")

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The mean logit of predicted colors less that of true ones: negative if it can tell."""
        return fake_logits.mean() - real_logits.mean()

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()

    def penalty(self, discriminator: nn.Module, L: Tensor, real: Tensor, fake: Tensor) -> Tensor:
        """penalty_weight × the mean over samples of (‖∇D(x̂)‖₂ − 1)², with a graph into D's weights.

        x̂ lies on the line from fake to real ab (N, 2, H, W), at one uniformly random place a
        sample; L (N, 1, H, W) is a condition, given and not mixed. D(x̂) is the mean of a sample's
        logits, so that a larger map has no larger slope; the norm is over all of its values of ab.
        """
        place = torch.rand(len(real), 1, 1, 1, device=real.device)
        mixed = (place * real + (1 - place) * fake).detach().float().requires_grad_()
        with torch.autocast(real.device.type, enabled=False):
            logits = discriminator(L.float(), mixed)
        # One gradient for all: no sample's output depends on another's colors (see per_sample).
        total = logits.flatten(1).mean(1).sum()
        (gradient,) = torch.autograd.grad(total, mixed, create_graph=True)
        return self.penalty_weight * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
