"""Grey pictures from one half of a data set and color pictures from the other."""

import random
from pathlib import Path

import numpy as np
import torch
from fastai.data.core import DataLoaders

from colourgan.datasets.cache import Cached
from colourgan.datasets.loaders import (
    Augment,
    CachedDL,
    ToLab,
    cached_loader,
    cached_parts,
    check_batch,
)
from colourgan.errors import UsageError

FEWEST = 4  # training images: two in each half, for batch norm


class Rows:
    """Some rows of an array of images, in an order of their own; read only when asked for."""

    def __init__(self, images: np.ndarray, rows: list[int]):
        self.images, self.rows = images, np.array(rows)

    def __getitem__(self, index) -> np.ndarray:
        return self.images[self.rows[index]]


def unpaired_dataloaders(
    data: str | Path,
    size: int = 64,
    batch_size: int = 32,
    limit: int | None = None,
    augmentation: str = "flip+crop",
    device: str | torch.device = "cpu",
    data_dir: Path | None = None,
    seed: int = 0,
) -> tuple[DataLoaders, CachedDL]:
    """DataLoaders whose training images are one half, and a loader of the other: CycleGAN's two.

    The training images, `limit` of them for both, are split at random by `seed` into two halves
    without a common file; an odd one is left out. Both halves come as augmented, shuffled batches
    (L, ab) like those of `color_dataloaders`, whose other arguments these are: in the first half,
    the grey pictures, ab is there to watch the loss only. Validation images are whole.
    Raises UsageError as `color_dataloaders` does, and for fewer than 4 training images.
    """
    tfms = [Augment(augmentation), ToLab()]
    check_batch(batch_size)
    if limit is not None and 1 < limit < FEWEST:
        raise UsageError(
            f"a limit of {limit} training images is too few: at least 4 are needed, 2 in each half"
        )
    train, valid = cached_parts(data, size, limit, data_dir)
    halves = [
        cached_loader(half, size, batch_size, tfms, device, training=True)
        for half in _halves(train, data, seed)
    ]
    dls = DataLoaders(
        halves[0],
        cached_loader(valid, size, batch_size, tfms, device, training=False),
        device=torch.device(device),
    )
    dls.size = size
    return dls, halves[1]


def _halves(cached: Cached, data: str | Path, seed: int) -> list[Cached]:
    count = len(cached.files)
    if count < FEWEST:
        raise UsageError(
            f"{data} has {count} usable training images: at least 4 are needed, 2 in each half"
        )
    rows = random.Random(seed).sample(range(count), count)
    half = count // 2
    return [
        Cached(Rows(cached.images, part), [cached.files[row] for row in part], {})
        for part in (rows[:half], rows[half : 2 * half])
    ]
