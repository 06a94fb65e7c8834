"""What films are called, and times in them."""

import math
import re
from pathlib import Path

from colourgan.errors import UsageError
from colourgan.files import shown

# Each ending that can be written → the container, as PyAV calls it.
CONTAINERS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
}  # fmt: skip
SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v",
    ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts",
    ".vob", ".webm", ".wmv",
})  # fmt: skip
_FALLBACK = ".mkv"  # which can hold nearly everything
_TIME = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)


def film_target(source: Path, out: Path) -> Path:
    """The file that a film becomes: `out` if that is called as a film, or its own name in `out`.

    The container is kept if it can be written, Matroska otherwise. Raises UsageError for an ending
    that cannot be written.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES or out.is_dir():
        kept = source.suffix.lower() in CONTAINERS
        return out / (source.name if kept else source.with_suffix(_FALLBACK).name)
    if suffix not in CONTAINERS:
        raise UsageError(f"cannot write {shown(out)}: --out can end in {', '.join(CONTAINERS)}")
    return out


def seconds(text: str) -> float:
    """The seconds of "90", "1:30" or "0:01:30.5"; UsageError for other text."""
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise UsageError(f"'{text}' is no time: write seconds, 1:30 or 0:01:30.5")
    hours, minutes, rest = (float(each or 0) for each in found.groups())
    too_many = (found[1] and minutes >= 60) or (found[2] and rest >= 60)
    if too_many or not math.isfinite(rest):
        raise UsageError(f"'{text}' is no time: minutes and seconds go up to 59")
    return hours * 3600 + minutes * 60 + rest
