"""A function from pictures to the same pictures in color."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from colourgan import lab
from colourgan.errors import UsageError, naming_what_was_large
from colourgan.hints import Hint, as_hint, change, grid_size
from colourgan.images import Source, strips
from colourgan.pictures import Picture
from colourgan.runtimes import PACKAGED, open_runtime
from colourgan.upsampling import Enlarged, guide_size

if TYPE_CHECKING:
    from torch import nn

SMALLEST, LARGEST = 16, 2048  # pixels of a working size: below 16 no encoder has two resolutions
_MULTIPLE = 8  # encoders halve a picture up to five times; what does not divide costs precision
_LONGEST = 4
_AT_ONCE = 16  # pictures in one batch


class Quality(NamedTuple):
    """Which predictions are averaged: at these multiples of the working size, and mirrored or not.

    factor: on the mean's a and b, as averages are paler than their parts.
    """

    scales: tuple[float, ...] = (1.0,)
    mirrored: bool = False
    factor: float = 1.0


# The factors are measured with the packaged model: bench/quality.py.
QUALITIES = {
    "fast": Quality(),
    "good": Quality(mirrored=True, factor=1.015),
    "best": Quality((1.0, 0.8, 1.2), mirrored=True, factor=1.04),
}


class Samples(NamedTuple):
    """images: each made when it is asked for; spread: see the function, None for a single image."""

    images: Iterator[Image.Image]
    spread: float | None


class Colorizer:
    """Colors pictures of any size and kind; safe to be called from several threads at once.

    model: the one in the package, a run folder, a model file (.safetensors, .onnx, with
    trust_pickle .pkl too), or a generator, which is moved to `device` and put in evaluation mode.
    working_size: the pixels of the shorter side at which color is predicted, by default the
    model's. quality: a name of QUALITIES. saturation: a factor on the predicted a and b.
    temperature, vivid: how a model of color classes decodes them, by default as it was saved.

    Raises UsageError for a model that is not there or is none, and for wrong values; RunError for a
    damaged model.
    """

    def __init__(
        self,
        model: "Path | str | nn.Module" = PACKAGED,
        *,
        working_size: int | None = None,
        quality: str = "good",
        saturation: float = 1.0,
        temperature: float | None = None,
        vivid: float | None = None,
        device: str = "auto",
        trust_pickle: bool = False,
    ):
        if quality not in QUALITIES:
            raise UsageError(f"unknown quality '{quality}': choices: {', '.join(QUALITIES)}")
        if not 0 <= saturation < math.inf:
            raise UsageError(f"saturation {saturation} is not a number from 0 on")
        if working_size is not None and not SMALLEST <= working_size <= LARGEST:
            raise UsageError(
                f"--working-size {working_size} is not between {SMALLEST} and {LARGEST} pixels"
            )
        self.runtime = open_runtime(model, device, temperature, vivid, trust_pickle)
        self.working_size = working_size or self.runtime.size
        if self.working_size is None:
            raise UsageError("this generator does not say its size: name a working size")
        self.quality, self.saturation = QUALITIES[quality], saturation

    def __call__(
        self,
        pictures: Source | Picture | Sequence[Source | Picture],
        hints: Iterable[Hint | Sequence] = (),
    ) -> Image.Image | list[Image.Image]:
        """A picture in color for a picture, a list of them for a list.

        A picture: a path, a PIL image, an array (H, W) or (H, W, 3), uint8 or in [0, 1], or a
        Picture. It comes back in full resolution with its own lightness, as mode "RGB", or "RGBA"
        if it has alpha. Pictures of like shapes in a list go through the network together. hints:
        of a single picture, the colors (x, y, color) that its pixels are meant to have, see
        `colourgan.hints.as_hint`. Raises RunError if one cannot be read, UsageError for what is no
        picture or no hint, OutOfMemory where the network's memory is too small.
        """
        if not isinstance(pictures, list | tuple):
            picture = pictures if isinstance(pictures, Picture) else Picture(pictures)
            return self.colored(picture, *self.predict([picture]), hints)
        if hints:
            raise UsageError("hints are for a single picture")
        opened = [each if isinstance(each, Picture) else Picture(each) for each in pictures]
        return [self.colored(*each) for each in zip(opened, self.predict(opened), strict=True)]

    def samples(
        self,
        picture: Source | Picture,
        count: int,
        seed: int = 0,
        hints: Iterable[Hint | Sequence] = (),
    ) -> Samples:
        """`count` colorizations that differ by the generator's dropout, which is on for them.

        Every picture starts from `seed` anew, so its k-th sample is the same on the same machine
        however many are drawn and whatever was colored before; torch's random state is restored.
        Raises UsageError for a count below 1 and a generator without dropout, RunError as a call.
        """
        self.check_samples(count)
        opened = picture if isinstance(picture, Picture) else Picture(picture)
        height, width = working_size(opened.height, opened.width, self.working_size)
        L = opened.resized_lightness(height, width)[None, None]
        with self._naming_what_was_large():
            ab = self.runtime.samples(L, count, seed)
        hints = list(hints)
        images = (self.colored(opened, one, hints) for one in ab)
        return Samples(images, spread(ab) if count > 1 else None)

    def check_samples(self, count: int) -> None:
        """Raises UsageError if the generator cannot give so many samples."""
        if count < 1:
            raise UsageError(f"--samples {count} is too small: at least 1 is needed")
        self.runtime.check_samples()

    def predict(self, pictures: Sequence[Picture]) -> list[np.ndarray]:
        """For each picture ab (2, h, w) float32 at its working size, network-scaled."""
        found: list[list[np.ndarray]] = [[] for _ in pictures]
        for scale in self.quality.scales:
            size = self.working_size
            if scale != 1:
                size = max(SMALLEST, round(size * scale / _MULTIPLE) * _MULTIPLE)
            alike: dict[tuple[int, int], list[int]] = {}
            for i, picture in enumerate(pictures):
                alike.setdefault(working_size(picture.height, picture.width, size), []).append(i)
            for (height, width), indices in alike.items():
                for first in range(0, len(indices), _AT_ONCE):
                    chunk = indices[first : first + _AT_ONCE]
                    L = [pictures[i].resized_lightness(height, width) for i in chunk]
                    with self._naming_what_was_large():
                        predicted = self._mean(np.stack(L)[:, None])
                    for i, ab in zip(chunk, predicted, strict=True):
                        found[i].append(ab)
        return [self.quality.factor * _mean_of(each) for each in found]

    def colored(
        self, picture: Picture, ab: np.ndarray, hints: Iterable[Hint | Sequence] = ()
    ) -> Image.Image:
        """The picture at full resolution in the colors ab (2, h, w), network-scaled, of any size.

        hints: as for a call. A few rows at a time: besides the picture and its colored copy, memory
        is constant. Raises UsageError for what is no hint.
        """
        height, width = size = picture.height, picture.width
        ab = ab * np.float32(self.saturation)
        predicted, changed = _enlarged(picture, ab, size), None
        if given := [as_hint(each) for each in hints]:
            grid = grid_size(*size)
            L = picture.resized_lightness(*grid)
            shown = _enlarged(picture, ab, grid).rows(slice(0, grid[0]), L)
            changed = _enlarged(picture, change(given, size, L, shown), size)
        image = Image.new("RGB", (width, height))
        for rows in strips(height, width):
            L = picture.lightness(rows)
            colors = predicted.rows(rows, L)
            if changed:
                colors += changed.rows(rows, L)
            image.paste(Image.fromarray(lab.to_bytes(lab.to_rgb(L, colors))), (0, rows.start))
        if picture.alpha is not None:
            image.putalpha(picture.alpha)
        return image

    def _mean(self, L: np.ndarray) -> np.ndarray:
        """ab (N, 2, h, w) for L (N, 1, h, w), the mean over the mirror image if asked for."""
        ab = self.runtime(L)
        if self.quality.mirrored:
            ab = (ab + self.runtime(np.ascontiguousarray(L[..., ::-1]))[..., ::-1]) / 2
        return ab

    def _naming_what_was_large(self) -> AbstractContextManager[None]:
        """Turns the error of a full memory into one that says what to try."""
        size, fast = self.working_size, next(iter(QUALITIES))
        tries = [f"--working-size {size // 2}"] * (size // 2 >= SMALLEST)
        tries += [f"--quality {fast}"] * (self.quality != QUALITIES[fast])
        tried = " or ".join(filter(None, (", ".join(tries), "--jobs 1")))
        return naming_what_was_large(lambda: f"at working size {size}: try {tried}")


def _enlarged(picture: Picture, ab: np.ndarray, size: tuple[int, int]) -> Enlarged:
    guide = guide_size(picture.height, picture.width, min(ab.shape[1:]))
    return Enlarged(ab, picture.resized_lightness(*guide), size)


def grey_copy(picture: Picture) -> Image.Image:
    """The picture's lightness alone, mode "RGB" at full resolution: what the network was shown."""
    image = Image.new("RGB", (picture.width, picture.height))
    for rows in strips(picture.height, picture.width):
        grey = lab.to_bytes(lab.to_grey(picture.lightness(rows)))
        image.paste(Image.fromarray(grey).convert("RGB"), (0, rows.start))
    return image


def spread(ab: np.ndarray) -> float:
    """How far the samples of one picture differ, in CIE units of a and b.

    The standard deviation over the samples, its mean over pixels and over a and b.
    ab: (N, 2, H, W), network-scaled, N at least 2; commands measure it at the working size.
    """
    return float(np.asarray(ab).std(0, ddof=1).mean() * lab.AB_SCALE)


def working_size(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) at which colors are predicted for a picture of this height and width.

    The shorter side is `size`. The longer exceeds it by the multiple of 8 that preserves the aspect
    ratio best, but is at most 4 times as long: a picture of 10 × 3000 is squeezed.
    """
    ratio = min(max(height, width) / min(height, width), _LONGEST)
    longer = size + round(size * (ratio - 1) / _MULTIPLE) * _MULTIPLE
    return (longer, size) if height > width else (size, longer)


def _mean_of(predictions: list[np.ndarray]) -> np.ndarray:
    """The mean of ab (2, h, w) of several sizes, at the first's size."""
    first, *others = predictions
    size = first.shape[:0:-1]
    resized = [
        np.stack([np.asarray(Image.fromarray(each).resize(size, _BICUBIC)) for each in ab])
        for ab in others
    ]
    return np.mean([first, *resized], axis=0) if resized else first


_BICUBIC = Image.Resampling.BICUBIC
