"""Pictures decoded once: a memory-mapped uint8 array that every later run opens at once."""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from colourgan.errors import RunError, UsageError
from colourgan.files import replacing
from colourgan.images import read_rgb

VERSION = 1  # raise it when what is stored for the same files changes
RESIZING = "lanczos, shorter side, centre crop"
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "F"}
CHUNK = 512  # files decoded ahead
TINY = 8  # pixels: below this a picture has no content to learn from


class Cached(NamedTuple):
    """images: (N, size, size, 3) uint8, memory-mapped; files: the N paths, row by row."""

    images: np.ndarray
    files: list[Path]


def default_cache_dir() -> Path:
    """$COLOURGAN_CACHE, else ~/.cache/colourgan."""
    return Path(os.environ.get("COLOURGAN_CACHE") or Path.home() / ".cache" / "colourgan")


def fit_square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of a picture, resized to size×size; unchanged if it has that size already."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=3.0)


def cached_images(
    files: list[Path],
    size: int,
    wanted: int | None = None,
    skip_colorless: bool = True,
    cache_dir: Path | None = None,
) -> Cached:
    """The first `wanted` usable files (None: all) as squares of size×size pixels, decoded once.

    Left out, counted and named in one warning on stderr: files that are broken, tiny (a side under
    8 pixels), huge (over PIL's decompression-bomb limit) or stored as greyscale, and with
    `skip_colorless` also pictures stored as RGB whose three channels are equal.
    The key is made of the files' paths, sizes and times, `size`, the way of resizing and VERSION, so
    a changed file is decoded again. Two processes may build the same cache: each writes a file of its
    own and renames it. Raises UsageError if no file is usable.
    """
    cache_dir = cache_dir or default_cache_dir()
    path = cache_dir / f"{_key(files, size, wanted, skip_colorless)}.uint8"
    index = path.with_suffix(".json")  # written last: where it stands, the array is whole
    if not index.exists():
        _build(files, size, wanted, skip_colorless, path, index)
    entry = json.loads(index.read_text())
    _warn(entry["skipped"], len(entry["kept"]))
    if not entry["kept"]:
        raise UsageError(f"no usable color image among {len(files)} files near {files[0].parent}")
    shape = (len(entry["kept"]), size, size, 3)
    images = np.memmap(path, np.uint8, "r", shape=shape)
    return Cached(images, [files[i] for i in entry["kept"]])


def _key(files: list[Path], size: int, wanted: int | None, skip_colorless: bool) -> str:
    state = [VERSION, RESIZING, size, wanted, skip_colorless]
    for file in files:
        stat = file.stat()
        state.append((str(file.absolute()), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]


def _build(files, size, wanted, skip_colorless, path: Path, index: Path) -> None:
    kept: list[int] = []
    skipped: dict[str, list[str]] = {}
    with replacing(path) as part, open(part, "wb") as out:
        for i, pixels in enumerate(_decoded(files, size, skip_colorless, wanted)):
            if isinstance(pixels, str):
                skipped.setdefault(pixels, []).append(str(files[i]))
                continue
            out.write(pixels)
            kept.append(i)
            if len(kept) == wanted:
                break
    with replacing(index) as part:
        part.write_text(json.dumps({"kept": kept, "skipped": skipped}))


def _decoded(files, size: int, skip_colorless: bool, wanted: int | None) -> Iterator[bytes | str]:
    """For each file its pixels as bytes, or the reason why it is left out."""
    bar = tqdm(
        total=wanted or len(files), desc="decoding images", unit="img", delay=1.0, leave=False
    )
    with bar, ThreadPoolExecutor() as pool:
        for start in range(0, len(files), CHUNK):
            chunk = files[start : start + CHUNK]
            yield from pool.map(lambda file: _decode(file, size, skip_colorless), chunk)
            bar.update(len(chunk))


def _decode(file: Path, size: int, skip_colorless: bool) -> bytes | str:
    try:
        with Image.open(file) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                return "huge"
            if min(image.size) < TINY:
                return "tiny"
            if image.mode in GREY_MODES:
                return "grey"
        pixels = np.asarray(fit_square(read_rgb(file), size))
    except (RunError, OSError, Image.DecompressionBombError):
        return "broken"
    if skip_colorless and (pixels == pixels[..., :1]).all():
        return "grey"
    return pixels.tobytes()


def _warn(skipped: dict[str, list[str]], kept: int) -> None:
    if not skipped:
        return
    counts = Counter({reason: len(files) for reason, files in skipped.items()})
    what = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    first = next(iter(skipped.values()))[0]
    total = kept + counts.total()
    print(
        f"warning: left out {counts.total()} of {total} images: {what} (such as {first})",
        file=sys.stderr,
    )
