"""gan_finetune's own choices: what it reconstructs, the discriminator alone, when it stops."""

import csv
import json
from math import isfinite, isnan, nan

import pytest
import torch
from fastai.callback.core import Callback
from tiny_runs import (
    TRAINING,
    make_data,
    undrawn,  # noqa: F401
)
from torch.utils._python_dispatch import TorchDispatchMode

from colourgan.callbacks import base, best
from colourgan.errors import UsageError
from colourgan.files import file_hash
from colourgan.learners import gan_finetune, pretrain
from colourgan.learners.color import Outputs
from colourgan.models import load_model, save_model

TINY = {"batch_size": 8, "d_width": 4, "ema": 0.9, "device": "cpu"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def parents(data, tmp_path_factory):
    """Short pretrainings by reconstruction."""
    folder = tmp_path_factory.mktemp("parents")
    short = TRAINING | {"epochs": 1, "frozen_epochs": 0, "ema": 0.0}
    return {
        name: pretrain(
            encoder="resnet20@none", data=data, **short, reconstruction=name, out=folder / name
        )
        for name in ("l1", "bins")
    }


def model_hash(run):
    return file_hash(run / "model.safetensors")


def history(run):
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def saved_models(monkeypatch):
    """The hashes of the model files that were written, in their order."""
    hashes, save = [], Outputs.save_model

    def noting(self):
        save(self)
        hashes.append(model_hash(self.run.path))

    monkeypatch.setattr(Outputs, "save_model", noting)
    return hashes


@pytest.mark.parametrize("reconstruction", ["l1", "bins"])
def test_alone_the_discriminator_learns_and_the_generator_stays(
    reconstruction, parents, tmp_path, saved_models
):
    parent = parents[reconstruction]
    run = gan_finetune(model=parent, epochs=2, d_epochs=2, **TINY, out=tmp_path / "run")
    assert saved_models[:2] == [model_hash(parent)] * 2
    assert model_hash(parent) not in saved_models[2:] and len(set(saved_models)) == 3
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[1]["d_loss"]) < float(rows[0]["d_loss"])
    assert [isnan(float(row["g_loss"])) for row in rows] == [True, True, False, False]


def test_what_it_learned_alone_stays_with_the_discriminator(parents, tmp_path):
    alone = gan_finetune(
        model=parents["l1"], epochs=1, d_epochs=3, d_lr=2e-3, **TINY, out=tmp_path / "a"
    )
    fresh = gan_finetune(model=parents["l1"], epochs=1, d_lr=2e-3, **TINY, out=tmp_path / "b")
    assert float(history(alone)[-1]["d_loss"]) < float(history(fresh)[-1]["d_loss"])


def test_no_option_means_l1(parents, tmp_path):
    plain = gan_finetune(model=parents["l1"], epochs=1, **TINY, out=tmp_path / "a")
    named = gan_finetune(
        model=parents["l1"], epochs=1, reconstruction="l1", **TINY, out=tmp_path / "b"
    )
    assert model_hash(plain) == model_hash(named)
    assert "gain" not in history(plain)[0] and "feature_loss" not in history(plain)[0]
    assert "best" not in json.loads((plain / "config.json").read_text())


def test_l2_is_the_square(parents, tmp_path):
    l1, l2 = (
        gan_finetune(
            model=parents["l1"], epochs=1, reconstruction=name, lr=0, **TINY, out=tmp_path / name
        )
        for name in ("l1", "l2")
    )
    mean, square = (float(history(run)[0]["valid_loss"]) for run in (l1, l2))
    assert mean**2 < square < mean


def test_the_weight_of_the_reconstruction_is_that_of_features_too(parents, tmp_path):
    seen = []

    def note(self):
        if self.training:
            feature = self.learn.feature_loss
            first = self.loss + feature.weight * feature.values[-1]
            second = self.learn.adversarial.watch.values["g_loss"][-1]
            seen.append((float(self.loss_grad), float(7 * first + 2 * second)))

    weights = {"reconstruction_weight": 7.0, "adversarial_weight": 2.0}
    run = gan_finetune(
        model=parents["l1"], epochs=1, reconstruction="feature", **weights, **TINY,
        cbs=Callback(after_batch=note), out=tmp_path / "run",
    )  # fmt: skip
    assert len(seen) == 3
    for found, expected in seen:
        assert found == pytest.approx(expected, rel=1e-5)
    assert float(history(run)[0]["feature_loss"]) > 0


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)], ids=["l1", "adversarial"])
def test_both_losses_reach_all_of_a_generator_of_classes(weights, parents, tmp_path):
    norms = {}

    def note(self):
        for name, weight in self.model.named_parameters():
            norms.setdefault(name, []).append(float(weight.grad.norm()))

    reconstruction, adversarial = weights
    run = gan_finetune(
        model=parents["bins"], epochs=1, reconstruction_weight=reconstruction,
        adversarial_weight=adversarial, **TINY, cbs=Callback(before_step=note),
        out=tmp_path / "run",
    )  # fmt: skip
    assert all(norm > 0 for each in norms.values() for norm in each)
    before, after = (load_model(each).state_dict() for each in (parents["bins"], run))
    same = {name for name in before if torch.equal(before[name], after[name])}
    kept = {"prior", "rebalancing", "temperature", "vivid", "saturation"}
    assert same == {f"classes.{name}" for name in kept}


def test_features_are_of_every_step_on_the_same_batch(parents, tmp_path):
    seen = []
    steps = {"g_steps": 2, "same_batch": True}
    note = Callback(after_batch=lambda self: seen.append(len(self.learn.feature_loss.values)))
    note.order, note.run_valid = 99, False
    gan_finetune(
        model=parents["l1"], epochs=1, reconstruction="feature", **steps, **TINY, cbs=note,
        out=tmp_path / "run",
    )  # fmt: skip
    assert seen == [2, 4, 6]


def test_features_are_not_computed_for_the_discriminator_alone(parents, tmp_path):
    settings = {"epochs": 1, "d_epochs": 1, "reconstruction": "feature"}
    run = gan_finetune(model=parents["l1"], **settings, **TINY, out=tmp_path / "run")
    assert [isnan(float(row["feature_loss"])) for row in history(run)] == [True, False]


def test_patience_keeps_the_best_epoch_and_changes_nothing_else(parents, tmp_path, monkeypatch):
    values = iter([0.5, 0.1, 0.2, 0.15, 0.2, 0.3])  # the first is the discriminator's alone
    monkeypatch.setattr(best, "gain", lambda *tensors: next(values))
    patient = gan_finetune(
        model=parents["l1"], epochs=5, d_epochs=1, patience=2, **TINY, out=tmp_path / "patient"
    )
    plain = gan_finetune(model=parents["l1"], epochs=2, d_epochs=1, **TINY, out=tmp_path / "plain")
    assert [row["gain"] for row in history(patient)] == ["0.5", "0.1", "0.2", "0.15", "0.2"]
    assert model_hash(patient) == model_hash(plain)
    config = json.loads((patient / "config.json").read_text())
    assert config["best"] == {"epoch": 3, "gain": 0.2}


def test_a_starting_generator_gains_nothing_over_itself(parents, tmp_path):
    run = gan_finetune(
        model=parents["bins"], epochs=1, d_epochs=1, patience=1, **TINY, out=tmp_path / "run"
    )
    first, second = (float(row["gain"]) for row in history(run))
    assert first == 0 and second != 0


def test_a_grey_generator_has_no_gain_and_is_finetuned_all_the_same(
    parents, data, tmp_path, caplog
):
    caplog.set_level("INFO", "colourgan")
    grey = load_model(parents["l1"])
    with torch.no_grad():
        for tensor in grey.head.parameters():
            tensor.zero_()
    save_model(grey, tmp_path / "grey.safetensors")
    run = gan_finetune(
        model=tmp_path / "grey.safetensors", data=data, epochs=3, patience=1, **TINY,
        out=tmp_path / "run",
    )  # fmt: skip
    assert [row["gain"] for row in history(run)] == ["nan", "nan"]
    assert json.loads((run / "config.json").read_text())["best"] == {"epoch": 1, "gain": None}
    assert "one of the generators is grey" in caplog.text
    load_model(run)


def test_a_generator_that_turns_grey_is_not_the_best(parents, tmp_path, monkeypatch):
    measure, calls = best.gain, iter([1.0, 0.0, nan, 1.0])
    monkeypatch.setattr(best, "gain", lambda pred, *others: measure(pred * next(calls), *others))
    run = gan_finetune(model=parents["l1"], epochs=4, patience=3, **TINY, out=tmp_path / "run")
    gains = [float(row["gain"]) for row in history(run)]
    assert [isnan(value) for value in gains] == [False, True, True, False]
    assert json.loads((run / "config.json").read_text())["best"]["epoch"] in (1, 4)


WRONG = {
    "bins": ({"reconstruction": "bins"}, "--reconstruction must be one of l1, l2, feature"),
    "unknown": ({"objective": "l3"}, "unknown objective 'l3'"),
    "d_epochs": ({"d_epochs": -1}, "--d-epochs must be 0 or more, not -1"),
    "only d_epochs": ({"d_epochs": 2, "epochs": 0}, "--epochs must be 1 or more, not 0"),
    "patience": ({"patience": 0}, "--patience must be 1 or more, not 0"),
    "norm": ({"objective": "wgan_gp", "discriminator": "pixelgan"}, "batch norm"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(case, parents, tmp_path):
    settings, reason = WRONG[case]
    with pytest.raises(UsageError) as refused:
        gan_finetune(model=parents["l1"], **TINY | settings, out=tmp_path / "run")
    assert reason in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


class ValuesRead(TorchDispatchMode):
    """Counts the values of tensors that Python reads: each would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("objective", ["bce", "wgan_gp"])
def test_no_value_is_read_in_a_batch(objective, parents, tmp_path, monkeypatch):
    mode, counts = ValuesRead(), []
    watch = Callback(
        before_batch=lambda self: mode.__enter__() if self.training else None,
        before_backward=lambda self: counts.append(len(self.learn.recorder.losses)),
    )
    leave = Callback(
        after_batch=lambda self: mode.__exit__(None, None, None) if self.training else None
    )
    watch.order, leave.order = -50, 95  # before all others; after EMA and the bar
    # Losses are read at once on a CPU: here as on a GPU.
    monkeypatch.setattr(base, "READ_EVERY", 1000)
    monkeypatch.setattr(base.Watch, "on_cpu", staticmethod(lambda noted: False))
    norm = "layer" if objective == "wgan_gp" else "batch"
    gan_finetune(
        model=parents["l1"], epochs=1, **TINY, objective=objective, d_norm=norm, precision="bf16",
        out=tmp_path / "run", cbs=[watch, leave],
    )  # fmt: skip
    assert counts and mode.count == 0
    assert isfinite(float(history(tmp_path / "run")[0]["d_loss"]))
