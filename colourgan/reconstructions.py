"""RECONSTRUCTIONS: the distance from the truth that a generator minimises."""

from typing import NamedTuple

import torch.nn.functional as F
from fastai.callback.core import Callback
from torch import Tensor, nn

from colourgan.bins import soft_targets
from colourgan.callbacks import ClassifyColors, FeatureLoss
from colourgan.errors import UsageError
from colourgan.generators import ColorClasses
from colourgan.registry import Registry

RECONSTRUCTIONS = Registry("reconstruction")


class Reconstruction(NamedTuple):
    """loss: (pred, ab) → a scalar, the learner's loss; callbacks: what else it takes."""

    loss: nn.Module
    callbacks: list[Callback]


class ClassLoss(nn.Module):
    """Class-balanced cross-entropy of predicted bins of color; of predicted colors their L1.

    pred: logits (N, Q, h, w), compared with the soft targets of ab averaged to (h, w), each pixel
    weighted by its nearest bin; or ab (N, 2, H, W), as validation predicts, so that its loss is the
    one of the other methods. Source: Zhang, Isola and Efros, ECCV 2016, equations 2 to 4.
    """

    def __init__(self, classes: ColorClasses):
        super().__init__()
        self.classes = classes

    def forward(self, pred: Tensor, ab: Tensor) -> Tensor:
        if pred.shape[1] == 2:
            return F.l1_loss(pred, ab)
        bins, shares = soft_targets(F.adaptive_avg_pool2d(ab, pred.shape[2:]))
        logits = pred.float().permute(0, 2, 3, 1)
        losses = logits.logsumexp(-1) - (logits.gather(-1, bins) * shares).sum(-1)
        return (losses * self.classes.weights()[bins[..., 0]]).mean()


@RECONSTRUCTIONS.register("l1")
def l1(generator: nn.Module) -> Reconstruction:
    """Mean absolute error of ab: its best guess is a median, less grey than a mean."""
    return Reconstruction(nn.L1Loss(), [])


@RECONSTRUCTIONS.register("l2")
def l2(generator: nn.Module) -> Reconstruction:
    """Mean squared error of ab: its best guess is a mean, greyer the more colors are possible."""
    return Reconstruction(nn.MSELoss(), [])


@RECONSTRUCTIONS.register("bins")
def bins(generator: nn.Module) -> Reconstruction:
    """Cross-entropy of classes of color, rare ones counting more."""
    if not hasattr(generator, "classes"):
        raise UsageError("reconstruction bins needs a generator that predicts classes of color")
    return Reconstruction(ClassLoss(generator.classes), [ClassifyColors()])


@RECONSTRUCTIONS.register("feature")
def feature(generator: nn.Module) -> Reconstruction:
    """L1 of ab, and L1 of what an ImageNet encoder sees in the pictures."""
    return Reconstruction(nn.L1Loss(), [FeatureLoss()])
