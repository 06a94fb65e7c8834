"""What depends on the device, on each that is there: trainings, evaluation, pictures, batches."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from PIL import Image
from tiny_runs import (
    make_data,
    undrawn,  # noqa: F401
)
from tiny_training import Generator

from colourgan.callbacks import EMA, BestEpoch, FeatureLoss, ImagePool, epoch_of
from colourgan.colorize import Colorizer
from colourgan.datasets import color_dataloaders, unpaired_dataloaders
from colourgan.evaluate import evaluate
from colourgan.learners import (
    gan_finetune,
    memory,
    pretrain,
    rates,
    read_config,
    train_cyclegan,
    train_encoder,
    train_generator,
)
from colourgan.models import load_model
from colourgan.plans import Study
from colourgan.study import study
from colourgan.trainings import Pretrain

SHARED = {"batch_size": 8, "precision": "fp32"}
PLAIN = {"generator": "nazeri_unet", "width": 4, "size": 16, "epochs": 2}
PRETRAIN = SHARED | {
    "encoder": "resnet20@none", "size": 16, "epochs": 2, "frozen_epochs": 0, "decoder_channels": 8,
    "ema": 0.9,
}  # fmt: skip
FINETUNE = SHARED | {
    "epochs": 2, "d_epochs": 1, "d_width": 4, "patience": 2, "d_noise_l": 0.1, "ema": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data"), train=20))


@pytest.fixture(scope="module")
def runs(device, data, tmp_path_factory):
    """A run on classes of color with accumulated gradients, and a GAN that finetunes it."""
    folder = tmp_path_factory.mktemp(device)
    given = PRETRAIN | {
        "reconstruction": "bins",
        "accumulate": 2,
        "augmentation": "flip+zoom+aging",
    }
    pretrain(**given, data=data, device=device, out=folder / "p")
    gan_finetune(model=folder / "p", **FINETUNE, device=device, out=folder / "gan")
    return folder


def states(run):
    """What a run computed: the model and the losses."""
    with (run / "history.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    numbers = [[float(value or "nan") for value in row.values()] for row in rows]
    return load_model(run).state_dict(), torch.tensor(numbers)


def breaking_off(epoch):
    def stop(self):
        if self.training and epoch_of(self.learn) == epoch:
            raise KeyboardInterrupt

    return Callback(before_batch=stop)


@pytest.mark.parametrize("kind", ["p", "gan"])
def test_a_training_resumes_to_the_same_numbers(kind, runs, device, data, tmp_path):
    run, given = tmp_path / "run", {"device": device, "out": tmp_path / "run"}
    if kind == "p":
        train = pretrain
        given |= PRETRAIN | {"data": data, "reconstruction": "bins", "accumulate": 2}
        given["augmentation"] = "flip+zoom+aging"
    else:
        train, given = gan_finetune, given | FINETUNE | {"model": runs / "p"}
    with pytest.raises(KeyboardInterrupt):
        train(**given, cbs=breaking_off(2))
    train(**given, resume=True)
    # Some of a GPU's sums have no fixed order.
    close = {"rtol": 0, "atol": 0} if device == "cpu" else {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(states(run), states(runs / kind), equal_nan=True, **close)
    assert read_config(run)["found"]["device"].startswith(device)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_both_networks(precision, device, data, tmp_path):
    if precision == "fp16" and device != "cuda":
        pytest.skip("fp16 needs a CUDA GPU")
    given = PLAIN | {"epochs": 1, "d_width": 4, "batch_size": 4, "accumulate": 2, "d_norm": "none"}
    run = train_generator(
        **given, data=data, precision=precision, device=device, out=tmp_path / "r"
    )
    (row,) = states(run)[1]
    assert row.isfinite().all() and read_config(run)["found"]["precision"] == precision


def test_the_other_trainings(device, data, tmp_path):
    train_encoder(
        encoder="resnet20", data=data, size=16, epochs=1, device=device, batch_size=8,
        out=tmp_path / "e",
    )  # fmt: skip
    given = PLAIN | SHARED | {"epochs": 1, "width": 4, "d_width": 4, "pool_size": 4}
    cycle = train_cyclegan(**given, data=data, device=device, out=tmp_path / "c")
    assert states(cycle)[1].isfinite().all()


def test_batch_size_and_rate_are_found(device, data, tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "STEPS", 4)
    monkeypatch.setattr(rates, "suggestion", lambda tried, losses: tried[len(losses) // 2])
    given = PRETRAIN | {"batch_size": "auto", "lr": "auto", "epochs": 1}
    run = pretrain(**given, data=data, device=device, out=tmp_path / "run")
    chosen = read_config(run)["chosen"]
    assert chosen["batch_size"] in memory.SIZES and 0 < chosen["lr"] <= rates.MOST


def test_evaluation_and_colorizing(runs, device, data, tmp_path):
    models = {"p": load_model(runs / "p"), "gan": load_model(runs / "gan")}
    found = evaluate(models, data, device=device, distances=(), progress=False, working_size=24)
    assert [row["name"] for row in found.rows[:3]] == ["grey", "p", "gan"]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    here, on_cpu = (
        np.asarray(Colorizer(runs / "p", device=each)(picture), float) for each in (device, "cpu")
    )
    assert np.abs(here - on_cpu).mean() < 1


def test_a_study_cell(device, data, tmp_path):
    base = Pretrain(frozen_epochs=0, epochs=1, batch_size=8)
    toy = Study(
        name="toy", encoders=("resnet20@none",), sizes=(16,), seeds=1, methods=("l1",),
        decoders=("8",), data=(data,), base=base, device=device, out=tmp_path / "study",
    )  # fmt: skip
    assert study(replace(toy)).is_file()


def test_batches_are_on_the_device(device, data):
    dls = color_dataloaders(data, 16, 8, augmentation="flip+crop+zoom+aging", device=device)
    pair, colors = unpaired_dataloaders(data, 16, 4, device=device)
    for loader in (dls.train, dls.valid, pair.train, pair.valid, colors):
        assert {part.device.type for part in loader.one_batch()} == {device}
    best = BestEpoch(Generator().to(device), dls, patience=1)
    assert best.L.device.type == "cpu"


def test_what_a_state_brings_from_the_cpu_is_used_on_the_device(device, data):
    pool = ImagePool(1)
    pool.load_state_dict({"images": [(torch.zeros(1, 2, 2),)], "random": pool.random.get_state()})
    for _ in range(8):
        (shown,) = pool.exchange(torch.ones(2, 1, 2, 2, device=device))
        assert shown.device.type == device
    ema = EMA(0.5)
    ema.load_state_dict({"average": Generator().state_dict(), "updates": 3})
    ema.learn = type("Learner", (), {"model": Generator().to(device)})()
    ema.start_fit()
    assert {tensor.device.type for tensor in ema.average.values()} == {device}
    loss = FeatureLoss(encoder="resnet20@packaged")
    loss.stages.to(device)
    assert loss.features(torch.rand(1, 3, 32, 32, device=device))[0].device.type == device
