"""The training loop that every command shares: epochs in phases, saved so that they can go on."""

import math
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler, combined_cos
from fastai.learner import Learner
from fastai.optimizer import Optimizer
from fastai.torch_core import to_device
from tqdm import tqdm

from colourgan import plots
from colourgan.callbacks import Adversarial, TrainingCallback, epoch_of
from colourgan.errors import Diverged, UsageError
from colourgan.learners.runs import Run, set_random_state
from colourgan.schedules import SCHEDULES

ONE_CYCLE = "one-cycle"


class Phase(NamedTuple):
    """Epochs under one schedule with highest learning rate `lr`.

    lr: a number, or a pair for the two parameter groups, encoder and decoder;
    frozen: train the last parameter group only (and batch norm); schedule: fastai's "one-cycle" or
    a name of SCHEDULES, counted in batches over the phase, with its decay_steps and lowest rate;
    alone: train the discriminator only, see `Adversarial`.
    """

    epochs: int
    lr: float | tuple[float, float]
    frozen: bool = False
    schedule: str = ONE_CYCLE
    decay_steps: int = 1
    lr_floor: float = 0.0
    alone: bool = False


def checked_phase(
    epochs: int,
    lr: float | tuple[float, float],
    schedule: str,
    decay_steps: int,
    lr_floor: float = 0.0,
    frozen: bool = False,
    alone: bool = False,
) -> Phase:
    """A phase of what the user asked for; UsageError if there is no such training."""
    if not min(epochs, np.min(lr), lr_floor) >= 0:
        raise UsageError(
            f"epochs ({epochs}), learning rates ({lr}) and their floor ({lr_floor}) "
            "must not be negative"
        )
    if decay_steps < 1:
        raise UsageError(f"decay_steps must be 1 or more batches, not {decay_steps}")
    if schedule != ONE_CYCLE and schedule not in SCHEDULES:
        choices = ", ".join((ONE_CYCLE, *SCHEDULES))
        raise UsageError(f"unknown schedule '{schedule}': choices: {choices}")
    return Phase(epochs, lr, frozen, schedule, decay_steps, lr_floor, alone)


class Stateful(Protocol):
    def state_dict(self) -> dict: ...
    def load_state_dict(self, state: dict) -> None: ...


class OneCycle(ParamScheduler):
    """fastai's fit_one_cycle over a phase that is fitted one epoch at a time."""

    def __init__(self, phase: Phase, rates, position: int, start: float = 0.25):
        # fit_one_cycle's own constants: div 25, div_final 1e5, momentum .95 → .85 → .95
        lr = combined_cos(start, rates / 25, rates, rates / 1e5)
        super().__init__({"lr": lr, "mom": combined_cos(start, 0.95, 0.85, 0.95)})
        self.phase, self.position = phase, position

    def before_batch(self):
        self._update_val((self.position + self.pct_train) / self.phase.epochs)


class Decay(Callback):
    """A schedule of SCHEDULES over such a phase, for the discriminators' optimizers as well.

    adversaries: callbacks with `scale_rates(factor, floor)`.
    """

    order = ParamScheduler.order

    def __init__(self, phase: Phase, rates, position: int, adversaries: list):
        self.phase, self.rates = phase, rates
        self.position, self.adversaries = position, adversaries

    def before_batch(self):
        if not self.training:
            return
        phase = self.phase
        step, steps = self.position * self.n_iter + self.iter, phase.epochs * self.n_iter
        factor = SCHEDULES[phase.schedule](step, steps, phase.decay_steps)
        rates = [max(lr * factor, phase.lr_floor) for lr in self.rates]
        self.learn.opt.set_hyper("lr", rates)
        for adversary in self.adversaries:
            adversary.scale_rates(factor, phase.lr_floor)


class Progress(Callback):
    """One bar for the whole training, with the time left and the newest losses.

    seconds: what the training batches of the last epoch took, without validation.
    """

    order = 90

    def __init__(self, bar: tqdm):
        self.bar, self.seconds = bar, 0.0

    def before_train(self):
        self.start = time.perf_counter()

    def after_train(self):
        self.seconds = time.perf_counter() - self.start

    def after_batch(self):
        if self.training:
            self.bar.update()
            self.bar.set_postfix_str(f"loss {float(self.smooth_loss):.4f}", refresh=False)


class StopAtNaN(TrainingCallback):
    """Ends the training with Diverged when the loss is NaN or infinite, before any weight moves."""

    order = 11  # after Precision has closed its autocast

    def after_loss(self):
        if self.training and not math.isfinite(self.loss.item()):
            raise Diverged(
                f"the loss is {self.loss.item()} in epoch {epoch_of(self.learn)}, batch "
                f"{self.iter}: training stopped, the last good model is kept; try a lower learning "
                "rate or precision fp32"
            )

    def state_dict(self) -> dict:
        return {}


def train(
    learn: Learner,
    run: Run,
    phases: list[Phase],
    save_model: Callable[[], None],
    show_samples: Callable[[int], None] | None = None,
    stateful: dict[str, Stateful] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Trains through all phases, or what is left of them, saving the run after every epoch.

    save_model writes the model file; show_samples(epoch) draws samples; stateful: further objects
    whose state belongs to the run (discriminator, averaged weights); stopped: asked before every
    epoch whether to train no more. Raises RunError on NaN.
    """
    stateful = {"precision": learn.precision, **(stateful or {})}
    if learn.opt is None:
        learn.create_opt()
    done = _restore(learn, run, stateful)
    schedule = [(phase, i) for phase in phases for i in range(phase.epochs)]
    steps = len(learn.dls.train)
    bar = tqdm(
        total=len(schedule) * steps, initial=done * steps, unit="batch", mininterval=0.5,
        desc=run.path.name, disable=None, file=sys.stderr,
    )  # fmt: skip
    with bar, learn.no_bar(), learn.no_logging():
        for epoch in range(done, len(schedule)):
            if stopped():
                break
            learn.epochs_before = epoch
            seconds = _fit_epoch(learn, *schedule[epoch], bar)
            run.history.append({**_row(learn, epoch), "seconds": round(seconds, 2)})
            bar.write(_line(run.history[-1], len(schedule)), file=sys.stderr)
            if show_samples:
                show_samples(epoch + 1)
            _save(learn, run, save_model, stateful)


def _fit_epoch(learn: Learner, phase: Phase, position: int, bar: tqdm) -> float:
    """Returns the seconds that its training batches took."""
    for callback in learn.cbs:
        if isinstance(callback, Adversarial):
            callback.alone = phase.alone
    learn.opt.freeze_to(-1 if phase.frozen else 0)
    if position == 0:
        learn.opt.clear_state()  # as Learner.freeze and unfreeze do
    # A list: of a slice from 0, fastai makes a tenth.
    learn.opt.set_hyper("lr", list(phase.lr) if isinstance(phase.lr, tuple) else phase.lr)
    rates = np.array([hyper["lr"] for hyper in learn.opt.hypers])
    if phase.schedule == ONE_CYCLE:
        schedule = OneCycle(phase, rates, position)
    else:
        adversaries = [callback for callback in learn.cbs if hasattr(callback, "scale_rates")]
        schedule = Decay(phase, rates, position, adversaries)
    progress = Progress(bar)
    learn.fit(1, lr=rates, cbs=[schedule, progress, StopAtNaN()], reset_opt=False)
    return progress.seconds


def _row(learn: Learner, epoch: int) -> dict:
    recorder = learn.recorder
    names = recorder.metric_names[1 : 1 + len(recorder.final_record)]
    values = (value if isinstance(value, str) else float(value) for value in recorder.final_record)
    return {"epoch": epoch + 1, **dict(zip(names, values, strict=True))}


def _line(row: dict, epochs: int) -> str:
    values = (
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if name != "epoch"
    )
    return f"epoch {row['epoch']}/{epochs}: {', '.join(values)}"


def _save(learn: Learner, run: Run, save_model: Callable, stateful: dict[str, Stateful]) -> None:
    save_model()
    run.write_history()
    plots.curves(run.history, run.path / "loss.png")
    run.save_state(
        {
            "epoch": len(run.history),
            "model": learn.model.state_dict(),
            "optimizer": _optimizer_state(learn.opt),
            "order": learn.dls.train.rng.getstate(),
            "extra": {name: part.state_dict() for name, part in stateful.items()},
        }
    )


def _optimizer_state(opt: Optimizer) -> dict:
    """fastai's optimizer state in plain lists and numbers, which load without running code."""
    state = opt.state_dict()
    hypers = [{name: float(value) for name, value in hyper.items()} for hyper in state["hypers"]]
    return {"state": list(state["state"]), "hypers": hypers}


def _restore(learn: Learner, run: Run, stateful: dict[str, Stateful]) -> int:
    state = run.load_state()
    if state is None:
        return 0
    learn.model.load_state_dict(state["model"])
    device = learn.dls.device  # fastai brings the model there, but not Adam's moments
    state["optimizer"]["state"] = to_device(state["optimizer"]["state"], device)
    learn.opt.load_state_dict(state["optimizer"])
    for name, part in stateful.items():
        part.load_state_dict(state["extra"][name])
    version, numbers, gauss = state["order"]
    learn.dls.train.rng.setstate((version, tuple(numbers), gauss))
    set_random_state(state["random"])
    return state["epoch"]
