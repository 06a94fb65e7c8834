"""How long an experiment takes before it begins: a few batches of each of its trainings, timed."""

import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import torch

from colourgan.datasets import dataset_root, training_parts
from colourgan.experiments.cells import NOT_DONE
from colourgan.experiments.measure import place_of
from colourgan.experiments.scheduler import Schedule
from colourgan.experiments.steps import Step, with_needs
from colourgan.learners import TRAIN, read_history
from colourgan.options import adapted
from colourgan.trainings import AUTO, TrainCycleGAN, Training

LONG = 5000  # batches: experiments with fewer are not worth trying first
_BATCHES = 3  # of a trial, after as many that warm up; small ones are more
_IMAGES = 16
_log = logging.getLogger(__name__)


def estimated_seconds(found: Schedule) -> float | None:
    """What is left of an experiment, in seconds; None if it is short or cannot be estimated.

    From the trainings that are done, else from trials: each training that differs in more than its
    seed runs for two epochs of a few batches in a temporary folder. Validation and measuring are
    left out.
    """
    if found.seconds_left() is not None:
        return None  # the bar says it
    missing = [step for step in found.steps if found.state(step) == NOT_DONE]
    if any(step.training.batch_size == AUTO for step in missing):
        return None
    counts = {step.run: _batches(step, found) for step in missing}
    if sum(counts.values()) < LONG:
        return None
    _log.info("estimating the time from a few batches of each training")
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet(found.threads):
            known: dict[str, float] = {}
            for step in missing:
                trial = _trial(step)
                if trial.run not in known:
                    known |= _timed(trial, Path(folder), found.place)
            return sum(counts[s.run] * known[_trial(s).run] for s in missing) / found.jobs
    except Exception as error:  # the experiment itself will say what is wrong
        _log.debug("no estimate: %s", error)
        return None


def generator_steps(training: Training, images: int) -> int:
    """How often a training moves its generator, with so many images.

    The last batch of an epoch may be smaller; CycleGAN's generator has half of the images.
    """
    if isinstance(training, TrainCycleGAN):
        images //= 2
    steps = _epochs(training) * math.ceil(images / training.images_per_step)
    alike = getattr(training, "same_batch", False)
    d_steps, g_steps = (getattr(training, name, 1) for name in ("d_steps", "g_steps"))
    return steps * g_steps if alike else steps // d_steps


def _epochs(training: Training) -> int:
    return training.epochs + getattr(training, "frozen_epochs", 0)


def training_images(step: Step, found: Schedule) -> int:
    """How many images a step trains on, before any is left out as broken or grey."""
    data, _ = place_of(step)
    count = len(training_parts(dataset_root(data, found.place["data_dir"])).train)
    return min(count, step.training.limit or count)


def _batches(step: Step, found: Schedule) -> int:
    """Of a whole training."""
    epochs = _epochs(step.training) + getattr(step.training, "d_epochs", 0)
    return epochs * max(1, training_images(step, found) // step.training.images_per_step)


def _trial(step: Step | None) -> Step | None:
    """The same training, short, and what it needs."""
    if step is None:
        return None
    t, names = step.training, {each.name for each in fields(step.training)}
    short = {"frozen_epochs": 0, "d_epochs": 0, "patience": None}
    changes = {name: value for name, value in short.items() if name in names}
    images = max(_IMAGES, _BATCHES * t.images_per_step)
    training = adapted(t, seed=0, epochs=2, limit=images, **changes)
    return replace(step, training=training, needs=_trial(step.needs), factors=None, rival=None)


def _timed(trial: Step, folder: Path, place: dict) -> dict[str, float]:
    """run → seconds a batch, of a trial and of those that it needs."""
    found = {}
    for step in with_needs([trial]):
        if not (folder / step.run).exists():
            TRAIN[step.training.command](step.ready(folder, **place))
        batches = max(1, step.training.limit // step.training.images_per_step)
        found[step.run] = read_history(folder / step.run)[-1]["seconds"] / batches
    return found


@contextmanager
def _quiet(threads: int) -> Iterator[None]:
    """In here the package logs errors only, and torch has so many threads."""
    log, before = logging.getLogger("colourgan"), torch.get_num_threads()
    level = log.level
    log.setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        log.setLevel(level)
