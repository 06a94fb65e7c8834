"""Colors of low resolution get the edges of lightness, and nothing else of it."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from colourgan.upsampling import Enlarged, guide_size

BOX, BILINEAR, BICUBIC = (Image.Resampling[name] for name in ("BOX", "BILINEAR", "BICUBIC"))
RANDOM = np.random.default_rng(0)


def resized(planes, size, how):
    """Planes (C, h, w) at (height, width)."""
    images = [Image.fromarray(plane.astype(np.float32)) for plane in planes]
    return np.stack([np.asarray(image.resize(size[::-1], how)) for image in images])


def enlarged(ab, L, cuts=()):
    """ab (2, H, W) for L (H, W), in strips that end at `cuts`."""
    guide = resized(L[None], guide_size(*L.shape, min(ab.shape[1:])), BILINEAR)[0]
    whole, ends = Enlarged(ab, guide, L.shape), [0, *cuts, len(L)]
    rows = [slice(*pair) for pair in pairwise(ends)]
    return np.concatenate([whole.rows(each, L[each]) for each in rows], axis=1)


def random_picture(height=300, width=410, small=(24, 32)):
    """(ab, L): smooth random colors, and lightness with both edges and grain."""
    shapes = resized(
        RANDOM.uniform(-0.8, 0.8, (1, 9, 12)), (height, width), Image.Resampling.NEAREST
    )
    L = shapes[0] + RANDOM.normal(0, 0.05, (height, width)).astype(np.float32)
    return RANDOM.uniform(-0.5, 0.5, (2, *small)).astype(np.float32), L.clip(-1, 1)


def disc(side=400):
    """(ab, L) of a bright red disc on dark blue, with film grain."""
    y, x = np.mgrid[:side, :side] - side / 2
    inside = np.hypot(x - 7, y + 3) < side / 4
    ab = np.where(inside, np.array([0.5, 0.3])[:, None, None], np.array([0.1, -0.4])[:, None, None])
    L = np.where(inside, 0.4, -0.3) + RANDOM.normal(0, 0.03, inside.shape)
    return ab.astype(np.float32), L.astype(np.float32)


def as_predicted(ab, size=32, shift=0):
    """ab averaged down to half of `size` and enlarged, as generators do, and moved to the right."""
    half = resized(np.roll(ab, shift, axis=2), (size // 2, size // 2), BOX)
    return resized(half, (size, size), BILINEAR)


def error(ab, true):
    return np.hypot(*(ab - true)).mean()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((3000, 4000), (256, 341)),
        ((300, 200), (300, 200)),
        ((1, 1), (1, 1)),
        ((1, 5000), (1, 1024)),
        ((9000, 900), (1024, 256)),
    ],
)
def test_a_guide_is_small_and_no_larger_than_the_picture(size, expected):
    assert guide_size(*size) == expected
    assert guide_size(*size[::-1]) == expected[::-1]


def test_a_guide_is_finer_than_ab():
    assert guide_size(3000, 4000, 512) == (1024, 1365)


@pytest.mark.parametrize("shift", [0, 10])
def test_colors_end_where_lightness_does(shift):
    true, L = disc()
    ab = as_predicted(true, shift=shift)
    blurred, guided = (
        error(each, true) for each in (resized(ab, L.shape, BICUBIC), enlarged(ab, L))
    )
    assert guided < (0.5 if shift else 0.25) * blurred


def test_less_color_lies_outside():
    true, L = disc()
    dark_near = (L < 0) & (np.hypot(*(np.mgrid[:400, :400] - 200)) < 150)
    ab = as_predicted(true)
    spilled = [
        (each[1][dark_near] + 0.4).mean()
        for each in (resized(ab, L.shape, BICUBIC), enlarged(ab, L))
    ]
    assert spilled[1] < 0.25 * spilled[0]


def test_constant_colors_stay_to_the_last_bit():
    _, L = random_picture()
    ab = np.full((2, 24, 32), [[[0.123]], [[-0.321]]], np.float32)
    assert (enlarged(ab, L) == ab[:, :1, :1]).all()


def test_grain_is_not_painted_into_colors():
    slow = np.linspace(-0.3, 0.3, 32, dtype=np.float32) * np.ones((2, 24, 1), np.float32)
    L = RANDOM.normal(0, 0.06, (300, 400)).astype(np.float32)
    assert abs(enlarged(slow, L) - resized(slow, L.shape, BICUBIC)).max() < 0.01


def test_without_edges_it_is_bicubic():
    true, _ = disc()
    ab = as_predicted(true)
    for value in (-1, 0, 1):
        L = np.full((180, 240), value, np.float32)
        assert np.allclose(enlarged(ab, L), resized(ab, L.shape, BICUBIC), atol=0.02)


def test_a_black_rim_gets_no_color_of_its_own():
    true, L = disc()
    L[:, :12] = -1
    ab = enlarged(as_predicted(true), L)[:, :, :12]
    assert abs(ab - np.array([0.1, -0.4])[:, None, None]).max() < 0.02


def test_the_result_does_not_depend_on_strips():
    ab, L = random_picture()
    whole = enlarged(ab, L)
    for cuts in ([1, 2, 299], range(1, 300), [64, 128], [150]):
        assert np.array_equal(enlarged(ab, L, cuts), whole)


@pytest.mark.parametrize("axis", [0, 1])
def test_flipped_pictures_get_flipped_colors(axis):
    ab, L = random_picture()
    flipped = enlarged(np.flip(ab, axis + 1), np.flip(L, axis))
    assert np.allclose(np.flip(flipped, axis + 1), enlarged(ab, L), atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3), (17, 40), (600, 31)])
@pytest.mark.parametrize("small", [(128, 128), (16, 24), (1, 1)])
def test_pictures_of_any_shape(size, small):
    ab, L = random_picture(*size, small)
    found = enlarged(ab, L)
    assert found.shape == (2, *size) and found.dtype == np.float32
    assert np.isfinite(found).all() and abs(found).max() < 1


def test_it_needs_no_torch():
    code = "import sys, colourgan.upsampling; print('torch' in sys.modules, 'scipy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]
