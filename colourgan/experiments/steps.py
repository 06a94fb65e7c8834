"""The trainings of an experiment: values that need each other, named by what they compute."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from colourgan.datasets import fingerprint, is_stream
from colourgan.errors import UsageError
from colourgan.learners import contents
from colourgan.learners.encoder import WEIGHTS
from colourgan.trainings import GanFinetune, TrainEncoder, Training, identity

_HASH_DIGITS = 12


@cache
def content_of_folder(data: str) -> str:
    """The `fingerprint` of a folder, cached: an experiment begins by `cache_clear`.

    Raises UsageError for a stream, on which nothing could be measured.
    """
    if is_stream(data):
        raise UsageError(
            f"{data} is streamed and has no test images to measure models on: name a data set or a "
            "folder of images"
        )
    return fingerprint(data)


class Decoding(NamedTuple):
    """How a generator of classes decodes when it is measured, see `ColorClasses`."""

    temperature: float
    vivid: float
    saturation: float


@dataclass(frozen=True)
class Step:
    """One training, and the step that it begins with.

    needs: trains the weights of a TrainEncoder's successor, the model of a GanFinetune, the start
    of a Pretrain. factors: names of the cell that it becomes when measured, such as {"model":
    "GAN"}; None for one that is only needed. rival: a step whose model is measured once more with
    the saturation of this one's. decoding: None for the model's own. label: for people.
    """

    training: Training
    needs: "Step | None" = None
    factors: dict[str, str] | None = field(default=None, hash=False)
    rival: "Step | None" = None
    decoding: Decoding | None = None
    label: str = ""

    @property
    def seed(self) -> int:
        return self.training.seed

    @cached_property
    def run(self) -> str:
        """The name of its run folder: the command and a hash of all that it computes."""
        text = identity(self.training, contents(self.training, content_of_folder))
        if self.needs:
            text = json.dumps([text, self.needs.run])
        digits = hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]
        return f"{self.training.command}-{digits}"

    @property
    def before(self) -> list["Step"]:
        """The steps that must be done first."""
        rival = None if self.rival is self.needs else self.rival
        return [step for step in (self.needs, rival) if step is not None]

    @property
    def name(self) -> str:
        return f"{self.label or ' '.join((self.factors or {}).values())}, seed {self.seed}"

    def ready(self, runs: Path, **place) -> Training:
        """The training with all that it needs; `runs` holds the run folders of all steps."""
        changes = {"out": runs / self.run, **place}
        if self.needs:
            folder = runs / self.needs.run
            if isinstance(self.needs.training, TrainEncoder):
                arch = self.training.encoder.partition("@")[0]
                changes["encoder"] = f"{arch}@{folder / WEIGHTS}"
            elif not isinstance(self.training, GanFinetune):
                changes["start"] = folder
            else:
                changes["model"] = folder
                if self.training.data is None:  # not what its run folder says: they may have moved
                    before = self.needs.ready(runs)
                    changes["data"] = before.data
                    changes["limit"] = self.training.limit or before.limit
        return replace(self.training, **changes)


def with_needs(steps: list[Step]) -> list[Step]:
    """The steps and all that they need and are compared with, each once, needed ones first.

    Raises ValueError for one run that is to be measured in two ways: its folder holds one.
    """
    found: dict[str, Step] = {}

    def add(step: Step) -> None:
        for each in step.before:
            add(each)
        known = found.setdefault(step.run, step)
        if known.factors is None:  # a cell rather than the same training without factors
            found[step.run] = step
        elif step.factors and _way(known) != _way(step):
            raise ValueError(f"'{known.name}' and '{step.name}' measure one run in two ways")

    for step in steps:
        add(step)
    return list(found.values())


def _way(step: Step) -> tuple:
    """How a model is measured, beside what it is measured on."""
    return step.rival and step.rival.run, step.decoding
