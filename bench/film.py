"""Flicker, lag and speed of coloring films: python bench/film.py PHOTOGRAPH OTHER

Clips are made of two photographs: a still camera with film grain and flickering brightness, a slow
pan with grain, a disc of the second photograph that moves over the first, and a cut between them.
For each time of smoothing, in CIE units of a and b at the working size:

flicker  mean change from a frame to the next, still camera
pan      the same along the known motion of the pan
error    mean distance from the prediction for the frame without grain, still camera
trail    the same in what the disc has just left; bleed: in and around the disc
cuts     how many were found in the clip with one, and how many in all others

Colors without smoothing are the first row. With --speed a film of 1920 × 1080 is made, colored as
the command does it, and frames a second are told.
"""

import argparse
import tempfile
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from colourgan.colorize import Colorizer
from colourgan.film import colorize_film
from colourgan.film.smoothing import Smoother
from colourgan.lab import AB_SCALE
from colourgan.pictures import Picture

WIDTH, HEIGHT, FRAMES, RATE = 640, 360, 36, 24
GRAIN, FLICKER, PAN, SPEED, RADIUS = 10, 0.08, 2, 6, 60
SECONDS = (0, 0.1, 0.25, 0.5, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photograph", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for frames to look at")
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    colorizer = Colorizer()
    if arguments.speed:
        speed(arguments.photograph, colorizer)
    else:
        quality(arguments.photograph, arguments.other, colorizer, arguments.pictures)


def quality(photograph: Path, other: Path, colorizer: Colorizer, pictures: Path | None) -> None:
    first, second = grey(photograph), grey(other)
    still = first[:HEIGHT, :WIDTH]
    clips = {
        "still": [still] * FRAMES,
        "pan": [first[:HEIGHT, PAN * i : PAN * i + WIDTH] for i in range(FRAMES)],
        "disc": [with_disc(still, second, i) for i in range(FRAMES)],
        "cut": [still] * (FRAMES // 2) + [second[:HEIGHT, :WIDTH]] * (FRAMES // 2),
    }
    rng = np.random.default_rng(0)
    grainy = {name: [grained(each, rng, name) for each in clip] for name, clip in clips.items()}
    raw = {name: predicted(clip, colorizer) for name, clip in grainy.items()}
    clean = {name: predicted(clip, colorizer)[1] for name, clip in clips.items()}
    print(f"{'seconds':>8}{'flicker':>9}{'pan':>7}{'error':>7}{'trail':>7}{'bleed':>7}  cuts")
    for seconds in SECONDS:
        smooth, cuts = {}, {}
        for name, (L, ab) in raw.items():
            smoother = Smoother(seconds)
            smooth[name] = [smoother(*each, 1 / RATE) for each in zip(L, ab, strict=True)]
            cuts[name] = smoother.cuts
        off = [distance(*each) for each in zip(smooth["disc"], clean["disc"], strict=True)]
        found = f"{cuts.pop('cut')} and {sum(cuts.values())}"
        still_off = [distance(*each) for each in zip(smooth["still"], clean["still"], strict=True)]
        print(
            f"{seconds:8}{changes(smooth['still']):9.3f}{changes(smooth['pan'], PAN):7.3f}"
            f"{np.mean(still_off[12:]):7.2f}{around(off, trail):7.2f}{around(off, bleed):7.2f}"
            f"  {found}"
        )
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            for name, clip in smooth.items():
                for i in (FRAMES // 2 - 1, FRAMES // 2, FRAMES - 1):
                    drawn = colorizer.colored(Picture(grainy[name][i]), clip[i])
                    drawn.save(pictures / f"{name}-{seconds}-{i}.png")


def speed(photograph: Path, colorizer: Colorizer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "film.mp4"
        large = Image.open(photograph).convert("L").resize((2100, 1080))
        pixels, rng = np.asarray(large), np.random.default_rng(0)
        with av.open(source, "w") as film:
            stream = film.add_stream("libx264", rate=Fraction(RATE))
            stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
            for i in range(FRAMES):
                shown = grained(pixels[:, PAN * i : PAN * i + 1920], rng, "pan")
                film.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "gray")))
            film.mux(stream.encode(None))
        start, processor = time.perf_counter(), time.process_time()
        colorize_film(source, Path(folder) / "colored.mp4", colorizer, progress=False)
        took, processor = time.perf_counter() - start, time.process_time() - processor
        print(f"{FRAMES / took:.2f} frames a second, {processor / FRAMES:.3f} s of processor each")


def grey(path: Path) -> np.ndarray:
    """(H, W) uint8, with room for the pan beside and below a frame."""
    size = WIDTH + PAN * FRAMES, HEIGHT
    return np.asarray(Image.open(path).convert("L").resize(size, Image.Resampling.LANCZOS))


def grained(pixels: np.ndarray, rng: np.random.Generator, name: str) -> np.ndarray:
    """With film grain, and but for the pan with brightness that differs from frame to frame."""
    gain = 1 if name == "pan" else 1 + FLICKER * rng.normal()
    return (pixels * gain + rng.normal(0, GRAIN, pixels.shape)).clip(0, 255).astype(np.uint8)


def with_disc(still: np.ndarray, other: np.ndarray, i: int) -> np.ndarray:
    """The second photograph's middle, as a disc, over the first."""
    x, y = center(i)
    shown = still.copy()
    mask = disc(still.shape, x, y, RADIUS)
    top, left = HEIGHT // 2 - y, WIDTH // 2 - x
    shown[mask] = np.roll(other[:HEIGHT, :WIDTH], (-top, -left), (0, 1))[mask]
    return shown


def center(i: int) -> tuple[int, int]:
    return 150 + SPEED * i, HEIGHT // 2


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def trail(i: int, shape: tuple[int, int]) -> np.ndarray:
    """What the disc has left within the last 12 frames."""
    scale, (x, y) = shape[0] / HEIGHT, center(i)
    passed = np.zeros(shape, bool)
    for before in range(i - 12, i):
        passed |= disc(shape, center(before)[0] * scale, y * scale, RADIUS * scale)
    return passed & ~disc(shape, x * scale, y * scale, RADIUS * scale + 1)


def bleed(i: int, shape: tuple[int, int]) -> np.ndarray:
    """The disc and what is around it."""
    scale, (x, y) = shape[0] / HEIGHT, center(i)
    return disc(shape, x * scale, y * scale, RADIUS * scale + 4)


def predicted(clip: list, colorizer: Colorizer) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """L and ab of each frame at the working size."""
    pictures = [Picture(each) for each in clip]
    ab = colorizer.predict(pictures)
    return [each.resized_lightness(*ab[0].shape[1:]) for each in pictures], ab


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(h, w) in CIE units of a and b."""
    return np.hypot(*(one - other)) * AB_SCALE


def changes(clip: list[np.ndarray], pan: float = 0) -> float:
    """The mean change from a frame to the next, in its later two thirds."""
    pan *= clip[0].shape[1] / HEIGHT
    found = []
    for before, now in pairwise(clip[FRAMES // 3 :]):
        shift = np.float32([[1, 0, -pan], [0, 1, 0]])
        moved = [cv2.warpAffine(each, shift, each.shape[::-1]) for each in before]
        inside = slice(4, -4 - int(pan))
        found.append(distance(np.stack(moved), now)[:, inside].mean())
    return float(np.mean(found))


def around(off: list[np.ndarray], where) -> float:
    return float(np.mean([off[i][where(i, off[i].shape)].mean() for i in range(12, FRAMES)]))


if __name__ == "__main__":
    main()
