"""One command for a published experiment: train, measure, judge, report."""

import inspect
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from colourgan.errors import UsageError
from colourgan.learners import PLACES, read_config
from colourgan.metrics import summarize
from colourgan.recipes.experiment import Experiment, Findings, Results
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
    given |= {"encoders": tuple(encoders)} if encoders else {}
    published = _published(run)
    for name in given.keys() - published.keys():
        raise UsageError(
            f"recipe {recipe} has no --{name.replace('_', '-')}: it has "
            f"{', '.join('--' + other.replace('_', '-') for other in published)}"
        )
    out = out or Path("reproductions") / recipe
    experiment = Experiment(recipe, out, seeds, test_limit, device, precision, data_dir)
    findings = run(experiment, **published | given)
    smaller, changed = _differences(published, given)
    report = Report(
        recipe=recipe,
        title=_paragraphs(run)[0].rstrip("."),
        source=_source(run),
        description=inspect.getdoc(run),
        scale=experiment.scale(findings)._asdict(),
        reduced=smaller,
        changed=changed,
        settings=_settings(published, given) + _training_settings(findings, published),
        rows=_rows(findings.results),
        claims=[claim._asdict() for claim in findings.claims],
        figures=[{"file": file, "caption": caption} for file, caption in findings.figures],
        notes=[*experiment.diverged.values(), *findings.notes],
        minutes=experiment.minutes(),
        command=_command(recipe, given, seeds, test_limit, precision),
    )
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


def _differences(published: dict, given: dict) -> tuple[list[str], list[str]]:
    """In what a run is smaller than what was published, and in what else it differs, in words."""
    smaller, changed = [], []
    for name, here in given.items():
        if here != published[name]:
            few = name in _UNITS and name != "batch_size" and _less(here, published[name])
            (smaller if few else changed).append(_difference(name, published[name], here))
    return smaller, changed


_UNITS = {
    "limit": "training images",
    "epochs": "epochs",
    "size": "pixels a side",
    "batch_size": "images a batch",
    "width": "channels at first",
}


def _difference(name: str, published, here) -> str:
    if name in _UNITS:
        return f"{_text(here)} instead of {_text(published)} {_UNITS[name]}"
    return f"{name} {_text(here)} standing in for {_text(published)}"


def _less(here: int, published: int | None) -> bool:
    return published is None or here < published


def _settings(published: dict, given: dict) -> list[dict[str, str]]:
    return [
        {
            "setting": name.replace("_", " "),
            "published": _text(value),
            "here": _text(given.get(name, value)),
        }
        for name, value in published.items()
    ]


def _training_settings(findings: Findings, published: dict) -> list[dict[str, str]]:
    """What else the models were trained with, from their runs: a row for what all share."""
    arguments = {name: read_config(runs[0])["arguments"] for name, runs in findings.models.items()}
    names = dict.fromkeys(name for each in arguments.values() for name in each)
    rows = []
    for name in names:
        values = {m: str(each[name]) for m, each in arguments.items() if name in each}
        if name in (*PLACES, *published, "encoder", "seed") or not values:
            continue
        same = len(set(values.values())) == 1 and len(values) == len(arguments)
        each = "; ".join(f"{model}: {value}" for model, value in values.items())
        here = next(iter(values.values())) if same else each
        rows.append({"setting": name.replace("_", " "), "published": "", "here": here})
    return rows


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


def _command(recipe: str, given: dict, seeds: int, test_limit: int, precision: str) -> str:
    settings = {**given, "seeds": seeds, "test_limit": test_limit}
    settings |= {} if precision == "auto" else {"precision": precision}
    options = []
    for name, value in settings.items():
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        options += [f"--{name.replace('_', '-')}", text]
    return shlex.join(["colourgan", "reproduce", recipe, *options])
