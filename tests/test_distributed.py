"""Two processes train what one does; they share the data, agree, resume, and end together."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
import torch
from fastai.callback.core import Callback
from timm.layers import BatchNormAct2d
from tiny_ranks import Ranks, command, free_port, together
from tiny_runs import (
    make_data,
    options,
    undrawn,  # noqa: F401
)
from tiny_streams import write_shards
from torch import nn

from colourgan import processes
from colourgan.callbacks.distributed import networks, synchronize_batch_norm
from colourgan.datasets import color_dataloaders
from colourgan.errors import Diverged, UsageError
from colourgan.files import file_hash
from colourgan.learners import TRAIN, read_config, read_history, train_generator
from colourgan.models import load_model

SHARED = {"size": 16, "batch_size": 8, "device": "cpu", "precision": "fp32"}
# Nothing that differs between a batch and its parts: no statistics of a batch, nothing random.
EXACT = SHARED | {
    "epochs": 2, "norm": "none", "d_norm": "none", "dropout": 0.0, "augmentation": "none",
    "width": 4, "d_width": 4, "ema": 0.9,
}  # fmt: skip
PARTS = {"batch_size": 4, "accumulate": 2}  # the same steps
PRETRAINING = SHARED | {
    "encoder": "resnet20@none", "epochs": 1, "frozen_epochs": 1, "ema": 0.9, "decoder_channels": 8,
}  # fmt: skip
FINETUNING = {
    "batch_size": 8, "device": "cpu", "epochs": 2, "d_epochs": 1, "objective": "wgan_gp",
    "d_norm": "instance", "d_width": 4, "patience": 1, "reconstruction": "feature",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    # 28 to train on, 5 to validate on: those two processes share by 2 and 3.
    folder = make_data(tmp_path_factory.mktemp("data"), train=33)
    (folder / "valid").mkdir()
    for file in sorted((folder / "train").rglob("*.png"))[:5]:
        file.rename(folder / "valid" / file.name)
    return folder


# What the processes do


class Seen(Callback):
    """Notes the images of every training batch, and whether anything is written."""

    order = 200

    def __init__(self):
        self.images, self.weights = [], {}

    def before_batch(self):
        if self.training:
            self.images.append([digest(image) for image in self.xb[0]])

    def after_epoch(self):
        self.weights = [
            digest(*(value for value in network.state_dict().values()))
            for network in networks(self.learn)
        ]
        self.weights.append(digest(*self.learn.ema.average.values()))


def digest(*tensors):
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def trained(kind, given):
    """The files that this process wrote, and what Seen saw."""
    written, replace, seen = [], os.replace, Seen()
    os.replace = lambda source, target: (written.append(Path(target).name), replace(source, target))
    TRAIN[kind](**given, cbs=seen)
    os.replace = replace
    return written, seen.images, seen.weights


def pretrained_and_finetuned(data, folder):
    first = trained("pretrain", PRETRAINING | {"data": data, "out": folder / "pretrained"})
    given = FINETUNING | {"model": folder / "pretrained", "out": folder / "finetuned"}
    return first, trained("gan-finetune", given)


class BreakOff(Callback):
    def after_batch(self):
        if self.training and self.learn.epochs_before == 1:
            raise KeyboardInterrupt


def broken_off_and_resumed(given, folder):
    TRAIN["train-generator"](**given, out=folder / "whole")
    with pytest.raises(KeyboardInterrupt):
        TRAIN["train-generator"](**given, out=folder / "broken", cbs=BreakOff())
    if processes.rank() == 0:
        shutil.copytree(folder / "broken", folder / "for-one")
    TRAIN["train-generator"](**given, out=folder / "broken", resume=True)


def resumed(given, folder):
    TRAIN["train-generator"](**given, out=folder, resume=True)
    return processes.world()


class NaNInTheSecond(Callback):
    order = 1

    def after_loss(self):
        if processes.rank() == 1:
            self.learn.loss = self.loss * float("nan")


def diverging(given):
    try:
        TRAIN["train-generator"](**given, cbs=NaNInTheSecond())
    except Diverged as error:
        return str(error)


def averages():
    with processes.joined("cpu"):
        rank = processes.rank()
        values = torch.full((2, 3), float(rank)), torch.tensor([1.0, 3.0]) * rank
        processes.average(values)
        turns = Path("turns")
        with processes.in_turn():
            turns.write_text(turns.read_text() + str(rank) if turns.exists() else str(rank))
        told = []
        try:
            with processes.in_turn():
                if rank == 0:
                    raise UsageError("not there")
                told.append("no error")
        except UsageError as error:
            told += [str(error), hasattr(error, "told")]
        return [v.tolist() for v in values], processes.total([rank, 2.0]), told


# What comes of it


@pytest.fixture(scope="module")
def exact(data, tmp_path_factory):
    """One training by one process and by two: their folders, and what each process saw."""
    folder = tmp_path_factory.mktemp("exact")
    given = EXACT | {"data": data}
    one = together(1, folder / "log-1", trained, "train-generator", given | {"out": folder / "1"})
    two = together(2, folder / "log-2", trained, "train-generator", given | {"out": folder / "2"})
    return folder, one, two


def test_two_processes_train_as_one(exact):
    folder, _, _ = exact
    one, two = (read_history(folder / name) for name in "12")
    for before, after in zip(one, two, strict=True):
        for column in ("train_loss", "valid_loss", "d_loss", "g_loss"):
            assert after[column] == pytest.approx(before[column], rel=1e-4), column
    one, two = (load_model(folder / name).state_dict() for name in "12")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
    assert [read_config(folder / name)["processes"] for name in "12"] == [1, 2]


def test_each_process_has_its_part_of_every_batch(exact):
    _, ((_, alone, _),), ((_, first, _), (_, second, _)) = exact
    for whole, *parts in zip(alone, first, second, strict=True):
        assert len(parts[0]) == len(parts[1]) and parts[0] + parts[1] == whole
    epoch = list(chain(*first[:4], *second[:4]))
    assert len(first) == 8 and len(epoch) == len(set(epoch)) == 28


@pytest.mark.parametrize(
    ("limit", "batches"),
    [(28, [4, 4, 4, 2]), (27, [4, 4, 4]), (26, [4, 4, 4]), (25, [4, 4, 4]), (5, [2])],
)
def test_training_batches_have_equal_parts(limit, batches, data):
    dls = color_dataloaders(data, 16, 8, limit, "none")
    for part in (0, 1):
        dls.train.part = dls.valid.part = part, 2
        assert [len(L) for L, _ in dls.train] == batches and len(dls.train) == len(batches)
        assert [len(L) for L, _ in dls.valid] == [2 + part]


def test_the_first_process_alone_writes(exact):
    _, _, ((first, _, _), (second, _, _)) = exact
    assert {"config.json", "history.csv", "model.safetensors", "state.pt"} <= set(first)
    assert not second


def test_networks_are_the_same_in_all_processes(data, exact, tmp_path):
    _, _, (first, second) = exact
    assert len(first[2]) == 3 and first[2] == second[2]
    # With batch norm, augmentation, a penalty, an average, early stopping; twice in one process.
    first, second = together(2, tmp_path / "log", pretrained_and_finetuned, data, tmp_path)
    for run in (0, 1):
        assert first[run][2] == second[run][2]
        assert len(first[run][2]) == 2 + run
        assert not second[run][0]
    assert read_config(tmp_path / "finetuned")["best"]["epoch"] > 1
    history = read_history(tmp_path / "finetuned")
    assert all(row["d_penalty"] > 0 and row["feature_loss"] > 0 for row in history[1:])


def test_each_process_augments_by_draws_of_its_own_and_statistics_are_those_of_all(tmp_path):
    pictures = make_data(tmp_path / "same", train=1, test=1)
    file = next((pictures / "train").rglob("*.png"))
    for number in range(20):
        shutil.copy(file, file.with_name(f"copy-{number}.png"))
    given = EXACT | {"data": pictures, "augmentation": "crop", "out": tmp_path / "run"}
    given |= {"norm": "batch", "d_norm": "batch", "size": 32}  # where the latter has one
    first, second = together(2, tmp_path, trained, "train-generator", given)
    assert set(first[1][0]) != set(second[1][0])
    assert first[2] == second[2]  # with the statistics of all


def test_each_process_accumulates_its_gradients(exact, data, tmp_path):
    given = EXACT | PARTS | {"data": data, "out": tmp_path / "run"}
    together(2, tmp_path / "log", trained, "train-generator", given)
    one, two = (load_model(run).state_dict() for run in (exact[0] / "1", tmp_path / "run"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


def test_numbers_that_a_training_finds_are_of_one_process(data, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "launched", lambda: 2)
    for given in ({"batch_size": "auto"}, {"batch_size": 8, "lr": "auto"}):
        with pytest.raises(UsageError, match="--lr auto are for one process, not for 2"):
            TRAIN["pretrain"](data=data, **given, out=tmp_path / "run")


def test_a_stream_is_shared_too(tmp_path):
    data = write_shards(tmp_path / "shards", range(30))
    given = EXACT | {"data": data, "epochs": 1, "limit": 20} | PARTS
    one = together(1, tmp_path, trained, "train-generator", given | {"out": tmp_path / "1"})
    two = together(2, tmp_path, trained, "train-generator", given | {"out": tmp_path / "2"})
    (alone,), (first, second) = ([images for _, images, _ in each] for each in (one, two))
    assert [len(batch) for batch in first] == [len(batch) for batch in second] == [4, 4, 2]
    seen = zip(chain(*first), chain(*second), strict=True)
    assert list(chain(*seen)) == list(chain(*alone))
    before, after = (read_history(tmp_path / name)[0] for name in "12")
    assert after["train_loss"] == pytest.approx(before["train_loss"], rel=1e-4)


def test_a_run_resumes_to_the_same_and_with_another_number_of_processes(data, tmp_path, caplog):
    given = EXACT | {"data": data, "augmentation": "flip+crop", "dropout": 0.5, "norm": "batch"}
    together(2, tmp_path / "log", broken_off_and_resumed, given, tmp_path)
    whole, again = (file_hash(tmp_path / n / "model.safetensors") for n in ("whole", "broken"))
    assert whole == again
    shutil.copytree(tmp_path / "for-one", tmp_path / "kept")
    resumed(given, tmp_path / "for-one")
    assert "by 2 process(es) until here and goes on with 1" in caplog.text
    assert len(read_history(tmp_path / "for-one")) == 2
    with pytest.raises(KeyboardInterrupt):
        train_generator(**given, out=tmp_path / "for-two", cbs=BreakOff())
    assert together(2, tmp_path / "log", resumed, given, tmp_path / "for-two") == [2, 2]
    assert len(read_history(tmp_path / "for-two")) == 2


def test_nan_in_one_process_ends_all_in_the_same_batch(data, tmp_path):
    given = EXACT | {"data": data, "out": tmp_path / "run"}
    first, second = together(2, tmp_path, diverging, given)
    assert first == second and "the loss is nan in epoch 1, batch 0" in first


def test_processes_average_take_turns_and_share_errors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for rank, (values, sums, told) in enumerate(together(2, tmp_path, averages)):
        assert values == [[[0.5] * 3] * 2, [0.5, 1.5]] and sums == [1, 4]
        assert told == ["not there", rank > 0]
    assert (tmp_path / "turns").read_text() == "01"


# A process that ends


def impatient(*arguments):
    processes.BEAT, processes.SILENCE = 0.2, 5.0
    command(*arguments)


def killing(data, folder, number, how, call=command):
    """The first epochs, then a process gets a signal; the other one's seconds, code and words."""
    given = EXACT | {"data": data, "out": folder / "run", "epochs": 2000}
    ranks = Ranks(2, folder / "log", call, "train-generator", *options(given))
    try:
        deadline = time.monotonic() + 60
        while not (folder / "run" / "state.pt").exists():
            assert time.monotonic() < deadline, ranks.said()
            time.sleep(0.05)
        start = time.monotonic()
        os.kill(ranks.processes[number].pid, how)
        other = ranks.processes[1 - number]
        other.join(60)
        lines = ranks.said()[1 - number].splitlines()
        return time.monotonic() - start, other.exitcode, [li for li in lines if "colourgan:" in li]
    finally:
        ranks.kill()


@pytest.mark.parametrize("number", [0, 1], ids=["first", "second"])
def test_where_one_process_is_killed_the_other_ends(number, data, tmp_path):
    seconds, code, said = killing(data, tmp_path, number, signal.SIGKILL)
    assert seconds < 60 and code == 1
    (line,) = said
    assert "another of the 2 processes has ended" in line and "--resume" in line
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["epoch"] >= 1 and len(state["others"]) == 1


def test_where_one_process_hangs_the_other_ends(data, tmp_path):
    seconds, code, said = killing(data, tmp_path, 1, signal.SIGSTOP, impatient)
    assert seconds < 60 and code == 1 and len(said) == 1 and "does not answer" in said[0]


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train-generator", "--batch-size", "9"], "does not divide evenly: choose 8 or 10"),
        (["train-cyclegan", "--batch-size", "8"], "train-cyclegan trains in one process, not in 2"),
        (["study", "some"], "study runs in one process: accelerate launch and torchrun"),
        (["colorize", "some.jpg"], "colorize runs in one process"),
        (["train-generator", "--device", "cuda:0"], "each process takes a GPU of its own"),
        (["train-generator", "--data", "sample", "--size", "16", "--device", "cpu", "--out", "."],
         "exists already"),
    ],
    ids=["batch", "cyclegan", "study", "colorize", "device", "folder"],
)  # fmt: skip
def test_what_several_processes_cannot_do_is_said_once(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ranks = Ranks(2, tmp_path / "log", command, *arguments)
    ranks.join()
    assert [process.exitcode for process in ranks.processes] == [2, 2]
    (line,) = [line for text in ranks.said() for line in text.splitlines() if "colourgan:" in line]
    assert said in line


def test_a_launcher_that_started_one_process_is_noticed(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(UsageError, match="accelerate launch started one process"):
        train_generator(**EXACT, data=data, out=tmp_path / "run")


# Launched as a user does it


def test_accelerate_launches_it(data, tmp_path):
    given = options(EXACT | {"data": data, "out": tmp_path / "run", "epochs": 1})
    flags = ["--multi_gpu", "--num_processes", "2", "--main_process_port", str(free_port())]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *flags, "-m", "colourgan"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, "train-generator", *given], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert read_config(tmp_path / "run")["processes"] == 2
    assert done.stderr.count("epoch 1/1:") == done.stderr.count("\nrun: ") == 1


def test_synchronized_batch_norm_keeps_hooks_and_activations():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), BatchNormAct2d(4)).eval()
    L, seen = torch.randn(2, 1, 8, 8), []
    network[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    before, names = network(L), list(network.state_dict())
    synchronize_batch_norm(network)
    assert torch.equal(network(L), before) and len(seen) == 2 and before.min() == 0
    assert list(network.state_dict()) == names
    assert all(isinstance(module, nn.SyncBatchNorm) for module in network[1:])
