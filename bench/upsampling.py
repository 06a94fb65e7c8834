"""Where colors end, enlarged in four ways: python bench/upsampling.py PHOTOS [--out PICTURE]

ab is enlarged from the working size to the photograph's, once as the packaged model predicts it,
once as an oracle would: the true ab averaged down to half of the working size, then enlarged to it
as the network does. Errors are mean distances of a and b in CIE units, over all pixels and over
those within 3 pixels of a strong edge of L, where its Sobel gradient is among the photograph's
largest 5 %. "fine" is the color that a blur of 2 pixels takes away, mean of |a| and |b|: what L
paints into flat colors shows there. The last column is for 12 megapixels on one thread, without
the network, guide and RGB.

The picture shows photographs that come with scikit-image and scikit-learn.
"""

import argparse
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter, sobel, uniform_filter

from colourgan import lab
from colourgan.color import AB_SCALE, encode
from colourgan.colorize import working_size
from colourgan.generators import predict_at
from colourgan.images import list_images, read_rgb, strips
from colourgan.metrics import colorfulness
from colourgan.models import load_model
from colourgan.sheets import sheet
from colourgan.upsampling import Enlarged, guide_size

BOX, BILINEAR, BICUBIC = (Image.Resampling[name] for name in ("BOX", "BILINEAR", "BICUBIC"))
REACH, STRONGEST, FINE = 3, 95, 2  # pixels, percentile, pixels
LARGE = (3000, 4000)
# Photograph, of which ab, the crop's left and top; in pixels, as is its side, shown twice as large.
CROPS = (
    ("skimage/data/coffee.png", "model", (156, 130)),
    ("sklearn/datasets/images/flower.jpg", "model", (208, 208)),
    ("skimage/data/astronaut.png", "oracle", (130, 310)),
)
SIDE, ZOOM = 84, 2


def resized(planes: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    """(C, h, w) float32."""
    images = [Image.fromarray(plane.astype(np.float32)) for plane in planes]
    return np.stack([np.asarray(image.resize(size[::-1], how)) for image in images])


# Each takes ab (2, h, w), the guide (gh, gw) and L (H, W), and gives ab (2, H, W).


def bicubic(ab: np.ndarray, guide: np.ndarray, L: np.ndarray) -> np.ndarray:
    return resized(ab, L.shape, BICUBIC)


def fast_guided_filter(
    ab: np.ndarray, guide: np.ndarray, L: np.ndarray, radius: int = 4, epsilon: float = 0.001
) -> np.ndarray:
    """He and Sun 2015, algorithm 2: box filters on the guide, coefficients enlarged bilinearly."""
    guide = guide[None]

    def mean(planes: np.ndarray) -> np.ndarray:
        return uniform_filter(planes, (0, *[2 * radius + 1] * 2), np.float64, mode="nearest")

    small = resized(ab, guide.shape[1:], BICUBIC)
    slope = mean(guide * small) - mean(guide) * mean(small)
    slope /= mean(guide * guide) - mean(guide) ** 2 + epsilon
    rest = mean(mean(small) - slope * mean(guide))
    return resized(mean(slope), L.shape, BILINEAR) * L + resized(rest, L.shape, BILINEAR)


def joint_bilateral(
    ab: np.ndarray, guide: np.ndarray, L: np.ndarray, space: float = 0.7, lightness: float = 0.08
) -> np.ndarray:
    """Kopf et al. 2007, section 3, on the guide, then bicubic: at full size it takes minutes.

    space: standard deviation in distinct colors, so pixels of ab / 2; lightness: of L.
    """
    shape = [side // 2 for side in ab.shape[1:]]
    ab, small = resized(ab, shape, BOX), resized(guide[None], shape, BILINEAR)[0]
    at = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(guide.shape, shape, strict=True)]
    total = weights = 0
    for move in np.ndindex(5, 5):
        near = [np.round(each).astype(int) + to - 2 for each, to in zip(at, move, strict=True)]
        y, x = (
            np.exp(-((n - each) ** 2) / (2 * space**2)) for n, each in zip(near, at, strict=True)
        )
        here = np.ix_(*[n.clip(0, m - 1) for n, m in zip(near, shape, strict=True)])
        like = np.exp(-((guide - small[here]) ** 2) / (2 * lightness**2)) + 1e-8
        weight = y[:, None] * x * like
        total, weights = total + weight * ab[:, *here], weights + weight
    return resized(total / weights, L.shape, BICUBIC)


def guided(ab: np.ndarray, guide: np.ndarray, L: np.ndarray) -> np.ndarray:
    enlarged, full = Enlarged(ab, guide, L.shape), np.empty((2, *L.shape), np.float32)
    for rows in strips(*L.shape):
        full[:, rows] = enlarged.rows(rows, L[rows])
    return full


METHODS: dict[str, Callable[..., np.ndarray]] = {
    "bicubic": bicubic,
    "fast guided filter": fast_guided_filter,
    "joint bilateral": joint_bilateral,
    "colourgan": guided,
}


def small_colors(
    generator: torch.nn.Module, L: torch.Tensor, ab: np.ndarray
) -> dict[str, np.ndarray]:
    """ab (2, h, w) at the working size, of the model and of the oracle."""
    size = working_size(*L.shape[2:], generator.arguments["size"])
    with torch.inference_mode():
        model = predict_at(generator, L, size)[0].numpy()
    half = resized(ab, [side // 2 for side in size], BOX)
    return {"model": model, "oracle": resized(half, size, BILINEAR)}


class Photograph:
    """true: ab (2, H, W) of a file; L: (H, W); small: see `small_colors`; guide: of L."""

    def __init__(self, generator: torch.nn.Module, path: Path | str):
        L, true = encode(torch.tensor(np.asarray(read_rgb(path))).permute(2, 0, 1)[None])
        self.L, self.true = L[0, 0].numpy(), true[0].numpy()
        self.small = small_colors(generator, L, self.true)
        self.guide = guide_of(self.L, self.small["model"])


def guide_of(L: np.ndarray, ab: np.ndarray) -> np.ndarray:
    return resized(L[None], guide_size(*L.shape, min(ab.shape[1:])), BILINEAR)[0]


def near_edges(L: np.ndarray) -> np.ndarray:
    """(H, W) bool."""
    gradient = np.hypot(sobel(L, 0), sobel(L, 1))
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    strong = gradient > np.percentile(gradient, STRONGEST)
    return binary_dilation(strong, x * x + y * y <= (REACH + 0.1) ** 2)


def measured(photo: Photograph, ab: np.ndarray) -> list[float]:
    """The error of ab (2, H, W) everywhere and near edges, its colorfulness, and its fine color."""
    error = np.hypot(*(ab - photo.true)) * AB_SCALE
    rgb = torch.tensor(lab.to_rgb(photo.L, ab)).permute(2, 0, 1)[None]
    fine = abs(ab - gaussian_filter(ab, (0, FINE, FINE))).mean() * AB_SCALE
    return [error.mean(), error[near_edges(photo.L)].mean(), colorfulness(rgb).item(), fine]


def best_ms(method: Callable, ab: np.ndarray, L: np.ndarray) -> float:
    """The shortest of five runs in milliseconds."""
    guide, times = guide_of(L, ab), []
    for _ in range(5):
        start = time.perf_counter()
        method(ab, guide, L)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def picture(generator: torch.nn.Module) -> Image.Image:
    """The true colors, bicubic and ours, side by side."""
    rows, titles = [], []
    for name, kind, (left, top) in CROPS:
        library, _, inside = name.partition("/")
        photo = Photograph(generator, str(files(library) / inside))
        ways = [METHODS[way] for way in ("bicubic", "colourgan")]
        colors = [photo.true, *(way(photo.small[kind], photo.guide, photo.L) for way in ways)]
        here = slice(top, top + SIDE), slice(left, left + SIDE)
        rgb = [lab.to_bytes(lab.to_rgb(photo.L[here], ab[:, *here])) for ab in colors]
        crops = [Image.fromarray(each) for each in rgb]
        rows.append([crop.resize([ZOOM * SIDE] * 2, BICUBIC) for crop in crops])
        titles.append("predicted" if kind == "model" else "true ab of 64 pixels")
    return sheet(rows, ["true", "bicubic", "guided by lightness"], titles)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="a folder of color photographs")
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--out", type=Path, help="also draws this picture")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    generator = load_model(asked.model).eval()
    photos = [Photograph(generator, path) for path in list_images(asked.photos)]
    large = resized(photos[0].L[None], LARGE, BICUBIC)[0]
    print(f"{len(photos)} photographs: error everywhere, near edges; colorfulness; fine color")
    _, _, colorful, fine = np.mean([measured(photo, photo.true) for photo in photos], 0)
    print(f"{'true':20}{'':16}{colorful:7.1f}{fine:7.2f}")
    print(f"{'':20}{'model':<30} | {'oracle':<30} |    ms")
    for name, method in METHODS.items():
        cells = []
        for kind in ("model", "oracle"):
            found = (method(photo.small[kind], photo.guide, photo.L) for photo in photos)
            values = [measured(*pair) for pair in zip(photos, found, strict=True)]
            every, near, colorful, fine = np.mean(values, 0)
            cells.append(f"{every:8.3f}{near:8.3f}{colorful:7.1f}{fine:7.2f}")
        ms = best_ms(method, photos[0].small["model"], large)
        print(f"{name:20}{cells[0]} | {cells[1]} | {ms:5.0f}", flush=True)
    if asked.out:
        picture(generator).save(asked.out, optimize=True)


if __name__ == "__main__":
    main()
