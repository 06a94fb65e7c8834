"""A photograph as colorizing needs it: its lightness, in strips or small, and what a copy keeps."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from colourgan import lab
from colourgan.images import DeepGrey, Source, has_more_pages, is_deep, opened, reading, to_srgb

# Tags of the main directory that describe a photograph, not how its file stores it: its name,
# description, camera, software, date, artist, host, copyright, and those of Windows.
_TAGS = {269, 270, 271, 272, 305, 306, 315, 316, 33432, *range(40091, 40096)}
_COLOR_SPACE, _SRGB, _SIDES = 0xA001, 1, {0xA002: "width", 0xA003: "height"}
_GAP = 3.0  # a larger picture is first averaged down to this many times the size asked for


@dataclass(frozen=True)
class Metadata:
    """What a colored copy keeps of a picture's file; None where there is nothing to keep.

    exif: without orientation, thumbnail, and what describes the old file's pixels; dpi: (x, y);
    icc: the profile of sRGB, for a picture that was converted to it.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    icc: bytes | None = None


class Picture:
    """A picture of any kind, upright and decoded; only its lightness is ever looked at.

    height, width: in pixels; format: PIL's name of its file's, None without a file; alpha: mode
    "L", None without transparency; metadata: what a copy keeps; notes: what of the source was
    changed or left out. Raises RunError if the source cannot be read, UsageError for an array that
    is no picture.
    """

    def __init__(self, source: Source):
        with reading(source):
            image = opened(source)
            self.width, self.height = image.size
            self.format = image.format
            transparent = image.has_transparency_data
            self.alpha = image.convert("RGBA").getchannel("A") if transparent else None
            if is_deep(image):
                self._grey, self._plain = DeepGrey(image), None
                profiled = self._grey.curve is not None
            else:
                self._grey, (self._plain, profiled) = None, to_srgb(image)
            said = {
                "only the first of its pages or frames was colored": has_more_pages(source, image),
                "converted from its color profile to sRGB": profiled,
                "written with 8 bits a channel": is_deep(image) or "bits" in image.info,
            }
            self.metadata, said["its EXIF is broken and was left out"] = _metadata(image, profiled)
            self.notes = tuple(note for note, true in said.items() if true)

    def lightness(self, rows: slice) -> np.ndarray:
        """L of these rows: (rows, W) float32 in [-1, 1], network-scaled (CIE lightness / 50 - 1).

        Grey of 16 bits and more keeps its precision.
        """
        if self._grey:
            return lab.lightness(self._grey.values(rows))
        return lab.lightness(np.asarray(self._plain.crop((0, rows.start, self.width, rows.stop))))

    def resized_lightness(self, height: int, width: int) -> np.ndarray:
        """L (height, width) float32 of the whole picture, averaged where it is made smaller."""
        # Of its colors, as pictures are read for training: their lightness comes after.
        image = self._grey.image_of_values() if self._grey else self._plain
        small = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=_GAP)
        return lab.lightness(np.asarray(small))


def _metadata(image: Image.Image, profiled: bool) -> tuple[Metadata, bool]:
    """What is not broken, as that is no reason to refuse the picture; and whether its EXIF is."""
    exif = xmp = dpi = None
    broken = False
    try:
        Image.Exif().load(image.info.get("exif", b""))
        exif = _exif(image, profiled)
    except Exception:  # PIL's parsers raise nearly everything
        broken = True
    if isinstance(found := image.info.get("xmp"), bytes):
        xmp = found
    with suppress(TypeError, ValueError, ZeroDivisionError):
        x, y = (float(each) for each in image.info.get("dpi", ()))
        # 1 is PIL's for a TIFF that does not say.
        if all(math.isfinite(each) and 1 < each <= 65535 for each in (x, y)):
            dpi = x, y
    return Metadata(exif, xmp, dpi, _srgb_profile() if profiled else None), broken


def _exif(image: Image.Image, profiled: bool) -> bytes | None:
    old, new = image.getexif(), Image.Exif()
    for tag in _TAGS & set(old):
        new[tag] = as_stored(old[tag])
    details = dict(old.get_ifd(ExifTags.IFD.Exif))
    details.pop(ExifTags.IFD.Interop, None)  # the place of a directory in the old file
    if profiled and _COLOR_SPACE in details:
        details[_COLOR_SPACE] = _SRGB
    details |= {tag: getattr(image, side) for tag, side in _SIDES.items() if tag in details}
    for tag, values in (
        (ExifTags.IFD.Exif, details),
        (ExifTags.IFD.GPSInfo, old.get_ifd(ExifTags.IFD.GPSInfo)),
    ):
        if values:
            new[tag] = {each: as_stored(value) for each, value in values.items()}
    return new.tobytes() if len(new) else None


def as_stored(value: Any) -> Any:
    """Text as its bytes if it is more than ASCII: PIL reads Latin-1, but writes "?" for the rest.

    Whatever encoding it was in, which mostly is UTF-8, it stays.
    """
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _srgb_profile() -> bytes:
    """The ICC profile of sRGB, without the date of its making: equal inputs give equal files."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]
