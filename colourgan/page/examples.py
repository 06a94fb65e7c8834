"""The photographs that the page opens with: gallery.json and the pictures it names."""

import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent / "gallery"


@dataclass(frozen=True)
class Example:
    """A photograph of the gallery: file: where it is; halves: the file of the picture that
    `halves` makes of it and its colors by the packaged model; title: what is seen; license,
    source: whose it is.
    """

    file: Path
    halves: Path
    title: str
    license: str
    source: str


def examples(folder: Path = FOLDER) -> list[Example]:
    """What gallery.json lists, in its order; without it none."""
    index = folder / "gallery.json"
    if not index.is_file():
        return []
    return [
        Example(
            folder / each["file"], folder / each["halves"], each["title"], each["license"],
            each["source"],
        )
        for each in json.loads(index.read_text(encoding="utf-8"))
    ]  # fmt: skip


def halves(grey: Image.Image, color: Image.Image) -> Image.Image:
    """The left half of one picture and the right half of the other, both of one size."""
    both, middle = color.copy(), grey.width // 2
    both.paste(grey.crop((0, 0, middle, grey.height)), (0, 0))
    return both
