"""Reading pictures of any kind as sRGB, and finding them in folders."""

import ctypes
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from colourgan.errors import RunError, UsageError
from colourgan.files import shown

HEIF = (".heic", ".heif")  # pillow-heif reads them, which is an extra of its own
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
SUFFIXES |= {".avif", *HEIF}
MAX_PIXELS = 2**27  # reading and coloring take up to 9 bytes a pixel, so 1.2 GB

Source = Path | str | Image.Image | np.ndarray | BytesIO
"""A picture: a file's path or its bytes, a PIL image, or an array (H, W) or (H, W, 3)."""

_PAGED = {"AVIF", "GIF", "HEIF", "PNG", "TIFF", "WEBP"}
# PIL has other programs run EPS and WMF; the rest are wrapped around a picture of any other format,
# whose size is known too late.
_REFUSED = {"BLP", "EPS", "FPX", "ICNS", "IPTC", "MIC", "WMF"}
_STRIP_PIXELS = 2**17  # what NumPy computes on stays in the cache of a core
_log = logging.getLogger(__name__)


def read_rgb(source: Source) -> Image.Image:
    """The picture as 8-bit sRGB, upright according to its EXIF orientation.

    Colors are converted to sRGB from an embedded ICC profile. Alpha is dropped: transparent pixels
    show the color stored in them. Grey of 16 bits and more is scaled, not clipped; of an animation
    or multi-page file the first frame is read. Raises RunError if the file cannot be read.
    """
    with reading(source):
        image = opened(source)
        if is_deep(image):
            grey = DeepGrey(image).values(slice(0, image.height))
            return Image.fromarray((grey * 255).round().astype(np.uint8)).convert("RGB")
        plain, _ = to_srgb(image)
        return plain if plain.mode == "RGB" else plain.convert("RGB")


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
    left_out = f"skipped {left_out} (such as {shown(skipped[0])})" if skipped else ""
    if not found:
        wanted = f"no picture in {shown(folder)}: looked for {' '.join(sorted(SUFFIXES))}"
        raise UsageError(f"{wanted}; {left_out}" if skipped else wanted)
    if skipped and warn:
        _log.warning(f"{shown(folder)}: {left_out}")
    return sorted(found)


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture, a few at a time, so that float arithmetic on one takes some MB."""
    rows = max(1, _STRIP_PIXELS // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def opened(source: Source) -> Image.Image:
    """The loaded picture, upright; its `format` tells whether it came from a file.

    A picture that is given as such is not changed. Raises whatever PIL's readers raise, see
    `reading`, OSError for what is no regular file or takes more memory to read than MAX_PIXELS do
    in most formats, and UsageError for what is no Source. Its info has "bits" where a channel in
    the file has 16.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        _read_exif(source)
        upright = ImageOps.exif_transpose(source)
        return upright.convert("LA") if upright.mode == "La" else upright  # PIL's only way from La
    if isinstance(source, BytesIO):
        return _decoded(source)
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"a picture is a path, image or array, not {type(source).__name__}")
    if os.path.exists(source) and not os.path.isfile(source):
        raise OSError("not a regular file")  # opening a pipe would wait for ever
    # By its path PIL 13.0 maps a plain TIFF into memory and garbles one that lies sideways.
    with open(source, "rb") as file:
        return _decoded(file)


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """Whatever is raised inside becomes a RunError of one line that names the picture."""
    try:
        with _without_warnings:
            yield
    except UsageError:
        raise
    # PIL's readers raise nearly every exception there is when a file's bytes are broken.
    except Exception as error:
        name = shown(source) if isinstance(source, str | os.PathLike) else "the picture"
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            said = "not a picture, or broken from its first bytes on"
            if str(name).lower().endswith(HEIF) and not _heif():
                said = "HEIC needs one more package: pip install 'colourgan[heif]'"
        raise RunError(f"cannot read {name}: {said.splitlines()[0]}") from error


def has_more_pages(source: Source, image: Image.Image) -> bool:
    """Whether there is a second page or frame in the file `image` was read from."""
    if image.format not in _PAGED or isinstance(source, Image.Image | np.ndarray):
        return False
    # The bytes are somebody else's, who may want to read them again.
    own = not isinstance(source, BytesIO)
    with (
        suppress(Exception),  # a broken second page is none
        open(source, "rb") if own else nullcontext(source) as file,
        Image.open(file) as again,
    ):
        if image.format == "TIFF":
            again.seek(1)
        return again.is_animated  # without seeking, which may decode the first frame once more
    return False


def pixels_of(path: Path | str) -> int:
    """Width × height as the head of a file says, MAX_PIXELS if that cannot be read."""
    with suppress(RunError), reading(path):
        if os.path.isfile(path):
            # PIL decodes an icon to open it, and it can be larger than its head says.
            with open(path, "rb") as file, _open(file, _REFUSED | {"ICO"}) as image:
                return image.width * image.height
    return MAX_PIXELS


class _WithoutWarnings:
    """PIL's warnings are off while any thread is inside.

    They are of oddities in a file that can be read, and of sizes it finds suspicious but allows.
    warnings.catch_warnings alone, left in another order than entered, keeps its filters for ever.
    """

    def __init__(self):
        self.lock, self.inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.before = warnings.catch_warnings()
                self.before.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self.inside += 1

    def __exit__(self, *error) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.before.__exit__(*error)


_without_warnings = _WithoutWarnings()


def _open(file: BinaryIO, refused: Set[str] = _REFUSED) -> Image.Image:
    _prepare()
    try:
        return Image.open(file, formats=[name for name in Image.ID if name not in refused])
    except UnidentifiedImageError:
        if not _heif():
            raise
        file.seek(0)
        return Image.open(file, formats=["HEIF"])


@lru_cache(maxsize=1)
def _prepare() -> None:
    """Has PIL know all its formats, and not write to stderr what it raises as well."""
    Image.init()
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with suppress(AttributeError, OSError):  # some builds of PIL hide the functions of libtiff
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


@lru_cache(maxsize=1)
def _heif() -> bool:
    """Whether PIL can read HEIC, which takes pillow-heif."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        return True
    return False


def _decoded(file: BinaryIO) -> Image.Image:
    with _open(file) as image:
        if any(";16" in str(tile[3]) for tile in image.tile):
            image.info["bits"] = 16  # read as 8, if there are several channels
        if image.width * image.height > (most := _most_pixels(image)):
            size, most = f"{image.width}×{image.height}", f"{most // 10**6} megapixels"
            raise OSError(f"{size} is too large: at most {most} of {image.format} can be read")
        image.load()
        _read_exif(image)
        ImageOps.exif_transpose(image, in_place=True)
        return image


def _most_pixels(image: Image.Image) -> int:
    """As many as can be read in the memory that MAX_PIXELS take in most formats.

    The readers of some hold a picture several times: bytes a pixel, measured with PIL 13.0.
    """
    bands = len(image.getbands())
    takes = {"AVIF": 20, "HEIF": 20, "JPEG2000": 5 * bands + 5, "WEBP": 17}.get(image.format, 9)
    if bands > 3 and ("bits" in image.info or "progressive" in image.info):  # TIFF, JPEG
        takes = 13
    return MAX_PIXELS * 9 // max(takes, 9)


def _read_exif(image: Image.Image) -> None:
    with suppress(Exception):  # PIL raises once for broken EXIF, then takes it for empty
        image.getexif()


def _from_array(pixels: np.ndarray) -> Image.Image:
    """A picture of (H, W), (H, W, 3) or (H, W, 4), uint8 or in [0, 1], or (H, W) uint16."""
    if pixels.size == 0 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    ):
        raise UsageError(f"an array of shape {pixels.shape} is no picture: (H, W) or (H, W, 3)")
    if pixels.dtype == bool or (pixels.dtype.kind == "f" and pixels.ndim == 3):
        pixels = (np.nan_to_num(pixels).clip(0, 1) * 255).round().astype(np.uint8)
    elif pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    elif pixels.dtype != np.uint8 and not (pixels.dtype == np.uint16 and pixels.ndim == 2):
        raise UsageError(f"an array of {pixels.dtype} is no picture: uint8, or floats in [0, 1]")
    return Image.fromarray(np.ascontiguousarray(pixels))


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey of 16 bits, 32 bits or floating point."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


class DeepGrey:
    """A picture of one channel of 16 bits, 32 bits or floating point, as values in [0, 1].

    White is 65535, for floating point the smallest of 1, 255 and 65535 that no value exceeds;
    above that, as files do not say what is white, it is the largest value.
    """

    def __init__(self, image: Image.Image):
        self.image, self.curve = image, None
        peak = max(float(self._raw(rows).max()) for rows in strips(image.height, image.width))
        whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
        self.white = next((white for white in whites if peak <= white), peak)
        if icc := image.info.get("icc_profile"):
            # PIL converts 8 bits only: the profile's curve is read off 256 greys.
            ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
            self.curve = np.asarray(_srgb(ramp, icc)[0].convert("RGB"))[0, :, 1] / np.float32(255)

    def values(self, rows: slice) -> np.ndarray:
        """(rows, W) float32 in [0, 1]."""
        grey = (self._raw(rows) / self.white).clip(0, 1)
        if self.curve is None:
            return grey
        return np.interp(grey * 255, np.arange(256), self.curve).astype(np.float32)

    def image_of_values(self) -> Image.Image:
        """All values as one picture in mode "F"."""
        whole = Image.new("F", self.image.size)
        for rows in strips(self.image.height, self.image.width):
            whole.paste(Image.fromarray(self.values(rows)), (0, rows.start))
        return whole

    def _raw(self, rows: slice) -> np.ndarray:
        strip = self.image.crop((0, rows.start, self.image.width, rows.stop))
        return np.nan_to_num(np.asarray(strip, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def to_srgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture in sRGB of 8 bits, mode "L" or "RGB", and whether an ICC profile was followed.

    What is transparent shows the color stored under it.
    """
    icc = image.info.get("icc_profile")
    if image.mode not in ("CMYK", "LAB", "L", "RGB"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    return _srgb(image, icc)


def _srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bool]:
    """`to_srgb` of a picture in mode L, RGB, CMYK or LAB, by its ICC profile if that is usable."""
    if transform := _to_srgb(image.mode, icc):
        return ImageCms.applyTransform(image, transform), True
    return image if image.mode in ("L", "RGB") else image.convert("RGB"), False


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
