"""Generators trained from random weights: what is in the gradient, the rates, and going on."""

import json

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from tiny_runs import make_data

from colourgan.callbacks import Adversarial
from colourgan.errors import UsageError
from colourgan.files import file_hash
from colourgan.learners import (
    gan_finetune,
    pretrain,
    read_config,
    scratch,
    train_cyclegan,
    train_generator,
    training,
)
from colourgan.learners import read_history as history
from colourgan.models import load_model

SMALL = {"size": 16, "width": 4, "epochs": 1, "batch_size": 5, "device": "cpu"}
TINY = {**SMALL, "precision": "fp32", "d_width": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Trains into a new folder and returns the hash of the model; the same settings only once."""
    folder, known = tmp_path_factory.mktemp("runs"), {}

    def train(function=train_generator, **settings):
        key = function.__name__ + json.dumps(settings, sort_keys=True)
        if key not in known:
            run = function(data, **TINY | settings, out=folder / str(len(known)))
            known[key] = file_hash(run / "model.safetensors")
        return known[key]

    return train


@pytest.mark.parametrize(
    "settings",
    [
        {"reconstruction_weight": 0.0},
        {"adversarial_weight": 0.0},
        {"reconstruction": "l2"},
        {"objective": "least_squares"},
        {"objective": "hinge"},
        {"real_label": 0.9},
        {"discriminator": "pixelgan"},
        {"discriminator": "imagegan"},
        {"discriminator": "none"},
        {"norm": "instance"},
        {"dropout": 0.0},
        {"init": "default"},
        {"d_steps": 2},
        {"g_steps": 2},
        {"schedule": "linear"},
        {"schedule": "step", "decay_steps": 1},
        {"ema": 0.9},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_setting_reaches_the_generators_weights(trained, settings):
    assert trained() == trained()
    assert trained(**settings) != trained()


@pytest.mark.parametrize(
    "settings",
    [
        {"cycle_weight": 0.0},
        {"objective": "bce"},
        {"pool_size": 1},  # up to 50 images nothing is shown again
        {"lr_floor": 1e-3},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_setting_of_a_cycle_reaches_its_generator(trained, settings):
    base = {"batch_size": 2}
    assert trained(train_cyclegan, **base, **settings) != trained(train_cyclegan, **base)


@pytest.mark.parametrize("function", [train_generator, train_cyclegan])
def test_every_norm_of_a_discriminator_reaches_the_generator(trained, function):
    norms = ("batch", "instance", "layer", "spectral", "none")
    # Of a PatchGAN for 16 pixels no layer is normalised.
    settings = {"discriminator": "pixelgan", "batch_size": 3}
    assert len({trained(function, d_norm=norm, **settings) for norm in norms}) == len(norms)


def test_the_penalty_weight_reaches_the_generator_by_way_of_the_discriminator(trained):
    wasserstein = {"objective": "wgan_gp", "d_norm": "layer"}
    hashes = {trained(**wasserstein, penalty_weight=weight) for weight in (0.0, 10.0)}
    assert len(hashes) == 2


def test_a_weight_of_zero_leaves_the_other_loss_alone(trained):
    alone = {"reconstruction_weight": 0.0}
    assert trained(**alone) == trained(**alone, reconstruction="l2")
    # Adam's step does not depend on the scale of its loss, but for its small eps.
    assert trained(**alone) != trained(**alone, objective="hinge")


class Rates(Callback):
    """Notes the learning rates of both optimizers at every batch."""

    order = 99

    def __init__(self, adversary):
        self.adversary, self.seen = adversary, []

    def after_batch(self):
        if self.training:
            opponent = self.adversary.optimizer.param_groups[0]["lr"]
            self.seen.append((self.opt.hypers[-1]["lr"], opponent))


@pytest.fixture
def rates(monkeypatch):
    noted = []

    class Noting(Adversarial):
        def before_train(self):
            super().before_train()
            if hasattr(self, "_learn") and self.learn and not noted:
                noted.append(Rates(self))
                self.learn.add_cb(noted[0])

    monkeypatch.setattr(scratch, "Adversarial", Noting)
    return lambda: noted[0].seen


def test_both_rates_follow_the_published_decay_down_to_its_floor(data, rates, tmp_path):
    decay = {"schedule": "exponential", "decay_steps": 4, "lr_floor": 2e-5}
    train_generator(data, **TINY | {"epochs": 2}, lr=3e-4, d_lr=6e-5, **decay, out=tmp_path / "run")
    expected = [
        (max(3e-4 * 0.1 ** (s / 4), 2e-5), max(6e-5 * 0.1 ** (s / 4), 2e-5)) for s in range(8)
    ]
    assert np.array(rates()) == pytest.approx(np.array(expected))


def test_a_run_broken_off_goes_on_along_its_schedule(data, tmp_path, monkeypatch):
    settings = TINY | {"epochs": 3, "schedule": "linear"}
    for function in (train_generator, train_cyclegan):
        whole = function(data, **settings, out=tmp_path / f"{function.__name__}-whole")
        broken = tmp_path / f"{function.__name__}-broken"
        with monkeypatch.context() as patch:
            save = training._save

            def save_once(learn, run, *more, save=save):
                if len(run.history) == 2:
                    raise KeyboardInterrupt
                save(learn, run, *more)

            patch.setattr(training, "_save", save_once)
            with pytest.raises(KeyboardInterrupt):
                function(data, **settings, out=broken)
        assert len(history(broken)) == 1
        function(data, **settings, out=broken, resume=True)
        assert file_hash(broken / "model.safetensors") == file_hash(whole / "model.safetensors")


def test_the_model_is_the_generator_from_lightness_to_color(data, tmp_path):
    run = train_cyclegan(data, **TINY, out=tmp_path / "run")
    model = load_model(run)
    assert model(torch.zeros(1, 1, 16, 16)).shape == (1, 2, 16, 16)
    found = read_config(run)["found"]
    assert found["train_images"] == 18  # two halves of nine
    assert set(found["parameters"]) == {"generator", "backward", "discriminators"}
    assert {"d_loss", "g_loss", "cycle_loss", "seconds"} <= set(history(run)[0])


def test_a_plain_generator_has_no_discriminators_columns(data, tmp_path):
    run = train_generator(data, **TINY, discriminator="none", out=tmp_path / "run")
    assert "d_loss" not in history(run)[0]
    assert set(read_config(run)["found"]["parameters"]) == {"generator"}


def test_a_model_from_scratch_can_be_finetuned(data, tmp_path):
    run = train_generator(data, **TINY, discriminator="none", out=tmp_path / "run")
    tuned = gan_finetune(
        run, epochs=1, objective="wgan_gp", norm="layer", device="cpu", out=tmp_path / "tuned"
    )
    assert load_model(tuned).arguments["generator"] == "pix2pix_unet"


def test_pretraining_as_published_keeps_its_rate_and_its_adam(data, tmp_path, monkeypatch):
    hypers = []

    class Noting(training.Progress):
        def after_batch(self):
            super().after_batch()
            hypers.extend(dict(h) for h in self.opt.hypers)

    monkeypatch.setattr(training, "Progress", Noting)
    pretrain(
        "resnet20@none", data, 16, epochs=1, frozen_epochs=0, batch_size=8, lr=1e-4,
        encoder_lr_ratio=1.0, weight_decay=0.0, beta2=0.999, eps=1e-8, schedule="constant",
        device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    expected = {"lr": 1e-4, "mom": 0.9, "sqr_mom": 0.999, "eps": 1e-8, "wd": 0.0}
    assert hypers
    for found in hypers:
        assert {name: found[name] for name in expected} == pytest.approx(expected)


WRONG = {
    "reconstruction weight": (train_generator, {"reconstruction_weight": -1.0}, "not be negative"),
    "adversarial weight": (train_generator, {"adversarial_weight": -1.0}, "adversarial_weight"),
    "alone, weight": (
        train_generator,
        {"reconstruction_weight": -1.0, "discriminator": "none"},
        "not be negative",
    ),
    "cycle weight": (train_cyclegan, {"cycle_weight": -1.0}, "cycle_weight"),
    "pool": (train_cyclegan, {"pool_size": -1}, "pool_size"),
    "label 0": (train_generator, {"real_label": 0.0}, "above 0 and at most 1"),
    "label above 1": (train_generator, {"real_label": 1.1}, "above 0 and at most 1"),
    "labels of hinge": (train_generator, {"objective": "hinge", "real_label": 0.9}, "no labels"),
    "size": (train_generator, {"size": 24}, "cannot halve 24 that often: choose 16 or 32"),
    "batch norm": (
        train_generator,
        {"objective": "wgan_gp", "discriminator": "pixelgan"},
        "batch norm mixes",
    ),
    "both steps": (train_generator, {"d_steps": 2, "g_steps": 2}, "one of them must be 1"),
    "no steps": (train_generator, {"g_steps": 0}, "g_steps must be 1 or more"),
    "schedule": (train_generator, {"schedule": "cosine"}, "one-cycle, constant, linear"),
    "decay": (train_cyclegan, {"decay_steps": 0}, "decay_steps"),
    "floor": (train_generator, {"lr_floor": -1.0}, "must not be negative"),
    "rate": (train_generator, {"lr": -1e-4}, "must not be negative"),
    "epochs": (train_cyclegan, {"epochs": 0}, "nothing to train"),
    "generator": (train_generator, {"generator": "dynamic_unet"}, "train it by pretrain"),
    "init": (train_generator, {"init": "norml"}, "did you mean 'normal'"),
    "reconstruction": (train_generator, {"reconstruction": "l3"}, "reconstruction"),
    "dropout": (train_generator, {"dropout": 1.0}, "dropout"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(case, data, tmp_path):
    function, settings, reason = WRONG[case]
    with pytest.raises(UsageError) as refused:
        function(data, **TINY | settings, out=tmp_path / "run")
    assert reason in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
