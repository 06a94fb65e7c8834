"""The grid of a study: which trainings there are, what they are called, what begins with what."""

import inspect

import pytest

from colourgan.errors import UsageError
from colourgan.learners import gan_finetune, pretrain, train_encoder
from colourgan.study import study
from colourgan.study.cells import FACTORS
from colourgan.study.grid import grid, wanted
from colourgan.study.settings import Settings

FIELDS = Settings.__dataclass_fields__
DEFAULTS = {n: p.default for n, p in inspect.signature(study).parameters.items() if n in FIELDS}


def settings(**changed):
    return Settings(**DEFAULTS | changed)


def trainings(**changed):
    return grid(settings(**changed))


def arguments(training):
    return dict(training.arguments)


def test_every_combination_is_a_cell_once():
    given = settings(
        encoders=["resnet20@none", "mobilenet_v2@none"],
        data=["cifar10", "tiny-imagenet"],
        sizes=[32, 64],
        seeds=2,
    )
    cells = wanted(given, grid(given))
    assert len(cells) == 2 * 2 * 2 * 2 * 2
    assert len({cell.run for cell in cells}) == len(cells)
    assert len({(cell.factors, cell.seed) for cell in cells}) == len(cells)
    assert all(tuple(cell.setting) == FACTORS for cell in cells)


def test_without_sizes_each_data_set_has_its_own():
    cells = trainings(data=["cifar10", "tiny-imagenet"], methods=["l1"], seeds=1)
    assert {(c.setting["data"], c.setting["size"]) for c in cells} == {
        ("cifar10", "32"),
        ("tiny-imagenet", "64"),
    }


def test_a_gan_begins_with_the_l1_of_its_kind_which_is_trained_once():
    found = trainings(encoders=["resnet20@none"], methods=["l1", "gan", "gan:hinge"], seeds=2)
    by_name = {(t.setting["method"], t.seed): t for t in found}
    assert len(found) == len(by_name) == 6
    for seed in (0, 1):
        for method in ("gan", "gan:hinge"):
            cell = by_name[method, seed]
            assert cell.needs.run == by_name["l1", seed].run
            assert cell.command is gan_finetune
            assert found.index(by_name["l1", seed]) < found.index(cell)
    assert arguments(by_name["gan", 0])["objective"] == "bce"
    assert arguments(by_name["gan:hinge", 0])["objective"] == "hinge"


def test_an_l1_that_only_a_gan_needs_is_trained_but_is_no_cell():
    given = settings(methods=["gan"], seeds=1)
    found = grid(given)
    assert [t.command for t in found] == [pretrain, gan_finetune] * 2
    assert [t.command for t in wanted(given, found)] == [gan_finetune] * 2


def test_an_encoder_trained_on_other_data_is_trained_once_for_all_cells():
    found = trainings(
        encoders=["resnet20@trained:tiny-imagenet"],
        data=["cifar10", "tiny-imagenet"],
        encoder_size=32,
        encoder_limit=100,
        encoder_epochs=3,
    )
    first, *others = found
    assert first.command is train_encoder and first.factors is None
    assert arguments(first) == {
        "arch": "resnet20",
        "data": "tiny-imagenet",
        "size": 32,
        "limit": 100,
        "epochs": 3,
        "precision": "auto",
    }
    l1 = [t for t in others if t.command is pretrain]
    assert len(l1) == 6 and all(t.needs.run == first.run for t in l1)


@pytest.mark.parametrize(
    "encoder, arch",
    [
        ("resnet20@adapted", "resnet20@published"),
        ("resnet20@adapted:packaged", "resnet20@packaged"),
    ],
)
def test_an_adapted_encoder_goes_on_with_each_cells_own_data(encoder, arch):
    found = trainings(encoders=[encoder], data=["cifar10", "tiny-imagenet"], methods=["l1"])
    encoders = [t for t in found if t.command is train_encoder]
    assert [arguments(t)["arch"] for t in encoders] == [arch] * 2
    assert [(arguments(t)["data"], arguments(t)["size"]) for t in encoders] == [
        ("cifar10", 32),
        ("tiny-imagenet", 64),
    ]
    for cell in (t for t in found if t.factors):
        assert arguments(cell.needs)["data"] == cell.setting["data"]


@pytest.mark.parametrize(
    "tuning, epochs, frozen, ratio",
    [
        ("unfrozen", 5, 0, 1.0),
        ("discriminative", 5, 0, 0.1),
        ("gradual", 4, 1, 0.1),
        ("frozen", 0, 5, 0.1),
    ],
)
def test_every_tuning_trains_for_as_many_epochs(tuning, epochs, frozen, ratio):
    found = arguments(trainings(tunings=[tuning], methods=["l1"], epochs=5)[0])
    assert (found["epochs"], found["frozen_epochs"]) == (epochs, frozen)
    assert found["encoder_lr_ratio"] == ratio


def test_treatments_reach_the_training():
    found = trainings(
        stages=["all", "2"], lightness=["folded", "summed"], decoders=["encoder", "24"],
        methods=["l1"], seeds=1, encoders=["resnet20@none"],
    )  # fmt: skip
    seen = {
        (a["encoder_stages"], a["lightness"], a["decoder_channels"]) for a in map(arguments, found)
    }
    assert seen == {(s, i, d) for s in (None, 2) for i in ("folded", "summed") for d in (None, 24)}


def test_wgan_gp_has_no_norm_over_batches():
    assert arguments(trainings(methods=["gan:wgan_gp"])[1])["norm"] == "layer"
    assert arguments(trainings(methods=["gan:wgan_gp"], norm="instance")[1])["norm"] == "instance"
    assert arguments(trainings(methods=["gan:hinge"])[1])["norm"] == "batch"


def test_a_run_is_named_by_all_that_its_result_depends_on(tmp_path):
    one = {t.name: t.run for t in trainings(seeds=2)}
    assert one == {t.name: t.run for t in trainings(seeds=2)}
    assert len(set(one.values())) == len(one)
    for changed in ({"lr": 2e-3}, {"epochs": 3}, {"limit": 9}, {"precision": "fp32"}):
        other = {t.name: t.run for t in trainings(seeds=2, **changed)}
        assert not set(one.values()) & set(other.values()), changed
    gan = {t.name: t.run for t in trainings(seeds=2, gan_lr=1e-3)}
    assert {name for name in one if one[name] == gan[name]} == {n for n in one if " l1 " in n}


def test_a_parents_change_changes_what_begins_with_it():
    for changed in ({"encoder_epochs": 3}, {"batch_size": 4}):
        spec = {"encoders": ["resnet20@trained:cifar10"], "seeds": 1}
        one, other = trainings(**spec), trainings(**spec, **changed)
        assert one[-1].command is gan_finetune
        assert one[-1].run != other[-1].run


def test_weights_count_by_their_content_and_not_by_their_place(tmp_path):
    runs = []
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        file = tmp_path / folder / "weights.pt"
        file.parent.mkdir()
        file.write_bytes(content)
        runs.append(trainings(encoders=[f"resnet20@{file}"])[0].run)
    assert runs[0] == runs[1] != runs[2]


def test_whole_seeds_come_first():
    seeds = [t.seed for t in trainings(data=["cifar10", "tiny-imagenet"], seeds=3)]
    assert seeds == sorted(seeds)


WRONG = {
    "encoder": ({"encoders": ["resnt20"]}, "did you mean 'resnet20'"),
    "file": ({"encoders": ["resnet20@none.pt"]}, "none.pt"),
    "timm": ({"encoders": ["timm:convnxt_atto@none"]}, "convnext_atto"),
    "trained on": ({"encoders": ["resnet20@trained:cifar"]}, "cifar10"),
    "trained timm": ({"encoders": ["timm:resnet18@trained:cifar10"]}, "unknown encoder"),
    "adapted from": ({"encoders": ["resnet20@adapted:no.pt"]}, "no.pt"),
    "data": ({"data": ["cifar"]}, "cifar10"),
    "method": ({"methods": ["gun"]}, "l1, l2, bins, feature, gan"),
    "objective": ({"methods": ["gan:bse"]}, "'bce'"),
    "objective of l1": ({"methods": ["l1:bce"]}, "unknown method"),
    "tuning": ({"tunings": ["frosen"]}, "frozen"),
    "stages": ({"stages": ["two"]}, "all or a number"),
    "lightness": ({"lightness": ["fold"]}, "folded"),
    "decoder": ({"decoders": ["wide"]}, "encoder or a number"),
    "one stage": ({"stages": ["1"]}, "a number from 2"),
    "thin decoder": ({"decoders": ["3"]}, "a number from 4"),
    "size": ({"sizes": [4]}, "size 4 is too small"),
    "norm": ({"norm": "bach"}, "'batch'"),
    "augmentation": ({"augmentation": "spin"}, "flip, crop, zoom, aging"),
    "average": ({"ema": 2.0}, "below 1"),
    "limit": ({"limit": 0}, "limit must be 1"),
    "batch": ({"gan_batch_size": 0}, "gan_batch_size must be 1"),
    "the same method": ({"methods": ["gan", "gan:bce"]}, "are the same training"),
    "the same decoder": ({"decoders": ["64", "064"]}, "are the same training"),
    "the same tuning": ({"tunings": ["gradual", "frozen"], "epochs": 1}, "are the same training"),
    "seeds": ({"seeds": 0}, "seeds"),
    "epochs": ({"epochs": 0}, "epochs"),
    "nothing": ({"encoders": []}, "at least one"),
    "twice": ({"encoders": ["resnet20@none", "resnet20@none"]}, "twice"),
}


@pytest.mark.parametrize("changed, expected", WRONG.values(), ids=WRONG)
def test_wrong_words_are_said_before_anything_is_trained(changed, expected):
    with pytest.raises(UsageError) as caught:
        trainings(**changed)
    message = str(caught.value)
    assert expected in message and "\n" not in message
