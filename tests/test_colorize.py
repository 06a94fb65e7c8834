"""Color comes from the generator alone, lightness from the picture alone, and no file is lost."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from colourgan import cli
from colourgan.color import decode, encode, lightness_to_grey
from colourgan.colorize import (
    Colorizer,
    colorize_files,
    colorize_sheet,
    join,
    spread,
    working_size,
)
from colourgan.errors import RunError, UsageError
from colourgan.generators import pix2pix_unet
from colourgan.images import read_lightness
from colourgan.models import save_model

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Painter(nn.Module):
    """The same ab for every pixel; remembers the L it was given."""

    def __init__(self, a: float = 0.1, b: float = 0.3):
        super().__init__()
        self.ab = nn.Parameter(torch.tensor([a, b]).view(1, 2, 1, 1))
        self.dropout = nn.Dropout(0.9)
        self.seen = []

    def forward(self, L):
        self.seen.append(L)
        return self.dropout(self.ab.expand(len(L), -1, *L.shape[2:]))


class Halves(nn.Module):
    """Red on the left, blue on the right."""

    def forward(self, L):
        ab = torch.zeros(len(L), 2, *L.shape[2:])
        ab[:, 0, :, : L.shape[3] // 2] = 0.3
        ab[:, 1, :, L.shape[3] // 2 :] = -0.3
        return ab


def noise(height: int = 40, width: int = 60, low: int = 60, high: int = 190) -> np.ndarray:
    """(H, W, 3) uint8, smooth; of middling lightness, so that colors fit into sRGB."""
    small = np.random.default_rng(0).integers(low, high, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def as_ab(image: Image.Image) -> torch.Tensor:
    return encode(torch.tensor(np.array(image.convert("RGB"))).permute(2, 0, 1)[None])[1]


def test_lightness_is_the_pictures_and_color_the_generators():
    source = Image.fromarray(noise())
    colored = Colorizer(Painter(), 16)(source)
    assert colored.mode == "RGB"
    assert colored.size == source.size
    lightness = read_lightness(colored)[0]
    assert torch.allclose(lightness, read_lightness(source)[0], atol=0.01)
    assert torch.allclose(as_ab(colored), torch.tensor([0.1, 0.3]).view(1, 2, 1, 1), atol=0.015)


def test_no_color_of_the_input_is_read():
    L, ab = encode(torch.rand(1, 3, 24, 32, generator=torch.manual_seed(0)) * 0.3 + 0.4)
    grey = join(L, torch.zeros_like(ab))
    tinted, other = join(L, ab * 0.5), join(L, ab.flip(1))
    assert (np.asarray(tinted) != np.asarray(other)).any()
    results = []
    for picture in (grey, tinted, other, grey.convert("L")):
        painter = Painter()
        results.append(np.asarray(Colorizer(painter, 16)(picture)).astype(int))
        assert painter.seen[0].shape == (1, 1, 16, 24)
    for result in results[1:]:
        assert np.abs(result - results[0]).max() <= 2  # the rounding of the inputs to 8 bits


def test_join_reads_nothing_but_L_and_ab():
    L, ab = encode(torch.tensor(noise(9, 7)).permute(2, 0, 1)[None])
    assert (np.asarray(join(L, ab)) == noise(9, 7)).all()


def test_join_is_the_same_however_many_strips_it_takes(monkeypatch):
    L, ab = encode(torch.tensor(noise(9, 7)).permute(2, 0, 1)[None])
    monkeypatch.setattr("colourgan.images._STRIP_PIXELS", 14)
    assert (np.asarray(join(L, ab)) == noise(9, 7)).all()


def test_the_generator_works_at_its_size_in_evaluation_mode_without_gradients():
    painter = Painter().train()
    Colorizer(painter, 16)(Image.fromarray(noise(50, 100)))
    (seen,) = painter.seen
    assert seen.shape == (1, 1, 16, 32)
    assert seen.is_inference()
    assert not painter.training


def test_the_small_lightness_is_an_average_not_a_sample():
    dots = np.random.default_rng(0).integers(0, 2, (128, 128)).astype(np.uint8) * 255
    painter = Painter()
    Colorizer(painter, 16)(Image.fromarray(dots))
    assert painter.seen[0].std() < 0.2  # 1 for the dots, 0.5 for the mean of the nearest four


def test_colors_are_enlarged_smoothly_and_stay_in_place():
    ab = Colorizer(Halves(), 16).predict(torch.zeros(1, 1, 64, 128))
    a, b = ab[0, :, 30]
    assert (a[:50] > 0.29).all()
    assert (a[-50:].abs() < 0.01).all()
    assert (b[-50:] < -0.29).all()
    assert a.diff().abs().max() < 0.1


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ((64, 64), (32, 32)),
        ((480, 640), (32, 40)),
        ((640, 480), (40, 32)),
        ((20, 20), (32, 32)),
        ((10, 3000), (32, 128)),
        ((3000, 1), (128, 32)),
    ],
)
def test_the_working_size_keeps_the_aspect_within_bounds(picture, expected):
    assert working_size(*picture, 32) == expected


def test_a_size_that_is_no_multiple_of_8_stays_for_squares():
    assert working_size(300, 300, 30) == (30, 30)
    assert working_size(300, 600, 30) == (30, 62)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (10, 3000), (301, 17)])
def test_any_shape_of_picture_works(shape):
    assert Colorizer(Halves(), 16)(Image.new("L", shape, 128)).size == shape


def test_alpha_is_kept():
    source = Image.fromarray(noise()).convert("RGBA")
    alpha = Image.linear_gradient("L").resize(source.size)
    source.putalpha(alpha)
    colored = Colorizer(Painter(), 16)(source)
    assert colored.mode == "RGBA"
    assert (np.asarray(colored.getchannel("A")) == np.asarray(alpha)).all()
    opaque = Colorizer(Painter(), 16)(source.convert("RGB"))
    assert (np.asarray(colored.convert("RGB")) == np.asarray(opaque)).all()


def test_16_bits_of_grey_reach_the_generator():
    values = np.linspace(30000, 30500, 4096).astype(np.uint16).reshape(64, 64)
    painter = Painter()
    Colorizer(painter, 64)(Image.fromarray(values))
    assert painter.seen[0].unique().numel() > 400


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str, color: tuple = (120, 120, 120)) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 8), color).save(name)


def put_broken(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"no picture")


def files() -> set[str]:
    return {p.as_posix() for p in Path().rglob("*") if p.is_file()}


def colorize(*inputs: str, out: str = "out", **options) -> list[str]:
    colorizer = Colorizer(Painter(), 8)
    pairs = colorize_files([Path(i) for i in inputs], colorizer, Path(out), **options)
    assert all(source.stem == target.name.split(".")[0] for source, target in pairs)
    return [target.as_posix() for _, target in pairs]


def refused(match: str, *inputs: str, **options) -> None:
    """Asserts a UsageError, and that nothing was done before it."""
    before = {name: Path(name).read_bytes() for name in files()}
    painter = Painter()
    with pytest.raises(UsageError, match=match):
        colorize_files([Path(i) for i in inputs], Colorizer(painter, 8), **options)
    assert {name: Path(name).read_bytes() for name in files()} == before
    assert not painter.seen


def test_files_and_folders_are_written_as_png_below_out(folder):
    put("a.jpg", "in/b.PNG", "in/deep/er/c.tif", "in/.hidden/d.png")
    written = colorize("a.jpg", "in")
    assert written == ["out/a.png", "out/b.png", "out/deep/er/c.png"]
    assert {name for name in files() if name.startswith("out")} == set(written)
    image = Image.open("out/a.png")
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (12, 8))
    assert as_ab(image).mean() > 0.1


def test_a_named_file_may_have_any_ending(folder):
    put("a.png")
    Path("a.png").rename("scan.0001")
    assert colorize("scan.0001") == ["out/scan.png"]


def test_inputs_of_one_name_keep_their_endings(folder):
    put("a.jpg", "a.png", "b.png", "in/a.bmp", "in/x/a.jpg")
    assert colorize("a.jpg", "a.png", "b.png", "in") == [
        "out/a.jpg.png",
        "out/a.png.png",
        "out/b.png",
        "out/a.bmp.png",
        "out/x/a.png",
    ]


def test_an_input_named_twice_is_done_once(folder):
    put("in/a.jpg")
    assert colorize("in/a.jpg", "in", str(folder / "in" / "a.jpg")) == ["out/a.png"]


def test_inputs_left_with_the_same_name_are_refused(folder):
    put("x/a.jpg", "y/a.jpg")
    refused("x/a.jpg and y/a.jpg would both become out/a.jpg.png", "x", "y", out="out")


def test_missing_inputs_are_refused_before_any_work(folder):
    put("a.jpg")
    (folder / "empty").mkdir()
    refused("no file or folder b.jpg", "a.jpg", "b.jpg", out="out")
    refused("no picture in empty", "a.jpg", "empty", out="out")
    refused("nothing to colorize", out="out")


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_replaced(overwrite, folder):
    put("in/a.jpg", "in/b.png")
    os.symlink("in", "same")
    refused("in/b.png would replace an input", "in", out="in", overwrite=overwrite)
    refused("same/b.png would replace an input", "in", out="same", overwrite=overwrite)
    assert colorize("in/a.jpg", out="in") == ["in/a.png"]


def test_outputs_that_exist_are_refused_unless_told_otherwise(folder):
    put("a.jpg", "b.jpg")
    colorize("b.jpg")
    refused("out/b.png exists.*--overwrite", "a.jpg", "b.jpg", out="out")
    put("out/b.png", color=RED)
    assert colorize("a.jpg", "b.jpg", overwrite=True) == ["out/a.png", "out/b.png"]
    assert Image.open("out/b.png").getpixel((0, 0)) != RED
    (folder / "out" / "c.png").mkdir()
    put("c.jpg")
    refused("out/c.png exists", "c.jpg", out="out", overwrite=True)


def test_results_within_the_input_folder_are_no_inputs(folder):
    put("in/a.jpg")
    assert colorize("in", out="in/color") == ["in/color/a.png"]
    assert colorize("in", out="in/color", overwrite=True) == ["in/color/a.png"]
    assert colorize("in/color", out=".") == ["a.png"]


def test_broken_files_are_skipped_and_counted_in_one_warning(folder, caplog):
    put("in/a.jpg", "in/z.jpg")
    put_broken(*(f"in/broken{i}.jpg" for i in range(5)))
    assert colorize("in") == ["out/a.png", "out/z.png"]
    (warning,) = caplog.messages
    assert warning.startswith("5 of 7 pictures skipped: cannot read in/broken0.jpg")
    assert warning.count("cannot read") == 3
    assert warning.endswith("and 2 more")


def test_nothing_but_broken_files_is_an_error(folder, caplog):
    put_broken("in/a.jpg")
    with pytest.raises(RunError, match=r"1 of 1 pictures skipped: cannot read in/a\.jpg"):
        colorize("in")
    assert files() == {"in/a.jpg"} and not caplog.messages


def test_pipes_and_links_that_lead_nowhere_are_skipped_in_folders(folder, caplog):
    put("in/a.jpg")
    os.symlink("loop.png", "in/loop.png")
    os.symlink("gone.png", "in/dangling.png")
    os.mkfifo("in/pipe.jpg")
    assert colorize("in") == ["out/a.png"]
    (said,) = caplog.messages
    assert said.startswith("in: skipped 3 entries that are no regular files or cannot be read (")


@pytest.mark.parametrize("name", ["loop.png", "dangling.png", "pipe.jpg"])
def test_pipes_and_links_that_lead_nowhere_are_refused_by_name(name, folder):
    os.symlink("loop.png", "loop.png")
    os.symlink("gone.png", "dangling.png")
    os.mkfifo("pipe.jpg")
    put("a.jpg")
    refused(f"^{name} is a broken link or no regular file", "a.jpg", name, out="out")
    for out in ("loop.png", "pipe.jpg"):
        with pytest.raises(RunError, match=f"cannot write {out}/a.png: "):
            colorize("a.jpg", out=out)


def test_a_link_in_a_circle_is_no_output_that_exists(folder):
    put("a.jpg", "out/b.png")
    os.symlink("a.png", "out/a.png")
    assert colorize("a.jpg") == ["out/a.png"]
    assert not Path("out/a.png").is_symlink()


def test_a_full_disk_ends_the_run_and_leaves_whole_files(folder, monkeypatch):
    put("a.jpg", "b.jpg")
    save = Image.Image.save

    def fill(image, path, **options):
        if path.name.startswith(".b."):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", fill)
    with pytest.raises(RunError, match="no space"):
        colorize("a.jpg", "b.jpg")
    assert files() == {"a.jpg", "b.jpg", "out/a.png"}


def test_the_sheet_shows_grey_beside_color(folder):
    put("a.png", color=GREEN)
    Image.new("RGB", (900, 600), BLUE).save("colored.png")
    colorize_sheet([(Path("a.png"), Path("colored.png"))], Path("sheet.png"))
    sheet = np.asarray(Image.open("sheet.png"))
    blue = (sheet == BLUE).all(2)
    assert blue.sum() == 320 * 213
    L, _ = encode(torch.tensor(GREEN, dtype=torch.uint8).view(1, 3, 1, 1))
    grey = round(float(lightness_to_grey(L)) * 255)
    assert (sheet == grey).all(2).sum() >= 12 * 8
    assert decode(L, torch.zeros(1, 2, 1, 1))[0, 0].item() * 255 == pytest.approx(grey, abs=1)
    assert not (sheet == GREEN).all(2).any()


# Samples


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return pix2pix_unet(16, 4, "instance", init="kaiming")  # vivid without any training


@pytest.fixture
def photos(folder) -> list[str]:
    """Pictures with something on them to color, one of them in a folder and not square."""
    Path("in").mkdir()
    Image.fromarray(noise(24, 24)).save("a.jpg")
    Image.fromarray(noise(30, 50)).save("in/b.png")
    return ["a.jpg", "in"]


def sampled(unet, *inputs: str, out: str = "out", **options) -> dict[str, bytes]:
    """name → content of what is written."""
    pairs = colorize_files(inputs, Colorizer(unet, 16), out, progress=False, **options)
    return {target.name: target.read_bytes() for _, target in pairs}


def test_samples_are_numbered_and_differ(photos, unet):
    found = sampled(unet, *photos, samples=3)
    assert list(found) == [f"{name}-{i}.png" for name in "ab" for i in (1, 2, 3)]
    assert len(set(found.values())) == 6
    assert {f"out/{name}" for name in found} < files()
    assert not unet.training


def test_one_sample_keeps_the_name_and_is_not_the_prediction(photos, unet):
    one, plain = sampled(unet, *photos, samples=1), sampled(unet, *photos, out="plain")
    assert list(one) == list(plain) == ["a.png", "b.png"]
    assert one["a.png"] != plain["a.png"] and one["b.png"] != plain["b.png"]
    assert sampled(unet, *photos, out="again") == plain


def test_the_same_seed_makes_the_same_samples_whatever_else_is_colored(photos, unet):
    one = sampled(unet, *photos, samples=1, seed=7, out="one")
    torch.rand(5)
    assert sampled(unet, *photos, samples=1, seed=7, out="again") == one
    assert sampled(unet, "in", samples=1, seed=7, out="alone") == {"b.png": one["b.png"]}
    many = sampled(unet, *photos, samples=2, seed=7, out="many")
    assert (many["a-1.png"], many["b-1.png"]) == (one["a.png"], one["b.png"])
    other = sampled(unet, *photos, samples=1, seed=8, out="other")
    assert other["a.png"] != one["a.png"] and other["b.png"] != one["b.png"]


def test_samples_in_python_leave_the_random_state_alone(unet):
    source = Image.fromarray(noise()).convert("RGBA")
    torch.manual_seed(3)
    state = torch.get_rng_state()
    images, _ = Colorizer(unet, 16).samples(source, 3, seed=5)
    first, second, third = images
    assert torch.equal(torch.get_rng_state(), state)
    assert (first.mode, first.size) == ("RGBA", source.size)
    again = list(Colorizer(unet, 16).samples(source, 2, seed=5).images)
    assert (np.asarray(again[1]) == np.asarray(second)).all()
    assert (np.asarray(third) != np.asarray(second)).any()


def test_the_spread_is_the_deviation_between_samples(unet):
    ab = torch.tensor([[0.1, 0.2], [0.3, 0.2], [0.2, 0.2]]).view(3, 2, 1, 1).expand(-1, -1, 4, 4)
    assert spread(ab) == pytest.approx(110 * 0.1 / 2)
    assert spread(torch.rand(1, 2, 9, 9).expand(4, -1, -1, -1)) < 1e-4  # pixels may differ
    colorizer, source = Colorizer(unet, 16), Image.fromarray(noise(16, 16))
    images, value = colorizer.samples(source, 4)
    ab = torch.cat([as_ab(image) for image in images])
    assert value > 1 and value == pytest.approx(spread(ab), rel=0.2)  # but for sRGB's bounds
    assert colorizer.samples(source, 1).spread is None


def test_spreads_are_logged(photos, unet, caplog):
    caplog.set_level(logging.INFO)
    sampled(unet, *photos, samples=2)
    first, second = caplog.messages
    caplog.clear()
    value = Colorizer(unet, 16).samples("a.jpg", 2).spread
    assert first.startswith(f"spread of a.jpg: {value:.2f} (standard deviation of a and b over 2")
    assert second.startswith("spread of in/b.png: ")
    for i in range(7):
        Image.fromarray(noise(16 + i, 16)).save(f"in/{i}.png")
    put_broken("in/broken.png")
    sampled(unet, *photos, samples=2, out="many")
    warning, mean = caplog.messages
    caplog.clear()
    assert "1 of 10 pictures skipped" in warning
    assert mean.startswith("mean spread of 9 pictures: ")
    sampled(unet, "a.jpg", samples=1, out="one")
    assert not caplog.messages


def test_samples_from_the_command_line_are_those_of_python(photos, unet, monkeypatch, capsys):
    save_model(unet, "m.safetensors")
    arguments = "colorize a.jpg in --model m.safetensors --samples 2 --seed 5 --device cpu"
    arguments += " --out cli --sheet sheet.png"
    monkeypatch.setattr("sys.argv", ["colourgan", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0, capsys.readouterr().err
    wanted = sampled(unet, *photos, samples=2, seed=5)
    assert {path.name: path.read_bytes() for path in Path("cli").iterdir()} == wanted
    assert Image.open("sheet.png").width > 3 * 24


@pytest.mark.parametrize("count", [0, -2])
def test_less_than_one_sample_is_refused(count, folder):
    put("a.jpg")
    refused(f"--samples {count} is too small: at least 1", "a.jpg", out="out", samples=count)


def test_samples_of_a_generator_without_dropout_are_refused(folder):
    put("a.jpg")
    with pytest.raises(UsageError, match="no dropout, so all its samples are alike"):
        colorize_files(["a.jpg"], Colorizer(Halves(), 8), "out", samples=1)
    assert files() == {"a.jpg"}


def test_no_file_is_lost_to_samples(folder):
    put("a.jpg", "in/a-2.png", "in/a.jpg", "twin/b.jpg", "twin/b.tif")
    refused("in/a-2.png would replace an input", "in", out="in", samples=2)
    put("out/a-2.png")
    refused("out/a-2.png exists.*--overwrite", "a.jpg", out="out", samples=2)
    pairs = colorize_files(["twin", "in"], Colorizer(Painter(), 8), "new", samples=2)
    assert [target.name for _, target in pairs] == [
        *("b.jpg-1.png", "b.jpg-2.png", "b.tif-1.png", "b.tif-2.png"),
        *("a-2-1.png", "a-2-2.png", "a-1.png", "a-2.png"),
    ]


def test_the_sheet_shows_all_samples_of_a_picture_in_one_row(folder, monkeypatch):
    put("a.png", "b.png")
    put("1.png", "2.png", color=RED)
    put("3.png", "4.png", color=BLUE)
    drawn = []
    monkeypatch.setattr("colourgan.colorize.grid", lambda *arguments: drawn.append(arguments))
    pairs = [("a", "1"), ("a", "3"), ("b", "2"), ("b", "4")]
    colorize_sheet([(Path(f"{s}.png"), Path(f"{t}.png")) for s, t in pairs], "sheet.png")
    ((rows, path, titles),) = drawn
    assert (path, titles) == ("sheet.png", ["grey", "sample 1", "sample 2"])
    for grey, first, second in rows:
        assert grey.std() < 0.01
        assert (first[0] == 1).all() and (second[2] == 1).all()
