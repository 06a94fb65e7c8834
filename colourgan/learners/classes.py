"""Around a training on classes of color: counting them before, choosing how they decode after."""

from copy import copy
from itertools import islice, product

import torch
from fastai.data.core import DataLoaders
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from colourgan.bins import bin_counts
from colourgan.color import decode
from colourgan.errors import RunError, UsageError
from colourgan.generators import ColorClasses
from colourgan.metrics import colorfulness, saturation_match

COUNTED = 10_000  # training images whose colors are counted
TRIED = 256  # validation images that decoding is chosen on
TEMPERATURES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
VIVID = (0.0, 0.25, 0.5, 0.75, 1.0)


def count_colors(classes: ColorClasses, dls: DataLoaders, rebalancing: float) -> None:
    """Sets a generator's prior: the shares of the bins among the training images, unaugmented.

    rebalancing: see `class_weights`. Raises UsageError if it is not between 0 and 1.
    """
    if not 0 <= rebalancing <= 1:
        raise UsageError(f"rebalancing {rebalancing} is not between 0 and 1")
    dataset = copy(dls.train.dataset)
    dataset.split_idx = 1  # by which fastai knows not to augment
    batches = dls.valid.new(dataset, bs=64, **dls.train.same_images())
    counts = sum(bin_counts(ab) for _, ab in islice(batches, -(-COUNTED // 64)))
    classes.prior.copy_(counts / counts.sum())
    classes.rebalancing.fill_(rebalancing)


@torch.inference_mode()
def choose_decoding(generator: nn.Module, dls: DataLoaders, wanted: float) -> dict[str, float]:
    """Sets how a generator's classes decode, by validation images; returns what was chosen.

    wanted: mean colorfulness of the predictions as a share of the true one. Of all pairs of
    TEMPERATURES and VIVID, each with the saturation that makes it so colorful, the one with the
    lowest L1 is taken, at the resolution of the classes. The result has temperature, vivid,
    saturation and l1. Raises RunError if no pair can be so colorful.
    """
    generator.eval()
    classes, seen = generator.classes, []
    for L, ab in islice(dls.valid, -(-TRIED // dls.valid.bs)):
        with generator.giving_classes():
            logits = generator(L)
        small = (adaptive_avg_pool2d(part, logits.shape[2:]).cpu() for part in (L, ab))
        true = colorfulness(decode(L, ab)).cpu()  # (N,), at the images' own, finer resolution
        # In half precision: a quarter of a gigabyte for 512 images of 64×64.
        seen.append((logits.half().cpu(), *small, true))
    logits, L, ab, true = (torch.cat(parts) for parts in zip(*seen, strict=True))
    goal = wanted * float(true.mean())
    found = []
    for temperature, vivid in product(TEMPERATURES, VIVID):
        classes.set_decoding(temperature, vivid, 1.0)
        device = classes.prior.device
        pred = torch.cat([classes.decode(part.to(device)).cpu() for part in logits.split(32)])
        try:
            saturation = saturation_match(pred, L, goal)
        except RunError:  # all grey
            continue
        chosen = {"temperature": temperature, "vivid": vivid, "saturation": saturation}
        found.append(chosen | {"l1": float((pred * saturation - ab).abs().mean())})
    if not found:
        raise RunError("this model predicts no color: train longer, or with a lower learning rate")
    best = min(found, key=lambda each: each["l1"])
    classes.set_decoding(best["temperature"], best["vivid"], best["saturation"])
    return best
