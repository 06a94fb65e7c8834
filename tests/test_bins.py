"""Color as classes: bins, soft targets, weights and back, by hand and by brute force."""

import math

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from colourgan.bins import (
    BIN,
    NEAREST,
    SIGMA,
    _tables,
    annealed_mean,
    bin_centers,
    bin_counts,
    class_weights,
    soft_targets,
)
from colourgan.color import AB_SCALE

COUNT = 261  # of all 256³ sRGB colors


def as_ab(colors):
    """CIE a and b, one row a color, as a picture of one row in network units."""
    return torch.as_tensor(colors, dtype=torch.float32).T[None, :, None] / AB_SCALE


def index_of(a, b):
    found = (bin_centers() == torch.tensor([a, b])).all(1).nonzero()
    assert len(found) == 1
    return found.item()


# Bins


def surface_of_the_color_cube():
    """CIE (a, b) of sRGB colors with a channel at 0 or 255: the most extreme colors are there."""
    levels = np.arange(0, 256, 5) / 255
    first, second = (grid.ravel() for grid in np.meshgrid(levels, levels))
    faces = []
    for value in (0.0, 1.0):
        rest = np.full_like(first, value)
        faces += [(rest, first, second), (first, rest, second), (first, second, rest)]
    rgb = np.concatenate([np.stack(face, axis=1) for face in faces])
    return torch.from_numpy(rgb2lab(rgb)[:, 1:]).float()


def test_every_color_of_srgb_is_in_the_bin_whose_center_is_nearest():
    centers = bin_centers()
    assert centers.shape == (COUNT, 2) and centers.dtype == torch.float32
    colors = surface_of_the_color_cube()
    assert colors.abs().max() > 107  # blue: its b is the most extreme of all
    apart = (colors[:, None] - centers).abs()
    nearest = apart.norm(dim=2).argmin(1)
    inside = apart[torch.arange(len(colors)), nearest].max(1).values
    assert inside.max() <= BIN / 2 + 1e-3


def test_no_bin_is_without_a_color():
    random = np.random.default_rng(0).integers(0, 256, (200_000, 3)) / 255
    colors = torch.from_numpy(rgb2lab(random)[:, 1:]).float()
    cells = torch.cat([colors, surface_of_the_color_cube()]).div(BIN).round() * BIN
    filled = {tuple(cell) for cell in cells.unique(dim=0).tolist()}
    own = {tuple(center) for center in bin_centers().tolist()}
    assert len(own) == COUNT and filled <= own
    assert len(own - filled) < 8  # a sample of 200,000 of 16.8 million colors misses a few
    assert (0.0, 0.0) in own and (100.0, -110.0) not in own


def test_tables_that_are_kept_can_be_trained_with_whoever_asks_first():
    for kept in (bin_centers, _tables):
        kept.cache_clear()
    with torch.inference_mode():
        soft_targets(torch.zeros(1, 2, 1, 1))
        annealed_mean(torch.zeros(1, COUNT, 1, 1), 1.0)
    logits = torch.zeros(1, COUNT, 1, 1, requires_grad=True)
    annealed_mean(logits, 1.0)[:, 0].sum().backward()
    assert logits.grad.abs().max() > 0


# Soft targets


def test_soft_targets_of_one_color_by_hand():
    bins, shares = soft_targets(as_ab([[3.0, -2.0]]))
    assert bins.shape == shares.shape == (1, 1, 1, NEAREST)
    assert bins.dtype == torch.int64 and shares.dtype == torch.float32
    around = [(0, 0), (10, 0), (0, -10), (0, 10), (10, -10)]
    distances = [math.hypot(3 - a, -2 - b) for a, b in around]
    order = sorted(range(5), key=lambda i: distances[i])
    assert bins.flatten().tolist() == [index_of(*around[i]) for i in order]
    heights = [math.exp(-(distances[i] ** 2) / (2 * SIGMA**2)) for i in order]
    wanted = torch.tensor(heights) / sum(heights)
    torch.testing.assert_close(shares.flatten(), wanted, atol=1e-6, rtol=1e-5)


def test_soft_targets_are_those_of_brute_force_and_sum_to_one():
    colors = surface_of_the_color_cube()[::7].round()
    ab = as_ab(colors)
    bins, shares = (each[0, 0] for each in soft_targets(ab))
    distances = (colors[:, None] - bin_centers()).norm(dim=2)
    nearest = distances.sort(1).values[:, :NEAREST]
    torch.testing.assert_close(distances.gather(1, bins), nearest, atol=2e-3, rtol=0)
    heights = torch.exp(-nearest.square() / (2 * SIGMA**2))
    wanted = heights / heights.sum(1, keepdim=True)
    torch.testing.assert_close(shares, wanted, atol=1e-3, rtol=0)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(colors)))
    assert (shares.diff(dim=1) <= 0).all() and (shares > 0).all()
    assert len({*bins[0].tolist()}) == NEAREST


def test_soft_targets_keep_the_place_of_each_pixel():
    ab = torch.zeros(2, 2, 3, 4)
    ab[1, :, 2, 1] = torch.tensor([60.0, -30.0]) / AB_SCALE
    bins, shares = soft_targets(ab.requires_grad_())
    assert bins.shape == (2, 3, 4, NEAREST) and not shares.requires_grad
    there = (bins[..., 0] == index_of(60, -30)).nonzero().tolist()
    assert there == [[1, 2, 1]] and (bins[..., 0] == index_of(0, 0)).sum() == 23


def test_colors_beyond_srgb_are_in_the_outermost_bins():
    bins, shares = soft_targets(as_ab([[500.0, 0.0], [-500.0, 500.0]]))
    assert shares.isfinite().all() and bins.min() >= 0 and bins.max() < COUNT
    assert bin_centers()[bins[0, 0, 0, 0]].tolist()[0] >= 90


def test_counts_of_bins_sum_to_the_pixels():
    ab = torch.zeros(2, 2, 4, 8)
    ab[0] = torch.tensor([40.0, 40.0])[:, None, None] / AB_SCALE
    counts = bin_counts(ab)
    assert counts.shape == (COUNT,) and counts.dtype == torch.float64
    assert counts.sum().item() == pytest.approx(64, rel=1e-6)
    assert counts.argmax() in (index_of(0, 0), index_of(40, 40))
    assert counts[index_of(40, 40)] == counts[index_of(0, 0)] == pytest.approx(32 * share_of_own())


def share_of_own():
    """A color at a center: its bin, and those 10 units left, right, above and below."""
    return 1 / (1 + 4 * math.exp(-100 / (2 * SIGMA**2)))


# Weights


@pytest.mark.parametrize("rebalancing", [0.0, 0.3, 1.0])
def test_weights_are_one_on_average(rebalancing):
    prior = torch.rand(COUNT, generator=torch.Generator().manual_seed(0)) + 0.1
    prior /= prior.sum()
    weights = class_weights(prior, torch.tensor(rebalancing))
    assert weights.shape == (COUNT,)
    assert (weights * prior).sum().item() == pytest.approx(1, rel=1e-5)


def test_weights_by_hand():
    prior = torch.tensor([0.5, 0.3, 0.2])
    assert class_weights(prior, 0.0).tolist() == pytest.approx([1, 1, 1])
    # 1 / prior, over the sum of weights × prior, which is 3
    assert class_weights(prior, 1.0).tolist() == pytest.approx([2 / 3, 10 / 9, 5 / 3])
    # 1 / (prior / 2 + 1 / 6): 2.4, 3.158, 3.75; over 1.2 + .947 + .75
    half = torch.tensor([12 / 5, 60 / 19, 15 / 4])
    wanted = (half / (half * prior).sum()).tolist()
    assert class_weights(prior, 0.5).tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("rebalancing", [0.0, 0.5, 1.0])
def test_a_color_that_never_occurs_has_a_finite_weight(rebalancing):
    weights = class_weights(torch.tensor([1.0, 0.0]), rebalancing)
    assert weights.isfinite().all() and weights[0] == pytest.approx(1) and weights[1] >= 1


# And back


def test_the_annealed_mean_goes_from_the_mode_to_the_mean():
    logits = torch.full((1, COUNT, 1, 2), -50.0)
    red, grey = index_of(60, 40), index_of(0, 0)
    logits[0, red], logits[0, grey] = math.log(0.6), math.log(0.4)

    def colors(temperature):
        ab = annealed_mean(logits, temperature)
        assert ab.shape == (1, 2, 1, 2) and ab.dtype == torch.float32
        assert torch.equal(ab[..., 0], ab[..., 1])
        return (ab * AB_SCALE)[0, :, 0, 0].tolist()

    assert colors(0.01) == pytest.approx([60, 40], abs=1e-3)
    assert colors(1) == pytest.approx([36, 24], abs=1e-3)
    share = 0.6**2 / (0.6**2 + 0.4**2)
    assert colors(torch.tensor(0.5)) == pytest.approx([60 * share, 40 * share], abs=1e-3)


def test_the_annealed_mean_is_computed_in_float32():
    logits = torch.randn(1, COUNT, 2, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    ab = annealed_mean(logits, 0.4)
    assert ab.dtype == torch.float32
    torch.testing.assert_close(ab, annealed_mean(logits.float(), 0.4))


def test_soft_targets_give_their_color_back():
    colors = torch.tensor([[3.0, -1.0], [40.0, 20.0], [-27.0, 33.0]])
    bins, shares = soft_targets(as_ab(colors))
    logits = torch.full((1, 1, 3, COUNT), -1e4).scatter(-1, bins, shares.log())
    ab = annealed_mean(logits.permute(0, 3, 1, 2), 1.0)
    assert (ab * AB_SCALE - colors.T[None, :, None]).abs().max() < BIN / 4
