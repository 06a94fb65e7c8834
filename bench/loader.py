"""How much faster the loader is than the fastest training step: python bench/loader.py [--device D]

Loader: from the cached pixels to (L, ab) on the device, with flips and crops. Step: forward,
backward and Adam of the smallest generator, a U-Net on resnet20 at 32×32 pixels, on a batch that is
there already. Both take short turns, so that whatever else the machine does slows both; the best
turn of each counts. Images a second, and their ratio: the exit code is 1 if it is under 5. The
pictures are noise, made in a temporary folder; what they show changes nothing.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from PIL import Image
from torch import Tensor, nn

from colourgan.callbacks import resolve_precision
from colourgan.callbacks.precision import DTYPES
from colourgan.datasets import color_dataloaders
from colourgan.devices import choose_device
from colourgan.learners import color_learner

SIZE, PICTURES, STEPS = 32, 512, 2
BATCH_SIZES = (16, 32, 128)
WANTED = 5.0


def write_pictures(folder: Path) -> None:
    """Fills a folder with PNG files."""
    random = np.random.default_rng(0)
    for i in range(PICTURES):
        pixels = random.integers(256, size=(SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:04d}.png")


def one_pass(dls: DataLoaders) -> int:
    """Goes through the training images once; how many there were."""
    return sum(len(L) for L, _ in dls.train)


def training_steps(learn: Learner, precision: str, L: Tensor, ab: Tensor) -> Callable[[], int]:
    """A function that trains for STEPS steps on one batch; it returns how many images that is."""
    model, loss = learn.model.to(L.device).train(), nn.L1Loss()
    optimizer = torch.optim.Adam(model.parameters())
    dtype = DTYPES.get(precision)

    def train() -> int:
        for _ in range(STEPS):
            with torch.autocast(L.device.type, dtype=dtype, enabled=dtype is not None):
                pred = model(L)
            optimizer.zero_grad()
            loss(pred.float(), ab).backward()
            optimizer.step()
        return STEPS * len(L)

    return train


def images_a_second(function: Callable[[], int], device: torch.device) -> float:
    """Of one call of a function that returns its number of images."""
    start = time.perf_counter()
    count = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count / (time.perf_counter() - start)


def compare(
    folder: Path, batch_size: int, device: torch.device, precision: str, turns: int
) -> tuple[float, float]:
    """(loader, training step) in images a second."""
    dls = color_dataloaders(folder, SIZE, batch_size, device=device)
    learn = color_learner(dls, "resnet20@none")
    L, ab = (part.as_subclass(Tensor) for part in dls.one_batch())
    L = L.to(memory_format=torch.channels_last)
    train = training_steps(learn, precision, L, ab)
    speeds = []
    for _ in range(turns + 1):
        loader = images_a_second(lambda: one_pass(dls), device)
        speeds.append((loader, images_a_second(train, device)))
    loaders, steps = zip(*speeds[1:], strict=True)  # the first turn warms up
    return max(loaders), max(steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, …; auto: a GPU if there is one"
    )
    parser.add_argument("--precision", default="auto", help="auto (the fastest), fp32 or bf16")
    parser.add_argument("--turns", type=int, default=15, help="turns to take the best of")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    precision = resolve_precision(arguments.precision, device)
    print(
        f"{device}, {torch.get_num_threads()} threads, {precision}, {SIZE}×{SIZE} pixels, images/s"
    )
    ratios = []
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["COLOURGAN_CACHE"] = f"{temporary}/cache"
        (folder := Path(temporary, "pictures")).mkdir()
        write_pictures(folder)
        for batch_size in BATCH_SIZES:
            loader, step = compare(folder, batch_size, device, precision, arguments.turns)
            ratios.append(loader / step)
            print(
                f"batch {batch_size:4}: loader {loader:8.0f}, step {step:7.0f}: {ratios[-1]:5.1f}×"
            )
    enough = min(ratios) >= WANTED
    print(f"least {min(ratios):.1f}×: {'' if enough else 'NOT '}at least {WANTED:.0f}×")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
