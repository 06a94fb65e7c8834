"""The commands that train, one for each training."""

from dataclasses import replace
from functools import partial
from typing import Any

import typer

from colourgan.cli.derive import command, given_on
from colourgan.cli.output import done
from colourgan.errors import UsageError
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
    done("run", TRAIN[kind.command](training))


def commands() -> list:
    """A function for Typer for each training."""
    return [
        command(kind, partial(_train, kind), name.replace("-", "_"), kind.__doc__)
        for name, kind in TRAININGS.items()
    ]
