"""Reading pictures of any kind: their colors, or their lightness alone."""

import logging
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
_log = logging.getLogger(__name__)


def read_rgb(source: Path | str | Image.Image) -> Image.Image:
    """The picture as 8-bit sRGB, upright according to its EXIF orientation.

    Colors are converted to sRGB from an embedded ICC profile. Alpha is dropped: transparent pixels
    show the color stored in them. Grey of 16 bits and more is scaled, not clipped; of an animation
    or multi-page file the first frame is read. Raises RunError if the file cannot be read.
    """
    image = _opened(source)
    if _is_deep(image):
        grey = (_deep_grey(image) * 255).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    return _rgb(image)


def read_lightness(source: Path | str | Image.Image) -> tuple[Tensor, Image.Image | None]:
    """(L, alpha) of a picture at its full resolution: all that colorizing ever sees of it.

    L: (1, 1, H, W) float32, network-scaled (CIE lightness / 50 - 1), in [-1, 1]; grey of 16 bits
    and more keeps its precision. alpha: mode "L" of the same size, None for a picture without
    transparency. Everything else as for `read_rgb`.
    """
    image = _opened(source)
    pixels = _deep_grey(image) if _is_deep(image) else np.asarray(_rgb(image))
    L = torch.empty(1, 1, *pixels.shape[:2])
    for rows in strips(*L.shape[2:]):
        rgb = torch.tensor(pixels[rows])  # a copy, as PIL's memory is read-only
        rgb = rgb.expand(3, -1, -1) if rgb.ndim == 2 else rgb.permute(2, 0, 1)
        L[:, :, rows] = encode(rgb[None])[0]
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    return L, alpha


def list_images(folder: Path | str, warn: bool = True) -> list[Path]:
    """All pictures in a folder and its subfolders (links too), by their SUFFIXES, sorted.

    Hidden files and folders are left out, so macOS's "._x.jpg" as well. Skipped and, with `warn`,
    counted in one logged warning: folders that cannot be read, and pictures' names that belong to
    no regular file (a pipe, a socket, a link that leads nowhere). Raises UsageError if the folder
    does not exist or has no picture.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"there is no folder {folder}")
    found, skipped, seen = [], [], set()
    walk = os.walk(folder, onerror=lambda error: skipped.append(error.filename), followlinks=True)
    for here, folders, names in walk:
        if (real := os.path.realpath(here)) in seen:  # links may form a cycle
            folders.clear()
            continue
        seen.add(real)
        # In order, as of several links to one folder the first is followed.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                path = Path(here, name)
                (found if os.path.isfile(path) else skipped).append(path)
    left_out = f"{len(skipped)} entries that are no regular files or cannot be read"
    left_out = f"skipped {left_out} (such as {skipped[0]})" if skipped else ""
    if not found:
        wanted = f"no picture in {folder}: looked for {' '.join(sorted(SUFFIXES))}"
        raise UsageError(f"{wanted}; {left_out}" if skipped else wanted)
    if skipped and warn:
        _log.warning(f"{folder}: {left_out}")
    return sorted(found)


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture, a few at a time, so that float arithmetic on one takes some MB."""
    rows = max(1, _STRIP_PIXELS // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _opened(source: Path | str | Image.Image) -> Image.Image:
    """The loaded picture, upright. Raises RunError."""
    try:
        with warnings.catch_warnings():
            # Oddities in a file that can be read, and sizes PIL finds suspicious but still allows.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            if isinstance(source, Image.Image):
                return ImageOps.exif_transpose(source)
            if os.path.exists(source) and not os.path.isfile(source):
                raise OSError("not a regular file")  # opening a pipe would wait for ever
            # By its path PIL 13.0 maps a plain TIFF into memory and garbles one that lies sideways.
            with open(source, "rb") as file, Image.open(file) as image:
                return ImageOps.exif_transpose(image)
    # PIL's readers raise nearly every exception there is when a file's bytes are broken.
    except Exception as error:
        name = "the picture" if isinstance(source, Image.Image) else source
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            said = "not a picture, or broken from its first bytes on"
        raise RunError(f"cannot read {name}: {said.splitlines()[0]}") from error


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
    if not (icc := image.info.get("icc_profile")):
        return grey
    # PIL converts 8 bits only: the profile's curve is read off 256 greys.
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    curve = np.asarray(_srgb(ramp, icc))[0, :, 1] / np.float32(255)
    return np.interp(grey * 255, np.arange(256), curve).astype(np.float32)


def _rgb(image: Image.Image) -> Image.Image:
    """sRGB of up to 8 bits a channel; what is transparent shows the color stored under it."""
    icc = image.info.get("icc_profile")
    if image.mode in ("CMYK", "LAB"):
        return _srgb(image, icc)
    return _srgb(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"), icc)


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
        source, target = ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB")
        intent, flags = ImageCms.Intent, ImageCms.Flags.BLACKPOINTCOMPENSATION
        intent = intent.RELATIVE_COLORIMETRIC
        return ImageCms.buildTransform(source, target, mode, "RGB", intent, flags)
    except (OSError, ImageCms.PyCMSError):
        return None
