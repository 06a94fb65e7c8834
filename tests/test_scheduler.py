"""Experiments that are run: in order, killed, shared, failing. What trains is a stub here."""

import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from dataclasses import replace
from mmap import mmap
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from colourgan.errors import RunError, UsageError
from colourgan.evaluate import ImageSet
from colourgan.experiments import measure, scheduler
from colourgan.experiments.measure import Test, flops, is_measured, peak_memory, place_of
from colourgan.experiments.scheduler import Schedule, duration, read_note, schedule
from colourgan.experiments.steps import Decoding, Step, with_needs
from colourgan.learners.encoder import WEIGHTS
from colourgan.plans import Experiment, Study
from colourgan.trainings import TRAININGS, GanFinetune, Pretrain, TrainEncoder

Test.__test__ = False  # no test, though it is called so
CPU = Experiment(device="cpu")
FORK = multiprocessing.get_context("fork")


def pretrain(needs=None, label="A", **given):
    given = {"encoder": "resnet20@none", "data": "cifar10", "size": 16, **given}
    return Step(Pretrain(**given), needs, label=label)


def gan(base, label="G", **given):
    return Step(GanFinetune(**given), base, rival=base, label=label)


def chain():
    """An encoder, the pretraining with it, and its finetuning."""
    encoder = Step(TrainEncoder(encoder="resnet20", data="cifar10", size=32), label="E")
    base = pretrain(encoder, encoder="resnet20", limit=50)
    return [encoder, base, gan(base)]


def alone(count):
    """Trainings that need no other."""
    return [pretrain(label=f"A{seed}", seed=seed) for seed in range(count)]


class Trainer:
    """Stands in for all that trains; `log` in the folder has a line for each training begun.

    during: called with a training, once its folder has what a finished epoch leaves.
    """

    def __init__(self, folder, during=lambda training: None):
        self.folder, self.during, self.given = folder, during, []

    def __call__(self, training):
        self.given.append(training)
        with (self.folder / "log").open("a") as log:
            log.write(f"{training.out.name}\n")
        (training.out / "config.json").write_text("{}")
        (training.out / "history.csv").write_text("epoch,seconds\n1,100\n2,140\n")
        self.during(training)

    @property
    def began(self):
        return (self.folder / "log").read_text().split() if (self.folder / "log").exists() else []


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    found = Trainer(tmp_path)
    monkeypatch.setattr(scheduler, "TRAIN", dict.fromkeys(TRAININGS, found))
    monkeypatch.setattr(scheduler, "_WAIT", 0.02)
    return found


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "colourgan")
    return lambda: [record.getMessage() for record in caplog.records]


def opened(tmp_path, steps, **changed):
    return schedule(replace(CPU, **changed), tmp_path / "out" / "note.json", steps)


def names(found, runs):
    by_run = {step.run: step.label for step in found.steps}
    return [by_run[run] for run in runs]


# ------------------------------------------------------------------------------------- order


def test_each_is_trained_once_after_what_it_needs(tmp_path, trainer, log):
    found = opened(tmp_path, with_needs([chain()[-1], *alone(2)]))
    found.run()
    assert names(found, trainer.began) == ["E", "A", "G", "A0", "A1"]
    assert all(map(found.is_done, found.steps))
    assert log() == [
        "1/5: E, seed 0",
        "2/5: A, seed 0",
        "3/5: G, seed 0",
        "4/5: A0, seed 0, about 8 min left",
        "5/5: A1, seed 1, about 4 min left",
    ]
    found.conclude()
    again = opened(tmp_path, found.steps)
    again.run()
    assert len(trainer.began) == 5


def test_trainings_get_what_they_need_and_where_to_be(tmp_path, trainer):
    found = opened(tmp_path, chain(), data_dir=tmp_path / "data")
    found.run()
    encoder, base, finetuning = trainer.given
    runs = [found.runs / step.run for step in found.steps]
    assert [each.out for each in trainer.given] == runs
    assert base.encoder == f"resnet20@{runs[0] / WEIGHTS}"
    assert finetuning.model == runs[1]
    assert (finetuning.data, finetuning.limit) == ("cifar10", 50)
    for each in trainer.given:
        assert (each.device, each.data_dir, each.resume) == ("cpu", tmp_path / "data", False)
    assert encoder == replace(
        found.steps[0].training, out=runs[0], device="cpu", data_dir=tmp_path / "data"
    )


def test_a_pretraining_may_start_from_another(tmp_path, trainer):
    small = pretrain(label="small")
    large = pretrain(small, label="large", size=32)
    found = opened(tmp_path, with_needs([large]))
    found.run()
    assert names(found, trainer.began) == ["small", "large"]
    assert trainer.given[1].start == found.runs / small.run
    assert large.run != pretrain(size=32).run
    assert place_of(large) == ("cifar10", 32)


def test_the_first_that_is_free_comes_next(tmp_path, trainer):
    """Not the one after what was just done: the order is that of importance."""
    first, second, *others = alone(4)
    found = opened(tmp_path, [first, gan(first), second, *others])
    begun, free = threading.Event(), threading.Event()

    def during(training):
        if training.out.name == second.run:
            begun.set()
            free.wait()

    trainer.during = during
    worker = threading.Thread(target=found.run)
    with scheduler.locked(found.runs / first.run):
        worker.start()
        begun.wait()
    free.set()
    worker.join()
    assert names(found, trainer.began) == ["A1", "A0", "G", "A2", "A3"]


def test_a_step_with_factors_goes_before_the_same_without():
    base = pretrain()
    cell = replace(base, factors={"model": "A"})
    assert [step.factors for step in with_needs([gan(base), cell])] == [{"model": "A"}, None]
    assert [step.factors for step in with_needs([cell, gan(base)])] == [{"model": "A"}, None]


def test_one_run_is_not_measured_in_two_ways():
    cell = replace(pretrain(), factors={"model": "A"})
    other = replace(cell, factors={"model": "B"}, decoding=Decoding(0.4, 0.5, 1.0))
    assert len(with_needs([cell, replace(cell, factors={"model": "B"})])) == 1
    with pytest.raises(ValueError, match="in two ways"):
        with_needs([cell, other])


# ---------------------------------------------------------------------------- broken off, failed


def test_what_was_broken_off_is_resumed_if_there_is_something_to_resume(tmp_path, trainer):
    def during(training):
        if training.seed == 1:
            raise KeyboardInterrupt

    trainer.during = during
    found = opened(tmp_path, alone(3))
    with pytest.raises(KeyboardInterrupt):
        found.run()
    assert names(found, trainer.began) == ["A0", "A1"]
    (found.runs / found.steps[2].run).mkdir()
    (found.runs / found.steps[2].run / "config.json").write_text("{}")  # killed before an epoch
    trainer.during = lambda training: None
    opened(tmp_path, found.steps).run()
    assert names(found, trainer.began) == ["A0", "A1", "A1", "A2"]
    assert [each.resume for each in trainer.given] == [False, False, True, False]


def fork(work, *args):
    """A process that inherits all of this one."""
    process = FORK.Process(target=work, args=args)
    process.start()
    return process


def test_after_a_kill_the_next_call_goes_on(tmp_path, trainer):
    trainer.during = lambda training: training.seed == 1 and os.kill(os.getpid(), signal.SIGKILL)
    found = opened(tmp_path, alone(3))
    process = fork(found.run)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert names(found, trainer.began) == ["A0", "A1"]
    trainer.during = lambda training: None
    found.run()
    assert names(found, trainer.began) == ["A0", "A1", "A1", "A2"]


ERRORS = {
    "of the user": (UsageError("no such\nthing"), "no such", False),
    "of a run": (RunError("it diverged"), "it diverged", False),
    "unforeseen": (ZeroDivisionError("by\nzero"), "ZeroDivisionError: by", True),
    "without words": (RunError(""), "RunError: ", True),
}


@pytest.mark.parametrize("error, reason, traced", ERRORS.values(), ids=ERRORS)
def test_a_failure_is_noted_and_the_others_go_on(error, reason, traced, tmp_path, trainer, log):
    def during(training):
        if training.limit == 50:
            raise error

    trainer.during = during
    found = opened(tmp_path, [*chain(), *alone(1)])
    found.run()
    assert names(found, trainer.began) == ["E", "A", "A0"]
    assert f"failed: A, seed 0: {reason}" in log()
    assert traced == any("Traceback" in line for line in log())
    reason = reason.strip()
    assert found.status_lines(found.steps[1:]) == [
        "1 of 3 models done (2 of 4 trainings), 2 failed",
        f"failed: A, seed 0: {reason}",
        f"failed: G, seed 0: A, seed 0: {reason}",
    ]
    with pytest.raises(RunError) as caught:
        found.conclude("page.html")
    assert str(caught.value) == (
        f"2 of 4 trainings failed, the first: A, seed 0: {reason}; the report of the others is "
        "page.html"
    )
    trainer.during = lambda training: None
    again = opened(tmp_path, found.steps)
    again.run()  # what failed is tried again
    assert names(found, trainer.began[3:]) == ["A", "G"]
    again.conclude()


def test_a_failure_that_goes_on_is_tried_once_a_call(tmp_path, trainer):
    def during(training):
        raise RunError("never")

    trainer.during = during
    found = opened(tmp_path, alone(2))
    for calls in (1, 2):
        found.run()
        assert len(trainer.began) == 2 * calls


def test_what_failed_here_is_not_tried_again_though_another_call_forgot_it(tmp_path, trainer):
    steps = [*chain(), *alone(1)]
    found = opened(tmp_path, steps)

    def during(training):
        if training.limit == 50:
            raise RunError("no")
        for note in found.runs.glob("*.failed"):  # as a second call does when it begins
            note.unlink()

    trainer.during = during
    found.run()
    assert names(found, trainer.began) == ["E", "A", "A0"]
    assert found.state(steps[2]) == "not done"
    with pytest.raises(RunError, match="ended before its work was done"):
        found.conclude()


def test_trainings_have_their_threads_and_what_follows_its_own(tmp_path, trainer):
    seen = []
    trainer.during = lambda training: seen.append(torch.get_num_threads())
    found = opened(tmp_path, alone(2))
    found.threads = before = torch.get_num_threads() + 2
    found.run()
    assert seen == [before] * 2 and torch.get_num_threads() == before - 2


def test_a_process_that_ended_before_its_work_was_done_is_said(tmp_path):
    found = opened(tmp_path, alone(2))
    with pytest.raises(RunError, match=r"ended before its work was done.*goes on"):
        found.conclude()


# ------------------------------------------------------------------------------- shared, parallel


def test_two_processes_share_the_work(tmp_path, trainer):
    trainer.during = lambda training: time.sleep(0.05)
    found = opened(tmp_path, [*chain(), *alone(4)])
    others = [fork(found.run) for _ in range(2)]
    found.run()
    assert all(map(found.is_done, found.steps))  # whoever did it
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert sorted(trainer.began) == sorted(step.run for step in found.steps)
    assert 0 < len(trainer.given) < 7


def test_two_threads_share_the_work(tmp_path, trainer):
    trainer.during = lambda training: time.sleep(0.02)
    found = [opened(tmp_path, [*chain(), *alone(4)]) for _ in range(2)]
    threads = [threading.Thread(target=each.run) for each in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(trainer.began) == sorted(step.run for step in found[0].steps)
    for each in found:
        each.conclude()


@pytest.fixture
def forked(monkeypatch):
    """Processes of `jobs` inherit the stub; as they are started, they would import it all."""
    contexts = {"spawn": FORK}
    monkeypatch.setattr(
        scheduler, "multiprocessing", SimpleNamespace(get_context=contexts.__getitem__)
    )


def test_trainings_in_parallel(tmp_path, trainer, forked, log):
    barrier = FORK.Barrier(2)

    def during(training):
        if training.command == Pretrain.command and training.seed < 2:
            barrier.wait(timeout=60)  # both at once
        print(f"beside {training.out.name}", file=sys.stderr)

    trainer.during = during
    found = opened(tmp_path, [*alone(4), gan(alone(1)[0])], jobs=2)
    found.run()
    found.conclude()
    assert sorted(trainer.began) == sorted(step.run for step in found.steps)
    assert trainer.given == []  # none of it in this process
    logs = sorted((tmp_path / "out" / "logs").iterdir())
    assert [path.name for path in logs] == ["0.log", "1.log"]
    told = "".join(path.read_text() for path in logs)
    assert all(f"/5: {step.name}" in told for step in found.steps)
    assert all(f"beside {step.run}" in told for step in found.steps)
    assert log() == [f"2 processes; what they say is in {tmp_path / 'out' / 'logs'}"]


def test_ctrl_c_ends_trainings_in_parallel(tmp_path, trainer, forked, monkeypatch):
    trainer.during = lambda training: time.sleep(600)
    found = opened(tmp_path, alone(2), jobs=2)

    def interrupt(seconds):
        while len(trainer.began) < 2:
            os.sched_yield()
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "time", SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        found.run()
    assert multiprocessing.active_children() == []


def test_a_process_ends_with_the_one_that_started_it(tmp_path, trainer):
    found = opened(tmp_path, alone(2))
    with pytest.raises(SystemExit):
        found._work(parent=1)
    assert trainer.began == []


def test_another_process_gets_everything_but_open_images(tmp_path):
    found = opened(tmp_path, chain())
    found.test._images["cifar10", 16] = "open"
    other = pickle.loads(pickle.dumps(found))
    assert [step.run for step in other.steps] == [step.run for step in found.steps]
    assert other.steps[2].needs is other.steps[1]
    assert (other.note, other.threads, other.place) == (found.note, found.threads, found.place)
    assert other.test._images == {} and found.test._images


# -------------------------------------------------------------------------------- bar and status


class Bar:
    """Stands in for tqdm and keeps what it shows."""

    def __init__(self, total, desc, unit, disable):
        self.total, self.desc, self.n, self.disable, self.shown = total, desc, 0, False, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def set_postfix_str(self, text, refresh):
        self.text = text

    def update(self, more):
        self.n += more
        self.shown.append((self.n, self.text))


def test_a_bar_shows_the_whole(tmp_path, trainer, monkeypatch):
    def during(training):
        if training.seed == 1:
            raise RunError("no")

    trainer.during = during
    opened(tmp_path, alone(1)).run()
    bars = []
    monkeypatch.setattr(scheduler, "tqdm", lambda **given: bars.append(Bar(**given)) or bars[-1])
    opened(tmp_path, alone(4)).run()
    (bar,) = bars
    assert (bar.total, bar.desc) == (4, "out")
    assert bar.shown == [
        (1, "about 12 min left"),
        (2, "1 failed, about 8 min left"),
        (3, "1 failed, about 4 min left"),
        (4, "1 failed"),
    ]


def finished(found, step, seconds):
    """As if that step was trained in that time."""
    folder = found.runs / step.run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.csv").write_text(f"epoch,seconds\n1,{seconds}\n")
    (folder / "trained.json").write_text("{}")


def test_the_estimate_goes_by_command_data_and_size(tmp_path):
    small, large, other = pretrain(seed=1), pretrain(size=32), pretrain(data="tiny-imagenet")
    bases = small, large, other
    steps = [*bases, *map(gan, bases), *(gan(base, seed=5) for base in bases)]
    found = opened(tmp_path, steps)
    assert found.seconds_left() is None
    for step, seconds in zip(steps, (1, 2, 3, 10, 100, 1000), strict=False):
        finished(found, step, seconds)
    assert found.seconds_left() == 1110
    assert opened(tmp_path, steps, jobs=2).seconds_left() == 555
    unlike = pretrain(size=64)
    assert opened(tmp_path, [*steps, unlike]).seconds_left() is None  # no measured one to go by


def test_durations():
    assert [duration(s) for s in (3, 90, 3600, 3725)] == [
        "1 min",
        "2 min",
        "1 h 0 min",
        "1 h 2 min",
    ]


def make_set(size, count=3):
    images = torch.Generator().manual_seed(size)
    rgb = torch.randint(0, 256, (count, 3, size, size), generator=images, dtype=torch.uint8)
    return ImageSet(rgb, [])


@pytest.fixture
def loads(monkeypatch):
    """The sizes that test images were loaded in, each time."""
    sizes = []

    def load(data, size, limit, data_dir, progress):
        sizes.append(size)
        return make_set(size, limit)

    monkeypatch.setattr(measure, "load_images", load)
    return sizes


def measured_as(found, step, test=None):
    """As if that step was trained, and measured like this."""
    finished(found, step, 60)
    note = {"test": (test or found.test).what(step), "costs": {}, "distances": {}}
    file = found.runs / step.run / measure.MEASURED
    file.write_bytes(save({"l1": torch.ones(3)}, {"colourgan": json.dumps(note)}))


def test_many_states_cost_one_look_at_the_images_of_each_place(tmp_path, loads, monkeypatch):
    sizes = range(16, 22)
    steps = [
        replace(pretrain(size=size, seed=seed), factors={"model": "A"})
        for seed in range(5)
        for size in sizes
    ]
    found = opened(tmp_path, steps, test_limit=3)
    for step in steps:
        measured_as(found, step)
    assert loads == list(sizes)
    loads.clear()
    looks = []

    def look(*args):
        looks.append(args)
        return is_measured(*args)

    monkeypatch.setattr(scheduler, "is_measured", look)
    hashed = []
    sha256 = hashlib.sha256
    counting = SimpleNamespace(sha256=lambda: hashed.append(1) or sha256())
    monkeypatch.setattr(measure, "hashlib", counting)
    again = opened(tmp_path, steps, test_limit=3)
    for _ in range(3):
        assert {again.state(step) for step in steps} == {"done"}
        assert again.seconds_left() == 0
    assert loads == list(sizes)
    assert len(hashed) == len(sizes) and len(looks) == len(steps)
    assert again.test.images("cifar10", 16) is again.test.images("cifar10", 16)
    assert loads == list(sizes)


def test_what_was_measured_in_another_way_is_not_done(tmp_path, loads, monkeypatch):
    step = replace(pretrain(), factors={"model": "A"})
    found = opened(tmp_path, [step], test_limit=3)
    measured_as(found, step)
    assert found.state(step) == "done" and found.cell(step).state == "done"

    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"1")
    usual = {"limit": 3, "device": "cpu"}
    frechet = usual | {"distances": ("frechet",)}
    own = frechet | {"feature_encoder": f"resnet20@{weights}"}
    for test in (usual | {"limit": 2}, frechet, own, usual | {"details": True}):
        assert not is_measured(step, found.runs, Test(**test)), test
    assert is_measured(step, found.runs, Test(**usual, feature_encoder="resnet20@none"))
    assert not is_measured(replace(step, rival=pretrain()), found.runs, Test(**usual))
    decoded = replace(step, decoding=Decoding(0.4, 0.5, 1.0))
    assert not is_measured(decoded, found.runs, Test(**usual))

    measured_as(found, step, Test(**own))
    weights.rename(tmp_path / "moved.pt")
    own["feature_encoder"] = f"resnet20@{tmp_path / 'moved.pt'}"
    assert is_measured(step, found.runs, Test(**own))
    (tmp_path / "moved.pt").write_bytes(b"2")
    assert not is_measured(step, found.runs, Test(**own))
    # Found done before, but measured in another way since.
    assert found.state(step) == "done" and found.cell(step).state == "not done"

    measured_as(found, step)
    assert is_measured(step, found.runs, Test(**usual))
    changed = make_set(99, 3)
    monkeypatch.setattr(measure, "load_images", lambda *args, **given: changed)
    assert not is_measured(step, found.runs, Test(**usual))
    (found.runs / step.run / measure.MEASURED).write_bytes(b"nothing")
    assert not is_measured(step, found.runs, found.test)


def test_what_is_measured_anew_is_not_trained_again(tmp_path, trainer, loads, monkeypatch):
    step = replace(pretrain(), factors={"model": "A"})
    opened(tmp_path, [step], test_limit=3)
    monkeypatch.setattr(
        scheduler, "measure", lambda step, runs, test: measured_as(found, step, test)
    )
    for limit in (3, 2):
        found = opened(tmp_path, [step], test_limit=limit)
        assert found.state(step) == "not done"
        found.run()
        found.conclude()
    assert len(trainer.began) == 1


# -------------------------------------------------------------------------------------- its note


def test_the_note_keeps_what_was_asked_for_and_the_threads(tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        plan = Study(name="toy", sizes=(16, 32), base=Pretrain(epochs=3), jobs=2, device="cpu")
        found = schedule(plan, tmp_path / "study.json", [])
        assert found.threads == 2
        found.write_note(plan)
        torch.set_num_threads(1)
        assert schedule(plan, tmp_path / "study.json", []).threads == 2
        assert schedule(plan, tmp_path / "other.json", []).threads == 1
    finally:
        torch.set_num_threads(threads)
    kept = read_note(tmp_path / "study.json", Study)
    assert kept == replace(plan, base=replace(plan.base, frozen_epochs=0))


@pytest.mark.parametrize(
    "text, error, message",
    [
        ("{", RunError, "is damaged"),
        ("[]", RunError, "is damaged"),
        ('{"schema": 2}', RunError, "is damaged"),
        ('{"schema": 2, "threads": 1, "arguments": [1]}', RunError, "is damaged"),
        ('{"schema": 3, "threads": 1, "arguments": {}}', UsageError, "another version"),
        ('{"seeds": 3}', UsageError, "another version"),
        ('{"schema": 2, "threads": 1, "arguments": {"seed": 1}}', UsageError, "unknown option"),
        ('{"schema": 2, "threads": 1, "arguments": {"seeds": 0}}', UsageError, "seeds"),
    ],
)
def test_notes_that_cannot_be_read(text, error, message, tmp_path):
    note = tmp_path / "study.json"
    note.write_text(text)
    with pytest.raises(error, match=message) as caught:
        read_note(note, Study)
    assert "\n" not in str(caught.value)


def test_a_device_or_precision_that_is_missing_is_said_at_once(tmp_path):
    with pytest.raises(UsageError, match="not available"):
        opened(tmp_path, alone(1), device="nothing")
    with pytest.raises(UsageError, match="fp16"):
        opened(tmp_path, alone(1), precision="fp16")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------- what it costs


def test_flops_are_two_a_multiplication():
    convolution = torch.nn.Conv2d(1, 2, 3, padding=1, bias=False)
    assert flops(convolution, 8) == 2 * 9 * 2 * 8 * 8


@pytest.mark.skipif(not measure._RESET.exists(), reason="this system does not forget peaks")
def test_peak_memory_forgets_an_earlier_peak():
    # Mapped, so that it comes from the system and goes back: an allocator may reuse what it has.
    with peak_memory("cpu") as large, mmap(-1, 80_000_000) as memory:
        for page in range(0, len(memory), 4096):
            memory[page] = 1
    with peak_memory("cpu") as small:
        pass
    assert large["peak_memory_mb"] - small["peak_memory_mb"] > 60


def test_a_schedule_says_where_it_is(tmp_path):
    found = Schedule(tmp_path / "note.json", [], Test(2, "cpu"), {}, 1)
    assert (found.out, found.runs) == (tmp_path, tmp_path / "runs")
