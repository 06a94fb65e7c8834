"""Images side by side, titled: a PNG, or a GIF in which they change."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from colourgan.files import replacing
from colourgan.sheets import GAP, sheet, text_image

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
    drawn = sheet([[_image(rgb) for rgb in row] for row in rows], column_titles, row_titles)
    with replacing(path) as beside:
        drawn.save(beside, format="PNG")


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
    titles = [text_image(title) for title, _ in frames]
    width = max(title.width for title in titles) + 2 * GAP
    top = max(title.height for title in titles) + GAP
    drawn = []
    for title, (_, pictures) in zip(titles, frames, strict=True):
        images = [_image(rgb) for rgb in pictures]
        # A white pixel where the last row has no picture.
        images += [Image.new("RGB", (1, 1), "white")] * (-len(images) % columns)
        rows = [images[start : start + columns] for start in range(0, len(images), columns)]
        pictures = sheet(rows, [""] * columns, [""] * len(rows))
        frame = Image.new("RGB", (max(width, pictures.width), top + pictures.height), "white")
        frame.paste(title, ((frame.width - title.width) // 2, GAP))
        frame.paste(pictures, ((frame.width - pictures.width) // 2, top))
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
