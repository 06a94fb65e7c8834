"""What a hint brings: python bench/hints.py PHOTOS

Random pixels of each photograph are given their true color as hints, and the mean error of a and b
(CIE units) is measured on the grid that hints spread on: over the whole photograph and within 16
cells of a hint; and the share of the photograph that became worse by more than 3 units. Beside the
spread along edges of lightness, the same one as if there were no edges.
"""

import argparse

import numpy as np
from tqdm import tqdm

from colourgan import hints as module
from colourgan import lab
from colourgan.colorize import Colorizer
from colourgan.colorize.colorizer import _enlarged
from colourgan.hints import Hint, change, grid_size
from colourgan.images import list_images, read_rgb
from colourgan.pictures import Picture

COUNTS, NEAR, WORSE = (1, 5, 20, 100), 16, 3.0
DEVIATIONS = {"along edges": module._DEVIATION, "everywhere": 1e6}


def measure(colorizer: Colorizer, path, rng: np.random.Generator) -> dict[tuple, np.ndarray]:
    """(count, way) → error before, after, near before, near after, share that became worse."""
    picture = Picture(path)
    size = grid_size(picture.height, picture.width)
    height, width = size
    L = picture.resized_lightness(*size)
    (ab,) = colorizer.predict([picture])
    predicted = _enlarged(picture, ab, size).rows(slice(0, height), L)
    resized = np.asarray(read_rgb(path).resize((width, height), reducing_gap=3))
    true = lab.ab(resized)
    y, x = np.mgrid[:height, :width]

    def error(of: np.ndarray) -> np.ndarray:
        return np.abs(of - true).mean(0) * lab.AB_SCALE

    found, before = {}, error(predicted)
    for count in COUNTS:
        places = rng.choice(L.size, count, replace=False)
        given = [Hint(i % width, i // width, tuple(resized[i // width, i % width])) for i in places]
        near = np.min([np.hypot(x - h.x, y - h.y) for h in given], axis=0) < NEAR
        for way, deviation in DEVIATIONS.items():
            module._DEVIATION = deviation
            after = error(predicted + change(given, size, L, predicted))
            worse = (after > before + WORSE).mean()
            found[count, way] = np.array(
                [before.mean(), after.mean(), before[near].mean(), after[near].mean(), worse]
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="folder of color photographs")
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    colorizer, rng = Colorizer(given.model), np.random.default_rng(given.seed)
    each = [measure(colorizer, path, rng) for path in tqdm(list_images(given.photos))]
    print(f"{len(each)} photographs, mean error of a and b in CIE units")
    print("hints  spread       whole          near a hint    worse by > 3")
    for count, way in each[0]:
        row = np.mean([one[count, way] for one in each], axis=0)
        print(
            f"{count:5}  {way:11}  {row[0]:5.2f} → {row[1]:5.2f}  {row[2]:5.2f} → {row[3]:5.2f}  "
            f"{row[4]:.1%}"
        )


if __name__ == "__main__":
    main()
