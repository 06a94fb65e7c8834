"""How much faster colourgan trains than a widely copied loop: python bench/speed.py

Two trainings take turns on this machine: colourgan's own command, called as a function with its
defaults (callbacks, decoded images cached on disk, its precision), and the loop of bench/peer.py.
Networks, batch size and pictures are the same, those made from the packaged data set `sample` and
written to a temporary folder at the training size. What is timed are whole training steps from
files on disk: of the peer an epoch, of colourgan the training batches of every epoch but the first,
as its history.csv has them. Images a second are medians over the turns, and so is the ratio, of
which every turn has one, so that other work on the machine, which slows both, hardly moves it.

On a GPU, for colourgan: the share of the card's dense bf16 peak that the floating-point operations
of a step amount to, the share of time in which the GPU computes nothing, launches a step, and the
share of the host's time in which it waits for, or prepares, the next batch.

The table's figures and the settings are written to bench/results-DEVICE.json, where pairs measured
before with the same settings stay; with --quick only if --out names a file. The exit code is 1 if
a ratio is under its bar.
"""

import argparse
import io
import os
import platform
import random
import shutil
import sys
import tempfile
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import peer
import torch
from loader import images_a_second
from ratios import compared, slug, table, write_results
from tqdm import tqdm
from usage import Profile, flops_per_image, peak_flops

import colourgan
from colourgan.callbacks import resolve_precision
from colourgan.datasets import dataset_root, training_parts
from colourgan.devices import choose_device, cores
from colourgan.errors import UsageError
from colourgan.generators import GENERATORS
from colourgan.images import read_rgb
from colourgan.learners import gan_finetune, pretrain
from colourgan.learners.runs import read_config, read_history
from colourgan.models import save_model
from colourgan.trainings import GanFinetune, Pretrain

BATCH, VALID = 16, 16  # images
EPOCHS = 2  # of colourgan's training in each turn; the first is not timed
PROFILED = 32 * BATCH  # images
LIBRARIES = ("torch", "torchvision", "fastai", "timm", "numpy", "pillow", "scikit-image")


class Pair(NamedTuple):
    """bar: the ratio that is wanted; images: in an epoch, some 10 seconds of the peer."""

    method: str
    encoder: str
    size: int
    bar: float
    images: int

    @property
    def name(self) -> str:
        return f"{self.method}/{self.encoder}/{self.size}"


def pairs_of(methods: tuple[str, ...], *nets: tuple) -> list[Pair]:
    return [Pair(method, *net) for net in nets for method in methods]


PAIRS = {
    "cpu": pairs_of(
        ("gan", "l1", "bins"),
        ("resnet20", 32, 3.0, 512),
        ("mobilenet_v2", 64, 2.5, 192),
        ("efficientnet_lite0", 64, 2.5, 192),
    ),
    "cuda": pairs_of(
        ("gan", "l1"),
        ("resnet20", 32, 8.0, 8192),
        ("resnet18", 96, 5.0, 4096),
        ("resnet18", 256, 3.0, 2048),
    ),
}
QUICK = 8  # times fewer images, and one turn


def write_pictures(folder: Path, count: int, size: int) -> list[Path]:
    """Fills folder/train and a small folder/valid; the paths of the `count` in train."""
    source = [read_rgb(file) for file in training_parts(dataset_root("sample")).train]
    chance, ending = random.Random(0), "png" if size <= 32 else "jpg"
    for part, number in (("train", count), ("valid", VALID)):
        (folder / part).mkdir(parents=True)
        for i in range(number):
            image = source[i % len(source)]
            side = chance.randint(image.width // 2, image.width)
            x, y = (chance.randint(0, image.width - side) for _ in range(2))
            crop = image.resize((size, size), box=(x, y, x + side, y + side))
            crop.save(folder / part / f"{i:05d}.{ending}", quality=92)
    return sorted((folder / "train").iterdir())


class Contender:
    """colourgan's command for one of the pairs, on a folder of pictures."""

    def __init__(self, pair: Pair, pictures: Path, device: torch.device, folder: Path):
        self.folder, self.runs = folder, 0
        shared = {"data": str(pictures), "batch_size": BATCH, "device": str(device)}
        encoder = f"{pair.encoder}@none"
        if pair.method == "gan":
            start = folder / "start.safetensors"
            save_model(GENERATORS["dynamic_unet"](encoder, pair.size), start)
            self.command, self.training = gan_finetune, GanFinetune(model=start, **shared)
        else:
            self.command = pretrain
            self.training = Pretrain(
                encoder=encoder, size=pair.size, frozen_epochs=0, reconstruction=pair.method,
                **shared,
            )  # fmt: skip

    def run(self, epochs: int = EPOCHS, **options) -> float:
        """Trains; images a second of the training batches from the second epoch on."""
        self.runs += 1
        out = self.folder / f"run-{self.runs}"
        with redirect_stderr(io.StringIO()):  # its bar would be drawn over this script's
            path = self.command(self.training, epochs=epochs, out=out, **options)
        seconds = sum(row["seconds"] for row in read_history(path)[1:])
        images = read_config(path)["found"]["train_images"]
        shutil.rmtree(path)  # some hundred megabytes a run
        return (epochs - 1) * images / seconds


def measure(pair: Pair, device: torch.device, turns: int, bar: tqdm) -> dict:
    """The figures of one pair."""
    bar.set_description(pair.name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_pictures(folder / "pictures", pair.images, pair.size)
        contender = Contender(pair, folder / "pictures", device, folder)
        loop = peer.METHODS[pair.method](pair.encoder, pair.size, device)
        loader = peer.make_loader(files, pair.size, BATCH, device)

        def epoch() -> int:
            peer.train_epoch(loop, loader, device)
            return len(files)

        batch = [part.to(device) for part in next(iter(loader))]  # starts the workers as well
        with peer.cudnn_benchmark():
            flops = flops_per_image(loop.step, *batch)
            for _ in range(2):  # warm
                loop.step(*batch)
        ours, theirs = [], []
        for _ in range(turns):
            ours.append(contender.run())
            bar.update()
            theirs.append(images_a_second(epoch, device))
            bar.update()
        row = compared(ours, theirs, pair.bar) | {"gflop_per_image": flops / 1e9}
        if device.type == "cuda":
            row |= gpu_figures(contender, row["colourgan"], flops, device)
        return row


def gpu_figures(contender: Contender, speed: float, flops: float, device: torch.device) -> dict:
    """What colourgan's training, one more time and profiled, makes of a GPU.

    speed: images a second without the profiler; flops: operations for an image.
    """
    profile = Profile(device)
    contender.run(limit=PROFILED, cbs=profile)
    peak = peak_flops(torch.cuda.get_device_name(device))
    return {"share_of_peak": peak and speed * flops / peak, **profile.figures(speed, BATCH)}


def settings_of(device: torch.device, quick: bool) -> dict:
    versions = {"colourgan": colourgan.__version__, "python": platform.python_version()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": slug(name),
        "precision": {"colourgan": resolve_precision("auto", device), "peer": "fp32"},
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "batch_size": BATCH,
        "quick": quick,
        "versions": versions | {library: version(library) for library in LIBRARIES},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, …; auto: a GPU if there is one"
    )
    parser.add_argument(
        "--only", nargs="+", help="pairs, such as gan, gan/resnet20 or l1/resnet18/96"
    )
    parser.add_argument("--turns", type=int, default=5, help="of each of the two, for the median")
    parser.add_argument("--quick", action="store_true", help="one short turn: whether it runs")
    parser.add_argument("--threads", type=int, help="of torch; otherwise its own choice")
    parser.add_argument("--out", type=Path, help="JSON file; otherwise bench/results-DEVICE.json")
    asked = parser.parse_args(arguments)
    if asked.turns < 1:
        parser.error("--turns must be 1 or more")
    if asked.threads:
        torch.set_num_threads(asked.threads)
    try:
        device = choose_device(asked.device)
    except UsageError as error:
        parser.error(str(error))
    pairs = PAIRS["cuda" if device.type == "cuda" else "cpu"]
    if asked.only:
        wrong = [o for o in asked.only if not any(chosen(pair, o) for pair in pairs)]
        if wrong:
            parser.error(f"no pair {wrong[0]}: choices: {', '.join(p.name for p in pairs)}")
        pairs = [pair for pair in pairs if any(chosen(pair, o) for o in asked.only)]
    if asked.quick:
        pairs = [pair._replace(images=pair.images // QUICK) for pair in pairs]
    settings = settings_of(device, asked.quick)
    out = asked.out
    if out is None and not asked.quick:
        out = Path(__file__).with_name(f"results-{settings['device']}.json")
    turns = 1 if asked.quick else asked.turns
    rows = {}
    with (
        tempfile.TemporaryDirectory() as cache,
        tqdm(total=2 * turns * len(pairs), unit="turn", disable=None) as bar,
    ):
        os.environ["COLOURGAN_CACHE"] = cache
        for pair in pairs:
            rows[pair.name] = measure(pair, device, turns, bar)
            if out:
                write_results(out, settings, rows)
    print(
        f"{settings['device']}, threads {settings['threads']}, batches of {BATCH}; colourgan in "
        f"{settings['precision']['colourgan']}, the peer in fp32 with {cores()} workers; "
        f"medians of {turns} turns"
    )
    print(table(rows))
    return 0 if all(row["met"] for row in rows.values()) else 1


def chosen(pair: Pair, wanted: str) -> bool:
    return f"{pair.name}/".startswith(f"{wanted.rstrip('/')}/")


if __name__ == "__main__":
    sys.exit(main())
