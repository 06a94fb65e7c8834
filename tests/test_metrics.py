"""colourgan.metrics against formulas written again in numpy, and against known values."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from colourgan import metrics
from colourgan.color import decode, encode, lab_to_rgb, rgb_to_lab
from colourgan.errors import RunError, UsageError
from colourgan.metrics import (
    METRICS,
    Colors,
    bootstrap_interval,
    bootstrap_means,
    colorfulness,
    measure,
    saturation_match,
    summarize,
)

ROW = [
    "l1",
    "psnr",
    "ssim",
    "delta_e",
    "colorfulness",
    "colorfulness_true",
    "delta_colorfulness",
    "within_5",
]


def colors(rgb):
    return Colors(rgb_to_lab(rgb), rgb)


def flat(*lab, size=12):
    """One picture of a single Lab color."""
    lab = torch.tensor(lab, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, size, size)
    return Colors(lab, lab_to_rgb(lab))


def random_rgb(seed, count=3, height=16, width=14):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def pair():
    target = random_rgb(0)
    return colors((target + 0.2 * random_rgb(1) - 0.1).clamp(0, 1)), colors(target)


def test_names_and_order():
    assert list(METRICS) == ["l1", "psnr", "ssim", "delta_e", "colorfulness", "within_5"]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_gives_one_finite_value_an_image(name, pair):
    values = METRICS[name](*pair)
    assert values.shape == (3,) and values.isfinite().all()
    one = METRICS[name](*(Colors(*(tensor[1:2] for tensor in side)) for side in pair))
    assert torch.allclose(values[1:2], one, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "perfect"), [("l1", 0), ("psnr", 100), ("ssim", 1), ("delta_e", 0), ("within_5", 1)]
)
def test_identical_pictures_are_perfect(name, perfect, pair):
    assert METRICS[name](pair[1], pair[1]).tolist() == pytest.approx([perfect] * 3, abs=1e-6)


def test_l1_is_of_ab_over_110_and_ignores_lightness():
    pred, target = flat(40, 11, -22), flat(60, 0, 11)
    assert METRICS["l1"](pred, target).item() == pytest.approx((0.1 + 0.3) / 2)


def test_psnr_equals_the_formula(pair):
    pred, target = (side.rgb.double().numpy() for side in pair)
    truth = 10 * np.log10(1 / ((pred - target) ** 2).mean((1, 2, 3)))
    assert np.allclose(METRICS["psnr"](*pair).numpy(), truth, atol=1e-4)


def ssim_of_channel(x, y):
    """Wang et al. 2004, equation 13, with an 11×11 window and its incomplete positions left out."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def local(values):
        return correlate1d(correlate1d(values, taps, 0), taps, 1)[5:-5, 5:-5]

    mx, my = local(x), local(y)
    vx, vy, vxy = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    top, bottom = (2 * mx * my + c1) * (2 * vxy + c2), (mx**2 + my**2 + c1) * (vx + vy + c2)
    return (top / bottom).mean()


def test_ssim_equals_the_formula(pair):
    # Low contrast, so that the constants of the formula and the kind of covariance count.
    pair = [colors(0.4 + 0.1 * side.rgb) for side in pair]
    pred, target = (side.rgb.double().numpy() for side in pair)
    truth = [
        np.mean([ssim_of_channel(x, y) for x, y in zip(*images, strict=True)])
        for images in zip(pred, target, strict=True)
    ]
    assert np.allclose(METRICS["ssim"](*pair).numpy(), truth, atol=1e-6)


def test_ssim_of_too_small_pictures_is_one_clear_error():
    assert METRICS["ssim"](flat(50, 0, 0, size=11), flat(50, 0, 0, size=11)).item() == 1
    with pytest.raises(UsageError, match="at least 11×11 pixels, got 10×10"):
        METRICS["ssim"](flat(50, 0, 0, size=10), flat(50, 0, 0, size=10))


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [  # Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula", 2005, table 1
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_delta_e_of_published_pairs(one, other, difference):
    delta_e = METRICS["delta_e"](flat(*one, size=2), flat(*other, size=2))
    assert delta_e.item() == pytest.approx(difference, abs=2e-4)


def test_delta_e_is_a_mean_over_pixels():
    target = flat(50, 2.5, 0, size=2)
    lab = target.lab.clone()
    lab[..., 0, 0] = torch.tensor([73.0, 25, -18])
    pred = Colors(lab, lab_to_rgb(lab))
    assert METRICS["delta_e"](pred, target).item() == pytest.approx(27.1492 / 4, abs=1e-4)


def test_within_5_wants_both_a_and_b_within_5():
    target = flat(50, 0, 0, size=2)
    lab = target.lab.clone()
    lab[0, 1:, 0, 0] = torch.tensor([5.0, -5.0])
    lab[0, 1:, 0, 1] = torch.tensor([5.1, 0.0])
    lab[0, 1:, 1, 0] = torch.tensor([0.0, -5.1])
    lab[0, 0] += 30
    assert METRICS["within_5"](Colors(lab, lab_to_rgb(lab)), target).item() == 0.5


def test_colorfulness_equals_the_formula():
    rgb = random_rgb(2)
    truth = []
    for r, g, b in (rgb.double().numpy() * 255).reshape(3, 3, -1):
        rg, yb = r - g, (r + g) / 2 - b
        spread = np.hypot(np.std(rg), np.std(yb))
        truth.append(spread + 0.3 * np.hypot(np.mean(rg), np.mean(yb)))
    assert np.allclose(colorfulness(rgb).numpy(), truth, rtol=1e-5)


def test_colorfulness_of_known_pictures():
    grey = torch.rand(1, 1, 8, 8).expand(1, 3, 8, 8)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    wanted = [0, 0.3 * np.hypot(255, 127.5)]
    assert colorfulness(torch.cat((grey, red))).tolist() == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(ValueError, match=r"expected shape \(N, 3, H, W\), got \(3, 8, 8\)"):
        colorfulness(red[0])


def test_colorfulness_metric_is_the_predictions(pair):
    assert torch.equal(METRICS["colorfulness"](*pair), colorfulness(pair[0].rgb))


def test_measure_holds_all_metrics_and_the_truths_colorfulness(pair):
    values = measure(*pair)
    assert list(values) == [*METRICS, "colorfulness_true"]
    assert all(value.shape == (3,) for value in values.values())
    assert torch.equal(values["l1"], METRICS["l1"](*pair))
    assert torch.equal(values["colorfulness_true"], colorfulness(pair[1].rgb))


def test_measure_takes_predictions_that_carry_gradients(pair):
    pred = Colors(*(tensor.clone().requires_grad_() for tensor in pair[0]))
    assert not any(value.requires_grad for value in measure(pred, pair[1]).values())


def test_measure_refuses_shapes_that_would_broadcast(pair):
    one = Colors(*(tensor[:1] for tensor in pair[1]))
    with pytest.raises(ValueError, match="pred and target differ in shape"):
        measure(pair[0], one)


def test_summary_is_the_row_of_the_table(pair):
    values = measure(*pair)
    values["colorfulness"] = torch.tensor([10.0, 20.0, 60.0])
    values["colorfulness_true"] = torch.tensor([40.0, 50.0, 30.0])
    row = summarize(values)
    assert list(row) == ROW
    assert row["l1"] == pytest.approx(values["l1"].mean().item())
    assert row["colorfulness"] == 30 and row["colorfulness_true"] == 40
    assert row["delta_colorfulness"] == 10
    assert all(isinstance(value, float) for value in row.values())


def test_a_new_metric_gets_its_own_column(pair, monkeypatch):
    monkeypatch.setattr(
        metrics, "METRICS", METRICS.copy() | {"zero": lambda p, t: p.lab[:, 0, 0, 0] * 0}
    )
    assert summarize(measure(*pair)) | {"zero": 0.0} == summarize(measure(*pair))
    assert list(summarize(measure(*pair))) == [*ROW, "zero"]


@pytest.mark.parametrize("factor", [0.4, 1.0, 1.7, 50.0])
def test_saturation_match_finds_the_factor_again(factor):
    L, ab = encode(0.495 + 0.01 * random_rgb(3, count=5))
    wanted = colorfulness(decode(L, ab * factor)).mean().item()
    assert saturation_match(ab, L, wanted) == pytest.approx(factor, abs=2e-4)


def test_saturation_match_averages_over_images_of_all_batches(monkeypatch):
    L, ab = encode(random_rgb(4, count=5))
    whole = saturation_match(ab, L, 50.0)
    monkeypatch.setattr(metrics, "_AT_ONCE", 2 * L[0].numel())
    assert saturation_match(ab, L, 50.0) == whole


def test_saturation_match_of_nothing_wanted_is_zero():
    L, ab = encode(random_rgb(5))
    assert saturation_match(ab, L, 0.0) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("ab_value", [0.0, float("nan")])
def test_saturation_match_that_cannot_be_reached_is_an_error(ab_value):
    L, ab = encode(random_rgb(6))
    with pytest.raises(RunError, match=r"no saturation factor up to 64 gives colorfulness 30\.0"):
        saturation_match(torch.full_like(ab, ab_value), L, 30.0)


def test_bootstrap_interval_is_that_of_a_normal_mean():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) + 0.5
    low, high = bootstrap_interval(values)
    error = values.std().item() / 400**0.5
    assert low == pytest.approx(values.mean().item() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean().item() + 1.96 * error, abs=0.15 * error)


def test_bootstrap_interval_repeats_and_narrows():
    values = torch.randn(50, generator=torch.Generator().manual_seed(1))
    low, high = bootstrap_interval(values, resamples=500)
    assert (low, high) == bootstrap_interval(values, resamples=500)
    assert (low, high) != bootstrap_interval(values, seed=1, resamples=500)
    inner_low, inner_high = bootstrap_interval(values, resamples=500, level=0.5)
    assert low < inner_low < inner_high < high
    assert bootstrap_interval(torch.full((9,), 2.0)) == (2.0, 2.0)


def test_bootstrap_means_are_those_of_images_drawn_one_by_one():
    values = torch.randn(3, 31, generator=torch.Generator().manual_seed(2)).double()
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randint(31, (31,), generator=generator) for _ in range(200)]
    expected = torch.stack([values[:, indices].mean(1) for indices in drawn], dim=1)
    means = bootstrap_means(values, seed=5, resamples=200)
    torch.testing.assert_close(means, expected, rtol=0, atol=1e-12)
    ends = expected[1].quantile(0.05).item(), expected[1].quantile(0.95).item()
    interval = bootstrap_interval(values[1], seed=5, resamples=200, level=0.9)
    assert interval == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize("values", [torch.zeros(0), torch.zeros(2, 2)])
def test_bootstrap_interval_wants_one_value_an_image(values):
    with pytest.raises(ValueError, match=r"expected shape \(N,\) with N > 0"):
        bootstrap_interval(values)
