"""Time and memory of coloring photographs, as whole processes on one core: python bench/colorize.py

Photographs are made from one that comes with scikit-image, enlarged, with film grain: 500 pixels
wide, 12 and 100 megapixels, grey, as JPEG, and a folder of small ones. With --runtimes the packaged
model is run by each of the runtimes that it can be exported to, on the small photograph. The
medians of several runs: seconds of wall clock, seconds of the processor, which other jobs on the
machine hardly change, and the peak of resident memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

CORE = 1
SIZES = {"500 pixels": (500, 375), "12 megapixels": (4000, 3000), "100 megapixels": (11600, 8700)}
COLORIZE = [sys.executable, "-m", "colourgan", "colorize"]
# What each runtime has to do from its start for one photograph of 500 pixels.
ALONE = {
    "ONNX Runtime": "from onnxruntime import InferenceSession as S; s = S({path!r}); "
    "s.run(None, {{'L': L}})",
    "torch, from safetensors": "from colourgan.models import load_model; import torch; "
    "load_model('packaged')(torch.from_numpy(L))",
    "torch, TorchScript": "import torch; torch.jit.load({path!r})(torch.from_numpy(L))",
    "torch, exported program": "import torch; "
    "torch.export.load({path!r}).module()(torch.from_numpy(L))",
}
FORMATS = {"ONNX Runtime": "onnx", "torch, TorchScript": "torchscript"}
FORMATS["torch, exported program"] = "torch-export"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=int, default=200, help="small photographs in the folder")
    parser.add_argument("--runtimes", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.runtimes:
            runtimes(folder, arguments.runs)
        else:
            photographs(folder, arguments.runs, arguments.folder)


def photographs(folder: Path, runs: int, count: int) -> None:
    print(f"{'':28}{'seconds':>9}{'processor':>11}{'MB':>7}")
    for name, size in SIZES.items():
        photo = made(folder / f"{size[0]}.jpg", size)
        row(name, [*COLORIZE, photo, "--out", folder / "out", "--overwrite"], runs)
    photo = made(folder / "again" / "0.jpg", SIZES["500 pixels"]).read_bytes()
    for i in range(count):
        (folder / "again" / f"{i}.jpg").write_bytes(photo)
    processor = row(
        f"{count} of 500 pixels",
        [*COLORIZE, folder / "again", "--out", folder / "out", "--overwrite"],
        max(1, runs // 3),
    )
    print(f"{count / processor:.1f} photographs a second")


def runtimes(folder: Path, runs: int) -> None:
    print(f"{'':28}{'seconds':>9}{'processor':>11}{'MB':>7}")
    prologue = "import numpy as np; L = np.zeros((1, 1, 128, 168), np.float32); "
    for name, code in ALONE.items():
        path = folder / f"packaged.{name[:3]}{len(name)}"
        if to := FORMATS.get(name):
            export = [sys.executable, "-m", "colourgan", "export", "packaged", "--to", to]
            subprocess.run([*export, "--out", path], check=True, capture_output=True)
        row(name, [sys.executable, "-c", prologue + code.format(path=str(path))], runs)


def made(path: Path, size: tuple[int, int]) -> Path:
    """A grey JPEG of this width and height."""
    path.parent.mkdir(exist_ok=True)
    grey = Image.open(str(files("skimage") / "data" / "coffee.png")).convert("L").resize(size)
    grain = np.random.default_rng(0).integers(-6, 7, (512, 512), dtype=np.int16)
    across, down = -(-size[0] // 512), -(-size[1] // 512)
    for top in range(down):
        for left in range(across):
            box = (
                left * 512,
                top * 512,
                min(left * 512 + 512, size[0]),
                min(top * 512 + 512, size[1]),
            )
            cell = np.asarray(grey.crop(box), dtype=np.int16)
            grained = (cell + grain[: cell.shape[0], : cell.shape[1]]).clip(0, 255)
            grey.paste(Image.fromarray(grained.astype(np.uint8)), box[:2])
    grey.save(path, quality=92)
    return path


def row(name: str, command: list, runs: int) -> float:
    """Prints the medians of seconds, seconds of the processor and MB; the second is returned."""
    measured = [once([str(part) for part in command]) for _ in range(runs)]
    wall, processor, memory = (statistics.median(each) for each in zip(*measured, strict=True))
    print(f"{name:28}{wall:9.2f}{processor:11.2f}{memory:7.0f}", flush=True)
    return processor


def once(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of the processor and MB of one process on one core."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {CORE}),
    )  # fmt: skip
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed: {said}")
    processor = used.ru_utime + used.ru_stime
    return time.perf_counter() - start, processor, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
