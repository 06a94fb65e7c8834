"""One command for a published experiment: train, measure, judge, report."""

import inspect
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from colourgan.errors import UsageError
from colourgan.metrics import summarize
from colourgan.recipes.experiment import Experiment, Findings, Results, history
from colourgan.recipes.registry import RECIPES
from colourgan.report import Report, write_report


def reproduce(
    recipe: str,
    data: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    width: int | None = None,
    encoders: Sequence[str] | None = None,
    seeds: int = 3,
    test_limit: int = 1000,
    device: str = "auto",
    precision: str = "auto",
    out: Path | None = None,
    data_dir: Path | None = None,
) -> Report:
    """Trains a published experiment and writes its report to out/report.html; returns the report.

    recipe: a name of RECIPES; data to encoders: None is as published, see the recipe; seeds: every
    training is repeated so often; test_limit: test images at most; out: None is
    reproductions/RECIPE. What is finished in `out` is kept, what was broken off goes on.
    Raises UsageError for settings that the recipe has not, or that differ from those in `out`, and
    RunError as the trainings do.
    """
    run = RECIPES[recipe]
    wanted = {
        "data": data,
        "size": size,
        "limit": limit,
        "epochs": epochs,
        "batch_size": batch_size,
        "width": width,
        "encoders": encoders,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    published = _published(run)
    for name in given.keys() - published.keys():
        raise UsageError(
            f"recipe {recipe} has no --{name.replace('_', '-')}: it has "
            f"{', '.join('--' + other.replace('_', '-') for other in published)}"
        )
    out = out or Path("reproductions") / recipe
    experiment = Experiment(out, seeds, test_limit, device, precision, data_dir)
    findings = run(experiment, **published | given)
    report = Report(
        recipe=recipe,
        title=_paragraphs(run)[0].rstrip("."),
        source=_source(run),
        description=inspect.getdoc(run),
        scale=experiment.scale(findings)._asdict(),
        reduced=[_reduction(name, published[name], value) for name, value in given.items()
                 if value != published[name]],
        settings=[_setting(name, published[name], given.get(name)) for name in published],
        rows=_rows(findings.results),
        claims=[claim._asdict() for claim in findings.claims],
        figures=[{"file": file, "caption": caption} for file, caption in findings.figures],
        notes=findings.notes,
        minutes=_minutes(out),
        command=_command(recipe, given | {"seeds": seeds, "test_limit": test_limit}),
    )  # fmt: skip
    write_report(report, out)
    return report


def _published(run: Callable[..., Findings]) -> dict:
    """A recipe's settings: its parameters but the experiment, with their defaults."""
    parameters = list(inspect.signature(run).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def _paragraphs(run: Callable[..., Findings]) -> list[str]:
    return [" ".join(part.split()) for part in inspect.getdoc(run).split("\n\n")]


def _source(run: Callable[..., Findings]) -> str:
    """What follows "Source:" in the docstring, up to the colon or the end of the sentence."""
    text = next(part for part in _paragraphs(run) if part.startswith("Source: "))
    return text.removeprefix("Source: ").split(": ")[0].split(". ")[0].rstrip(".")


def _reduction(name: str, published, here) -> str:
    """In what a run differs from what was published, in words."""
    if name in ("limit", "epochs"):
        unit = "training images" if name == "limit" else "epochs"
        many = "all" if published is None else f"the published {published:,}"
        return f"{here:,} {unit} of {many}" if _less(here, published) else f"{here:,} {unit}"
    words = {"size": "pixels a side", "batch_size": "images a batch", "width": "channels at first"}
    if name in words:
        return f"{here} {words[name]} instead of {published}"
    return f"{name} {_text(here)} standing in for {_text(published)}"


def _less(here: int, published: int | None) -> bool:
    return published is None or here < published


def _setting(name: str, published, here) -> dict[str, str]:
    value = published if here is None else here
    return {
        "setting": name.replace("_", " "),
        "published": _text(published),
        "here": _text(value),
    }


def _text(value) -> str:
    if value is None:
        return "all"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else ", ".join(value)


def _rows(results: Results) -> list[dict]:
    """The table of `evaluate`, each number once a seed."""
    rows = []
    for model, values in results.values.items():
        seeds = len(next(iter(values.values())))
        each = [summarize({name: v[seed] for name, v in values.items()}) for seed in range(seeds)]
        columns = {name: [row[name] for row in each] for name in each[0]}
        rows.append({"name": model, "values": columns})
    return rows


def _minutes(out: Path) -> float:
    """Of all trainings in the folder, whenever they ran."""
    runs = [file.parent for file in sorted((out / "runs").glob("*/history.csv"))]
    return sum(row["seconds"] for run in runs for row in history(run)) / 60


def _command(recipe: str, given: dict) -> str:
    options = []
    for name, value in given.items():
        text = ",".join(value) if isinstance(value, (list, tuple)) else str(value)
        options += [f"--{name.replace('_', '-')}", text]
    return shlex.join(["colourgan", "reproduce", recipe, *options])
