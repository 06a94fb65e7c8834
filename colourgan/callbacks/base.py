"""What the callbacks share: columns, a state to resume from, and errors of one line."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from math import isfinite

import torch
from fastai.callback.core import Callback
from fastai.learner import Learner, ValueMetric
from torch import Tensor

from colourgan import processes
from colourgan.errors import Diverged, RunError, UsageError

READ_EVERY = 32  # notes of losses on a GPU: reading one waits until all that was asked for is done


class TrainingCallback(Callback):
    """A callback whose state can be saved, and is after `learn.lr_find()` what it was before.

    A subclass overrides `state_dict` and `load_state_dict` if it has a state, and `start_fit` if it
    prepares for training. Its UsageError and RunError leave `learn.fit` as one clear line.
    """

    fitting = False
    columns: Sequence[ValueMetric] = ()  # what this callback measures, for the recorder
    _before_lr_find = None

    @property
    def learn(self):
        """The learner; leaving it (`learn.remove_cb`) takes the columns along."""
        return vars(self).get("_learn")

    @learn.setter
    def learn(self, learn):
        if learn is None and self.learn is not None:
            self.learn.metrics = [m for m in self.learn.metrics if m not in self.columns]
        vars(self)["_learn"] = learn

    def __call__(self, event_name: str):
        """As fastai's, without the words that it wraps around the message of an error."""
        try:
            return super().__call__(event_name)
        except (RunError, UsageError) as error:
            error.args = (str(error).rpartition(":\n\t")[2],)
            raise

    def before_fit(self) -> None:
        """Starts a training and adds the columns, except in validate and predict."""
        self.fitting = not self.learn.lock.locked()  # those two hold fastai's lock
        if self.fitting:
            new = [m for m in self.columns if m not in self.learn.metrics]
            self.learn.metrics = [*self.learn.metrics, *new]
            self.start_fit()
            self._before_lr_find = deepcopy(self.state_dict()) if self.finding_lr else None

    def after_fit(self) -> None:
        """Undoes what `lr_find` did; fastai itself restores the generator only."""
        self.fitting = False
        if self._before_lr_find is not None:
            self.load_state_dict(self._before_lr_find)
            self._before_lr_find = None

    @property
    def finding_lr(self) -> bool:
        """Whether this training is `learn.lr_find()`'s."""
        return hasattr(self.learn, "lr_finder")

    def start_fit(self) -> None:
        """Runs before every training, with the generator already on its device."""

    def state_dict(self) -> dict:
        """All that a training needs to go on: tensors and plain values; here nothing."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Takes over what `state_dict` returned; may be called before the first training."""


class Watch:
    """Losses of a training, noted as tensors and read a few batches at a time.

    On a CPU every one is read at once, before anything is done with it; elsewhere READ_EVERY notes
    are read together, and the rest when `read` is called, which must be before a model is saved.
    """

    def __init__(self):
        self.pending: list[tuple[int, tuple[str, ...], Tensor]] = []
        self.values: dict[str, list[float]] = defaultdict(list)

    def note(self, learn: Learner, **losses: Tensor) -> None:
        """Takes scalars of this batch. Raises Diverged if one that is read is not finite."""
        # Of several processes the mean: all of them meet NaN in the same batch.
        noted = processes.mean(torch.stack([loss.detach() for loss in losses.values()]))
        self.pending.append((learn.iter, tuple(losses), noted))
        if self.on_cpu(noted) or len(self.pending) >= READ_EVERY:
            self.read(learn)

    def read(self, learn: Learner) -> None:
        """Reads what is pending into `values`. Raises Diverged if a number is not finite."""
        for batch, name, number in self._numbers():
            if not isfinite(number):
                raise Diverged(
                    f"{name} is {number} in epoch {epoch_of(learn)}, batch {batch}: training "
                    "stopped, the last good model is kept; try a lower learning rate or precision "
                    "fp32"
                )
            self.values[name].append(number)

    @staticmethod
    def on_cpu(noted: Tensor) -> bool:
        return noted.device.type == "cpu"

    def _numbers(self) -> Iterator[tuple[int, str, float]]:
        pending, self.pending = self.pending, []
        if not pending:
            return
        numbers = iter(torch.cat([noted for _, _, noted in pending]).tolist())
        for batch, names, _ in pending:
            yield from ((batch, name, next(numbers)) for name in names)


def model_device(learn: Learner) -> torch.device:
    """The device that the generator is on, to which fastai brings every batch."""
    return next(learn.model.parameters()).device


def epoch_of(learn: Learner) -> int:
    """Which epoch is running, from 1; `learn.epochs_before` counts those of earlier fits."""
    return getattr(learn, "epochs_before", 0) + learn.epoch + 1
