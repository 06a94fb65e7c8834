"""What a training costs: memory, time, parameters, operations."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def peak_memory(device: str) -> Iterator[dict[str, float]]:
    """Fills {"peak_memory_mb"} when the block ends: of a CUDA device, else resident.

    Resident memory is the whole process', with Python and libraries; MB are 10^6 bytes. Where the
    system cannot forget an earlier peak (not Linux), it is the highest since the process began.
    """
    found: dict[str, float] = {}
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            _RESET.write_text("5")  # proc(5): resets the peak resident set size
    yield found
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _resident()
    found["peak_memory_mb"] = peak / 1e6


def _resident() -> float:
    """The peak of this process' resident memory in bytes."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    with suppress(ImportError):  # Windows has no such module
        from resource import RUSAGE_SELF, getrusage

        return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return math.nan


def flops(generator: nn.Module, size: int) -> int:
    """Floating-point operations, a multiplication and an addition each one, for one image's ab.

    As torch counts them: those of convolutions and matrix products.
    """
    L = torch.zeros(1, 1, size, size, device=next(generator.parameters()).device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        generator.eval()(L)
    return counter.get_total_flops()
