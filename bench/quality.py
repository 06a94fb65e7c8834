"""What averaging over mirror images and sizes brings colorizing: python bench/quality.py PHOTOS

Each quality is measured as colorful as `fast`: its ab are multiplied by the factor that reaches
this on the photographs measured, printed as the last column, beside the one that is in use. How
steady it is: CIE units of ab, mean over pixels, by which the colors move when the photograph is
mirrored, loses 4 % at its left edge, is seen at about nine tenths of each size, or gets noise
(standard deviation 5 of 255) or JPEG quality 60. "patches" is the variance of ab where L is smooth.
"""

import argparse
import random
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from colourgan.color import AB_SCALE, decode, encode, to_lab
from colourgan.colorize import QUALITIES, working_size
from colourgan.colorize.colorizer import Quality
from colourgan.generators import predict_at
from colourgan.images import list_images, read_rgb
from colourgan.metrics import (
    METRICS,
    Colors,
    bootstrap_interval,
    chroma_variance,
    mean_colorfulness,
    saturation_match,
    smooth_regions,
)
from colourgan.models import load_model

SQUARE = 128  # pixels: where saturation is matched; colorfulness does not ask for the aspect ratio
MULTIPLE = 8  # pixels: sizes between them move colors for a reason of their own
CROPPED, SMALLER, NOISE, JPEG = 0.04, 0.9, 5.0, 60
MOVED = ("mirrored", "cropped", "smaller", "noise", "jpeg")


COMPARED = {
    **QUALITIES,
    "× 0.8": Quality((0.8,)),
    "× 1.2": Quality((1.2,)),
    "× 1.6": Quality((1.6,)),
}


@torch.inference_mode()
def predict(generator: nn.Module, L: Tensor, quality: Quality, size: float) -> Tensor:
    """ab (N, 2, h, w), not yet multiplied, at the largest of the working sizes."""
    passes = []
    for scale in sorted(quality.scales, reverse=True):
        at = working_size(*L.shape[2:], round(size * scale / MULTIPLE) * MULTIPLE)
        passes.append(predict_at(generator, L, at))
        if quality.mirrored:
            passes.append(predict_at(generator, L.flip(3), at).flip(3))
    return torch.stack([enlarged(ab, passes[0]) for ab in passes]).mean(0)


def enlarged(ab: Tensor, like: Tensor) -> Tensor:
    """ab (N, 2, h, w) at the height and width of `like`."""
    return interpolate(ab, like.shape[2:], mode="bicubic")


def pixels(image: Image.Image) -> Tensor:
    """(1, 3, H, W) uint8."""
    return torch.tensor(np.asarray(image)).permute(2, 0, 1)[None]


def lightness(image: Image.Image) -> Tensor:
    return encode(pixels(image))[0]


def noisy(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    values += np.random.default_rng(0).normal(0, NOISE, (*values.shape[:2], 1))
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def compressed(image: Image.Image) -> Image.Image:
    image.save(buffer := BytesIO(), "JPEG", quality=JPEG)
    return read_rgb(Image.open(buffer))


def moves(generator: nn.Module, image: Image.Image, quality: Quality, size: int) -> list[float]:
    """How far the colors move, in CIE units, for each of MOVED; before any factor."""
    image = image.convert("L").convert("RGB")  # so that noise and JPEG change no color
    (width, height), L = image.size, lightness(image)
    cut = round(CROPPED * width)

    def colors(L: Tensor, scale: float = 1.0) -> Tensor:
        return enlarged(predict(generator, L, quality, size * scale), L)

    ab = colors(L)
    others = {
        "mirrored": (ab, colors(L.flip(3)).flip(3)),
        "cropped": (ab[..., cut:], colors(lightness(image.crop((cut, 0, width, height))))),
        "smaller": (ab, colors(L, SMALLER)),
        "noise": (ab, colors(lightness(noisy(image)))),
        "jpeg": (ab, colors(lightness(compressed(image)))),
    }
    return [(a - b).norm(dim=1).mean().item() * AB_SCALE for a, b in map(others.get, MOVED)]


def measured(L: Tensor, ab: Tensor, true: Tensor) -> list[float]:
    """L1, ΔE, colorfulness, and the variance of ab where L is smooth."""
    pred, target = (Colors(to_lab(L, each), decode(L, each)) for each in (ab, true))
    values = [METRICS[name](pred, target) for name in ("l1", "delta_e", "colorfulness")]
    return [value.item() for value in (*values, chroma_variance(ab, smooth_regions(L)))]


def best_ms(generator: nn.Module, L: Tensor, quality: Quality, size: int) -> float:
    """The shortest of five runs in milliseconds."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        predict(generator, L, quality, size)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def opened(path: Path, shorter: int | None) -> Image.Image:
    image = read_rgb(path)
    if shorter is None:
        return image
    scale = shorter / min(image.size)
    return image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="a folder of color photographs")
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--size", type=int, default=160, help="the working size")
    parser.add_argument("--shorter", type=int, help="resizes photographs to this shorter side")
    parser.add_argument("--limit", type=int, default=100, help="so many of them, chosen by seed 0")
    parser.add_argument("--moved", type=int, default=25, help="steadiness on so many of these")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    generator, files = load_model(asked.model), list_images(asked.photos)
    files = random.Random(0).sample(files, min(asked.limit, len(files)))
    images = [opened(file, asked.shorter) for file in files]
    pairs = [encode(pixels(image)) for image in images]
    small_L = torch.cat([interpolate(L, (SQUARE, SQUARE), mode="area") for L, _ in pairs])
    base = wanted = None
    print(f"{len(files)} photographs, true colorfulness", end=" ")
    print(f"{np.mean([measured(L, true, true)[2] for L, true in pairs]):.1f}")
    print("quality   ms  L1     ΔE    L1 under fast (95 %)    colorful  patches ", *MOVED, "factor")
    for name, quality in COMPARED.items():
        found = [predict(generator, L, quality, asked.size) for L, _ in pairs]
        small = torch.cat([interpolate(ab, (SQUARE, SQUARE), mode="area") for ab in found])
        wanted = wanted or mean_colorfulness(small, small_L)
        factor = saturation_match(small, small_L, wanted)
        rows = [
            measured(L, factor * enlarged(ab, L), true)
            for ab, (L, true) in zip(found, pairs, strict=True)
        ]
        l1, delta_e, colorful, patches = np.mean(rows, 0)
        each = torch.tensor(rows)[:, 0]
        base = each if base is None else base
        low, high = (end / base.mean() for end in bootstrap_interval(base - each))
        under = f"{1 - l1 / base.mean():6.1%} ({low:5.1%} to {high:5.1%})"
        moved = [moves(generator, image, quality, asked.size) for image in images[: asked.moved]]
        moved = "  ".join(f"{factor * value:6.2f}" for value in np.mean(moved, 0))
        ms = best_ms(generator, pairs[0][0], quality, asked.size)
        print(
            f"{name:7}{ms:5.0f}  {l1:.4f} {delta_e:5.2f}  {under}  {colorful:6.1f}  {patches:8.1f} "
            f"  {moved}  {factor:.3f} ({quality.factor:g})"
        )


if __name__ == "__main__":
    main()
