"""The test images, any number of them: memory-mapped, L and ab computed when indexed."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from colourgan.color import encode
from colourgan.datasets import cached_images, dataset_root, test_files, training_parts
from colourgan.datasets.cache import default_cache_dir
from colourgan.errors import RunError, UsageError
from colourgan.generators import SMALLEST

# What models are measured on: images that no training saw, or those it was chosen by.
PARTS = {"test": test_files, "valid": lambda root: training_parts(root).valid}

Rows = slice | Sequence[int] | Tensor
"""Which images: a slice, their numbers, or one bool per image."""


class Computed:
    """A tensor (N, …) of this shape whose rows are computed each time they are asked for.

    `computed[rows]` gives a tensor, `computed[:]` all of it; rows: see `Rows`.
    """

    def __init__(self, shape: Sequence[int], compute: Callable[[Rows], Tensor]):
        self.shape, self._compute = torch.Size(shape), compute

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Tensor:
        return self._compute(rows)


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """rgb: (N, 3, S, S) uint8, mapped from a file; files: where they come from; greyscale: files
    among them that were left out since they are stored without color; and how to go through them.
    """

    rgb: Tensor
    files: Sequence[Path]
    greyscale: Sequence[Path] = ()
    batch_size: int = 64
    progress: bool = False

    def __len__(self) -> int:
        return len(self.rgb)

    @property
    def L(self) -> Computed:
        """(N, 1, S, S) in network units, computed where it is indexed: `images.L[rows]`."""
        count, _, *sides = self.rgb.shape
        return Computed((count, 1, *sides), lambda rows: self._encoded(rows, 0))

    def true_ab(self, rows: Rows = slice(None)) -> Tensor:
        """(n, 2, S, S) in network units."""
        return self._encoded(rows, 1)

    def batches(self, task: str) -> Iterable[slice]:
        """The rows of each batch, behind a progress bar."""
        starts = range(0, len(self), self.batch_size)
        rows = [slice(start, min(start + self.batch_size, len(self))) for start in starts]
        return tqdm(rows, task, unit="batch", leave=False, disable=not self.progress)

    def _encoded(self, rows: Rows, which: int) -> Tensor:
        return torch.cat([encode(part)[which] for part in self.rgb[rows].split(self.batch_size)])


def load_images(
    data: str | Path,
    size: int,
    limit: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    data_dir: Path | None = None,
    progress: bool = True,
    part: str = "test",
) -> ImageSet:
    """The test images of a data set as `evaluate` takes them; see its arguments and errors."""
    check_numbers(size, limit, batch_size)
    if part not in PARTS:
        raise UsageError(f"unknown part '{part}': choices: {', '.join(PARTS)}")
    files = PARTS[part](dataset_root(data, data_dir))
    random.Random(seed).shuffle(files)
    # Pictures without color are part of a published test set.
    cached = cached_images(files, size, limit, skip_colorless=False)
    rgb = _mapped(cached.images.filename, np.uint8, cached.images.shape).permute(0, 3, 1, 2)
    greyscale = [Path(file) for file in cached.skipped.get("grey", [])]
    return ImageSet(rgb, cached.files, greyscale, batch_size, progress)


def check_numbers(size: int, limit: int | None, batch_size: int) -> None:
    """Raises UsageError for one that is too small."""
    numbers = ("size", size, SMALLEST), ("limit", limit, 1), ("batch size", batch_size, 1)
    for what, value, least in numbers:
        if value is not None and value < least:
            raise UsageError(f"{what} {value} is too small: it must be at least {least}")


def on_disk(batches: Iterable[Tensor]) -> Tensor:
    """The batches joined, mapped from a nameless file that is gone when the tensor is.

    The file lies where images are cached, since a temporary folder may be in memory. Raises
    RunError if it cannot be written, as when the disk is full.
    """
    folder, count = default_cache_dir(), 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            for batch in batches:
                pixels = batch.contiguous().numpy()
                file.write(pixels)
                count += len(pixels)
            file.flush()
            return _mapped(file, pixels.dtype, (count, *pixels.shape[1:]))
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"cannot store predictions in {folder}: {reason}") from error


def _mapped(file, dtype, shape: tuple[int, ...]) -> Tensor:
    # Copy on write: torch warns of memory that it may not write to.
    return torch.from_numpy(np.memmap(file, dtype, "c", shape=shape))
