"""Pictures side by side on white, titled: one picture of them all."""

import importlib.util
import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from textwrap import fill

from PIL import Image, ImageDraw, ImageFont, ImageOps

# Pixels.
GAP = 6
_SMALLEST = 96  # a picture of 32 would be a stamp
_TITLE_WIDTH = 160  # "resnet20@packaged" fits
_FONT_SIZE = 14
_LINE = 17  # as PIL spaces lines of this size


def sheet(
    rows: list[list[Image.Image]], column_titles: Sequence[str], row_titles: Sequence[str]
) -> Image.Image:
    """All pictures in one: titles above and on the left, "" for none.

    If no side of any is as long as 96 pixels, all are enlarged by one whole factor, each pixel
    becoming a square.
    """
    factor = math.ceil(_SMALLEST / max(max(image.size) for row in rows for image in row))
    nearest = Image.Resampling.NEAREST
    rows = [[ImageOps.scale(image, factor, nearest) for image in row] for row in rows]
    titles = column_titles, row_titles
    above, beside = ([text_image(title) for title in each] for each in titles)
    columns = zip(above, *rows, strict=True)
    widths = [max(picture.width for picture in column) for column in columns]
    heights = [max(image.height for image in row) for row in rows]
    lefts = _starts(max(text.width for text in beside), widths)
    tops = _starts(max(text.height for text in above), heights)
    drawn = Image.new("RGB", (lefts[-1], tops[-1]), "white")
    for text, left, width in zip(above, lefts, widths, strict=False):
        drawn.paste(text, (left + (width - text.width) // 2, tops[0] - GAP - text.height))
    for text, row, top, height in zip(beside, rows, tops, heights, strict=False):
        drawn.paste(text, (GAP, top + (height - text.height) // 2))
        for image, left, width in zip(row, lefts, widths, strict=False):
            drawn.paste(image, (left + (width - image.width) // 2, top))
    return drawn


def _starts(before: int, sizes: list[int]) -> list[int]:
    """Where each cell starts after what comes before, and at last where all end."""
    first = before + 2 * GAP if before else GAP
    return list(accumulate(sizes, lambda start, size: start + size + GAP, initial=first))


def text_image(text: str) -> Image.Image:
    """Black on white, in as many lines as it needs; no pixels for no text."""
    font = _font()
    lines = fill(text, int(_TITLE_WIDTH / font.getlength("n")))
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    width = math.ceil(pen.multiline_textbbox((0, 0), lines, font=font)[2])
    # Whole lines, with or without a "g" in the last: titles side by side share a baseline.
    height = len(lines.splitlines()) * _LINE
    picture = Image.new("L", (width, height), "white")
    ImageDraw.Draw(picture).multiline_text((0, 0), lines, font=font, align="center")
    return picture


def _font() -> ImageFont.FreeTypeFont:
    # matplotlib's knows file names in Greek or Cyrillic; without it, PIL's own.
    if found := importlib.util.find_spec("matplotlib"):
        file = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(file, _FONT_SIZE)
    return ImageFont.load_default(_FONT_SIZE)
