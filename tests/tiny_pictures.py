"""Small color pictures in folders, and what a network should see of them."""

from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from colourgan import color
from colourgan.datasets.cache import fit_square

SIDE = 32


def picture(seed: int, side: int = SIDE, height: int | None = None) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height or side, side, 3), np.uint8)
    return Image.fromarray(pixels)


def make(root: Path, names: list[str], side: int = SIDE, height: int | None = None) -> Path:
    """Random color pictures under these names; the same name makes the same picture."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(crc32(name.encode()), side, height).save(path)
    return root


def make_parts(root: Path) -> Path:
    """21 pictures to train on, 4 to validate, not square."""
    names = numbered("train/a/", 11) + numbered("train/b/", 10) + numbered("valid/a/", 4)
    return make(root, names, 40, 36)


def numbered(folder: str, count: int) -> list[str]:
    return [f"{folder}{i:02d}.png" for i in range(count)]


def names(files, root: Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in files]


def expected(file: Path, size: int = SIDE) -> tuple[Tensor, Tensor]:
    """(L, ab) of a file's pixels, without any cache or loader."""
    image = fit_square(Image.open(file), size)
    rgb = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    L, ab = color.encode(rgb)
    return L[0], ab[0]
