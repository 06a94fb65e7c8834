"""The run folder: what was asked, what came of it, and all that is needed to go on."""

import csv
import io
import itertools
import json
import platform
import random
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from fastai.learner import Learner

import colourgan
from colourgan.callbacks import resolve_precision
from colourgan.errors import OtherSettings, RunError, UsageError
from colourgan.files import remove, replacing

# May change between a run and its resumption.
PLACES = ("out", "data_dir", "device", "model", "start")
LIBRARIES = ("torch", "torchvision", "fastai", "timm")


class Run:
    """One training and its folder: config.json, history.csv, samples/, loss.png, model, state.pt.

    Every file is replaced as a whole, the state last: after a kill at any moment the folder holds
    the last whole epoch, from which `--resume` goes on.
    """

    def __init__(self, path: Path, config: dict):
        self.path, self.config = path, config
        self.history: list[dict] = []

    @classmethod
    def open(
        cls, path: Path, command: str, arguments: dict, resume: bool, parent: dict | None = None
    ) -> "Run":
        """A new run in an unused folder, or with `resume` the one that is there.

        A run that ended before its first epoch may begin anew, perhaps with other arguments.

        Raises UsageError if the folder holds something already, or a run to resume differs in its
        command, an argument or the parent's weights.
        """
        if resume:
            return cls._reopen(path, command, arguments, parent)
        if path.exists() and not is_unused(path):
            hint = "add --resume to continue it, or " if (path / "config.json").exists() else ""
            raise UsageError(f"{path} exists already: {hint}choose another --out")
        config = {
            "command": command,
            "arguments": arguments,
            "parent": parent,
            "threads": torch.get_num_threads(),
            "versions": {
                "colourgan": colourgan.__version__,
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
        }
        run = cls(path, config)
        run.write_config()
        return run

    @classmethod
    def _reopen(cls, path: Path, command: str, arguments: dict, parent: dict | None) -> "Run":
        config = read_config(path)
        if config["command"] != command:
            raise OtherSettings(
                f"{path} holds a {config['command']} run: resume it by that command"
            )
        for name, value in arguments.items():
            kept = config["arguments"].get(name)
            if name in ("encoder", "arch"):
                value, kept = _without_folder(value), _without_folder(kept)
            if name not in PLACES and value != kept:
                option = "--" + name.replace("_", "-")
                raise OtherSettings(
                    f"{path} was started with {option} {kept}: a resumed run keeps it"
                )
        if parent and parent["sha256"] != (config["parent"] or {}).get("sha256"):
            raise OtherSettings(f"{parent['model']} is not the model that {path} was started from")
        torch.set_num_threads(config["threads"])  # sums in another order would change the result
        for part in path.rglob(".*.part*"):  # what a kill left while writing
            remove(part)
        return cls(path, config)

    def note_learner(self, learn: Learner, more_images: int = 0, **parameters: int) -> None:
        """Adds to config.json what was found out: device, precision, images, parameters.

        more_images: training images that the learner's own loader does not hold.
        """
        counts = learn.model.parameter_counts() if hasattr(learn.model, "parameter_counts") else {}
        device = learn.dls.device
        self.config["found"] = {
            "device": str(device),
            "precision": resolve_precision(learn.precision.mode, device),
            "train_images": learn.dls.train.n + more_images,
            "valid_images": learn.dls.valid.n,
            "parameters": {**counts, **parameters},
        }
        self.write_config()
        described = ", ".join(
            f"{name} {n / 1e6:.2f} M" for name, n in (counts | parameters).items()
        )
        found = self.config["found"]
        print(
            f"{self.path}: {found['train_images']} training images, parameters: {described}, "
            f"{found['precision']} on {found['device']}",
            file=sys.stderr,
        )

    def write_config(self) -> None:
        """config.json: the command's arguments and all that the result depends on."""
        with replacing(self.path / "config.json") as part:
            part.write_text(json.dumps(self.config, indent=2) + "\n")

    def write_history(self) -> None:
        """history.csv, one row an epoch; columns that appear later are empty before."""
        columns = list(dict.fromkeys(name for row in self.history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.history)
        with replacing(self.path / "history.csv") as part:
            part.write_text(text.getvalue())

    def save_state(self, state: dict) -> None:
        with replacing(self.path / "state.pt") as part:
            torch.save({**state, "history": self.history, "random": random_state()}, part)

    def load_state(self) -> dict | None:
        """What save_state wrote, the history taken over; None before the first epoch."""
        file = self.path / "state.pt"
        if not file.exists():
            return None
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises half a dozen kinds for a damaged file
            raise RunError(
                f"{file} is damaged ({type(error).__name__}): start the run anew"
            ) from error
        self.history = state["history"]
        return state


def is_unused(path: Path) -> bool:
    """Whether a folder is empty but for the config.json of a run that finished no epoch.

    A process that was killed may have left a part of that file.
    """
    return path.is_dir() and all(
        file.name == "config.json" or file.match(".config.*.part.json") for file in path.iterdir()
    )


def arguments_of(signature: dict) -> dict:
    """A command's arguments as JSON values, from the locals() at its beginning."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in signature.items()
        if name != "resume"
    }


def _without_folder(encoder: str) -> str:
    """ARCH@FILE with no more than the file's name: where it lies may change, too."""
    arch, at, weights = encoder.partition("@")
    return f"{arch}@{Path(weights).name}" if at else encoder


def new_folder(name: str) -> Path:
    """runs/NAME, or runs/NAME-2, -3, … if that is taken."""
    name = name.replace(":", "-")
    paths = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in itertools.count(1))
    return next(path for path in paths if not path.exists())


def read_config(path: Path) -> dict:
    """A run's config.json; UsageError if `path` is no run folder, RunError if it is damaged."""
    file = path / "config.json"
    if not file.is_file():
        raise UsageError(f"{path} is no run folder: it has no config.json")
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise RunError(f"{file} is damaged: {error}") from error


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a run's history.csv, one an epoch, as numbers."""
    with (path / "history.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def random_state() -> dict:
    """The state of every global random generator, as plain values and tensors."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict) -> None:
    random.setstate(_tuples(state["python"]))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def _tuples(value):
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
