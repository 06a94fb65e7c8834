"""The data set `sample`: crops of real color photographs that installed libraries bring along."""

import logging
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from colourgan.errors import RunError
from colourgan.images import read_rgb

# Photographs inside the wheels of three libraries, and the part of `sample` each belongs to. Train
# has a person, a building, trees, sky, wood, a flower: enough to have met what is in test, a person
# and a cat. The wheels' other pictures are science (a retina, galaxies) or drawings.
PHOTOS = {
    "skimage/data/astronaut.png": "train",
    "skimage/data/coffee.png": "train",
    "skimage/data/rocket.jpg": "train",
    "sklearn/datasets/images/china.jpg": "train",
    "sklearn/datasets/images/flower.jpg": "train",
    "skimage/data/motorcycle_left.png": "valid",
    "skimage/data/chelsea.png": "test",
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": "test",
}
FEWEST_PHOTOS = 5  # and at least one in each part
CROP_SCALES = (1.0, 0.7, 0.5)  # of the photo's short side
CROP_STEP = 0.25  # of the crop's side, at most
CROP_PIXELS = 96
_log = logging.getLogger(__name__)


def build_sample(folder: Path) -> None:
    """Writes train/, valid/ and test/ into `folder`, a folder of crops for each photo.

    Every call writes the same bytes. Logs a warning for photos that the installed versions lack;
    raises RunError if too few are left.
    """
    found = {}
    for photo in PHOTOS:
        package, _, inside = photo.partition("/")
        spec = find_spec(package)  # finds without importing: scikit-learn takes a second to
        if spec and spec.origin and (path := Path(spec.origin).parent / inside).is_file():
            found[photo] = path
    missing = ", ".join(photo for photo in PHOTOS if photo not in found)
    if len(found) < FEWEST_PHOTOS or {PHOTOS[photo] for photo in found} != set(PHOTOS.values()):
        raise RunError(
            f"too few photographs for the data set 'sample', missing: {missing}; "
            "install scikit-image, scikit-learn and matplotlib from their wheels"
        )
    if missing:
        _log.warning(f"the data set 'sample' is made without {missing}")
    for photo, path in found.items():
        _write_crops(path, folder / PHOTOS[photo] / path.stem)


def crop_boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Overlapping squares of three sizes that cover a picture: (left, upper, right, lower)."""
    boxes = []
    for scale in CROP_SCALES:
        side = round(min(width, height) * scale)
        corners = [(x, y) for y in _starts(height, side) for x in _starts(width, side)]
        boxes += [(x, y, x + side, y + side) for x, y in corners]
    return boxes


def _starts(length: int, side: int) -> list[int]:
    steps = math.ceil((length - side) / (side * CROP_STEP))
    return np.linspace(0, length - side, steps + 1).round().astype(int).tolist()


def _write_crops(photo: Path, folder: Path) -> None:
    image = read_rgb(photo)
    folder.mkdir(parents=True)
    for number, box in enumerate(crop_boxes(*image.size)):
        crop = image.resize((CROP_PIXELS, CROP_PIXELS), Image.Resampling.LANCZOS, box=box)
        # The profile of a converted photo carries the time: its bytes would differ with every call.
        crop.save(folder / f"{number:03d}.png", icc_profile=None)
