"""A folder of small color pictures, and commands run on it as a user would run them."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from colourgan import cli
from colourgan.learners import training

TRAINING = {
    "size": 16,
    "epochs": 2,
    "frozen_epochs": 1,
    "batch_size": 8,
    "ema": 0.9,
    "device": "cpu",
}


@pytest.fixture(scope="module", autouse=True)
def undrawn():
    """In a module that imports this, loss.png is empty: drawing it takes longer than training."""
    with pytest.MonkeyPatch.context() as patch:
        empty = SimpleNamespace(curves=lambda history, path: path.touch())
        patch.setattr(training, "plots", empty)
        yield


def make_pictures(folder: Path, count: int, side: int = 24, seed: int = 0) -> Path:
    """`count` smooth random color pictures in folder/a and folder/b, as PNG."""
    random = np.random.default_rng(seed)
    for i in range(count):
        small = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((side, side), Image.Resampling.BILINEAR).save(path)
    return folder


def make_data(folder: Path, train: int = 20, test: int = 6) -> Path:
    make_pictures(folder / "train", train)
    make_pictures(folder / "test", test, seed=1)
    return folder


def options(arguments: dict) -> list[str]:
    """The command-line options for keyword arguments."""
    return [part for k, v in arguments.items() for part in (f"--{k.replace('_', '-')}", str(v))]


def call(monkeypatch, *arguments) -> int:
    """Runs the command line in this process; its exit code."""
    monkeypatch.setattr("sys.argv", ["colourgan", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def colourgan(*arguments, prelude: str = "", cwd: Path | None = None):
    """Runs the command line in a process of its own, single-threaded; `prelude` runs before it."""
    with started(*arguments, prelude=prelude, cwd=cwd) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(*arguments, prelude: str = "", cwd: Path | None = None) -> subprocess.Popen:
    """The same process, while it runs."""
    code = f"{prelude}\nfrom colourgan.cli import main\nmain()"
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=env, cwd=cwd, **pipes)
