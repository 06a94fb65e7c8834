"""What every export shares: a copy to work on, what a file says of itself, tests and refusals."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import torch
from torch import Tensor, nn

from colourgan.errors import RunError, UsageError
from colourgan.generators import described

DECODING = ("temperature", "vivid")
LARGE = 256  # values: tensors with fewer are never stored in half precision, they take no space


def copied(generator: nn.Module, half: bool = False) -> nn.Module:
    """The generator on the CPU, in evaluation mode; half: its large tensors rounded to float16.

    Raises RunError for a value that half precision cannot hold.
    """
    copy_ = copy.deepcopy(generator).cpu().eval()
    for name, value in copy_.state_dict().items() if half else ():
        if value.is_floating_point() and value.numel() >= LARGE:
            value.copy_(value.half())
            if not value.isfinite().all():
                raise RunError(f"{name} has values that half precision cannot hold")
    return copy_


def decoding(generator: nn.Module) -> dict[str, float] | None:
    """Temperature and vivid of a generator of color classes, None of another."""
    classes = getattr(generator, "classes", None)
    return classes and {name: getattr(classes, name).item() for name in DECODING}


def metadata(generator: nn.Module) -> dict:
    """What a file for other runtimes says of itself, for JSON."""
    return described(generator) | {"decoding": decoding(generator)}


def equal(run: Callable[[Tensor], Tensor], generator: nn.Module, tolerance: float) -> bool:
    """Whether what was written computes the generator's ab at other sizes and batch sizes too."""
    size = generator.arguments["size"]
    for batch, height, width in ((1, size + 13, 2 * size - 5), (3, size, size + 1)):
        L = torch.linspace(-1, 1, batch * height * width).view(batch, 1, height, width)
        try:
            if not torch.allclose(run(L), generator(L), rtol=0, atol=tolerance):
                return False
        except Exception:  # of two runtimes, about sizes that they do not take
            return False
    return True


def refused(generator: nn.Module, reason: str) -> UsageError:
    """The error for a generator that does not do what `reason` begins with."""
    kind = "encoder" if "encoder" in generator.arguments else "generator"
    return UsageError(f"{kind} {generator.arguments[kind]} does not {reason}")


def first_line(error: BaseException) -> str:
    """What the first cause of an error says: the exporters wrap errors in reports."""
    while error.__cause__:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters, which print, warn and log."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
