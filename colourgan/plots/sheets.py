"""Images side by side, titled: a PNG, or a GIF in which they change."""

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from textwrap import fill

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from colourgan.files import replacing

# Pixels.
_SMALLEST = 96  # a picture of 32 would be a stamp
_TITLE_WIDTH = 160  # "resnet20@packaged" fits
_GAP = 6
_FONT_SIZE = 14
_LINE = 17  # as PIL spaces lines of this size

_GIF_COLORS = 256


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


def gif(
    frames: Sequence[tuple[str, Sequence[Tensor]]],
    path: Path | str,
    milliseconds: int = 900,
    columns: int = 4,
) -> None:
    """Writes an animated GIF that loops forever: the same pictures in several states.

    frames: (title, pictures) for each state; `columns` pictures per row. The pictures are as for
    `grid`, and those at one place have one size in all frames, which is what lets the eye compare
    them. Each frame has its own 256 colors, dithered. Raises ValueError for no pictures, or frames
    that differ in the number or sizes of their pictures.
    """
    layouts = {tuple(tuple(rgb.shape) for rgb in pictures) for _, pictures in frames}
    if len(layouts) != 1 or layouts == {()}:
        raise ValueError(f"{len(frames)} frames with pictures of these shapes: {sorted(layouts)}")
    columns = min(columns, len(frames[0][1]))
    titles = [_text(title) for title, _ in frames]
    width = max(title.width for title in titles) + 2 * _GAP
    top = max(title.height for title in titles) + _GAP
    drawn = []
    for title, (_, pictures) in zip(titles, frames, strict=True):
        images = [_image(rgb) for rgb in pictures]
        # A white pixel where the last row has no picture.
        images += [Image.new("RGB", (1, 1), "white")] * (-len(images) % columns)
        rows = [images[start : start + columns] for start in range(0, len(images), columns)]
        sheet = _sheet(rows, [""] * columns, [""] * len(rows))
        frame = Image.new("RGB", (max(width, sheet.width), top + sheet.height), "white")
        frame.paste(title, ((frame.width - title.width) // 2, _GAP))
        frame.paste(sheet, ((frame.width - sheet.width) // 2, top))
        # 256 colors of its own, dithered: skies would be cut into bands otherwise.
        found = frame.quantize(_GIF_COLORS - 1, kmeans=1).getpalette()
        palette = Image.new("P", (1, 1))
        palette.putpalette([255, 255, 255, *found])
        dithered = frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        # PIL takes the color nearest to 252 for all from 252 to 255: paper would not be white.
        dithered.paste(0, mask=frame.convert("L").point(lambda grey: 255 * (grey == 255)))
        drawn.append(dithered)
    first, *others = drawn
    settings = {"duration": milliseconds, "loop": 0}
    with replacing(path) as beside:
        first.save(beside, format="GIF", save_all=True, append_images=others, **settings)


def _image(rgb: Tensor) -> Image.Image:
    pixels = rgb.detach().float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def _sheet(
    rows: list[list[Image.Image]], column_titles: Sequence[str], row_titles: Sequence[str]
) -> Image.Image:
    """Everything on white: titles above and on the left, pictures under their titles."""
    factor = math.ceil(_SMALLEST / max(max(image.size) for row in rows for image in row))
    nearest = Image.Resampling.NEAREST
    rows = [[ImageOps.scale(image, factor, nearest) for image in row] for row in rows]
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
