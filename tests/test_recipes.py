"""Every recipe from its command to its report, at toy scale."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import make_data

from colourgan import report as reports
from colourgan.claims import DECISIVE, FAILS, HOLDS, UNDECIDED, Claim, Scale
from colourgan.errors import UsageError
from colourgan.evaluate import ImageSet
from colourgan.learners import read_config
from colourgan.recipes import RECIPES, pix2pix, reproduce, stability
from colourgan.recipes.experiment import Results, history
from colourgan.report import read_report, verdict_lines

ENCODERS = {
    "same-domain": ["resnet20@none"],
    "cross-domain": ["resnet20@none", "mobilenet_v2@none"],
    "adapt-encoder": ["resnet20@packaged", "resnet20@none"],
}
MODELS = {
    "same-domain": {"l1", "gan"},
    "cross-domain": {"cifar-l1", "cifar-gan", "imagenet-l1", "imagenet-gan"},
    "adapt-encoder": {"encoder", "cifar-l1", "adapted-l1", "imagenet-l1"},
    "unet-pix2pix-cyclegan": {"unet", "pix2pix", "cyclegan"},
    "conditional-gan": {"l2", "l1", "gan"},
    "batch-vs-spectral": {"batch", "spectral"},
    "wasserstein": {"wgan", "bce"},
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
    small = {"size": 16, "epochs": 1, "batch_size": 8, "seeds": 1, "device": "cpu"}
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
    assert report.scale["epochs"] == 1 and report.scale["images"] < 16
    assert report.rows[0]["name"] == "grey" and len(report.rows) > 2
    for figure in report.figures:
        with Image.open(folder / figure["file"]) as picture:
            picture.load()
    page = (folder / "report.html").read_text()
    assert page.count("data:image/") >= len(report.figures)
    assert not re.search(r"(src|href)=.?(https?:|//)", page)
    assert "1 epoch" in page and "Scaled down" in page


@pytest.mark.parametrize("recipe", MODELS)
def test_a_recipe_says_where_it_is_from_and_where_it_differs(recipe, reproduced):
    report, _ = reproduced(recipe)
    assert report.source and "project" in report.source
    assert "Differs: " in report.description
    assert f"colourgan reproduce {recipe} --data" in report.command
    published = {setting["setting"]: setting["published"] for setting in report.settings}
    assert published["epochs"] in ("20", "100", "200")


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
}  # fmt: skip


@pytest.mark.parametrize("recipe, name", PUBLISHED, ids="-".join)
def test_it_trains_with_the_published_settings(recipe, name, reproduced):
    _, folder = reproduced(recipe)
    arguments = read_config(folder / "runs" / f"{name}-seed0")["arguments"]
    expected = PUBLISHED[recipe, name]
    assert {key: arguments[key] for key in expected} == expected


def test_published_scales_are_those_of_the_sources():
    scales = {name: {s["setting"]: s["published"] for s in _settings(name)} for name in RECIPES}
    assert scales["same-domain"] | {"limit": "8,000"} == scales["same-domain"]
    assert scales["cross-domain"]["limit"] == "5,000" and scales["cross-domain"]["size"] == "96"
    assert scales["batch-vs-spectral"]["batch size"] == "32"
    assert scales["batch-vs-spectral"]["epochs"] == "200"
    assert scales["wasserstein"]["batch size"] == "16"
    assert scales["unet-pix2pix-cyclegan"]["batch size"] == "1"


def _settings(name):
    from colourgan.recipes.run import _published, _setting

    return [_setting(key, value, None) for key, value in _published(RECIPES[name]).items()]


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
    images = ImageSet(rgb, torch.zeros(count, 1, side, side), list(files), 4, False)
    return Results(images, {}, ab)


def test_samples_of_one_generator_differ_and_their_seed_repeats_them():
    from colourgan.generators import pix2pix_unet

    torch.manual_seed(0)
    generator = pix2pix_unet(16, width=4, norm="instance", dropout=0.5, init="kaiming")
    L = torch.linspace(-1, 1, 512).view(2, 1, 16, 16)
    before = torch.get_rng_state()
    drawn = pix2pix.draw(generator, L, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn.shape == (3, 2, 2, 16, 16) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn, pix2pix.draw(generator, L, 3))
    assert pix2pix._spread(drawn) > 0
    assert pix2pix._spread(drawn[:1].expand(3, -1, -1, -1, -1)) == 0


def test_ambiguity_correlates_variety_of_color_with_what_batch_norm_adds(tmp_path):
    files = [tmp_path / kind / f"{i}.png" for kind in "abc" for i in range(2)]
    colors = [(90, 90, 90), (90, 90, 90), (120, 90, 90), (90, 90, 90), (255, 0, 0), (0, 0, 255)]
    rgb = torch.tensor(colors, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 16, 16)
    found = results({"batch": torch.zeros(6, 2, 16, 16)}, rgb, files)
    gain = torch.tensor([[0.0, 0, 2, 2, 9, 9], [9.0, 9, 2, 2, 0, 0]])
    values = {"batch": {"colorfulness": gain}, "spectral": {"colorfulness": torch.zeros(2, 6)}}
    rising, falling = stability._ambiguity(found._replace(values=values))
    assert rising > 0.9 and falling < -0.7
    flat = found._replace(images=found.images._replace(files=[tmp_path / "a.png"] * 6))
    assert stability._ambiguity(flat._replace(values=values)) == []


def test_the_telling_images_are_those_with_the_largest_differences():
    values = {
        "batch": {"delta_e": torch.tensor([[9.0, 1, 8, 2]])},
        "spectral": {"delta_e": torch.tensor([[1.0, 9, 7, 2]])},
    }
    found = results({"batch": torch.zeros(4, 2, 16, 16)})._replace(values=values)
    first = {file: rows[0] for rows, file, _ in stability._telling(found)}
    assert first == {"spectral-better.png": 0, "batch-better.png": 1, "both-struggle.png": 2}


def make_run(folder, columns):
    folder.mkdir()
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_steadiness_is_measured_about_the_mean_and_about_the_trend(tmp_path):
    even = make_run(tmp_path / "even", {"d_loss": [0.5, 0.5, 0.5], "valid_loss": [3.0, 2.0, 1.0]})
    wild = make_run(tmp_path / "wild", {"d_loss": [0.1, 0.9, 0.2], "valid_loss": [3.0, 1.0, 2.0]})
    assert stability._relative_spread([even, wild]).tolist() == pytest.approx(
        [0, np.std([0.1, 0.9, 0.2]) / 0.4]
    )
    assert stability._unsteadiness([even, wild]).tolist() == pytest.approx([0, 3])
