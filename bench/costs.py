"""What large jobs cost: rates measured on this CPU, and arithmetic from them: python bench/costs.py

Measured, on one thread: reading a JPEG (whole, or drafted down to a training size), writing one, a
prediction of the packaged model, a whole photograph through the Colorizer, and training steps by
image side and batch size. Counted: the arithmetic of those steps. Assumed, and said so in the
output: what a GPU, a disk and a network give. Prints tables in Markdown and writes bench/costs.json
and bench/costs.png: cost against image side, images and batch, both axes logarithmic.
"""

import argparse
import json
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from skimage import data
from torch.utils.flop_counter import FlopCounterMode

from colourgan.callbacks.precision import DTYPES, resolve_precision
from colourgan.colorize import Colorizer
from colourgan.colorize.album import colorize_bytes
from colourgan.discriminators import DISCRIMINATORS
from colourgan.generators import GENERATORS

HERE = Path(__file__).parent
PHOTOGRAPHS, TRAINING_IMAGES, EPOCHS = 100_000_000, 1_200_000, 20
SIDES, BATCHES, GPUS = (32, 64, 128, 256), (1, 4, 16, 64), (1, 8, 64)
# Not measured here: data sheets of an H100 SXM, of PCIe 4 flash and of usual networks, and the
# share of the peak that convolutions of this size are supposed to reach.
ASSUMED = {
    "peak of a GPU, bf16, FLOP/s": 989e12,
    "share of it": 0.3,
    "cores beside a GPU": 16,
    "disk, bytes/s": 3e9,
    "network of a node, bytes/s": 1.25e9,
    "links between GPUs, bytes/s": 50e9,
}


def seconds(work: Callable[[], object], turns: int = 7) -> float:
    """The median time of the processor for a call, after one that warms up."""
    work()
    times = []
    for _ in range(turns):
        start = time.process_time()  # other jobs on the machine hardly change it
        work()
        times.append(time.process_time() - start)
    return median(times)


def photograph(width: int) -> bytes:
    """A photograph from scikit-image as JPEG, `width` × 3/4 · `width` pixels, with film grain."""
    picture = Image.fromarray(data.coffee()).resize((width, width * 3 // 4))
    pixels = np.asarray(picture, dtype=np.int16)
    grain = np.random.default_rng(0).normal(0, 6, (*pixels.shape[:2], 1)).astype(np.int16)
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(out := BytesIO(), "JPEG")
    return out.getvalue()


def opened(jpeg: bytes, size: int | None) -> Image.Image:
    """The picture, or its shorter side brought to `size` pixels by way of a draft."""
    image = Image.open(BytesIO(jpeg))
    if size:
        image.draft("RGB", (2 * size, 2 * size))
        scale = size / min(image.size)
        return image.resize([round(side * scale) for side in image.size], reducing_gap=3.0)
    image.load()
    return image


def reading_and_coloring() -> dict[str, float]:
    """Seconds of one core for one photograph."""
    colorizer, found = Colorizer(), {}
    for name, width in {"0.2 MP": 500, "12 MP": 4000}.items():
        jpeg = photograph(width)
        image = opened(jpeg, None)
        found |= {
            f"read {name}": seconds(lambda jpeg=jpeg: opened(jpeg, None)),
            f"read {name} for 256 px": seconds(lambda jpeg=jpeg: opened(jpeg, 256)),
            f"read {name} for 64 px": seconds(lambda jpeg=jpeg: opened(jpeg, 64)),
            f"write {name}": seconds(lambda image=image: image.save(BytesIO(), "JPEG", quality=92)),
            f"color {name}, read to written": seconds(
                lambda jpeg=jpeg: colorize_bytes(jpeg, colorizer), 3
            ),
            f"bytes of {name}": float(len(jpeg)),
        }
    return found


class Step:
    """GAN steps of a resnet18 generator and PatchGAN on random images, without the optimizer."""

    def __init__(self, size: int, batch: int):
        self.G = GENERATORS["dynamic_unet"]("resnet18@none", size)
        self.G = self.G.to(memory_format=torch.channels_last)
        self.D = DISCRIMINATORS["patchgan"](size).to(memory_format=torch.channels_last)
        self.L, self.ab = torch.rand(batch, 1, size, size), torch.rand(batch, 2, size, size)
        self.dtype = DTYPES.get(resolve_precision("auto", "cpu"))

    def __call__(self) -> None:
        with torch.autocast("cpu", self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            fake = self.G(self.L)
            logits = self.D(self.L, self.ab).mean() - self.D(self.L, fake.detach()).mean()
            logits.float().backward()
            (self.D(self.L, fake).mean().float() + (fake - self.ab).abs().mean()).backward()

    def flops(self) -> int:
        with FlopCounterMode(display=False) as counter:
            self()
        return counter.get_total_flops()

    def parameters(self) -> int:
        return sum(p.numel() for net in (self.G, self.D) for p in net.parameters())


def training_rates() -> list[dict]:
    """Images a second of one core, and FLOP an image, by side and batch."""
    rates = []
    for size in SIDES:
        for batch in BATCHES if size == 64 else (16,):
            step = Step(size, batch)
            took = seconds(step, 3)
            rates.append({
                "side": size, "batch": batch, "images/s": batch / took,
                "FLOP an image": step.flops() / batch, "parameters": step.parameters(),
            })  # fmt: skip
    return rates


def hours(amount: float, rate: float) -> float:
    return amount / rate / 3600


def archive(measured: dict[str, float], flop: float) -> list[str]:
    """Hours for PHOTOGRAPHS of 12 MP by what limits them, as rows of a table."""
    each = measured["color 12 MP, read to written"]
    # Of a small photograph nearly all is the prediction, which a GPU would do.
    beside = each - measured["color 0.2 MP, read to written"]
    size = 2 * measured["bytes of 12 MP"]
    rows = [f"| one core does all | {hours(PHOTOGRAPHS, 1 / each) / 24 / 365:.0f} years | | |"]
    for gpus in GPUS:
        limits = {
            "network predicts": hours(PHOTOGRAPHS, gpus * gpu_rate(flop)),
            "cores read, enlarge, write": hours(
                PHOTOGRAPHS, gpus * ASSUMED["cores beside a GPU"] / beside
            ),
            "disk": hours(PHOTOGRAPHS, -(-gpus // 8) * ASSUMED["disk, bytes/s"] / size),
            "network between machines": hours(
                PHOTOGRAPHS, -(-gpus // 8) * ASSUMED["network of a node, bytes/s"] / size
            ),
        }
        rows.append(limited(f"{gpus} GPU", limits))
    return rows


def training(measured: dict[str, float], rate: dict) -> list[str]:
    """Hours for EPOCHS of TRAINING_IMAGES at 256 px, as rows of a table."""
    images, cores = EPOCHS * TRAINING_IMAGES, ASSUMED["cores beside a GPU"]
    rows = [f"| one core does all | {hours(images, rate['images/s']) / 24:.0f} days | | |"]
    decoded = 3 * rate["side"] ** 2
    for gpus in GPUS:
        nodes = -(-gpus // 8)
        steps = images / (rate["batch"] * gpus)
        reduced = 2 * (gpus - 1) / gpus * 4 * rate["parameters"]
        limits = {
            "arithmetic": hours(images, gpus * gpu_rate(rate["FLOP an image"])),
            "cores decode once": hours(
                TRAINING_IMAGES, gpus * cores / measured["read 0.2 MP for 256 px"]
            ),
            "disk": hours(images, nodes * ASSUMED["disk, bytes/s"] / decoded),
            "gradients between GPUs": hours(
                steps * reduced, ASSUMED["links between GPUs, bytes/s"]
            ),
        }
        rows.append(limited(f"{gpus} GPU", limits))
    return rows


def gpu_rate(flop: float) -> float:
    """Images a second of one GPU, from assumptions."""
    return ASSUMED["peak of a GPU, bf16, FLOP/s"] * ASSUMED["share of it"] / flop


def limited(name: str, limits: dict[str, float]) -> str:
    """A row: the longest of several hours that pass side by side, and what takes the others."""
    slowest = max(limits, key=limits.get)
    others = ", ".join(f"{what} {value:.2g} h" for what, value in limits.items() if what != slowest)
    return f"| {name} | {limits[slowest]:.2g} h | {slowest} | {others} |"


def draw(measured: dict[str, float], rates: list[dict], path: Path) -> None:
    """Core-seconds against image side, images and batch."""
    figure, (by_side, by_images, by_batch) = plt.subplots(1, 3, figsize=(12, 3.6))
    sides = [each for each in rates if each["batch"] == 16]
    batches = [each for each in rates if each["side"] == 64]
    by_side.loglog([r["side"] for r in sides], [1 / r["images/s"] for r in sides], "o-")
    by_side.set(xlabel="image side, pixels", ylabel="core-seconds an image", title="GAN step")
    by_side.set_xticks(SIDES, SIDES, minor=False)
    counts = np.logspace(0, 8, 9)
    for name in ("0.2 MP", "12 MP"):
        spent = counts * measured[f"color {name}, read to written"] / 3600
        by_images.loglog(counts, spent, "-", label=f"photographs of {name}")
    by_images.set(xlabel="images", ylabel="core-hours", title="colorize (by arithmetic)")
    by_images.legend(frameon=False)
    by_batch.loglog([r["batch"] for r in batches], [1 / r["images/s"] for r in batches], "o-")
    by_batch.set(xlabel="batch size", title="GAN step, 64 pixels")
    by_batch.set_xticks(BATCHES, BATCHES, minor=False)
    for axes in figure.axes:
        axes.minorticks_off()
        axes.grid(True, which="major", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measured, rates = reading_and_coloring(), training_rates()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        GENERATORS["dynamic_unet"]("efficientnet_lite0@none", 160).eval()(
            torch.rand(2, 1, 160, 213)
        )
    flop = counter.get_total_flops()
    print("Seconds of one core for a photograph:\n")
    for name, value in measured.items():
        print(f"| {name} | {value:.3g} |")
    print("\nGAN steps, resnet18 and PatchGAN, one core:\n")
    for each in rates:
        print("| " + " | ".join(f"{value:.4g}" for value in each.values()) + " |")
    print(f"\n{PHOTOGRAPHS:,} photographs of 12 MP:\n", *archive(measured, flop), sep="\n")
    whole = next(each for each in rates if each["side"] == 256)
    print(f"\n{EPOCHS} epochs of {TRAINING_IMAGES:,} images at 256 px:\n")
    print(*training(measured, whole), sep="\n")
    found = {"measured": measured, "steps": rates, "FLOP a prediction": flop, "assumed": ASSUMED}
    (HERE / "costs.json").write_text(json.dumps(found, indent=2) + "\n")
    draw(measured, rates, HERE / "costs.png")


if __name__ == "__main__":
    main()
