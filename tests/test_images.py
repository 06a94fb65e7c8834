"""Pictures of every mode become the right colors and the right lightness, or one clear line."""

import os
import socket
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from colourgan.color import encode
from colourgan.errors import RunError, UsageError
from colourgan.images import list_images, read_rgb, strips
from colourgan.pictures import Picture

COLORS = np.array(
    [[[255, 0, 0], [0, 160, 40], [20, 30, 200]], [[250, 240, 30], [128, 128, 128], [0, 0, 0]]],
    dtype=np.uint8,
)


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def lightness(pixels: np.ndarray) -> torch.Tensor:
    """(1, 1, H, W) of (H, W, 3) uint8."""
    return encode(torch.tensor(pixels).permute(2, 0, 1)[None])[0]


def icc(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC version 2 profile with these tags (ICC.1:2001-04, section 6)."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061), **tags}
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">2I", offset + len(body), len(data))
        body += data
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"", 0x02100000, kind, space, pcs)
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return head + b"\0" * (128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and blue exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


def black_ink_profile() -> bytes:
    """CMYK in which black ink alone counts: lightness 100 or 0, neutral."""
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    corners = b"".join(bytes((0 if i & 1 else 255, 128, 128)) for i in range(16))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + ramp * 4 + corners + ramp * 3
    return icc(b"CMYK", {b"A2B0": lut}, pcs=b"Lab ")


def read_lightness(source):
    """(L (1, 1, H, W), alpha) of a picture."""
    picture = Picture(source)
    L = picture.lightness(slice(0, picture.height))
    return torch.from_numpy(L)[None, None], picture.alpha


@pytest.mark.parametrize(
    ("mode", "ending", "near"),
    [
        ("RGB", "png", 0),
        ("RGBA", "png", 0),
        ("P", "png", 0),
        ("P", "gif", 0),
        ("CMYK", "tif", 0),
        ("YCbCr", None, 3),
        ("LAB", "tif", 12),
    ],
)
def test_color_modes_keep_their_colors(mode, ending, near, tmp_path):
    rgb = Image.fromarray(COLORS)
    image = rgb.quantize(6) if mode == "P" else rgb.convert(mode) if mode != "LAB" else None
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(rgb, *profiles, outputMode="LAB")
        del image.info["icc_profile"]
    path = saved(image, tmp_path / f"a.{ending}") if ending else image
    assert mode in (image.mode, "LAB")
    read = np.asarray(read_rgb(path))
    assert np.abs(read.astype(int) - COLORS).max() <= near
    assert torch.allclose(read_lightness(path)[0], lightness(read), atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I;16B", "I", "F"])
def test_grey_modes_are_scaled_to_black_and_white(mode):
    white = {"I": 65535, "F": 1.0}.get(mode, 65535 if mode.startswith("I;16") else 255)
    grey = np.array([[0, 1, 0], [1, 1, 0]], dtype=np.float32)
    image = Image.fromarray((grey * 255).astype(np.uint8)).convert(mode if len(mode) < 3 else "I")
    if mode not in ("1", "L", "LA"):
        image = Image.new(mode, (3, 2))
        for (y, x), value in np.ndenumerate(grey * white):
            image.putpixel((x, y), float(value) if mode == "F" else int(value))
    assert image.mode == mode
    assert (np.asarray(read_rgb(image)) == (grey * 255)[..., None]).all()
    assert torch.allclose(read_lightness(image)[0][0, 0], torch.tensor(grey * 2 - 1), atol=1e-5)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_grey_keeps_its_precision(ending, tmp_path):
    values = np.arange(30000, 30000 + 600, dtype=np.uint16).reshape(20, 30)
    path = tmp_path / f"a.{ending}"
    if ending == "pgm":
        path.write_bytes(b"P5 30 20 65535\n" + values.astype(">u2").tobytes())
    else:
        saved(Image.fromarray(values), path)
    L, alpha = read_lightness(path)
    assert alpha is None
    assert L.unique().numel() > 550  # 8 bits would leave 3 or 4
    rgb = torch.tensor(values / 65535).expand(1, 3, -1, -1)
    assert torch.allclose(L, encode(rgb)[0], atol=1e-6)
    assert (np.asarray(read_rgb(path))[..., 0] == (values / 65535 * 255).round()).all()


@pytest.mark.parametrize(("peak", "white"), [(0.5, 1), (200, 255), (40000, 65535), (1e6, 1e6)])
def test_floating_point_white_is_the_smallest_usual_one_that_holds(peak, white):
    image = Image.fromarray(np.array([[0, peak, -peak, np.nan, np.inf]], dtype=np.float32))
    expected = [0, round(peak / white * 255), 0, 0, 0]
    assert np.asarray(read_rgb(image))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(("peak", "white"), [(200, 65535), (40000, 65535), (10**6, 10**6)])
def test_white_of_32_bits_is_that_of_16_or_the_brightest_above(peak, white):
    image = Image.fromarray(np.array([[0, peak, -peak]], dtype=np.int32))
    assert image.mode == "I"
    assert np.asarray(read_rgb(image))[0, :, 0].tolist() == [0, round(peak / white * 255), 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_is_kept_apart_from_the_color_under_it(mode, tmp_path):
    alpha = np.array([[0, 255, 255], [255, 255, 255]], dtype=np.uint8)
    options = {}
    if mode == "P":
        image = Image.fromarray(COLORS).quantize(6)
        options["transparency"] = image.getpixel((0, 0))
    elif mode == "RGB":
        image, options["transparency"] = Image.fromarray(COLORS), (255, 0, 0)
    else:
        image = Image.fromarray(COLORS).convert(mode)
        image.putalpha(Image.fromarray(alpha))
    path = saved(image, tmp_path / "a.png", **options)
    L, read_alpha = read_lightness(path)
    assert read_alpha.mode == "L"
    assert (np.asarray(read_alpha) == alpha).all()
    seen = np.asarray(Image.fromarray(COLORS).convert("L").convert("RGB"))
    assert (np.asarray(read_rgb(path)) == (seen if mode == "LA" else COLORS)).all()
    assert torch.allclose(L, lightness(np.asarray(read_rgb(path))), atol=1e-6)


@pytest.mark.parametrize("ending", ["jpg", "tif", "png"])
def test_pictures_are_turned_upright(ending, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its left side
    image = Image.new("L", (16, 8))
    image.paste(255, (0, 0, 8, 8))
    path = saved(image, tmp_path / f"a.{ending}", exif=exif)
    upright = np.asarray(read_rgb(path))
    assert upright.shape == (16, 8, 3)
    assert (upright[:7] > 250).all()
    assert (upright[9:] < 5).all()
    assert read_lightness(path)[0].shape == (1, 1, 16, 8)


def test_an_embedded_profile_is_followed_once(tmp_path):
    image = Image.new("RGB", (2, 2), (255, 0, 0))
    path = saved(image, tmp_path / "a.png", icc_profile=swapped_profile())
    assert read_rgb(path).getpixel((0, 0)) == (0, 0, 255)
    assert read_rgb(read_rgb(path)).getpixel((0, 0)) == (0, 0, 255)
    assert torch.allclose(read_lightness(path)[0], lightness(np.asarray(read_rgb(path))), atol=1e-6)


def test_a_cmyk_profile_is_followed(tmp_path):
    image = Image.new("CMYK", (2, 1), (255, 255, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    path = saved(image, tmp_path / "a.tif", icc_profile=black_ink_profile())
    assert read_rgb(path).getpixel((0, 0)) == pytest.approx((255, 255, 255), abs=1)
    assert read_rgb(path).getpixel((1, 0)) == pytest.approx((0, 0, 0), abs=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_profile_is_followed(dtype, tmp_path):
    values = np.linspace(0, np.iinfo(dtype).max, 2048).astype(dtype).reshape(32, 64)
    profile = icc(b"GRAY", {b"kTRC": curve(1.0)})
    L, _ = read_lightness(saved(Image.fromarray(values), tmp_path / "a.png", icc_profile=profile))
    # Luminance that is stored as it is: L* = 116 Y^(1/3) - 16 where it is not very dark.
    Y = torch.tensor(values / np.iinfo(dtype).max)
    bright = Y > 0.1
    error = (116 * Y ** (1 / 3) - 16)[bright] - (L[0, 0][bright] + 1) * 50
    assert error.abs().max() < 0.5
    assert dtype is np.uint8 or L.unique().numel() > 1500


@pytest.mark.parametrize(
    "profile",
    [
        b"junk",
        swapped_profile()[:300],
        swapped_profile().replace(b"rTRC", b"none"),
        swapped_profile().replace(b"RGB ", b"R\xb8B "),
        icc(b"GRAY", {b"kTRC": curve(1.0)}),
        black_ink_profile(),
    ],
    ids=["junk", "cut", "incomplete", "garbled", "grey", "cmyk"],
)
def test_a_profile_that_does_not_fit_is_ignored(profile, tmp_path):
    path = saved(Image.fromarray(COLORS), tmp_path / "a.png", icc_profile=profile)
    assert (np.asarray(read_rgb(path)) == COLORS).all()


def test_lightness_is_the_same_however_many_strips_it_takes(monkeypatch):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    whole = read_lightness(image)[0]
    monkeypatch.setattr("colourgan.images._STRIP_PIXELS", 14)
    assert [rows.indices(9) for rows in strips(9, 7)][-1] == (8, 9, 1)
    assert torch.allclose(read_lightness(image)[0], whole, atol=1e-6)


def broken_files(folder: Path) -> list[Path]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = {e: saved(noise, folder / f"whole.{e}").read_bytes() for e in ("jpg", "png", "tif")}
    contents = {f"cut.{ending}": data[: len(data) // 2] for ending, data in whole.items()}
    contents |= {"empty.jpg": b"", "text.png": b"no picture", "head.gif": b"GIF89a"}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "folder.png").mkdir()
    return [folder / name for name in (*contents, "folder.png", "missing.png")]


@pytest.mark.parametrize("read", [read_rgb, read_lightness])
def test_what_cannot_be_read_is_one_line_that_names_it(read, tmp_path):
    for path in broken_files(tmp_path):
        with pytest.raises(RunError) as caught:
            read(path)
        said = str(caught.value)
        assert said.startswith(f"cannot read {path}: ")
        assert "\n" not in said
        assert said.count(str(path)) == 1


@pytest.mark.parametrize(
    ("error", "said"), [(ValueError("one\ntwo"), "one"), (MemoryError(), "MemoryError")]
)
def test_whatever_a_reader_raises_becomes_one_line(error, said, tmp_path, monkeypatch):
    def fail(_, formats):
        raise error

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(RunError, match=f"a.png: {said}$"):
        read_rgb(tmp_path / "a.png")


def test_pictures_too_large_for_memory_are_refused_and_large_ones_read_in_silence(
    tmp_path, monkeypatch
):
    path = saved(Image.new("L", (30, 10)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_rgb(path).size == (30, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(RunError, match="exceeds limit"):
        read_rgb(path)


def test_list_images_finds_pictures_in_all_folders_but_nothing_hidden(tmp_path):
    shown = ["B.JPG", "a.png", "b/c/d.Tiff", "b/e.webp"]
    hidden = ["._a.jpg", ".x.png", ".trash/f.png", "b/.g/h.png", "notes.txt", "b/i"]
    for name in shown + hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == sorted(tmp_path / name for name in shown)


def test_list_images_follows_links_once(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    assert list_images(tmp_path / "set") == [tmp_path / "set" / "link" / "a.png"]


@pytest.mark.parametrize("name", ["missing", "empty", "file.png"])
def test_list_images_refuses_what_holds_no_picture(name, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").touch()
    with pytest.raises(UsageError, match=name):
        list_images(tmp_path / name)


def add_irregular(folder: Path) -> list[Path]:
    """Everything named like a picture that is none: opening the pipe would wait for ever."""
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "dangling.jpg").symlink_to("gone.jpg")
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "socket.png"))  # a path of 108 bytes at most
    return [folder / name for name in ("loop.png", "dangling.jpg", "pipe.jpg", "socket.png")]


def test_list_images_skips_and_counts_what_is_no_regular_file(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / "set/a.png", tmp_path / "set/folder.png/b.png"]
    for path in (*paths, tmp_path / "set/secret/c.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "set/linked.png").symlink_to("a.png")
    add_irregular(tmp_path / "set")
    scandir = os.scandir

    def forbid(path):  # as chmod does for everybody but root
        if os.path.basename(path) == "secret":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbid)
    assert list_images(tmp_path / "set") == [*paths, tmp_path / "set/linked.png"]
    (said,) = caplog.messages
    said, named = said.split(" (such as ")
    assert said == f"{tmp_path}/set: skipped 5 entries that are no regular files or cannot be read"
    assert named.startswith(f"{tmp_path}/set/")
    list_images(tmp_path / "set", warn=False)
    assert len(caplog.messages) == 1


def test_list_images_of_nothing_but_irregular_files(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    add_irregular(tmp_path)
    with pytest.raises(UsageError, match=r"^no picture in .*; skipped 4 entries .*such as [^\n]*$"):
        list_images(tmp_path)
    assert not caplog.messages


@pytest.mark.parametrize("read", [read_rgb, read_lightness])
def test_a_pipe_or_a_broken_link_is_one_line_at_once(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in add_irregular(tmp_path):
        with pytest.raises(RunError, match=rf"^cannot read {path}: [^\n]+$"):
            read(path)
