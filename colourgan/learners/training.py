"""The training loop that every command shares: epochs in phases, saved so that they can go on."""

import ctypes
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler, combined_cos
from fastai.learner import AvgSmoothLoss, Learner
from fastai.torch_core import set_seed, to_device
from tqdm import tqdm

from colourgan import plots, processes
from colourgan.callbacks import Adversarial, TrainingCallback, Watch, begin_alike
from colourgan.datasets import StreamedDL
from colourgan.errors import UsageError
from colourgan.learners.memory import saying_what_to_try
from colourgan.learners.runs import Run, set_random_state
from colourgan.schedules import SCHEDULES
from colourgan.trainings import Training

ONE_CYCLE = "one-cycle"
_log = logging.getLogger(__name__)


class Phase(NamedTuple):
    """Epochs under one schedule, counted in batches over the phase.

    training: gives the schedule, with its decay_steps and lowest rate; one without is one-cycle.
    lr: maximum learning rate, or a pair for the two parameter groups, encoder and decoder; frozen:
    train the last parameter group only (and batch norm); alone: train the discriminator only, see
    `Adversarial`, at a constant rate.
    """

    training: Training
    epochs: int
    lr: float | tuple[float, float]
    frozen: bool = False
    alone: bool = False

    @property
    def schedule(self) -> str:
        return "constant" if self.alone else getattr(self.training, "schedule", ONE_CYCLE)


class Stateful(Protocol):
    def state_dict(self) -> dict: ...
    def load_state_dict(self, state: dict) -> None: ...


class OneCycle(ParamScheduler):
    """fastai's fit_one_cycle over a phase that is fitted one epoch at a time.

    Where beta1 can be chosen, it stays as it was chosen.
    """

    def __init__(self, phase: Phase, rates, position: int, start: float = 0.25):
        # fit_one_cycle's own constants: div 25, div_final 1e5, momentum .95 → .85 → .95
        scheduled = {"lr": combined_cos(start, rates / 25, rates, rates / 1e5)}
        if not hasattr(phase.training, "beta1"):
            scheduled["mom"] = combined_cos(start, 0.95, 0.85, 0.95)
        super().__init__(scheduled)
        self.phase, self.position = phase, position

    def before_batch(self):
        self._update_val((self.position + self.pct_train) / self.phase.epochs)


class Decay(Callback):
    """A schedule of SCHEDULES over such a phase, for the discriminators' optimizers as well."""

    order = ParamScheduler.order

    def __init__(self, phase: Phase, rates, position: int):
        self.phase, self.rates, self.position = phase, rates, position

    def before_fit(self):
        self.adversaries = [cb for cb in self.learn.cbs if hasattr(cb, "scale_rates")]

    def before_batch(self):
        if not self.training:
            return
        phase, floor = self.phase, self.phase.training.lr_floor
        step, steps = self.position * self.n_iter + self.iter, phase.epochs * self.n_iter
        factor = SCHEDULES[phase.schedule](step, steps, phase.training.decay_steps)
        self.learn.opt.set_hyper("lr", [max(lr * factor, floor) for lr in self.rates])
        for adversary in self.adversaries:
            adversary.scale_rates(factor, floor)


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
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # or the last steps are still to be computed
        self.seconds = time.perf_counter() - self.start

    def after_batch(self):
        # Only when it is drawn: reading the loss waits for a GPU.
        if self.training and self.bar.update():
            self.bar.set_postfix_str(f"loss {float(self.smooth_loss):.4f}", refresh=False)


class StopAtNaN(TrainingCallback):
    """Ends the training with Diverged when the loss is NaN or infinite, see `Watch`."""

    order, run_valid = 11, False  # after Precision has closed its autocast

    def before_train(self):
        self.watch = Watch()

    def after_loss(self):
        self.watch.note(self.learn, **{"the loss": self.loss})

    def after_train(self):
        self.watch.read(self.learn)


class ReturnMemory(Callback):
    """Returns freed memory to the system at an epoch's first batch and every EVERY batches.

    glibc's heap fragments where tensors of many sizes come and go: on a CPU by .1 MB a batch.
    """

    EVERY = 500
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None

    def after_batch(self):
        if self.training and self.trim and self.iter % self.EVERY == 0:
            self.trim(0)


class SmoothLoss(AvgSmoothLoss):
    """fastai's smoothed loss, kept on the device: moving it would wait for every batch."""

    def accumulate(self, learn):
        self.count += 1
        loss = learn.loss.detach().mean()
        self.val = torch.lerp(loss, self.val.to(loss.device, loss.dtype), self.beta)


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
    epoch whether to train no more. Raises RunError on NaN, UsageError if the generator would not
    take a single step, OutOfMemory.
    """
    parts = getattr(phases[0].training, "accumulate", 1)

    def kept() -> str:
        return f"; {run.path} has the model of epoch {len(run.history)}" if run.history else ""

    with saying_what_to_try(phases[0].training, -(-learn.dls.train.bs // parts), kept):
        _train(learn, run, phases, save_model, show_samples, stateful, stopped)


def _train(
    learn: Learner,
    run: Run,
    phases: list[Phase],
    save_model: Callable[[], None],
    show_samples: Callable[[int], None] | None,
    stateful: dict[str, Stateful] | None,
    stopped: Callable[[], bool],
) -> None:
    batches = len(learn.dls.train) * sum(phase.epochs for phase in phases if not phase.alone)
    asked = phases[0].training
    d_steps = 1 if getattr(asked, "same_batch", False) else getattr(asked, "d_steps", 1)
    if batches < d_steps:
        raise UsageError(
            f"the generator would never train: it takes one step every {d_steps} batches "
            f"(--d-steps), and there are {batches}: more images, epochs or smaller batches"
        )
    stateful = {"precision": learn.precision, **(stateful or {})}
    learn.recorder.smooth_loss = SmoothLoss()
    if isinstance(learn.dls.train, StreamedDL):
        stateful["stream"] = learn.dls.train
    if learn.opt is None:
        learn.create_opt()
    done = 0
    if (state := run.load_state()) is not None:
        learn.model.load_state_dict(state["model"])
        device = learn.dls.device  # fastai brings the model there, but not Adam's moments
        state["optimizer"]["state"] = to_device(state["optimizer"]["state"], device)
        learn.opt.load_state_dict(state["optimizer"])
        for name, part in stateful.items():
            part.load_state_dict(state["extra"][name])
        version, numbers, gauss = state["order"]
        learn.dls.train.rng.setstate((version, tuple(numbers), gauss))
        done = state["epoch"]
        draw_apart(run, asked.seed + 1000 * done, [state["random"], *state.get("others", [])])
    else:
        draw_apart(run, asked.seed)
    del state  # as large as the model and its optimizer
    begin_alike(learn)
    schedule = [(phase, i) for phase in phases for i in range(phase.epochs)]
    steps = len(learn.dls.train)
    bar = tqdm(
        total=len(schedule) * steps, initial=done * steps, unit="batch", mininterval=0.5,
        desc=run.path.name, disable=processes.rank() > 0 or None, file=sys.stderr,
    )  # fmt: skip
    with bar, learn.no_bar(), learn.no_logging():
        for epoch in range(done, len(schedule)):
            if stopped():
                break
            learn.epochs_before = epoch
            phase, position = schedule[epoch]
            for callback in learn.cbs:
                if isinstance(callback, Adversarial):
                    callback.alone = phase.alone
            learn.opt.freeze_to(-1 if phase.frozen else 0)
            if position == 0:
                learn.opt.clear_state()  # as Learner.freeze and unfreeze do
            # A list: of a slice from 0, fastai makes a tenth.
            learn.opt.set_hyper("lr", list(phase.lr) if isinstance(phase.lr, tuple) else phase.lr)
            rates = np.array([hyper["lr"] for hyper in learn.opt.hypers])
            scheduled = (OneCycle if phase.schedule == ONE_CYCLE else Decay)(phase, rates, position)
            progress = Progress(bar)
            also = [scheduled, progress, StopAtNaN(), ReturnMemory()]
            learn.fit(1, lr=rates, cbs=also, reset_opt=False)
            # The names end with one more, the time.
            found = zip(learn.recorder.metric_names[1:], learn.recorder.final_record, strict=False)
            row = averaged({name: v if isinstance(v, str) else float(v) for name, v in found})
            row["seconds"] = round(progress.seconds, 2)
            run.history.append({"epoch": epoch + 1, **row})
            values = (f"{v:.4f}" if isinstance(v, float) else v for v in row.values())
            losses = ", ".join(f"{name} {value}" for name, value in zip(row, values, strict=True))
            _log.info(f"epoch {epoch + 1}/{len(schedule)}: {losses}")
            if processes.rank() == 0:
                if show_samples:
                    show_samples(epoch + 1)
                save_model()
                run.write_history()
                plots.curves(run.history, run.path / "loss.png")
            # In plain lists and numbers, which load without running code.
            hypers = [{k: float(v) for k, v in hyper.items()} for hyper in learn.opt.hypers]
            run.save_state(
                {
                    "epoch": epoch + 1,
                    "model": learn.model.state_dict(),
                    "optimizer": {"state": list(learn.opt.state_dict()["state"]), "hypers": hypers},
                    "order": learn.dls.train.rng.getstate(),
                    "extra": {name: part.state_dict() for name, part in stateful.items()},
                }
            )


def draw_apart(run: Run, seed: int, states: Sequence[dict] = ()) -> None:
    """Lets every process draw its own augmentation and dropout from here on.

    states: the random states that as many processes left, the first one's first; with another
    number of them, those after the first begin anew, by seed + rank.
    """
    rank, world = processes.rank(), processes.world()
    if states and len(states) != world:
        _log.warning(
            "%s was trained by %d process(es) until here and goes on with %d: its numbers are not "
            "those that it would have had", run.path, len(states), world,
        )  # fmt: skip
    if states and (rank == 0 or len(states) == world):
        set_random_state(states[rank])
    elif rank:
        set_seed(seed + rank)


def averaged(row: dict) -> dict:
    """A row of the history with the means over all processes; texts are the first one's."""
    numbers = [name for name, value in row.items() if isinstance(value, float)]
    values = processes.mean(torch.tensor([row[name] for name in numbers], dtype=torch.float64))
    return row | dict(zip(numbers, values.tolist(), strict=True))
