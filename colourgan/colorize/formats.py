"""Writing a colored picture in the format of its source, with what belongs to it."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import ExifTags, Image, PngImagePlugin, features

from colourgan.errors import RunError, UsageError
from colourgan.files import replacing, shown
from colourgan.pictures import Metadata, as_stored

QUALITY = 92  # of JPEG, and of WebP, AVIF and HEIC on their own scales
_XMP, _XMP_IN_PNG = 700, "XML:com.adobe.xmp"  # the tag and the text that hold it
# Their writers hold a picture several times, so that pixels, twice as many with alpha, are limited:
# with those of PIL 13.0 and pillow-heif 1.8 so many take 1 to 1.7 GB.
_WHOLE, _MOST_PIXELS = {"AVIF", "HEIF", "WEBP"}, 50 * 10**6
_DROPPED = "its metadata could not be kept"


class Format(NamedTuple):
    """pil: its name in PIL; suffixes: of its files, the usual one first; keeps: what it can hold of
    "alpha", "exif", "xmp", "dpi", "icc" and, for lossy ones, takes of "quality"; options: others.
    """

    pil: str
    suffixes: tuple[str, ...]
    keeps: frozenset[str]
    options: dict[str, Any]


def _format(pil: str, suffixes: str, keeps: str, **options: Any) -> Format:
    return Format(pil, tuple(suffixes.split()), frozenset(keeps.split()), options)


FORMATS = {
    "jpeg": _format("JPEG", ".jpg .jpeg", "exif xmp dpi icc quality"),
    # The highest levels of compression take several times as long for a few percent.
    "png": _format("PNG", ".png", "alpha exif xmp dpi icc", compress_level=4),
    "tiff": _format(
        "TIFF", ".tif .tiff", "alpha exif xmp dpi icc", compression="tiff_adobe_deflate"
    ),
    "webp": _format("WEBP", ".webp", "alpha exif xmp icc quality"),
    "avif": _format("AVIF", ".avif", "alpha exif xmp icc quality", speed=8),
    "heic": _format("HEIF", ".heic .heif", "alpha exif xmp icc quality"),
    "bmp": _format("BMP", ".bmp", "dpi"),
    "ppm": _format("PPM", ".ppm", ""),
}
_BY_SUFFIX = {suffix: name for name, each in FORMATS.items() for suffix in each.suffixes}


def format_named(name: str) -> str:
    """A name of FORMATS for one of them or an ending without its dot; UsageError for another."""
    found = name if name in FORMATS else _BY_SUFFIX.get(f".{name.lower()}")
    if found is None:
        raise UsageError(f"unknown format '{name}': choices: {', '.join(FORMATS)}")
    if found == "avif" and not features.check("avif"):
        raise UsageError("this Pillow was built without AVIF: choose another --format")
    if found == "heic":
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            needs = "HEIC needs one more package: pip install 'colourgan[heif]'"
            raise UsageError(f"{needs}, or choose another --format") from None
        register_heif_opener()
    return found


def format_of(path: Path) -> str | None:
    """The format that a file's ending stands for; None for an unknown one, and for one that cannot
    be written, or not in color.
    """
    return _BY_SUFFIX.get(path.suffix.lower())


def format_read(pil: str | None) -> str:
    """The format to write for what PIL read: its own where that can be, or PNG."""
    pil = {"MPO": "JPEG"}.get(pil, pil)  # a JPEG file with further pictures behind
    return next((name for name, each in FORMATS.items() if each.pil == pil), "png")


def save(
    image: Image.Image, path: Path, format: str, metadata: Metadata, quality: int
) -> tuple[str, ...]:
    """Writes a picture to a file, whole or not at all; notes on what was left out.

    Raises RunError if the format cannot hold the picture or the file cannot be written.
    """
    with replacing(path) as beside:
        notes = encode(image, beside, format, metadata, quality, shown(path))
    return notes


def encode(
    image: Image.Image,
    file: Path | BinaryIO,
    format: str,
    metadata: Metadata,
    quality: int,
    name: str,
) -> tuple[str, ...]:
    """As `save`, into an open file or one to be renamed; `name` is for the error."""
    how, notes = FORMATS[format], []
    pixels = image.width * image.height * (2 if image.mode == "RGBA" else 1)
    if how.pil in _WHOLE and pixels > _MOST_PIXELS:
        most = "at most 50 megapixels can be, 25 with transparency: choose another --format"
        raise RunError(f"cannot write {name} as {how.pil}: {most}")
    if image.mode == "RGBA" and "alpha" not in how.keeps:
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        image = white
        notes.append("its transparency was laid on white")
    options = dict(how.options) | ({"quality": quality} if "quality" in how.keeps else {})
    kept = _kept(metadata, how)
    if any(getattr(metadata, each) and each not in how.keeps for each in ("exif", "xmp")):
        notes.append(_DROPPED)
    try:
        try:
            image.save(file, format=how.pil, **(options | kept))
        except OSError:
            raise
        except Exception:  # metadata that PIL read but cannot write, such as EXIF above 64 KiB
            if not kept:
                raise
            if not isinstance(file, str | os.PathLike):
                file.seek(0)
                file.truncate()
            image.save(file, format=how.pil, **options)
            notes.append(_DROPPED)
    except OSError as error:
        if error.errno is not None:
            raise
        raise RunError(f"cannot write {name} as {how.pil}: {error}") from error
    except Exception as error:
        raise RunError(f"cannot write {name} as {how.pil}: {error}") from error
    return tuple(notes)


def encoded(
    image: Image.Image, format: str, metadata: Metadata, quality: int
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file, and the notes of `save`."""
    buffer = BytesIO()
    notes = encode(image, buffer, format, metadata, quality, "the picture")
    return buffer.getvalue(), notes


def _kept(metadata: Metadata, how: Format) -> dict[str, Any]:
    """The options of PIL's writer for what the format can hold."""
    names = {"exif": "exif", "xmp": "xmp", "dpi": "dpi", "icc": "icc_profile"}
    found = {name: getattr(metadata, key) for key, name in names.items() if key in how.keeps}
    found = {name: value for name, value in found.items() if value}
    if how.pil == "TIFF" and found.keys() & {"exif", "xmp"}:
        exif = Image.Exif()
        exif.load(found.get("exif", b""))
        if ExifTags.IFD.Exif in exif or ExifTags.IFD.GPSInfo in exif:
            found["compression"] = None  # PIL 13.0 writes these directories only without
        if xmp := found.pop("xmp", None):
            exif[_XMP] = xmp
        for tags in (exif, exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)):
            for tag, value in tags.items():
                tags[tag] = as_stored(value)
        found["exif"] = exif  # of its bytes PIL would read the text again
    if how.pil == "PNG" and (xmp := found.pop("xmp", None)):
        found["pnginfo"] = PngImagePlugin.PngInfo()
        found["pnginfo"].add_itxt(_XMP_IN_PNG, xmp.decode(errors="replace"))
    return found
