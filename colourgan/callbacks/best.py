"""BestEpoch: which epoch's generator beats mere saturation by most, and when to stop looking."""

from itertools import islice
from math import isfinite, isnan, nan

import torch
from fastai.data.core import DataLoaders
from fastai.learner import ValueMetric
from torch import Tensor, nn

from colourgan import processes
from colourgan.callbacks.base import TrainingCallback, epoch_of
from colourgan.errors import RunError, UsageError
from colourgan.metrics import mean_colorfulness, saturation_match

JUDGED = 256  # validation images
_BATCH = 32  # images predicted at once: bounds memory


class BestEpoch(TrainingCallback):
    """Judges the generator after every epoch against the one it started as; remembers the best.

    start: the generator before the training, on its device; dls: their first JUDGED validation
    images are what is judged; patience: epochs without a better one after which `stopped` is true;
    waited: the number of epochs at the start of a run that do not count, as they do not train the
    generator. With EMA the averaged generator is judged. The recorder's column gain has `gain`: NaN
    is never better, but the first epoch that counts is the best one until another is. Raises
    UsageError for a patience below 1.
    """

    # Before the Recorder takes the columns, and before EMA takes its average out again.
    order = 13

    def __init__(self, start: nn.Module, dls: DataLoaders, patience: int, waited: int = 0):
        if patience < 1:
            raise UsageError(f"patience must be 1 epoch or more, not {patience}")
        self.patience, self.waited = patience, waited
        self.epoch, self.best_epoch, self.value, self.best = 0, 0, nan, nan
        with torch.random.fork_rng(devices=[]):  # or looking would change what is trained
            batches = list(islice(dls.valid, -(-JUDGED // dls.valid.bs)))
        parts = zip(*batches, strict=True)
        self.L, self.ab = (torch.cat(part)[:JUDGED].detach().cpu() for part in parts)
        self.start = _predicted(start, self.L)
        self.columns = [ValueMetric(lambda: self.value, "gain")]

    @property
    def keeps(self) -> bool:
        """Whether the generator of the last epoch is the one to keep."""
        return self.epoch <= self.waited or self.epoch == self.best_epoch

    @property
    def stopped(self) -> bool:
        """Whether no epoch was better than the best one for `patience` epochs."""
        return self.best_epoch > 0 and self.epoch - self.best_epoch >= self.patience

    def after_validate(self) -> None:
        if not self.fitting or self.finding_lr:
            return
        self.epoch, self.value = epoch_of(self.learn), processes.first(self._gain)
        better = self.value > self.best or (isnan(self.best) and not isnan(self.value))
        if self.epoch > self.waited and (better or not self.best_epoch):
            self.best_epoch, self.best = self.epoch, self.value

    def _gain(self) -> float:
        return gain(_predicted(self.learn.model, self.L), self.start, self.L, self.ab)

    def state_dict(self) -> dict:
        return {"epoch": self.epoch, "best_epoch": self.best_epoch, "best": self.best}

    def load_state_dict(self, state: dict) -> None:
        self.epoch, self.best_epoch, self.best = state["epoch"], state["best_epoch"], state["best"]


@torch.no_grad()
def gain(pred: Tensor, start: Tensor, L: Tensor, ab: Tensor) -> float:
    """How far the L1 of `pred` lies below that of `start` at equal colorfulness, as a share of it.

    pred, start, ab: (N, 2, H, W), L: (N, 1, H, W), in network units. The paler of the two is scaled
    until its mean colorfulness is the other's (see `saturation_match`): 0 is no better than mere
    saturation, below 0 is worse. NaN if one of the two is grey or not finite.
    """
    now, before = (mean_colorfulness(each, L) for each in (pred, start))
    try:
        if now > before:
            start = start * saturation_match(start, L, now)
        elif now < before:
            pred = pred * saturation_match(pred, L, before)
    except RunError:  # no factor: it is grey
        return nan
    l1, rival = (float((each - ab).abs().double().mean()) for each in (pred, start))
    return (rival - l1) / rival if rival and isfinite(l1 + rival) else nan


@torch.no_grad()
def _predicted(generator: nn.Module, L: Tensor) -> Tensor:
    """ab (N, 2, H, W) float32 on the CPU; the generator's modules keep their modes."""
    device = next(generator.parameters()).device
    modes = [(module, module.training) for module in generator.modules()]
    generator.eval()
    ab = torch.cat([generator(part.to(device)).float().cpu() for part in L.split(_BATCH)])
    for module, mode in modes:
        module.training = mode
    return ab
