"""The grid of a study: which trainings there are, what they are called, what begins with what."""

from dataclasses import dataclass, replace

import pytest
from tiny_runs import make_data, make_pictures

from colourgan.errors import UsageError
from colourgan.generators import GENERATORS
from colourgan.options import flat, made, option, places
from colourgan.plans import Study
from colourgan.study.configurations import FACTORS
from colourgan.study.grid import grid, wanted
from colourgan.trainings import GanFinetune, Pretrain, TrainEncoder, TrainGenerator

PRETRAIN, GAN, ENCODER = Pretrain.command, GanFinetune.command, TrainEncoder.command


def plan(**changed):
    """A study from names as on the command line."""
    return made(Study, {"name": "toy", **changed})


def steps(**changed):
    return grid(plan(**changed))


def settings(step):
    """What a training computes, name → value."""
    return {k: v for k, v in flat(step.training).items() if k not in places(step.training)}


def runs(**changed):
    return {step.name: step.run for step in steps(**changed)}


def test_every_combination_is_a_cell_once():
    given = plan(
        encoders=["resnet20@none", "mobilenet_v2@none"],
        data=["cifar10", "tiny-imagenet"],
        sizes=[32, 64],
        seeds=2,
    )
    cells = wanted(given, grid(given))
    assert len(cells) == 2 * 2 * 2 * 2 * 2
    assert len({cell.run for cell in cells}) == len(cells)
    assert len({(*cell.factors.values(), cell.seed) for cell in cells}) == len(cells)
    assert all(tuple(cell.factors) == FACTORS for cell in cells)


def test_without_sizes_each_data_set_has_its_own():
    cells = steps(data=["cifar10", "tiny-imagenet"], methods=["l1"], seeds=1)
    assert [(c.factors["data"], c.factors["size"]) for c in cells] == [
        *[("cifar10", "32")] * 2,
        *[("tiny-imagenet", "64")] * 2,
    ]
    assert [c.training.size for c in cells] == [32, 32, 64, 64]


def test_a_gan_begins_with_the_l1_of_its_kind_which_is_trained_once():
    found = steps(encoders=["resnet20@none"], methods=["l1", "gan", "gan:hinge"], seeds=2)
    by_name = {(step.factors["method"], step.seed): step for step in found}
    assert len(found) == len(by_name) == 6
    for seed in (0, 1):
        for method in ("gan", "gan:hinge"):
            cell, base = by_name[method, seed], by_name["l1", seed]
            assert cell.needs.run == cell.rival.run == base.run
            assert cell.training.command == GAN and cell.training.seed == seed
            assert found.index(base) < found.index(cell)
    assert by_name["gan", 0].training.objective == "bce"
    assert by_name["gan:hinge", 0].training.objective == "hinge"


def test_an_l1_that_only_a_gan_needs_is_trained_but_is_no_cell():
    given = plan(methods=["gan"], seeds=1)
    found = grid(given)
    assert [step.training.command for step in found] == [PRETRAIN, GAN] * 2
    assert [step.training.command for step in wanted(given, found)] == [GAN] * 2


def test_an_encoder_trained_on_other_data_is_trained_once_for_all_cells():
    first, *others = steps(
        encoders=["resnet20@trained:tiny-imagenet"],
        data=["cifar10", "tiny-imagenet"],
        encoder_size=32,
        encoder_limit=100,
        encoder_epochs=3,
    )
    assert first.factors is None
    assert first.training == TrainEncoder(
        encoder="resnet20", data="tiny-imagenet", size=32, limit=100, epochs=3
    )
    l1 = [step for step in others if step.training.command == PRETRAIN]
    assert len(l1) == 6 and all(step.needs.run == first.run for step in l1)
    assert {step.training.encoder for step in l1} == {"resnet20"}


@pytest.mark.parametrize(
    "encoder, weights",
    [
        ("resnet20@adapted", "resnet20@published"),
        ("resnet20@adapted:packaged", "resnet20@packaged"),
    ],
)
def test_an_adapted_encoder_goes_on_with_each_cells_own_data(encoder, weights):
    found = steps(encoders=[encoder], data=["cifar10", "tiny-imagenet"], methods=["l1"])
    encoders = [step.training for step in found if step.training.command == ENCODER]
    assert [each.encoder for each in encoders] == [weights] * 2
    assert [(each.data, each.size) for each in encoders] == [("cifar10", 32), ("tiny-imagenet", 64)]
    for cell in (step for step in found if step.factors):
        assert cell.needs.training.data == cell.factors["data"]
        assert cell.needs.seed == 0


# What every cell of a study is trained with, unless the study says otherwise.
SHARED = {"epochs": 10, "frozen_epochs": 0, "batch_size": 32, "lr": 1e-3, "encoder_lr_ratio": 1.0,
          "schedule": "one-cycle", "weight_decay": 0.01, "beta2": 0.99, "eps": 1e-5, "ema": 0.0,
          "augmentation": "flip+crop", "limit": None, "lightness": "folded",
          "encoder_stages": None, "decoder_channels": None, "decoder_width": 1.0, "blur": False,
          "half_resolution": False,
          "self_attention": False, "start": None, "precision": "auto"}  # fmt: skip
OF_GAN = {"epochs": 10, "d_epochs": 0, "batch_size": 16, "lr": 2e-4, "d_lr": 2e-4, "beta1": 0.5,
          "beta2": 0.999, "schedule": "constant", "weight_decay": 0.0, "ema": 0.999,
          "discriminator": "patchgan", "d_norm": "batch", "d_width": 64, "objective": "bce",
          "reconstruction": "l1", "reconstruction_weight": 100.0, "adversarial_weight": 1.0,
          "real_label": 1.0, "penalty_weight": 10.0, "d_steps": 1, "g_steps": 1,
          "same_batch": False, "d_noise_l": 0.0, "d_noise_ab": 0.0,
          "augmentation": "flip+crop", "data": None, "limit": None, "patience": None,
          "precision": "auto"}  # fmt: skip
OF_ENCODER = {"epochs": 30, "lr": 0.2, "batch_size": 128, "weight_decay": 5e-3, "limit": None,
              "augmentation": "flip+crop", "label_smoothing": 0.0, "precision": "auto",
              "accumulate": 1}  # fmt: skip


def test_trainings_have_these_settings():
    found = steps(encoders=["resnet20@trained:tiny-imagenet"], seeds=2)
    commands = [step.training.command for step in found]
    assert commands == [ENCODER, PRETRAIN, GAN, PRETRAIN, GAN]
    for step, seed in zip(found, (0, 0, 0, 1, 1), strict=True):
        expected = {
            ENCODER: OF_ENCODER | {"encoder": "resnet20", "data": "tiny-imagenet", "size": 64},
            PRETRAIN: SHARED
            | {"encoder": "resnet20", "data": "cifar10", "size": 32, "reconstruction": "l1",
               "rebalancing": 0.5, "colorfulness": 0.8, "decay_steps": 10_000, "lr_floor": 0.0},
            GAN: OF_GAN | {"decay_steps": 10_000, "lr_floor": 0.0, "model": None},
        }[step.training.command]  # fmt: skip
        assert settings(step) == expected | {"seed": seed, "accumulate": 1}


def test_a_study_changes_them():
    found = steps(
        encoders=["resnet20@trained:cifar10"], methods=["bins", "gan:wgan_gp"], seeds=1,
        precision="fp32", limit=9, epochs=5, batch_size=4, lr=2e-3, augmentation="none",
        gan_epochs=3, gan_batch_size=5, gan_lr=1e-3, gan_d_lr=3e-3, gan_d_norm="instance",
        gan_d_width=8, gan_reconstruction_weight=10.0, gan_ema=0.9, gan_augmentation="flip",
        encoder_epochs=2, encoder_lr=0.1, encoder_limit=50, encoder_size=16,
    )  # fmt: skip
    encoder, bins, l1, gan = map(settings, found)
    common = {"seed": 0, "precision": "fp32"}
    assert encoder == OF_ENCODER | common | {
        "encoder": "resnet20", "data": "cifar10", "epochs": 2, "lr": 0.1, "limit": 50, "size": 16,
    }  # fmt: skip
    ours = common | {"limit": 9, "epochs": 5, "batch_size": 4, "lr": 2e-3, "augmentation": "none"}
    for each, method in ((bins, "bins"), (l1, "l1")):
        assert each.items() >= (SHARED | ours | {"reconstruction": method}).items()
    assert gan.items() >= (
        OF_GAN | common | {
            "objective": "wgan_gp", "epochs": 3, "batch_size": 5, "lr": 1e-3, "d_lr": 3e-3,
            "d_norm": "instance", "d_width": 8, "reconstruction_weight": 10.0, "ema": 0.9,
            "augmentation": "flip",
        }
    ).items()  # fmt: skip


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
    found = steps(tunings=[tuning], methods=["l1"], epochs=5)[0].training
    assert (found.epochs, found.frozen_epochs) == (epochs, frozen)
    assert found.encoder_lr_ratio == ratio


def test_treatments_reach_the_training():
    found = steps(
        stages=["all", "2"], lightness=["folded", "summed"], decoders=["encoder", "24"],
        methods=["l1"], seeds=1, encoders=["resnet20@none"],
    )  # fmt: skip
    seen = {
        (t.encoder_stages, t.lightness, t.decoder_channels)
        for t in (step.training for step in found)
    }
    assert seen == {(s, i, d) for s in (None, 2) for i in ("folded", "summed") for d in (None, 24)}


def test_wgan_gp_has_no_norm_over_batches():
    assert steps(methods=["gan:wgan_gp"])[1].training.d_norm == "layer"
    assert steps(methods=["gan:wgan_gp"], gan_d_norm="instance")[1].training.d_norm == "instance"
    assert steps(methods=["gan:hinge"])[1].training.d_norm == "batch"


def test_a_run_is_named_by_all_that_its_result_depends_on():
    one = runs(seeds=2)
    assert one == runs(seeds=2)
    assert len(set(one.values())) == len(one)
    assert {run.rpartition("-")[0] for run in one.values()} == {PRETRAIN, GAN}
    for changed in ({"lr": 2e-3}, {"epochs": 3}, {"limit": 9}, {"precision": "fp32"}):
        assert not set(one.values()) & set(runs(seeds=2, **changed).values()), changed
    gan = runs(seeds=2, gan_lr=1e-3)
    assert {name for name in one if one[name] == gan[name]} == {n for n in one if " l1 " in n}


def test_a_parents_change_changes_what_begins_with_it():
    for changed in ({"encoder_epochs": 3}, {"batch_size": 4}):
        spec = {"encoders": ["resnet20@trained:cifar10"], "seeds": 1}
        one, other = steps(**spec), steps(**spec, **changed)
        assert one[-1].training.command == GAN
        assert one[-1].run != other[-1].run


def test_places_are_no_part_of_a_name(tmp_path):
    one = runs()
    assert one == runs(device="cuda", data_dir=tmp_path, jobs=3, out=tmp_path)


@dataclass(frozen=True, kw_only=True)
class Tinted(Pretrain):
    """A training of a later version: one option more."""

    tint: float = option(0.0, "Tint.")


def test_a_new_option_renames_no_run_until_it_is_used():
    old, new = plan(), replace(plan(), base=Tinted(frozen_epochs=0))
    assert [step.run for step in grid(new)] == [step.run for step in grid(old)]
    used = grid(replace(new, base=Tinted(tint=0.1)))
    assert not {step.run for step in used} & {step.run for step in grid(old)}


def test_weights_count_by_their_content_and_not_by_their_place(tmp_path):
    found = []
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        file = tmp_path / folder / "weights.pt"
        file.parent.mkdir()
        file.write_bytes(content)
        found.append(steps(encoders=[f"resnet20@{file}"])[0].run)
    assert found[0] == found[1] != found[2]


def test_images_count_by_what_is_trained_on_and_not_by_their_place(tmp_path):
    def found(data):
        return [step.run for step in steps(data=[str(data)], sizes=[16], seeds=1)]

    one = found(make_data(tmp_path / "one", train=4, test=2))
    (tmp_path / "one").rename(tmp_path / "moved")
    assert found(tmp_path / "moved") == one
    make_pictures(tmp_path / "moved/test", 3, seed=7)
    assert found(tmp_path / "moved") == one
    make_pictures(tmp_path / "moved/valid", 1, seed=8)
    validated = found(tmp_path / "moved")
    make_pictures(tmp_path / "moved/train", 5)
    assert len({*one, *validated, *found(tmp_path / "moved")}) == 3 * len(one)


# Run folders of studies that were made before there were limits, generators and discriminators:
# study → each run, with what it needs. Trained models are found again by these names.
OLD = {
    "trained": (
        {"encoders": ["resnet20@trained:cifar10"], "methods": ["l2", "bins", "gan", "gan:wgan_gp"],
         "limit": 8000, "epochs": 6, "decoders": ["32"], "gan_epochs": 3, "gan_batch_size": 32,
         "gan_d_width": 32, "gan_reconstruction_weight": 100.0, "encoder_size": 32,
         "encoder_limit": 50000, "encoder_epochs": 10},
        ["train-encoder-c030038a164b", "pretrain-9d4d118be621", "pretrain-0faf3cae40e9",
         "pretrain-0833968a2e86", "gan-finetune-222d8cdc20db", "gan-finetune-edaf7aa9ebb9"],
    ),
    "adapted": (
        {"encoders": ["resnet20@adapted:packaged"], "tunings": ["gradual", "frozen"],
         "stages": ["2"], "lightness": ["summed"], "limit": 77, "epochs": 3,
         "gan_d_norm": "instance", "gan_discriminator": "pixelgan", "schedule": "linear",
         "lr_floor": 1e-4},
        ["train-encoder-f883289b978f", "pretrain-8044d9b0d164", "gan-finetune-16dece9094db",
         "pretrain-4a56059a3e68", "gan-finetune-95e60ebe9a0b"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("given, runs", OLD.values(), ids=OLD)
def test_trainings_of_earlier_versions_keep_their_names(given, runs):
    assert [step.run for step in steps(seeds=1, data=["cifar10"], **given)] == runs
    if given["limit"] == 8000:  # nor does it matter how their length and limit are asked for
        given = {k: v for k, v in given.items() if k not in ("limit", "epochs")}
        found = steps(seeds=1, data=["cifar10"], limits=[2000, 8000], steps=1500, **given)
        assert {step.run for step in found} > set(runs)


# ------------------------------------------------------------------- limits, and how long to train


def test_limits_are_of_all_that_a_cell_needs_but_not_of_an_encoder_trained_elsewhere():
    given = plan(
        encoders=["resnet20@trained:tiny-imagenet", "resnet20@adapted:packaged"], methods=["gan"],
        limits=[50, 200], limit=7, encoder_limit=1000, seeds=1,
    )  # fmt: skip
    found = grid(given)
    cells = wanted(given, found)
    assert [cell.factors["limit"] for cell in cells] == ["50", "50", "200", "200"]
    for cell in cells:
        limit = int(cell.factors["limit"])
        assert cell.needs.training.limit == limit and cell.training.limit is None
        encoder = cell.needs.needs.training
        assert encoder.limit == (1000 if encoder.data == "tiny-imagenet" else limit)
    # The one is trained once, the other for each number of images.
    encoders = [step for step in found if step.training.command == ENCODER]
    assert len(encoders) == 3
    assert {step.label for step in encoders} == {
        "train-encoder resnet20 on tiny-imagenet",
        "train-encoder resnet20@packaged on cifar10, 50 images",
        "train-encoder resnet20@packaged on cifar10, 200 images",
    }
    assert "cifar10 32 200 images" in cells[-1].name


def test_without_limits_the_level_is_that_of_the_base():
    assert {step.factors["limit"] for step in steps(limit=50)} == {"50"}
    assert {step.factors["limit"] for step in steps()} == {"all"}
    same = steps(limits=[50])
    assert [step.run for step in same] == [step.run for step in steps(limit=50)]


@pytest.mark.parametrize(
    "number, epochs",
    [(1500, {500: 96, 2000: 24, 8000: 6, 32000: 2}), (8, {32: 8, 64: 4, 100: 3, 5000: 1})],
)
def test_steps_are_as_many_epochs_as_come_nearest_and_at_least_one(number, epochs):
    found = steps(
        limits=list(epochs), steps=number, epochs=99, gan_epochs=5, seeds=1,
        encoders=["resnet20@none"], generators=["dynamic_unet", "pix2pix_unet"],
    )  # fmt: skip
    for step in found:
        expected = 5 if step.training.command == GAN else epochs[int(step.factors["limit"])]
        assert step.training.epochs == expected
    alone = steps(limit=64, steps=8, seeds=1, batch_size=16, tunings=["gradual"], methods=["l1"])
    assert {(step.training.epochs, step.training.frozen_epochs) for step in alone} == {(1, 1)}


# -------------------------------------------------------------------------------- methods, rivals


def test_a_gan_may_finetune_another_reconstruction():
    found = steps(encoders=["resnet20@none"], methods=["bins+gan", "l2+gan:hinge"], seeds=1)
    told = {step.factors["method"]: step for step in found}
    assert list(told) == ["bins", "bins+gan", "l2", "l2+gan:hinge"]
    for method, objective in (("bins+gan", "bce"), ("l2+gan:hinge", "hinge")):
        cell = told[method]
        assert cell.training == replace(
            steps(methods=["gan"], seeds=1)[1].training, objective=objective
        )
        assert cell.needs.run == told[method.partition("+")[0]].run
        assert cell.needs.training.reconstruction == method.partition("+")[0]
        assert cell.rival.run == cell.needs.run
    given = plan(methods=["bins+gan"], seeds=1)
    assert {step.factors["method"] for step in wanted(given, grid(given))} == {"bins+gan"}


def rivals(**changed):
    """Each cell's name → its rival's, None for none."""
    given = plan(seeds=1, data=["sample"], sizes=[32], **changed)
    return {
        step.label.replace(" sample 32", ""): step.rival
        and step.rival.label.replace(" sample 32", "")
        for step in wanted(given, grid(given))
    }


def test_every_other_method_has_the_l1_model_of_its_kind_as_rival():
    assert rivals(encoders=["resnet20@none"], methods=["l1", "l2", "bins", "gan", "bins+gan"]) == {
        "resnet20@none l1": None,
        "resnet20@none l2": "resnet20@none l1",
        "resnet20@none bins": "resnet20@none l1",
        "resnet20@none gan": "resnet20@none l1",
        "resnet20@none bins+gan": "resnet20@none l1",
    }
    assert rivals(encoders=["resnet20@none"], methods=["l2", "bins", "gan", "bins+gan"]) == {
        "resnet20@none l2": None,
        "resnet20@none bins": None,
        "resnet20@none gan": "resnet20@none l1",
        "resnet20@none bins+gan": "resnet20@none bins",
    }
    found = rivals(encoders=["resnet20@none"], methods=["l1", "l2"], decoders=["8", "16"])
    assert found["resnet20@none l2 16"] == "resnet20@none l1 16"


def test_with_several_limits_pretrained_encoders_have_random_weights_as_rival():
    encoders = ["resnet20", "resnet20@packaged", "resnet20@none", "resnet20@trained:cifar10"]
    encoders.append("mobilenet_v2")
    found = rivals(encoders=encoders, methods=["l1", "bins"], limits=[32, 64])
    for limit in ("32 images", "64 images"):
        for encoder in ("resnet20", "resnet20@packaged", "resnet20@trained:cifar10"):
            assert found[f"{encoder} l1 {limit}"] == f"resnet20@none l1 {limit}"
            assert found[f"{encoder} bins {limit}"] == f"{encoder} l1 {limit}"
        assert found[f"resnet20@none l1 {limit}"] is found[f"mobilenet_v2 l1 {limit}"] is None
    for fewer in ({"limits": [32]}, {"limit": 32}):
        found = rivals(encoders=encoders, methods=["l1"], **fewer)
        assert set(found.values()) == {None}
    found = rivals(encoders=encoders, methods=["bins"], limits=[32, 64])
    assert set(found.values()) == {None}


# ------------------------------------------------------------------- discriminators and generators


def test_discriminators_are_a_factor_of_gans_alone():
    given = plan(
        encoders=["resnet20@none"], methods=["l1", "gan", "gan:wgan_gp"], seeds=1,
        discriminators=["patchgan", "pixelgan:spectral"], gan_d_norm="instance", gan_d_width=8,
    )  # fmt: skip
    cells = wanted(given, grid(given))
    assert [(c.factors["method"], c.factors["discriminator"]) for c in cells] == [
        ("l1", "none"),
        ("gan", "patchgan"),
        ("gan", "pixelgan:spectral"),
        ("gan:wgan_gp", "patchgan"),
        ("gan:wgan_gp", "pixelgan:spectral"),
    ]
    gans = [cell.training for cell in cells[1:]]
    networks = [(gan.discriminator, gan.d_norm, gan.d_width) for gan in gans]
    assert networks == [("patchgan", "instance", 8), ("pixelgan", "spectral", 8)] * 2
    assert {cell.needs.run for cell in cells[1:]} == {cells[0].run}
    assert [c.label for c in cells[:2]] == [
        "resnet20@none l1 cifar10 32", "resnet20@none gan cifar10 32 patchgan",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given, level",
    [
        ({}, "patchgan"),
        ({"gan_discriminator": "pixelgan"}, "pixelgan"),
        ({"gan_d_norm": "spectral"}, "patchgan:spectral"),
    ],
)
def test_without_discriminators_the_level_is_that_of_the_base(given, level):
    found = steps(methods=["gan", "gan:wgan_gp"], **given)
    assert {step.factors["discriminator"] for step in found} == {level, "none"}
    same = steps(methods=["gan", "gan:wgan_gp"], discriminators=[level])
    assert [step.run for step in found] == [step.run for step in same]


def test_a_generator_without_an_encoder_exists_once():
    base = {"epochs": 7, "lr": 3e-3, "schedule": "linear", "lr_floor": 1e-4, "batch_size": 5,
            "limit": 50, "augmentation": "flip"}  # fmt: skip
    given = plan(
        encoders=["resnet20@none", "mobilenet_v2@none"], tunings=["unfrozen", "frozen"], seeds=1,
        decoders=["8", "16"], generators=["dynamic_unet", "pix2pix_unet"], gan_epochs=2,
        methods=["l1", "l2", "gan", "l2+gan"], data=["sample"], sizes=[32], **base,
    )  # fmt: skip
    cells = wanted(given, grid(given))
    assert len(cells) == 2 * 2 * 2 * 4 + 4
    others = [cell for cell in cells if cell.factors["generator"] == "pix2pix_unet"]
    assert [cell.factors["method"] for cell in others] == ["l1", "l2", "gan", "l2+gan"]
    for name in ("encoder", "tuning", "stages", "lightness", "decoder"):
        assert {cell.factors[name] for cell in others} == {"none"}
    l1, l2, gan, after = others
    for cell in (l1, l2):
        assert cell.needs is None
        assert cell.training == TrainGenerator(
            generator="pix2pix_unet", discriminator="none", data="sample", size=32,
            reconstruction=cell.factors["method"], beta2=0.99, **base,
        )  # fmt: skip
    assert (gan.needs.run, after.needs.run) == (l1.run, l2.run)
    assert gan.rival.run == after.rival.run == l2.rival.run == l1.run
    assert gan.training == GanFinetune(epochs=2, augmentation="flip")
    assert l1.label == "pix2pix_unet l1 sample 32"
    # Those of the encoders are what they are without it.
    alone = grid(replace(given, generators=("dynamic_unet",)))
    assert {step.run for step in alone} < {step.run for step in grid(given)}


def test_the_choices_of_generators_are_those_that_are_known():
    given = {"methods": ["l1"], "seeds": 1, "data": ["sample"]}
    for name in GENERATORS.keys() - {"dynamic_unet"}:
        (step,) = steps(generators=[name], **given)
        assert (step.training.generator, step.training.command) == (name, TrainGenerator.command)


def test_whole_seeds_come_first():
    seeds = [step.seed for step in steps(data=["cifar10", "tiny-imagenet"], seeds=3)]
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
    "size": ({"sizes": [4]}, "--sizes must be 16 or more"),
    "norm": ({"gan_d_norm": "bach"}, "batch"),
    "discriminator": ({"gan_discriminator": "patchgun"}, "'patchgan'"),
    "schedule": ({"schedule": "cosin"}, "unknown schedule"),
    "augmentation": ({"augmentation": "spin"}, "flip, crop, zoom, aging"),
    "augmentation of gan": ({"gan_augmentation": "spin"}, "flip, crop, zoom, aging"),
    "average": ({"gan_ema": 2.0}, "below 1"),
    "limit": ({"limit": 0}, "limit must be 1"),
    "batch": ({"gan_batch_size": 0}, "batch-size must be 1"),
    "encoder epochs": ({"encoder_epochs": 0}, "epochs must be 1"),
    "l1 and gan": ({"methods": ["l1+gan"]}, "is called 'gan' for short"),
    "l1 and an objective": ({"methods": ["l1+gan:hinge"]}, "is called 'gan:hinge' for short"),
    "gan of nothing known": ({"methods": ["l3+gan"]}, "unknown method 'l3+gan'"),
    "gan of a gan": ({"methods": ["gan+gan"]}, "unknown method 'gan+gan'"),
    "no gan after it": ({"methods": ["bins+gun"]}, "RECONSTRUCTION+gan[:OBJECTIVE]"),
    "objective after bins": ({"methods": ["bins+gan:bse"]}, "'bce'"),
    "limits": ({"limits": [32, 0]}, "--limits must be 1 or more"),
    "the same limit": ({"limits": [32, 32]}, "twice"),
    "steps": ({"steps": 0, "limit": 9}, "--steps must be 1 or more"),
    "steps of an unknown number": ({"steps": 9}, "add --limits or --limit"),
    "discriminators": ({"discriminators": ["patchgun"]}, "'patchgan'"),
    "norm of a discriminator": ({"discriminators": ["patchgan:bach"]}, "'batch'"),
    "no gan": (
        {"discriminators": ["patchgan"], "methods": ["l1"]},
        "--discriminators has no effect without a GAN",
    ),
    "the same discriminator": (
        {"discriminators": ["patchgan", "patchgan:batch"]},
        "are the same training",
    ),
    "generator": ({"generators": ["pix2pix"]}, "'pix2pix_unet'"),
    "no generator": ({"generators": []}, "at least one"),
    "generator of classes": (
        {"generators": ["pix2pix_unet"], "methods": ["bins+gan"]},
        "pix2pix_unet predicts no classes of color",
    ),
    "the same method": ({"methods": ["gan", "gan:bce"]}, "are the same training"),
    "the same decoder": ({"decoders": ["64", "064"]}, "are the same training"),
    "the same tuning": ({"tunings": ["gradual", "frozen"], "epochs": 1}, "are the same training"),
    "the same base": (
        {"tunings": ["gradual", "frozen"], "epochs": 1, "methods": ["gan"]},
        "are the same training",
    ),
    "seeds": ({"seeds": 0}, "seeds"),
    "epochs": ({"epochs": 0}, "epochs"),
    "nothing": ({"encoders": []}, "at least one"),
    "twice": ({"encoders": ["resnet20@none", "resnet20@none"]}, "twice"),
    "unknown": ({"gan_objective": "hinge"}, "--gan-objective"),
}


@pytest.mark.parametrize("changed, expected", WRONG.values(), ids=WRONG)
def test_wrong_words_are_said_before_anything_is_trained(changed, expected):
    with pytest.raises(UsageError) as caught:
        steps(**changed)
    message = str(caught.value)
    assert expected in message and "\n" not in message


PARTS = {
    "what varies": ({"base": Pretrain(encoder="resnet20")}, "base may not set encoder"),
    "of one method": (
        {"base": Pretrain(reconstruction="bins", rebalancing=0.1)},
        "base may not set reconstruction",
    ),
    "data": ({"gan": GanFinetune(data="cifar10")}, "gan may not set data"),
    "seed": ({"encoder": TrainEncoder(seed=3)}, "encoder may not set seed"),
    "name": ({"gan": GanFinetune(discriminator="patchgun")}, "patchgan"),
}


@pytest.mark.parametrize("changed, expected", PARTS.values(), ids=PARTS)
def test_what_the_study_sets_is_not_set_beside_it(changed, expected):
    with pytest.raises(UsageError, match=expected):
        grid(Study(name="toy", **changed))


def test_the_parts_of_a_study_are_ordinary_trainings():
    study = Study(
        name="toy", methods=("gan",), seeds=1,
        base=Pretrain(epochs=3), gan=GanFinetune(d_width=8), encoder=TrainEncoder(epochs=2),
    )  # fmt: skip
    l1, gan = grid(study)[:2]
    assert (l1.training.epochs, l1.training.frozen_epochs) == (3, 0)
    assert (gan.training.d_width, gan.training.epochs) == (8, GanFinetune.epochs)


def test_a_norm_that_a_penalty_excludes_is_refused_where_it_is_named():
    named = {"data": ["sample"], "sizes": [32], "methods": ["gan:wgan_gp"], "seeds": 1}
    with pytest.raises(UsageError, match="patchgan:batch: a gradient penalty and batch norm"):
        steps(discriminators=["patchgan:batch"], **named)
    norms = {s.training.d_norm for s in steps(discriminators=["patchgan"], **named) if s.rival}
    assert norms == {"layer"}
