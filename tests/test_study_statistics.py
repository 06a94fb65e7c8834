"""colourgan.study.statistics against scipy and numpy, and on cells made by hand."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap, ttest_rel
from tiny_cells import REASON, SEEDS, tiny_cell, tiny_grid

from colourgan.metrics import bootstrap_interval, bootstrap_means
from colourgan.study import comparisons
from colourgan.study.cells import DONE, FACTORS, FAILED, NOT_DONE
from colourgan.study.comparisons import (
    BETTER,
    HIGHER,
    LOWER,
    UNDECIDED,
    WORSE,
    compare,
    compare_all,
    compare_with_matched,
)
from colourgan.study.factors import (
    Configuration,
    as_matched,
    configurations,
    level_order,
    short_names,
)
from colourgan.study.statistics import effects, numbers, sentence, summary


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


def test_cells_are_grouped_by_factors_and_sorted_by_seed():
    cells = [tiny_cell("b", seed=2), tiny_cell("b@none", seed=0), tiny_cell("b", seed=10)]
    cells += [tiny_cell("b", seed=1, state=FAILED)]
    groups = configurations(cells)
    assert [key.encoder for key in groups] == ["b@none", "b"]
    for key, group in groups.items():
        assert key == tuple(group[0].factors[factor] for factor in FACTORS)
    assert [cell.seed for cell in groups[Configuration(**cells[0].factors)]] == [1, 2, 10]
    assert list(configurations(reversed(cells)).items()) == list(groups.items())


@pytest.mark.parametrize(
    ("factor", "ordered"),
    [
        ("size", ["8", "32", "128"]),
        ("stages", ["all", "2", "10"]),
        ("decoder", ["encoder", "64", "256"]),
        ("method", ["l1", "gan", "gan:wgan_gp", "l2"]),
        ("encoder", ["a@none", "a", "a@adapted", "b@none", "b@trained:cifar10"]),
        ("data", ["cifar10", "nan", "tiny-imagenet"]),
    ],
)
def test_levels_are_ordered_by_number_and_the_usual_one_comes_first(factor, ordered):
    mixed = [*ordered[1::2], *ordered[::2]]
    assert sorted(mixed, key=lambda level: level_order(factor, level)) == ordered


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ({}, ["resnet20"]),
        ({"size": "64"}, ["resnet20, 32", "resnet20, 64"]),
        ({"encoder": "resnet20@none"}, ["resnet20", "resnet20@none"]),
        ({"data": "/home/me/old photos"}, ["resnet20, cifar10", "resnet20, old photos"]),
        ({"data": "other/cifar10"}, ["resnet20, cifar10", "resnet20, other/cifar10"]),
        ({"encoder": "a", "method": "gan", "size": "64"}, ["resnet20 l1, 32", "a gan, 64"]),
        (
            {"stages": "1", "lightness": "summed", "decoder": "64"},
            ["all stages L folded own decoder", "1 stage L summed decoder 64"],
        ),
    ],
)
def test_names_leave_out_what_does_not_vary(others, names):
    first = Configuration(**tiny_cell().factors)
    both = dict.fromkeys([first, first._replace(**others)])
    assert short_names(both) == dict(zip(both, names, strict=True))


def test_names_of_a_grid_are_unique():
    groups = configurations(tiny_grid(96))
    names = short_names(groups)
    assert names.keys() == groups.keys() and len(set(names.values())) == len(groups)


def test_a_summary_has_means_and_deviations_over_the_seeds_that_are_done():
    cells = [*seeds_of("a"), tiny_cell("a", seed=7, state=FAILED)]
    found = summary(cells)
    assert (found.seeds, found.cells) == ([0, 1, 2], 4)
    l1 = table(cells[:3]).mean(1)
    assert found.means["l1"] == pytest.approx(l1.mean(), rel=1e-12)
    assert found.deviations["l1"] == pytest.approx(l1.std(ddof=1), rel=1e-9)
    off = np.abs((table(cells[:3], "colorfulness") - table(cells[:3], "colorfulness_true")).mean(1))
    assert found.means["delta_colorfulness"] == pytest.approx(off.mean(), rel=1e-9)
    assert found.deviations["delta_colorfulness"] == pytest.approx(off.std(ddof=1), rel=1e-9)
    assert found.means["frechet"] == 10 and found.deviations["frechet"] == 0
    assert found.means["seconds"] == 100


def test_a_summary_of_one_seed_has_no_deviation_and_of_none_no_means():
    assert set(summary([tiny_cell()]).deviations.values()) == {None}
    for state in (FAILED, NOT_DONE):
        nothing = summary([tiny_cell(state=state)])
        assert (nothing.seeds, nothing.cells, nothing.means) == ([], 1, {})


def test_a_metric_beyond_the_usual_ones_is_a_number_too():
    cell = tiny_cell()
    cell.values["lpips"] = torch.tensor([0.25, 0.75], dtype=torch.float64)
    assert numbers(cell)["lpips"] == 0.5
    assert "lpips" in summary([cell]).means


@pytest.mark.parametrize("metric", ["l1", "psnr", "colorfulness"])
def test_the_images_interval_is_the_bootstraps_of_the_mean_over_seeds(metric):
    a, b = seeds_of("a", images=60), seeds_of("b", level=0.101, images=60)
    found = compare(a, b, metric)
    differences = (table(b, metric) - table(a, metric)).mean(0)
    assert found.difference == pytest.approx(differences.mean(), abs=1e-12)
    expected = bootstrap_interval(torch.from_numpy(differences))
    np.testing.assert_allclose(found.images, expected, rtol=0, atol=1e-12)
    theirs = bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    )
    error = differences.std() / 60**0.5
    np.testing.assert_allclose(found.images, theirs.confidence_interval, rtol=0, atol=error / 5)


def test_the_seeds_interval_is_that_of_a_paired_t_test():
    a, b = seeds_of("a", range(5), spread=0.01), seeds_of("b", range(5), spread=0.01)
    found = compare(a, b, "l1")
    per_seed = table(a).mean(1), table(b).mean(1)
    expected = ttest_rel(*reversed(per_seed)).confidence_interval(0.95)
    np.testing.assert_allclose(found.seeds, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.per_seed, per_seed[1] - per_seed[0], rtol=0, atol=1e-12)
    assert found.paired == [0, 1, 2, 3, 4]


def test_the_distance_from_true_colorfulness_is_resampled_as_a_whole():
    a, b = (seeds_of(name, level=level, images=40) for name, level in (("a", 0.05), ("b", 0.2)))
    found = compare(a, b, "delta_colorfulness")
    off = [table(side, "colorfulness") - table(side, "colorfulness_true") for side in (a, b)]
    assert off[0].mean() > 0 > off[1].mean()  # else a mean of absolute values would do
    each = np.abs(off[1].mean(1)) - np.abs(off[0].mean(1))
    assert found.difference == pytest.approx(each.mean(), abs=1e-12)

    def distance(indices):
        drawn = [np.abs(side[:, indices].mean(1)) for side in off]
        return (drawn[1] - drawn[0]).mean()

    random = np.random.default_rng(0)
    draws = [distance(random.integers(0, 40, 40)) for _ in range(4000)]
    ends = np.quantile(draws, [0.025, 0.975])
    np.testing.assert_allclose(found.images, ends, rtol=0, atol=np.std(draws) / 5)


def test_only_seeds_that_both_have_count():
    a = seeds_of("a")
    b = [*shifted(a[:2], [0.01, 0.03]), tiny_cell("other", seed=2, state=FAILED)]
    b.append(tiny_cell("other", seed=9, level=0.9))
    found = compare(a, b, "l1")
    assert found.paired == [0, 1] and found.difference == pytest.approx(0.02)
    assert compare(a[:2], b[2:], "l1") is None
    assert compare(a, b, "lpips") is None


@pytest.mark.parametrize(
    ("amounts", "metric", "word"),
    [
        ([0.010, 0.011, 0.012], "l1", WORSE),
        ([-0.010, -0.011, -0.012], "l1", BETTER),
        ([0.010, 0.011, 0.012], "ssim", BETTER),
        ([-0.010, -0.011, -0.012], "ssim", WORSE),
        ([1.0, 1.1, 1.2], "colorfulness", HIGHER),
        ([-1.0, -1.1, -1.2], "colorfulness", LOWER),
        ([0.010, 0.001, 0.030], "l1", UNDECIDED),  # each seed is worse, but three say too little
        ([0.0, 0.0, 0.0], "l1", UNDECIDED),
        ([0.010], "l1", WORSE),  # one seed: the images alone
        ([0.0], "l1", UNDECIDED),
        ([0.010, float("nan"), 0.012], "l1", UNDECIDED),
    ],
)
def test_the_word_needs_both_intervals(amounts, metric, word):
    a = seeds_of("a", range(len(amounts)))
    found = compare(a, shifted(a, amounts, metric), metric)
    assert found.word == word
    assert (found.seeds is None) == (len(amounts) == 1)


def test_seeds_that_agree_do_not_outvote_images_that_do_not():
    a = seeds_of("a")
    mixed = torch.tensor([0.05, -0.049] * 6, dtype=torch.float64)
    found = compare(a, shifted(a, [mixed, mixed + 1e-6, mixed - 1e-6]), "l1")
    assert found.seeds[0] > 0 > found.images[0]
    assert found.word == UNDECIDED


def test_equal_cells_are_never_told_apart(monkeypatch):
    def rounded_row_by_row(values):
        means = bootstrap_means(values)
        return means + 1e-15 * torch.arange(len(means))[:, None]

    # A matrix product may round equal rows differently: some do, by the row's place.
    monkeypatch.setattr(comparisons, "bootstrap_means", rounded_row_by_row)
    first, last = seeds_of("a", [0]), seeds_of("z", [0], level=0.2)
    groups = [first, shifted(first, [0.0], encoder="b"), shifted(first, [0.0], encoder="c"), last]
    found = compare_all(combinations(groups, 2), "l1")
    same = [each for each in found if each.b.encoder != "z"]
    assert [(each.images, each.word) for each in same] == [((0.0, 0.0), UNDECIDED)] * 3
    assert [each.word for each in found if each.b.encoder == "z"] == [WORSE] * 3


def test_a_number_of_the_whole_set_and_a_single_image_have_no_images_interval():
    a, b = seeds_of("a"), seeds_of("b")
    for number, cell in enumerate(b):
        cell.distances["frechet"] = 20.0 + number
    found = compare(a, b, "frechet")
    assert found.images is None and found.word == WORSE
    expected = ttest_rel([20, 21, 22], [10, 10, 10]).confidence_interval(0.95)
    np.testing.assert_allclose(found.seeds, expected, rtol=0, atol=1e-9)
    assert compare(a[:1], b[:1], "frechet").word == UNDECIDED
    one = [seeds_of(encoder, [0], images=1, level=level) for encoder, level in (("a", 1), ("b", 2))]
    assert (compare(*one, "l1").images, compare(*one, "l1").word) == (None, UNDECIDED)


def test_cells_of_other_images_are_not_compared():
    with pytest.raises(ValueError, match="different data or sizes"):
        compare(seeds_of("a"), seeds_of("a", size="64"), "l1")
    with pytest.raises(ValueError, match="different numbers of test images"):
        compare(seeds_of("a"), seeds_of("b", images=13), "l1")


def test_many_comparisons_are_those_of_one_at_a_time():
    groups = list(configurations(tiny_grid(24)).values())
    pairs = [
        (x, y) for x, y in combinations(groups, 2) if x[0].factors["data"] == y[0].factors["data"]
    ]
    together = compare_all(pairs, "l1")
    assert len(together) == len(pairs) == 12
    for (a, b), found in zip(pairs, together, strict=True):
        alone = compare(a, b, "l1")
        assert (found.a, found.b, found.word) == (alone.a, alone.b, alone.word)
        np.testing.assert_allclose(found.images, alone.images, rtol=0, atol=1e-12)


def test_a_gan_is_compared_with_its_parent_at_the_same_saturation():
    cells = [tiny_cell("a", "gan", seed) for seed in SEEDS]
    cells = [
        cell._replace(matched=cell.values | {"l1": cell.values["l1"] + 0.01}) for cell in cells
    ]
    found = compare_with_matched(cells, "l1")
    assert found.difference == pytest.approx(-0.01) and found.word == BETTER
    assert (found.a.method, found.b.method) == ("l1 as colorful as gan", "gan")
    rival = as_matched(cells[0])
    assert rival.values is cells[0].matched and rival.state == DONE
    assert rival.distances == cells[0].matched_distances != cells[0].distances
    assert not (rival.matched or rival.matched_distances or rival.costs or rival.history)
    assert compare_with_matched(seeds_of("a"), "l1") is None


def test_effects_pair_what_differs_in_one_factor_alone():
    def four(encoder, size, level):
        methods = (("l1", level), ("gan", level + 0.002))
        return [
            c for m, x in methods for c in seeds_of(encoder, size=size, method=m, level=x, spread=0)
        ]

    cells = [
        *four("a@none", "32", 0.11),
        *four("a", "32", 0.10),
        *four("a@none", "64", 0.21),
        *four("a", "64", 0.21),
        *seeds_of("lonely", size="128"),
        tiny_cell("a@none", size="128", state=FAILED, reason=REASON),
    ]
    found = effects(cells, "l1")
    assert [(each.factor, each.before, each.after) for each in found] == [
        ("encoder", "a@none", "a"),
        ("method", "l1", "gan"),
    ]
    encoder, method = found
    for comparison in encoder.comparisons:
        assert comparison.a == comparison.b._replace(encoder="a@none")
    assert [(each.b.size, each.b.method) for each in encoder.comparisons] == [
        ("32", "l1"),
        ("32", "gan"),
        ("64", "l1"),
        ("64", "gan"),
    ]
    assert encoder.words == {BETTER: 2, UNDECIDED: 2}
    assert encoder.difference == pytest.approx(-0.005, abs=0.0004)
    assert len(method.comparisons) == 4 and method.difference == pytest.approx(0.002, abs=0.0004)


def effect_of(amounts, metric="l1", before="b@none", after="b"):
    """The only effect of cells where `after` differs by an amount in each of some settings."""
    cells = []
    for size, amount in enumerate(amounts):
        some = seeds_of(before, size=str(size))
        cells += [*some, *shifted(some, [amount] * 3, metric, after)]
    (effect,) = effects(cells, metric)
    return effect


@pytest.mark.parametrize(
    ("amounts", "metric", "expected"),
    [
        (
            [-0.01, -0.02, 0],
            "l1",
            "L1 lower by 0.0100 on average; better in 2 of 3 settings, not distinguishable in 1",
        ),
        ([0.01, 0.01], "l1", "L1 higher by 0.0100 on average; worse in all 2 settings"),
        (
            [-1, 2],
            "psnr",
            "PSNR higher by 0.50 dB on average; better in 1 of 2 settings, worse in 1",
        ),
        ([0.03], "within_5", "within 5 higher by 3.0% of all pixels; better"),
        (
            [0, 0],
            "l1",
            "L1 different by less than 0.0001 on average; distinguishable in none of 2 settings",
        ),
        ([0], "delta_e", "ΔE different by less than 0.01; not distinguishable"),
        (
            [0],
            "within_5",
            "within 5 different by less than 0.1% of all pixels; not distinguishable",
        ),
        ([2], "colorfulness", "colorfulness higher by 2.0; higher"),
        ([float("nan")], "l1", "L1 not known; not distinguishable"),
    ],
)
def test_an_effect_is_told_in_a_sentence(amounts, metric, expected):
    assert sentence(effect_of(amounts, metric)) == f"b@none → b: {expected}"


def test_a_sentence_names_levels_that_are_understood_alone():
    cells = [*seeds_of("a", level=0.1), *seeds_of("a", level=0.2, stages="2")]
    assert sentence(effects(cells, "l1")[0]).startswith("all stages → 2 stages: L1 higher by 0.")
