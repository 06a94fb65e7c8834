"""Precision: forward and loss in the number format that suits the device."""

from contextlib import AbstractContextManager, ExitStack, nullcontext

import torch
from fastai.callback.core import CancelStepException
from fastai.callback.fp16 import MixedPrecision
from fastai.learner import Learner
from fastai.torch_core import to_float
from torch.amp import GradScaler

from colourgan.callbacks.base import TrainingCallback, model_device
from colourgan.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision(TrainingCallback):
    """Autocast of the device in use around forward and loss, in training and in validation.

    mode: see `resolve_precision`. Weights, gradients and predictions stay float32; fp16 scales the
    loss and skips the steps whose gradients overflow. fastai's MixedPrecision differs in that it
    autocasts on CUDA only. Raises UsageError for an unknown mode, and at fit for fp16 without CUDA.
    """

    order = 10  # fastai's MixedPrecision has the same: after casts, before what changes the loss
    each_pass = True

    def __init__(self, mode: str = "auto"):
        _check(mode)
        self.mode, self.resolved, self.device_type = mode, "fp32", "cpu"
        self.scaler = grad_scaler(False, {})
        self.skipped, self._open = False, ExitStack()

    def before_fit(self) -> None:
        """Chooses for the device in use, for validation and prediction too."""
        device = model_device(self.learn)
        self.device_type, self.resolved = device.type, resolve_precision(self.mode, device)
        super().before_fit()

    def start_fit(self) -> None:
        self.scaler = grad_scaler(self.resolved == "fp16", self.scaler.state_dict())

    def autocast(self) -> torch.autocast:
        """A fresh autocast; does nothing for fp32."""
        dtype = DTYPES.get(self.resolved)
        return torch.autocast(self.device_type, dtype=dtype, enabled=dtype is not None)

    def before_batch(self) -> None:
        self.enter(self.autocast())

    def enter(self, context: AbstractContextManager) -> None:
        """Enters a context that ends, with the autocast, when the batch's loss is computed."""
        self._open.enter_context(context)

    def after_pred(self) -> None:
        self.learn.pred = to_float(self.pred)  # so that the loss is computed in float32

    def after_loss(self) -> None:
        """Closes the autocast: what comes later opens its own, with weights cast afresh."""
        self._open.close()

    after_cancel_batch = after_loss  # for the other callbacks' `after_batch`, too

    def before_backward(self) -> None:
        self.learn.loss_grad = self.scaler.scale(self.loss_grad)

    def before_step(self) -> None:
        """Unscales the gradients and cancels the step if one overflowed, for fp16."""
        self.skipped = True
        self.scaler.step(self)  # this callback plays the optimizer: see `step`
        if self.skipped:
            raise CancelStepException

    def step(self) -> None:
        """What the scaler calls if no gradient overflowed; the learner then steps by itself."""
        self.skipped = False

    @property
    def param_groups(self) -> list[dict]:
        return self.opt.param_groups

    def after_step(self) -> None:
        self.scaler.update()  # after a skipped step too

    def before_train(self) -> None:
        """Makes sure that an error or Ctrl-C in a batch leaves no autocast open."""
        self.learn.one_batch = self._one_batch

    before_validate = before_train

    def after_train(self) -> None:
        vars(self.learn).pop("one_batch", None)

    after_validate = after_train

    def _one_batch(self, i: int, b: tuple) -> None:
        # fastai has no event for an error: without this the whole process would stay in bf16.
        try:
            with self._open:
                type(self.learn).one_batch(self.learn, i, b)
        except BaseException:
            self.after_train()
            raise

    def state_dict(self) -> dict:
        return {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.scaler = grad_scaler(bool(state["scaler"]), state["scaler"])


def resolve_precision(mode: str, device: torch.device | str) -> str:
    """The precision that `mode` stands for on `device`: "fp32", "bf16" or "fp16".

    "auto" is bf16 where the device computes it in hardware (CUDA from compute capability 8, CPUs
    with AVX512_BF16 or AMX), else fp32. Raises UsageError for an unknown mode, and for fp16 on
    anything but CUDA, where its small range has no loss scaling.
    """
    _check(mode)
    kind = torch.device(device).type
    if mode == "fp16" and kind != "cuda":
        raise UsageError(f"precision fp16 needs a CUDA GPU: on {kind} choose auto, fp32 or bf16")
    if mode != "auto":
        return mode
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # torch has no public question for this in all versions since 2.6; `bool` answers False.
        flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = kind == "cpu" and any(getattr(torch.cpu, flag, bool)() for flag in flags)
    return "bf16" if fast else "fp32"


def precision_of(learn: Learner) -> Precision | None:
    """The learner's Precision callback, if it has one."""
    return next((cb for cb in learn.cbs if isinstance(cb, Precision)), None)


def autocast_of(learn: Learner) -> AbstractContextManager:
    """A fresh autocast as the learner's Precision makes it; without one it does nothing."""
    precision = precision_of(learn)
    return precision.autocast() if precision else nullcontext()


def before_pass(learn: Learner) -> None:
    """Prepares a further pass of the generator in a batch whose before_batch has been.

    Calls that event of the callbacks that need it before every pass (they have `each_pass`): after
    the loss of the pass before they ended what they had begun.
    """
    for callback in learn.cbs:
        if isinstance(callback, MixedPrecision) or getattr(callback, "each_pass", False):
            callback.before_batch()


def grad_scaler(enabled: bool, state: dict) -> GradScaler:
    """A loss scaler, going on from the `state_dict` of an earlier one if that is not empty."""
    scaler = GradScaler("cuda", enabled=enabled)
    if state:
        scaler.load_state_dict(state)
    return scaler


def _check(mode: str) -> None:
    if mode not in PRECISIONS:
        raise UsageError(f"unknown precision '{mode}': choices: {', '.join(PRECISIONS)}")
