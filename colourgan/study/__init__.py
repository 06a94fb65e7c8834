"""Studies: the grid over encoders × data × method × seeds and more, run, measured and reported.

grid            which trainings it needs
configurations  what they are called, in which order they stand
findings        what the numbers say
table           the numbers as files
limits          L1 over the number of training images
report          the page, and the one picture that says most
"""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from colourgan.datasets import dataset_root, training_parts
from colourgan.distances import DISTANCES, check_distances
from colourgan.errors import UsageError
from colourgan.evaluate import measure_grey
from colourgan.experiments.cells import DONE
from colourgan.experiments.measure import place_of
from colourgan.experiments.scheduler import Schedule, read_note, schedule
from colourgan.files import remove
from colourgan.options import command_options, entries, flat
from colourgan.plans import Study
from colourgan.study.grid import grid, wanted

NOTE = "study.json"


def study(plan: Study | None = None, /, **given: Any) -> Path:
    """Trains and measures a grid of models and writes its report; returns the report's path.

    plan: see `Study`, or its options by name; options beside a plan replace its own, `base`, `gan`
    and `encoder` as a whole. What is finished in its folder (`out`, by default studies/NAME) is
    kept, what was broken off goes on, by any number of processes; a script that asks for more than
    one of `jobs` must guard its call by `if __name__ == "__main__"`. Raises UsageError for wrong
    words, and RunError if a training failed, once all others are done and the report is written.
    """
    plan = replace(plan, **given) if plan else Study.made(given)
    found = _schedule(plan)
    steps = wanted(plan, found.steps)
    check_distances(
        plan.distances, plan.feature_encoder, min(size for _, size in map(place_of, steps))
    )
    for data in plan.data if plan.limits else ():
        images = len(training_parts(dataset_root(data, plan.data_dir)).train)
        if images < max(plan.limits):
            raise UsageError(
                f"--limits {max(plan.limits)}: {data} has {images} training images "
                "beside those kept for validation"
            )
    found.write_note(plan)
    found.run()
    page = _report(plan, found) if any(map(found.is_done, steps)) else None
    found.conclude(str(page or ""))
    return page


def status_of(plan: Study) -> list[str]:
    """Lines that say what of a study is done, what failed and why, and how long the rest takes."""
    found = _schedule(plan)
    return found.status_lines(wanted(plan, found.steps))


def report_of(plan: Study) -> Path:
    """Writes the tables, the picture and the page of what is done; returns the page's path.

    Raises UsageError if no model is done.
    """
    return _report(plan, _schedule(plan))


def _report(plan: Study, found: Schedule) -> Path:
    from colourgan.study.limits import PICTURE, limits_picture
    from colourgan.study.report import summary_picture, write_page
    from colourgan.study.table import write_tables

    steps = wanted(plan, found.steps)
    cells = [found.cell(step) for step in steps]
    done = [step for step, cell in zip(steps, cells, strict=True) if cell.state == DONE]
    if not done:
        raise UsageError(f"{found.out} has no finished model to report on: run the study first")
    images = {
        (data, str(size)): found.test.images(data, size)
        for data, size in sorted(set(map(place_of, done)))
    }
    grey = {place: measure_grey(each).row() for place, each in images.items()}
    write_tables(cells, found.out)
    l1 = {place: row["l1"] for place, row in grey.items()}
    summary_picture(cells, found.out / "summary.png", l1)
    if not limits_picture(cells, found.out / PICTURE, l1):
        remove(found.out / PICTURE)  # of an earlier call with several limits
    given, shown = flat(plan), {}  # what was asked for, but for name and places, in words
    replaced = _replaced(plan)
    for each in entries(Study):
        is_place = each.about.positional or each.about.role == "place"
        if not is_place and each.name not in replaced:
            value = given[each.name]
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            unset = value is None or value == []
            shown[each.name.replace("_", " ")] = each.about.none if unset else text
    return write_page(
        plan.name, command_line(plan), shown, cells, found.runs, images, grey, found.out
    )


def read_study(out: Path) -> Study:
    """The study that a folder was last used for.

    Raises UsageError if there is none, or one of another version, RunError if its note is damaged.
    """
    if not (Path(out) / NOTE).is_file():
        raise UsageError(f"{out} holds no study: it has no {NOTE}")
    return replace(read_note(Path(out) / NOTE, Study), out=out)


def command_line(plan: Study) -> str:
    """The command that makes a study again, without places."""
    usual = {name: getattr(Study.base, name) for name in _replaced(plan)}
    plan = replace(plan, base=replace(plan.base, **usual))
    return shlex.join(["colourgan", "study", plan.name, *command_options(plan)])


def _replaced(plan: Study) -> list[str]:
    """The options in whose place others are given."""
    return ["limit"] * bool(plan.limits) + ["epochs"] * bool(plan.steps)


def _schedule(plan: Study) -> Schedule:
    if not plan.name:
        raise UsageError("a study needs a name")
    for distance in plan.distances:
        DISTANCES[distance]
    out = plan.out or Path("studies") / plan.name
    return schedule(
        plan, out / NOTE, grid(plan), distances=plan.distances, feature_encoder=plan.feature_encoder
    )
