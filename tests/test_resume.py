"""A run that is killed goes on to the same model as one that was not."""

import itertools
import signal

import pytest
import torch
from tiny_runs import TRAINING, colourgan, make_data, options

from colourgan.errors import RunError, UsageError
from colourgan.files import file_hash
from colourgan.learners import gan_finetune, pretrain, read_config, training

FINETUNING = {"epochs": 2, "batch_size": 8, "ema": 0.9, "device": "cpu"}
NOGAN = FINETUNING | {
    "epochs": 5,
    "d_epochs": 1,
    "patience": 2,
    "reconstruction": "l2",
    "lr": 1e-2,  # soon too much: the best epoch is not the last
    "d_width": 8,
}

# SIGKILL in the middle of the work: the process has no chance to tidy up.
KILL_AT_RENAME = """
import itertools, os, signal
count, rename = itertools.count(1), os.replace
def replace(source, target):
    if next(count) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
"""
KILL_AT_BATCH = """
import itertools, os, signal
from colourgan.learners.training import Progress
count, after = itertools.count(1), Progress.after_batch
def after_batch(self):
    after(self)
    if self.training and next(count) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
Progress.after_batch = after_batch
"""


@pytest.fixture(scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(one_thread, data, tmp_path_factory):
    """An uninterrupted pretraining and finetuning."""
    folder = tmp_path_factory.mktemp("whole")
    pretrain("resnet20@none", str(data), **TRAINING, out=folder / "p")
    gan_finetune(folder / "p", **FINETUNING, out=folder / "g")
    return folder


@pytest.fixture(scope="module")
def nogan(whole):
    """An uninterrupted finetuning that patience ends."""
    return gan_finetune(whole / "p", **NOGAN, out=whole / "n")


def model_hash(run):
    return file_hash(run / "model.safetensors")


def assert_whole_files(run):
    """Nothing half-written stands under a final name."""
    for state in run.glob("state.pt"):
        torch.load(state, weights_only=True)
    for model in run.glob("model.safetensors"):
        from colourgan.models import load_model

        load_model(model)


# Renames of the first, frozen epoch: 2 × config, samples, model, history, curves, state.
@pytest.mark.parametrize(
    "prelude",
    [KILL_AT_BATCH.format(at=1), KILL_AT_RENAME.format(at=4), KILL_AT_RENAME.format(at=12),
     KILL_AT_BATCH.format(at=5)],
    ids=["frozen", "writing-model", "writing-state", "unfrozen"],
)  # fmt: skip
def test_killed_pretraining_resumes_to_the_same_model(prelude, whole, data, tmp_path):
    run = tmp_path / "run"
    arguments = {"encoder": "resnet20@none", "data": data, **TRAINING, "out": run}
    killed = colourgan("pretrain", *options(arguments), prelude=prelude)
    assert killed.returncode == -signal.SIGKILL
    assert_whole_files(run)
    pretrain("resnet20@none", str(data), **TRAINING, out=run, resume=True)
    assert model_hash(run) == model_hash(whole / "p")
    assert not list(run.rglob(".*"))  # what the kill left half-written is cleared away


@pytest.mark.parametrize(
    "prelude",
    [KILL_AT_BATCH.format(at=4), KILL_AT_RENAME.format(at=7)],
    ids=["second-epoch", "writing-state"],
)
def test_killed_finetuning_resumes_to_the_same_model(prelude, whole, tmp_path):
    run = tmp_path / "run"
    arguments = options({**FINETUNING, "out": run})
    killed = colourgan("gan-finetune", whole / "p", *arguments, prelude=prelude)
    assert killed.returncode == -signal.SIGKILL
    assert_whole_files(run)
    resumed = colourgan("gan-finetune", "--resume", "--out", run)
    assert resumed.returncode == 0, resumed.stderr
    assert model_hash(run) == model_hash(whole / "g")
    assert (run / "history.csv").read_text().count("\n") == 3


def history(run):
    """What a run measured, without the seconds."""
    rows = (run / "history.csv").read_text().splitlines()
    return [row.rpartition(",")[0] for row in rows]


def assert_goes_on(run, whole, nogan):
    gan_finetune(whole / "p", **NOGAN, out=run, resume=True)
    assert history(run) == history(nogan)
    assert model_hash(run) == model_hash(nogan)
    assert read_config(run)["best"] == read_config(nogan)["best"]


def test_nogan_killed_while_it_writes_its_state_resumes_to_the_same(whole, nogan, tmp_path):
    run = tmp_path / "run"
    # Renames: 2 × config; of each of the first epochs samples, model, history, curves, state.
    prelude = KILL_AT_RENAME.format(at=12)
    killed = colourgan(
        "gan-finetune", whole / "p", *options({**NOGAN, "out": run}), prelude=prelude
    )
    assert killed.returncode == -signal.SIGKILL
    assert_goes_on(run, whole, nogan)


@pytest.mark.parametrize("batch", [2, 5, 10], ids=["discriminator", "generator", "after-the-best"])
def test_interrupted_nogan_resumes_to_the_same(batch, whole, nogan, tmp_path, monkeypatch):
    count, after = itertools.count(1), training.Progress.after_batch

    def interrupt(self):
        after(self)
        if self.training and next(count) == batch:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Progress, "after_batch", interrupt)
        gan_finetune(whole / "p", **NOGAN, out=run)
    assert_goes_on(run, whole, nogan)


def test_a_run_that_patience_ended_is_not_taken_up_again(whole, nogan):
    ended, model, best = history(nogan), model_hash(nogan), read_config(nogan)["best"]
    assert len(ended) == 1 + best["epoch"] + NOGAN["patience"] < 1 + 6
    gan_finetune(whole / "p", **NOGAN, out=nogan, resume=True)
    assert (history(nogan), model_hash(nogan)) == (ended, model)
    assert read_config(nogan)["best"] == best


def test_ctrl_c_says_how_to_go_on(whole, data, tmp_path):
    run = tmp_path / "run"
    arguments = {"encoder": "resnet20@none", "data": data, **TRAINING, "out": run}
    # A shell's background job, as a test run may be one, ignores Ctrl-C and hands that down.
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    interrupt = heed + KILL_AT_BATCH.format(at=4).replace("SIGKILL", "SIGINT")
    interrupted = colourgan("pretrain", *options(arguments), prelude=interrupt)
    errors = interrupted.stderr
    assert interrupted.returncode == 130
    assert "Traceback" not in errors
    assert "--resume" in errors.splitlines()[-1]
    pretrain("resnet20@none", str(data), **TRAINING, out=run, resume=True)
    assert model_hash(run) == model_hash(whole / "p")


def test_resuming_a_finished_run_changes_nothing(whole, data):
    before = model_hash(whole / "p")
    pretrain("resnet20@none", str(data), **TRAINING, out=whole / "p", resume=True)
    assert model_hash(whole / "p") == before


def test_another_seed_gives_another_model(whole, data, tmp_path):
    run = pretrain("resnet20@none", str(data), **TRAINING, seed=1, out=tmp_path / "run")
    assert model_hash(run) != model_hash(whole / "p")


def test_a_resumed_run_keeps_its_arguments(whole, data):
    with pytest.raises(UsageError, match=r"--lr 0\.001"):
        pretrain("resnet20@none", str(data), **TRAINING, lr=1.0, out=whole / "p", resume=True)
    with pytest.raises(UsageError, match="pretrain run"):
        gan_finetune(whole / "p", **FINETUNING, out=whole / "p", resume=True)


def test_what_is_there_is_not_overwritten(whole, data, tmp_path):
    with pytest.raises(UsageError, match="--resume"):
        pretrain("resnet20@none", str(data), **TRAINING, out=whole / "p")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("do not lose me")
    with pytest.raises(UsageError, match="exists already"):
        pretrain("resnet20@none", str(data), **TRAINING, out=tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "do not lose me"


def test_a_damaged_state_is_told(whole, data, tmp_path):
    run = tmp_path / "run"
    pretrain("resnet20@none", str(data), **TRAINING, out=run)
    state = (run / "state.pt").read_bytes()
    (run / "state.pt").write_bytes(state[: len(state) // 2])
    with pytest.raises(RunError, match=r"state\.pt is damaged"):
        pretrain("resnet20@none", str(data), **TRAINING, out=run, resume=True)


def test_nan_ends_the_run_and_keeps_the_last_good_model(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    l1 = torch.nn.L1Loss.forward

    def broken(self, pred, target):
        good = l1(self, pred, target)
        return good if not (run / "state.pt").exists() else good * float("nan")

    monkeypatch.setattr(torch.nn.L1Loss, "forward", broken)
    with pytest.raises(RunError, match=r"loss is nan in epoch 2, .*last good model is kept"):
        pretrain("resnet20@none", str(data), **TRAINING, out=run)
    assert_whole_files(run)
    assert (run / "history.csv").read_text().count("\n") == 2
