"""The twelve photographs that README and the page open with: python bench/gallery.py HISTORICAL

Seven photographs of people, an animal, things and the sky out of the packages that colourgan trains
with, and five historical ones; all are in the public domain or CC0, and no model in the package was
trained on one. Which twelve was settled before the picture was drawn and stays so, whatever a model
makes of them: good and bad results alike.

HISTORICAL is a folder with the five, by the names below; the packages bring the others. Each is
verified by its SHA-256, made smaller into colourgan/page/gallery/, and colored as `colourgan
colorize` does, into nbs/images/gallery.jpg. Prints, for those whose true colors
are known, the mean error of a and b beside that of grey.
"""

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from colourgan import lab
from colourgan.colorize import Colorizer
from colourgan.colorize.colorizer import grey_copy
from colourgan.files import file_hash, replacing
from colourgan.images import read_rgb
from colourgan.page.examples import halves
from colourgan.pictures import Picture

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "colourgan" / "page" / "gallery"
PICTURE = ROOT / "nbs" / "images" / "gallery.jpg"
SIDE, THUMBNAIL, BOX, COLUMNS, GAP = 480, 320, (216, 162), 3, 6
LOC = "Library of Congress"


class Photograph(NamedTuple):
    """package: where it comes from, None for the historical ones; true: its colors are known."""

    name: str
    package: str | None
    path: str
    title: str
    license: str
    source: str
    sha256: str
    true: bool = False


PHOTOGRAPHS = (
    Photograph(
        "astronaut", "skimage", "data/astronaut.png", "Eileen Collins, 1999", "public domain",
        "NASA, by scikit-image",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", True,
    ),
    Photograph(
        "chelsea", "skimage", "data/chelsea.png", "Chelsea, a cat", "CC0",
        "Stéfan van der Walt, by scikit-image",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", True,
    ),
    Photograph(
        "coffee", "skimage", "data/coffee.png", "A cup of espresso", "CC0",
        "Rachel Michetti, by scikit-image",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", True,
    ),
    Photograph(
        "rocket", "skimage", "data/rocket.jpg", "A rocket at night, 2015", "public domain",
        "SpaceX, by scikit-image",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", True,
    ),
    Photograph(
        "hubble", "skimage", "data/hubble_deep_field.jpg", "Galaxies", "public domain",
        "NASA, ESA, by scikit-image",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4", True,
    ),
    Photograph(
        "camera", "skimage", "data/camera.png", "A man with a camera", "CC0",
        "Lav Varshney, by scikit-image",
        "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    ),
    Photograph(
        "hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "Grace Hopper, 1984",
        "public domain", "US Navy, by Matplotlib",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130", True,
    ),
    Photograph(
        "saratoga", None, "saratoga_1900_1915.jpg", "Saratoga Springs, about 1900 to 1915",
        "public domain", LOC,
        "137636b73f40742f1b25c9de630126fc216aef21459aeeda869b30bfc97843ab",
    ),
    Photograph(
        "buffalo", None, "buffalo_1908.jpg", "Buffalo, 1908", "public domain", LOC,
        "9cadb9f6a9ccbf82a23ef5e7f20dc7243c2872a72a0fc6028ed122d1cea927a5",
    ),
    Photograph(
        "detroit", None, "detroit_1915.jpg", "Detroit, 1915", "public domain", LOC,
        "205bafd9d5649b7eba459a47b7137b3050fef2789781141063313388858d3108",
    ),
    Photograph(
        "keller-chaplin", None, "keller_chaplin_1919.jpg", "Helen Keller and Charlie Chaplin, 1919",
        "public domain", "unknown photographer",
        "0c5b5a35784df401a1ded64bbe023146b5f96aacb411b452bd0a11b89e028a87",
    ),
    Photograph(
        "nipomo", None, "nipomo_1936.jpg", "Nipomo, California, 1936", "public domain",
        "Dorothea Lange, Farm Security Administration",
        "1804b08a69e215c2326232ee5279eb4be0d7e31104cc68c3b9c21b916a592d33",
    ),
)  # fmt: skip


def original(photograph: Photograph, historical: Path) -> Path:
    """Where it is; raises SystemExit if it is missing or another file."""
    folder = historical if photograph.package is None else Path(str(files(photograph.package)))
    path = folder / photograph.path
    if not path.is_file():
        raise SystemExit(f"{photograph.path} is not there: the gallery is whole or not made")
    if (found := file_hash(path)) != photograph.sha256:
        raise SystemExit(f"{photograph.path} is another file: its SHA-256 is {found}")
    return path


def fitted(image: Image.Image) -> Image.Image:
    """A picture in the middle of a white box."""
    return ImageOps.pad(image, BOX, Image.Resampling.LANCZOS, color="white")


def _save(image: Image.Image, path: Path) -> None:
    with replacing(path) as part:
        image.save(part, quality=88, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("historical", type=Path, help="folder of the five historical photographs")
    found = {each: original(each, parser.parse_args().historical) for each in PHOTOGRAPHS}
    colorizer = Colorizer()
    rows = -(-len(found) // COLUMNS)
    width, height = 2 * BOX[0] + GAP, BOX[1] + GAP
    picture = Image.new("RGB", (COLUMNS * (width + 2 * GAP), rows * height), "white")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for i, (each, path) in enumerate(found.items()):
        opened = Picture(path)
        colored = colorizer(opened)
        place = i % COLUMNS * (width + 2 * GAP), i // COLUMNS * height
        picture.paste(fitted(grey_copy(opened)), place)
        picture.paste(fitted(colored), (place[0] + BOX[0] + GAP // 3, place[1]))
        if each.true:
            true, ab = (lab.ab(np.asarray(image)) for image in (read_rgb(path), colored))
            error, grey = (np.abs(a - true).mean() * lab.AB_SCALE for a in (ab, np.zeros_like(ab)))
            print(f"{each.name:10} {error:5.2f} of grey's {grey:5.2f}: {error / grey:.0%}")
        small = read_rgb(path)
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        _save(small, FOLDER / f"{each.name}.jpg")
        opened = Picture(FOLDER / f"{each.name}.jpg")
        thumbnail = halves(grey_copy(opened), colorizer(opened))
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        _save(thumbnail, FOLDER / f"{each.name}-halves.jpg")
    _save(picture, PICTURE)
    listed = [
        {
            "name": each.name, "file": f"{each.name}.jpg", "halves": f"{each.name}-halves.jpg",
            "title": each.title, "license": each.license, "source": each.source,
            "sha256": each.sha256,
        }
        for each in found
    ]  # fmt: skip
    with replacing(FOLDER / "gallery.json") as part:
        part.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
