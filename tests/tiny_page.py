"""The page in a process of its own, a browser, and small pictures for them."""

import os
import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser() -> str | None:
    """The path of a Chromium; None without one, or without what drives it."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return None
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def command(*arguments: str, without: str = "torch", **environment: str) -> subprocess.Popen:
    """`colourgan serve` in a process that cannot import what is `without`."""
    code = f"import sys; sys.modules.update(dict.fromkeys({without.split()!r}))"
    code += "\nfrom colourgan.cli import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "serve", *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def address_of(process: subprocess.Popen) -> str:
    """Where a process serves, once it does."""
    while "http" not in (line := process.stderr.readline()):
        assert line, "it ended before it served anything"
    address = line.split()[4]
    for _ in range(100):
        try:
            urlopen(address, timeout=120).close()
            return address
        except OSError:
            time.sleep(0.1)
    raise AssertionError(line)


def drawn(height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    """(H, W) uint8, smooth; of middling lightness, so that colors fit into sRGB."""
    small = np.random.default_rng(seed).integers(60, 190, (5, 6), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def as_bytes(pixels: np.ndarray, format: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def put(path: Path, pixels: np.ndarray | None = None, **options) -> Path:
    """A picture's file, in the format of its ending."""
    Image.fromarray(drawn() if pixels is None else pixels).save(path, **options)
    return path
