"""The commands that compare trainings: published experiments, and the grid of a study."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from colourgan.cli.derive import command, given_on, parsed
from colourgan.cli.output import done
from colourgan.options import made
from colourgan.plans import Reproduction, Study

_log = logging.getLogger(__name__)
STATUS = "Print what is done and the estimated time for the rest; train nothing."
REPORT = "Write the report of what is done; train nothing."


def _reproduce(context: typer.Context, given: dict[str, Any]) -> None:
    from colourgan.experiments.report import verdict_lines
    from colourgan.recipes import reproduce, status_of

    plan = made(Reproduction, parsed(Reproduction, given))
    plan = replace(plan, out=plan.out or Path("reproductions") / plan.recipe)
    if given["status"]:
        print("\n".join(status_of(plan)))
        return
    report = reproduce(plan)
    print("\n".join(verdict_lines(report)))
    done("report", plan.out / "report.html")


def _study(context: typer.Context, given: dict[str, Any]) -> None:
    from colourgan.study import NOTE, command_line, read_study, report_of, status_of, study

    folder = given["out"] or Path("studies") / given["name"]
    before = None
    if given["status"] or given["report"] or (folder / NOTE).is_file():
        before = read_study(folder)  # says so if there is no study
        _log.info("%s was last called as: %s", folder, command_line(before))
    chosen = given if before is None else given_on(context, given)
    plan = replace(made(Study, parsed(Study, chosen), before), name=given["name"], out=folder)
    if given["status"]:
        print("\n".join(status_of(plan)))
    else:
        done("report", report_of(plan) if given["report"] else study(plan))


reproduce = command(
    Reproduction,
    _reproduce,
    "reproduce",
    "Repeat a published experiment: train, draw its figures, say whether its claims hold.\n\n"
    "Called again with the same --out (default: reproductions/RECIPE) it keeps what is finished "
    "and goes on with the rest. Without further options it is as long as published; how long that "
    "takes here is said first. A verdict needs 3 seeds, enough images and a quarter of the "
    "published generator steps, and models that are better than grey; until then it stays open.",
    status=STATUS,
)
study = command(
    Study,
    _study,
    "study",
    "Train and measure a grid of models: encoders × data × methods × seeds; write a report.\n\n"
    "Options are those of pretrain, with gan- before them those of the finetuning, with encoder- "
    "those of training an encoder. Called again (default: in studies/NAME) it keeps what is "
    "finished, goes on with what was broken off and tries again what failed; options that are left "
    "out are those of the last call. The same command in a second terminal shares the work.",
    status=STATUS,
    report=REPORT,
)
