"""Color as classes: a and b in bins, soft targets of the nearest ones, and bins as a color again.

Source of all: Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016, section 2.
"""

from functools import lru_cache

import torch
from torch import Tensor

from colourgan.color import AB_SCALE, rgb_to_lab

BIN = 10.0  # CIE units of a and b from one bin's center to the next
NEAREST, SIGMA = 5, 5.0  # bins of a soft target, and its Gaussian's standard deviation, CIE units
_EDGE = 110  # CIE units: no sRGB color has a larger |a| or |b|


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # what is kept serves later trainings too
def bin_centers() -> Tensor:
    """(Q, 2) float32: a and b, in CIE units, of the bins that hold at least one sRGB color."""
    levels = torch.linspace(0, 1, 86)  # 8-bit values in steps of 3
    rgb = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, -1, 1)
    cells = (rgb_to_lab(rgb)[0, 1:, :, 0].T / BIN).round()
    return torch.unique(cells, dim=0) * BIN


def soft_targets(ab: Tensor) -> tuple[Tensor, Tensor]:
    """(bins, shares) of the NEAREST bins of each color, the nearest first.

    ab: (N, 2, H, W) in network units. Returns int64 and float32 (N, H, W, NEAREST); shares follow a
    Gaussian of the distance and sum to 1. Colors are rounded to whole CIE units before.
    """
    bins, shares = (table.to(ab.device) for table in _tables())
    a, b = (ab.detach() * AB_SCALE).round().clamp(-_EDGE, _EDGE).long().unbind(1)
    cell = (a + _EDGE) * (2 * _EDGE + 1) + b + _EDGE
    return bins[cell], shares[cell]


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _tables() -> tuple[Tensor, Tensor]:
    """Soft targets of all whole a and b: ((2·110 + 1)², NEAREST) bins and shares."""
    units = torch.arange(-_EDGE, _EDGE + 1.0)
    distances = torch.cdist(torch.cartesian_prod(units, units), bin_centers())
    nearest, bins = distances.topk(NEAREST, largest=False)
    shares = torch.exp(-nearest.square() / (2 * SIGMA**2)).clamp_min(1e-12)
    return bins, shares / shares.sum(1, keepdim=True)


def bin_counts(ab: Tensor) -> Tensor:
    """(Q,) float64: how much of the colors ab (N, 2, H, W), in network units, is in each bin."""
    bins, shares = (each.flatten().cpu() for each in soft_targets(ab))
    counts = torch.zeros(len(bin_centers()), dtype=torch.float64)
    return counts.index_add_(0, bins, shares.double())


def class_weights(prior: Tensor, rebalancing: Tensor | float) -> Tensor:
    """(Q,): what a color of each bin counts in the loss, 1 on average over the prior.

    prior: (Q,) shares of the bins, summing to 1; rebalancing: from 0 (all count alike) to 1 (the
    rarer, the more): weights are 1 / (rebalancing · prior + (1 - rebalancing) / Q), equation 4 of
    the paper with λ = 1 - rebalancing.
    """
    weights = 1 / (rebalancing * prior + (1 - rebalancing) / len(prior)).clamp_min(1e-8)
    return weights / (weights * prior).sum()


def annealed_mean(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """ab (N, 2, H, W) float32 in network units of logits (N, Q, H, W): equation 5 of the paper.

    The mean of the bins' centers under softmax(logits / temperature): the mode at 0, the mean at 1.
    """
    shares = (logits.float() / temperature).softmax(1)
    centers = bin_centers().to(logits.device) / AB_SCALE
    return torch.einsum("nqhw,qc->nchw", shares, centers)
