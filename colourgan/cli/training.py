"""The commands that train, one for each training."""

from dataclasses import replace
from functools import partial
from typing import Any

import typer

from colourgan.cli.derive import command, given_on
from colourgan.cli.output import done
from colourgan.errors import UsageError
from colourgan.processes import launched, launched_rank
from colourgan.trainings import TRAININGS, Training


def _train(kind: type[Training], context: typer.Context, given: dict[str, Any]) -> None:
    """Calls a training command with its options; a resumed run keeps those it was started with."""
    from colourgan.learners import TRAIN, read_training

    if not given["resume"]:
        training = kind(**given)
    elif given["out"] is None:
        raise UsageError("--resume needs the run's folder: add --out RUN")
    else:
        before = read_training(given["out"])
        if not isinstance(before, kind):
            held = f"{given['out']} holds a {before.command} run"
            raise UsageError(f"{held}: resume it by that command")
        kept = {"resume": True, "out": given["out"]}
        training = replace(before, **given_on(context, given) | kept)
    path = TRAIN[kind.command](training)
    if launched_rank() == 0:
        done("run", path)


def commands() -> list:
    """A function for Typer for each training."""
    return [
        command(kind, partial(_train, kind), name.replace("-", "_"), kind.__doc__)
        for name, kind in TRAININGS.items()
    ]


def check_alone(name: str) -> None:
    """Raises UsageError if several processes were launched, for a command that is no training."""
    if launched() > 1:
        raise UsageError(
            f"{name} runs in one process: accelerate launch and torchrun are for commands that "
            f"train, {', '.join(kind.command for kind in TRAININGS.values() if kind.distributed)}"
        )
