"""How fast RGB → Lab is here and in scikit-image, on the CPU: python bench/color.py [--threads N]

scikit-image converts one picture at a time, as a data set's item transform would; colourgan
converts the whole batch, as it does in training. Best of several repeats, milliseconds a batch.
"""

import argparse
import time
from collections.abc import Callable

import torch
from skimage.color import lab2rgb, rgb2lab

from colourgan.color import lab_to_rgb, rgb_to_lab

BATCHES = ((256, 32), (64, 96), (16, 256))  # pictures, side in pixels


def best_ms(function: Callable[[], object], repeats: int) -> float:
    """The shortest of `repeats` runs in milliseconds, after one run to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def compare(count: int, size: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Direction → (scikit-image, colourgan) in milliseconds for `count` pictures."""
    rgb = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
    lab = rgb_to_lab(rgb)
    images = [image.permute(1, 2, 0).contiguous().numpy() for image in rgb]
    labs = [image.permute(1, 2, 0).contiguous().numpy() for image in lab]
    return {
        "RGB → Lab": (
            best_ms(lambda: [rgb2lab(image) for image in images], repeats),
            best_ms(lambda: rgb_to_lab(rgb), repeats),
        ),
        "Lab → RGB": (
            best_ms(lambda: [lab2rgb(image) for image in labs], repeats),
            best_ms(lambda: lab_to_rgb(lab), repeats),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default 1)")
    parser.add_argument("--repeats", type=int, default=5, help="runs to take the best of")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'pictures':>16}  {'direction':9}  {'scikit-image':>12}  {'colourgan':>9}  faster")
    for count, size in BATCHES:
        for direction, (theirs, ours) in compare(count, size, arguments.repeats).items():
            batch = f"{count} × {size}×{size}"
            times = f"{theirs:9.1f} ms  {ours:6.1f} ms  {theirs / ours:5.1f}×"
            print(f"{batch:>16}  {direction:9}  {times}")


if __name__ == "__main__":
    main()
