"""Data sets: a name or a folder → images decoded once → fastai DataLoaders of (L, ab)."""

from colourgan.datasets.cache import Cached, cached_images
from colourgan.datasets.loaders import (
    AUGMENTATIONS,
    CachedDL,
    color_dataloaders,
    empty_dataloaders,
    labelled_dataloaders,
    test_files,
    training_parts,
)
from colourgan.datasets.sources import DATASETS, dataset_root, native_size

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Cached",
    "CachedDL",
    "cached_images",
    "color_dataloaders",
    "dataset_root",
    "empty_dataloaders",
    "labelled_dataloaders",
    "native_size",
    "test_files",
    "training_parts",
]
