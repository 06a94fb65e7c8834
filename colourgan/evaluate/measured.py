"""What a model predicts for test images, and every metric of it, image by image."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from colourgan.color import decode, encode, to_lab
from colourgan.datasets import cached_images, dataset_root, test_files, training_parts
from colourgan.errors import RunError, UsageError
from colourgan.generators import SMALLEST, enlarged, predict_at
from colourgan.metrics import Colors, measure, saturation_match, summarize

# What models are measured on: images that no training saw, or those it was chosen by.
PARTS = {"test": test_files, "valid": lambda root: training_parts(root).valid}


class ImageSet(NamedTuple):
    """rgb: (N, 3, S, S) uint8; L: (N, 1, S, S) in network units; files: where they come from;
    greyscale: files among them that were left out since they are stored without color; and how to
    go through them.
    """

    rgb: Tensor
    L: Tensor
    files: list[Path]
    greyscale: list[Path]
    batch_size: int
    progress: bool

    def batches(self, task: str) -> Iterable[slice]:
        """The rows of each batch, behind a progress bar."""
        starts = range(0, len(self.rgb), self.batch_size)
        rows = [slice(start, start + self.batch_size) for start in starts]
        return tqdm(rows, task, unit="batch", leave=False, disable=not self.progress)

    def true_ab(self) -> Tensor:
        """(N, 2, S, S) in network units."""
        return torch.cat([encode(part)[1] for part in self.rgb.split(self.batch_size)])


class Measured(NamedTuple):
    """ab: (N, 2, S, S) in network units; values: what `metrics.measure` gives, (N,) each;
    distances: numbers of the whole set, if `evaluate` was asked for them.
    """

    name: str
    ab: Tensor | None
    values: dict[str, Tensor]
    distances: dict[str, float] | None = None

    def row(self) -> dict:
        return {"name": self.name, **summarize(self.values), **(self.distances or {})}


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
    rgb = torch.tensor(cached.images).permute(0, 3, 1, 2)
    L = torch.cat([encode(part)[0] for part in rgb.split(batch_size)])
    greyscale = [Path(file) for file in cached.skipped.get("grey", [])]
    return ImageSet(rgb, L, cached.files, greyscale, batch_size, progress)


def measure_grey(images: ImageSet) -> Measured:
    """What predicting no color, ab = 0, scores."""
    count, _, height, width = images.L.shape
    return as_measured("grey", torch.zeros(1, 2, 1, 1).expand(count, 2, height, width), images)


def measure_model(
    name: str,
    generator: nn.Module,
    images: ImageSet,
    device: str,
    working_size: int | None = None,
) -> Measured:
    """A generator's predictions and their metrics; RunError if one is not finite.

    working_size: the side at which it predicts, None for the images' own.
    """
    return as_measured(name, _predicted(name, generator, images, device, working_size), images)


def check_numbers(size: int, limit: int | None, batch_size: int) -> None:
    """Raises UsageError for one that is too small."""
    wanted = (("size", size, SMALLEST), ("limit", limit, 1), ("batch size", batch_size, 1))
    for what, value, least in wanted:
        if value is not None and value < least:
            raise UsageError(f"{what} {value} is too small: it must be at least {least}")


def _predicted(
    name: str, generator: nn.Module, images: ImageSet, device: str, working_size: int | None
) -> Tensor:
    """ab (N, 2, S, S) float32 on the CPU; RunError if any of it is not finite."""
    # Not under inference_mode: parameters moved there could not be trained again.
    generator = generator.to(device).eval()
    batches = images.batches(f"{name}: predicting")
    with torch.inference_mode():
        parts = (images.L[rows].to(device) for rows in batches)
        ab = torch.cat([_ab(generator, L, working_size).cpu() for L in parts])
    if not ab.isfinite().all():
        raise RunError(f"{name} predicts values that are not finite: the model is broken")
    return ab


def _ab(generator: nn.Module, L: Tensor, working_size: int | None) -> Tensor:
    if working_size is None:
        return generator(L).float()
    return enlarged(predict_at(generator, L, (working_size, working_size)), L)


def as_measured(name: str, ab: Tensor, images: ImageSet) -> Measured:
    """All metrics of ab (N, 2, S, S) in network units, image by image."""
    parts = []
    for rows in images.batches(f"{name}: measuring"):
        L, rgb = images.L[rows], images.rgb[rows]
        pred = Colors(to_lab(L, ab[rows]), decode(L, ab[rows]))
        parts.append(measure(pred, Colors(to_lab(*encode(rgb)), rgb / 255)))
    return Measured(name, ab, {key: torch.cat([part[key] for part in parts]) for key in parts[0]})


def as_colorful_as(richer: Measured, paler: Measured, images: ImageSet) -> tuple[Measured, float]:
    """`paler` with its ab multiplied until it is as colorful as `richer`, and the factor.

    The factor is below 1 if it is not the paler one. Raises RunError if there is none, or only one
    image, which gives no interval.
    """
    if len(images.L) < 2:
        raise RunError("one image gives no interval")
    factor = saturation_match(paler.ab, images.L, richer.row()["colorfulness"])
    name = f"{paler.name} ×{factor:.2f} (as colorful as {richer.name})"
    return as_measured(name, paler.ab * factor, images), factor
