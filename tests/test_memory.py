"""Batch size and learning rate that a training finds itself, and memory that is too small."""

import logging
import shutil
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from tiny_runs import (
    call,
    make_data,
    options,
    undrawn,  # noqa: F401
)
from tiny_training import make_adversarial, make_learner, weights

from colourgan.callbacks import EMA, Accumulation, Precision
from colourgan.devices import free_memory
from colourgan.errors import OutOfMemory, RunError, UsageError, is_out_of_memory
from colourgan.files import file_hash
from colourgan.generators.dynamic_unet import ColorUnet
from colourgan.learners import gan_finetune, memory, pretrain, rates, read_config, train_generator
from colourgan.learners.memory import largest_batch
from colourgan.learners.runs import random_state
from colourgan.learners.training import ReturnMemory
from colourgan.learners.trial import fit_on, without_trace

GIVEN = {
    "encoder": "resnet20@none", "size": 16, "epochs": 1, "frozen_epochs": 1, "decoder_channels": 8,
    "device": "cpu", "precision": "fp32",
}  # fmt: skip
GPU_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU_FULL = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …")
FULL = {"gpu": GPU_FULL, "cpu": CPU_FULL, "python": MemoryError()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data"), train=160))  # 144 to train


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    return pretrain(**GIVEN, data=data, batch_size=16, out=tmp_path_factory.mktemp("runs") / "p")


def model_hash(run):
    return file_hash(run / "model.safetensors")


def test_training_gives_freed_memory_back_to_the_system(data, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(ReturnMemory, "trim", given.append)
    monkeypatch.setattr(ReturnMemory, "EVERY", 4)
    pretrain(**GIVEN, data=data, batch_size=16, out=tmp_path / "p")
    assert given == [0] * 6  # in 2 epochs of 9 batches, at the 1st, 5th and 9th


# Leaving no trace


def test_a_trial_leaves_no_trace(tmp_path):
    adversarial, ema = make_adversarial(), EMA()
    learn = make_learner(tmp_path, [adversarial, ema, Precision("fp32"), Accumulation(1)])
    learn.model.layers[0].weight.requires_grad_(False)
    learn.dls.train.shuffle = True
    batches, order = list(learn.dls.train), learn.dls.train.rng.getstate()
    before = [weights(learn.model), weights(adversarial.discriminator), random_state()]
    with pytest.raises(KeyboardInterrupt), without_trace(learn):
        fit_on(learn, batches)
        list(learn.dls.train)
        assert ema.updates == len(batches) and adversarial.steps == len(batches)
        assert any((w != before[0][k]).any() for k, w in learn.model.state_dict().items())
        raise KeyboardInterrupt
    after = [weights(learn.model), weights(adversarial.discriminator), random_state()]
    torch.testing.assert_close(after[:2], before[:2], rtol=0, atol=0)
    assert after[2]["python"] == before[2]["python"]
    assert torch.equal(after[2]["torch"], before[2]["torch"])
    assert learn.dls.train.rng.getstate() == order and learn.opt is None
    assert (ema.updates, adversarial.steps, len(adversarial.optimizer.state)) == (0, 0, 0)
    assert not learn.model.layers[0].weight.requires_grad and not adversarial.fitting
    assert all(p.grad is None for p in adversarial.discriminator.parameters())


# The batch size


def test_auto_is_what_fits_and_gives_the_numbers_of_that_size(data, tmp_path, monkeypatch, caplog):
    given = {**GIVEN, "data": data, "frozen_epochs": 0, "accumulate": 2}
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_most_bytes", lambda train, size: (size * 10**6, 0))
        patch.setattr(memory, "free_memory", lambda: 23 * 10**6)
        caplog.set_level(logging.INFO)
        found = pretrain(**given, batch_size="auto", out=tmp_path / "auto")
    assert read_config(found)["chosen"] == {"batch_size": 8}
    assert read_config(found)["arguments"]["batch_size"] == "auto"
    (said,) = (message for message in caplog.messages if "fits the memory" in message)
    assert said.startswith(f"{found}: batch size 8 fits the memory (about 0.008 of 0.0 GB that are")
    same = pretrain(**given, batch_size=8, out=tmp_path / "8")
    assert model_hash(found) == model_hash(same)


def test_a_resumed_run_keeps_the_size_that_was_found(data, tmp_path, monkeypatch):
    run, given = tmp_path / "run", options(GIVEN | {"data": data, "batch_size": "auto"})
    count = iter(range(100))

    def stop(self, path):
        if next(count):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(memory, "largest_batch", lambda *_: (16, "so it is said"))
        patch.setattr(memory.Run, "save_state", stop)
        assert call(monkeypatch, "pretrain", *given, "--out", run) == 130
    monkeypatch.setattr(memory, "largest_batch", None)
    assert call(monkeypatch, "pretrain", "--resume", "--out", run) == 0
    assert read_config(run)["chosen"] == {"batch_size": 16}


def test_a_gan_is_tried_whole(model, data, tmp_path, monkeypatch):
    seen = []
    grown = memory.fit_on

    def note(learn, batches, cbs):
        steps = learn.adversarial.steps
        grown(learn, batches, cbs)
        seen.append((len(batches), len(batches[0][0]), learn.adversarial.steps - steps))

    monkeypatch.setattr(memory, "fit_on", note)
    run = gan_finetune(
        model=model, data=data, batch_size="auto", epochs=1, d_epochs=1, d_steps=3, d_width=4,
        patience=1, device="cpu", precision="fp32", out=tmp_path / "run",
    )  # fmt: skip
    assert seen == [(3, 4, 3), (3, 4, 3), (3, 12, 3)]  # the generator steps in the last of three
    assert read_config(run)["chosen"]["batch_size"] == 16  # at least 8 steps an epoch


def test_what_is_measured_grows_with_the_batch(tmp_path):
    learn = make_learner(tmp_path, [make_adversarial()])
    batch, found = learn.dls.train.one_batch(), []
    for times in (2, 4, 8):
        larger = tuple(part.repeat(times, 1, 1, 1) for part in batch)
        train = lambda _, *cbs, b=larger: fit_on(learn, [b], cbs)  # noqa: E731
        found.append(memory._most_bytes(train, times))
    passes = [each[0] for each in found]
    assert passes[2] - passes[1] == pytest.approx(2 * (passes[1] - passes[0]), rel=0.05)
    pixels = 4 * 16 * 16 * 4 * 2  # bytes of one activation of the generator, of two images
    assert passes[2] - passes[1] > 4 * pixels
    assert [again for again, _ in found] == passes  # the same each time


def on_gpu(monkeypatch, limit, free=10):
    """A GPU whose memory is full above so many images; free: percent that are left by a step."""
    gpu = SimpleNamespace(
        is_available=lambda: False, memory_reserved=lambda device: 100 - free,
        mem_get_info=lambda device: (free, 100),
    )  # fmt: skip
    monkeypatch.setattr(memory, "torch", SimpleNamespace(cuda=gpu, device=torch.device))
    tried = []

    def train(size, *cbs):
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return train, tried


def test_on_a_gpu_sizes_are_tried_until_one_does_not_fit(tmp_path, monkeypatch):
    learn = make_learner(tmp_path)
    train, tried = on_gpu(monkeypatch, limit=40)
    fits, said = memory._tried(learn, train, torch.device("cuda"))
    assert [fits(size) for size in (32, 48)] == [True, False] and tried == [32, 48]
    assert said() == "0.0 of 0.0 GB"
    train, _ = on_gpu(monkeypatch, limit=40, free=9)
    assert not memory._tried(learn, train, torch.device("cuda"))[0](8)  # too little is left

    def broken(size):
        raise RuntimeError("another error")

    with pytest.raises(RuntimeError, match="another"):
        memory._tried(learn, broken, torch.device("cuda"))[0](8)


def test_a_model_too_large_for_one_image_is_refused(tmp_path, monkeypatch):
    learn = make_learner(tmp_path)
    monkeypatch.setattr(memory, "free_memory", lambda: 10)
    with pytest.raises(OutOfMemory, match="with a single image: try a smaller --size or model"):
        largest_batch(learn)


def test_numbers_are_needed_where_auto_cannot_be_found(monkeypatch, capsys):
    for command, option, why in (
        ("train-cyclegan", "--batch-size", "CycleGAN trains on single images; give a number"),
        ("gan-finetune", "--lr", "--lr auto is for pretrain: a range test needs one loss"),
        ("train-generator", "--lr", "--lr auto is for pretrain"),
        ("pretrain", "--accumulate", "--accumulate"),
    ):
        assert call(monkeypatch, command, option, "auto") == 2
        assert why in capsys.readouterr().err
    study = "study", "s", "--batch-size", "auto", "--steps", 9, "--limits", 8
    assert call(monkeypatch, *study) == 2
    assert "--steps needs a batch size: give a number" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--batch-size must be 1 or more, not 0"):
        train_generator(batch_size="0")


# The free memory


def test_free_memory_is_that_of_the_machine_or_of_its_container(tmp_path):
    group = tmp_path / "sys/fs/cgroup/a"
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8 kB\n")
    assert free_memory(tmp_path) == 8192
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    (group / "b").mkdir(parents=True)
    (group / "b/memory.max").write_text("max\n")
    (group / "memory.max").write_text("7000\n")
    (group / "memory.current").write_text("3000\n")
    (group / "memory.stat").write_text("file 9\ninactive_file 500\n")
    assert free_memory(tmp_path) == 4500
    shutil.rmtree(group)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/c\n0::/\n")
    (group.parent / "memory/c").mkdir(parents=True)
    (group.parent / "memory/c/memory.limit_in_bytes").write_text("6000\n")
    (group.parent / "memory/c/memory.usage_in_bytes").write_text("1000\n")
    assert free_memory(tmp_path) == 5000
    assert free_memory(tmp_path / "nothing") > 0


# The learning rate


def test_a_rate_is_found_recorded_and_drawn_and_nothing_else_changes(
    data, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(rates, "STEPS", 30)
    given = {**GIVEN, "epochs": 0, "data": data, "limit": 64, "batch_size": 16, "ema": 0.9}
    found = pretrain(**given, lr="auto", out=tmp_path / "auto")
    rate = read_config(found)["chosen"]["lr"]
    assert rates.LOWEST < rate <= rates.MOST
    assert read_config(found)["arguments"]["lr"] == "auto"
    assert f"learning rate {rate:g} (" in caplog.text
    with Image.open(found / "lr_find.png") as drawn:
        assert drawn.width > 200
    same = pretrain(**given, lr=rate, out=tmp_path / "number")
    assert model_hash(found) == model_hash(same)
    monkeypatch.setattr(rates, "range_test", None)
    pretrain(**given, lr="auto", out=found, resume=True)


def test_a_high_rate_is_not_taken(tmp_path, monkeypatch, caplog, undrawn):  # noqa: F811
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(rates, "range_test", lambda *_: ([], []))
    monkeypatch.setattr(rates, "suggestion", lambda *_: 0.0321)
    monkeypatch.setattr(rates.plots, "range_test", lambda *_: None)
    run = SimpleNamespace(config={}, path=tmp_path, write_config=lambda: None)
    assert rates.settle_rate(None, run, 0.1, True) == 1e-3 == run.config["chosen"]["lr"]
    assert "suggests 0.032, which can kill the last decoder block" in caplog.text


def test_the_rate_rises_until_the_loss_diverges(tmp_path):
    torch.manual_seed(0)
    learn = make_learner(tmp_path)
    before = weights(learn.model)
    tried, losses = rates.range_test(learn, 1.0, False)
    assert tried[0] == pytest.approx(rates.LOWEST) and len(tried) == len(losses)
    ratios = {round(b / a, 6) for a, b in pairwise(tried)}
    assert len(ratios) == 1 and len(tried) <= rates.STEPS
    torch.testing.assert_close(weights(learn.model), before, rtol=0, atol=0)


@pytest.mark.parametrize("losses", [[1.0] * 40, [2.0**i for i in range(40)], [1.0, 2.0]], ids=len)
def test_a_loss_that_does_not_fall_suggests_nothing(losses):
    with pytest.raises(RunError, match="its loss does not fall: give --lr"):
        rates.suggestion([10.0 ** (i / 10 - 6) for i in range(len(losses))], losses)


# Memory that is too small


@pytest.mark.parametrize("kind", FULL)
def test_errors_of_a_full_memory_are_known(kind):
    assert is_out_of_memory(FULL[kind])
    assert not is_out_of_memory(RuntimeError("no kernel")) and not is_out_of_memory(None)


@pytest.fixture
def full(monkeypatch):
    """A function after which every network that colors fails with an error of FULL."""

    def set(kind):
        def fail(*_):
            raise FULL[kind]

        monkeypatch.setattr(ColorUnet, "forward", fail)

    return set


@pytest.mark.parametrize("kind", FULL)
def test_a_training_names_the_batch_size_and_keeps_its_last_epoch(
    kind, data, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    given = GIVEN | {"data": data, "batch_size": 16, "epochs": 2, "out": run}
    forward = torch.nn.L1Loss.forward

    def fail(self, *pair):
        if (run / "state.pt").exists() and len(pair[0]) == 16:
            raise FULL[kind]
        return forward(self, *pair)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.L1Loss, "forward", fail)
        assert call(monkeypatch, "pretrain", *options(given)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "colourgan: out of memory at batch size 16: try --batch-size 8 --accumulate 2 or a smaller "
        f"--size; {run} has the model of epoch 1"
    )
    assert len((run / "history.csv").read_text().splitlines()) == 2
    assert call(monkeypatch, "pretrain", "--resume", "--out", run) == 0


def test_an_error_within_a_callback_is_known_too(model, data, tmp_path, monkeypatch, capsys):
    def fail(self, *_):
        raise MemoryError

    monkeypatch.setattr("colourgan.callbacks.adversarial.Adversarial._d_losses", fail)
    given = {"data": data, "batch_size": 8, "accumulate": 2, "out": tmp_path / "run"}
    assert call(monkeypatch, "gan-finetune", model, "--device", "cpu", *options(given)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "at batch size 8: try --batch-size 4 --accumulate 4 or a model of a sm" in last


def test_evaluate_names_the_batch_size(model, data, tmp_path, monkeypatch, capsys, full):
    full("gpu")
    command = "evaluate", model, "--data", data, "--out", tmp_path / "e", "--device", "cpu"
    command = *command, "--distances", "none"
    assert call(monkeypatch, *command) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    tries = "try --batch-size 32 or a smaller --size"
    assert last == f"colourgan: out of memory at batch size 64: {tries}"
    assert call(monkeypatch, *command, "--batch-size", 1, "--working-size", 16) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "colourgan: out of memory at batch size 1: try a smaller --working-size"


@pytest.mark.parametrize("kind", FULL)
def test_colorize_names_the_working_size(kind, model, tmp_path, monkeypatch, capsys, full):
    Image.new("RGB", (40, 30), (10, 90, 200)).save(tmp_path / "a.png")
    full(kind)
    command = "colorize", tmp_path / "a.png", "--model", model, "--device", "cpu"
    assert call(monkeypatch, *command, "--out", tmp_path / "c", "--working-size", 64) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    said = "a.png: out of memory at working size 64: try --working-size 32, "
    assert said + "--quality fast or --jobs 1" in last
    assert not list((tmp_path / "c").glob("*.png"))
