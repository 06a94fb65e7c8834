"""Every recipe from its command to its report, at toy scale."""

import dataclasses
import html
import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import make_data

from colourgan.colorize import spread
from colourgan.datasets import DATASETS
from colourgan.encoders import ENCODERS as ENCODER_NAMES
from colourgan.errors import Diverged, RunError, UsageError
from colourgan.evaluate import ImageSet, as_colorful_as, load_images, measure_model
from colourgan.experiments import estimate
from colourgan.experiments.cells import DONE, Cell
from colourgan.experiments.cells import FAILED as CELL_FAILED
from colourgan.experiments.judge import DECISIVE, FAILS, HOLDS, UNDECIDED, Claim, Scale
from colourgan.experiments.report import read_report, verdict_lines, write_report
from colourgan.generators import pix2pix_unet
from colourgan.learners import TRAIN, read_config, read_history
from colourgan.models import load_model
from colourgan.plans import Reproduction, Setup
from colourgan.recipes import (
    RECIPES,
    believable,
    pix2pix,
    reproduce,
    stability,
    status_of,
    transfer,
)
from colourgan.recipes.experiment import Results, forecast, recipe
from colourgan.recipes.sources import SAME_DOMAIN
from colourgan.trainings import Pretrain, TrainCycleGAN, TrainGenerator, arguments

ENCODERS = {
    "cross-domain": ("resnet20@none", "mobilenet_v2@none"),
    "adapt-encoder": ("resnet20@packaged", "resnet20@none"),
}
MODELS = {
    "same-domain": ["U-Net", "GAN"],
    "cross-domain": ["CIFAR U-Net", "CIFAR GAN", "ImageNet U-Net", "ImageNet GAN"],
    "adapt-encoder": [
        "CIFAR U-Net", "CIFAR GAN", "adapted U-Net", "adapted GAN", "ImageNet U-Net",
        "ImageNet GAN",
    ],
    "unet-pix2pix-cyclegan": ["U-Net", "pix2pix", "CycleGAN"],
    "conditional-gan": ["L2", "L1", "L1 + cGAN"],
    "batch-vs-spectral": ["batch", "spectral", "control"],
    "wasserstein": ["WGAN-GP", "BCE"],
    "nogan": ["L1", "feature", "GAN", "NoGAN"],
    "colorful-classes": ["L2", "L1", "classes", "rebalanced"],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"), train=16, test=6)


@pytest.fixture(scope="module")
def reproduced(data, tmp_path_factory):
    """Each recipe's report and folder; trained once."""
    folder, known = tmp_path_factory.mktemp("reproductions"), {}

    def run(name):
        if name not in known:
            known[name] = reproduce(toy(name, data, folder / name))
        return known[name], folder / name

    return run


def toy(name, data, out, **settings):
    own = {"width": 4}
    if "encoders" in RECIPES[name].published:
        own = {"encoders": ENCODERS.get(name, ("resnet20@none",))}
    small = {"size": 16, "epochs": 1, "batch_size": 3, "seeds": 1, "device": "cpu"}
    return Reproduction(recipe=name, data=data, out=out, **small | own | settings)


def asked(name, **settings):
    """model → Step, as a recipe asks for them."""
    return RECIPES[name].models(Setup(**RECIPES[name].published | settings))


def configs(folder, **wanted):
    """run → its options, of those runs that have these."""
    found = {run: read_config(run)["arguments"] for run in sorted((folder / "runs").iterdir())}
    return {run: each for run, each in found.items() if each | wanted == each}


def models(folder):
    files = folder.glob("runs/*/*.safetensors")
    return {path: path.stat().st_mtime_ns for path in files if path.name != "measured.safetensors"}


def test_all_published_experiments_are_there():
    assert list(RECIPES) == [*MODELS]


@pytest.mark.parametrize("name", MODELS)
def test_a_recipe_runs_to_its_report(name, reproduced):
    report, folder = reproduced(name)
    more = ["L1 + cGAN, dropout on"] * (name == "conditional-gan")
    assert [row["name"] for row in report.rows] == ["grey", *MODELS[name], *more]
    runs = configs(folder)
    assert len(runs) == len(MODELS[name]) + (name == "adapt-encoder")
    assert len(report.claims) >= 2 and not report.notes and report.minutes > 0
    claims = [Claim(**c) for c in report.claims]
    assert {c.verdict(Scale(**report.scale), others=claims) for c in claims} == {UNDECIDED}
    assert 0 < report.scale["share"] < 0.1
    frozen = name in ("nogan", "colorful-classes")  # an epoch before the others
    assert report.scale["epochs"] == 1 + frozen and report.scale["images"] < 16
    assert report.scale["test_images"] == 6
    for figure in report.figures:
        with Image.open(folder / figure["file"]) as picture:
            picture.load()
    assert len({figure["file"] for figure in report.figures}) == len(report.figures)
    for run, options in runs.items():  # WGAN-GP's generator moves on the fifth batch
        losses = [row.get("g_loss", 0.0) for row in read_history(run)][options.get("d_epochs", 0) :]
        assert losses and np.isfinite(losses).all(), run
    page = (folder / "report.html").read_text()
    assert page.count("data:image/") >= len(report.figures)
    assert not re.search(r"src=.?(https?:|//)|<link|url\(.?http", page)  # it loads nothing
    assert "Scaled down: " in page and re.search(r"\b1 instead of \d+ epochs", page)


@pytest.mark.parametrize("name", MODELS)
def test_a_recipe_says_where_it_is_from_and_where_it_differs(name, reproduced):
    report, folder = reproduced(name)
    assert "https://" in report.source and not re.search("[.:]$", report.source)
    assert not report.title.endswith(".")
    assert report.description.startswith("Published: ") and "Differs:" not in report.description
    assert len(report.differs) >= 4 and report.differs == list(dict.fromkeys(report.differs))
    assert report.command.startswith(f"colourgan reproduce {name} --data ")
    settings = {each["setting"]: each for each in report.settings}
    assert settings["batch size"]["here"] in ("3", "L1: 3; feature: 3; GAN: 8; NoGAN: 8")
    assert settings["generator steps"]["differs"]
    page = html.unescape((folder / "report.html").read_text())
    assert all(each in page for each in (*report.differs, *report.unjudged))


@pytest.mark.parametrize("name", MODELS)
def test_every_setting_is_the_published_one_or_is_listed_as_different(name):
    """With lines of the source beside each value, see recipes/sources.py."""
    source, differing, found = RECIPES[name].source, set(), set()
    for model, step in asked(name).items():
        options = {each.name for each in dataclasses.fields(step.training)}
        for option in options:
            said = source.setting(model, option)
            if said is None:
                continue
            found |= {key for key, each in source.settings.items() if each is said}
            if getattr(step.training, option) != said.value:
                assert source.differs_in(model, option), (model, option, said)
                differing.add(option)
    for key, said in source.settings.items():
        own = RECIPES[name].published
        if key in own:
            assert own[key] == said.value, key
            found.add(key)
    assert found == source.settings.keys()  # no value of a model or option that is not there
    listed = {key.rpartition(": ")[2] for key in source.differs}
    every = {f.name for s in asked(name).values() for f in dataclasses.fields(s.training)}
    # What is told in words of these is more than the option's value.
    assert listed & every <= differing | {"data", "encoder", "discriminator"}
    assert all(said.where for said in source.settings.values())


@pytest.mark.parametrize("name", MODELS)
def test_a_recipe_alone_names_data_and_encoders_that_there_are(name):
    published = RECIPES[name].published
    assert published["data"] in DATASETS
    assert all(encoder in ENCODER_NAMES for encoder in published.get("encoders", ()))


def test_a_setting_that_drifts_from_the_published_one_is_found(monkeypatch):
    drifted = Setup(**RECIPES["wasserstein"].published)
    step = RECIPES["wasserstein"].models(drifted)["WGAN-GP"]
    monkeypatch.setattr(
        RECIPES["wasserstein"].__class__, "models",
        lambda self, setup: {"WGAN-GP": dataclasses.replace(
            step, training=dataclasses.replace(step.training, penalty_weight=10.0))},
    )  # fmt: skip
    with pytest.raises(AssertionError, match="penalty_weight"):
        test_every_setting_is_the_published_one_or_is_listed_as_different("wasserstein")


def test_the_settings_of_a_report_stand_beside_the_published_ones(reproduced):
    report, folder = reproduced("batch-vs-spectral")
    settings = {each["setting"]: each for each in report.settings}
    assert settings["lr"] == {
        "setting": "lr", "published": "batch: 0.0003; spectral: 0.0002",
        "where": "README.md:19; README.md:24",
        "here": "batch: 0.0003; spectral: 0.0002; control: 0.0003", "differs": False,
    }  # fmt: skip
    assert settings["epochs"]["differs"] and settings["width"]["differs"]
    assert settings["reconstruction weight"]["published"] == (
        "batch: .99, of ab / 127; spectral: .985, of ab / 127"
    )
    assert settings["g steps"]["published"] == "not published"
    steps = settings["generator steps"]
    assert steps["published"] == "batch: 312,600; spectral: 156,300"
    page = (folder / "report.html").read_text()
    assert page.count("<strong>differs</strong>") == sum(e["differs"] for e in report.settings)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_asked_for_is_what_is_trained(name, reproduced, data):
    _, folder = reproduced(name)
    plan = toy(name, data, folder)
    changes = {key: getattr(plan, key) for key in RECIPES[name].published if key != "limit"}
    for step in asked(name, **changes).values():
        wanted = arguments(step.training) | {"device": "cpu"}
        for resolved in ("out", "model", *(["encoder"] if step.needs else [])):
            wanted.pop(resolved, None)
        assert configs(folder, **wanted)


def test_spectral_norm_trains_half_as_long():
    epochs = {n: s.training.epochs for n, s in asked("batch-vs-spectral", epochs=5).items()}
    assert epochs == {"batch": 5, "spectral": 2, "control": 5}
    assert asked("batch-vs-spectral", epochs=1)["spectral"].training.epochs == 1


@pytest.mark.parametrize("limit, few", [(None, 4000), (700, 700), (50_000, 4000)])
def test_the_gans_of_nogan_train_on_few_images(limit, few):
    models = asked("nogan", limit=limit)
    assert [models[n].training.limit for n in MODELS["nogan"]] == [limit, limit, few, few]


def test_the_adapted_encoder_is_the_one_that_goes_on_to_color(reproduced):
    _, folder = reproduced("adapt-encoder")
    (adapted,) = [run for run in configs(folder) if run.name.startswith("train-encoder-")]
    assert read_config(adapted)["arguments"]["encoder"] == "resnet20@packaged"
    file = adapted / "encoder.safetensors"
    assert file.exists() and len(configs(folder, encoder=f"resnet20@{file}")) == 1
    assert asked("adapt-encoder")["adapted U-Net"].needs.training.encoder == "resnet20@published"


def test_both_gans_go_on_from_the_feature_generator(reproduced):
    _, folder = reproduced("nogan")
    (feature,) = configs(folder, reconstruction="feature", frozen_epochs=1)
    gans = configs(folder, model=str(feature))
    assert sorted(options["d_epochs"] for options in gans.values()) == [0, 2]
    assert ["gain" in read_history(run)[0] for run in gans] == [
        options["patience"] is not None for options in gans.values()
    ]


def test_the_share_of_imagenet_counts_the_epochs_of_the_gan_up_to_the_best(tmp_path):
    config = {
        "best": {"epoch": 12, "gain": 0.1},
        "arguments": {"d_epochs": 10},
        "found": {"train_images": 4000},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert believable.share_of_imagenet(tmp_path) == pytest.approx(0.6244, abs=1e-4)
    for useless in (None, 0.0, -0.1):
        config["best"]["gain"] = useless
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert np.isnan(believable.share_of_imagenet(tmp_path))


def test_classes_are_measured_as_the_paper_decodes_them_and_matched_to_the_l1_model(reproduced):
    report, folder = reproduced("colorful-classes")
    (rebalanced,) = configs(folder, reconstruction="bins", rebalancing=0.5)
    (l1,) = configs(folder, reconstruction="l1")
    generator = load_model(rebalanced)
    assert float(generator.classes.saturation) != 1  # chosen after the training
    generator.classes.set_decoding(0.38, vivid=1.0, saturation=1.0)
    images = load_images(read_config(l1)["arguments"]["data"], 16, progress=False)
    richer = measure_model("rebalanced", generator, images, "cpu")
    row = next(row for row in report.rows if row["name"] == "rebalanced")
    expected = richer.row()["colorfulness"]
    assert row["values"]["colorfulness"] == pytest.approx([expected], rel=1e-4)
    paler = measure_model("L1", load_model(l1), images, "cpu")
    matched, factor = as_colorful_as(richer, paler, images)
    assert abs(factor - 1) > 1e-3
    gain = (richer.values["l1"] - matched.values["l1"]).mean().item()
    assert report.claims[-1]["values"] == pytest.approx([gain], rel=1e-3)


def test_the_second_call_trains_nothing_and_reports_the_same(reproduced, data):
    report, folder = reproduced("same-domain")
    before = models(folder)
    assert len(before) == 2
    assert reproduce(toy("same-domain", data, folder)) == report
    assert models(folder) == before


def test_another_seed_is_added_to_what_is_there_and_other_settings_train_anew(data, tmp_path):
    one = reproduce(toy("wasserstein", data, tmp_path))
    before = models(tmp_path)
    two = reproduce(toy("wasserstein", data, tmp_path, seeds=2))
    for first, second in zip(one.claims, two.claims, strict=True):
        assert len(second["values"]) == 2
        assert second["values"][:1] == pytest.approx(first["values"], nan_ok=True)
    four = models(tmp_path)
    assert len(four) == 4 and before.items() <= four.items()
    wider = reproduce(toy("wasserstein", data, tmp_path, width=5))
    assert len(models(tmp_path)) == 6 and four.items() <= models(tmp_path).items()
    assert [len(claim["values"]) for claim in wider.claims] == [1] * 6


@pytest.mark.parametrize(
    "name, settings, reason",
    [
        ("same-domian", {}, "did you mean 'same-domain'"),
        ("same-domain", {"width": 8}, "recipe same-domain has no --width: it has --data, --size, "),
        ("colorful-classes", {"width": 8}, "has no --width"),
        ("wasserstein", {"encoders": ["resnet20"]}, "has no --encoders: it has --data, --size, --"),
        ("cross-domain", {"encoders": ["resnet20@none"]}, "compares 2 encoders, not 1"),
        ("nogan", {"encoders": ["resnet20@none"] * 2}, "compares 1 encoder, not 2"),
        ("wasserstein", {"seeds": 0}, "--seeds must be 1 or more"),
        ("wasserstein", {"test_limit": 1}, "--test-limit must be 2 or more"),
        ("wasserstein", {"epochs": 0}, "--epochs must be 1 or more"),
    ],
)
def test_what_cannot_be_reproduced_is_refused_in_one_line(name, settings, reason, data, tmp_path):
    with pytest.raises(UsageError) as refused:
        given = {"recipe": name, "data": data, "size": 16, "out": tmp_path / "r"} | settings
        reproduce(**given)
    assert reason in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"encoders": ["resnet20@none", "mobilenet"]}, "mobilenet"),
        ({"encoders": ["resnet20@none", "mobilenet_v2@no.pt"]}, "no.pt"),
        ({"encoders": ["resnet20@none", "mobilenet_v2@broken.safetensors"]}, "broken.safetensors"),
        ({"data": "untested"}, "untested"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_trained(
    settings, reason, data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "untested" / "train").mkdir(parents=True)
    (tmp_path / "broken.safetensors").write_text("no weights")
    complete = {"data": data, "encoders": ["resnet20@none"] * 2, "size": 16, "seeds": 1} | settings
    with pytest.raises((UsageError, RunError), match=reason):
        reproduce(recipe="cross-domain", **complete, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_belongs_to_one_recipe(reproduced, data):
    _, folder = reproduced("same-domain")
    with pytest.raises(UsageError, match="belongs to recipe same-domain: choose another --out"):
        reproduce(toy("wasserstein", data, folder))


def test_a_recipe_has_a_name_of_its_own_and_options_that_exist():
    named = partial(recipe, title="", source=SAME_DOMAIN, data="sample")
    with pytest.raises(ValueError, match="'nogan' is registered twice"):
        named("nogan")(lambda setup: None)
    with pytest.raises(TypeError, match="learning_rate"):
        named("another", learning_rate=1e-3)
    assert "another" not in RECIPES


def test_the_status_says_what_is_done(reproduced, data, tmp_path):
    _, folder = reproduced("adapt-encoder")
    assert status_of(toy("adapt-encoder", data, tmp_path)) == [
        "0 of 6 models done (0 of 7 trainings), 0 failed"
    ]
    assert not any(tmp_path.iterdir())
    done = "6 of 6 models done (7 of 7 trainings), 0 failed"
    assert status_of(toy("adapt-encoder", data, folder)) == [done]
    (line,) = status_of(toy("adapt-encoder", data, folder, seeds=2))
    assert line == "6 of 12 models done (7 of 14 trainings), 0 failed, about 1 min left"


def test_two_processes_find_the_same(data, tmp_path, reproduced):
    alone, _ = reproduced("wasserstein")
    together = reproduce(toy("wasserstein", data, tmp_path, jobs=2))
    assert together.command == alone.command and together.settings == alone.settings
    for one, two in zip(alone.claims, together.claims, strict=True):
        assert two["values"] == pytest.approx(one["values"], nan_ok=True, rel=1e-3)


def failing(monkeypatch, when):
    """Trainings of whom this is true fail."""
    train = TRAIN["train-generator"]

    def call(training, **place):
        if when(training):
            raise Diverged("d_loss is nan in epoch 2")
        return train(training, **place)

    monkeypatch.setitem(TRAIN, "train-generator", call)


def test_a_training_that_failed_is_named_and_decides_nothing(data, tmp_path, monkeypatch):
    plan = toy("wasserstein", data, tmp_path, seeds=2)
    with monkeypatch.context() as patch:
        failing(patch, lambda t: t.objective == "bce" and t.seed == 0)
        with pytest.raises(RunError) as failed:
            reproduce(plan)
    page = tmp_path / "report.html"
    assert "1 of 4 trainings failed, the first: BCE, seed 0: d_loss is nan" in str(failed.value)
    assert f"the report of the others is {page}" in str(failed.value)
    assert len(models(tmp_path)) == 3  # the others went on
    report = read_report(tmp_path / "report.json")
    assert report.notes == ["BCE, seed 0, failed and does not count: d_loss is nan in epoch 2."]
    assert report.notes[0] in page.read_text()
    assert [np.isnan(value) for value in report.claims[-1]["values"]] == [True, False]
    row = next(row for row in report.rows if row["name"] == "BCE")
    assert [np.isnan(value) for value in row["values"]["l1"]] == [True, False]
    assert status_of(plan) == [
        "3 of 4 models done (3 of 4 trainings), 1 failed",
        "failed: BCE, seed 0: d_loss is nan in epoch 2",
    ]
    whole = reproduce(plan)  # tries it again
    assert not whole.notes and np.isfinite(whole.claims[-1]["values"]).all()


def test_seeds_of_conditional_gan_that_failed_have_no_spread(data, tmp_path, monkeypatch):
    failing(monkeypatch, lambda t: t.discriminator != "none" and t.seed == 0)
    with pytest.raises(RunError, match="1 of 6 trainings failed, the first: L1 \\+ cGAN, seed 0"):
        reproduce(toy("conditional-gan", data, tmp_path, seeds=2))
    report = read_report(tmp_path / "report.json")
    assert [np.isnan(value) for value in report.claims[0]["values"]] == [True, False]


def test_what_needs_a_failed_training_is_not_trained_and_named(data, tmp_path, monkeypatch):
    plan = toy("adapt-encoder", data, tmp_path)

    def call(training, **place):
        raise RunError("the disk is full")

    monkeypatch.setitem(TRAIN, "train-encoder", call)
    with pytest.raises(RunError, match=r"^3 of 7 trainings failed.*adapted encoder, seed 0: the"):
        reproduce(plan)
    assert not (tmp_path / "report.html").exists()  # nothing of the adapted encoder to compare
    assert status_of(plan) == [
        "4 of 6 models done (4 of 7 trainings), 2 failed",
        "failed: adapted encoder, seed 0: the disk is full",
        "failed: adapted U-Net, seed 0: adapted encoder, seed 0: the disk is full",
        "failed: adapted GAN, seed 0: adapted U-Net, seed 0: adapted encoder, seed 0: the disk is "
        "full",
    ]


@pytest.mark.parametrize("value, verdict", [(0.01, HOLDS), (-0.01, FAILS)])
def test_altering_a_reports_numbers_flips_its_verdict(value, verdict, reproduced, tmp_path):
    report, _ = reproduced("same-domain")
    claim = report.claims[0] | {"values": [value, value * 1.1, value * 0.9], "image_error": 0.0}
    altered = dataclasses.replace(
        report, claims=[claim | {"void": ""}], scale=DECISIVE._asdict(), figures=[], reduced=[]
    )
    write_report(altered, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert verdict not in json.dumps(content)
    lines = "\n".join(verdict_lines(read_report(tmp_path / "report.json")))
    assert f"{verdict}: The GAN raises" in lines
    assert verdict in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_files_have_their_own_figure(mode, reproduced, tmp_path):
    report, _ = reproduced("wasserstein")
    assert "grey-files.png" not in [figure["file"] for figure in report.figures]
    colored = make_data(tmp_path / "data", train=16, test=6)
    Image.new("L", (24, 24), 90).convert(mode).save(colored / "test" / "a" / "grey.png")
    report = reproduce(toy("wasserstein", colored, tmp_path / "out"))
    assert "grey-files.png" in [figure["file"] for figure in report.figures]
    with Image.open(tmp_path / "out" / "grey-files.png") as picture:
        assert picture.width > 3 * 96 and picture.height < 2 * 96  # one row: only that file


def test_samples_of_one_generator_differ_and_their_seed_repeats_them():
    torch.manual_seed(0)
    generator = pix2pix_unet(16, width=4, norm="instance", dropout=0.5, init="kaiming")
    rgb = torch.linspace(0, 255, 512).view(2, 1, 16, 16).expand(-1, 3, -1, -1).byte()
    images = ImageSet(rgb, [], batch_size=1)
    before = torch.get_rng_state()
    drawn = [pix2pix.draw(generator, images.L[[image]]) for image in (0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0].shape == (pix2pix.DRAWN, 1, 2, 16, 16)
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert torch.equal(drawn[0], pix2pix.draw(generator, images.L[[0]]))
    expected = [spread(each[:, 0]) for each in drawn]
    assert pix2pix.spread(generator, images).tolist() == pytest.approx(expected)
    assert pix2pix.spread(None, images).isnan().all()


# ------------------------------------------------------------------------- claims, on made-up runs

COUNT = 1000  # test images


def measured(histories=None, matched=None, images=None, frechet=None, grey=None, **metrics):
    """Results of made-up values: metric → model → one number a seed, of every image.

    histories: model → column → a list a seed; matched: model → its rival's values, one number a
    seed; frechet: model → one a seed; grey: metric → what no color scores, 0 unless given.
    """
    chosen = list(dict.fromkeys(m for each in (*metrics.values(), histories or {}) for m in each))
    noise = torch.linspace(-1e-3, 1e-3, COUNT).double()
    l1 = dict.fromkeys(chosen, [0.0] * 3) | metrics.pop("l1", {})  # as good as grey
    metrics = {"l1": l1} | metrics
    cells = {}
    for model in chosen:
        cells[model] = []
        for seed in range(3):
            columns = {k: v[seed] for k, v in (histories or {}).get(model, {}).items()}
            epochs = zip(*columns.values(), strict=True)
            rows = [dict(zip(columns, row, strict=True)) for row in epochs]
            values = {k: each[model][seed] + noise for k, each in metrics.items() if model in each}
            rival = {}
            if model in (matched or {}):
                rival = dict.fromkeys(("l1", "delta_e"), matched[model][seed] + 0 * noise)
            distances = {"frechet": frechet[model][seed]} if model in (frechet or {}) else {}
            factors = {"model": model}
            cell = Cell(factors, seed, "", DONE, "", values, rival, distances, {}, {}, rows)
            cells[model].append(cell)
    images = images or ImageSet(torch.zeros(COUNT, 3, 16, 16, dtype=torch.uint8), [])
    known = dict.fromkeys([*metrics, "l1"], 0.0) | (grey or {})
    known |= {k: next(iter(each.values()))[1] for k, each in metrics.items() if k.endswith("_true")}
    return Results(
        images, cells, {k: torch.full((COUNT,), float(v)) for k, v in known.items()}, out=None
    )


def seeds(mean):
    return [mean - 0.01, mean, mean + 0.01]


def verdicts(claims):
    return [each.verdict(DECISIVE, others=claims) for each in claims]


def test_verdicts_of_same_domain():
    def judge(gan, rival):
        both = {"U-Net": seeds(1.0), "GAN": gan}
        found = measured(l1=both, colorfulness=both, matched={"GAN": rival}, grey={"l1": 3})
        return verdicts(transfer.same_domain_claims(found))

    assert judge(seeds(2.0), seeds(2.5)) == [HOLDS] * 3
    assert judge(seeds(0.5), seeds(0.2)) == [FAILS] * 3
    assert judge([1.1, 1.0, 0.9], [1.0] * 3) == [UNDECIDED] * 3


def test_verdicts_of_cross_domain():
    def judge(imagenet, smooth):
        names = MODELS["cross-domain"]
        level = {name: seeds(imagenet if "ImageNet" in name else 1.0) for name in names}
        variance = {n: seeds(smooth if "ImageNet" in n else 10.0) for n in names}
        found = measured(
            l1=level, delta_e=level, frechet=level, smooth_variance=variance,
            smooth_variance_true=dict.fromkeys(names, seeds(5.0)), grey={"l1": 3},
            colorfulness=dict.fromkeys(names, seeds(20.0)),
        )  # fmt: skip
        return verdicts(transfer.cross_domain_claims(found))

    assert judge(0.8, 9.0) == [HOLDS] * 6
    assert judge(1.2, 11.0) == [FAILS] * 5 + [HOLDS]
    assert judge(0.8, 2.0) == [HOLDS] * 5 + [FAILS]


def judge_adapted(cifar, adapted, imagenet):
    """The verdicts for the L1 of three GANs, each nearly the same for all seeds."""
    levels = {"CIFAR GAN": cifar, "adapted GAN": adapted, "ImageNet GAN": imagenet}
    l1 = {name: [level, level + 1e-5, level + 2e-5] for name, level in levels.items()}
    return verdicts(transfer.adapt_encoder_claims(measured(l1=l1, grey={"l1": 3})))


@pytest.mark.parametrize(
    "adapted, expected", [(0.82, [HOLDS, HOLDS, HOLDS]), (0.97, [HOLDS, HOLDS, FAILS]),
                          (1.1, [HOLDS, FAILS, FAILS])]
)  # fmt: skip
def test_verdicts_of_adapt_encoder(adapted, expected):
    assert judge_adapted(1.0, adapted, 0.8) == expected


def test_a_gap_that_is_not_there_cannot_be_closed():
    *_, closes = judge_adapted(0.0800, 0.086, 0.0801)
    assert closes == UNDECIDED
    *_, closes = judge_adapted(0.0800, 0.0700, 0.0801)  # it helps, but there was no gap
    assert closes == UNDECIDED


@pytest.mark.parametrize("slower, verdict", [(2.0, HOLDS), (1.0, FAILS), (3.0, FAILS)])
def test_verdicts_of_the_cycle(slower, verdict):
    seconds = {"pix2pix": {"seconds": [[10.0, 10, 90]] * 3},
               "CycleGAN": {"seconds": [[10.0 * slower] * 2] * 3}}  # fmt: skip
    for gain, colorful in ((1.0, HOLDS), (-1.0, FAILS)):
        both = {"pix2pix": seeds(5 + gain), "CycleGAN": seeds(5.0), "U-Net": seeds(5.0)}
        true = dict.fromkeys(both, seeds(10.0 + gain))
        found = measured(seconds, colorfulness=both, colorfulness_true=true)
        assert verdicts(pix2pix.cycle_claims(found))[:4] == [colorful] * 3 + [verdict]
    small = DECISIVE._replace(share=0.01)
    claims = pix2pix.cycle_claims(found)
    assert [each.verdict(small) for each in claims][:4] == [UNDECIDED] * 3 + [verdict]


def test_sky_and_grass_are_judged_where_they_are(monkeypatch):
    rgb = torch.full((COUNT, 3, 16, 16), 120, dtype=torch.uint8)
    rgb[:500, :, :8] = torch.tensor([120, 170, 230], dtype=torch.uint8)[:, None, None]
    rgb[:500, :, 8:] = torch.tensor([90, 140, 60], dtype=torch.uint8)[:, None, None]
    images = ImageSet(rgb, [])
    found = measured(images=images, colorfulness={"CycleGAN": seeds(1.0)})

    class Painter(torch.nn.Module):
        """The truth's half in the sky, its opposite on the grass."""

        def forward(self, L):
            ab = images.true_ab(slice(0, 1)).expand(len(L), -1, -1, -1).clone()
            ab[:, :, :8] *= 0.5
            ab[:, :, 8:] *= -1
            return ab

    monkeypatch.setattr(Results, "generators", lambda self, model: [Painter(), None, Painter()])
    sky, grass = (pix2pix.toward_truth(found, "CycleGAN", place) for place in ("sky", "grass"))
    assert sky.shape == grass.shape == (3, 500) and sky[1].isnan().all()
    chroma = images.true_ab(slice(0, 1))[0].norm(dim=0) * 110
    assert sky[0].mean().item() == pytest.approx(chroma[0, 0].item() / 2, rel=1e-3)
    assert grass[0].mean().item() == pytest.approx(-chroma[15, 0].item(), rel=1e-3)
    assert pix2pix.toward_truth(measured(), "CycleGAN", "sky") is None


def test_what_no_test_image_shows_is_not_decided_and_says_so(tmp_path):
    images = ImageSet(
        torch.zeros(COUNT, 3, 16, 16, dtype=torch.uint8), [tmp_path / "a.png"] * COUNT
    )
    kinds = dict.fromkeys(MODELS["unet-pix2pix-cyclegan"], GOOD)
    *_, sky, grass = pix2pix.cycle_claims(witnesses(kinds))
    assert (sky.void, grass.void) == ("no test image shows sky", "no test image shows grass")
    kinds = dict.fromkeys(MODELS["batch-vs-spectral"], GOOD)
    claims = stability.norm_claims(witnesses(kinds, images=images))
    (greyer,) = (each for each in claims if "many colors" in each.text)
    assert greyer.void == "the test images have no classes"


def test_a_first_seed_that_failed_does_not_end_the_report():
    found = witnesses(dict.fromkeys(MODELS["batch-vs-spectral"], GOOD))
    failed = found.cells["batch"][0]
    found.cells["batch"][0] = failed._replace(state=CELL_FAILED, values={}, history=[])
    vars(found).pop("values")
    claims = stability.norm_claims(found)
    assert len(claims) == 9 and any(c.void == "batch has a seed that failed" for c in claims)


def test_one_epoch_is_no_course():
    kinds = dict.fromkeys(MODELS["wasserstein"], GOOD)
    for claim in stability.wasserstein_claims(witnesses(kinds, epochs=1))[:4]:
        assert np.isnan(claim.values).all() and claim.verdict(DECISIVE) == UNDECIDED


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

    def judge(error, colorful, batch, spectral, more):
        losses = {"batch": batch, "spectral": spectral, "control": spectral}
        better = {"batch": seeds(1.0), "spectral": seeds(error), "control": seeds(error)}
        found = measured(
            {name: {"d_loss": each} for name, each in losses.items()},
            images=ImageSet(rgb, files), delta_e=better, frechet=better,
            matched={"spectral": seeds(1.0)},
            colorfulness={n: seeds(colorful if n == "batch" else 5.0) for n in better},
            colorfulness_true=dict.fromkeys(better, seeds(5.5)),
        )  # fmt: skip
        found.values["batch"]["colorfulness"] += vivid * more
        return verdicts(stability.norm_claims(found))

    assert judge(0.8, 7.0, wild, steady, 1.0) == [HOLDS] * 9
    assert judge(1.2, 3.0, steady, wild, -1.0) == [FAILS] * 9


def test_without_classes_greyness_by_object_is_not_decided(tmp_path):
    names = MODELS["batch-vs-spectral"]
    losses = {"d_loss": [[1.0, 1, 1]] * 3}
    both = dict.fromkeys(names, seeds(1.0))
    rgb = torch.zeros(COUNT, 3, 16, 16, dtype=torch.uint8)
    images = ImageSet(rgb, [tmp_path / "a.png"] * COUNT)
    found = measured(
        dict.fromkeys(names, losses), images=images, delta_e=both, colorfulness=both,
        colorfulness_true=both,
    )  # fmt: skip
    claims = stability.norm_claims(found)
    assert [each.void for each in claims if each.void] == ["the test images have no classes"]


def test_verdicts_of_wasserstein():
    wide = torch.linspace(-30, 30, COUNT)

    def judge(d_loss, penalty, train, wgan, bce, collapsed):
        level = {"WGAN-GP": seeds(0.0), "BCE": seeds(0.0)}
        curves = {"d_loss": [d_loss] * 3, "d_penalty": [penalty] * 3, "train_loss": train}
        histories = {"WGAN-GP": curves | {"valid_loss": wgan}, "BCE": {"valid_loss": bce}}
        found = measured(histories, mean_a=level, mean_b=level)
        for model in level:  # so that neither paints all images alike
            found.values[model]["mean_a"] += wide / 10
        found.values[{True: "BCE", False: "WGAN-GP"}[collapsed]]["mean_a"] += wide
        return verdicts(stability.wasserstein_claims(found))

    calm, rough = [[3.0, 2.0, 1.0]] * 3, [[1.0, 2.0, 1.5]] * 3
    small = [1.0, 1.0, 1.0]
    assert judge([-3.0, -5, -0.1], small, calm, calm, rough, False)[0] == HOLDS
    assert judge([-3.0, -5, 0.9], small, calm, calm, rough, False) == [HOLDS] * 6
    assert judge([-1.0, -2, -4], small, rough, rough, calm, True) == [FAILS] * 6
    # Only with its penalty, which is what the source plots, is this D loss far from 0.
    apart = judge([6.0, 9, 9], [5.0, 5, 8.9], calm, calm, rough, False)
    assert apart == [FAILS, HOLDS, *[HOLDS] * 4]


def test_verdicts_of_nogan():
    def judge(sign, share):
        gan, other = seeds(1.0), seeds(1.0 + sign)
        found = measured(
            l1={"NoGAN": other, "GAN": gan},
            smooth_variance={"NoGAN": other, "GAN": gan},
            colorfulness={"NoGAN": seeds(1.0 - sign), "feature": gan, "L1": gan},
            matched={"NoGAN": [1.0] * 3},
            grey={"l1": 3},
        )
        return verdicts(believable.nogan_claims(found, [share] * 3))

    assert judge(-0.5, 1.2) == [HOLDS] * 5
    # Not more colorful than before: then that the error is low and colors steady says nothing.
    assert judge(0.5, 6.2) == [UNDECIDED] * 2 + [FAILS] * 3


def test_verdicts_of_colorful_classes():
    def judge(sign):
        found = measured(
            colorfulness={"L2": seeds(1), "classes": seeds(2), "rebalanced": seeds(2 + 2 * sign)},
            within_5={"classes": seeds(0.5), "rebalanced": seeds(0.5 - 0.2 * sign)},
            l1={"rebalanced": seeds(1.0 - 0.2 * sign), "L1": seeds(1.0)},
            matched={"rebalanced": [1.0] * 3},
            grey={"l1": 3},
        )
        return verdicts(believable.class_claims(found))

    assert judge(1) == [HOLDS] * 4 and judge(-1) == [FAILS] * 4


# -------------------------------------------------- models that have learned nothing decide nothing

JUDGES = {
    "same-domain": transfer.same_domain_claims,
    "cross-domain": transfer.cross_domain_claims,
    "adapt-encoder": transfer.adapt_encoder_claims,
    "unet-pix2pix-cyclegan": pix2pix.cycle_claims,
    "conditional-gan": lambda found: pix2pix.conditional_claims(found, torch.full((3, COUNT), 2.0)),
    "batch-vs-spectral": stability.norm_claims,
    "wasserstein": stability.wasserstein_claims,
    "nogan": lambda found: believable.nogan_claims(found, [1.0] * 3),
    "colorful-classes": believable.class_claims,
}
RAISES = "The GAN raises the L1 error."  # of noise that is true
NO_PRAISE = {"CycleGAN takes about 4 times as long."}  # says of nothing that it is better
GOOD = {  # of a model that learned: error, colors, how mean colors vary from image to image
    "l1": 0.08, "delta_e": 9.0, "colorfulness": 20.0, "smooth_variance": 30.0, "within_5": 0.3,
    "frechet": 90.0, "varies": 5.0,
}  # fmt: skip
GREY = {"l1": 0.1, "delta_e": 11.0, "colorfulness": 0.0, "smooth_variance": 0.0, "within_5": 0.25,
        "frechet": 150.0, "varies": 0.0}  # fmt: skip
SEPIA = GREY | {"l1": 0.095, "colorfulness": 12.0, "delta_e": 10.5}  # one color for every image
NOISE = GOOD | {"l1": 0.2, "delta_e": 20.0, "colorfulness": 70.0, "frechet": 50.0, "varies": 20.0}
BROKEN = dict.fromkeys(GOOD, float("nan"))


def witnesses(kinds, images=None, epochs=4):
    """Results of models of these kinds, model → GOOD or another; each trained alike.

    The rival of each, made as colorful, is as bad as the worst of them, and worse by it.
    """
    jitter, wide = (0.999, 1.0, 1.001), torch.linspace(-1.7, 1.7, COUNT).double()
    metrics = {
        name: {model: [kind[name] * j for j in jitter] for model, kind in kinds.items()}
        for name in GOOD.keys() - {"frechet", "varies"}
    }
    for name, true in (("colorfulness_true", 40.0), ("smooth_variance_true", 40.0)):
        metrics[name] = dict.fromkeys(kinds, [true] * 3)
    metrics["mean_a"] = metrics["mean_b"] = dict.fromkeys(kinds, [1.0] * 3)
    columns = ("d_loss", "d_penalty", "train_loss", "valid_loss")
    history = dict.fromkeys(columns, [[0.5] * epochs] * 3)
    history |= {"seconds": [[10.0] * epochs] * 3, "d_penalty": [[0.1] * epochs] * 3}
    worst = max(kind["l1"] for kind in kinds.values())
    rival = GOOD["l1"] if worst == GOOD["l1"] else 3 * worst
    found = measured(
        dict.fromkeys(kinds, history), images=images, grey={"l1": GREY["l1"]},
        matched={model: [rival] * 3 for model in kinds},
        frechet={model: [kind["frechet"]] * 3 for model, kind in kinds.items()}, **metrics,
    )  # fmt: skip
    for model, kind in kinds.items():
        found.values[model]["mean_a"] = found.values[model]["mean_a"] + kind["varies"] * wide
    return found


def held(name, kinds):
    claims = JUDGES[name](witnesses(kinds))
    holds = [each for each in claims if each.verdict(DECISIVE, others=claims) == HOLDS]
    return [each for each in holds if each.text not in NO_PRAISE]


@pytest.mark.parametrize(
    "kind", [GREY, SEPIA, NOISE, BROKEN], ids=("grey", "sepia", "noise", "nan")
)
@pytest.mark.parametrize("name", MODELS)
def test_models_that_learned_nothing_are_never_praised(name, kind):
    assert held(name, dict.fromkeys(MODELS[name], kind)) == []
    for one in MODELS[name]:  # beside good ones
        for each in held(name, dict.fromkeys(MODELS[name], GOOD) | {one: kind}):
            about = re.search(rf"\b{re.escape(one)}\b", each.quantity)
            assert not about or (each.text == RAISES and kind is NOISE), each


PALE = GOOD | {"l1": 0.079, "colorfulness": 3.0, "smooth_variance": 0.675, "varies": 2.0}


@pytest.mark.parametrize("name", MODELS)
def test_paler_colors_alone_are_never_praised(name):
    """A model with the colors of another, only paler: lower error, less variance, no knowledge."""
    for one in MODELS[name]:
        kinds = dict.fromkeys(MODELS[name], GOOD) | {one: PALE}
        for each in held(name, kinds):
            assert each.text != "NoGAN's error is below the conventional GAN's."
            assert "steadier" not in each.text and "consistent." not in each.text, each
            assert not each.text.endswith("its color is more consistent."), each


@pytest.mark.parametrize("name", MODELS)
def test_models_that_do_not_differ_are_never_said_to(name):
    allowed = {"One photo gets several colorizations."}  # its spread is given above
    allowed |= {"All useful GAN training takes 3 % of ImageNet at most."}
    assert {each.text for each in held(name, dict.fromkeys(MODELS[name], GOOD))} <= allowed


def test_why_a_model_is_no_witness_is_said():
    kinds = {"good": GOOD, "grey": GREY, "sepia": SEPIA, "noise": NOISE}
    found = witnesses(kinds)
    assert found.void("good") == ""
    assert found.void("good", "noise") == "noise is worse than grey (L1 0.2000 against 0.1000)"
    assert found.void("grey") == "grey is nearly grey (colorfulness 0.0 of 40.0)"
    assert "sepia paints all images alike (mean colors vary by 0.00 units)" in found.void("sepia")
    claims = found.above("It is.", "", "colorfulness", "noise", "good")
    assert claims.void.startswith("noise is worse") and claims.verdict(DECISIVE) == UNDECIDED
    allowed = found.above("It is.", "", "colorfulness", "noise", "good", worse=("noise",))
    assert allowed.verdict(DECISIVE) == HOLDS
    sepia = found.above("It is.", "", "colorfulness", "sepia", "good", worse=("sepia",))
    assert sepia.void.startswith("sepia paints")


def test_what_to_expect_of_a_long_one_is_said_with_a_shorter_one():
    assert forecast(31 * 3600, 100) == (
        "about 31 h 0 min on this machine; --epochs 10 takes about 3 h 6 min"
    )
    assert forecast(3600, 100) == "about 1 h 0 min on this machine"
    assert forecast(4 * 3600, 20) == "about 4 h 0 min on this machine"  # 15 epochs save little
    assert forecast(99 * 3600, 20) == (
        "about 4 days on this machine; --epochs 1 takes about 4 h 57 min"
    )


def test_a_long_reproduction_is_tried_first_and_a_known_one_is_not(
    data, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(estimate, "LONG", 2)
    plan = toy("same-domain", data, tmp_path / "out", epochs=2)
    with caplog.at_level("INFO", "colourgan"):
        reproduce(plan)
    said = [record.message for record in caplog.records]
    assert said[0].startswith("this is 0.1 % of the published generator steps: a verdict about")
    assert "estimating the time from a few batches of each training" in said[1]
    assert re.match(r"about 1 min on this machine", said[2])
    assert len(list((tmp_path / "out" / "runs").glob("*/config.json"))) == 2  # trials left nothing
    caplog.clear()
    with caplog.at_level("INFO", "colourgan"):
        reproduce(plan)
    assert not any("estimating" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    "training, images, steps",
    [
        (TrainGenerator(epochs=100, batch_size=16), 50_000, 312_500),
        (TrainGenerator(epochs=100, batch_size=16, d_steps=5), 50_000, 62_500),
        (TrainGenerator(epochs=100, batch_size=16, d_steps=5, same_batch=True), 50_000, 312_500),
        (TrainGenerator(epochs=1, batch_size=16, g_steps=2, same_batch=True), 64, 8),
        (TrainGenerator(epochs=2, batch_size=16), 65, 10),  # the last batch has one image
        (TrainCycleGAN(epochs=200, batch_size=1), 3500, 350_000),  # one half is grey
        (Pretrain(epochs=3, frozen_epochs=1, batch_size=32), 64, 8),
    ],
)
def test_generator_steps_are_counted(training, images, steps):
    assert estimate.generator_steps(training, images) == steps


def test_a_claim_says_what_was_measured():
    grey = {"l1": 3}
    found = measured(l1={"A": seeds(2.0), "B": seeds(1.0)}, matched={"A": seeds(1.5)}, grey=grey)
    above = found.above("A is worse.", ".1", "l1", "A", "B")
    assert (above.text, above.published, above.quantity) == ("A is worse.", ".1", "L1: A minus B")
    assert (above.low, above.high, above.images) == (0, None, COUNT)
    assert above.values == pytest.approx([1.0] * 3)
    below = found.below("A is better.", "", "l1", "A", "B")
    assert (below.low, below.high, below.values) == (None, 0, above.values)
    beyond = found.beyond_saturation("A is more.", "A", "B")
    assert beyond.values == pytest.approx([0.5] * 3)
    found.cells["A"][1].matched.clear()  # no factor makes B as colorful
    assert np.isnan(found.beyond_saturation("A is more.", "A", "B").values).tolist() == [0, 1, 0]


def test_a_seed_that_failed_is_nan_everywhere_and_has_no_curve():
    found = measured({"A": {"d_loss": [[1.0, 2.0]] * 3}}, l1={"A": seeds(2.0)}, grey={"l1": 3})
    failed = found.cells["A"][1]
    found.cells["A"][1] = failed._replace(state=CELL_FAILED, values={}, history=[])
    assert np.isnan(found.per_seed("l1")["A"]).tolist() == [False, True, False]
    assert np.isnan(found.column("A", "d_loss")).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert len(found.history("A")) == 2


def test_the_telling_images_are_those_with_the_largest_differences():
    found = measured(delta_e={"batch": seeds(0.0), "spectral": seeds(0.0)})
    for model, values in {"batch": [9.0, 1, 8, 2], "spectral": [1.0, 9, 7, 2]}.items():
        found.values[model]["delta_e"][:, :4] = torch.tensor(values)
    found.values["batch"]["delta_e"][1] = torch.nan  # a seed that failed
    first = {file: rows[0] for rows, file, _ in stability.telling(found)}
    assert first == {"spectral-better.png": 0, "batch-better.png": 1, "both-struggle.png": 2}
    for seed in found.values["batch"]["delta_e"]:
        seed.fill_(-1.0)  # nothing shows spectral norm as better
    assert [file for _, file, _ in stability.telling(found)] == ["batch-better.png"]


def test_unsteadiness_is_the_deviation_of_noise_and_knows_no_trend():
    noise = np.random.default_rng(0).normal(0, 2, 10_000)
    assert stability.unsteadiness(noise) == pytest.approx(2, rel=0.03)
    assert stability.unsteadiness(noise + np.arange(10_000)) == pytest.approx(2, rel=0.03)
    assert stability.unsteadiness([3.0, 2.0, 1.0]) == 0
    assert np.isnan(stability.unsteadiness([3.0, 2.0]))
