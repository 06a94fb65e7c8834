"""Color comes from the generator alone, lightness from the picture alone, whoever asks, and how."""

import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_colorizers import AB, Halves, Painter, as_ab, is_painted, noise, painter_file
from torch import nn

from colourgan import images, lab
from colourgan.color import decode, encode
from colourgan.colorize import QUALITIES, Colorizer, spread, working_size
from colourgan.colorize.colorizer import Quality, grey_copy
from colourgan.errors import RunError, UsageError
from colourgan.generators import pix2pix_unet
from colourgan.pictures import Picture


def plain(generator, working_size: int | None = 16, quality: str = "fast", **options) -> Colorizer:
    return Colorizer(generator, working_size=working_size, quality=quality, **options)


def painted(**options) -> Colorizer:
    return plain(Painter(), **options)


def lightness(source) -> torch.Tensor:
    """(1, 1, H, W)"""
    picture = Picture(source)
    return torch.tensor(picture.lightness(slice(0, picture.height)))[None, None]


def as_image(rgb: torch.Tensor) -> Image.Image:
    """The picture of (1, 3, H, W) in [0, 1]."""
    return Image.fromarray((rgb[0] * 255).round().byte().permute(1, 2, 0).numpy())


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and (np.asarray(one) == np.asarray(other)).all()


def nearly_same(one: Image.Image, other: Image.Image, share: float = 0.01) -> bool:
    """As `same`, but for a share of values that lie between two of 8 bits."""
    difference = np.abs(np.asarray(one).astype(int) - np.asarray(other))
    return one.mode == other.mode and difference.max() <= 1 and difference.mean() < share


# Whose lightness, whose color


def test_lightness_is_the_pictures_and_color_the_generators():
    source = Image.fromarray(noise())
    colored = painted()(source)
    assert (colored.mode, colored.size) == ("RGB", source.size)
    ab = torch.tensor(AB).view(1, 2, 1, 1).expand(1, 2, 40, 60)
    assert nearly_same(colored, as_image(decode(lightness(source), ab)))


def test_no_color_of_the_input_is_read():
    L, ab = encode(torch.rand(1, 3, 24, 32, generator=torch.manual_seed(0)) * 0.3 + 0.4)
    grey, tinted, other = (as_image(decode(L, each)) for each in (0 * ab, ab / 2, ab.flip(1)))
    assert (np.asarray(tinted) != np.asarray(other)).any()
    results = []
    for picture in (grey, tinted, other, grey.convert("L")):
        painter = Painter()
        results.append(np.asarray(plain(painter)(picture)).astype(int))
        assert painter.seen[0].shape == (1, 1, 16, 24)
    for result in results[1:]:
        assert np.abs(result - results[0]).max() <= 2  # the rounding of the inputs to 8 bits


def test_the_generator_works_at_its_size_in_evaluation_mode_without_gradients():
    painter = Painter().train()
    plain(painter)(noise(50, 100))
    (seen,) = painter.seen
    assert seen.shape == (1, 1, 16, 32) and seen.dtype == torch.float32
    assert seen.is_inference()
    assert not painter.training


def test_the_size_is_the_models_unless_another_is_asked_for():
    unet = pix2pix_unet(32, 4, "instance")
    assert Colorizer(unet).working_size == 32
    assert Colorizer(unet, working_size=48).working_size == 48


def test_the_small_lightness_is_an_average_not_a_sample():
    dots = np.random.default_rng(0).integers(0, 2, (128, 128)).astype(np.uint8) * 255
    painter = Painter()
    plain(painter)(dots)
    assert painter.seen[0].std() < 0.2  # 1 for the dots, 0.5 for the mean of the nearest four


def test_the_generator_sees_the_whole_picture_in_place():
    ramp = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (64, 1))
    painter = Painter()
    plain(painter)(ramp)
    row = painter.seen[0][0, 0, 7]
    assert (row.diff() > 0).all() and row[0] < -0.9 and row[-1] > 0.9


def test_colors_are_enlarged_smoothly_and_stay_in_place():
    colored = plain(Halves())(Image.new("L", (128, 64), 128))
    a, b = as_ab(colored)[0, :, 30]
    assert (a[:45] > 0.28).all() and (b[:45].abs() < 0.02).all()
    assert (a[-45:].abs() < 0.02).all() and (b[-45:] < -0.28).all()
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
    assert plain(Halves())(Image.new("L", shape, 128)).size == shape


def test_alpha_is_kept():
    source = Image.fromarray(noise()).convert("RGBA")
    alpha = Image.linear_gradient("L").resize(source.size)
    source.putalpha(alpha)
    colored = painted()(source)
    assert colored.mode == "RGBA"
    assert same(colored.getchannel("A"), alpha)
    assert same(colored.convert("RGB"), painted()(source.convert("RGB")))


def test_16_bits_of_grey_reach_the_generator_and_the_result():
    values = np.linspace(30000, 30500, 4096).astype(np.uint16).reshape(64, 64)
    painter = Painter()
    colored = plain(painter, 64)(Image.fromarray(values))
    assert painter.seen[0].unique().numel() > 400
    assert colored.mode == "RGB" and is_painted(colored)


def test_strips_make_no_difference(monkeypatch):
    source = noise(290, 270)  # larger than the guide that colors are enlarged by
    colorizer = plain(vivid_unet())
    whole, grey = colorizer(source), grey_copy(Picture(source))
    for pixels in (290 * 270 // 2, 7 * 270, 1):
        monkeypatch.setattr(images, "_STRIP_PIXELS", pixels)
        rows = [strip.stop - strip.start for strip in images.strips(290, 270)]
        assert len(rows) > 1 and sum(rows) == 290
        # Sums of three products are rounded in another order for a single row than for many.
        assert nearly_same(colorizer(source), whole, share=1e-4)
        assert same(grey_copy(Picture(source)), grey)


# Many pictures at once


class Traced:
    """A runtime whose ab tells the mean lightness of each picture; it remembers its batches."""

    size = 16

    def __init__(self):
        self.batches = []

    def __call__(self, L):
        self.batches.append(L.shape)
        mean = L.mean((1, 2, 3), keepdims=True) / 4
        return np.concatenate([np.broadcast_to(sign * mean, L.shape) for sign in (1, -1)], axis=1)


def traced() -> tuple[Colorizer, Traced]:
    colorizer = painted()
    colorizer.runtime = Traced()
    return colorizer, colorizer.runtime


def test_pictures_of_like_shape_go_through_the_network_together():
    colorizer, runtime = traced()
    shapes = [(32, 32), (32, 64), (20, 20), (64, 32), (100, 100), (33, 64)]
    sources = [Image.new("L", s[::-1], 90 + 20 * i) for i, s in enumerate(shapes)]
    together = colorizer(sources)
    assert runtime.batches == [(3, 1, 16, 16), (2, 1, 16, 32), (1, 1, 32, 16)]
    alone = [colorizer(each) for each in sources]
    assert len(together) == 6 and all(map(same, together, alone))
    assert len({np.asarray(each)[0, 0].tobytes() for each in together}) == 6


def test_batches_are_no_larger_than_16():
    colorizer, runtime = traced()
    colored = colorizer(tuple(np.full((16, 16), i, np.uint8) for i in range(35)))
    assert runtime.batches == [(16, 1, 16, 16), (16, 1, 16, 16), (3, 1, 16, 16)]
    levels = [int(np.asarray(each.convert("L")).mean()) for each in colored]
    assert levels == sorted(levels) and len(set(levels)) > 15


def test_a_list_for_a_list_and_a_picture_for_a_picture():
    one = noise()
    assert painted()([]) == []
    (listed,) = painted()([one])
    assert isinstance(listed, Image.Image) and same(listed, painted()(one))


def test_a_picture_may_be_given_in_many_ways(tmp_path):
    pixels = noise()
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    buffer = BytesIO(path.read_bytes())
    ways = [
        path, str(path), buffer, buffer, Image.open(path), Image.fromarray(pixels), Picture(path),
        pixels, pixels / 255, (pixels / 255).astype(np.float32), np.asfortranarray(pixels),
    ]  # fmt: skip
    first, *others = painted()(ways)
    assert is_painted(first)
    assert all(same(first, each) for each in others)


def test_an_image_that_is_given_is_not_changed():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    Image.fromarray(noise()).save(buffer, "PNG", exif=exif)
    image = Image.open(buffer)
    assert painted()(image).size == (40, 60)
    assert image.size == (60, 40) and image.getexif()[0x0112] == 6
    assert same(painted()(image), painted()(buffer))


def test_grey_arrays_of_every_kind_are_alike():
    grey = noise()[..., 0]
    expected = np.asarray(painted()(grey)).astype(int)
    for way in (grey / 255, grey.astype(np.uint16) * 257, grey[..., None].repeat(3, 2)):
        assert np.abs(np.asarray(painted()(way)) - expected).max() <= 1
    assert painted()(grey > 120).size == (60, 40)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((4, 4, 2)), r"shape \(4, 4, 2\) is no picture"),
        (np.zeros((1, 3, 4, 4)), r"shape \(1, 3, 4, 4\) is no picture"),
        (np.zeros(4), r"shape \(4,\) is no picture"),
        (np.zeros((0, 4)), r"shape \(0, 4\) is no picture"),
        (np.zeros((4, 4), np.int64), "int64 is no picture"),
        (np.zeros((4, 4, 3), np.uint16), "uint16 is no picture"),
        (np.full((4, 4), "a"), "is no picture"),
        (torch.zeros(3, 4, 4), "not Tensor"),
        (b"bytes", "not bytes"),
        (7, "not int"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(wrong, said):
    with pytest.raises(UsageError, match=said) as caught:
        painted()(wrong)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    for source in (tmp_path / "a.png", tmp_path / "missing.png"):
        with pytest.raises(RunError, match=f"^cannot read {source}: [^\n]+$"):
            painted()([noise(), source])
    with pytest.raises(RunError, match=r"^cannot read the picture: [^\n]+$"):
        painted()(BytesIO(b"no picture"))


# Quality and color


def test_good_is_the_mean_of_the_prediction_and_of_the_mirror_images():
    picture = Picture(noise(32, 64))
    unet = vivid_unet()
    (fast,) = plain(unet).predict([picture])
    (mirrored,) = plain(unet).predict([Picture(noise(32, 64)[:, ::-1])])
    (good,) = plain(unet, quality="good").predict([picture])
    assert np.abs(fast - mirrored[..., ::-1]).max() > 0.05
    mean = (fast + mirrored[..., ::-1]) / 2 * QUALITIES["good"].factor
    assert np.abs(good - mean).max() < 1e-5


class BySize(nn.Module):
    """a tells the height it works at, b grows from the left to the right; remembers its input."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, L):
        self.seen.append(tuple(L.shape))
        a = torch.full_like(L, L.shape[2] / 100)
        return torch.cat((a, torch.linspace(-0.2, 0.2, L.shape[3]).expand_as(L)), dim=1)


def test_best_is_the_mean_over_sizes_and_mirror_images():
    generator = BySize()
    (ab,) = plain(generator, 40, quality="best").predict([Picture(noise(40, 80))])
    sizes = [(1, 1, 40, 80), (1, 1, 32, 64), (1, 1, 48, 96)]
    assert generator.seen == [size for size in sizes for _ in (1, 2)]
    assert ab.shape == (2, 40, 80) and ab.dtype == np.float32
    assert np.abs(ab[0] - 0.40 * QUALITIES["best"].factor).max() < 1e-5
    assert np.abs(ab[1]).max() < 1e-5  # mirrored, it cancels


def test_predictions_of_other_sizes_are_laid_in_place():
    colorizer = plain(BySize(), 40)
    for scales, a in (((1.0, 0.2), 0.28), ((1.0, 1.4), 0.48), ((1.4, 1.0), 0.48)):
        colorizer.quality = Quality(scales)
        (ab,) = colorizer.predict([Picture(noise(40, 80))])
        assert ab.shape[1] == (56 if scales[0] == 1.4 else 40)
        assert np.abs(ab[0] - a).max() < 1e-5
        assert np.abs(ab[1] - np.linspace(-0.2, 0.2, ab.shape[2])).max() < 0.02


def test_averages_may_be_made_more_vivid():
    colorizer = painted()
    colorizer.quality = Quality(factor=1.5)
    (ab,) = colorizer.predict([Picture(noise())])
    assert np.allclose(ab[:, 3, 3], 1.5 * np.array(AB))


def test_saturation_is_a_factor_on_the_colors():
    source = noise()
    grey = Image.fromarray(source).convert("L")
    assert same(painted(saturation=0)(grey), grey.convert("RGB"))
    assert nearly_same(painted(saturation=0)(source), grey_copy(Picture(source)))
    half = as_ab(painted(saturation=0.5)(source)).mean((0, 2, 3))
    assert torch.allclose(half, torch.tensor(AB) / 2, atol=0.01)
    full = np.asarray(painted()(source)).astype(int)
    double = np.asarray(painted(saturation=2)(source)).astype(int)
    assert np.ptp(double, axis=2).mean() > 1.5 * np.ptp(full, axis=2).mean()


def test_the_grey_copy_is_the_lightness_alone():
    pixels = noise()
    copy = np.asarray(grey_copy(Picture(pixels)))
    expected = lab.to_bytes(lab.to_grey(lab.lightness(pixels)))
    assert (copy == expected[..., None]).all()


# What is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quality": "better"}, "unknown quality 'better': choices: fast, good, best"),
        ({"saturation": -0.1}, "saturation -0.1 is not"),
        ({"saturation": float("nan")}, "saturation nan is not"),
        ({"saturation": float("inf")}, "saturation inf is not"),
        ({"working_size": 15}, "--working-size 15 is not between 16 and 2048"),
        ({"working_size": 2049}, "--working-size 2049 is not between 16 and 2048"),
        ({"working_size": 0}, "--working-size 0 is not between 16 and 2048"),
        ({"temperature": 0}, "temperature 0 is not between 0.01 and 1"),
        ({"temperature": 0.5}, "this one predicts its colors directly"),
        ({"vivid": 2}, "vivid 2 is not between 0 and 1"),
        ({"vivid": 0.5}, "this one predicts its colors directly"),
        ({"device": "abacus"}, "device 'abacus' is not available"),
        ({"working_size": None}, "name a working size"),
    ],
)
def test_wrong_values_are_one_line(options, said):
    with pytest.raises(UsageError) as caught:
        Colorizer(Painter(), **{"working_size": 16, **options})
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_generator_is_one_line(value):
    with pytest.raises(RunError, match="not finite: it is broken"):
        plain(Painter(value))(noise())


def test_a_model_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("missing", "missing.onnx", "missing.safetensors", "packagedd"):
        with pytest.raises(UsageError, match=name):
            Colorizer(name)


# ONNX


@pytest.fixture(scope="module")
def onnx(tmp_path_factory) -> Path:
    return painter_file(tmp_path_factory.mktemp("onnx") / "painter.onnx")


def test_an_onnx_file_colors_as_its_generator(onnx):
    sources = [noise(), noise(20, 20), noise(64, 30, seed=1)]
    for quality in QUALITIES:
        found = plain(onnx, None, quality)(sources)
        assert all(map(same, found, painted(quality=quality)(sources)))
    assert Colorizer(str(onnx)).working_size == 16


def test_what_an_onnx_file_cannot_do_is_said_at_once(onnx, tmp_path):
    for options, said in {
        ("temperature", 0.5): "predicts its colors directly",
        ("vivid", 0.5): "predicts its colors directly",
        ("device", "cuda"): "runs on the CPU",
    }.items():
        with pytest.raises(UsageError, match=said):
            Colorizer(onnx, **dict([options]))
    with pytest.raises(UsageError, match="no dropout"):
        Colorizer(onnx).samples(noise(), 2)
    broken = tmp_path / "broken.onnx"
    for content in (b"", b"no model", onnx.read_bytes()[:60]):
        broken.write_bytes(content)
        with pytest.raises(RunError, match=f"^{broken} is damaged or no ONNX model [^\n]*$"):
            Colorizer(broken)


def test_an_onnx_file_of_somebody_else_is_refused(onnx, tmp_path):
    from onnx import helper, load, save

    model = load(onnx)
    helper.set_model_props(model, {})
    save(model, tmp_path / "other.onnx")
    with pytest.raises(UsageError, match="is no colourgan model"):
        Colorizer(tmp_path / "other.onnx")


# Samples


def vivid_unet() -> nn.Module:
    torch.manual_seed(0)
    return pix2pix_unet(16, 4, "instance", init="kaiming")  # vivid without any training


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return vivid_unet()


def test_samples_leave_the_random_state_alone_and_repeat(unet):
    source = Image.fromarray(noise()).convert("RGBA")
    colorizer = plain(unet)
    predicted = colorizer(source)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second, third = colorizer.samples(source, 3, seed=5).images
    assert torch.equal(torch.get_rng_state(), state)
    assert (first.mode, first.size) == ("RGBA", source.size)
    again = list(colorizer.samples(source, 2, seed=5).images)
    assert same(again[0], first) and same(again[1], second)
    (other,) = colorizer.samples(source, 1, seed=6).images
    for one, two in ((first, second), (second, third), (first, other), (first, predicted)):
        assert not same(one, two)
    assert same(colorizer(source), predicted)
    assert not any(module.training for module in unet.modules())


def test_samples_are_made_when_they_are_asked_for(unet, monkeypatch):
    made = []
    colored = Colorizer.colored
    monkeypatch.setattr(Colorizer, "colored", lambda *each: made.append(1) or colored(*each))
    samples, _ = plain(unet).samples(noise(), 3)
    assert not made
    next(samples)
    assert len(made) == 1


def test_saturation_is_of_samples_too(unet):
    colorizer = plain(unet, saturation=0)
    (grey,) = colorizer.samples(noise(), 1).images
    assert nearly_same(grey, grey_copy(Picture(noise())))


def test_the_spread_is_the_deviation_between_samples(unet):
    ab = np.broadcast_to(
        np.reshape([[0.1, 0.2], [0.3, 0.2], [0.2, 0.2]], (3, 2, 1, 1)), (3, 2, 4, 4)
    )
    assert spread(ab) == pytest.approx(110 * 0.1 / 2)
    pixels_differ = np.random.default_rng(0).random((1, 2, 9, 9))
    assert spread(np.repeat(pixels_differ, 4, axis=0)) < 1e-4
    colorizer, source = plain(unet), noise(16, 16)
    samples, value = colorizer.samples(source, 4)
    ab = torch.cat([as_ab(image) for image in samples])
    assert value > 1 and value == pytest.approx(spread(ab), rel=0.25)  # but for sRGB's bounds
    assert colorizer.samples(source, 1).spread is None


@pytest.mark.parametrize("count", [0, -2])
def test_less_than_one_sample_is_refused(count, unet):
    with pytest.raises(UsageError, match=f"--samples {count} is too small: at least 1"):
        Colorizer(unet).samples(noise(), count)


def test_samples_of_a_generator_without_dropout_are_refused():
    with pytest.raises(UsageError, match="no dropout, so all its samples are alike"):
        plain(Halves()).samples(noise(), 1)


# Threads


def test_eight_threads_on_one_colorizer_give_what_one_gives(unet):
    colorizer = plain(unet, quality="good")
    sources = [noise(24 + i, 40 - i, seed=i) for i in range(24)]
    alone = [colorizer(each) for each in sources]
    sampled = [list(colorizer.samples(each, 2, seed=1).images) for each in sources[:8]]
    with ThreadPoolExecutor(8) as pool:
        beside = [pool.submit(colorizer.samples, each, 2, 1) for each in sources[:8]]
        together = list(pool.map(colorizer, sources))
    assert all(map(same, together, alone))
    for future, expected in zip(beside, sampled, strict=True):
        assert all(map(same, future.result().images, expected))


def test_threads_wait_for_samples(unet):
    """Dropout is on for samples: a prediction in the middle of them would have it, too."""

    class Slow(Painter):
        def forward(self, L):
            time.sleep(0.05)
            return super().forward(L)

    colorizer = plain(Slow())
    with ThreadPoolExecutor(2) as pool:
        samples = pool.submit(colorizer.samples, noise(), 4)
        while not colorizer.runtime.generator.seen and not samples.done():
            time.sleep(0.005)
        colored = pool.submit(colorizer, noise())
    assert is_painted(colored.result())
    assert not any(is_painted(image) for image in samples.result().images)


def test_eight_threads_on_one_onnx_file(onnx):
    colorizer = plain(onnx)
    sources = [noise(24 + i, 40 - i, seed=i) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(colorizer, sources))
    assert all(map(same, together, map(colorizer, sources)))


@pytest.mark.parametrize("kind", ["RGBA", "L"])
def test_a_picture_may_be_colored_by_several_threads_at_once(kind):
    picture = Picture(Image.fromarray(noise()).convert(kind))
    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(painted(), [picture] * 8)
    assert all(same(first, each) for each in others)
