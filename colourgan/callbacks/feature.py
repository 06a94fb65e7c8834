"""FeatureLoss: L1 of what an ImageNet encoder sees in predicted and true pictures."""

import torch
from fastai.learner import ValueMetric
from torch import Tensor, nn

from colourgan.callbacks.base import TrainingCallback, model_device
from colourgan.callbacks.precision import autocast_of
from colourgan.color import decode
from colourgan.encoders import rgb_stages

FEATURE_ENCODER = "efficientnet_lite0"
LAYERS = 4  # of the last resolutions: the first sees edges alone, which L has already


class FeatureLoss(TrainingCallback):
    """Adds weight × L1 of features to the learner's loss, in its training batches.

    encoder: ARCH[@WEIGHTS], reading RGB; the L1 of each of its resolutions' features, after which
    the next is smaller, is divided by the mean size of the true ones, and their mean is the loss.
    The recorder's column feature_loss has the mean over an epoch. Raises UsageError and RunError as
    `build_encoder` does.
    Source: Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and
    super-resolution", ECCV 2016, section 3.2; combined with the pixels' L1 as in fastai's course.
    """

    # Before Adversarial: its l1_weight is of both terms.
    order, run_valid = 11, False

    def __init__(self, weight: float = 0.1, encoder: str = FEATURE_ENCODER):
        self.weight = weight
        self.network = Features(rgb_stages(encoder))
        self.columns = [ValueMetric(self._mean, "feature_loss")]
        self.values: list[Tensor] = []

    def start_fit(self) -> None:
        """Brings the encoder to the generator's device; adds the column."""
        self.network.to(model_device(self.learn))
        new = [m for m in self.columns if m not in self.learn.metrics]
        self.learn.metrics = [*self.learn.metrics, *new]

    def before_train(self) -> None:
        """Starts the mean of a new epoch."""
        self.values = []

    def after_loss(self) -> None:
        """The second term, unless the generator does not train in this batch."""
        if not self.learn.model.training:
            return
        L, pred, ab = self.xb[0], self.pred, self.yb[0]
        with autocast_of(self.learn):
            loss = self.network.distance(decode(L, pred), decode(L, ab))
        self.values.append(loss.detach())
        self.learn.loss_grad = self.loss_grad + self.weight * loss

    def _mean(self) -> float:
        return float(torch.stack(self.values).mean()) if self.values else float("nan")

    def state_dict(self) -> dict:
        """Nothing: the encoder does not train."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing to take over."""


class Features(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] → the features of an encoder at each of its last resolutions."""

    def __init__(self, stages: nn.Sequential):
        super().__init__()
        self.stages = stages.eval().requires_grad_(False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        for stage in self.stages:
            rgb = stage(rgb)
            found[rgb.shape[-1]] = rgb
        return list(found.values())[-LAYERS:]

    def distance(self, pred: Tensor, target: Tensor) -> Tensor:
        """The mean over resolutions of L1, each a share of the target's mean absolute feature."""
        with torch.no_grad():
            wanted = self(target)
        pairs = zip(self(pred), wanted, strict=True)
        return torch.stack(
            [
                (one - other).abs().float().mean() / other.abs().float().mean().clamp_min(1e-6)
                for one, other in pairs
            ]
        ).mean()
