"""The learning rate by a range test: `--lr auto`."""

import logging
import math
from collections.abc import Iterator
from itertools import chain, islice, repeat

import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.schedule import valley
from fastai.data.core import TfmdDL
from fastai.learner import Learner
from tqdm import tqdm

from colourgan import plots
from colourgan.errors import RunError
from colourgan.learners.runs import RATES, Run
from colourgan.learners.trial import fit_on, without_trace

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
LEFT_OUT = 10  # of the first steps, and half as many of the last: as in fastai's lr_find
MOST = 1e-3
"""At 2e-3 the last decoder block of the larger U-Nets has died, though the loss looked fine."""

_log = logging.getLogger(__name__)


def settle_rate(learn: Learner, run: Run, ratio: float, frozen: bool) -> float:
    """The decoder's rate for a run: what an earlier start found, or what `suggestion` says.

    config.json has it under "chosen", and lr_find.png in the run's folder shows the test.
    """
    chosen = run.config.setdefault("chosen", {})
    if "lr" not in chosen:
        rates, losses = range_test(learn, ratio, frozen)
        suggested = suggestion(rates, losses)
        chosen["lr"] = rate = float(f"{min(suggested, MOST):.2g}")
        plots.range_test(rates, losses, rate, run.path / RATES)
        run.write_config()
        why = f"suggested by a range test, see {RATES}"
        if suggested > MOST:
            why = f"a range test suggests {suggested:.2g}, which can kill the last decoder block"
        _log.info("%s: learning rate %g (%s)", run.path, rate, why)
    return chosen["lr"]


def range_test(learn: Learner, ratio: float, frozen: bool) -> tuple[list[float], list[float]]:
    """The rates of up to STEPS steps that rise from LOWEST to HIGHEST, and their smoothed losses.

    It ends early where the loss is four times its lowest value or not finite. ratio: the encoder's
    rate as a fraction of the decoder's; frozen: the encoder does not train. All is as before
    afterwards, see `without_trace`.
    """
    with without_trace(learn):
        learn.create_opt()
        learn.opt.freeze_to(-1 if frozen else 0)
        rising = _Rising(ratio)
        with rising.bar:
            fit_on(learn, _Steps(learn.dls.train), [rising])
    return rising.rates, rising.losses


def suggestion(rates: list[float], losses: list[float]) -> float:
    """The rate that fastai's "valley" suggests; RunError if no loss is below the first one."""
    kept = slice(LEFT_OUT, len(losses) - LEFT_OUT // 2)
    if len(losses[kept]) < LEFT_OUT or min(losses[kept]) >= losses[0]:
        raise RunError("a range test finds no learning rate, its loss does not fall: give --lr")
    rate, _ = valley(torch.tensor(rates[kept]), torch.tensor(losses[kept]), STEPS)
    return rate


class _Steps:
    """The batches of a loader, begun anew as often as STEPS need it."""

    def __init__(self, loader: TfmdDL):
        self.loader = loader

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator:
        return islice(chain.from_iterable(repeat(self.loader)), STEPS)


class _Rising(Callback):
    """Raises the learning rate exponentially from batch to batch, and notes the losses."""

    order = 60  # after the Recorder, which smooths the loss

    def __init__(self, ratio: float):
        self.ratio, self.rates, self.losses = ratio, [], []
        self.bar = tqdm(total=STEPS, unit="batch", desc="range test", disable=None, leave=False)

    def before_batch(self) -> None:
        rate = LOWEST * (HIGHEST / LOWEST) ** (self.iter / (STEPS - 1))
        groups = len(self.opt.hypers)
        self.opt.set_hyper("lr", [self.ratio * rate] * (groups - 1) + [rate])
        self.rates.append(rate)

    def after_batch(self) -> None:
        loss = float(self.smooth_loss)
        self.bar.update()
        if math.isfinite(loss):
            self.losses.append(loss)
        if not math.isfinite(loss) or loss > 4 * min(self.losses):
            del self.rates[len(self.losses) :]
            raise CancelFitException
