"""colourgan.lab, in NumPy, gives what colourgan.color gives in torch."""

import numpy as np
import pytest
import torch

from colourgan import color, lab

NEAR = 2e-5  # of a range of 1 or 2; eight bits have steps of 4e-3


def colors(height: int = 64, width: int = 512) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tensor(pixels: np.ndarray) -> torch.Tensor:
    """(1, 3, H, W) of (H, W, 3)."""
    return torch.tensor(pixels).permute(2, 0, 1)[None]


def greys(values: np.ndarray) -> torch.Tensor:
    """L (H, W) of grey in [0, 1], by colourgan.color."""
    return color.encode(torch.tensor(values)[None, None].expand(1, 3, -1, -1))[0][0, 0]


def difference(found: np.ndarray, expected: torch.Tensor) -> float:
    assert found.dtype == np.float32 and found.shape == expected.shape
    return float(np.abs(found - expected.numpy()).max())


def test_lightness_of_colors_and_of_the_corners_of_srgb():
    pixels = colors()
    corners = np.array(np.meshgrid([0, 255], [0, 255], [0, 255]), dtype=np.uint8).reshape(3, 8)
    pixels[0, :8] = corners.T
    assert difference(lab.lightness(pixels), color.encode(tensor(pixels))[0][0, 0]) < NEAR


def test_lightness_of_all_256_greys():
    ramp = np.arange(256, dtype=np.uint8)[None]
    L = lab.lightness(ramp)
    assert difference(L, greys((ramp / 255).astype(np.float32))) < NEAR
    assert (L[0, 0], L[0, -1]) == pytest.approx((-1, 1), abs=NEAR)
    as_rgb = lab.lightness(np.repeat(ramp[..., None], 3, axis=2))
    assert np.abs(as_rgb - L).max() < NEAR


def test_lightness_of_all_greys_of_16_bits():
    values = (np.arange(65536) / 65535).astype(np.float32).reshape(256, 256)
    L = lab.lightness(values)
    assert difference(L, greys(values)) < NEAR
    assert (np.diff(L.ravel()) > -1e-6).all() and np.unique(L).size > 60000


def test_colors_come_back():
    pixels = colors()
    L, ab = (part[0].numpy() for part in color.encode(tensor(pixels)))
    rgb = lab.to_rgb(L[0], ab)
    assert rgb.dtype == np.float32
    assert (lab.to_bytes(rgb) == pixels).all()


def test_any_ab_is_clamped_alike():
    random = np.random.default_rng(0)
    L = random.uniform(-1, 1, (64, 512)).astype(np.float32)
    ab = random.uniform(-1.3, 1.3, (2, 64, 512)).astype(np.float32)
    L[0], L[1] = -1, 1
    found = lab.to_rgb(L, ab)
    expected = color.decode(torch.tensor(L)[None, None], torch.tensor(ab)[None])
    assert difference(found, expected[0].permute(1, 2, 0)) < NEAR
    assert found.min() == 0 and found.max() == pytest.approx(1, abs=NEAR)
    assert lab.to_bytes(found).max() == 255


def test_grey_of_a_lightness():
    L = np.linspace(-1, 1, 1000, dtype=np.float32)
    grey = lab.to_grey(L)
    assert difference(grey, color.lightness_to_grey(torch.tensor(L))) < NEAR
    ramp = np.arange(256, dtype=np.uint8)
    assert (lab.to_bytes(lab.to_grey(lab.lightness(ramp[None])))[0] == ramp).all()


def test_bytes_are_rounded():
    values = np.array([0, 0.49 / 255, 0.51 / 255, 254.49 / 255, 1], dtype=np.float32)
    assert lab.to_bytes(values).tolist() == [0, 0, 1, 254, 255]
