"""Reading pictures of any kind into plain arrays."""

from pathlib import Path

from PIL import Image, ImageOps

from colourgan.errors import RunError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def read_rgb(path: Path | str) -> Image.Image:
    """The picture as 8-bit sRGB, turned the way its EXIF data say. Raises RunError if it is broken."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
