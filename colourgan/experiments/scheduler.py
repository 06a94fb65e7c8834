"""Running an experiment: every training once, whatever is broken off, killed or run in parallel."""

import json
import logging
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
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from tqdm import tqdm

from colourgan.callbacks import resolve_precision
from colourgan.devices import choose_device
from colourgan.errors import Busy, RunError, UsageError
from colourgan.experiments.cells import DONE, FAILED, NOT_DONE, Cell
from colourgan.experiments.measure import (
    TRAINED,
    Test,
    is_measured,
    measure,
    peak_memory,
    place_of,
    read_cell,
)
from colourgan.experiments.steps import Step
from colourgan.files import remove, replacing
from colourgan.learners import TRAIN, is_unused, locked, read_history
from colourgan.options import flat, made
from colourgan.plans import Experiment
from colourgan.trainings import SCHEMA

_WAIT = 1.0  # seconds between looks at what other processes have done
_log = logging.getLogger(__name__)


@dataclass
class Schedule:
    """All that a process needs to work on an experiment.

    note: a JSON file in its folder, which says what was asked for last; steps: in an order in which
    each comes after what it needs; place: device and data_dir of all trainings; threads: of a
    training; jobs: trainings in parallel, on a machine like this one if the engine is "ray";
    address: of its cluster, see `colourgan.cluster.connected`. What is done is read from the folder
    alone, so that any number of processes can work on one experiment; what was once found done is
    not read again before the next `run`.
    """

    note: Path
    steps: list[Step]
    test: Test
    place: dict
    threads: int
    jobs: int = 1
    engine: str = "local"
    address: str | None = None
    _done: set[str] = field(default_factory=set, repr=False)
    _seconds: dict[str, float] = field(default_factory=dict, repr=False)
    _at_once: int = field(default=0, repr=False)

    @property
    def out(self) -> Path:
        return self.note.parent

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    def is_done(self, step: Step) -> bool:
        if step.run not in self._done and self._is_finished(step):
            self._done.add(step.run)
        return step.run in self._done

    def _is_finished(self, step: Step) -> bool:
        if not (self.runs / step.run / TRAINED).is_file():
            return False
        return step.factors is None or is_measured(step, self.runs, self.test)

    def failure(self, step: Step) -> str:
        """Why a step failed, or the one that it needs; "" if it did not."""
        with suppress(FileNotFoundError):
            return self._failure_note(step).read_text().strip()
        for before in step.before:
            if reason := self.failure(before):
                return f"{before.name}: {reason}"
        return ""

    def note_failure(self, step: Step, reason: str) -> None:
        with replacing(self._failure_note(step)) as part:
            part.write_text(reason + "\n")

    def _failure_note(self, step: Step) -> Path:
        return self.runs / f"{step.run}.failed"

    def state(self, step: Step) -> str:
        if self.is_done(step):
            return DONE
        return FAILED if self.failure(step) else NOT_DONE

    def cell(self, step: Step) -> Cell:
        """A step as plain data, whatever its state."""
        if self._is_finished(step):  # another process may have measured it in another way
            return read_cell(step, self.runs)
        reason = self.failure(step)
        state = FAILED if reason else NOT_DONE
        return Cell(step.factors, step.seed, step.run, state, reason, {}, {}, {}, {}, {}, [])

    def seconds_left(self) -> float | None:
        """An estimate from the trainings that are done; None without one to go by.

        A training that is not done takes what those of its command, data and size took, or else
        what all measured ones did.
        """
        known: dict[object, list[float]] = {}
        missing = []
        for step in self.steps:
            kind = step.training.command, *place_of(step)
            folder = self.runs / step.run
            if step.run not in self._seconds and (folder / TRAINED).is_file():
                self._seconds[step.run] = sum(row["seconds"] for row in read_history(folder))
            if (seconds := self._seconds.get(step.run)) is not None:
                known.setdefault(kind, []).append(seconds)
                if step.factors:
                    known.setdefault("cell", []).append(seconds)
            elif self.state(step) == NOT_DONE:
                missing.append(kind)
        estimates = [known.get(kind) or known.get("cell") for kind in missing]
        at_once = self._at_once or self.jobs
        return None if None in estimates else sum(map(fmean, estimates)) / at_once

    def _outlook(self) -> tuple[Counter, str]:
        """(how many steps are in each state, "about 2 h 5 min left" or "")"""
        states = Counter(map(self.state, self.steps))
        left = self.seconds_left() if states[NOT_DONE] else None
        return states, "" if left is None else f"about {duration(left)} left"

    def write_note(self, plan: Experiment) -> None:
        """Keeps what is asked for, and the number of threads, on which sums depend."""
        note = {"schema": SCHEMA, "arguments": flat(plan), "threads": self.threads}
        with replacing(self.note) as part:
            part.write_text(json.dumps(note, indent=2) + "\n")

    def run(self) -> None:
        """Trains and measures all that is not done yet.

        What failed before is tried again. Raises KeyboardInterrupt after Ctrl-C, its processes
        ended.
        """
        self._done.clear()
        for step in self.steps:
            remove(self._failure_note(step))
        threads = torch.get_num_threads()
        try:
            with tqdm(total=len(self.steps), desc=self.out.name, unit="run", disable=None) as bar:
                if self.engine == "ray":
                    from colourgan.experiments.cluster import run_on_ray

                    run_on_ray(self, bar)
                elif self.jobs == 1:
                    self._work(bar=bar)
                else:
                    self._in_parallel(bar)
        finally:
            torch.set_num_threads(threads)

    def _in_parallel(self, bar: tqdm) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
        workers = [
            context.Process(target=_worker, args=(self, i), daemon=True) for i in range(self.jobs)
        ]
        _log.info("%d processes; what they say is in %s", self.jobs, self.out / "logs")
        try:
            # Processes that start here ignore Ctrl-C: it is this one that ends them. Only the main
            # thread has a say over signals.
            main = threading.current_thread() is threading.main_thread()
            handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
            try:
                for worker in workers:
                    worker.start()
            finally:
                if main:
                    signal.signal(signal.SIGINT, handler)
            while any(worker.is_alive() for worker in workers):
                self.show(bar)
                time.sleep(_WAIT)
            self.show(bar)
        finally:
            for worker in workers:
                if worker.is_alive():
                    worker.terminate()
                    worker.join()

    def show(self, bar: tqdm) -> None:
        """What is done, on a bar."""
        if not bar.disable:
            states, estimate = self._outlook()
            failed = f"{states[FAILED]} failed" if states[FAILED] else ""
            bar.set_postfix_str(", ".join(filter(None, (failed, estimate))), refresh=False)
            bar.update(states[DONE] + states[FAILED] - bar.n)

    def _work(self, parent: int | None = None, bar: tqdm | None = None) -> None:
        """Takes one step after the other that nobody else works on, until none is left.

        parent: the process without which this one stops.
        """
        tried: set[str] = set()
        while left := self.left(tried):
            if bar is not None:
                self.show(bar)
            # Always the first that is free, as they are in the order in which they matter.
            ready = (step for step in left if all(map(self.is_done, step.before)))
            if not any(self.take(step, tried, parent) for step in ready):
                time.sleep(_WAIT)  # others work on what is left, or on what it needs
        if bar is not None:
            self.show(bar)

    def left(self, tried: set[str]) -> list[Step]:
        """The steps that are not done, but for those that failed and those that need them.

        tried: the runs that were worked on, which count as failed here even if another call has
        forgotten that they did.
        """

        def is_hopeless(step: Step) -> bool:
            if self.is_done(step):
                return False
            return step.run in tried or any(map(is_hopeless, step.before))

        return [s for s in self.steps if self.state(s) == NOT_DONE and not is_hopeless(s)]

    def take(self, step: Step, tried: set[str], parent: int | None = None) -> bool:
        """Does one step if it is free; whether it was."""
        if parent is not None and os.getppid() != parent:
            sys.exit(1)
        with suppress(Busy), locked(self.runs / step.run):
            if self.state(step) != NOT_DONE:
                return False
            tried.add(step.run)
            states, estimate = self._outlook()
            number = len(self.steps) - states[NOT_DONE] + 1
            told = ", ".join(filter(None, (step.name, estimate)))
            _log.info("%d/%d: %s", number, len(self.steps), told)
            folder = self.runs / step.run
            try:
                torch.set_num_threads(self.threads)
                if not (folder / TRAINED).is_file():
                    training = step.ready(self.runs, resume=not is_unused(folder), **self.place)
                    with peak_memory(self.test.device) as cost:
                        TRAIN[training.command](training)
                    with replacing(folder / TRAINED) as part:
                        part.write_text(json.dumps(cost) + "\n")
                if step.factors is not None:
                    measure(step, self.runs, self.test)
            except Exception as error:  # whatever it is, it must not end the others
                known = isinstance(error, (UsageError, RunError)) and str(error).strip()
                line = (str(error).strip().splitlines() or [""])[0]
                reason = line if known else f"{type(error).__name__}: {line}"
                self.note_failure(step, reason)
                if not known:
                    _log.error(traceback.format_exc())
                _log.error("failed: %s: %s", step.name, reason)
            return True
        return False

    def status_lines(self, cells: Sequence[Step]) -> list[str]:
        """What is done, what failed and why, and the time left; cells: those asked for."""
        states = {step.run: self.state(step) for step in self.steps}
        counts = Counter(states[step.run] for step in cells)
        trained, estimate = self._outlook()
        failed = [step for step in self.steps if states[step.run] == FAILED]
        return [
            f"{counts[DONE]} of {len(cells)} models done ({trained[DONE]} of {len(states)} "
            f"trainings), {counts[FAILED]} failed{estimate and f', {estimate}'}",
            *[f"failed: {step.name}: {self.failure(step)}" for step in failed],
        ]

    def conclude(self, told: str = "") -> None:
        """Raises RunError if anything failed or was not done; told: where the report is."""
        told = told and f"; the report of the others is {told}"
        failed = [step for step in self.steps if self.state(step) == FAILED]
        if failed:
            first = f"{failed[0].name}: {self.failure(failed[0])}"
            raise RunError(
                f"{len(failed)} of {len(self.steps)} trainings failed, the first: {first}{told}"
            )
        if not all(map(self.is_done, self.steps)):
            raise RunError(
                f"a process ended before its work was done (see {self.out / 'logs'}): the same "
                f"command goes on{told}"
            )


def schedule(plan: Experiment, note: Path, steps: list[Step], **test) -> Schedule:
    """The Schedule of what a plan asks for, in the folder of `note`; test: further fields of Test.

    An experiment that was begun keeps its number of threads. Raises UsageError for a device that is
    missing here or lacks the precision, and as `read_note` does.
    """
    place = plan.data_dir.expanduser() if plan.data_dir else None
    device = choose_device(plan.device)
    resolve_precision(plan.precision, device)
    threads = max(1, torch.get_num_threads() // plan.jobs)
    if note.is_file():
        threads = _read(note)["threads"]
    return Schedule(
        note.resolve(), steps, Test(plan.test_limit, str(device), place, **test),
        {"device": plan.device, "data_dir": place}, threads, plan.jobs, plan.engine,
        plan.ray_address,
    )  # fmt: skip


def read_note(note: Path, kind: type) -> Experiment:
    """The plan that an experiment was last run with.

    Raises UsageError if it is of another version, RunError if its note is damaged.
    """
    try:
        return made(kind, _read(note)["arguments"])
    except UsageError as error:
        raise UsageError(f"{note.parent} is of another version: {error}") from error


def _read(note: Path) -> dict:
    try:
        found = json.loads(note.read_text())
        if found.get("schema", 1) == SCHEMA:
            return {"arguments": dict(found["arguments"]), "threads": int(found["threads"])}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise RunError(f"{note} is damaged: remove it and give all options again") from error
    raise UsageError(
        f"{note.parent} was made by another version of colourgan: choose another --out"
    )


def _worker(schedule: Schedule, number: int) -> None:
    """A process of its own; its output goes to a log, and without its parent it stops."""
    with logged(schedule.out, str(number)):
        schedule._work(os.getppid())


@contextmanager
def logged(out: Path, name: str) -> Iterator[None]:
    """What this process says goes to logs/NAME.log."""
    warnings.simplefilter("ignore")  # other libraries' notes to their developers
    (out / "logs").mkdir(parents=True, exist_ok=True)
    with (
        (out / "logs" / f"{name}.log").open("a", 1, encoding="utf-8") as file,
        redirect_stderr(file),
    ):
        log, handler = logging.getLogger("colourgan"), logging.StreamHandler(file)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.removeHandler(handler)


def duration(seconds: float) -> str:
    """3725.0 → "1 h 2 min"; from three days on, in days."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "1 min"
    if minutes >= 3 * 24 * 60:
        return f"{round(minutes / (24 * 60))} days"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
