"""What a training step asks of a GPU, and what it leaves unused."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fastai.callback.core import Callback
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

# FLOP/s of dense bf16 tensor cores, by the beginning of the card's name: NVIDIA's data sheets, half
# of what these tell with sparsity. Of two that fit the longer counts.
PEAKS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H200 NVL": 835e12,
}
ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
BEGIN, STEPS = 5, 20  # the profiled steps of the second epoch


def peak_flops(card: str) -> float | None:
    """The most FLOP/s that a card can do in bf16; None for one that is not in the table."""
    known = [name for name in PEAKS if card.startswith(name)]
    return PEAKS[max(known, key=len)] if known else None


def flops_per_image(step: Callable, L: Tensor, ab: Tensor) -> float:
    """Floating-point operations of one training step, divided by its images.

    Counted are convolutions and products of matrices, forward and backward; a multiplication and an
    addition are two.
    """
    with FlopCounterMode(display=False) as counter:
        step(L, ab)
    return counter.get_total_flops() / len(L)


class Profile(Callback):
    """Profiles some steps of a training's second epoch, with what the host does between them."""

    order = 95

    def __init__(self, device: torch.device):
        self.device, self.events = device, []
        self.steps, self.whole, self.waited = 0, 0.0, 0.0
        self.running = None

    def before_batch(self) -> None:
        if not self.training:
            return
        if self.running:
            self.waited += time.perf_counter() - self.left
        elif not self.steps and self.learn.epochs_before == 1 and self.iter >= self.begin:
            self._synchronize()
            kind = ProfilerActivity.CUDA if self.device.type == "cuda" else ProfilerActivity.CPU
            self.running = profile(activities=[kind])
            self.running.start()
            self.started = time.perf_counter()

    @property
    def begin(self) -> int:
        return min(BEGIN, self.n_iter // 2)

    def after_batch(self) -> None:
        if not self.running:
            return
        self.steps += 1
        self.left = time.perf_counter()
        if self.steps == STEPS or self.iter == self.n_iter - 1:
            self._synchronize()
            self.whole = time.perf_counter() - self.started
            self.running.stop()
            with tempfile.TemporaryDirectory() as folder:
                trace = Path(folder, "trace.json")
                self.running.export_chrome_trace(str(trace))
                self.events = json.loads(trace.read_text())["traceEvents"]
            self.running = None

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def figures(self, images_a_second: float, batch_size: int) -> dict[str, float]:
        """Shares of time, and launches, of a training that is as fast without the profiler.

        gpu_idle: share of the unprofiled time in which nothing runs on the GPU; launches_per_step:
        of kernels or graphs, by the host; kernels_per_step: that ran; data: share of the profiled
        time that the host spends between two steps.
        """
        busy = union([e for e in self.events if e.get("cat") in ON_GPU]) / self.steps
        runtime = [
            e["name"] for e in self.events if e.get("cat") in ("cuda_runtime", "cuda_driver")
        ]
        launches = sum("LaunchKernel" in name or "GraphLaunch" in name for name in runtime)
        kernels = sum(e.get("cat") == "kernel" for e in self.events)
        return {
            "gpu_idle": max(0.0, 1 - busy * images_a_second / batch_size),
            "launches_per_step": launches / self.steps,
            "kernels_per_step": kernels / self.steps,
            "data": self.waited / self.whole,
        }


def union(events: list[dict]) -> float:
    """Seconds in which at least one of these runs; their "ts" and "dur" are microseconds."""
    total, end = 0.0, float("-inf")
    for start, length in sorted((event["ts"], event["dur"]) for event in events):
        total += max(0.0, start + length - max(start, end))
        end = max(end, start + length)
    return total / 1e6
