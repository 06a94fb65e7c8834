"""Files that break readers of pictures, and pictures that look as if they did; always the same.

`pictures` can be read, `no_pictures` cannot, `damaged` ones may be either; `bombs` would fill the
memory. Each gives pairs of a name, some of which are no UTF-8, and the content.
"""

import os
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

Files = Iterator[tuple[str, bytes]]

SIZE = (14, 12)
MODES = (
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV",
    "I", "F", "I;16", "I;16L", "I;16B", "I;16N",
)  # fmt: skip
# PIL only writes the first two; the others are refused: see images.py.
NO_READER = {"PDF", "PALM", "EPS", "ICNS", "BLP"}
LARGE = (13000, 10000)  # nearly as large as pictures may be
_ORIENTATION = 0x112

Image.init()
with suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()
_KNOWN = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "GIF": ".gif", "WEBP": ".webp"}
_KNOWN |= {"BMP": ".bmp", "PPM": ".ppm", "AVIF": ".avif", "HEIF": ".heic"}
_KNOWN = {format: ending for format, ending in _KNOWN.items() if format in Image.SAVE}


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Noise in any of MODES."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    noise = Image.fromarray(noise)
    for way in ((mode,), ("RGB", mode), ("L", mode), ("RGB", "P", mode), ("LA", mode)):
        with suppress(ValueError):
            image = noise
            for step in way:
                image = image.convert(step)
            return image
    raise ValueError(mode)


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = BytesIO()
    if format == "ICO":  # Pillow 12 writes none of a size that is not asked for
        options["sizes"] = [image.size]
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pictures() -> Files:
    yield from _every_mode_in_every_format()
    yield from _unusual_files()
    yield from _unusual_metadata()
    yield from _unusual_names()
    yield "large/transparent.jpg", gif_of(*LARGE, frames=2)


def elsewhere() -> Files:
    """Pictures that folders are not searched for."""
    endings = {"TGA": "tga", "ICO": "ico", "PCX": "pcx", "QOI": "qoi", "JPEG2000": "jp2"}
    for format, ending in (endings | {"JPEG": "jfif", "PNG": "\n", "TIFF": "\udcff"}).items():
        yield f"{format}.{ending}", saved(picture(), format)


def _every_mode_in_every_format() -> Files:
    """Those that folders are not searched for are called .jpg."""
    for format in sorted(set(Image.SAVE) - NO_READER):
        for mode in MODES:
            with suppress(OSError, ValueError, KeyError, AttributeError):
                content = saved(picture(mode), format)
                if (format, mode) == ("TIFF", "YCbCr"):
                    Image.open(BytesIO(content)).load()  # which Pillow 12 cannot do
                name = mode.replace(";", "-")
                yield f"modes/{name}-{format}{_KNOWN.get(format, '.jpg')}", content
                if format in _KNOWN and mode in ("RGB", "RGBA"):
                    for wrong in {".jpg", ".png", ".tif", ".heic"} - {_KNOWN[format]}:
                        yield f"modes/wrong-{name}-{format}{wrong}", content


def _unusual_files() -> Files:
    for width, height in ((1, 1), (1, 2), (5000, 1), (1, 5000), (3, 3)):
        for format in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"):
            for mode in ("L", "RGB"):
                name = f"sizes/{width}x{height}-{mode}{_KNOWN[format]}"
                yield name, saved(picture(mode, (width, height)), format)
    for mode in ("L", "RGB", "CMYK"):
        for subsampling in (0, 2) if mode == "RGB" else (0,):
            options = {"progressive": True, "subsampling": subsampling, "restart_marker_rows": 1}
            yield f"jpeg/{mode}-{subsampling}.jpg", saved(picture(mode), "JPEG", **options)
    for mode, compressions in {
        "1": "tiff_lzw tiff_adobe_deflate packbits group3 group4 tiff_ccitt zstd lzma",
        "L": "tiff_lzw tiff_adobe_deflate packbits tiff_deflate jpeg zstd lzma",
        "RGB": "tiff_lzw tiff_adobe_deflate packbits tiff_deflate jpeg zstd lzma",
        "CMYK": "tiff_lzw tiff_adobe_deflate packbits jpeg",
        "I;16": "tiff_lzw tiff_adobe_deflate packbits zstd lzma",
    }.items():
        for compression in compressions.split():
            with suppress(OSError):  # libtiff can be built without some
                name = f"tiff/{compression}-{mode.replace(';', '-')}.tif"
                yield name, saved(picture(mode), "TIFF", compression=compression)
    pages = {"save_all": True, "append_images": [picture("L"), picture("RGB", (3, 3))]}
    yield "tiff/pages.tif", saved(picture(), "TIFF", **pages)
    yield "tiff/big.tif", saved(picture(), "TIFF", big_tiff=True)
    for format in ("GIF", "WEBP", "PNG", "AVIF"):
        for mode in ("RGB", "RGBA", "P"):
            if _holds(format, mode):
                frames = {"save_all": True, "append_images": [picture(mode).rotate(180)]}
                name = f"animated/{mode}{_KNOWN[format]}"
                yield name, saved(picture(mode), format, duration=50, **frames)
    yield "webp/lossless.webp", saved(picture("RGBA"), "WEBP", lossless=True, exact=True)
    numbers = np.random.default_rng(0).integers(0, 2**16, (*SIZE[::-1], 4)).astype(np.uint16)
    tiled = {"tile": (16, 16), "compression": "zlib"}
    for name, array, options in (
        ("tiled", numbers[..., 0], tiled),
        ("tiled-rgb", (numbers >> 8).astype(np.uint8)[..., :3], tiled),
        ("rgb16", numbers[..., :3], {}),
        ("rgba16", numbers, {"extrasamples": ["unassalpha"], "photometric": "rgb"}),
        ("cmyk16", numbers, {"photometric": "separated", "compression": "zlib"}),
        ("rgb16-big-endian", numbers[..., :3], {"byteorder": ">"}),
        ("planar", numbers[..., :3].transpose(2, 0, 1), {"planarconfig": "separate"}),
        ("big-float", numbers[..., 0].astype(np.float32) / 2**16, {"bigtiff": True}),
        ("nan", np.full(SIZE, np.nan, np.float32), {}),
        ("white-is-zero", numbers[..., 0].astype(np.uint8), {"photometric": "miniswhite"}),
    ):
        buffer = BytesIO()
        tifffile.imwrite(buffer, array, **{"photometric": _photometric(array)} | options)
        yield f"tiff/{name}.tif", buffer.getvalue()
    for mode, transparency in (("P", 3), ("P", bytes(range(256))), ("L", 7), ("RGB", (1, 2, 3))):
        name = f"transparency/{mode}-{type(transparency).__name__}.png"
        yield name, saved(picture(mode), "PNG", transparency=transparency)
    yield "transparency/one.gif", saved(picture("P"), "GIF", transparency=5)
    yield "transparency/i16.png", _with_chunk(saved(picture("I;16"), "PNG"), b"tRNS", b"\0\7")
    yield "transparency/1.png", saved(picture("1"), "PNG", transparency=1)


def _photometric(array: np.ndarray) -> str:
    return "rgb" if array.ndim == 3 else "minisblack"


def _unusual_metadata() -> Files:
    junk = random.Random(1).randbytes
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiles = {
        "srgb": profile,
        "lab": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        "junk": junk(500),
        "huge": junk(900_000),
        "cut": profile[:200],
        "flipped": _flipped(profile, 20, 3),
        "size-0": bytes(4) + profile[4:],
        "size-huge": b"\xff" * 4 + profile[4:],
        "empty": b"",
    }
    for name, icc in profiles.items():
        for format in ("JPEG", "PNG", "TIFF", "WEBP"):
            for mode in ("RGB", "L") if format == "PNG" else ("RGB",):
                content = saved(picture(mode), format, icc_profile=icc)
                yield f"icc/{name}-{mode}{_KNOWN[format]}", content
    yield "icc/cmyk.jpg", saved(picture("CMYK"), "JPEG", icc_profile=profile)
    yield "icc/i16.png", saved(picture("I;16"), "PNG", icc_profile=profile)
    for orientation in (*range(10), 65535, "six", b"\6", (6, 6), 6.0):
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        for format in ("JPEG", "PNG", "TIFF", "WEBP"):
            with suppress(TypeError, struct.error, ValueError):
                name = str(orientation).replace("/", "-")
                content = saved(picture(), format, exif=exif)
                yield f"orientation/{name}{_KNOWN[format]}", content
    # One directory at byte 8, whose directory of details is itself, as is its successor.
    cyclic = b"II*\0\x08\0\0\0" + struct.pack("<HHHLL", 1, 0x8769, 4, 1, 8) + struct.pack("<L", 8)
    endless = b"II*\0\x08\0\0\0" + struct.pack("<HHHLL", 1, 270, 2, 2**32 - 1, 8) + bytes(4)
    exifs = {
        "junk": junk(300),
        "huge": b"II*\0" + junk(65_000),
        "cyclic": cyclic,
        "endless": endless,
        "many": b"MM\0*\0\0\0\x08\xff\xff" + junk(3000),
        "empty": b"",
        "head": b"II*\0",
    }
    for name, body in exifs.items():
        for format in ("JPEG", "PNG", "WEBP"):
            content = saved(picture(), format, exif=b"Exif\0\0" + body)
            yield f"exif/{name}{_KNOWN[format]}", content
    for name, dpi in {"zero": (0, 0), "huge": (65535, 65535), "uneven": (1, 65535)}.items():
        for format in ("JPEG", "PNG", "BMP", "TIFF"):
            yield f"dpi/{name}{_KNOWN[format]}", saved(picture(), format, dpi=dpi)
    for name, value in {"nan": IFDRational(0, 0), "infinite": IFDRational(1, 0)}.items():
        tags = ImageFileDirectory_v2()
        tags[282] = tags[283] = value
        yield f"dpi/{name}.tif", saved(picture(), "TIFF", tiffinfo=tags)
    for format in ("JPEG", "PNG", "WEBP"):
        yield f"xmp/junk{_KNOWN[format]}", saved(picture(), format, xmp=junk(3000))
    png = saved(picture(), "PNG")
    for name, chunk in (
        ("tEXt", b"no zero"), ("zTXt", b"a\0\0junk"), ("iTXt", b"a\0"), ("gAMA", bytes(4)),
        ("eXIf", b""), ("tIME", b"\xff" * 7),
    ):  # fmt: skip
        yield f"chunks/{name}.png", _with_chunk(png, name.encode(), chunk)


def _unusual_names() -> Files:
    png = saved(picture(), "PNG")
    for name in (
        "new\nline.png", "two\n\nnew\r\nlines.png", "carriage\rreturn.png", "tab\t.png",
        "'single' \"double\".png", "--out.png", "-.png", " .png", "trailing .png", "com,ma;.png",
        "\x1b[31mred.png", "\x01\x7f.png", "%s{0}$HOME`ls`.png", "*.png", "[a-z].png", "?.png",
        "back\\slash.png", "🌈👩\u200d👩.png", "e\u0301.png", "é.png", "\u202egnp.png", "PNG.PNG",
        "a.jpg.png", "=1+1.png", "~.png", "no.such\u2028line.png", "x" * 246 + ".png",
        "é" * 123 + ".png", "🌈" * 61 + ".png",
    ):  # fmt: skip
        yield f"names/{name}", png
    for raw in (b"\xff\xfe.png", b"caf\xe9.png", b"\xed\xa0\x80.png", b"\x80" * 250 + b".png"):
        yield f"names/{os.fsdecode(raw)}", png
    yield "names/same.gif", saved(picture("P"), "GIF")
    yield "names/same.png", png
    yield "names/deep\n/er/" + "d" * 200 + "/x.png", png
    yield "names/folder.png/within.png", png


def no_pictures() -> Files:
    for ending in (".png", ".jpg", ".tif", ".gif", ".webp", ".avif", ".heic", ".bmp", ".ppm"):
        yield f"none/empty{ending}", b""
        yield f"none/text{ending}", b"This is no picture.\nNor is this.\n"
    yield "none/zeros.jpg", bytes(10_000)
    yield "none/script.png", b"#!/bin/sh\nexit 1\n"
    yield "none/page.gif", b"<!DOCTYPE html><html><title>404</title></html>"
    yield "none/drawing.png", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
    for format in sorted(NO_READER):
        mode = "P" if format in ("BLP", "PALM") else "L"
        yield f"none/{format}.jpg", saved(picture(mode), format)
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"
    yield "none/for-ever.jpg", postscript
    for format in _KNOWN:
        yield f"none/head{_KNOWN[format]}", saved(picture(), format)[:12]


def bombs() -> Files:
    """Small files that unfold to more than memory should hold; none may be colored."""
    for width, height in ((12000, 12000), (60000, 60000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)):
        name = f"bombs/{width}x{height}"
        yield f"{name}.png", png_of(width, height)
        yield f"{name}.tif", _tiff_of(width, height)
        yield f"{name}.bmp", _bmp_of(width, height)
        yield f"{name}.ppm", b"P6 %d %d 255\n" % (width, height) + bytes(100)
        yield f"{name}-text.pgm", b"P2 %d %d 255\n" % (width, height) + b"0 " * 100
    yield "bombs/real.png", png_of(12000, 12000, whole=True)
    for side in (12000, 60000, 65535):
        yield f"bombs/{side}.gif", gif_of(side, side)
        jpeg = saved(picture(), "JPEG")
        at = jpeg.index(b"\xff\xc0") + 5  # height, width
        yield f"bombs/{side}.jpg", jpeg[:at] + struct.pack(">HH", side, side) + jpeg[at + 4 :]
    # Others may be LARGE, but the readers of these hold a picture several times.
    yield "bombs/one-color.webp", webp_of(*LARGE)
    sizes = struct.pack(">LL", *SIZE), struct.pack(">LL", *SIZE[::-1])
    j2k = saved(picture(), "JPEG2000").replace(sizes[0], struct.pack(">LL", *LARGE))
    yield "bombs/j2k.jpg", j2k.replace(sizes[1], struct.pack(">LL", *LARGE[::-1]))
    png = png_of(13000, 13000, whole=True)
    icon = struct.pack("<HHHBBBBHHLL", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png
    yield "bombs/icon.jpg", icon
    deflated = zlib.compress(bytes(64 << 20), 1)
    for kind in (b"zTXt", b"iCCP"):
        bomb = _with_chunk(saved(picture(), "PNG"), kind, b"name\0\0" + deflated)
        yield f"bombs/{kind.decode()}.png", bomb
    yield "bombs/iTXt.png", _with_chunk(png_of(9, 9), b"iTXt", b"a\0\1\0\0\0" + deflated)


def png_of(width: int, height: int, color: int = 0, whole: bool = False) -> bytes:
    """A black PNG of 1 bit, of 8 for colors other than 0; only a start of its data if not whole."""
    body = bytes((width + 7) // 8 + 1) * height if whole else bytes(1000)
    head = struct.pack(">LLBBBBB", width, height, 8 if color else 1, color, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(body)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def gif_of(width: int, height: int, frames: int = 1) -> bytes:
    """A canvas of any size, transparent but for one pixel."""
    head = (
        b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes((9, 9, 9, 99, 99, 0))
    )
    frame = b"!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0"
    return head + frame * frames + b";"


def webp_of(width: int, height: int) -> bytes:
    """A picture of one color in 38 bytes."""
    small = saved(Image.new("RGB", (16, 16), (90, 120, 60)), "WEBP", lossless=True)
    bits = struct.pack("<L", (width - 1) | (height - 1) << 14)
    return small[:21] + bits + small[25:]


def _tiff_of(width: int, height: int) -> bytes:
    content = saved(Image.new("1", (77, 55)), "TIFF", compression="group4")
    for old, new in ((77, width), (55, height)):
        long = struct.pack("<HL", 4, 1) + struct.pack("<L", new)
        content = content.replace(struct.pack("<HLL", 3, 1, old), long)
        content = content.replace(struct.pack("<HLL", 4, 1, old), long)
    return content


def _bmp_of(width: int, height: int) -> bytes:
    content = saved(picture(), "BMP")
    return content[:18] + struct.pack("<LL", width, height) + content[26:]


def _with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    return png[:33] + _chunk(kind, data) + png[33:]  # after IHDR


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def damaged() -> Files:
    whole = {
        f"{format}-{mode}": (saved(picture(mode, (40, 30)), format), _KNOWN.get(format, ".jpg"))
        for format in (*_KNOWN, "JPEG2000", "TGA", "PCX", "ICO", "ICNS", "QOI", "DDS", "SGI", "IM")
        for mode in ("RGB", "P", "RGBA")
        if format in Image.SAVE and _holds(format, mode)
    }
    lzw = saved(picture("L", (40, 30)), "TIFF", compression="tiff_lzw")
    packed = saved(picture("RGB", (40, 30)), "TIFF", compression="tiff_adobe_deflate")
    fax = saved(picture("1", (40, 30)), "TIFF", compression="group4")
    jpeg = saved(picture("RGB", (40, 30)), "TIFF", compression="jpeg")
    for name, content in {"lzw": lzw, "deflate": packed, "fax": fax, "jpeg": jpeg}.items():
        whole[f"TIFF-{name}"] = content, ".tif"
    whole["JPEG-progressive"] = saved(picture("RGB", (40, 30)), "JPEG", progressive=True), ".jpg"
    pages = {"save_all": True, "append_images": [picture("L")]}
    whole["TIFF-pages"] = saved(picture(), "TIFF", **pages), ".tif"
    for number, (name, (content, ending)) in enumerate(whole.items()):
        for part in (0.1, 0.5, 0.99):
            yield f"cut/{name}-{part}{ending}", content[: int(len(content) * part)]
        for i, flips in enumerate((1, 10, 50)):
            yield f"flipped/{name}-{i}{ending}", _flipped(content, flips, 100 * number + i)
        yield f"flipped/{name}-head{ending}", _flipped(content[:64], 4, number) + content[64:]
    # Two directories that follow each other for ever, and one that follows itself.
    tiff = saved(picture(), "TIFF", **pages)
    first = struct.unpack("<L", tiff[4:8])[0]
    count = struct.unpack("<H", tiff[first : first + 2])[0]
    at = first + 2 + 12 * count
    second = struct.unpack("<L", tiff[at : at + 4])[0]
    yield "loops/itself.tif", tiff[:at] + struct.pack("<L", first) + tiff[at + 4 :]
    at = second + 2 + 12 * struct.unpack("<H", tiff[second : second + 2])[0]
    yield "loops/two.tif", tiff[:at] + struct.pack("<L", first) + tiff[at + 4 :]


def _holds(format: str, mode: str) -> bool:
    with suppress(OSError, ValueError, KeyError):
        return Image.open(BytesIO(saved(picture(mode), format))).mode == mode
    return False


def _flipped(content: bytes, flips: int, seed: int) -> bytes:
    found, rng = bytearray(content), random.Random(seed)
    for _ in range(flips):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def write(folder: Path, files: Files) -> list[str]:
    """The names that the file system takes: some disks want UTF-8, or find "a" in "A"."""
    names = []
    for name, content in files:
        with suppress(OSError):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with open(folder / name, "xb") as file:
                file.write(content)
            names.append(name)
    return names


def put_what_is_no_file(folder: Path) -> None:
    """Links, pipes and sockets called as pictures are."""
    folder.mkdir(parents=True)
    os.symlink("self.png", folder / "self.png")
    os.symlink("two.png", folder / "one.png")
    os.symlink("one.png", folder / "two.png")
    os.symlink("gone.png", folder / "dangling.png")
    os.symlink(".", folder / "again")
    os.symlink("..", folder / "above.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe\n.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket may have 108 bytes
        listening.bind("socket.png")
        os.chdir(here)
    (folder / "folder.jpg").mkdir()
