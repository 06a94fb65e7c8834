"""Any picture in, the same picture in color out."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from os.path import lexists, realpath
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from colourgan.color import AB_SCALE, decode, encode, lightness_to_grey
from colourgan.errors import RunError, UsageError
from colourgan.files import replacing
from colourgan.generators import enlarged, predict_at, sampling
from colourgan.images import list_images, read_lightness, read_rgb, strips
from colourgan.plots import grid

_MULTIPLE = 8  # encoders halve a picture up to five times; what does not divide costs precision
_LONGEST = 4
_NAMED = 3  # broken pictures
_THUMBNAIL = 320
_SPREADS = 8  # for more pictures than this, one line gives the mean
_log = logging.getLogger(__name__)


class Samples(NamedTuple):
    """images: each made when it is asked for; spread: see the function, None for a single image."""

    images: Iterator[Image.Image]
    spread: float | None


class Colorizer:
    """A function from a picture, or its path, to the same picture in color.

    generator: maps L (N, 1, H, W) to ab (N, 2, H, W), network-scaled, for any H and W; it is moved
    to `device` and put in evaluation mode. size: the pixels of the shorter side at which ab is
    predicted. Only a picture's lightness is read: its own colors, if any, change nothing.
    """

    def __init__(self, generator: nn.Module, size: int, device: str | torch.device = "cpu"):
        self.generator = generator.to(device).eval()
        self.size, self.device = size, device

    def __call__(self, picture: Path | str | Image.Image) -> Image.Image:
        """Mode "RGB" at full resolution, with the picture's own lightness; "RGBA" if it has alpha.

        Raises RunError if the picture cannot be read.
        """
        L, alpha = read_lightness(picture)
        return join(L, self.predict(L), alpha)

    def samples(self, picture: Path | str | Image.Image, count: int, seed: int = 0) -> Samples:
        """`count` colorizations that differ by the generator's dropout, which is on for them.

        Every picture starts from `seed` anew, so its k-th sample is the same on the same machine
        however many are drawn and whatever was colored before; torch's random state is restored.
        Raises UsageError for a count below 1 and a generator without dropout, RunError as a call.
        """
        _check_samples(self.generator, count)
        L, alpha = read_lightness(picture)
        device = torch.device(self.device)
        with (
            torch.inference_mode(),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            sampling(self.generator),
        ):
            torch.manual_seed(seed)
            ab = torch.cat([self._small_ab(L) for _ in range(count)])
        images = (join(L, enlarged(one, L), alpha) for one in ab.split(1))
        return Samples(images, spread(ab) if count > 1 else None)

    @torch.inference_mode()
    def predict(self, L: Tensor) -> Tensor:
        """ab (1, 2, H, W) on the CPU for L (1, 1, H, W), both network-scaled."""
        return enlarged(self._small_ab(L), L)

    def _small_ab(self, L: Tensor) -> Tensor:
        """ab (1, 2, h, w) at the working size."""
        size = working_size(*L.shape[2:], self.size)
        return predict_at(self.generator, L.to(self.device), size).cpu()


def spread(ab: Tensor) -> float:
    """How far the samples of one picture differ, in CIE units of a and b.

    The standard deviation over the samples, its mean over pixels and over a and b.
    ab: (N, 2, H, W), network-scaled, N at least 2; commands measure it at the size of the network.
    """
    return float(ab.std(0).mean() * AB_SCALE)


def _check_samples(generator: nn.Module, count: int) -> None:
    """Raises UsageError if a generator cannot give so many samples."""
    if count < 1:
        raise UsageError(f"--samples {count} is too small: at least 1 is needed")
    with sampling(generator):
        pass


def working_size(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) at which colors are predicted for a picture of this height and width.

    The shorter side is `size`. The longer exceeds it by the multiple of 8 that preserves the aspect
    ratio best, but is at most 4 times as long: a picture of 10 × 3000 is squeezed.
    """
    ratio = min(max(height, width) / min(height, width), _LONGEST)
    longer = size + round(size * (ratio - 1) / _MULTIPLE) * _MULTIPLE
    return (longer, size) if height > width else (size, longer)


def join(L: Tensor, ab: Tensor, alpha: Image.Image | None = None) -> Image.Image:
    """The RGB picture of network-scaled L (1, 1, H, W) and ab (1, 2, H, W); RGBA with `alpha`."""
    height, width = L.shape[2:]
    pixels = torch.empty(height, width, 3, dtype=torch.uint8)
    for rows in strips(height, width):
        rgb = decode(L[:, :, rows], ab[:, :, rows])[0]
        pixels[rows] = rgb.mul(255).round().byte().permute(1, 2, 0)
    image = Image.fromarray(pixels.numpy())
    if alpha is not None:
        image.putalpha(alpha)
    return image


def colorize_files(
    inputs: Iterable[Path | str],
    colorizer: Colorizer,
    out: Path | str,
    *,
    samples: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> list[tuple[Path, Path]]:
    """(picture, PNG written below `out`) for each PNG of each picture among files and folders.

    What is below a folder stays below `out`: folder/a/b.jpg becomes out/a/b.png. Two pictures that
    would become the same b.png become b.jpg.png and b.tif.png. Pictures already below `out` are
    not inputs of the folder around it. samples, seed: see `Colorizer.samples`; two or more become
    b-1.png, b-2.png, …, and their spread is logged.

    Raises UsageError before any work for an input that is missing or neither a regular file nor a
    folder, a folder without pictures, two inputs left with the same name, an output that would
    replace an input, or, without `overwrite`, that exists, and as `Colorizer.samples` does. Broken
    pictures are skipped and named in one logged warning; RunError if all are.
    """
    targets = _planned(inputs, Path(out), samples or 1, overwrite)
    if samples is not None:
        _check_samples(colorizer.generator, samples)
    pairs, broken, spreads = [], [], {}
    for source, files in tqdm(targets.items(), unit="picture", disable=None if progress else True):
        try:
            if samples is None:
                images = [colorizer(source)]
            else:
                images, spreads[source] = colorizer.samples(source, samples, seed)
        except RunError as error:
            broken.append(str(error))
            continue
        for image, target in zip(images, files, strict=True):
            with replacing(target) as beside:
                image.save(beside, format="PNG")
            pairs.append((source, target))
    if broken:
        reasons = "; ".join(broken[:_NAMED])
        more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        skipped = f"{len(broken)} of {len(targets)} pictures skipped: {reasons}{more}"
        if len(broken) == len(targets):
            raise RunError(skipped)
        _log.warning(skipped)
    if samples is not None and samples > 1:
        unit = f"(standard deviation of a and b over {samples} samples)"
        told = {f"spread of {source}": value for source, value in spreads.items()}
        if len(told) > _SPREADS:
            told = {f"mean spread of {len(told)} pictures": sum(told.values()) / len(told)}
        for what, value in told.items():
            _log.info(f"{what}: {value:.2f} {unit}")
    return pairs


def colorize_sheet(pairs: Iterable[tuple[Path, Path]], path: Path | str) -> None:
    """Writes one PNG of thumbnails for pairs (picture, colorized picture).

    A row for each picture: grey | color, or grey | sample 1 | sample 2 | … if it has several.
    """
    colored: dict[Path, list[Path]] = {}
    for source, target in pairs:
        colored.setdefault(source, []).append(target)
    rows = []
    for source, targets in colored.items():
        L, _ = encode(_thumbnail(source)[None])
        grey = lightness_to_grey(L)[0].expand(3, -1, -1)
        rows.append([grey, *(_thumbnail(target) / 255 for target in targets)])
    count = max(len(row) for row in rows) - 1
    titles = ["color"] if count == 1 else [f"sample {i}" for i in range(1, count + 1)]
    grid(rows, path, ["grey", *titles])


def _thumbnail(path: Path) -> Tensor:
    """(3, H, W) uint8."""
    image = read_rgb(path)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return torch.tensor(np.asarray(image)).permute(2, 0, 1)


def _planned(
    inputs: Iterable[Path | str], out: Path, samples: int, overwrite: bool
) -> dict[Path, list[Path]]:
    """Each picture among files and folders, once → the PNG files it becomes; see `colorize_files`.

    Raises UsageError if there is none, or a file would be lost.
    """
    names: dict[Path, Path] = {}  # picture → its name below `out`, still with its ending
    known = set()
    for path in map(Path, inputs):
        if path.is_dir():
            found, written = list_images(path), Path(realpath(out))
            if Path(realpath(path)) in written.parents:  # what an earlier run wrote is no input
                found = [each for each in found if written not in Path(realpath(each)).parents]
        elif path.is_file():
            found = [path]
        elif lexists(path):
            raise UsageError(f"{path} is a broken link or no regular file: it cannot be colorized")
        else:
            raise UsageError(f"there is no file or folder {path}")
        for source in found:
            if realpath(source) not in known:
                names[source] = source.relative_to(path) if path.is_dir() else Path(path.name)
            known.add(realpath(source))
    if not names:
        raise UsageError("nothing to colorize: name pictures or folders with pictures")
    often = Counter(name.with_suffix("") for name in names.values())
    endings = [".png"] if samples == 1 else [f"-{i}.png" for i in range(1, samples + 1)]
    targets: dict[Path, list[Path]] = {}
    taken: dict[Path, Path] = {}
    for source, name in names.items():
        stem = out / (name.with_suffix("") if often[name.with_suffix("")] == 1 else name)
        targets[source] = [stem.with_name(f"{stem.name}{ending}") for ending in endings]
        for target in targets[source]:
            if (other := taken.setdefault(target, source)) is not source:
                raise UsageError(f"{other} and {source} would both become {target}: use two --out")
            if realpath(target) in known:
                raise UsageError(f"{target} would replace an input: choose another --out")
            if target.is_dir() or (target.exists() and not overwrite):
                raise UsageError(f"{target} exists: choose another --out or add --overwrite")
    return targets
