"""Accumulation: a batch in parts whose gradients are added up, for one step on all of them."""

from typing import NamedTuple

import torch
from fastai.callback.core import CancelBackwardException, CancelBatchException, CancelStepException
from fastai.learner import Learner
from torch import Tensor

from colourgan.callbacks.base import TrainingCallback
from colourgan.callbacks.precision import before_pass
from colourgan.errors import UsageError


class Part(NamedTuple):
    """The parts of a batch: which is being computed, all inputs and targets, shares of images."""

    number: int
    all: list[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
    shares: list[float]

    @property
    def share(self) -> float:
        return self.shares[self.number]

    @property
    def is_last(self) -> bool:
        return self.number == len(self.all) - 1


class Accumulation(TrainingCallback):
    """Computes every training batch in parts of at most `size` images, and steps once on the whole.

    A loss that is a mean over images, and its gradient, are those of the whole batch: each part
    counts by its number of images. What looks at several images at once, batch norm above all,
    sees those of a part. Other callbacks have before_batch, before_step, after_step and after_batch
    once a batch, and the events from after_pred to after_backward once a part; from before_step on,
    `learn.pred` and `learn.loss` are those of the whole batch. So the training loader's batches,
    not this callback, say how many images a step is on: what counts batches counts steps, and no
    gradient is left over between epochs.

    Beside `Adversarial` the discriminator steps on all parts before the generator's gradients are
    computed, as it does on a whole batch; that takes the generator's colors of the further parts
    beforehand, which are predicted twice. Raises UsageError for a size below 1.
    """

    run_valid = False

    def __init__(self, size: int):
        if size < 1:
            raise UsageError(f"a part of a batch must have 1 image or more, not {size}")
        self.size, self.part = size, Part(0, [], [])

    def before_train(self) -> None:
        self.learn._do_one_batch = self._do_one_batch

    def after_train(self) -> None:
        vars(self.learn).pop("_do_one_batch", None)
        self.part = Part(0, [], [])  # whose images would stay in memory

    def after_fit(self) -> None:
        self.after_train()  # which an event that ends the fit leaves out
        super().after_fit()

    def _do_one_batch(self) -> None:
        """fastai's, with the passes of all parts in place of one."""
        learn, whole = self.learn, (self.learn.xb, self.learn.yb)
        try:
            pred, loss = self._passes(*whole)
        except CancelBatchException:
            raise
        except BaseException:  # fastai has no event for an error
            self.after_train()
            raise
        finally:
            learn.xb, learn.yb = whole
        learn.pred, learn.loss = pred, loss
        learn._with_events(learn._step, "step", CancelStepException)
        learn.opt.zero_grad()

    def _passes(self, xb: tuple, yb: tuple) -> tuple[Tensor, Tensor]:
        """Forward and backward of every part; pred and loss of all, detached."""
        learn, count = self.learn, len(xb[0])
        number = -(-count // self.size)
        # Of nearly the same size, so that no image is alone: batch norm could not train on it.
        split = [
            list(zip(*(each.tensor_split(number) for each in b), strict=True)) for b in (xb, yb)
        ]
        parts, preds, loss = list(zip(*split, strict=True)), [], 0.0
        shares = [len(inputs[0]) / count for inputs, _ in parts]
        for i, part in enumerate(parts):
            learn.xb, learn.yb = part
            self.part = Part(i, parts, shares)
            if i:
                before_pass(learn)
            learn.pred = learn.model(*learn.xb)
            learn("after_pred")
            learn.loss_grad = learn.loss_func(learn.pred, *learn.yb)
            learn.loss = learn.loss_grad.clone()
            learn("after_loss")
            preds.append(learn.pred.detach())
            loss = loss + self.part.share * learn.loss.detach()
            learn.loss_grad = self.part.share * learn.loss_grad
            learn._with_events(learn._backward, "backward", CancelBackwardException)
        return torch.cat(preds), loss


def part_of(learn: Learner) -> Part:
    """The part that is being computed; without an Accumulation it is the whole batch."""
    found = next((cb for cb in learn.cbs if isinstance(cb, Accumulation)), None)
    return found.part if found else Part(0, [(learn.xb, learn.yb)], [1.0])
