"""A study's configurations, their names and numbers, and sentences that follow from intervals."""

import math
import random

import pytest
import torch
from scipy.stats import t as student
from tiny_cells import REASON, SEEDS, tiny_cell, tiny_grid, tiny_limits

from colourgan.experiments.cells import FAILED, NOT_DONE
from colourgan.experiments.judge import BETTER, NOT_DISTINGUISHABLE, WORSE, compare, mean_text
from colourgan.study.configurations import (
    FACTORS,
    Configuration,
    configurations,
    level_order,
    level_words,
    names_by,
    short_names,
)
from colourgan.study.findings import (
    COSTS,
    best_sentence,
    compared,
    effect_cards,
    effect_sentences,
    effects,
    entries,
    matched_sentences,
    matrix,
    panels,
    place_names,
    places,
    sentence,
)


def seeds_of(encoder, seeds=SEEDS, **options):
    return [tiny_cell(encoder, seed=seed, **options) for seed in seeds]


def shifted(cells, amount, metric="l1", encoder="other", images=0.0):
    """The same cells as another encoder's, each image's metric moved by about the amount."""
    each = torch.linspace(-1, 1, 12, dtype=torch.float64) * images
    return [
        cell._replace(
            factors=cell.factors | {"encoder": encoder},
            values=cell.values | {metric: cell.values[metric] + amount + each},
        )
        for cell in cells
    ]


def known_of(cells):
    """(all comparisons, the configurations), which are one group."""
    found = entries(cells)
    return compared(cells, [found]), found


# Configurations and their names


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
        ("encoder", ["a@none", "a", "a@adapted", "b@none", "b@trained:cifar10", "none"]),
        ("data", ["8", "cifar10", "nan", "tiny-imagenet"]),
        ("limit", ["8", "32", "128", "all"]),
        ("generator", ["dynamic_unet", "a_unet", "pix2pix_unet"]),
        ("discriminator", ["patchgan", "imagegan", "patchgan:spectral", "none"]),
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
        ({"limit": "500"}, ["resnet20, all images", "resnet20, 500 images"]),
        (
            {"limit": "32000", "size": "64", "method": "gan", "discriminator": "patchgan"},
            ["l1, 32, all images", "gan, 64, 32,000 images"],
        ),
        # A model goes by its encoder, or else by its generator.
        (
            {"encoder": "none", "generator": "pix2pix_unet", "decoder": "none"},
            ["resnet20", "pix2pix_unet"],
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


def test_what_a_model_has_not_is_not_in_its_name():
    cells = [
        tiny_cell("a"), tiny_cell("a", "gan"), tiny_cell("a", "gan", discriminator="pixelgan"),
        tiny_cell("none", generator="pix2pix_unet", tuning="none", decoder="none"),
        tiny_cell("a", tuning="frozen"),
    ]  # fmt: skip
    names = list(short_names(configurations(cells)).values())
    assert names == [
        "a l1 unfrozen", "a l1 frozen", "a gan patchgan unfrozen", "a gan pixelgan unfrozen",
        "pix2pix_unet l1",
    ]  # fmt: skip
    alone = configurations([tiny_cell("none", generator="pix2pix_unet")])
    assert list(short_names(alone).values()) == ["pix2pix_unet"]


def test_names_by_some_factors_may_be_shared():
    groups = configurations(tiny_limits(("l1", "gan"), (500, 2000)))
    methods = names_by(groups, ("method", "discriminator"), "method")
    assert set(methods.values()) == {"l1", "gan"} and methods.keys() == groups.keys()
    assert set(names_by(groups, ("limit",)).values()) == {"500 images", "2,000 images"}
    one = configurations([tiny_cell()])
    assert [*names_by(one, ("method",), "method").values()] == ["l1"]
    assert [*names_by(one, ("limit",)).values()] == [""]
    assert level_words("limit", "1") == "1 image" and level_words("limit", "all") == "all images"


# Entries


def test_an_entry_has_its_numbers_over_the_seeds_that_are_done():
    cells = [*seeds_of("a"), tiny_cell("a", seed=7, state=FAILED)]
    (entry,) = entries(cells)
    l1 = torch.stack([cell.values["l1"] for cell in cells[:3]]).mean(1)
    assert (len(entry.done), len(entry.cells)) == (3, 4)
    assert entry.seeds("l1") == pytest.approx(l1.tolist(), rel=1e-12)
    assert entry.mean("l1") == pytest.approx(l1.mean().item(), rel=1e-12)
    assert entry.text("l1") == f"{l1.mean():.4f} ± {l1.std():.4f}"
    scale = l1.std().item() / math.sqrt(3)
    expected = student.interval(0.95, 2, loc=l1.mean().item(), scale=scale)
    assert entry.interval("l1") == pytest.approx(expected, rel=1e-9)
    assert (entry.mean("frechet"), entry.mean("seconds"), entry.mean("fid")) == (10, 100, None)
    assert entry.seeds("fid") == [] and entry.text("fid") == "–"


def test_an_entry_of_one_seed_has_no_interval_and_of_none_no_numbers():
    (one,) = entries([tiny_cell()])
    assert one.interval("l1") is None and "±" not in one.text("l1")
    for state in (FAILED, NOT_DONE):
        (none,) = entries([tiny_cell(state=state)])
        assert (none.done, none.mean("l1"), none.interval("l1")) == ([], None, None)


def test_a_mean_is_told_with_its_deviation_if_it_has_one():
    texts = [mean_text(values, ".1f") for values in ([], [1.0], [1.0, 2.0, 3.0], [1.0, math.nan])]
    assert texts == ["–", "1.0", "2.0 ± 1.0", "n/a"]
    assert set(COSTS) >= set(tiny_cell(method="gan").costs)


def test_an_entry_is_numbered_and_named_alike_in_all_charts():
    cells = tiny_grid(48)
    found = entries(cells)
    random.Random(0).shuffle(cells)
    assert [e.configuration for e in entries(cells)] == [e.configuration for e in found]
    families = {(e.family, e.family_label) for e in found}
    assert (1, "mobilenet_v2@none") in families and len(families) == 4
    assert {(e.shape, e.method, e.kind) for e in found} == {(0, "l1", "l1"), (1, "gan", "gan")}
    assert found[0].label == "mobilenet_v2@none l1"
    folders = entries([tiny_cell(data="/x/cats"), tiny_cell(data="/y/cats"), tiny_cell(data="z")])
    assert place_names(folders)["/x/cats", "32"] == "/x/cats, 32×32"
    assert place_names(folders[:1])["/x/cats", "32"] == "cats, 32×32"
    assert list(places(folders)) == [("/x/cats", "32"), ("/y/cats", "32"), ("z", "32")]


def test_a_kind_is_what_a_family_is_compared_within():
    cells = [*tiny_limits(("l1", "gan"), (500, 2000)), tiny_cell("resnet20", "gan", limit="500",
             discriminator="pixelgan")]  # fmt: skip
    found = entries(cells)
    assert {e.family_label for e in found} == {"resnet20", "resnet20@none"}
    kinds = {e.shape: e.kind for e in found}
    assert [kinds[number] for number in range(len(kinds))] == [
        "l1, 500 images", "l1, 2,000 images", "gan patchgan, 500 images",
        "gan patchgan, 2,000 images", "gan pixelgan, 500 images",
    ]  # fmt: skip
    last = next(e for e in found if e.method == "gan pixelgan")
    assert last.label == "resnet20 gan pixelgan, 500 images" and last.images == "500 images"
    assert last.rival == {"method": "l1"}
    pretrained, random = (
        next(e for e in found if e.label == f"{name} l1, 500 images")
        for name in ("resnet20", "resnet20@none")
    )
    assert (pretrained.rival, random.rival) == ({"encoder": "resnet20@none"}, {})


def test_charts_hold_so_many_configurations_and_no_more():
    found = entries([tiny_cell(f"e{i}", method) for i in range(15) for method in ("l1", "gan")])
    parts = panels(found)
    assert [title for title, _ in parts] == [
        "l1 (1 of 2)", "l1 (2 of 2)", "gan (1 of 2)", "gan (2 of 2)",
    ]  # fmt: skip
    assert [len(part) for _, part in parts] == [12, 3, 12, 3]
    assert panels(found[:12]) == [("", found[:12])]


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ([30], [12, 12, 6]),
        ([5, 10], [5, 10]),  # one encoder's stay together
        ([5, 5, 5], [10, 5]),
        ([15, 9, 2], [12, 12, 2]),  # the last three of 15 leave room
    ],
)
def test_an_encoder_is_parted_only_if_it_must_be(counts, parts):
    cells = [
        tiny_cell(f"e{e}", stages=str(s)) for e, n in enumerate(counts) for s in range(1, n + 1)
    ]
    assert [len(part) for _, part in panels(entries(cells))] == parts


# Effects


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
    encoder, method = effects(cells, "l1")
    assert encoder[:4] == ("encoder", "a@none", "a", "l1")
    assert method[:4] == ("method", "l1", "gan", "l1")
    for comparison in encoder.comparisons:
        assert comparison.a == comparison.b | {"encoder": "a@none"}
    assert [(each.b["size"], each.b["method"]) for each in encoder.comparisons] == [
        ("32", "l1"),
        ("32", "gan"),
        ("64", "l1"),
        ("64", "gan"),
    ]
    assert [each.word for each in encoder.comparisons] == [BETTER] * 2 + [NOT_DISTINGUISHABLE] * 2
    assert len(method.comparisons) == 4
    assert "L1 lower by 0.00" in sentence(encoder)
    assert "better in 2 of 4 settings, not distinguishable in 2" in sentence(encoder)


def test_what_a_side_has_not_is_equal_to_everything():
    gans = [c for d in ("patchgan", "pixelgan") for c in seeds_of("a", method="gan",
            discriminator=d)]  # fmt: skip
    random = {"generator": "pix2pix_unet", "tuning": "none"}
    cells = [
        *seeds_of("a"), *gans, *seeds_of("b"), *seeds_of("none", level=0.2, **random),
        *seeds_of("none", method="gan", level=0.2, **random),
    ]  # fmt: skip
    found = {each.factor: each for each in effects(cells, "l1")}
    pairs = {
        factor: [
            ((a["encoder"], a["discriminator"]), (b["encoder"], b["discriminator"]))
            for a, b in ((each.a, each.b) for each in effect.comparisons)
        ]
        for factor, effect in found.items()
    }
    assert pairs == {
        "encoder": [(("a", "none"), ("b", "none"))],
        "generator": [
            (("a", "none"), ("none", "none")), (("a", "patchgan"), ("none", "patchgan")),
            (("b", "none"), ("none", "none")),
        ],
        "method": [
            (("a", "none"), ("a", "patchgan")), (("a", "none"), ("a", "pixelgan")),
            (("none", "none"), ("none", "patchgan")),
        ],
        "discriminator": [(("a", "patchgan"), ("a", "pixelgan"))],
    }  # fmt: skip
    said = sentence(found["generator"])
    assert said.startswith("dynamic_unet → pix2pix_unet: L1 higher by 0.") and "in all 3" in said
    cards = {card["factor"]: card["cards"][0] for card in effect_cards(*known_of(cells))}
    assert [row.label for row in cards["method"]["rows"]] == [
        "a patchgan", "a pixelgan", "pix2pix_unet patchgan",
    ]  # fmt: skip
    assert [row.label for row in cards["generator"]["rows"]] == ["a l1", "a gan patchgan", "b l1"]


def test_numbers_of_training_images_are_compared_all_else_being_equal():
    found = effects(tiny_limits(), "l1")
    limits = [effect for effect in found if effect.factor == "limit"]
    assert [(effect.before, effect.after) for effect in limits] == [
        ("500", "2000"), ("500", "8000"), ("500", "32000"),
        ("2000", "8000"), ("2000", "32000"), ("8000", "32000"),
    ]  # fmt: skip
    assert all(len(effect.comparisons) == 2 for effect in limits)
    assert sentence(limits[0]).startswith("500 images → 2,000 images: L1 lower by 0.02")
    (encoder,) = (effect for effect in found if effect.factor == "encoder")
    assert [each.b["limit"] for each in encoder.comparisons] == ["500", "2000", "8000", "32000"]
    known, everyone = known_of(tiny_limits())
    assert effect_cards(known, everyone)[0]["factor"] == "number of training images"


def effect_of(amounts, metric="l1", seeds=SEEDS):
    """The only effect of cells where b differs from b@none by an amount in each of some sizes."""
    cells = []
    for size, amount in enumerate(amounts):
        some = seeds_of("b@none", seeds, size=str(size))
        cells += [*some, *shifted(some, amount, metric, "b")]
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


def test_an_effect_on_one_seed_is_told_as_such():
    told = sentence(effect_of([-0.01, -0.02], seeds=[0]))
    assert told == "b@none → b: L1 lower by 0.0150 on average; not distinguishable by one seed"


def test_a_sentence_names_levels_that_are_understood_alone():
    cells = [*seeds_of("a", level=0.1), *seeds_of("a", level=0.2, stages="2")]
    assert sentence(effects(cells, "l1")[0]).startswith("all stages → 2 stages: L1 higher by 0.")


# What was found


def test_best_is_never_more_than_the_intervals_say():
    a = seeds_of("a")
    known, found = known_of([*a, *shifted(a, 0.0003, encoder="b", images=0.002), *shifted(a, 0.05)])
    assert [entry.label for entry in found] == ["a", "b", "other"]
    said = best_sentence(known, found)
    assert said.startswith(f"a has the lowest mean L1, {found[0].mean('l1'):.4f} ± ")
    assert said.endswith("; it is better than other, not distinguishable from b.")
    cells = matrix(known, found)
    words = [[cell and cell["word"] for cell in row] for row in cells]
    assert words[2] == [WORSE, WORSE, None] and [row[2] for row in words[:2]] == [BETTER] * 2
    assert words[0][1] == words[1][0] == NOT_DISTINGUISHABLE
    assert [cells[i][j]["look"] for i, j in ((0, 2), (2, 0), (0, 1))] == ["better", "worse", "open"]
    assert (cells[2][0]["difference"], cells[0][2]["difference"]) == ("+0.0500", "−0.0500")
    assert cells[2][0]["title"] == "other minus a: +0.0500 (95 % +0.0500 to +0.0500)"
    low, high = known.of(found[0], found[1]).interval
    assert low < 0 < high
    assert cells[0][1]["title"].endswith(f"(95 % −{-low:.4f} to +{high:.4f})")


def test_one_seed_decides_nothing_and_that_is_said():
    known, found = known_of(seeds_of("a", [0], method="gan") + seeds_of("b", [0], method="gan"))
    reserve = " One seed decides nothing: another training may differ."
    first, last = sorted(found, key=lambda entry: entry.mean("l1"))
    start = f"{first.label} has the lowest mean L1, {first.mean('l1'):.4f}; it is not "
    assert best_sentence(known, found) == f"{start}distinguishable from {last.label}.{reserve}"
    (matched,) = matched_sentences(known, found)
    assert matched.endswith(f"): not distinguishable for a and b.{reserve}")
    assert matrix(known, found)[0][1]["title"].endswith("(one seed, no interval)")
    assert effect_sentences(known)["encoder"][0].endswith("; not distinguishable by one seed.")
    known, found = known_of(seeds_of("a") + seeds_of("b", level=0.2))
    assert reserve not in best_sentence(known, found)


def test_seeds_without_a_partner_are_not_compared():
    known, found = known_of([tiny_cell("a", seed=0, level=0.1), tiny_cell("b", seed=1, level=0.2)])
    assert best_sentence(known, found).endswith("; it is not compared with b: no seed in common.")
    assert matrix(known, found) == [[None, None], [None, None]]
    alone = best_sentence(*known_of(seeds_of("a")))
    assert alone.endswith(", and nothing to be compared with.")


def test_many_others_are_counted_and_not_listed():
    cells = [cell for i in range(8) for cell in shifted(seeds_of("e"), i / 100, encoder=f"e{i}")]
    assert best_sentence(*known_of(cells)).endswith("; it is better than all 7 others.")
    assert best_sentence(*known_of(cells[:-3])).endswith("better than e1, e2, e3, e4, e5 and e6.")
    known, found = known_of(cells)
    said = ["28 pairs were compared: see the effects at the end."]
    assert effect_sentences(known) == {"encoder": said}
    (factor,) = effect_cards(known, found)
    assert not factor["drawn"] and [card["rows"] for card in factor["cards"]] == [[]] * 28
    assert factor["cards"][0]["sentences"][0] == "L1 higher by 0.0100; worse"
    assert {len(card["sentences"]) for card in factor["cards"]} == {4}


def test_gans_are_told_against_their_parents_at_matched_saturation():
    better = [
        cell._replace(matched=cell.values | {"l1": cell.values["l1"] + 0.01})
        for cell in seeds_of("a", method="gan")
    ]
    worse = [
        cell._replace(matched=cell.values | {"l1": cell.values["l1"] - 0.01})
        for cell in seeds_of("b", method="gan")
    ]
    known, found = known_of([*better, *worse])
    told = "L1 of gan against that of l1 made as colorful (matched saturation): "
    assert matched_sentences(known, found) == [f"{told}better for a; worse for b."]
    assert matched_sentences(*known_of(better)) == [f"{told}better for a."]
    assert matched_sentences(*known_of(seeds_of("a"))) == []


def test_every_kind_of_rival_is_told_by_its_name():
    bins = [tiny_cell("a", "bins", seed, rival={"method": "l1"}) for seed in SEEDS]
    after = [tiny_cell("a", "bins+gan", seed, rival={"method": "bins"}) for seed in SEEDS]
    gans = [c for d in ("patchgan", "pixelgan") for c in seeds_of("a", method="gan",
            discriminator=d)]  # fmt: skip
    told = matched_sentences(*known_of([*bins, *after, *gans]))
    assert [sentence.partition(":")[0] for sentence in told] == [
        f"L1 of {who} against that of {rival} made as colorful (matched saturation)"
        for who, rival in (
            ("bins", "l1"), ("bins+gan patchgan", "bins"), ("gan patchgan", "l1"),
            ("gan pixelgan", "l1"),
        )
    ]  # fmt: skip


def test_pretraining_is_told_against_random_weights_for_each_number_of_images():
    cells = [
        cell._replace(matched=cell.values | {"l1": cell.values["l1"] + better})
        if cell.rival
        else cell
        for cell, better in (
            (cell, 0.01 if cell.factors["limit"] in ("500", "2000") else 0.0)
            for cell in tiny_limits()
        )
    ]
    start = "L1 of resnet20 against that of resnet20@none made as colorful (matched saturation): "
    said = "better with 500 and 2,000 images; not distinguishable with 8,000 and 32,000 images."
    assert matched_sentences(*known_of(cells)) == [start + said]
    cells = [
        cell._replace(matched=cell.values | {"l1": cell.values["l1"] - 0.01})
        if cell.rival
        else cell
        for cell in tiny_limits(("l1", "gan"), (500, 2000))
    ]
    gan, encoder = matched_sentences(*known_of(cells))
    where = "for resnet20@none with 500 and 2,000 images and for resnet20 with 500 and 2,000 images"
    assert gan.endswith(f": worse {where}.")
    assert encoder == f"{start}worse with 500 and 2,000 images."
    many = [
        cell._replace(matched=cell.values)
        for i in range(8)
        for cell in seeds_of(f"e{i}", method="gan")
    ]
    assert matched_sentences(*known_of(many))[0].endswith(": not distinguishable for 8 models.")


def test_every_comparison_is_counted_once():
    cells = [cell for i in range(3) for cell in seeds_of(f"e{i}", level=0.1 + i / 20)]
    # 3 pairs, of L1, ΔE, colorfulness and Fréchet distance; those of L1 are also the effects'.
    assert known_of(cells)[0].count == 12


def test_effect_cards_have_plain_numbers_and_all_metrics_sentences():
    cells = tiny_grid(24)
    found = entries(cells)
    groups = [
        [e for e in found if (e.place, e.kind) == key] for key in {(e.place, e.kind) for e in found}
    ]
    known = compared(cells, groups)
    encoder, method = effect_cards(known, found)
    assert (encoder["factor"], method["factor"], encoder["drawn"]) == ("encoder", "method", True)
    (card,) = method["cards"]
    assert card["title"] == "l1 → gan" and len(card["sentences"]) == 4
    assert card["sentences"][0].startswith("L1 ") and "Fréchet" in card["sentences"][3]
    assert f"l1 → gan: {card['sentences'][0]}." == effect_sentences(known)["method"][0]
    row = card["rows"][2]
    assert row.label == "resnet20@none, tiny-imagenet 64"
    sides = [
        [cell for cell in cells if cell.factors == entry.configuration._asdict()]
        for entry in found
        if entry.place == ("tiny-imagenet", "64") and entry.family_label == "resnet20@none"
    ]
    expected = compare(*sides, "l1")
    assert (row.values, row.interval) == ([expected.difference], expected.interval)
    assert row.text == expected.word
    assert row.title.startswith(f"{expected.difference:+.4f}".replace("-", "−") + " (95 % ")
    (alone,) = effect_cards(*known_of(seeds_of("a") + seeds_of("b")))
    assert [row.label for row in alone["cards"][0]["rows"]] == ["L1"]
    assert effect_cards(*known_of(seeds_of("a"))) == []
