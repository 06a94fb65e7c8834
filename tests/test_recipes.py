"""Every recipe from its command to its report, at toy scale."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import make_data

from colourgan import report as reports
from colourgan.claims import DECISIVE, FAILS, HOLDS, UNDECIDED, Claim, Scale
from colourgan.colorize import spread
from colourgan.errors import Diverged, UsageError
from colourgan.evaluate import ImageSet, as_colorful_as, load_images, measure_model
from colourgan.generators import pix2pix_unet
from colourgan.learners import read_config
from colourgan.learners import read_history as history
from colourgan.models import load_model
from colourgan.recipes import RECIPES, believable, pix2pix, reproduce, stability, transfer
from colourgan.recipes.experiment import Experiment, Results
from colourgan.report import read_report, verdict_lines

ENCODERS = {
    "same-domain": ["resnet20@none"],
    "cross-domain": ["resnet20@none", "mobilenet_v2@none"],
    "adapt-encoder": ["resnet20@packaged", "resnet20@none"],
    "nogan": ["resnet20@none"],
    "colorful-classes": ["resnet20@none"],
}
MODELS = {
    "same-domain": {"l1", "gan"},
    "cross-domain": {"cifar-l1", "cifar-gan", "imagenet-l1", "imagenet-gan"},
    "adapt-encoder": {"encoder", "cifar-l1", "adapted-l1", "imagenet-l1"},
    "unet-pix2pix-cyclegan": {"unet", "pix2pix", "cyclegan"},
    "conditional-gan": {"l2", "l1", "gan"},
    "batch-vs-spectral": {"batch", "spectral"},
    "wasserstein": {"wgan", "bce"},
    "nogan": {"l1", "feature", "gan", "nogan"},
    "colorful-classes": {"l2", "l1", "classes", "rebalanced"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"), train=16, test=6)


@pytest.fixture(scope="module")
def reproduced(data, tmp_path_factory):
    """Each recipe's report and folder; trained once."""
    folder, known = tmp_path_factory.mktemp("reproductions"), {}

    def run(recipe):
        if recipe not in known:
            known[recipe] = toy(recipe, data, folder / recipe)
        return known[recipe], folder / recipe

    return run


def toy(recipe, data, out, **settings):
    own = {"encoders": ENCODERS[recipe]} if recipe in ENCODERS else {"width": 4}
    small = {"size": 16, "epochs": 1, "batch_size": 3, "seeds": 1, "device": "cpu"}
    return reproduce(recipe, str(data), **small | own | settings, out=out)


def test_all_published_experiments_are_there():
    assert list(RECIPES) == [*MODELS]


@pytest.mark.parametrize("recipe", MODELS)
def test_a_recipe_runs_to_its_report(recipe, reproduced):
    report, folder = reproduced(recipe)
    runs = {path.name.removesuffix("-seed0") for path in (folder / "runs").iterdir()}
    assert runs == MODELS[recipe]
    assert len(report.claims) >= 2
    assert {Claim(**c).verdict(Scale(**report.scale)) for c in report.claims} == {UNDECIDED}
    frozen = recipe in ("nogan", "colorful-classes")  # an epoch before the others
    assert report.scale["epochs"] == 1 + frozen and report.scale["images"] < 16
    assert report.rows[0]["name"] == "grey" and len(report.rows) > 2
    for figure in report.figures:
        with Image.open(folder / figure["file"]) as picture:
            picture.load()
    for run in (folder / "runs").iterdir():  # WGAN-GP's generator moves on the fifth batch
        alone = read_config(run)["arguments"].get("d_epochs", 0)  # the discriminator
        losses = [row.get("g_loss", 0.0) for row in history(run)][alone:]
        assert losses and np.isfinite(losses).all(), run
    page = (folder / "report.html").read_text()
    assert page.count("data:image/") >= len(report.figures)
    assert not re.search(r"(src|href)=.?(https?:|//)", page)
    assert "Scaled down: " in page and re.search(r"\b1 instead of \d+ epochs", page)


@pytest.mark.parametrize("recipe", MODELS)
def test_a_recipe_says_where_it_is_from_and_where_it_differs(recipe, reproduced):
    report, _ = reproduced(recipe)
    assert re.search("project|ECCV", report.source)
    assert "Differs: " in report.description
    assert f"colourgan reproduce {recipe} --data" in report.command
    published = {setting["setting"]: setting["published"] for setting in report.settings}
    assert published["epochs"] in ("4", "14", "20", "100", "200")


PUBLISHED = {
    ("same-domain", "l1"): {
        "lr": 1e-4, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "schedule": "constant",
        "frozen_epochs": 0, "encoder_lr_ratio": 1.0, "reconstruction": "l1",
    },
    ("same-domain", "gan"): {
        "lr": 2e-4, "d_lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "l1_weight": 100.0,
        "objective": "bce", "discriminator": "patchgan", "weight_decay": 0.0,
    },
    ("unet-pix2pix-cyclegan", "pix2pix"): {
        "objective": "least_squares", "lr": 2e-4, "beta1": 0.5, "schedule": "linear",
        "reconstruction_weight": 100.0,
    },
    ("unet-pix2pix-cyclegan", "cyclegan"): {
        "cycle_weight": 10.0, "pool_size": 50, "lr": 2e-4, "beta1": 0.5, "schedule": "linear",
    },
    ("conditional-gan", "gan"): {"dropout": 0.5, "reconstruction_weight": 100.0, "norm": "batch"},
    ("conditional-gan", "l2"): {"discriminator": "none", "reconstruction": "l2"},
    ("batch-vs-spectral", "batch"): {
        "real_label": 0.9, "lr": 3e-4, "d_lr": 6e-5, "decay_steps": 60_000, "d_norm": "batch",
        "reconstruction_weight": 0.99, "adversarial_weight": 0.01, "discriminator": "imagegan",
        "schedule": "exponential", "lr_floor": 1e-6, "init": "normal",
    },
    ("batch-vs-spectral", "spectral"): {
        "real_label": 1.0, "lr": 2e-4, "d_lr": 2e-4, "decay_steps": 40_000, "d_norm": "spectral",
        "reconstruction_weight": 0.985, "adversarial_weight": 0.015, "init": "default",
    },
    ("wasserstein", "wgan"): {
        "objective": "wgan_gp", "penalty_weight": 10.0, "reconstruction_weight": 100.0,
        "d_steps": 5, "lr": 2e-4, "beta1": 0.5, "beta2": 0.99, "d_norm": "layer",
    },
    ("nogan", "feature"): {
        "reconstruction": "feature", "frozen_epochs": 1, "lr": 1e-3, "encoder_lr_ratio": 1e-3,
        "self_attention": True, "blur": True,
    },
    ("nogan", "l1"): {"reconstruction": "l1", "frozen_epochs": 1, "lr": 1e-3, "blur": True},
    ("nogan", "nogan"): {
        "reconstruction": "feature", "norm": "spectral", "lr": 2e-5, "d_lr": 1e-4, "beta1": 0.0,
        "beta2": 0.9, "d_epochs": 2, "patience": 2, "epochs": 5, "limit": 4000,
    },
    ("nogan", "gan"): {
        "reconstruction": "feature", "norm": "spectral", "lr": 2e-5, "d_lr": 1e-4, "beta1": 0.0,
        "beta2": 0.9, "d_epochs": 0, "patience": None, "epochs": 5, "limit": 4000,
    },
    ("colorful-classes", "l2"): {"reconstruction": "l2", "beta2": 0.99},
    ("colorful-classes", "l1"): {"reconstruction": "l1", "beta2": 0.99},
    ("colorful-classes", "classes"): {"reconstruction": "bins", "rebalancing": 0.0},
    ("colorful-classes", "rebalanced"): {"reconstruction": "bins", "rebalancing": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("recipe, name", PUBLISHED, ids="-".join)
def test_it_trains_with_the_published_settings(recipe, name, reproduced):
    _, folder = reproduced(recipe)
    arguments = read_config(folder / "runs" / f"{name}-seed0")["arguments"]
    expected = PUBLISHED[recipe, name]
    assert {key: arguments[key] for key in expected} == expected


def test_published_scales_are_those_of_the_sources():
    scales = {name: {s["setting"]: s["published"] for s in scales_of(name)} for name in RECIPES}
    assert scales["same-domain"] | {"limit": "8,000"} == scales["same-domain"]
    assert scales["cross-domain"]["limit"] == "5,000" and scales["cross-domain"]["size"] == "96"
    assert scales["batch-vs-spectral"]["batch size"] == "32"
    assert scales["batch-vs-spectral"]["epochs"] == "200"
    assert scales["wasserstein"]["batch size"] == "16"
    assert scales["unet-pix2pix-cyclegan"]["batch size"] == "1"
    assert scales["nogan"]["epochs"] == "4" and scales["nogan"]["batch size"] == "88"
    assert scales["colorful-classes"]["epochs"] == "14"
    assert scales["colorful-classes"]["batch size"] == "40"


def scales_of(name):
    from colourgan.recipes.run import _published, _settings

    return _settings(_published(RECIPES[name]), {})


def test_spectral_trains_half_as_long_as_batch(data, tmp_path):
    toy("batch-vs-spectral", data, tmp_path, epochs=4)
    epochs = {name: len(history(tmp_path / "runs" / f"{name}-seed0")) for name in
              ("batch", "spectral")}  # fmt: skip
    assert epochs == {"batch": 4, "spectral": 2}


def test_the_adapted_encoder_is_the_one_that_goes_on_to_color(reproduced):
    _, folder = reproduced("adapt-encoder")
    runs = folder / "runs"
    assert read_config(runs / "encoder-seed0")["arguments"]["arch"] == "resnet20@packaged"
    used = read_config(runs / "adapted-l1-seed0")["arguments"]["encoder"]
    assert used == f"resnet20@{runs / 'encoder-seed0' / 'encoder.safetensors'}"
    assert (runs / "encoder-seed0" / "encoder.safetensors").exists()


def test_both_gans_go_on_from_the_feature_generator_of_their_seed(reproduced):
    _, folder = reproduced("nogan")
    feature = str(folder / "runs" / "feature-seed0")
    for name in ("gan", "nogan"):
        assert read_config(folder / "runs" / f"{name}-seed0")["parent"]["model"] == feature
    assert "gain" in history(folder / "runs" / "nogan-seed0")[0]


def test_the_share_of_imagenet_counts_the_epochs_of_the_gan_up_to_the_best(tmp_path):
    config = {
        "best": {"epoch": 12, "gain": 0.1},
        "arguments": {"d_epochs": 10},
        "found": {"train_images": 4000},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert believable.share_of_imagenet(tmp_path) == pytest.approx(0.6244, abs=1e-4)
    del config["best"]  # it diverged
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert np.isnan(believable.share_of_imagenet(tmp_path))


def test_classes_are_measured_as_the_paper_decodes_them(reproduced):
    _, folder = reproduced("colorful-classes")
    report = read_report(folder / "report.json")
    run = folder / "runs" / "rebalanced-seed0"
    generator = load_model(run)
    assert float(generator.classes.saturation) != 1  # chosen after the training
    believable.decode_as_published(generator)
    decoding = (
        generator.classes.temperature,
        generator.classes.vivid,
        generator.classes.saturation,
    )
    assert [float(value) for value in decoding] == pytest.approx([0.38, 1, 1])
    images = load_images(read_config(run)["arguments"]["data"], 16)
    expected = measure_model("rebalanced", generator, images, "cpu").row()["colorfulness"]
    row = next(row for row in report.rows if row["name"] == "rebalanced")
    assert row["values"]["colorfulness"] == pytest.approx([expected], rel=1e-4)


def test_l1_made_as_colorful_is_measured_seed_by_seed(reproduced, data, tmp_path):
    _, folder = reproduced("colorful-classes")
    experiment = Experiment("any", tmp_path, device="cpu")
    experiment.open(str(data), 16)
    l1, l2 = ([folder / "runs" / f"{name}-seed0"] * 2 for name in ("l1", "l2"))
    found = experiment.evaluate({"L1": l1, "L2": l2})
    matched = experiment.as_colorful(found, "L1", l1, "L2")
    measured = [measure_model("", load_model(run[0]), experiment.images, "cpu") for run in (l2, l1)]
    expected, factor = as_colorful_as(*measured, experiment.images)
    assert abs(factor - 1) > 1e-3
    torch.testing.assert_close(matched, torch.stack([expected.values["l1"]] * 2))
    found.values["L2"]["colorfulness"][1] = torch.nan  # that seed diverged
    assert experiment.as_colorful(found, "L1", l1, "L2").isnan().all(1).tolist() == [False, True]
    experiment.diverged[l1[0]] = "L1 diverged"
    assert experiment.as_colorful(found, "L1", l1, "L2").isnan().all()


def test_the_second_call_trains_nothing_and_reports_the_same(reproduced, data):
    report, folder = reproduced("same-domain")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/model.safetensors")}
    again = toy("same-domain", data, folder)
    assert again == report
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_seed_is_added_to_what_is_there(data, tmp_path):
    one = toy("wasserstein", data, tmp_path)
    two = toy("wasserstein", data, tmp_path, seeds=2)
    for first, second in zip(one.claims, two.claims, strict=True):
        assert len(second["values"]) == 2
        assert second["values"][:1] == pytest.approx(first["values"], nan_ok=True)


def test_other_settings_need_another_folder(reproduced, data):
    _, folder = reproduced("same-domain")
    with pytest.raises(UsageError, match=r"--epochs 1.*another --out"):
        toy("same-domain", data, folder, epochs=2)


@pytest.mark.parametrize(
    "recipe, settings, reason",
    [
        ("same-domian", {}, "did you mean 'same-domain'"),
        ("same-domain", {"width": 8}, "has no --width: it has --data, --size"),
        ("wasserstein", {"encoders": ["resnet20"]}, "has no --encoders"),
        ("cross-domain", {"encoders": ["resnet20@none"]}, "compares 2 encoders, not 1"),
        ("nogan", {"encoders": ["resnet20@none"] * 2}, "compares 1 encoder, not 2"),
        ("colorful-classes", {"width": 8}, "has no --width"),
        ("wasserstein", {"seeds": 0}, "seeds must be 1 or more"),
        ("wasserstein", {"test_limit": 1}, "2 images or more"),
        ("wasserstein", {"size": 24}, "choose 16 or 32"),
        ("wasserstein", {"epochs": 0}, "nothing to train"),
    ],
)
def test_what_cannot_be_reproduced_is_refused_in_one_line(recipe, settings, reason, data, tmp_path):
    with pytest.raises(UsageError) as refused:
        reproduce(recipe, str(data), **{"size": 16, "out": tmp_path / "r"} | settings)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("value, verdict", [(0.01, HOLDS), (-0.01, FAILS)])
def test_altering_a_reports_numbers_flips_its_verdict(value, verdict, reproduced, tmp_path):
    report, _ = reproduced("same-domain")
    claim = report.claims[0] | {"values": [value, value * 1.1, value * 0.9], "image_error": 0.0}
    altered = dataclasses.replace(
        report, claims=[claim], scale=DECISIVE._asdict(), figures=[], reduced=[]
    )
    reports.write_report(altered, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert verdict not in json.dumps(content)
    lines = "\n".join(verdict_lines(read_report(tmp_path / "report.json")))
    assert f"{verdict}: The GAN raises" in lines
    assert verdict in (tmp_path / "report.html").read_text()


def results(ab, rgb=None, files=()):
    """Results of seed 0's predictions alone, model → ab."""
    count, _, side, _ = next(iter(ab.values())).shape
    rgb = torch.zeros(count, 3, side, side, dtype=torch.uint8) if rgb is None else rgb
    images = ImageSet(rgb, torch.zeros(count, 1, side, side), list(files), [], 4, False)
    return Results(images, {}, ab)


def test_samples_of_one_generator_differ_and_their_seed_repeats_them():
    torch.manual_seed(0)
    generator = pix2pix_unet(16, width=4, norm="instance", dropout=0.5, init="kaiming")
    L = torch.linspace(-1, 1, 512).view(2, 1, 16, 16)
    before = torch.get_rng_state()
    drawn = pix2pix.draw(generator, L)
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn.shape == (pix2pix.DRAWN, 2, 2, 16, 16) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn, pix2pix.draw(generator, L))
    expected = [spread(drawn[:, image]) for image in (0, 1)]
    assert pix2pix.spread(generator, L).tolist() == pytest.approx(expected)


COUNT = 1000  # test images


def measured(**metrics):
    """Results of made-up values: metric → model → one number a seed, of every image."""
    models = {model: {} for values in metrics.values() for model in values}
    for metric, values in metrics.items():
        for model, seeds in values.items():
            noise = torch.linspace(-1e-3, 1e-3, COUNT)
            models[model][metric] = torch.tensor(seeds)[:, None] + noise
    images = ImageSet(*[torch.zeros(COUNT, c, 16, 16) for c in (3, 1)], [], [], 64, False)
    return Results(images, models, {})


def seeds(mean):
    return [mean - 0.01, mean, mean + 0.01]


def verdicts(claims):
    return [each.verdict(DECISIVE) for each in claims]


def test_verdicts_of_same_domain():
    def judge(gan):
        both = {"U-Net": seeds(1.0), "GAN": gan}
        return verdicts(transfer.same_domain_claims(measured(l1=both, colorfulness=both)))

    assert judge(seeds(2.0)) == [HOLDS, HOLDS] and judge(seeds(0.5)) == [FAILS, FAILS]
    assert judge([1.1, 1.0, 0.9]) == [UNDECIDED, UNDECIDED]


def test_verdicts_of_cross_domain():
    def judge(imagenet, smooth):
        names = [f"{name} {kind}" for name in ("CIFAR", "ImageNet") for kind in ("U-Net", "GAN")]
        l1 = {name: seeds(imagenet if "ImageNet" in name else 1.0) for name in names}
        variance = dict.fromkeys(names, seeds(smooth)), dict.fromkeys(names, seeds(5.0))
        found = measured(l1=l1, smooth_variance=variance[0], smooth_variance_true=variance[1])
        return verdicts(transfer.cross_domain_claims(found))

    assert judge(0.8, 9.0) == [HOLDS] * 4 and judge(1.2, 2.0) == [FAILS] * 4


@pytest.mark.parametrize(
    "adapted, expected", [(0.82, [HOLDS, HOLDS, HOLDS]), (0.97, [HOLDS, HOLDS, FAILS]),
                          (1.1, [HOLDS, FAILS, FAILS])]
)  # fmt: skip
def test_verdicts_of_adapt_encoder(adapted, expected):
    l1 = {"CIFAR": [1.0, 1.001, 1.002], "ImageNet": [0.8, 0.801, 0.802],
          "adapted": [adapted, adapted + 0.001, adapted + 0.002]}  # fmt: skip
    assert verdicts(transfer.adapt_encoder_claims(measured(l1=l1))) == expected


@pytest.mark.parametrize("slower, verdict", [(2.0, HOLDS), (1.0, FAILS), (3.0, FAILS)])
def test_verdicts_of_the_cycle(slower, verdict):
    seconds = {"pix2pix": [[10.0, 10, 90]] * 3, "CycleGAN": [[10.0 * slower] * 3] * 3}
    for gain, colorful in ((1.0, HOLDS), (-1.0, FAILS)):
        found = measured(colorfulness={"pix2pix": seeds(5 + gain), "CycleGAN": seeds(5.0)})
        assert verdicts(pix2pix.cycle_claims(found, seconds)) == [colorful, verdict]


def test_verdicts_of_conditional_gan():
    def judge(l2, l1, gan, spread):
        found = measured(colorfulness={"L2": seeds(l2), "L1": seeds(l1), "L1 + cGAN": seeds(gan)})
        return verdicts(pix2pix.conditional_claims(found, torch.full((3, COUNT), spread)))

    assert judge(1.0, 2.0, 3.0, 2.0) == [HOLDS] * 3 and judge(3.0, 2.0, 1.0, 0.1) == [FAILS] * 3


def test_verdicts_of_batch_vs_spectral(tmp_path):
    files = [tmp_path / str(row % 4) / f"{row}.png" for row in range(COUNT)]
    vivid = torch.arange(COUNT) % 4 > 1
    shade = torch.linspace(0, 200, COUNT).byte()
    rgb = torch.zeros(COUNT, 3, 16, 16, dtype=torch.uint8) + 40
    rgb[:, 0] += (shade * vivid)[:, None, None]
    steady, wild = [[0.5, 0.4, 0.3, 0.2]] * 3, [[0.1, 0.9, 0.2, 0.8, 0.1, 0.9]] * 3

    def judge(l1, colorful, losses, more):
        vividness = {"batch": seeds(colorful), "spectral": seeds(5.0)}
        found = measured(l1={"batch": seeds(1.0), "spectral": seeds(l1)}, colorfulness=vividness)
        found.values["batch"]["colorfulness"] += vivid * more
        images = found.images._replace(files=files, rgb=rgb)
        return verdicts(stability.norm_claims(found._replace(images=images), losses))

    claims = judge(0.8, 7.0, {"batch": wild, "spectral": steady}, 1.0)
    assert claims == [HOLDS] * 4
    claims = judge(1.2, 3.0, {"batch": steady, "spectral": wild}, -1.0)
    assert claims == [FAILS] * 4


def test_without_classes_greyness_by_object_is_left_out(tmp_path):
    found = measured(l1={"batch": seeds(1.0), "spectral": seeds(1.0)},
                     colorfulness={"batch": seeds(1.0), "spectral": seeds(1.0)})  # fmt: skip
    images = found.images._replace(files=[tmp_path / "a.png"] * COUNT)
    losses = {"batch": [[1.0, 1, 1]] * 3, "spectral": [[1.0, 1, 1]] * 3}
    assert len(stability.norm_claims(found._replace(images=images), losses)) == 3


def test_verdicts_of_wasserstein():
    wide = torch.linspace(-30, 30, COUNT)

    def judge(distances, l1, collapsed):
        found = measured(mean_a={"WGAN-GP": seeds(0.0), "BCE": seeds(0.0)},
                         mean_b={"WGAN-GP": seeds(0.0), "BCE": seeds(0.0)})  # fmt: skip
        found.values[{True: "BCE", False: "WGAN-GP"}[collapsed]]["mean_a"] += wide
        return verdicts(stability.wasserstein_claims(found, [distances] * 3, l1))

    calm, rough = [[3.0, 2.0, 1.0]] * 3, [[1.0, 2.0, 1.5]] * 3
    good = judge([-1.0, -4.0, -0.1], {"WGAN-GP": calm, "BCE": rough}, False)
    assert good == [HOLDS] * 4
    bad = judge([-1.0, -2.0, -4.0], {"WGAN-GP": rough, "BCE": calm}, True)
    assert bad == [FAILS] * 4


def test_verdicts_of_nogan():
    def judge(sign, share):
        gan, other = seeds(1.0), seeds(1.0 + sign)
        found = measured(
            l1={"NoGAN": other, "GAN": gan},
            smooth_variance={"NoGAN": other, "GAN": gan},
            colorfulness={"NoGAN": seeds(1.0 - sign), "feature": gan},
        )
        return verdicts(believable.nogan_claims(found, torch.ones(3, COUNT), [share] * 3))

    assert judge(-0.5, 1.2) == [HOLDS] * 5 and judge(0.5, 6.2) == [FAILS] * 5


def test_verdicts_of_colorful_classes():
    def judge(sign):
        found = measured(
            colorfulness={"L2": seeds(1), "classes": seeds(2), "rebalanced": seeds(2 + 2 * sign)},
            within_5={"classes": seeds(0.5), "rebalanced": seeds(0.5 - 0.2 * sign)},
            l1={"rebalanced": seeds(1.0 - 0.2 * sign)},
        )
        return verdicts(believable.class_claims(found, torch.ones(3, COUNT)))

    assert judge(1) == [HOLDS] * 4 and judge(-1) == [FAILS] * 4


def test_the_telling_images_are_those_with_the_largest_differences():
    values = {
        "batch": {"delta_e": torch.tensor([[9.0, 1, 8, 2]])},
        "spectral": {"delta_e": torch.tensor([[1.0, 9, 7, 2]])},
    }
    found = results({"batch": torch.zeros(4, 2, 16, 16)})._replace(values=values)
    first = {file: rows[0] for rows, file, _ in stability.telling(found)}
    assert first == {"spectral-better.png": 0, "batch-better.png": 1, "both-struggle.png": 2}


def test_unsteadiness_is_the_deviation_of_noise_and_knows_no_trend():
    noise = np.random.default_rng(0).normal(0, 2, 10_000)
    assert stability.unsteadiness(noise) == pytest.approx(2, rel=0.03)
    assert stability.unsteadiness(noise + np.arange(10_000)) == pytest.approx(2, rel=0.03)
    assert stability.unsteadiness([3.0, 2.0, 1.0]) == 0
    assert np.isnan(stability.unsteadiness([3.0, 2.0]))


def test_a_training_that_diverged_is_named_and_decides_nothing(data, tmp_path, monkeypatch):
    train = stability.train_generator

    def diverging(*arguments, seed, out, **settings):
        run = train(*arguments, seed=seed, out=out, **settings)
        if settings.get("objective") == "bce" and seed == 1:
            raise Diverged("d_loss is nan in epoch 2")
        return run

    monkeypatch.setattr(stability, "train_generator", diverging)
    report = toy("wasserstein", data, tmp_path, seeds=2)
    assert any("bce, seed 1, diverged" in note for note in report.notes)
    assert [np.isnan(value) for value in report.claims[-1]["values"]] == [False, True]
    assert "diverged" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_files_have_their_own_figure(mode, reproduced, data, tmp_path):
    report, _ = reproduced("wasserstein")
    assert "grey-files.png" not in [figure["file"] for figure in report.figures]
    colored = make_data(tmp_path / "data", train=16, test=6)
    Image.new("L", (24, 24), 90).convert(mode).save(colored / "test" / "a" / "grey.png")
    report = toy("wasserstein", colored, tmp_path / "out")
    assert "grey-files.png" in [figure["file"] for figure in report.figures]
    with Image.open(tmp_path / "out" / "grey-files.png") as picture:
        assert picture.width > 3 * 96 and picture.height < 2 * 96  # one row: only that file


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"encoders": ["resnet20@none", "mobilenet"]}, "mobilenet"),
        ({"encoders": ["resnet20@none", "mobilenet_v2@no.pt"]}, "no.pt"),
        ({"data": "untested"}, "untested"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_trained(
    settings, reason, data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "untested" / "train").mkdir(parents=True)
    complete = {"data": str(data), "encoders": ["resnet20@none"] * 2} | settings
    with pytest.raises(UsageError, match=reason):
        reproduce("cross-domain", **complete, size=16, seeds=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_belongs_to_one_recipe(reproduced, data):
    _, folder = reproduced("same-domain")
    with pytest.raises(UsageError, match="belongs to recipe same-domain: choose another --out"):
        toy("wasserstein", data, folder)


def test_a_training_that_never_finished_an_epoch_may_begin_with_other_settings(data, tmp_path):
    toy("wasserstein", data, tmp_path)
    run = tmp_path / "runs" / "bce-seed0"
    for path in run.iterdir():
        if path.name != "config.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (run / ".config.123.part.json").write_text("{")  # as a kill leaves it
    config = json.loads((run / "config.json").read_text())
    config["arguments"]["batch_size"] = 8
    (run / "config.json").write_text(json.dumps(config))
    toy("wasserstein", data, tmp_path)
    assert read_config(run)["arguments"]["batch_size"] == 3
