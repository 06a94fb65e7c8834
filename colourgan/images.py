"""Reading pictures of any kind: their colors, or their lightness alone."""

import os
import warnings
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from colourgan.color import encode
from colourgan.errors import RunError, UsageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}

_STRIP_PIXELS = 2**19


def read_rgb(source: Path | str | Image.Image) -> Image.Image:
    """The picture as 8-bit sRGB, turned the way its EXIF data say.

    Of an embedded ICC profile the colors are converted to sRGB. Where a picture is transparent, its
    color under the transparency counts. Grey of 16 and more bits is scaled, not clipped; of a
    sequence the first picture is read. Raises RunError, one line, if the file is broken.
    """
    image = _opened(source)
    if _is_deep(image):
        grey = (_deep_grey(image) * 255).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    return _rgb(image)


def read_lightness(source: Path | str | Image.Image) -> tuple[Tensor, Image.Image | None]:
    """(L, alpha) of a picture at its full resolution: all that colorizing ever sees of it.

    L: (1, 1, H, W) float32, network-scaled (CIE lightness / 50 - 1), in [-1, 1]; grey of 16 and
    more bits keeps its precision. alpha: mode "L" of the same size, None for a picture without
    transparency. Everything else as for `read_rgb`.
    """
    image = _opened(source)
    pixels = _deep_grey(image) if _is_deep(image) else np.asarray(_rgb(image))
    L = torch.empty(1, 1, *pixels.shape[:2])
    for rows in strips(*L.shape[2:]):
        L[:, :, rows] = _lightness(pixels[rows])
    return L, _alpha(image)


def list_images(folder: Path | str) -> list[Path]:
    """All pictures in a folder and its subfolders (links too), by their SUFFIXES, sorted.

    Hidden files and folders are left out, so macOS's "._x.jpg" as well. Raises UsageError if the
    folder does not exist or has no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    if not (found := sorted(_walk(folder))):
        raise UsageError(f"no picture in {folder}: looked for {' '.join(sorted(SUFFIXES))}")
    return found


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture, a few at a time, so that float arithmetic on one takes some MB."""
    rows = max(1, _STRIP_PIXELS // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()  # links may form a circle
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else [n for n in folders if not n.startswith(".")]
        names = [] if real in seen else [n for n in names if not n.startswith(".")]
        seen.add(real)
        yield from (Path(here, n) for n in names if os.path.splitext(n)[1].lower() in SUFFIXES)


def _opened(source: Path | str | Image.Image) -> Image.Image:
    """The loaded picture, upright. Raises RunError."""
    try:
        with warnings.catch_warnings():
            # Oddities in a file that can be read, and sizes PIL finds suspicious but still allows.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            if isinstance(source, Image.Image):
                return ImageOps.exif_transpose(source)
            # By its path PIL 13.0 maps a plain TIFF into memory and garbles one that lies sideways.
            with open(source, "rb") as file, Image.open(file) as image:
                return ImageOps.exif_transpose(image)
    # PIL's readers raise nearly every exception there is when a file's bytes are broken.
    except Exception as error:
        name = "the picture" if isinstance(source, Image.Image) else source
        raise RunError(f"cannot read {name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or broken from its first bytes on"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.splitlines()[0]


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _deep_grey(image: Image.Image) -> np.ndarray:
    """(H, W) float32 in [0, 1] of one channel of 16 bits, 32 bits or floating point.

    White is 65535, for floating point the smallest of 1, 255 and 65535 that no value exceeds;
    above that, as files do not say what is white, it is the largest value.
    """
    pixels = np.asarray(image, dtype=np.float32)
    grey = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    peak = float(grey.max())
    whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    grey = (grey / next((white for white in whites if peak <= white), peak)).clip(0, 1)
    return _profiled_grey(grey, image.info.get("icc_profile"))


def _profiled_grey(grey: np.ndarray, icc: bytes | None) -> np.ndarray:
    """(H, W) in [0, 1] by the profile's curve, read off 256 greys: PIL converts 8 bits only."""
    if not icc:
        return grey
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    curve = np.asarray(_srgb(ramp, icc))[0, :, 1] / np.float32(255)
    return np.interp(grey * 255, np.arange(256), curve).astype(np.float32)


def _rgb(image: Image.Image) -> Image.Image:
    """sRGB of up to 8 bits a channel; what is transparent shows the color stored under it."""
    icc = image.info.get("icc_profile")
    if image.mode in ("CMYK", "LAB"):
        return _srgb(image, icc)
    return _srgb(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"), icc)


def _alpha(image: Image.Image) -> Image.Image | None:
    return image.convert("RGBA").getchannel("A") if image.has_transparency_data else None


def _srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """RGB of a picture in mode L, RGB, CMYK or LAB, by its ICC profile if that is usable."""
    transform = _to_srgb(image.mode, icc)
    return ImageCms.applyTransform(image, transform) if transform else image.convert("RGB")


@lru_cache(maxsize=8)  # building one takes ten times as long as reading a small picture
def _to_srgb(mode: str, icc: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """None without a profile that is whole and for these channels, as viewers treat it too."""
    if not icc:
        return None
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ImageCms.PyCMSError):
        return None


def _lightness(pixels: np.ndarray) -> Tensor:
    """L (1, 1, h, W) of pixels (h, W) in [0, 1] or (h, W, 3) in 0..255."""
    rgb = torch.tensor(pixels)  # a copy, as PIL's memory is read-only
    rgb = rgb.expand(3, -1, -1) if rgb.ndim == 2 else rgb.permute(2, 0, 1)
    return encode(rgb[None])[0]
