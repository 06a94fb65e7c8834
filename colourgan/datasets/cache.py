"""Pictures decoded once: a memory-mapped uint8 array that every later run opens at once."""

import hashlib
import json
import logging
import math
import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fastcore.basics import chunked
from PIL import Image
from tqdm import tqdm

from colourgan.errors import UsageError
from colourgan.files import replacing
from colourgan.images import read_rgb

VERSION = 2  # raise it when what is stored for the same files changes
RESIZING = "lanczos, shorter side, centre crop"
CHUNK = 512  # files decoded ahead
TINY = 8  # pixels: below this a picture has no content to learn from
Decoded = np.ndarray | str
_DRAFTED = 2  # a draft's shorter side is at least so many times the size it is then resized to
_log = logging.getLogger(__name__)


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

    Left out, and with `warn` counted in one logged warning: files that are broken, tiny (a side
    under 8 pixels), huge (over PIL's decompression-bomb limit) or stored as greyscale, and with
    `skip_colorless` also pictures stored as RGB whose three channels are equal.
    The key is a hash of the files' paths, sizes and modification times, `size`, the resizing method
    and VERSION, so a changed file is decoded again. Two processes may build the same cache: each
    writes a file of its own and renames it. Raises UsageError if no file is usable.
    """
    state = [VERSION, RESIZING, size, wanted, skip_colorless]
    for file in files:
        try:
            stat = file.stat()
            state.append((str(file.absolute()), stat.st_size, stat.st_mtime_ns))
        except OSError:  # a link that leads nowhere: it will count as broken
            state.append((str(file.absolute()), None))
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]
    path = (cache_dir or default_cache_dir()) / f"{key}.uint8"
    if (entry := _entry(path, size)) is None:
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
    """Logs one warning that counts what was left out of all these parts; none if nothing was."""
    skipped = [
        (why, file) for part in parts for why, files in part.skipped.items() for file in files
    ]
    if skipped:
        counts = Counter(reason for reason, _ in skipped)
        warn_left_out(counts, sum(len(part.files) for part in parts), skipped[0][1])


def warn_left_out(reasons: Counter[str], used: int, such_as: str) -> None:
    """Logs one warning: how many images were left out for which reasons, how many were not."""
    what = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    count = reasons.total()
    _log.warning(f"left out {count} of {count + used} images: {what} (such as {such_as})")


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
    shown = {"delay": 1.0, "leave": False, "disable": None}  # not where no terminal shows it
    bar = tqdm(total=wanted or len(files), desc="decoding images", unit="image", **shown)
    with replacing(path) as part, open(part, "wb") as out, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # counted, or harmless
        with bar, ThreadPoolExecutor() as pool:
            for i, pixels in enumerate(
                pixels
                for chunk in chunked(files, min(CHUNK, wanted or CHUNK))
                for pixels in pool.map(lambda file: _decode(file, size, skip_colorless), chunk)
            ):
                bar.update()
                if isinstance(pixels, str):
                    skipped.setdefault(pixels, []).append(str(files[i]))
                    continue
                out.write(pixels)
                kept.append(i)
                if len(kept) == wanted:
                    break
    with replacing(path.with_suffix(".json")) as part:  # last: where it stands, so does the array
        part.write_text(json.dumps({"kept": kept, "skipped": skipped}))


def _decode(file: Path, size: int, skip_colorless: bool) -> bytes | str:
    if not os.path.isfile(file):
        return "broken"  # opening a pipe would wait for ever
    found = decode(file, size, skip_colorless)
    return found if isinstance(found, str) else found.tobytes()


def decode(source: Path | BytesIO, size: int, skip_colorless: bool) -> Decoded:
    """A picture's pixels, (size, size, 3) uint8, or the reason why it is left out.

    source: a file's path or its bytes; skip_colorless: whether a grey one is left out. Of a large
    JPEG only as many pixels are computed as the size needs, several times as fast; they differ by
    a rounding from those of the whole picture.
    """
    try:
        with Image.open(source) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                return "huge"
            if min(image.size) < TINY:
                return "tiny"
            if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16"):
                return "grey"
            if image.format == "JPEG" and min(image.size) >= 2 * _DRAFTED * size:
                scale = _DRAFTED * size / min(image.size)
                image.draft(None, tuple(math.ceil(side * scale) for side in image.size))
                rgb = read_rgb(image)
            else:
                rgb = read_rgb(source)
        pixels = np.asarray(fit_square(rgb, size))
    except Image.DecompressionBombError:  # twice the limit above
        return "huge"
    except Exception:  # PIL's readers raise nearly every kind for broken bytes
        return "broken"
    if skip_colorless and (pixels == pixels[..., :1]).all():
        return "grey"
    return pixels
