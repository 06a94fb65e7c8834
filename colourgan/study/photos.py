"""The same test photos through every configuration, as pictures that a page embeds."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from colourgan.color import decode, lightness_to_grey
from colourgan.errors import RunError, UsageError
from colourgan.evaluate import ImageSet
from colourgan.models import load_model
from colourgan.study.shown import Entry

FIRST = 6  # test photos, as they come
EXTREMES = 3  # best ones, and as many worst ones
SHARP = 64  # pixels: photos as small are pixel art, to be enlarged as squares
_LARGEST = 128  # pixels: larger photos are shown smaller
_QUALITY = 88


class Strip(NamedTuple):
    """Photos side by side, as one picture.

    source: a data URI, "" if there is none; width, height: of all of it in pixels; problem: why
    there is none.
    """

    label: str
    source: str
    width: int
    height: int
    problem: str = ""


class Sheet(NamedTuple):
    """Strips of the same photos: grey, through each configuration, true.

    titles: what stands above each photo; sharp: whether they are pixel art.
    """

    titles: list[str]
    strips: list[Strip]
    sharp: bool


def sheets(entries: Sequence[Entry], runs: Path, images: ImageSet) -> tuple[Sheet, Sheet] | None:
    """The first test photos; the best and worst by their ΔE, mean over all of these configurations.

    entries: of one data set and size. Each is shown by its first finished seed. None if no cell is
    finished.
    """
    entries = [entry for entry in entries if entry.done]
    if not entries:
        return None
    errors = _errors(entries)
    first = list(range(min(FIRST, len(errors))))
    order = errors.argsort(stable=True).tolist()
    count = max(1, min(EXTREMES, len(order) // 2))
    extremes = [*order[:count], *order[len(order) - count :]]
    rows = first + extremes
    strips = _strips(entries, runs, images, rows, len(first))
    ranks = ["best"] * count + ["worst"] * count
    titles = [f"{rank}, ΔE {errors[row]:.1f}" for rank, row in zip(ranks, extremes, strict=True)]
    sharp = images.rgb.shape[-1] <= SHARP
    return (
        Sheet([f"ΔE {errors[row]:.1f}" for row in first], [pair[0] for pair in strips], sharp),
        Sheet(titles, [pair[1] for pair in strips], sharp),
    )


def _errors(entries: Sequence[Entry]) -> Tensor:
    """(N,) ΔE of each test image, mean over seeds and then over configurations."""
    means = [
        torch.stack([cell.values["delta_e"] for cell in entry.done]).mean(0) for entry in entries
    ]
    return torch.stack(means).mean(0)


def _strips(
    entries: Sequence[Entry], runs: Path, images: ImageSet, rows: list[int], cut: int
) -> list[tuple[Strip, Strip]]:
    """Two strips each: of the rows before `cut`, and of the others."""
    L, rgb = images.L[rows], images.rgb[rows] / 255
    strips = [_pair("grey", lightness_to_grey(L).expand(-1, 3, -1, -1), cut)]
    for entry in entries:
        try:
            strips.append(_pair(entry.label, _colored(runs / entry.done[0].run, L), cut))
        except (RunError, UsageError) as error:
            strips.append((Strip(entry.label, "", 0, 0, str(error)),) * 2)
    return [*strips, _pair("true", rgb, cut)]


@torch.no_grad()
def _colored(run: Path, L: Tensor) -> Tensor:
    """(N, 3, S, S) in [0, 1]."""
    return decode(L, load_model(run)(L))


def _pair(label: str, rgb: Tensor, cut: int) -> tuple[Strip, Strip]:
    return _strip(label, rgb[:cut]), _strip(label, rgb[cut:])


def _strip(label: str, rgb: Tensor) -> Strip:
    """rgb: (N, 3, S, S) in [0, 1]."""
    if rgb.shape[-1] > _LARGEST:
        rgb = interpolate(rgb, (_LARGEST, _LARGEST), mode="area")
    pixels = rgb.clamp(0, 1).mul(255).round().byte()
    image = Image.fromarray(torch.cat(list(pixels), 2).permute(1, 2, 0).contiguous().numpy())
    file = BytesIO()
    kind = "png" if image.height <= SHARP else "jpeg"
    image.save(file, kind, **({"quality": _QUALITY, "subsampling": 0} if kind == "jpeg" else {}))
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return Strip(label, f"data:image/{kind};base64,{text}", image.width, image.height)
