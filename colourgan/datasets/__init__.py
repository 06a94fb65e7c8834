"""Data sets: a name or a folder → images decoded once → fastai DataLoaders of (L, ab)."""

import colourgan.datasets.photos  # noqa: F401 registers three more data sets
from colourgan.datasets.cache import Cached, cached_images, fit_square
from colourgan.datasets.loaders import (
    AUGMENTATIONS,
    CachedDL,
    blank_dataloaders,
    color_dataloaders,
    labelled_dataloaders,
    test_files,
    training_parts,
    unpaired_dataloaders,
)
from colourgan.datasets.sources import DATASETS, dataset_root, fingerprint, native_size

__all__ = [
    "AUGMENTATIONS", "DATASETS", "Cached", "CachedDL", "blank_dataloaders", "cached_images",
    "color_dataloaders", "dataset_root", "fingerprint", "fit_square", "labelled_dataloaders",
    "native_size", "test_files", "training_parts", "unpaired_dataloaders",
]  # fmt: skip
