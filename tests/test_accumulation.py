"""Gradient accumulation: parts of a batch, one step, and the numbers of the whole batch."""

import copy
import csv

import pytest
import torch
from fastai.callback.core import Callback
from fastai.optimizer import SGD
from tiny_runs import (
    call,
    make_data,
    options,
    undrawn,  # noqa: F401
)
from tiny_training import G_LR, SIZE, Generator, assert_same, make_learner, weights
from torch import nn

from colourgan.callbacks import EMA, Accumulation, Adversarial, CycleConsistency, Precision
from colourgan.callbacks.adversarial import same_statistics
from colourgan.discriminators import patchgan
from colourgan.errors import UsageError
from colourgan.learners import gan_finetune, pretrain, read_config, train_encoder, train_generator
from colourgan.models import load_model
from colourgan.objectives import OBJECTIVES

ALONE = {"discriminator": "none", "norm": "none"}
GAN = {"norm": "none", "d_norm": "none", "d_width": 4, "reconstruction_weight": 1.0}
TRAINED = {
    "l1": ALONE,
    "gan": GAN | {"ema": 0.9},
    "d-steps": GAN | {"d_steps": 2},
    "g-steps-same-batch": GAN | {"g_steps": 2, "same_batch": True, "epochs": 1},
    "d-steps-same-batch": GAN | {"d_steps": 2, "same_batch": True, "epochs": 1},
}
SHARED = {
    "generator": "nazeri_unet", "width": 4, "dropout": 0.0, "size": 16, "epochs": 2,
    "lr": 1e-3, "device": "cpu", "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data"), train=31))  # 28 to train: 16 and 12


def history(run):
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.mark.parametrize("case", TRAINED)
def test_two_batches_of_8_are_one_of_16(data, tmp_path, case):
    given = {**SHARED, **TRAINED[case], "data": data}
    whole = train_generator(**given, batch_size=16, out=tmp_path / "whole")
    parts = train_generator(**given, batch_size=8, accumulate=2, out=tmp_path / "parts")
    assert_same(load_model(parts), load_model(whole).state_dict(), atol=2e-5, rtol=1e-4)
    for here, wanted in zip(history(parts), history(whole), strict=True):
        for name, value in wanted.items():  # of the accuracies a logit near the threshold may flip
            close = 2e-3 if "accuracy" in name else 1e-5
            assert here[name] == pytest.approx(value, rel=1e-4, abs=close, nan_ok=True), name


def test_one_batch_of_8_is_another_training(data, tmp_path):
    given = {**SHARED, **ALONE, "data": data, "batch_size": 8}
    runs = [train_generator(**given, accumulate=n, out=tmp_path / str(n)) for n in (1, 2)]
    alone, parts = (load_model(run).state_dict() for run in runs)
    assert any((alone[name] - parts[name]).abs().max() > 1e-3 for name in alone)


def test_a_part_counts_by_its_number_of_images(tmp_path):
    """By SGD: Adam steps alike whatever the gradients' scale."""
    nets = []
    for cbs in ([], [Accumulation(3)]):
        learn = make_learner(tmp_path, cbs, count=5)
        learn.model.layers[1] = nn.Identity()
        learn.opt_func, learn.dls.train.bs = SGD, 5
        learn.fit(1, lr=0.1)
        nets.append(learn.model)
    assert_same(nets[1], nets[0].state_dict(), atol=1e-6, rtol=1e-5)


class Sizes(Callback):
    """Notes how many images the generator is shown at a time, and the steps between."""

    def before_fit(self):
        self.seen = []
        self.handle = self.model.register_forward_hook(self.note)

    def note(self, module, inputs, output):
        self.seen.append(len(inputs[0]) if module.training and torch.is_grad_enabled() else 0)

    def after_step(self):
        self.seen.append("step")

    def after_batch(self):
        assert len(self.xb[0]) == len(self.yb[0]) == len(self.pred) and self.loss.ndim == 0

    def after_fit(self):
        self.handle.remove()


def test_a_batch_is_split_into_parts_of_nearly_the_same_size(tmp_path):
    sizes, ema = Sizes(), EMA(0.9)
    learn = make_learner(tmp_path, [Accumulation(4), ema, sizes], count=11)
    learn.dls.train.bs, learn.dls.valid.bs = 9, 4  # 22 images
    learn.fit(1, lr=G_LR)
    assert sizes.seen == [3, 3, 3, "step", 3, 3, 3, "step", 4, "step", 0]
    assert ema.updates == 3 == len(learn.recorder.losses)
    assert "_do_one_batch" not in vars(learn)
    learn.get_preds()
    assert set(sizes.seen) == {0}


def make_adversarial(**options):
    torch.manual_seed(2)
    return Adversarial(patchgan(SIZE, "none", width=4), OBJECTIVES["bce"](), **options)


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
def test_the_discriminator_steps_on_all_parts_before_the_generator_sees_it(tmp_path, mode):
    """Written without fastai, in the order of StyleGAN's loops: all of D, then all of G."""
    adversarial = make_adversarial(lr=1e-2, reconstruction_weight=1.0)
    learn = make_learner(tmp_path, [Precision(mode), Accumulation(1), adversarial], count=2)
    G, D = copy.deepcopy(learn.model), make_adversarial().discriminator
    data = list(learn.dls.train)
    learn.fit(1, lr=G_LR)
    g_adam, d_adam = (
        torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.999))
        for net, lr in ((G, G_LR), (D, 1e-2))
    )
    bce, l1 = nn.functional.binary_cross_entropy_with_logits, nn.functional.l1_loss
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=mode == "bf16")
    G.train(), D.train()
    for L, real in data:
        parts = [(L[i : i + 1], real[i : i + 1]) for i in range(len(L))]
        for one, true in parts:
            with autocast, torch.no_grad(), same_statistics(G):
                fake = G(one)
            with autocast:
                on_real, on_fake = D(one, true), D(one, fake.float())
            loss = bce(on_real.float(), torch.ones_like(on_real.float()))
            loss = loss + bce(on_fake.float(), torch.zeros_like(on_fake.float()))
            (loss / 2 / len(parts)).backward()
        d_adam.step()
        for one, true in parts:
            with autocast:
                fake = G(one).float()
                loss = l1(fake, true)
            with autocast:
                on_fake = D(one, fake)
            loss = loss + bce(on_fake.float(), torch.ones_like(on_fake.float()))
            (loss / len(parts)).backward()
        g_adam.step()
        g_adam.zero_grad(), d_adam.zero_grad()
    # Batch norm takes the bias before it away, whose gradients are rounding errors.
    found = learn.model.state_dict()
    noise = {name: found[name] for name in ("layers.0.bias", "layers.1.running_mean")}
    assert_same(learn.model, G.state_dict() | noise, atol=1e-5, rtol=1e-5)
    assert_same(adversarial.discriminator, D.state_dict(), atol=1e-5, rtol=1e-5)


def test_an_error_in_a_part_leaves_the_learner_whole(tmp_path):
    def stop(self):
        raise KeyboardInterrupt

    learn = make_learner(tmp_path, [Accumulation(1)])
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=Callback(after_backward=stop))
    assert "_do_one_batch" not in vars(learn)
    learn.fit(1)


def test_finding_a_rate_leaves_both_networks_as_they_were(tmp_path):
    adversarial = make_adversarial()
    learn = make_learner(tmp_path, [Accumulation(1), adversarial], count=5)
    before = weights(learn.model), weights(adversarial.discriminator)
    learn.lr_find(num_it=8, show_plot=False, suggest_funcs=None)
    assert_same(learn.model, before[0])
    assert_same(adversarial.discriminator, before[1])
    assert "_do_one_batch" not in vars(learn)


def test_looking_keeps_the_statistics_of_batch_norm():
    model = Generator().train()
    before = model.layers[1].running_mean.clone()
    with same_statistics(model):
        model(torch.rand(2, 1, 8, 8))
    assert torch.equal(model.layers[1].running_mean, before)
    model(torch.rand(2, 1, 8, 8))
    assert not torch.equal(model.layers[1].running_mean, before)


def test_what_cannot_be_combined_is_refused_in_one_line(tmp_path, data):
    colors = make_learner(tmp_path).dls.train
    nets = nn.Conv2d(2, 1, 1), nn.Conv2d(3, 1, 1), nn.Conv2d(1, 1, 1)
    cycle = CycleConsistency(*nets, OBJECTIVES["bce"](), colors)
    with pytest.raises(UsageError, match="takes batches whole: leave Accumulation out"):
        make_learner(tmp_path, [Accumulation(1), cycle]).fit(1)
    with pytest.raises(UsageError, match="1 image or more, not 0"):
        Accumulation(0)


def break_off(run, batch, **given):
    """Stops a training in its batch of that number."""
    seen = []

    def stop(self):
        seen.extend([1] * self.training)
        if self.training and len(seen) == batch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(**given, cbs=Callback(before_batch=stop))


def test_by_the_command_line_and_resumed(data, tmp_path, monkeypatch):
    """Classes of color, whose callback prepares every pass; then a GAN; with batch norm."""
    given = {
        "encoder": "resnet20@none", "data": data, "size": 16, "epochs": 2, "frozen_epochs": 0,
        "batch_size": 8, "accumulate": 2, "reconstruction": "bins", "device": "cpu",
        "decoder_channels": 8, "precision": "fp32",
    }  # fmt: skip
    whole = tmp_path / "whole"
    assert call(monkeypatch, "pretrain", *options({**given, "out": whole})) == 0
    assert read_config(whole)["arguments"]["accumulate"] == 2
    assert history(whole)[0]["train_loss"] > 2  # cross-entropy of every part
    break_off(pretrain, 4, **given, out=tmp_path / "broken")
    pretrain(**given, out=tmp_path / "broken", resume=True)
    assert_same(load_model(tmp_path / "broken"), load_model(whole).state_dict(), atol=0, rtol=0)
    given = {
        "batch_size": 8, "accumulate": 2, "epochs": 2, "d_epochs": 1, "d_width": 4, "device": "cpu",
        "reconstruction": "l2", "precision": "fp32",
    }  # fmt: skip
    gan = gan_finetune(model=whole, **given, out=tmp_path / "gan")
    break_off(gan_finetune, 6, model=whole, **given, out=tmp_path / "broken-gan")
    gan_finetune(model=whole, **given, out=tmp_path / "broken-gan", resume=True)
    assert_same(load_model(tmp_path / "broken-gan"), load_model(gan).state_dict(), atol=0, rtol=0)


def test_an_encoder_takes_it_too(data, tmp_path):
    given = {"encoder": "resnet20", "data": data, "size": 16, "epochs": 1, "device": "cpu"}
    given["precision"] = "fp32"
    file = train_encoder(**given, batch_size=8, accumulate=2, out=tmp_path / "run")
    assert file.is_file() and history(tmp_path / "run")[0]["train_loss"] > 0
