"""One rule for "better" and "holds": Welch's interval over seeds and images, against scipy."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from scipy.stats import ttest_ind, ttest_rel
from tiny_cells import SEEDS, tiny_cell

from colourgan.experiments.cells import DONE, FAILED, NOT_DONE, as_matched, numbers
from colourgan.experiments.judge import (
    BETTER,
    DECISIVE,
    FAILS,
    HIGHER,
    HOLDS,
    LOWER,
    NOT_DISTINGUISHABLE,
    UNDECIDED,
    WORSE,
    Scale,
    claim,
    compare,
    compare_all,
    compare_with_matched,
    interval,
)

# The interval


@pytest.mark.parametrize(("seeds", "images"), [(2, 5), (3, 1000), (10, 12)])
def test_the_interval_is_that_of_welch_s_test(seeds, images):
    """scipy's, of two independent samples whose means have these two variances."""
    random = np.random.default_rng(seeds)
    x, y = random.normal(3, 0.2, seeds), random.normal(0, 1, images)
    low, high = interval(x.tolist(), y.std(ddof=1) / math.sqrt(images), images)
    expected = ttest_ind(x, y - y.mean(), equal_var=False).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_without_an_image_error_it_is_student_s():
    expected = student.interval(0.95, 2, loc=2, scale=1 / math.sqrt(3))
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(expected, rel=1e-9)
    assert interval([1.0, 2.0, 3.0], 0.0, 1000) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("images", [2, 30, 100_000])
def test_seeds_without_spread_leave_the_images_degrees_of_freedom(images):
    expected = student.interval(0.95, images - 1, loc=2, scale=0.1)
    assert interval([2.0, 2.0, 2.0], 0.1, images) == pytest.approx(expected, rel=1e-9)
    if images > 1000:
        assert interval([2.0, 2.0, 2.0], 0.1, images)[1] == pytest.approx(2.196, abs=1e-4)


def test_no_spread_at_all_is_an_interval_of_no_width():
    assert interval([2.0, 2.0]) == interval([2.0, 2.0], 0.0, 7) == (2.0, 2.0)


def test_one_seed_has_no_interval_and_what_is_not_finite_has_no_ends():
    assert interval([1.0]) is interval([1.0], 0.1, 9) is interval([math.nan]) is None
    assert interval([]) is None
    for values, error in (([1, math.nan], 0), ([1, math.inf], 0), ([1, 2], math.nan)):
        assert all(map(math.isnan, interval(values, error, 9)))


def test_tiny_numbers_are_judged_like_large_ones():
    large = interval([1.0, 2.0, 4.0], 0.3, 9)
    tiny = interval([1e-120, 2e-120, 4e-120], 0.3e-120, 9)
    assert [end * 1e120 for end in tiny] == pytest.approx(large, rel=1e-9)


@pytest.mark.parametrize(
    ("seeds", "images", "rest", "least"),
    [(0.0, 1.0, 0.0, 930), (0.2, 1.0, 1.0, 930), (1.0, 1.0, 0.0, 900), (1.0, 0.1, 2.0, 900)],
)
def test_it_covers_the_true_mean_about_as_often_as_it_says(seeds, images, rest, least):
    """1,000 quantities that are 0 on average, of 3 seeds and 40 images."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        table = seeds * random.normal(size=(3, 1)) + images * random.normal(size=40)
        table = table + rest * random.normal(size=(3, 40))
        low, high = made(table).interval()
        covered += low < 0 < high
    assert covered >= least


# Claims


def made(values, low=0, high=None):
    return claim("A GAN raises L1.", "", "L1 of the GAN minus that of the U-Net", values, low, high)


def test_short_of_names_what_is_too_small():
    assert Scale(images=4000, epochs=4, seeds=3, test_images=1000, share=0.25) == DECISIVE
    assert DECISIVE.short_of(DECISIVE) == Scale(4000, 4, 3, 1000).short_of(DECISIVE) == []
    assert DECISIVE._replace(share=0.0016).short_of(DECISIVE) == [
        "0.16 % of the published generator steps, of the 25% that a verdict needs"
    ]
    assert Scale(200, 9, 1, 1000).short_of(DECISIVE) == [
        "200 of 4,000 training images",
        "1 of 3 seeds",
    ]
    assert Scale(4000, 3, 3, 50).short_of(DECISIVE) == ["3 of 4 epochs", "50 of 1,000 test images"]


def test_the_image_error_is_that_of_the_mean_over_seeds():
    # Seeds' means 2 and 2; the mean over seeds of the four images: 0, 2, 2, 4.
    measured = made([[0, 2, 3, 3], [0, 2, 1, 5]])
    error = math.sqrt(8 / 3) / 2
    assert (measured.values, measured.images, measured.mean) == ([2, 2], 4, 2)
    assert measured.image_error == pytest.approx(error)
    assert measured.interval() == pytest.approx(student.interval(0.95, 3, 2, error), rel=1e-9)
    assert (made([1.0, 2.0]).image_error, made([1.0, 2.0]).images) == (0, 0)


TABLE = [[1.0, 2.0], [3.0, 5.0], [4.0, 6.0]]


@pytest.mark.parametrize(
    "values",
    [
        TABLE,
        np.array(TABLE, dtype=np.float32),
        torch.tensor(TABLE, requires_grad=True),
        [torch.tensor(row) for row in TABLE],
        (np.array(row) for row in TABLE),
    ],
)
def test_values_may_come_in_any_container(values):
    measured = made(values)
    assert measured.values == [1.5, 4, 5] and measured.images == 2
    assert all(type(value) is float for value in (*measured.values, measured.image_error))


@pytest.mark.parametrize(
    ("values", "low", "high", "verdict"),
    [
        ([1.0, 1.1, 0.9], 0, None, HOLDS),
        ([-1.0, -1.1, -0.9], 0, None, FAILS),
        ([1.0, -1.0, 0.9], 0, None, UNDECIDED),
        ([1.0, 1.1, 0.9], None, 0, FAILS),
        ([-1.0, -1.1, -0.9], None, 0, HOLDS),
        ([3.9, 4.0, 4.1], 3, 5, HOLDS),
        ([2.0, 2.1, 2.2], 3, 5, FAILS),
        ([6.0, 6.1, 6.2], 3, 5, FAILS),
        ([2.9, 3.1, 3.2], 3, 5, UNDECIDED),
        ([0.0, 0.0, 0.0], 0, None, FAILS),  # "raises" is not "leaves as it is"
    ],
)
def test_the_whole_interval_must_lie_on_one_side(values, low, high, verdict):
    assert made(values, low, high).verdict(DECISIVE) == verdict


@pytest.mark.parametrize("field", Scale._fields)
def test_no_claim_is_decided_if_anything_is_too_small(field):
    small = DECISIVE._replace(**{field: getattr(DECISIVE, field) - 1})
    assert made([1.0, 1.1, 0.9]).verdict(small) == UNDECIDED


def test_a_claim_that_is_not_about_the_end_needs_no_share():
    early = DECISIVE._replace(share=0.01)
    assert made([1.0, 1.1, 0.9]).verdict(early) == UNDECIDED
    assert made([1.0, 1.1, 0.9])._replace(ends=False).verdict(early) == HOLDS


def test_models_that_learned_nothing_decide_nothing_and_a_condition_comes_first():
    sure = made([1.0, 1.1, 0.9])
    grey = sure._replace(void="GAN is worse than grey")
    assert grey.verdict(DECISIVE) == UNDECIDED
    assert grey.open_because(DECISIVE) == ["GAN is worse than grey"]
    gap = sure._replace(text="There is a gap.")
    closes = sure._replace(requires="There is a gap.")
    assert closes.verdict(DECISIVE, others=[gap, closes]) == HOLDS
    for other in (gap._replace(values=[-1.0, -1.1, -0.9]), gap._replace(void="grey")):
        assert closes.verdict(DECISIVE, others=[other]) == UNDECIDED
        assert closes.open_because(DECISIVE, others=[other]) == [
            "judged only where this holds: There is a gap."
        ]


def test_a_recipe_may_be_decided_with_fewer_images():
    few = DECISIVE._replace(images=1750, test_images=400)
    here = Scale(2000, 1, 3, 430, 0.3)
    assert made([1.0, 1.1, 0.9]).verdict(here) == UNDECIDED
    assert made([1.0, 1.1, 0.9]).verdict(here, few._replace(epochs=1)) == HOLDS


def test_images_that_differ_leave_open_what_seeds_agree_on():
    alike = torch.linspace(-10, 11, 100).expand(3, -1)
    assert made(alike).mean == pytest.approx(0.5)
    assert made(alike).verdict(DECISIVE) == UNDECIDED
    assert made(alike.mean(1)).verdict(DECISIVE) == HOLDS


def test_seeds_that_agree_do_not_widen_what_images_decide():
    """2.5 image standard errors above 0: outside ±1.98 of 100 images, within ±4.30 of 3 seeds."""
    values = torch.linspace(-1, 1, 100, dtype=torch.float64)
    values = values + 2.5 * values.std() / 10
    assert made(values.expand(3, -1)).verdict(DECISIVE) == HOLDS


@pytest.mark.parametrize(
    "values", [[1.0], [[1.0, 2.0]], [1, 1, math.nan], [1, 1, math.inf], [[1.0], [1.1], [0.9]]]
)
def test_one_seed_one_image_or_a_number_that_is_none_decides_nothing(values):
    assert made(values).verdict(DECISIVE) == UNDECIDED
    assert (made(values).interval() is None) == (len(values) == 1)


@pytest.mark.parametrize(
    "values", [[], [[], []], torch.empty(0), torch.ones(2, 3, 4), [[1.0, 2.0], [1.0]]]
)
def test_values_that_are_no_seeds_are_refused(values):
    with pytest.raises(ValueError, match=r"values of .*: A GAN raises L1"):
        made(values)


@pytest.mark.parametrize(("low", "high"), [(None, None), (5, 3), (0, 0)])
def test_a_claim_must_be_able_to_fail(low, high):
    with pytest.raises(ValueError, match="says nothing: A GAN raises L1"):
        made([1.0], low, high)


# Comparisons


def seeds_of(encoder, seeds=SEEDS, **options):
    return [tiny_cell(encoder, seed=seed, **options) for seed in seeds]


def shifted(cells, amounts, metric="l1", encoder="other"):
    """The same cells as another encoder's, each seed's metric moved by its amount."""
    return [
        cell._replace(
            factors=cell.factors | {"encoder": encoder},
            values=cell.values | {metric: cell.values[metric] + amount},
        )
        for cell, amount in zip(cells, amounts, strict=True)
    ]


def table(cells, metric="l1"):
    return np.stack([cell.values[metric].numpy() for cell in cells])  # (seeds, N)


@pytest.mark.parametrize("metric", ["l1", "psnr", "colorfulness"])
def test_a_comparison_judges_the_differences_paired_by_seed_and_image(metric):
    a, b = seeds_of("a", range(5), spread=0.01), seeds_of("b", range(5), spread=0.01)
    found = compare(b[::-1], a, metric)
    differences = table(a, metric) - table(b, metric)
    assert (found.a, found.b, found.metric) == (b[0].factors, a[0].factors, metric)
    assert found.paired == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(found.per_seed, differences.mean(1), rtol=0, atol=1e-12)
    assert found.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert found.interval == pytest.approx(made(differences).interval(), abs=1e-12)


def test_a_number_of_the_whole_set_has_the_interval_of_a_paired_t_test():
    a, b = seeds_of("a"), seeds_of("b")
    for number, cell in enumerate(b):
        cell.distances["frechet"] = 20.0 + number
    found = compare(a, b, "frechet")
    expected = ttest_rel([20, 21, 22], [10, 10, 10]).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert found.word == WORSE


def test_the_distance_from_true_colorfulness_has_the_error_of_the_delta_method():
    a, b = (seeds_of(name, level=level, images=200) for name, level in (("a", 0.05), ("b", 0.2)))
    found = compare(a, b, "delta_colorfulness")
    off = [table(side, "colorfulness") - table(side, "colorfulness_true") for side in (a, b)]
    assert off[0].mean() > 0 > off[1].mean()  # else a mean of absolute values would do
    each = np.abs(off[1].mean(1)) - np.abs(off[0].mean(1))
    np.testing.assert_allclose(found.per_seed, each, rtol=0, atol=1e-12)

    def distance(indices):
        drawn = [np.abs(side[:, indices].mean(1)) for side in off]
        return (drawn[1] - drawn[0]).mean()

    random = np.random.default_rng(0)
    error = np.std([distance(random.integers(0, 200, 200)) for _ in range(2000)])
    expected = interval(each.tolist(), error, 200)
    np.testing.assert_allclose(found.interval, expected, rtol=0, atol=error / 5)


def test_only_seeds_that_both_have_count():
    a = seeds_of("a")
    b = [*shifted(a[:2], [0.01, 0.03]), tiny_cell("other", seed=2, state=FAILED)]
    b.append(tiny_cell("other", seed=9, level=0.9))
    found = compare(a, b, "l1")
    assert found.paired == [0, 1] and found.difference == pytest.approx(0.02)
    assert compare(a[:2], b[2:], "l1") is compare(a, b, "lpips") is None
    assert compare([], b, "l1") is compare(a, [], "l1") is None


@pytest.mark.parametrize(
    ("amounts", "metric", "word"),
    [
        ([0.010, 0.011, 0.012], "l1", WORSE),
        ([-0.010, -0.011, -0.012], "l1", BETTER),
        ([0.010, 0.011, 0.012], "ssim", BETTER),
        ([-0.010, -0.011, -0.012], "ssim", WORSE),
        ([1.0, 1.1, 1.2], "colorfulness", HIGHER),
        ([-1.0, -1.1, -1.2], "colorfulness", LOWER),
        ([0.010, 0.001, 0.030], "l1", NOT_DISTINGUISHABLE),  # all worse, but three say too little
        ([0.0, 0.0, 0.0], "l1", NOT_DISTINGUISHABLE),
        ([0.010], "l1", NOT_DISTINGUISHABLE),  # one seed, whatever its images say
        ([0.010, float("nan"), 0.012], "l1", NOT_DISTINGUISHABLE),
    ],
)
def test_the_word_needs_all_of_the_interval(amounts, metric, word):
    a = seeds_of("a", range(len(amounts)))
    found = compare(a, shifted(a, amounts, metric), metric)
    assert found.word == word
    assert (found.interval is None) == (len(amounts) == 1)


def test_the_other_way_round_everything_is_reversed():
    a, b = seeds_of("a"), seeds_of("b", level=0.12)
    found, turned = compare(a, b, "l1"), compare(b, a, "l1")
    assert (found.word, turned.word) == (WORSE, BETTER)
    assert turned.interval == (-found.interval[1], -found.interval[0])
    assert turned.difference == -found.difference


def test_seeds_that_agree_do_not_outvote_images_that_do_not():
    a = seeds_of("a")
    mixed = torch.tensor([0.05, -0.049] * 6, dtype=torch.float64)
    found = compare(a, shifted(a, [mixed, mixed + 1e-6, mixed - 1e-6]), "l1")
    assert found.interval[0] < 0 < min(found.per_seed)
    assert found.word == NOT_DISTINGUISHABLE


def test_equal_cells_are_never_told_apart():
    first = seeds_of("a")
    groups = [first, shifted(first, [0.0] * 3, encoder="b"), seeds_of("z", level=0.2)]
    same, *others = compare_all(combinations(groups, 2), "l1")
    assert (same.interval, same.word) == ((0.0, 0.0), NOT_DISTINGUISHABLE)
    assert [each.word for each in others] == [WORSE] * 2


def test_a_single_image_decides_nothing():
    one = [seeds_of(encoder, images=1, level=level) for encoder, level in (("a", 1), ("b", 2))]
    found = compare(*one, "l1")
    assert all(map(math.isnan, found.interval)) and found.word == NOT_DISTINGUISHABLE


def test_cells_of_other_images_are_not_compared():
    with pytest.raises(ValueError, match="different data or sizes"):
        compare(seeds_of("a"), seeds_of("a", size="64"), "l1")
    with pytest.raises(ValueError, match="different numbers of test images"):
        compare(seeds_of("a"), seeds_of("b", images=13), "l1")


def test_any_factors_will_do():
    a, b = (
        [cell._replace(factors={"model": name}) for cell in seeds_of(name, level=level)]
        for name, level in (("U-Net", 0.1), ("GAN", 0.12))
    )
    found = compare(a, b, "l1")
    assert (found.a, found.b, found.word) == ({"model": "U-Net"}, {"model": "GAN"}, WORSE)
    assert as_matched(b[0]).factors == {"model": "l1 as colorful as GAN"}


def test_pairs_without_a_seed_in_common_are_left_out_of_many():
    a, b, late = seeds_of("a"), seeds_of("b"), seeds_of("c", [8, 9])
    assert compare_all([(a, late), (a, b), (late, b)], "l1") == [compare(a, b, "l1")]


def test_a_gan_is_compared_with_its_parent_at_the_same_saturation():
    cells = [tiny_cell("a", "gan", seed) for seed in SEEDS]
    cells = [
        cell._replace(matched=cell.values | {"l1": cell.values["l1"] + 0.01}) for cell in cells
    ]
    found = compare_with_matched(cells, "l1")
    assert found.difference == pytest.approx(-0.01) and found.word == BETTER
    assert (found.a["method"], found.b["method"]) == ("l1 as colorful as gan", "gan")
    rival = as_matched(cells[0])
    assert rival.values is cells[0].matched and rival.state == DONE
    assert rival.distances == cells[0].matched_distances != cells[0].distances
    assert not (rival.matched or rival.matched_distances or rival.costs or rival.history)
    assert compare_with_matched(seeds_of("a"), "l1") is None


# A cell's numbers


def test_a_cell_s_numbers_are_its_means_its_distances_and_its_costs():
    cell = tiny_cell()
    cell.values["lpips"] = torch.tensor([0.25, 0.75], dtype=torch.float64)
    found = numbers(cell)
    assert found["l1"] == pytest.approx(cell.values["l1"].mean().item(), rel=1e-12)
    off = cell.values["colorfulness"] - cell.values["colorfulness_true"]
    assert found["delta_colorfulness"] == pytest.approx(off.mean().abs().item(), rel=1e-9)
    assert (found["lpips"], found["frechet"], found["seconds"]) == (0.5, 10, 100)
    assert numbers(tiny_cell(state=FAILED)) == numbers(tiny_cell(state=NOT_DONE)) == {}
