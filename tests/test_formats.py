"""A colored copy is a file like its source: format, EXIF, resolution, transparency, colors."""

import struct
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import ExifTags, Image, ImageCms, features
from tiny_colorizers import Painter, is_painted, noise, painter_file, process

from colourgan.colorize import FORMATS, Colorizer, Outcome, colorize_bytes, colorize_files
from colourgan.colorize.formats import format_named, format_read
from colourgan.errors import UsageError
from colourgan.pictures import Metadata, Picture

try:
    from pillow_heif import register_heif_opener

    register_heif_opener()
except ImportError:
    register_heif_opener = None

PILLOW = int(PIL.__version__.partition(".")[0])
LACKING = {
    "avif": not features.check("avif"),
    "webp": not features.check("webp"),
    "heic": register_heif_opener is None,
}


def those(*names: str):
    """A test for each of these formats, skipped where Pillow lacks it."""
    lacks = pytest.mark.skipif(True, reason="this Pillow lacks it")
    each = [pytest.param(n, marks=[lacks] if LACKING.get(n) else []) for n in names or FORMATS]
    return pytest.mark.parametrize("name", each)


def that_keep(what: str):
    return those(*(name for name, each in FORMATS.items() if what in each.keeps))


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="a"'
    b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
DESCRIPTION = "Großmutter, Köln 1931"
TAKEN, PLACE = "1931:05:17 12:00:00", (50.0, 56.0, 28.5)
NOT_KEPT = "its metadata could not be kept"
FIRST_OF_SEVERAL = "only the first of its pages or frames was colored"
CONVERTED = "converted from its color profile to sRGB"
EIGHT_BITS = "written with 8 bits a channel"
ON_WHITE = "its transparency was laid on white"
BROKEN_EXIF = "its EXIF is broken and was left out"


def exif(orientation: int = 6, details: dict | None = None) -> Image.Exif:
    """Of a picture of 60 × 40; orientation 6 stands it on its right side."""
    found, base, details = Image.Exif(), ExifTags.Base, details or {}
    found[base.ImageDescription] = DESCRIPTION.encode()
    found[base.Make], found[base.Model] = "Leitz", "Leica II"
    found[base.Orientation] = orientation
    details[base.DateTimeOriginal] = TAKEN
    details[base.ExposureTime] = 0.02
    details[base.ExifImageWidth], details[base.ExifImageHeight] = 60, 40
    details[base.ColorSpace] = 65535
    found[ExifTags.IFD.Exif] = details
    gps = ExifTags.GPS
    found[ExifTags.IFD.GPSInfo] = {gps.GPSLatitudeRef: "N", gps.GPSLatitude: PLACE}
    return found


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and blue exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer(Painter(), working_size=16, quality="fast")


@pytest.fixture
def color(colorizer):
    """A colored copy of a file, opened, and what was noted of it."""

    def run(source: str, **options) -> tuple[Image.Image, tuple[str, ...]]:
        options = {"overwrite": True, "progress": False, **options}
        (outcome,) = colorize_files([source], colorizer, "out", **options)
        assert outcome.state == "colored", outcome.notes
        image = Image.open(outcome.written[0])
        image.load()
        return image, outcome.notes

    return run


def put(name: str, pixels=None, **options) -> str:
    """A file with this format's ending."""
    how = FORMATS[name]
    file = f"a{how.suffixes[0]}"
    image = (
        pixels
        if isinstance(pixels, Image.Image)
        else Image.fromarray(noise() if pixels is None else pixels)
    )
    if isinstance(given := options.get("exif"), Image.Exif):
        options["exif"] = given.tobytes()  # which PIL needs for a TIFF
    lossless = {"webp": {"lossless": True}, "jpeg": {"quality": 95}}.get(name, {})
    image.save(file, how.pil, **lossless, **options)
    return file


# Formats


@those()
def test_the_format_is_the_sources(name, color):
    image, notes = color(put(name))
    assert image.format == FORMATS[name].pil
    assert (image.mode, image.size, notes) == ("RGB", (60, 40), ())
    assert is_painted(image)
    source = np.asarray(Image.fromarray(noise()).convert("L")).astype(int)
    assert np.abs(np.asarray(image.convert("L")) - source).mean() < 15


@those()
def test_every_format_can_be_asked_for(name, color):
    Image.fromarray(noise()).save("b.gif")
    image, _ = color("b.gif", format=name)
    assert image.format == FORMATS[name].pil and is_painted(image)
    assert Path(f"out/b{FORMATS[name].suffixes[0]}").exists()


@those()
def test_equal_pictures_become_equal_bytes(name, colorizer):
    options = {"exif": exif().tobytes()} if "exif" in FORMATS[name].keeps else {}
    if "icc" in FORMATS[name].keeps:
        options["icc_profile"] = swapped_profile()
    data = Path(put(name, **options)).read_bytes()
    first, notes = colorize_bytes(data, colorizer)
    assert (CONVERTED in notes) == ("icc" in FORMATS[name].keeps)
    assert colorize_bytes(data, colorizer) == (first, notes)
    (outcome,) = colorize_files(["."], colorizer, "out", progress=False)
    assert outcome.written[0].read_bytes() == first
    assert format_read(Image.open(BytesIO(first)).format) == name


def test_formats_are_named_by_themselves_and_by_their_endings():
    assert [format_named(each) for each in ("jpeg", "jpg", "JPG", "tif", "tiff")] == [
        "jpeg", "jpeg", "jpeg", "tiff", "tiff",
    ]  # fmt: skip
    for wrong in ("gif", "", ".jpg", "jpeg2000"):
        with pytest.raises(UsageError, match=r"unknown format .*: choices: jpeg, png, tiff, webp"):
            format_named(wrong)
    assert format_read("MPO") == format_read("JPEG") == "jpeg"
    assert [format_read(each) for each in ("GIF", "HEIF", None)] == ["png", "heic", "png"]


def test_what_this_pillow_lacks_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UsageError, match=r"^HEIC needs one more package: pip install [^\n]*$"):
        format_named("heic")
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(UsageError, match=r"built without AVIF: choose another --format$"):
        format_named("avif")


@pytest.mark.skipif(LACKING["heic"], reason="writes one")
def test_heic_without_its_package_is_one_line_that_names_it(tmp_path):
    model = painter_file(tmp_path / "painter.onnx")
    done = process("colorize", put("heic"), "--model", str(model), without="torch pillow_heif")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert b"cannot read a.heic: HEIC needs one more package: pip install" in done.stderr


# What belongs to a picture


@that_keep("exif")
def test_exif_is_kept_and_the_picture_upright(name, color):
    pixels = noise()
    pixels = np.where(np.arange(60)[:, None] < 30, pixels // 4, pixels)  # dark on its left
    image, notes = color(put(name, pixels, exif=exif()))
    assert notes == () and image.size == (40, 60)
    rows = np.asarray(image.convert("L")).mean(1)
    assert rows[:25].mean() < rows[-25:].mean() - 40  # which came to the top
    found = image.getexif()
    assert found.get(ExifTags.Base.Orientation, 1) == 1
    assert found[ExifTags.Base.Make] == "Leitz" and found[ExifTags.Base.Model] == "Leica II"
    details = found.get_ifd(ExifTags.IFD.Exif)
    assert details[ExifTags.Base.DateTimeOriginal] == TAKEN
    assert float(details[ExifTags.Base.ExposureTime]) == pytest.approx(0.02)
    assert (details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight]) == (
        40,
        60,
    )
    gps = found.get_ifd(ExifTags.IFD.GPSInfo)
    assert gps[ExifTags.GPS.GPSLatitudeRef] == "N" and gps[ExifTags.GPS.GPSLatitude] == PLACE


@that_keep("exif")
def test_text_stays_as_it_was_encoded(name, color):
    if name in ("tiff", "avif"):  # PIL writes no others here without writing "?" for "ß"
        tags = Image.Exif()
        tags[ExifTags.Base.ImageDescription] = DESCRIPTION.encode()
        file = put(name)
        with Image.open(file) as plain:
            plain.save(file, exif=tags)
    else:
        file = put(name, exif=exif())
    assert DESCRIPTION.encode() in Path(file).read_bytes()
    image, _ = color(file)
    assert DESCRIPTION.encode() in Path(image.filename).read_bytes()
    assert image.getexif()[ExifTags.Base.ImageDescription].encode("latin-1") == DESCRIPTION.encode()


@that_keep("exif")
def test_exif_moves_from_one_format_to_another(name, color):
    owner = ExifTags.Base.CameraOwnerName
    image, notes = color(put("jpeg", exif=exif(details={owner: "Jürgen".encode()})), format=name)
    assert notes == () and image.format == FORMATS[name].pil
    found = image.getexif()
    assert found[ExifTags.Base.ImageDescription].encode("latin-1") == DESCRIPTION.encode()
    text = found.get_ifd(ExifTags.IFD.Exif)[owner]
    assert "Jürgen".encode() == (text if isinstance(text, bytes) else text.encode("latin-1"))
    assert found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == PLACE


@those("jpeg", "png", "webp")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(name, orientation, color):
    pixels = np.full((40, 60, 3), 60, np.uint8)
    pixels[:20, :20] = 190
    with Image.open(put(name, pixels, exif=exif(orientation))) as source:
        expected = np.asarray(Image.fromarray(np.asarray(source.convert("L"))))
    turned = [
        expected, expected[:, ::-1], expected[::-1, ::-1], expected[::-1], expected.T,
        expected.T[:, ::-1], expected.T[::-1, ::-1], expected.T[::-1],
    ][orientation - 1]  # fmt: skip
    image, _ = color("a" + FORMATS[name].suffixes[0])
    assert np.abs(np.asarray(image.convert("L")).astype(int) - turned).mean() < 15
    assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_what_describes_the_old_pixels_goes(color):
    old = exif()
    old[ExifTags.Base.YCbCrPositioning], old[ExifTags.Base.Compression] = 1, 6
    if PILLOW >= 13:  # before, it cannot write a thumbnail's directory
        old.get_ifd(ExifTags.IFD.IFD1)[ExifTags.Base.JpegIFByteCount] = 100
    image, _ = color(put("jpeg", exif=old))
    found = image.getexif()
    assert set(found) == {
        ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model,
        ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo,
    }  # fmt: skip
    assert not found.get_ifd(ExifTags.IFD.IFD1)


def test_no_directory_of_the_old_file_is_pointed_to(color):
    file = put("jpeg", exif=exif(details={ExifTags.IFD.Interop: {1: "R98"}}))
    with Image.open(file) as source:
        assert ExifTags.IFD.Interop in source.getexif().get_ifd(ExifTags.IFD.Exif)
    image, _ = color(file)
    assert ExifTags.IFD.Interop not in image.getexif().get_ifd(ExifTags.IFD.Exif)


def test_no_exif_is_made_up(color):
    for name in ("jpeg", "png", "tiff"):
        image, notes = color(put(name))
        assert "exif" not in image.info and "xmp" not in image.info and notes == ()
        assert not image.getexif().get_ifd(ExifTags.IFD.Exif)


@that_keep("xmp")
def test_xmp_is_kept_without_the_orientation(name, color):
    if name == "tiff":
        tags = Image.Exif()
        tags[700], tags[ExifTags.Base.Orientation] = XMP, 6
        file = put(name, exif=tags)
    elif name == "png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        file = put(name, pnginfo=info)
    else:
        file = put(name, xmp=XMP, exif=exif())
    image, notes = color(file)
    assert notes == () and image.size == (40, 60)
    assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert image.info["xmp"] == XMP.replace(b'tiff:Orientation="6"', b"")
    if name not in ("tiff", "png"):
        assert image.getexif()[ExifTags.Base.Make] == "Leitz"


def test_exif_and_xmp_of_a_tiff_are_kept_together(color):
    tags = exif()
    tags[700] = XMP
    image, _ = color(put("tiff", exif=tags))
    assert b"dc:title" in image.info["xmp"]
    assert image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == TAKEN
    assert image.info.get("compression") in (None, "raw")
    image, _ = color(put("tiff"))
    assert image.info["compression"] == "tiff_adobe_deflate"


@that_keep("dpi")
def test_the_resolution_is_kept(name, color):
    image, notes = color(put(name, dpi=(300, 300)))
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.2) and notes == ()
    image, _ = color(put(name))
    assert "dpi" not in image.info or max(image.info["dpi"]) < 97  # what PIL makes up


@that_keep("alpha")
def test_transparency_is_kept(name, color):
    source = Image.fromarray(noise()).convert("RGBA")
    alpha = Image.linear_gradient("L").resize(source.size)
    source.putalpha(alpha)
    image, notes = color(put(name, source))
    assert (image.mode, notes) == ("RGBA", ())
    difference = np.asarray(image.getchannel("A")).astype(int) - np.asarray(alpha)
    assert np.abs(difference).max() <= (12 if name in ("avif", "heic") else 0)


@those("jpeg", "bmp", "ppm")
def test_what_cannot_be_transparent_is_laid_on_white(name, color):
    source = Image.fromarray(noise()).convert("RGBA")
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 32:] = 255
    source.putalpha(Image.fromarray(alpha))
    image, notes = color(put("png", source), format=name)
    assert (image.mode, notes) == ("RGB", (ON_WHITE,))
    assert np.asarray(image)[:, :30].min() > 240
    assert is_painted(image.crop((34, 0, 60, 40)))


@that_keep("icc")
def test_colors_are_converted_to_srgb_which_is_embedded(name, color):
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 0] = 255
    image, notes = color(put(name, red, icc_profile=swapped_profile(), exif=exif()))
    assert notes == (CONVERTED,)
    # By its profile it is blue, of lightness 32; as sRGB it would be red, of 53.
    assert abs(float(Picture(image).lightness(slice(0, 60)).mean() + 1) * 50 - 32.3) < 3
    profile = image.info["icc_profile"]
    opened = ImageCms.ImageCmsProfile(BytesIO(profile))
    assert "sRGB" in ImageCms.getProfileDescription(opened)
    assert profile[24:36] == bytes(12)  # no date of its making
    assert image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] == 1
    image, notes = color(put(name, exif=exif()))
    assert notes == () and "icc_profile" not in image.info
    assert image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] == 65535


def test_a_broken_profile_is_as_none(color):
    image, notes = color(put("png", icc_profile=b"junk"))
    assert notes == () and "icc_profile" not in image.info and is_painted(image)


# What is changed is said


@those("gif", "png", "tiff", "webp", "avif", "heic")
def test_of_several_pages_the_first_is_colored(name, color):
    if name == "heic":
        import pillow_heif

        heif = pillow_heif.HeifFile()
        for level in (120, 30):
            heif.add_from_pillow(Image.new("RGB", (64, 48), (level,) * 3))
        heif.save("a.heic")
        file = "a.heic"
    else:
        file = "a.gif" if name == "gif" else f"a{FORMATS[name].suffixes[0]}"
        first, second = (Image.new("RGB", (64, 48), (level,) * 3) for level in (120, 30))
        first.save(file, save_all=True, append_images=[second])
    image, notes = color(file)
    assert notes == (FIRST_OF_SEVERAL,)
    assert image.size == (64, 48) and getattr(image, "n_frames", 1) == 1
    assert is_painted(image)
    assert abs(float(np.asarray(image.convert("L")).mean()) - 120) < 15
    with open(file, "rb") as opened:
        buffer = BytesIO(opened.read())
    assert Picture(buffer).notes == Picture(buffer).notes == (FIRST_OF_SEVERAL,)


@pytest.mark.parametrize(
    ("file", "dtype", "channels"),
    [("a.png", ">u2", 1), ("a.tif", "u2", 1), ("a.png", ">u2", 3), ("a.pgm", ">u2", 1)],
)
def test_16_bits_become_8_which_is_said(file, dtype, channels, color):
    values = np.linspace(20000, 40000, 40 * 60).astype("u2").reshape(40, 60)
    if channels == 3:
        Path(file).write_bytes(png_of_16_bits(np.repeat(values[..., None], 3, axis=2)))
    elif file.endswith("pgm"):
        Path(file).write_bytes(b"P5 60 40 65535\n" + values.astype(dtype).tobytes())
    else:
        Image.fromarray(values).save(file)
    image, notes = color(file)
    assert (image.mode, notes) == ("RGB", (EIGHT_BITS,))
    assert is_painted(image)
    grey = np.asarray(image.convert("L")).astype(int)
    assert grey.min() > 65 and grey.max() < 175


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """A PNG file of (H, W, 3) uint16, which PIL cannot write (PNG 1.2, chapter 11)."""
    from zlib import compress, crc32

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    head = struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", compress(lines)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@that_keep("quality")
def test_quality_is_a_matter_of_size(name, color):
    file = put(name, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    sizes = []
    for quality in (20, 60, 92):
        image, _ = color(file, jpeg_quality=quality)
        sizes.append(Path(image.filename).stat().st_size)
    assert sizes[0] * 1.3 < sizes[1] and sizes[1] * 1.3 < sizes[2]
    image, _ = color(file)
    assert Path(image.filename).stat().st_size == sizes[2]


@those("png", "tiff", "bmp", "ppm")
def test_what_is_lossless_has_no_quality(name, color):
    file = put(name)
    found = [Path(color(file, jpeg_quality=q)[0].filename).read_bytes() for q in (1, 100)]
    assert found[0] == found[1]


def test_exif_that_is_too_large_is_left_out_and_said(color):
    old = exif()
    old[ExifTags.Base.Artist] = "x" * 70000
    image, notes = color(put("png", exif=old), format="jpeg")
    assert notes == (NOT_KEPT,)
    assert image.format == "JPEG" and image.size == (40, 60) and is_painted(image)
    assert not image.getexif()
    image, notes = color(put("png", exif=old))
    assert notes == () and len(image.getexif()[ExifTags.Base.Artist]) == 70000


@those("bmp", "ppm")
def test_metadata_that_a_format_cannot_hold_is_said_once(name, color):
    _, notes = color(put("jpeg", exif=exif(), xmp=XMP), format=name)
    assert notes == (NOT_KEPT,)


BROKEN = {
    "junk": b"Exif\0\0junkjunkjunk",
    "short": b"Exif\0\0MM",
    "nothing": b"Exif\0\0MM\0*\0\0\0\x08",
    "cut": exif().tobytes()[:60],
    "nowhere": b"Exif\0\0MM\0*\0\xff\0\x08" + bytes(20),
    "wrong": b"Exif\0\0MM\0*\0\0\0\x08\0\2"
    + struct.pack(">HHII", 0x112, 2, 9, 500)
    + struct.pack(">HHII", 0x8769, 4, 1, 10**6)
    + bytes(4),
}


@those("jpeg", "png", "webp", "heic")
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_exif_is_no_reason_to_refuse_a_picture(name, kind, color):
    image, notes = color(put(name, exif=BROKEN[kind]))
    assert image.size == (60, 40) and is_painted(image)
    assert notes == ((BROKEN_EXIF,) if kind in ("junk", "short") else ())


def test_a_given_image_with_broken_exif_is_taken(colorizer):
    for _ in range(2):
        image = Image.open(put("webp", exif=BROKEN["junk"]))
        assert is_painted(colorizer(image)) and is_painted(colorizer(image))


# What a format cannot hold


@pytest.mark.parametrize(("name", "width"), [("webp", 16384), ("jpeg", 65501)])
def test_a_picture_too_wide_for_its_format_is_one_line(name, width, colorizer):
    if LACKING.get(name):
        pytest.skip("this Pillow lacks it")
    Image.new("L", (width, 1), 120).save("wide.png", dpi=(300, 300))
    (outcome,) = colorize_files(["wide.png"], colorizer, "out", format=name, progress=False)
    assert (outcome.state, outcome.written) == ("failed", ())
    (said,) = outcome.notes
    pil, ending = FORMATS[name].pil, FORMATS[name].suffixes[0]
    assert said.startswith(f"cannot write out/wide{ending} as {pil}: ") and "\n" not in said
    assert not list(Path("out").iterdir())
    (outcome,) = colorize_files(["wide.png"], colorizer, "out", progress=False)
    assert isinstance(outcome, Outcome) and outcome.state == "colored"


@pytest.mark.parametrize("dpi", [(0, 0), (1e9, 1e9), (float("nan"), 1.0), ("a", "b"), 5, (1, 1)])
def test_a_resolution_that_is_none_is_left_out(dpi):
    image = Image.fromarray(noise())
    image.info["dpi"] = dpi
    assert Picture(image).metadata == Metadata()


def test_a_plain_picture_has_nothing_to_keep():
    picture = Picture(noise())
    assert (picture.metadata, picture.notes, picture.format) == (Metadata(), (), None)
