"""The run folder: what was asked, what came of it, and all that is needed to go on."""

import csv
import io
import itertools
import json
import logging
import os
import platform
import random
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from fastai.learner import Learner
from filelock import FileLock, Timeout

import colourgan
from colourgan import processes
from colourgan.callbacks import resolve_precision
from colourgan.datasets import DATASETS, fingerprint
from colourgan.errors import Busy, OtherSettings, RunError, UsageError
from colourgan.files import file_hash, remove, replacing
from colourgan.models import safe_model_file
from colourgan.options import flag, options
from colourgan.trainings import SCHEMA, Training, arguments, recorded

LIBRARIES = ("torch", "torchvision", "fastai", "timm")
RATES = "lr_find.png"
LOCK, HOLDER = ".lock", ".lock-holder"
_log = logging.getLogger(__name__)


class Run:
    """One training and its folder: config.json, history.csv, samples/, loss.png, model, state.pt.

    Every file is replaced as a whole, the state last: after a kill at any moment the folder holds
    the last whole epoch, from which `--resume` goes on. Of several processes the first one holds
    the folder and writes to it.
    """

    def __init__(self, path: Path, config: dict):
        self.path, self.config = path, config
        self.history: list[dict] = []

    @classmethod
    @contextmanager
    def open(cls, path: Path, training: Training) -> Iterator["Run"]:
        """A new run in an unused folder, or with `resume` the one that is there, locked meanwhile.

        A run that ended before its first epoch may begin anew, perhaps with other settings. Torch's
        number of threads is that of the run's beginning, if this machine has as many cores, and
        what it was before in the end.

        Raises UsageError if the folder holds something already, OtherSettings if a run to resume
        differs in its command, an option or the content of a file, Busy if it is being trained.
        """
        threads = torch.get_num_threads()
        with ExitStack() as stack:

            def opened() -> "Run":
                stack.enter_context(locked(path))
                return (
                    cls._reopened(path, training) if training.resume else cls._new(path, training)
                )

            run = processes.first(opened)
            try:
                if training.resume and run.config.get("cores", os.cpu_count()) == os.cpu_count():
                    # Sums in another order change the result.
                    torch.set_num_threads(run.config["threads"])
                yield run
            finally:
                torch.set_num_threads(threads)

    @classmethod
    def _new(cls, path: Path, training: Training) -> "Run":
        if not is_unused(path):
            hint = "add --resume to continue it, or " if (path / "config.json").exists() else ""
            raise UsageError(f"{path} exists already: {hint}choose another --out")
        versions = {"colourgan": colourgan.__version__, "python": platform.python_version()}
        config = {
            "schema": SCHEMA,
            "command": training.command,
            "arguments": arguments(training),
            "contents": contents(training),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "processes": processes.world(),
            "versions": versions | {name: version(name) for name in LIBRARIES},
        }
        run = cls(path, config)
        run.write_config()
        return run

    @classmethod
    def _reopened(cls, path: Path, training: Training) -> "Run":
        config = read_config(path)
        if config["command"] != training.command:
            raise OtherSettings(
                f"{path} holds a {config['command']} run: resume it by that command"
            )
        before, here = recorded(config, str(path)), contents(training)
        known = config.get("contents", {})
        if config.get("schema", 1) == 1:
            if hasattr(before, "beta1") and before.schedule == "one-cycle":
                raise OtherSettings(
                    f"{path} was started by colourgan {config['versions']['colourgan']} and needs "
                    "that version: one-cycle keeps --beta1 since"
                )
            if parent := config.get("parent"):
                known = {"model" if hasattr(training, "model") else "start": parent["sha256"]}
        for each, about in options(type(training)):
            name = each.name
            was, asked = getattr(before, name), getattr(training, name)
            if name in known and name in here:
                if known[name] != here[name]:
                    raise OtherSettings(
                        f"{asked} is not what {path} was started with: see {flag(name)}"
                    )
            elif about.role != "place" and (
                (was is None) != (asked is None)
                or (about.role != "file" and _named(was) != _named(asked))
            ):
                raise OtherSettings(
                    f"{path} was started with {flag(name)} {was}: a resumed run keeps it"
                )
        if config.get("cores", os.cpu_count()) != os.cpu_count():
            _log.warning("%s began on a machine with another number of cores: results differ", path)
        for part in path.rglob(".*.part*"):  # what a kill left while writing
            remove(part)
        return cls(path, config)

    def note_learner(self, learn: Learner, more_images: int = 0, **parameters: int) -> None:
        """Adds to config.json what was found out: device, precision, images, parameters.

        more_images: training images that the learner's own loader does not hold.
        """
        counts = learn.model.parameter_counts() if hasattr(learn.model, "parameter_counts") else {}
        device = learn.dls.device
        self.config["found"] = found = {
            "device": str(device),
            "precision": resolve_precision(learn.precision.mode, device),
            "train_images": learn.dls.train.n + more_images,
            "valid_images": learn.dls.valid.n,
            "parameters": {**counts, **parameters},
        }
        self.write_config()
        sizes = ", ".join(f"{name} {n / 1e6:.2f} M" for name, n in found["parameters"].items())
        _log.info(
            "%s: %d training images, %s%s on %s", self.path, found["train_images"],
            f"parameters: {sizes}, " if sizes else "", found["precision"], found["device"],
        )  # fmt: skip

    def write_config(self) -> None:
        """config.json: the command's options and all that the result depends on."""
        if processes.rank():
            return
        with replacing(self.path / "config.json") as part:
            part.write_text(json.dumps(self.config, indent=2) + "\n")

    def write_history(self) -> None:
        """history.csv, one row an epoch; columns that appear later are empty before."""
        if processes.rank():
            return
        columns = list(dict.fromkeys(name for row in self.history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.history)
        with replacing(self.path / "history.csv") as part:
            part.write_text(text.getvalue())

    def save_state(self, state: dict) -> None:
        """state.pt: `state` with the history and all random states, those of all processes."""
        first, *others = processes.gathered(random_state())
        if processes.rank():
            return
        with replacing(self.path / "state.pt") as part:
            kept = {"history": self.history, "random": first, "others": others}
            torch.save({**state, **kept}, part)

    def load_state(self) -> dict | None:
        """What save_state wrote, the history taken over; None before the first epoch."""
        file = self.path / "state.pt"
        if not file.exists():
            return None
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises half a dozen kinds for a damaged file
            kind = type(error).__name__
            raise RunError(f"{file} is damaged ({kind}): start the run anew") from error
        self.history = state["history"]
        return state


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run folder, made if need be; the system frees it when a process is killed.

    Within one thread it may be held twice. Raises Busy, which says who holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, is_singleton=True, thread_local=True)
        lock.acquire(blocking=False)
    except Timeout:
        holder = "another process"
        with suppress(OSError):
            holder = (folder / HOLDER).read_text()
        raise Busy(
            f"{folder} is being trained by {holder}: wait, or choose another --out"
        ) from None
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        if lock.lock_counter == 1:
            with suppress(OSError):
                (folder / HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        if lock.lock_counter == 1:
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def contents(training: Training, of_folder: Callable[[str], str] = fingerprint) -> dict[str, str]:
    """Option → what identifies the file or folder of images that it names, wherever it lies.

    Names of data sets and of published weights stand for themselves and are not in it. Raises
    UsageError for a file or folder that is not there.
    """
    found = {}
    for each, about in options(type(training)):
        value = getattr(training, each.name)
        if about.role == "data" and value is not None and value not in DATASETS:
            found[each.name] = of_folder(value)
        elif about.role == "file" and value is not None:
            found[each.name] = hash_of(safe_model_file(value))
        elif about.role == "encoder":
            arch, _, weights = value.partition("@")
            if (file := Path(weights).expanduser()).is_file():
                found[each.name] = f"{arch}@{hash_of(file)}"
    return found


def hash_of(file: Path) -> str:
    """SHA-256 of a file that may be large, computed once while it stays as it is."""
    state = file.stat()
    return _hash(file.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache
def _hash(file: Path, modified: int, size: int) -> str:
    return file_hash(file)


def _named(value):
    """A value, of a path or of ARCH@FILE no more than the file's name: it may have moved."""
    if not isinstance(value, str) or "/" not in value:
        return value
    arch, at, weights = value.rpartition("@")
    return f"{arch}{at}{Path(weights).name}"


def is_unused(path: Path) -> bool:
    """Whether a folder holds no more than a run that finished no epoch, or is not there.

    A process that was killed may have left a part of config.json.
    """
    if not path.exists():
        return True
    return path.is_dir() and all(
        file.name in ("config.json", RATES, LOCK, HOLDER) or file.match(".config.*.part*")
        for file in path.iterdir()
    )


def new_folder(name: str) -> Path:
    """runs/NAME, or runs/NAME-2, -3, … if that is taken."""
    name = re.sub(r"-*[:{},]+-*", "-", name.removesuffix(".tar")).rstrip("-")
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


def read_training(path: Path) -> Training:
    """The training that a run folder records; UsageError or RunError as `read_config`."""
    return recorded(read_config(Path(path)), str(path))


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
    """Takes over a `random_state`; of GPUs, as many as both machines have."""
    random.setstate(_tuples(state["python"]))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    for device, each in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(each, device)


def _tuples(value):
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
