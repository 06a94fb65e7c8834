"""Pictures decoded once: a memory-mapped uint8 array that every later run opens at once."""

import hashlib
import json
import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from colourgan.errors import UsageError
from colourgan.files import replacing
from colourgan.images import read_rgb

VERSION = 1  # raise it when what is stored for the same files changes
RESIZING = "lanczos, shorter side, centre crop"
CHUNK = 512  # files decoded ahead
TINY = 8  # pixels: below this a picture has no content to learn from


class Cached(NamedTuple):
    """images: (N, size, size, 3) uint8, memory-mapped; files: the N paths, row by row;
    skipped: why files were left out → their paths.
    """

    images: np.ndarray
    files: list[Path]
    skipped: dict[str, list[str]]


def default_cache_dir() -> Path:
    """$COLOURGAN_CACHE, else ~/.cache/colourgan."""
    return Path(os.environ.get("COLOURGAN_CACHE") or Path.home() / ".cache" / "colourgan")


def fit_square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of a picture, resized to size×size; unchanged if it has that size."""
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
    warn: bool = True,
) -> Cached:
    """The first `wanted` usable files (None: all) as squares of size×size pixels, decoded once.

    Left out, and with `warn` counted in one line on stderr: files that are broken, tiny (a side
    under 8 pixels), huge (over PIL's decompression-bomb limit) or stored as greyscale, and with
    `skip_colorless` also pictures stored as RGB whose three channels are equal.
    The key is made of the files' paths, sizes and times, `size`, the way of resizing and VERSION,
    so a changed file is decoded again. Two processes may build the same cache: each writes a file
    of its own and renames it. Raises UsageError if no file is usable.
    """
    cache_dir = cache_dir or default_cache_dir()
    path = cache_dir / f"{_key(files, size, wanted, skip_colorless)}.uint8"
    entry = _entry(path, size)
    if entry is None:
        _build(files, size, wanted, skip_colorless, path)
        entry = _entry(path, size)
    kept, skipped = entry["kept"], entry["skipped"]
    if not kept:
        why = ", ".join(f"{len(paths)} {reason}" for reason, paths in skipped.items())
        raise UsageError(f"no usable color image near {files[0].parent}: {why}")
    images = np.memmap(path, np.uint8, "r", shape=(len(kept), size, size, 3))
    cached = Cached(images, [files[i] for i in kept], skipped)
    if warn:
        warn_skipped(cached)
    return cached


def warn_skipped(*parts: Cached) -> None:
    """One line on stderr that counts what was left out of all these parts; none if nothing was."""
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update({reason: len(files) for reason, files in part.skipped.items()})
    if not counts:
        return
    what = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    total = counts.total() + sum(len(part.files) for part in parts)
    first = next(files[0] for part in parts for files in part.skipped.values())
    print(
        f"warning: left out {counts.total()} of {total} images: {what} (such as {first})",
        file=sys.stderr,
    )


def _key(files: list[Path], size: int, wanted: int | None, skip_colorless: bool) -> str:
    state = [VERSION, RESIZING, size, wanted, skip_colorless]
    for file in files:
        try:
            stat = file.stat()
            state.append((str(file.absolute()), stat.st_size, stat.st_mtime_ns))
        except OSError:  # a link that leads nowhere: it will count as broken
            state.append((str(file.absolute()), None))
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]


def _entry(path: Path, size: int) -> dict | None:
    """What the index beside an array says of it; None if either is not there or not whole."""
    try:
        entry = json.loads(path.with_suffix(".json").read_text())
        whole = path.stat().st_size == len(entry["kept"]) * size * size * 3
    except (FileNotFoundError, ValueError):
        return None
    return entry if whole else None


def _build(files, size, wanted, skip_colorless, path: Path) -> None:
    kept: list[int] = []
    skipped: dict[str, list[str]] = {}
    with replacing(path) as part, open(part, "wb") as out, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # counted, or harmless
        for i, pixels in enumerate(_decoded(files, size, skip_colorless, wanted)):
            if isinstance(pixels, str):
                skipped.setdefault(pixels, []).append(str(files[i]))
                continue
            out.write(pixels)
            kept.append(i)
            if len(kept) == wanted:
                break
    with replacing(path.with_suffix(".json")) as part:  # last: where it stands, so does the array
        part.write_text(json.dumps({"kept": kept, "skipped": skipped}))


def _decoded(files, size: int, skip_colorless: bool, wanted: int | None) -> Iterator[bytes | str]:
    """For each file its pixels as bytes, or the reason why it is left out."""
    bar = tqdm(
        total=wanted or len(files),
        desc="decoding images",
        unit="img",
        delay=1.0,
        leave=False,
        disable=None,  # no bar where no terminal shows it
    )
    step = min(CHUNK, wanted or CHUNK)
    with bar, ThreadPoolExecutor() as pool:
        for start in range(0, len(files), step):
            chunk = files[start : start + step]
            yield from pool.map(lambda file: _decode(file, size, skip_colorless), chunk)
            bar.update(len(chunk))


def _decode(file: Path, size: int, skip_colorless: bool) -> bytes | str:
    try:
        with Image.open(file) as image:
            if reason := _unusable(image):
                return reason
        pixels = np.asarray(fit_square(read_rgb(file), size))
    except Image.DecompressionBombError:  # twice the limit that _unusable knows
        return "huge"
    except Exception:  # PIL's readers raise nearly every kind for broken bytes
        return "broken"
    if skip_colorless and (pixels == pixels[..., :1]).all():
        return "grey"
    return pixels.tobytes()


def _unusable(image: Image.Image) -> str | None:
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        return "huge"
    if min(image.size) < TINY:
        return "tiny"
    if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16"):
        return "grey"
    return None
