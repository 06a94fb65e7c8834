"""BestEpoch: which epoch's generator beats mere saturation by most, and when to stop looking."""

from itertools import islice
from math import inf, isfinite, isnan, nan

import torch
from fastai.data.core import DataLoaders
from fastai.learner import ValueMetric
from torch import Tensor, nn

from colourgan.callbacks.base import TrainingCallback, epoch_of, model_device
from colourgan.color import decode
from colourgan.errors import RunError, UsageError
from colourgan.metrics import colorfulness, saturation_match

JUDGED = 256  # validation images
_BATCH = 32  # images predicted at once: bounds memory


class BestEpoch(TrainingCallback):
    """Judges the generator after every epoch against the one it started as; remembers the best.

    start: the generator before the training, on its device; dls: whose first JUDGED validation
    images are judged; patience: epochs without a better one after which `stopped` is true; waited:
    the first so many epochs of a run do not count, for they do not train the generator. With EMA it
    is the averaged generator that is judged. The recorder's column gain has `gain`: NaN never is
    better, but the first epoch that counts is the best one until another is. Raises UsageError for
    a patience below 1.
    """

    # Before the Recorder takes the columns, and before EMA takes its average out again.
    order = 13

    def __init__(self, start: nn.Module, dls: DataLoaders, patience: int, waited: int = 0):
        if patience < 1:
            raise UsageError(f"patience must be 1 epoch or more, not {patience}")
        self.patience, self.waited = patience, waited
        self.epoch, self.best_epoch, self.value, self.best = 0, 0, nan, nan
        device = next(start.parameters()).device
        with torch.random.fork_rng(devices=[]):  # or looking would change what is trained
            batches = list(islice(dls.valid, -(-JUDGED // dls.valid.bs)))
        parts = zip(*batches, strict=True)
        self.L, self.ab = (torch.cat(part)[:JUDGED].detach().cpu() for part in parts)
        self.start = _predicted(start, self.L, device)
        self.columns = [ValueMetric(lambda: self.value, "gain")]

    @property
    def keeps(self) -> bool:
        """Whether the generator of the last epoch is the one to keep."""
        return self.epoch <= self.waited or self.epoch == self.best_epoch

    @property
    def stopped(self) -> bool:
        """Whether no epoch was better than the best one for `patience` epochs."""
        return self.best_epoch > 0 and self.epoch - self.best_epoch >= self.patience

    def start_fit(self) -> None:
        """Adds the column."""
        new = [m for m in self.columns if m not in self.learn.metrics]
        self.learn.metrics = [*self.learn.metrics, *new]

    def after_validate(self) -> None:
        """Judges the epoch."""
        if not self.fitting or self.finding_lr:
            return
        pred = _predicted(self.learn.model, self.L, model_device(self.learn))
        self.epoch, self.value = epoch_of(self.learn), gain(pred, self.start, self.L, self.ab)
        if self.epoch > self.waited and (
            not self.best_epoch or _order(self.value) > _order(self.best)
        ):
            self.best_epoch, self.best = self.epoch, self.value

    def state_dict(self) -> dict:
        """How far the training is, and its best epoch with that one's gain."""
        return {"epoch": self.epoch, "best_epoch": self.best_epoch, "best": self.best}

    def load_state_dict(self, state: dict) -> None:
        """Takes over all three."""
        self.epoch, self.best_epoch, self.best = (
            state[name] for name in ("epoch", "best_epoch", "best")
        )


@torch.no_grad()
def gain(pred: Tensor, start: Tensor, L: Tensor, ab: Tensor) -> float:
    """How far the L1 of `pred` lies below that of `start` at equal colorfulness, as a share of it.

    pred, start, ab: (N, 2, H, W), L: (N, 1, H, W), in network units. The paler of the two is scaled
    until its mean colorfulness is the other's (see `saturation_match`): 0 is no better than mere
    saturation, below 0 is worse. NaN if one of the two is grey or not finite.
    """
    now, before = (_mean_colorfulness(each, L) for each in (pred, start))
    try:
        if now > before:
            start = start * saturation_match(start, L, now)
        elif now < before:
            pred = pred * saturation_match(pred, L, before)
    except RunError:  # no factor: it is grey
        return nan
    l1, rival = (float((each - ab).abs().double().mean()) for each in (pred, start))
    return (rival - l1) / rival if rival and isfinite(l1 + rival) else nan


def _mean_colorfulness(ab: Tensor, L: Tensor) -> float:
    pairs = zip(L.split(JUDGED), ab.split(JUDGED), strict=True)
    return float(torch.cat([colorfulness(decode(*pair)) for pair in pairs]).double().mean())


def _predicted(generator: nn.Module, L: Tensor, device: torch.device) -> Tensor:
    """ab (N, 2, H, W) float32 on the CPU; the generator's modules keep their modes."""
    modes = [(module, module.training) for module in generator.modules()]
    generator.eval()
    with torch.no_grad():
        ab = torch.cat([generator(part.to(device)).float().cpu() for part in L.split(_BATCH)])
    for module, mode in modes:
        module.training = mode
    return ab


def _order(value: float) -> float:
    return -inf if isnan(value) else value
