"""Running a study: every training once, whatever is broken off, killed or run side by side."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from colourgan.errors import RunError, UsageError
from colourgan.files import remove, replacing
from colourgan.learners import is_unused, read_history
from colourgan.study.cells import DONE, FAILED, NOT_DONE, Cell
from colourgan.study.costs import peak_memory
from colourgan.study.grid import Training
from colourgan.study.measure import TRAINED, Test, is_measured, measure, read_cell

_WAIT = 1.0  # seconds between looks at what other processes have done


class Study(NamedTuple):
    """All that a process needs to work on a study.

    out: its folder; trainings: in an order in which each comes after what it begins with; where:
    device and data_dir of all trainings; threads: of a training. What is done is read from the
    folder alone, so that any number of processes can work on one study.
    """

    out: Path
    trainings: list[Training]
    test: Test
    where: dict
    threads: int

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    def is_done(self, training: Training) -> bool:
        if not (self.runs / training.run / TRAINED).is_file():
            return False
        return training.factors is None or is_measured(training, self.runs, self.test)

    def failure(self, training: Training) -> str:
        """Why a training failed, or the one that it begins with; "" if it did not."""
        with suppress(FileNotFoundError):
            return _failure_note(self.runs, training).read_text().strip()
        before = self.failure(training.needs) if training.needs else ""
        return f"{training.needs.name}: {before}" if before else ""

    def state(self, training: Training) -> str:
        if self.is_done(training):
            return DONE
        return FAILED if self.failure(training) else NOT_DONE

    def cell(self, training: Training) -> Cell:
        """A training as plain data, whatever its state."""
        state = self.state(training)
        if state == DONE:
            return read_cell(training, self.runs)
        reason = self.failure(training)
        return Cell(
            training.setting, training.seed, training.run, state, reason, {}, {}, {}, {}, {}, []
        )

    def seconds_left(self, jobs: int) -> float | None:
        """An estimate from the trainings that are done; None without one to go by.

        A training that is not done takes what those of its command, data and size took, or else
        what all cells did.
        """
        known: dict[object, list[float]] = {}
        missing = []
        for training in self.trainings:
            kind = _kind(training)
            if (self.runs / training.run / TRAINED).is_file():
                seconds = sum(row["seconds"] for row in read_history(self.runs / training.run))
                known.setdefault(kind, []).append(seconds)
                if training.factors:
                    known.setdefault("cell", []).append(seconds)
            elif self.state(training) == NOT_DONE:
                missing.append(kind)
        estimates = [known.get(kind) or known.get("cell") for kind in missing]
        return None if None in estimates else sum(map(fmean, estimates)) / jobs


def _kind(training: Training) -> tuple:
    place = training.setting if training.factors else dict(training.arguments)
    return training.command.__name__, place["data"], str(place["size"])


def _failure_note(runs: Path, training: Training) -> Path:
    return runs / f"{training.run}.failed"


def run(study: Study, jobs: int = 1) -> None:
    """Trains and measures all that is not done yet, `jobs` trainings side by side.

    What failed before is tried again. Raises KeyboardInterrupt after Ctrl-C, its processes ended.
    """
    for training in study.trainings:
        remove(_failure_note(study.runs, training))
    threads = torch.get_num_threads()
    try:
        if jobs == 1:
            _work(study)
        else:
            _side_by_side(study, jobs)
    finally:
        torch.set_num_threads(threads)


def _side_by_side(study: Study, jobs: int) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
    workers = [
        context.Process(target=_worker, args=(study, number), daemon=True) for number in range(jobs)
    ]
    print(f"{jobs} processes; what they say is in {study.out / 'logs'}", file=sys.stderr)
    bar = tqdm(total=len(study.trainings), desc=study.out.name, unit="run", disable=None)
    try:
        with _uninterrupted():
            for worker in workers:
                worker.start()
        with bar:
            while any(worker.is_alive() for worker in workers):
                time.sleep(_WAIT)
                _show(study, bar, jobs)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
                worker.join()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that start in here ignore Ctrl-C: it is this one that ends them."""
    if threading.current_thread() is not threading.main_thread():  # has no say over signals
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _show(study: Study, bar: tqdm, jobs: int) -> None:
    states = Counter(study.state(training) for training in study.trainings)
    ended = states[DONE] + states[FAILED]
    left = study.seconds_left(jobs)
    failed = f"{states[FAILED]} failed, " if states[FAILED] else ""
    estimate = "" if left is None else f"about {duration(left)} left"
    bar.set_postfix_str(f"{failed}{estimate}", refresh=False)
    bar.update(ended - bar.n)


def _worker(study: Study, number: int) -> None:
    """A process of its own; its output goes to a log, and without its parent it stops."""
    warnings.simplefilter("ignore")  # other libraries' notes to their developers
    logs = study.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{number}.log").open("a", buffering=1) as log, redirect_stderr(log):
        _work(study, os.getppid())


def _work(study: Study, parent: int | None = None) -> None:
    """Takes one training after the other that nobody else works on, until none is left."""
    tried: set[str] = set()
    while True:
        left = [t for t in study.trainings if not _is_over(study, t, tried)]
        if not left:
            return
        ready = [t for t in left if t.needs is None or study.is_done(t.needs)]
        if not any(_take(study, training, tried, parent) for training in ready):
            time.sleep(_WAIT)  # others work on what is left, or on what it needs


def _is_over(study: Study, training: Training, tried: set[str]) -> bool:
    """Whether there is nothing more to do for it: it is done, or it or what it needs failed."""
    return study.state(training) != NOT_DONE or _is_hopeless(study, training, tried)


def _is_hopeless(study: Study, training: Training | None, tried: set[str]) -> bool:
    """Whether this process has tried it, or what it needs, and not succeeded."""
    if training is None or study.is_done(training):
        return False
    return training.run in tried or _is_hopeless(study, training.needs, tried)


def _take(study: Study, training: Training, tried: set[str], parent: int | None) -> bool:
    """Does one training if it is free; whether it was."""
    if parent is not None and os.getppid() != parent:
        sys.exit(1)
    with _locked(study.runs / f"{training.run}.lock") as mine:
        if not mine or study.state(training) != NOT_DONE:
            return False
        tried.add(training.run)
        _announce(study, training)
        try:
            _train_and_measure(study, training)
        except Exception as error:  # whatever it is, it must not end the others
            _note_failure(study, training, error)
    return True


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process holds the lock; the system frees it when a process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _announce(study: Study, training: Training) -> None:
    done = sum(study.state(t) != NOT_DONE for t in study.trainings)
    left = study.seconds_left(jobs=1)
    estimate = "" if left is None else f", about {duration(left)} of training left"
    print(f"{done + 1}/{len(study.trainings)}: {training.name}{estimate}", file=sys.stderr)


def _train_and_measure(study: Study, training: Training) -> None:
    folder = study.runs / training.run
    torch.set_num_threads(study.threads)
    if not (folder / TRAINED).is_file():
        begun = (folder / "config.json").exists() and not is_unused(folder)
        with peak_memory(study.test.device) as cost:
            training.call(study.runs, resume=begun, **study.where)
        with replacing(folder / TRAINED) as part:
            part.write_text(json.dumps(cost) + "\n")
    if training.factors is not None:
        measure(training, study.runs, study.test)


def _note_failure(study: Study, training: Training, error: Exception) -> None:
    known = isinstance(error, (UsageError, RunError))
    line = (str(error).strip().splitlines() or [""])[0]
    reason = line if known else f"{type(error).__name__}: {line}"
    with replacing(_failure_note(study.runs, training)) as part:
        part.write_text(reason + "\n")
    if not known:
        print(traceback.format_exc(), file=sys.stderr)
    print(f"failed: {training.name}: {reason}", file=sys.stderr)


def status_lines(study: Study, cells: Sequence[Training], jobs: int) -> list[str]:
    """What is done, what failed and why, and the time left."""
    states = {training.run: study.state(training) for training in study.trainings}
    counts = Counter(states[training.run] for training in cells)
    trained = Counter(states.values())
    left = study.seconds_left(jobs)
    estimate = "" if left is None else f", about {duration(left)} left"
    if not trained[NOT_DONE]:
        estimate = ""
    lines = [
        f"{counts[DONE]} of {len(cells)} cells done ({trained[DONE]} of {len(states)} trainings), "
        f"{counts[FAILED]} failed{estimate}"
    ]
    for training in study.trainings:
        if states[training.run] == FAILED:
            lines.append(f"failed: {training.name}: {study.failure(training)}")
    return lines


def duration(seconds: float) -> str:
    """3725.0 → "1 h 2 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "1 min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
