"""Pictures of results: grids of images and the curves of a training."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from textwrap import fill

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from colourgan.files import replacing

# Pixels.
_SMALLEST = 96  # a picture of 32 would be a stamp
_TITLE_WIDTH = 160  # "resnet20@packaged" fits
_GAP = 6
_FONT_SIZE = 14
_LINE = 17  # as PIL spaces lines of this size

_PANELS_A_ROW = 3
_LOG_FROM = 100  # a first loss that high would press the others into one flat line


def grid(
    rows: Sequence[Sequence[Tensor]],
    path: Path | str,
    column_titles: Sequence[str],
    row_titles: Sequence[str] | None = None,
) -> None:
    """Writes a PNG of pictures in rows and columns, titled above and, if wanted, on the left.

    Each picture: (3, H, W) in [0, 1] on any device; sizes may differ. If no side is as long as 96
    pixels, all are enlarged by one whole factor, each pixel becoming a square. Raises ValueError
    for no pictures, or not as many titles as rows and columns.
    """
    row_titles = [""] * len(rows) if row_titles is None else row_titles
    if not rows or {len(row) for row in rows} != {len(column_titles)}:
        raise ValueError(f"rows of {[len(row) for row in rows]} pictures under {column_titles}")
    if len(row_titles) != len(rows):
        raise ValueError(f"{len(rows)} rows of pictures beside {row_titles}")
    sheet = _sheet([[_image(rgb) for rgb in row] for row in rows], column_titles, row_titles)
    with replacing(path) as beside:
        sheet.save(beside, format="PNG")


def curves(history: Iterable[Mapping], path: Path | str) -> None:
    """Writes a PNG of every numeric column of a training's history, over its epochs.

    history: one mapping an epoch; values are numbers or their text, keys may come and go. Losses,
    a GAN's losses and accuracies share a panel each, any other measure has its own. What is
    missing or not finite leaves a gap. With no number at all, no file is written.
    """
    epochs, columns = _columns(list(history))
    if columns:
        figure = _figure(epochs, _panels(columns))
        with replacing(path) as beside:
            figure.savefig(beside, format="png")


def _image(rgb: Tensor) -> Image.Image:
    pixels = rgb.detach().float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def _sheet(
    rows: list[list[Image.Image]], column_titles: Sequence[str], row_titles: Sequence[str]
) -> Image.Image:
    """Everything on white: titles above and on the left, pictures under their titles."""
    rows = _enlarged(rows)
    above, beside = ([_text(title) for title in titles] for titles in (column_titles, row_titles))
    columns = zip(above, *rows, strict=True)
    widths = [max(picture.width for picture in column) for column in columns]
    heights = [max(image.height for image in row) for row in rows]
    lefts = _starts(max(text.width for text in beside), widths)
    tops = _starts(max(text.height for text in above), heights)
    sheet = Image.new("RGB", (lefts[-1], tops[-1]), "white")
    for text, left, width in zip(above, lefts, widths, strict=False):
        sheet.paste(text, (left + (width - text.width) // 2, tops[0] - _GAP - text.height))
    for text, row, top, height in zip(beside, rows, tops, heights, strict=False):
        sheet.paste(text, (_GAP, top + (height - text.height) // 2))
        for image, left, width in zip(row, lefts, widths, strict=False):
            sheet.paste(image, (left + (width - image.width) // 2, top))
    return sheet


def _enlarged(rows: list[list[Image.Image]]) -> list[list[Image.Image]]:
    factor = math.ceil(_SMALLEST / max(max(image.size) for row in rows for image in row))
    return [[ImageOps.scale(im, factor, Image.Resampling.NEAREST) for im in row] for row in rows]


def _starts(before: int, sizes: list[int]) -> list[int]:
    """Where each cell starts after what comes before, and at last where all end."""
    first = before + 2 * _GAP if before else _GAP
    return list(accumulate(sizes, lambda start, size: start + size + _GAP, initial=first))


def _text(text: str) -> Image.Image:
    """Black on white, in as many lines as it needs; no pixels for no text."""
    # matplotlib's own font is always there and knows file names in Greek or Cyrillic.
    file = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    font = ImageFont.truetype(file, _FONT_SIZE)
    lines = fill(text, int(_TITLE_WIDTH / font.getlength("n")))
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    width = math.ceil(pen.multiline_textbbox((0, 0), lines, font=font)[2])
    # Whole lines, with or without a "g" in the last: titles side by side share a baseline.
    height = len(lines.splitlines()) * _LINE
    picture = Image.new("L", (width, height), "white")
    ImageDraw.Draw(picture).multiline_text((0, 0), lines, font=font, align="center")
    return picture


def _columns(history: list[Mapping]) -> tuple[list[float], dict[str, list[float]]]:
    """The x axis, and name → values for each column that has a finite number."""
    names = dict.fromkeys(name for epoch in history for name in epoch)
    table = {name: [_number(epoch.get(name)) for epoch in history] for name in names}
    epochs = table.pop("epoch", [math.nan])
    # Epochs may start anew after the frozen ones: the line would run back over itself.
    if not all(before < after for before, after in pairwise(epochs)) or math.isnan(epochs[0]):
        epochs = list(range(len(history)))
    return epochs, {name: ys for name, ys in table.items() if any(map(math.isfinite, ys))}


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _panels(columns: Mapping[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """What its y axis says → the columns drawn in one panel."""
    panels = {}
    for name, values in columns.items():
        panels.setdefault(_panel(name), {})[name] = values
    return panels


def _panel(name: str) -> str:
    adversarial = name.startswith(("d_", "g_"))
    if "loss" in name or "penalty" in name:
        return "adversarial losses" if adversarial else "loss"
    if "accuracy" in name:
        return "discriminator accuracy" if adversarial else "accuracy"
    return name.removeprefix("train_").removeprefix("valid_")


def _figure(epochs: list[float], panels: Mapping[str, Mapping[str, list[float]]]) -> Figure:
    across = min(len(panels), _PANELS_A_ROW)
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(4.5 * across, 3.5 * down), dpi=100, layout="constrained")
    for place, (label, columns) in enumerate(panels.items(), start=1):
        _draw(figure.add_subplot(down, across, place), label, epochs, columns)
    return figure


def _draw(axes: Axes, label: str, epochs: list[float], columns: Mapping[str, list[float]]) -> None:
    for name, values in columns.items():
        axes.plot(epochs, values, label=name, marker=".")  # the mark shows a single epoch
    axes.set(xlabel="epoch", ylabel=label)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if "accuracy" in label:
        axes.set_ylim(-0.03, 1.03)
    elif _spread(columns) > _LOG_FROM:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()


def _spread(columns: Mapping[str, list[float]]) -> float:
    """The largest of all values over the smallest; 0 if one is not positive."""
    values = [value for column in columns.values() for value in column if math.isfinite(value)]
    return max(values) / min(values) if min(values) > 0 else 0.0
