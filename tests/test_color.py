"""colourgan.color against scikit-image, on every 8-bit color."""

import warnings

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from colourgan.color import (
    AB_RANGE,
    AB_SCALE,
    decode,
    encode,
    lab_to_rgb,
    lightness_to_grey,
    rgb_to_lab,
    to_lab,
)


def every_color(reds_at_once=16):
    """All 16.7 million 8-bit colors, as uint8 (1, 3, H, 256) slabs that fit in memory."""
    values = torch.arange(256, dtype=torch.uint8)
    for reds in values.split(reds_at_once):
        grid = torch.stack(torch.meshgrid(reds, values, values, indexing="ij"))
        yield grid.reshape(1, 3, -1, 256)


def on_skimage(function, image):
    """`function` of a (1, 3, H, W) tensor, computed in float64, as a (1, 3, H, W) tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about colors outside sRGB
        result = function(image[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(result).permute(2, 0, 1)[None]


def picture(*rgb, dtype=torch.uint8):
    return torch.tensor(rgb, dtype=dtype).view(1, 3, 1, 1)


@pytest.fixture
def image():
    return torch.randint(256, (2, 3, 5, 7), generator=torch.Generator().manual_seed(0)).byte()


def test_every_8_bit_color_equals_skimage_and_comes_back():
    low, high = torch.full((3,), 1e9), torch.full((3,), -1e9)
    for rgb in every_color():
        lab, truth = rgb_to_lab(rgb), on_skimage(rgb2lab, rgb)
        assert lab.dtype == torch.float32
        assert (lab - truth).abs().max() < 1e-3
        assert (rgb_to_lab(rgb / 255) - truth).abs().max() < 1e-3
        assert torch.equal((lab_to_rgb(lab) * 255).round().byte(), rgb)
        low, high = low.minimum(lab.amin((0, 2, 3))), high.maximum(lab.amax((0, 2, 3)))
    seen = torch.stack((low[1:], high[1:])) / AB_SCALE
    outside = (torch.tensor(AB_RANGE) - seen) * torch.tensor([[-1.0], [1.0]])
    assert outside.min() > 0 and outside.max() < 0.02 / AB_SCALE
    assert low[0].item() == pytest.approx(0, abs=1e-4)
    assert high[0].item() == pytest.approx(100, abs=1e-4)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # the corners of sRGB, as color calculators print them
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.74, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_known_colors(rgb, lab):
    assert rgb_to_lab(picture(*rgb)).flatten().tolist() == pytest.approx(lab, abs=0.02)


def test_colors_outside_srgb_are_clamped_as_in_skimage():
    low, high = torch.tensor([0.0, -128, -128]), torch.tensor([100.0, 128, 128])
    steps = [torch.linspace(a, b, 33) for a, b in zip(low, high, strict=True)]
    lab = torch.stack(torch.meshgrid(*steps, indexing="ij")).reshape(1, 3, -1, 33)
    rgb = lab_to_rgb(lab)
    assert (rgb - on_skimage(lab2rgb, lab.double())).abs().max() < 1e-4
    assert rgb.min() == 0 and rgb.max() == 1


def test_networks_see_l_and_ab_scaled(image):
    lab = rgb_to_lab(image)
    L, ab = encode(image)
    assert L.shape == (2, 1, 5, 7) and ab.shape == (2, 2, 5, 7)
    assert torch.allclose(L, lab[:, :1] / 50 - 1) and torch.allclose(ab, lab[:, 1:] / 110)
    assert torch.allclose(to_lab(L, ab), lab, atol=1e-4)
    assert torch.equal((decode(L, ab) * 255).round().byte(), image)


def test_white_and_black_are_the_ends_of_l():
    assert encode(picture(255, 255, 255))[0].item() == pytest.approx(1, abs=1e-6)
    assert encode(picture(0, 0, 0))[0].item() == pytest.approx(-1, abs=1e-6)


def test_greys_come_back_from_their_lightness():
    greys = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    L, _ = encode(greys.expand(1, 3, 16, 16))
    back = lightness_to_grey(L)
    assert back.shape == L.shape and back.min() >= 0 and back.max() <= 1
    assert (back - greys / 255).abs().max() < 1e-6


def test_memory_layout_and_batch_do_not_matter(image):
    channels_last = image.to(memory_format=torch.channels_last)
    assert torch.equal(rgb_to_lab(channels_last), rgb_to_lab(image))
    assert torch.allclose(rgb_to_lab(image)[1:], rgb_to_lab(image[1:]), atol=1e-4)


def test_autocast_and_half_precision_compute_in_float32(image):
    L, ab = encode(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = (*encode(image), decode(L, ab), lightness_to_grey(L), rgb_to_lab(image / 255))
    plain = (L, ab, decode(L, ab), lightness_to_grey(L), rgb_to_lab(image / 255))
    for got, wanted in zip(cast, plain, strict=True):
        assert got.dtype == torch.float32 and torch.equal(got, wanted)
    halves = (L.half(), ab.half())
    assert torch.equal(decode(*halves), decode(*(half.float() for half in halves)))
    lab, rgb = rgb_to_lab(image).half(), (image / 255).half()
    assert torch.equal(lab_to_rgb(lab), lab_to_rgb(lab.float()))
    assert torch.equal(rgb_to_lab(rgb), rgb_to_lab(rgb.float()))


def test_gradients_are_finite_everywhere():
    steps = torch.linspace(-200, 200, 41)
    lab = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij")).reshape(1, 3, -1, 41)
    lab = torch.cat((lab, lab * 0), dim=2).requires_grad_()
    lab_to_rgb(lab).sum().backward()
    assert lab.grad.isfinite().all() and lab.grad.abs().max() > 0


def test_gradient_equals_the_finite_difference():
    lab = torch.tensor([60.0, 20.0, -10.0]).view(1, 3, 1, 1).requires_grad_()
    lab_to_rgb(lab).square().sum().backward()
    numeric = []
    for channel in range(3):
        step = torch.zeros(1, 3, 1, 1)
        step[0, channel] = 0.1
        ends = [lab_to_rgb(lab.detach() + sign * step).square().sum().item() for sign in (1, -1)]
        numeric.append((ends[0] - ends[1]) / 0.2)
    assert np.allclose(lab.grad.flatten().numpy(), numeric, rtol=1e-2)


def test_wrong_shapes_and_types_are_refused():
    for call in (rgb_to_lab, lab_to_rgb, encode):
        with pytest.raises(ValueError, match=r"expected shape \(N, 3, H, W\), got \(3, 4, 4\)"):
            call(torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match=r"expected shape \(N, 2, H, W\), got \(1, 3, 4, 4\)"):
        to_lab(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"expected shape \(N, 1, H, W\)"):
        decode(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"uint8 or floating point, got torch\.int64"):
        rgb_to_lab(picture(1, 2, 3, dtype=torch.int64))
