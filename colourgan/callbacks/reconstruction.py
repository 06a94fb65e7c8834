"""What reconstructions beyond L1 and L2 train with: classes of color, features of an encoder."""

import torch
from fastai.learner import ValueMetric
from torch import Tensor

from colourgan.callbacks.base import TrainingCallback, model_device
from colourgan.callbacks.precision import autocast_of
from colourgan.color import decode
from colourgan.encoders import rgb_stages

FEATURE_ENCODER = "efficientnet_lite0"
LAYERS = 4  # the last resolutions: the first sees edges alone, which L has already


class ClassifyColors(TrainingCallback):
    """Lets the generator return the logits of its classes in the batches of a training.

    In validation and prediction, and wherever the generator is called by itself, it returns ab.
    """

    each_pass = True
    order = 9  # whether inside Precision's autocast or outside makes no difference

    def before_batch(self) -> None:
        self.learn.model.classifying = self.training and self.fitting

    def after_pred(self) -> None:
        self.learn.model.classifying = False


class FeatureLoss(TrainingCallback):
    """Adds weight × L1 of features to the learner's loss, in its training batches.

    encoder: ARCH[@WEIGHTS], reading RGB. The L1 of the last features at each of its resolutions is
    divided by the mean absolute value of the true ones; the mean over resolutions is the loss. The
    recorder's column feature_loss has its mean over an epoch. Raises UsageError and RunError as
    `build_encoder` does.
    Source: Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and
    super-resolution", ECCV 2016, section 3.2; combined with the pixels' L1 as in fastai's course.
    """

    # Before Adversarial, whose reconstruction_weight applies to both terms.
    order, run_valid = 11, False

    def __init__(self, weight: float = 0.1, encoder: str = FEATURE_ENCODER):
        self.weight = weight
        self.stages = rgb_stages(encoder).eval().requires_grad_(False)
        self.columns = [ValueMetric(self._mean, "feature_loss")]
        self.values: list[Tensor] = []

    def start_fit(self) -> None:
        self.stages.to(model_device(self.learn))

    def before_train(self) -> None:
        self.values = []

    def after_loss(self) -> None:
        """The second term, unless the generator does not train in this batch."""
        if not self.learn.model.training:
            return
        L, pred, ab = self.xb[0], self.pred, self.yb[0]
        with autocast_of(self.learn):
            with torch.no_grad():
                wanted = self.features(decode(L, ab))
            shares = []
            for one, other in zip(self.features(decode(L, pred)), wanted, strict=True):
                size = other.abs().float().mean().clamp_min(1e-6)
                shares.append((one - other).abs().float().mean() / size)
            loss = torch.stack(shares).mean()
        self.values.append(loss.detach())
        self.learn.loss_grad = self.loss_grad + self.weight * loss

    def _mean(self) -> float:
        return float(torch.stack(self.values).mean()) if self.values else float("nan")

    def features(self, rgb: Tensor) -> list[Tensor]:
        """Those of RGB (N, 3, H, W) in [0, 1] at each of the encoder's last resolutions."""
        found: dict[int, Tensor] = {}
        for stage in self.stages:
            rgb = stage(rgb)
            found[rgb.shape[-1]] = rgb
        return list(found.values())[-LAYERS:]
