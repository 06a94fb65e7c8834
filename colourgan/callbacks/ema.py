"""EMA: the exponential moving average of the generator's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from colourgan.callbacks.base import TrainingCallback
from colourgan.errors import UsageError


class EMA(TrainingCallback):
    """Averages the generator's weights and buffers after each of its steps.

    The t-th step (from 0) keeps min(decay, (1 + t) / (10 + t)) of the average, so that short runs
    forget their start too; integer buffers are copied. Inside `learn.fit`, validation and
    predictions use the average; outside, `learn.model` is what the optimizer left until
    `copy_to_model`. Raises UsageError if decay is not between 0 and 1.
    Source: the warm-up is that of TensorFlow's ExponentialMovingAverage(num_updates).
    """

    order = 90  # the last in after_validate: others look at the averaged model there

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise UsageError(f"the decay of an average must be from 0 to below 1, not {decay}")
        self.decay, self.updates = decay, 0
        self.average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}  # the weights in training while the average is in
        self._skipped = False

    def before_fit(self) -> None:
        self._swap_out()  # what a validation that ended with an error or Ctrl-C left in
        super().before_fit()

    def start_fit(self) -> None:
        """Begins with the weights as they are; goes on with an average that has begun."""
        weights = self.learn.model.state_dict()
        source = self.average if self.updates else weights
        self.average = {name: source[name].to(w.device).clone() for name, w in weights.items()}
        floats = [name for name, weight in weights.items() if weight.is_floating_point()]
        # Gathered once: a state_dict takes longer than the average on a GPU.
        self._pairs = [[each[name] for name in floats] for each in (self.average, weights)]
        self._others = [(self.average[n], weights[n]) for n in weights.keys() - set(floats)]

    def after_cancel_step(self) -> None:
        self._skipped = True  # by the loss scaling of fp16

    def after_step(self) -> None:
        skipped, self._skipped = self._skipped, False
        if skipped:
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(*self._pairs, None)
        for average, weight in self._others:
            average.copy_(weight)
        self.updates += 1

    def before_validate(self) -> None:
        if self.fitting:
            self._swap_in()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block `learn.model` has the averaged weights: to sample from or to save."""
        self._swap_in()
        try:
            yield
        finally:
            self._swap_out()

    def copy_to_model(self) -> None:
        """Gives `learn.model` the averaged weights for good; nothing before the first step."""
        self._trained = {}
        if self.updates:
            self.learn.model.load_state_dict(self.average)

    def state_dict(self) -> dict:
        return {"average": self.average, "updates": self.updates}

    def load_state_dict(self, state: dict) -> None:
        self.average, self.updates = dict(state["average"]), state["updates"]

    def _swap_in(self) -> None:
        if self.updates and not self._trained:
            weights = self.learn.model.state_dict()
            self._trained = {name: weight.clone() for name, weight in weights.items()}
            self.learn.model.load_state_dict(self.average)

    def _swap_out(self) -> None:
        if self._trained:
            self.learn.model.load_state_dict(self._trained)
            self._trained = {}

    after_validate = _swap_out
