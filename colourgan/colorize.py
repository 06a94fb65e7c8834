"""Any picture in, the same picture in color out."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from colourgan.color import decode, encode, lightness_to_grey
from colourgan.errors import RunError, UsageError
from colourgan.files import replacing
from colourgan.images import list_images, read_lightness, read_rgb, strips
from colourgan.plots import grid

_MULTIPLE = 8  # encoders halve a picture up to five times; what does not divide costs precision
_LONGEST = 4
_NAMED = 3
_THUMBNAIL = 320


class Colorizer:
    """A function from a picture, or its path, to the same picture in color.

    generator: maps L (N, 1, H, W) to ab (N, 2, H, W), network-scaled, for any H and W; it is moved
    to `device` and put in evaluation mode. size: the pixels of the shorter side at which ab is
    predicted. Only a picture's lightness is read: its own colors, if any, change nothing.
    """

    def __init__(self, generator: nn.Module, size: int, device: str | torch.device = "cpu"):
        self.generator = generator.to(device).eval()
        self.size = size
        self.device = device

    def __call__(self, picture: Path | str | Image.Image) -> Image.Image:
        """Mode "RGB" at full resolution, with the picture's own lightness; "RGBA" if it has alpha.

        Raises RunError, one line, if the picture cannot be read.
        """
        L, alpha = read_lightness(picture)
        image = join(L, self.predict(L))
        if alpha is not None:
            image.putalpha(alpha)
        return image

    @torch.inference_mode()
    def predict(self, L: Tensor) -> Tensor:
        """ab (1, 2, H, W) on the CPU for L (1, 1, H, W), both network-scaled."""
        height, width = L.shape[2:]
        size = working_size(height, width, self.size)
        small = interpolate(L, size, mode="bilinear", antialias=True)
        ab = self.generator(small.to(self.device)).float().cpu()
        # Bicubic: 2 to 10 % nearer (CIEDE2000) than bilinear for the true ab of 32 or 64 pixels.
        return interpolate(ab, (height, width), mode="bicubic")


def working_size(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) at which colors are predicted for a picture of this height and width.

    The shorter side is `size`. The longer is longer by the multiple of 8 that keeps the aspect
    best, but at most 4 times as long: a picture of 10 × 3000 is squeezed.
    """
    ratio = min(max(height, width) / min(height, width), _LONGEST)
    longer = size + round(size * (ratio - 1) / _MULTIPLE) * _MULTIPLE
    return (longer, size) if height > width else (size, longer)


def join(L: Tensor, ab: Tensor) -> Image.Image:
    """The RGB picture of network-scaled L (1, 1, H, W) and ab (1, 2, H, W)."""
    height, width = L.shape[2:]
    pixels = torch.empty(height, width, 3, dtype=torch.uint8)
    for rows in strips(height, width):
        rgb = decode(L[:, :, rows], ab[:, :, rows])[0]
        pixels[rows] = rgb.mul(255).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.numpy())


def colorize_files(
    inputs: Iterable[Path | str],
    colorizer: Colorizer,
    out: Path | str,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> list[tuple[Path, Path]]:
    """(picture, PNG written below `out`) for each picture among files and folders.

    What is below a folder stays below `out`: folder/a/b.jpg becomes out/a/b.png. Two pictures that
    would become the same b.png become b.jpg.png and b.tif.png. Pictures already below `out` are
    not inputs of the folder around it.

    Raises UsageError before any work for a missing input, a folder without pictures, two inputs
    left with the same name, an output that would replace an input, or, without `overwrite`, that
    exists. Broken pictures are skipped and told of in one warning on stderr; RunError if all are.
    """
    targets = _targets(_pictures([Path(path) for path in inputs], Path(out)), Path(out))
    _check(targets, overwrite)
    pairs, broken = [], []
    for source, target in tqdm(targets.items(), unit="picture", disable=None if progress else True):
        try:
            image = colorizer(source)
        except RunError as error:
            broken.append(str(error))
            continue
        with replacing(target) as beside:
            image.save(beside, format="PNG")
        pairs.append((source, target))
    _report(broken, len(targets))
    return pairs


def colorize_sheet(pairs: Iterable[tuple[Path, Path]], path: Path | str) -> None:
    """Writes one PNG of thumbnails for pairs (picture, colorized picture): grey | color."""
    rows = []
    for source, colorized in pairs:
        L, _ = encode(_thumbnail(source)[None])
        rows.append([lightness_to_grey(L)[0].expand(3, -1, -1), _thumbnail(colorized) / 255])
    grid(rows, path, ["grey", "color"])


def _thumbnail(path: Path) -> Tensor:
    """(3, H, W) uint8."""
    image = read_rgb(path)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return torch.tensor(np.asarray(image)).permute(2, 0, 1)


def _pictures(inputs: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Each picture among files and folders, once → its name below `out`, still with its ending."""
    names, known = {}, set()
    for path in inputs:
        for source, name in _below(path, out).items():
            if source.resolve() not in known:
                names[source] = name
            known.add(source.resolve())
    if not names:
        raise UsageError("nothing to colorize: name pictures or folders with pictures")
    return names


def _below(path: Path, out: Path) -> dict[Path, Path]:
    """The pictures that one input stands for → their names relative to it."""
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}")
    if not path.is_dir():
        return {path: Path(path.name)}
    pictures = list_images(path)
    if path.resolve() in out.resolve().parents:  # what an earlier run wrote is no input
        pictures = [p for p in pictures if out.resolve() not in p.resolve().parents]
    return {picture: picture.relative_to(path) for picture in pictures}


def _targets(names: dict[Path, Path], out: Path) -> dict[Path, Path]:
    """Each picture → the file it becomes."""
    short = {source: name.with_suffix(".png") for source, name in names.items()}
    often = Counter(short.values())
    full = {source: name.with_name(f"{name.name}.png") for source, name in names.items()}
    return {
        source: out / (name if often[name] == 1 else full[source]) for source, name in short.items()
    }


def _check(targets: dict[Path, Path], overwrite: bool) -> None:
    """Raises UsageError if a file would be lost."""
    inputs, taken = {source.resolve() for source in targets}, {}
    for source, target in targets.items():
        if (other := taken.setdefault(target, source)) is not source:
            raise UsageError(f"{other} and {source} would both become {target}: use two --out")
        if target.resolve() in inputs:
            raise UsageError(f"{target} would replace an input: choose another --out")
        if target.is_dir() or (target.exists() and not overwrite):
            raise UsageError(f"{target} exists: choose another --out or add --overwrite")


def _report(broken: Sequence[str], total: int) -> None:
    if not broken:
        return
    reasons = "; ".join(broken[:_NAMED])
    more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
    skipped = f"{len(broken)} of {total} pictures skipped: {reasons}{more}"
    if len(broken) == total:
        raise RunError(skipped)
    print(f"warning: {skipped}", file=sys.stderr)
