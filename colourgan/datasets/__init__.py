"""Data sets: a name or a folder → images decoded once, or a stream → DataLoaders of (L, ab)."""

import colourgan.datasets.photos  # noqa: F401 registers three more data sets
from colourgan.datasets.augmentation import AUGMENTATIONS
from colourgan.datasets.cache import Cached, cached_images, fit_square
from colourgan.datasets.loaders import (
    CachedDL,
    StreamedDL,
    blank_dataloaders,
    color_dataloaders,
    labelled_dataloaders,
    set_batch_size,
    unpaired_dataloaders,
)
from colourgan.datasets.parts import test_files, training_parts
from colourgan.datasets.sources import DATASETS, dataset_root, fingerprint, is_stream, native_size

__all__ = [
    "AUGMENTATIONS", "DATASETS", "Cached", "CachedDL", "StreamedDL", "blank_dataloaders",
    "cached_images", "color_dataloaders", "dataset_root", "fingerprint", "fit_square", "is_stream",
    "labelled_dataloaders", "native_size", "set_batch_size", "test_files", "training_parts",
    "unpaired_dataloaders",
]  # fmt: skip
