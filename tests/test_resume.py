"""A run that is killed goes on to the same model as one that was not, wherever it lies by then."""

import itertools
import json
import os
import shutil
import signal
import socket
import time

import pytest
import torch
from fastai.callback.core import Callback
from PIL import Image
from tiny_runs import (
    TRAINING,
    call,
    make_data,
    options,
    started,
    undrawn,  # noqa: F401
)

from colourgan.errors import Busy, OtherSettings, RunError, UsageError
from colourgan.files import file_hash
from colourgan.learners import (
    gan_finetune,
    pretrain,
    read_config,
    read_training,
    train_encoder,
    training,
)
from colourgan.models import load_model

FINETUNING = {"epochs": 2, "batch_size": 8, "ema": 0.9, "d_width": 8, "device": "cpu"}
NOGAN = FINETUNING | {
    "epochs": 9,
    "d_epochs": 1,
    "patience": 2,
    "reconstruction": "l2",
    "lr": 1e-2,  # soon too much: the best epoch is not the last
}
CLASSIFYING = {"encoder": "resnet20", "size": 16, "epochs": 2, "batch_size": 8, "device": "cpu"}

# Waits at two batches, the second in epoch 2, until it is told to go on; and at last SIGKILL in the
# middle of the work: the process has no chance to tidy up.
OTHER_PROCESS = """
import itertools, os, signal, time
from pathlib import Path
from colourgan.learners.training import Progress
batches, renames = itertools.count(1), itertools.count(1)
after, rename, signs = Progress.after_batch, os.replace, Path({signs!r})
def after_batch(self):
    after(self)
    batch = next(batches) if self.training else 0
    if batch in (1, 5):
        (signs / f"at-{{batch}}").touch()
        while not (signs / f"go-{{batch}}").exists():
            time.sleep(0.02)
def replace(source, target):
    if next(renames) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
Progress.after_batch, os.replace = after_batch, replace
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory):
    data = make_data(tmp_path_factory.mktemp("data"))
    return {"encoder": "resnet20@none", "data": data, **TRAINING}


@pytest.fixture(scope="module")
def whole(pretraining, tmp_path_factory):
    """An uninterrupted pretraining."""
    return pretrain(**pretraining, out=tmp_path_factory.mktemp("whole") / "p")


@pytest.fixture(scope="module")
def nogan(whole):
    """An uninterrupted finetuning that patience ends."""
    return gan_finetune(model=whole, **NOGAN, out=whole.parent / "n")


def breaking_off(batch):
    """A callback that ends a training in its batch of that number."""
    count = itertools.count(1)

    def after_batch(self):
        if self.training and next(count) == batch:
            raise KeyboardInterrupt

    return Callback(after_batch=after_batch)


@pytest.fixture(scope="module")
def half(pretraining, whole):
    """A pretraining that was broken off in its second epoch; copy it."""
    with pytest.raises(KeyboardInterrupt):
        pretrain(**pretraining, cbs=breaking_off(5), out=whole.parent / "half")
    return whole.parent / "half"


@pytest.fixture
def broken(half, tmp_path):
    return shutil.copytree(half, tmp_path / "broken")


def model_hash(run):
    return file_hash(run / "model.safetensors")


def assert_whole_files(run):
    """Nothing half-written stands under a final name."""
    for state in run.glob("state.pt"):
        torch.load(state, weights_only=True)
    for model in run.glob("model.safetensors"):
        load_model(model)


def appears(file, process):
    end = time.monotonic() + 240
    while not file.exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)


def test_a_folder_has_one_process_and_is_free_once_that_is_killed(pretraining, whole, tmp_path):
    run, signs = tmp_path / "run", tmp_path / "signs"
    signs.mkdir()
    # Renames: 2 × config; of each epoch samples, model, history, curves, state.
    prelude = OTHER_PROCESS.format(signs=str(signs), at=12)
    with started("pretrain", *options({**pretraining, "out": run}), prelude=prelude) as other:
        try:
            for batch in (1, 5):
                appears(signs / f"at-{batch}", other)
                for resume in (False, True):
                    with pytest.raises(Busy) as busy:
                        pretrain(**pretraining, out=run, resume=resume)
                    who = f"process {other.pid} on {socket.gethostname()}"
                    assert str(busy.value) == (
                        f"{run} is being trained by {who}: wait, or choose another --out"
                    )
                (signs / f"go-{batch}").touch()
            other.communicate(timeout=240)
        finally:
            other.kill()
    assert other.returncode == -signal.SIGKILL
    assert_whole_files(run)
    with Image.open(run / "loss.png") as drawn:
        assert drawn.width > 200
    left = {file.name for file in run.rglob(".*")} - {".lock"}
    assert ".lock-holder" in left and len(left) == 2  # and what was half-written
    pretrain(**pretraining, out=run, resume=True)
    assert model_hash(run) == model_hash(whole)
    assert {file.name for file in run.rglob(".*")} <= {".lock"}


# The same renames but for that of loss.png.
@pytest.mark.parametrize("rename", [4, 10], ids=["writing-model", "writing-state"])
def test_a_pretraining_resumes_to_the_same_model(rename, pretraining, whole, tmp_path, monkeypatch):
    run, count, replace = tmp_path / "run", itertools.count(1), os.replace

    def break_off(source, target):
        if next(count) == rename:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", break_off)
        pretrain(**pretraining, out=run)
    assert_whole_files(run)
    pretrain(**pretraining, out=run, resume=True)
    assert model_hash(run) == model_hash(whole)


def history(run):
    """What a run measured, without the seconds."""
    rows = (run / "history.csv").read_text().splitlines()
    return [row.rpartition(",")[0] for row in rows]


@pytest.mark.parametrize("batch", [2, 5, 10], ids=["discriminator", "generator", "after-the-best"])
def test_a_finetuning_resumes_to_the_same(batch, whole, nogan, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        gan_finetune(model=whole, **NOGAN, cbs=breaking_off(batch), out=run)
    gan_finetune(model=whole, **NOGAN, out=run, resume=True)
    assert history(run) == history(nogan)
    assert model_hash(run) == model_hash(nogan)
    assert read_config(run)["best"] == read_config(nogan)["best"]


def test_a_run_that_patience_ended_is_not_taken_up_again(whole, nogan):
    ended, model, best = history(nogan), model_hash(nogan), read_config(nogan)["best"]
    assert len(ended) == 1 + best["epoch"] + NOGAN["patience"] < 1 + NOGAN["epochs"]
    gan_finetune(model=whole, **NOGAN, out=nogan, resume=True)
    assert (history(nogan), model_hash(nogan)) == (ended, model)
    assert read_config(nogan)["best"] == best


def test_ctrl_c_says_how_to_go_on(pretraining, whole, tmp_path, monkeypatch, capsys):
    run, count, after = tmp_path / "run", itertools.count(1), training.Progress.after_batch

    def interrupt(self):
        after(self)
        if self.training and next(count) == 4:
            signal.raise_signal(signal.SIGINT)

    # A shell's background job, as a test run may be one, ignores Ctrl-C and hands that down.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(training.Progress, "after_batch", interrupt)
            assert call(monkeypatch, "pretrain", *options({**pretraining, "out": run})) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    errors = capsys.readouterr().err
    assert "Traceback" not in errors and "--resume" in errors.splitlines()[-1]
    assert call(monkeypatch, "pretrain", "--resume", "--out", run) == 0
    assert model_hash(run) == model_hash(whole)


# Another machine


def test_with_fewer_gpus_the_random_states_of_those_are_taken(pretraining, broken, monkeypatch):
    state = torch.load(broken / "state.pt", weights_only=True)
    state["random"]["cuda"] = [torch.tensor([number]) for number in (7, 8)]
    torch.save(state, broken / "state.pt")
    seen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: seen.append((state, device))
    )
    pretrain(**pretraining, out=broken, resume=True)
    assert seen == [(torch.tensor([7]), 0)]


@pytest.mark.parametrize("cores", ["as many", "more"])
def test_threads_are_those_of_the_start_if_the_machine_is_like_that_one(
    cores, pretraining, broken, monkeypatch, caplog
):
    config = read_config(broken)
    assert config["cores"] == os.cpu_count() and config["threads"] == 1
    (broken / "config.json").write_text(json.dumps(config | {"threads": 3}))
    if cores == "more":
        monkeypatch.setattr(os, "cpu_count", lambda: config["cores"] + 1)
    chosen = []
    with monkeypatch.context() as patch:  # more threads than cores would take minutes
        patch.setattr(torch, "set_num_threads", chosen.append)
        pretrain(**pretraining, out=broken, resume=True)
    assert chosen == ([3, 1] if cores == "as many" else [1])  # the last as it was before
    assert ("another number of cores" in caplog.text) == (cores == "more")


def test_a_run_that_fails_gives_the_threads_back_too(pretraining, broken):
    (broken / "state.pt").write_bytes((broken / "state.pt").read_bytes()[:5000])
    config = read_config(broken)
    (broken / "config.json").write_text(json.dumps(config | {"threads": 3}))
    with pytest.raises(RunError, match=r"state\.pt is damaged"):
        pretrain(**pretraining, out=broken, resume=True)
    assert torch.get_num_threads() == 1


# Runs of the version before this one


OLD_NAMES = {
    "pretrain": {},
    "gan-finetune": {"d_norm": "norm", "reconstruction_weight": "l1_weight"},
    "train-encoder": {"encoder": "arch"},
}
NOT_YET = {"pretrain": {"lr_floor"}}


def make_old(run):
    """Writes config.json as colourgan 0.1 did."""
    config = read_config(run)
    command, contents, arguments = (config[k] for k in ("command", "contents", "arguments"))
    names, new = OLD_NAMES[command], NOT_YET.get(command, set())
    old = {names.get(k, k): v for k, v in arguments.items() if k not in new}
    if command == "gan-finetune" and old["reconstruction"] == "l1":
        old["reconstruction"] = None
    parent = {"model": old["model"], "sha256": contents["model"]} if "model" in old else None
    config |= {"arguments": old, "parent": parent, "versions": {"colourgan": "0.1.0"}}
    for name in ("schema", "contents", "cores"):
        del config[name]
    (run / "config.json").write_text(json.dumps(config))
    return config


@pytest.mark.parametrize("command", OLD_NAMES)
def test_a_run_of_the_version_before_goes_on(command, pretraining, whole, tmp_path, monkeypatch):
    functions = {
        "pretrain": (pretrain, pretraining, "model"),
        "gan-finetune": (gan_finetune, FINETUNING | {"model": whole}, "model"),
        "train-encoder": (train_encoder, CLASSIFYING | {"data": pretraining["data"]}, "encoder"),
    }
    function, settings, made = functions[command]
    run, other = tmp_path / "run", whole if command == "pretrain" else tmp_path / "whole"
    with pytest.raises(KeyboardInterrupt):
        function(**settings, cbs=breaking_off(5), out=run)
    asked = read_training(run)
    config = make_old(run)
    assert read_training(run) == asked
    assert call(monkeypatch, command, "--resume", "--out", run) == 0
    if command != "pretrain":
        function(**settings, out=other)
    assert file_hash(run / f"{made}.safetensors") == file_hash(other / f"{made}.safetensors")
    if command == "gan-finetune":
        other = config | {"parent": {"sha256": "0" * 64}}
        (run / "config.json").write_text(json.dumps(other))
        with pytest.raises(OtherSettings, match="was started with: see --model"):
            gan_finetune(**settings, out=run, resume=True)
        config["arguments"]["schedule"] = "one-cycle"  # its rates moved beta1 then
        (run / "config.json").write_text(json.dumps(config))
        with pytest.raises(OtherSettings, match=r"by colourgan 0\.1\.0 and needs that version"):
            gan_finetune(**settings, schedule="one-cycle", out=run, resume=True)


# What is there already


def test_resuming_a_finished_run_changes_nothing(pretraining, whole):
    before = model_hash(whole)
    pretrain(**pretraining, out=whole, resume=True)
    assert model_hash(whole) == before


def test_another_seed_gives_another_model(pretraining, whole, tmp_path):
    assert model_hash(pretrain(**pretraining, seed=1, out=tmp_path / "run")) != model_hash(whole)


def test_a_resumed_run_keeps_its_settings_and_its_data(pretraining, whole, tmp_path):
    with pytest.raises(OtherSettings, match=r"--lr 0\.001: a resumed run keeps it"):
        pretrain(**pretraining, lr=1.0, out=whole, resume=True)
    with pytest.raises(OtherSettings, match="pretrain run"):
        gan_finetune(model=whole, **FINETUNING, out=whole, resume=True)
    moved = shutil.copytree(pretraining["data"], tmp_path / "moved")
    pretrain(**pretraining | {"data": f"{moved}/"}, out=whole, resume=True)
    shutil.copy(moved / "train/a/0.png", moved / "train/a/more.png")
    with pytest.raises(OtherSettings, match=r"moved is not what .*: see --data"):
        pretrain(**pretraining | {"data": moved}, out=whole, resume=True)


def test_what_is_there_is_not_overwritten(pretraining, whole, tmp_path):
    with pytest.raises(UsageError, match="--resume"):
        pretrain(**pretraining, out=whole)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("do not lose me")
    with pytest.raises(UsageError, match="exists already"):
        pretrain(**pretraining, out=tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "do not lose me"


def test_nan_ends_the_run_and_keeps_the_last_good_model(pretraining, tmp_path, monkeypatch):
    run = tmp_path / "run"
    l1 = torch.nn.L1Loss.forward

    def broken(self, pred, target):
        good = l1(self, pred, target)
        return good if not (run / "state.pt").exists() else good * float("nan")

    monkeypatch.setattr(torch.nn.L1Loss, "forward", broken)
    with pytest.raises(RunError, match=r"loss is nan in epoch 2, .*last good model is kept"):
        pretrain(**pretraining, out=run)
    assert_whole_files(run)
    assert (run / "history.csv").read_text().count("\n") == 2
