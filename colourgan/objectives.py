"""OBJECTIVES: what the discriminator and the generator each minimise in adversarial training."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from colourgan.errors import UsageError
from colourgan.registry import Registry

OBJECTIVES = Registry("objective")


class Objective:
    """The base of every adversarial loss; logits are float32 of any shape, losses are scalars."""

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """What the discriminator minimises, given its logits for true and for predicted colors."""
        raise NotImplementedError

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """What the generator minimises, given the discriminator's logits for its colors."""
        raise NotImplementedError

    def penalty(
        self, discriminator: nn.Module, L: Tensor, real: Tensor, fake: Tensor
    ) -> Tensor | float:
        """A term added to the discriminator's loss (a gradient penalty, say); 0 unless overridden.

        L (N, 1, H, W), real and fake ab (N, 2, H, W), detached, in float32 and outside autocast.
        """
        return 0.0


@OBJECTIVES.register("bce")
@dataclass(frozen=True)
class BinaryCrossEntropy(Objective):
    """Cross-entropy, non-saturating: the generator maximises log D instead of minimising log(1-D).

    The discriminator's loss is the mean of its real and its fake term: halved, as in pix2pix, so
    that it learns slowly relative to the generator. real_label: its target for true colors; .9 is
    one-sided label smoothing (Salimans et al. 2016, section 3.4). Raises UsageError if it is not
    above .5 and at most 1.
    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, section 3; Isola et al., 2017,
    section 3.3.
    """

    real_label: float = 1.0

    def __post_init__(self):
        if not 0.5 < self.real_label <= 1:
            raise UsageError(f"real_label must be above 0.5 and at most 1, not {self.real_label}")

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The mean of both terms; ln 2 for a discriminator that cannot tell."""
        real = _cross_entropy(real_logits, self.real_label)
        return (real + _cross_entropy(fake_logits, 0.0)) / 2

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """-log D(fake), with a label of 1 whatever `real_label` is."""
        return _cross_entropy(fake_logits, 1.0)


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
