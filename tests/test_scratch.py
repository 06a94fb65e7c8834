"""Generators trained from random weights: what is in the gradient, the rates, and going on."""

import itertools
import json

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from tiny_runs import (
    make_data,
    undrawn,  # noqa: F401
)

from colourgan.errors import UsageError
from colourgan.files import file_hash
from colourgan.learners import (
    gan_finetune,
    pretrain,
    read_config,
    train_cyclegan,
    train_generator,
)
from colourgan.learners import read_history as history
from colourgan.models import load_model

SMALL = {
    "size": 16,
    "width": 4,
    "epochs": 1,
    "batch_size": 5,
    "device": "cpu",
    "precision": "fp32",
}
TINY = {**SMALL, "d_width": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Trains into a new folder; the same settings only once."""
    folder, known = tmp_path_factory.mktemp("runs"), {}

    def train(function=train_generator, **settings):
        key = function.__name__ + json.dumps(settings, sort_keys=True)
        if key not in known:
            base = SMALL if settings.get("discriminator") == "none" else TINY
            known[key] = function(data=data, **base | settings, out=folder / str(len(known)))
        return known[key]

    return train


@pytest.fixture(scope="module")
def trained(run):
    """The hash of such a run's model."""
    return lambda *function, **settings: model_hash(run(*function, **settings))


def model_hash(run):
    return file_hash(run / "model.safetensors")


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
        {"discriminator": "patchgan94", "batch_size": 6},
        {"generator": "nazeri_unet"},
        {"generator": "residual_unet"},
        {"innermost_dropout": False},
        {"discriminator": "none"},
        {"norm": "instance"},
        {"dropout": 0.0},
        {"init": "default"},
        {"d_steps": 2},
        {"g_steps": 2},
        {"d_noise_l": 0.5},
        {"d_noise_ab": 0.5},
        {"schedule": "linear"},
        {"schedule": "step", "decay_steps": 1},
        {"ema": 0.9},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_setting_reaches_the_generators_weights(trained, settings):
    assert trained(**settings) != trained()


@pytest.mark.parametrize("steps", ["d_steps", "g_steps"])
def test_several_steps_on_the_same_batch_are_others_than_on_several(trained, steps):
    assert trained(**{steps: 2}, same_batch=True) not in (trained(**{steps: 2}), trained())


@pytest.mark.parametrize(
    "settings",
    [
        {"cycle_weight": 0.0},
        {"objective": "bce"},
        {"pool_size": 1},  # up to 50 images nothing is shown again
        {"generator": "nazeri_unet"},
        {"generator": "residual_unet"},
        {"lr_floor": 1e-3},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_setting_of_a_cycle_reaches_its_generator(trained, settings):
    base = {"batch_size": 2}
    assert trained(train_cyclegan, **base, **settings) != trained(train_cyclegan, **base)


@pytest.mark.parametrize("function", [train_generator, train_cyclegan])
def test_the_norm_of_a_discriminator_reaches_the_generator(trained, function):
    # Of a PatchGAN for 16 pixels no layer is normalised.
    settings = {"discriminator": "pixelgan", "batch_size": 3}
    one, other = (trained(function, d_norm=norm, **settings) for norm in ("instance", "spectral"))
    assert one != other


def test_the_penalty_weight_reaches_the_generator_by_way_of_the_discriminator(trained):
    wasserstein = {"objective": "wgan_gp", "d_norm": "layer"}
    hashes = {trained(**wasserstein, penalty_weight=weight) for weight in (0.0, 10.0)}
    assert len(hashes) == 2


def test_a_weight_of_zero_leaves_the_other_loss_alone(trained):
    alone = {"reconstruction_weight": 0.0}
    assert trained(**alone) == trained(**alone, reconstruction="l2")
    # Adam's step does not depend on the scale of its loss, but for its small eps.
    assert trained(**alone) != trained(**alone, objective="hinge")


class Noting(Callback):
    """Notes something at every training batch, as the batch has ended."""

    order = 99

    def __init__(self, note):
        self.note, self.seen = note, []

    def after_batch(self):
        if self.training:
            self.seen.append(self.note(self.learn))


def of_both(name):
    """A setting of the generator's and of the discriminator's optimizer."""
    opponents = {"lr": lambda group: group["lr"], "mom": lambda group: group["betas"][0]}
    return lambda learn: (
        learn.opt.hypers[-1][name],
        opponents[name](learn.adversarial.optimizer.param_groups[0]),
    )


def test_both_rates_follow_the_published_decay_down_to_its_floor(data, tmp_path):
    settings = TINY | {"epochs": 2, "schedule": "exponential", "decay_steps": 4, "lr_floor": 2e-5}
    rates = Noting(of_both("lr"))
    train_generator(data=data, **settings, lr=3e-4, d_lr=6e-5, cbs=rates, out=tmp_path / "run")
    expected = [
        (max(3e-4 * 0.1 ** (s / 4), 2e-5), max(6e-5 * 0.1 ** (s / 4), 2e-5)) for s in range(8)
    ]
    assert np.array(rates.seen) == pytest.approx(np.array(expected))


def test_one_cycle_keeps_the_momentum_that_can_be_chosen(data, run, tmp_path):
    settings = {"schedule": "one-cycle", "device": "cpu", "batch_size": 5, "d_width": 4}
    moments, rates = Noting(of_both("mom")), Noting(of_both("lr"))
    both = {"beta1": 0.3, "cbs": [moments, rates]}
    train_generator(data=data, **TINY | settings, **both, out=tmp_path / "s")
    parent = run(discriminator="none")
    gan_finetune(model=parent, epochs=1, **settings, **both, out=tmp_path / "g")
    assert np.array(moments.seen) == pytest.approx(np.full((8, 2), 0.3))
    assert rates.seen[0][0] == pytest.approx(2e-4 / 25) and rates.seen[0][1] == 2e-4


def test_one_cycle_of_pretraining_cycles_its_momentum(data, tmp_path):
    moments = Noting(lambda learn: learn.opt.hypers[-1]["mom"])
    few = {"size": 16, "epochs": 1, "frozen_epochs": 0, "batch_size": 2, "device": "cpu"}
    pretrain(encoder="resnet20@none", data=data, **few, cbs=moments, out=tmp_path / "p")
    seen = np.array(moments.seen)
    assert len(seen) == 9 and seen[0] == pytest.approx(0.95) and seen[-1] > 0.94
    assert min(seen) == pytest.approx(0.85, abs=5e-3) and 1 < seen.argmin() < 4


NOISY = {"d_noise_l": 0.1, "d_noise_ab": 0.1, "same_batch": True}


@pytest.mark.parametrize(
    ("function", "more"),
    [
        (train_generator, {}),
        (train_generator, NOISY | {"d_steps": 2}),
        (train_generator, NOISY | {"g_steps": 2}),
        (train_cyclegan, {}),
    ],
    ids=("generator", "d-steps", "g-steps", "cyclegan"),
)
def test_a_run_broken_off_goes_on_along_its_schedule(function, more, data, tmp_path):
    settings = TINY | {"data": data, "epochs": 3, "schedule": "linear"} | more

    def break_off(self):
        if self.training and self.learn.epochs_before == 1:
            raise KeyboardInterrupt

    whole, broken = function(**settings, out=tmp_path / "whole"), tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        function(**settings, cbs=Callback(after_batch=break_off), out=broken)
    assert len(history(broken)) == 1
    function(**settings, out=broken, resume=True)
    assert model_hash(broken) == model_hash(whole)


def test_a_generator_that_would_never_step_is_refused(data, run, tmp_path):
    never = {"d_steps": 5, "batch_size": 5}  # 18 images: 4 batches
    for train in (
        lambda out, **more: train_generator(data=data, **TINY | never | more, out=out),
        lambda out, **more: gan_finetune(
            model=run(discriminator="none"), device="cpu", d_width=4, d_epochs=2,
            **never | {"epochs": 1} | more, out=out,
        ),
    ):  # fmt: skip
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        with pytest.raises(UsageError, match=r"one step every 5 batches .* and there are 4") as why:
            train(out)
        assert "\n" not in str(why.value)
        assert len(history(train(out, d_steps=4))) >= 1  # the folder is free
        same = tmp_path / f"{out.name}-same"  # here it steps on every batch
        assert len(history(train(same, same_batch=True))) >= 1


@pytest.mark.parametrize("generator", ["nazeri_unet", "residual_unet"])
@pytest.mark.parametrize("function", [train_generator, train_cyclegan])
def test_a_run_of_each_generator_has_a_model_that_rebuilds_itself(run, function, generator):
    options = {"batch_size": 2} if function is train_cyclegan else {}
    model = load_model(run(function, generator=generator, **options))
    assert model.arguments["generator"] == generator
    assert model(torch.zeros(1, 1, 19, 33)).shape == (1, 2, 19, 33)


def test_the_model_of_a_run_says_that_its_innermost_block_has_no_dropout(run):
    assert load_model(run(innermost_dropout=False)).arguments["innermost_dropout"] is False
    assert "innermost_dropout" not in load_model(run()).arguments


def test_the_model_is_the_generator_from_lightness_to_color(run):
    cycle = run(train_cyclegan, batch_size=2)
    assert load_model(cycle)(torch.zeros(1, 1, 16, 16)).shape == (1, 2, 16, 16)
    found = read_config(cycle)["found"]
    assert found["train_images"] == 18  # two halves of nine
    assert set(found["parameters"]) == {"generator", "backward", "discriminators"}
    assert {"d_loss", "g_loss", "cycle_loss", "seconds"} <= set(history(cycle)[0])


def test_a_plain_generator_has_no_discriminators_columns_and_can_be_finetuned(run, tmp_path):
    plain = run(discriminator="none")
    assert "d_loss" not in history(plain)[0]
    assert set(read_config(plain)["found"]["parameters"]) == {"generator"}
    wasserstein = {"objective": "wgan_gp", "d_norm": "layer", "device": "cpu", "epochs": 1}
    tuned = gan_finetune(model=plain, **wasserstein, out=tmp_path / "tuned")
    assert load_model(tuned).arguments["generator"] == "pix2pix_unet"


def test_pretraining_as_published_keeps_its_rate_and_its_adam(data, tmp_path):
    hypers = Noting(lambda learn: [dict(each) for each in learn.opt.hypers])
    pretrain(
        encoder="resnet20@none", data=data, size=16, epochs=1, frozen_epochs=0, batch_size=8,
        lr=1e-4, encoder_lr_ratio=1.0, weight_decay=0.0, beta2=0.999, eps=1e-8,
        schedule="constant", device="cpu", cbs=[hypers], out=tmp_path / "run",
    )  # fmt: skip
    expected = {"lr": 1e-4, "mom": 0.9, "sqr_mom": 0.999, "eps": 1e-8, "wd": 0.0}
    assert len(hypers.seen) == 3
    for found in itertools.chain(*hypers.seen):
        assert {name: found[name] for name in expected} == pytest.approx(expected)


WRONG = {
    "reconstruction weight": (
        train_generator, {"reconstruction_weight": -1.0},
        "--reconstruction-weight must be 0 or more, not -1.0",
    ),
    "cycle weight": (train_cyclegan, {"cycle_weight": -1.0}, "--cycle-weight must be 0 or more"),
    "multiple": (
        train_generator, {"size": 24, "generator": "nazeri_unet"}, "is not a multiple of 16",
    ),
    "size": (train_generator, {"size": 24}, "cannot halve 24 that often: choose 16 or 32"),
    "batch norm": (
        train_generator,
        {"objective": "wgan_gp", "discriminator": "pixelgan"},
        "batch norm mixes",
    ),
    "schedule": (train_generator, {"schedule": "cosine"}, "unknown schedule 'cosine'"),
    "generator": (train_generator, {"generator": "dynamic_unet"}, "train it by pretrain"),
    "init": (train_generator, {"init": "norml"}, "did you mean 'normal'"),
    "bins": (train_generator, {"reconstruction": "bins"}, "predicts classes"),
    "augmentation": (train_generator, {"augmentation": "spin"}, "flip, crop"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(case, data, tmp_path):
    function, settings, reason = WRONG[case]
    with pytest.raises(UsageError) as refused:
        function(data=data, **TINY | settings, out=tmp_path / "run")
    assert reason in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
