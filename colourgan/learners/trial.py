"""Training for a while to find something out, and leaving no trace of it."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.learner import Learner
from torch import Tensor

from colourgan.callbacks import TrainingCallback
from colourgan.datasets import StreamedDL
from colourgan.learners.runs import random_state, set_random_state


class _TrainOnly(Callback):
    """Ends a fit before its validation."""

    order = 1000  # others close in after_train what they opened

    def after_train(self) -> None:
        raise CancelFitException


@contextmanager
def without_trace(learn: Learner) -> Iterator[None]:
    """Inside the block a learner may train; after it all is as it was before its first fit.

    Restored are the weights, the state of every TrainingCallback, all random generators and the
    order of the training images, of a stream its place; the optimizer is gone. Copies are kept in
    the machine's memory.
    """
    callbacks = [cb for cb in learn.cbs if isinstance(cb, TrainingCallback)]
    states = [_copied(cb.state_dict()) for cb in callbacks]
    weights, training = _copied(learn.model.state_dict()), learn.model.training
    trained = [parameter.requires_grad for parameter in learn.model.parameters()]
    loader = learn.dls.train
    random, order = random_state(), loader.rng.getstate()
    stream = _copied(loader.state_dict()) if isinstance(loader, StreamedDL) else None
    try:
        yield
    finally:
        learn.model.load_state_dict(weights)
        learn.model.train(training)
        for parameter, wanted in zip(learn.model.parameters(), trained, strict=True):
            parameter.requires_grad_(wanted)
        for callback, state in zip(callbacks, states, strict=True):
            callback.load_state_dict(state)
            callback.fitting = False
        forget(learn)
        learn.opt = None
        loader.rng.setstate(order)
        if stream is not None:
            loader.load_state_dict(stream)
        set_random_state(random)


def fit_on(learn: Learner, batches: Iterable, cbs: Sequence[Callback] = ()) -> None:
    """Trains on these batches, whose `len` is known, without validation, bars and log."""
    dls = learn.dls
    learn.dls = SimpleNamespace(train=batches, device=dls.device)
    try:
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, cbs=[*cbs, _TrainOnly()])
    finally:
        learn.dls = dls
        learn._end_cleanup()


def forget(learn: Learner) -> None:
    """Frees what a training step left: gradients, and the memory that torch holds in reserve."""
    networks = [learn.model]
    for callback in learn.cbs:
        networks += [part for part in vars(callback).values() if isinstance(part, torch.nn.Module)]
    vars(learn).pop("loss_grad", None)  # after an error its graph holds all activations
    for parameter in (p for network in networks for p in network.parameters()):
        parameter.grad = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _copied(value: Any) -> Any:
    """A copy in the machine's memory of what a state_dict holds."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copied, value))
    return deepcopy(value)
