"""A recipe: the trainings of a published experiment, its claims and figures, and its report."""

import inspect
import math
import shlex
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from colourgan.color import decode, lightness_to_grey
from colourgan.encoders import build_encoder
from colourgan.errors import UsageError
from colourgan.evaluate import ImageSet
from colourgan.experiments.cells import DONE, FAILED, Cell
from colourgan.experiments.judge import Claim, Scale, claim
from colourgan.experiments.measure import place_of, prepared
from colourgan.experiments.report import Report, write_report
from colourgan.experiments.scheduler import Schedule, read_note, schedule
from colourgan.experiments.steps import Step, content_of_folder, with_needs
from colourgan.learners import read_config, read_history
from colourgan.learners.calls import check_names
from colourgan.metrics import summarize
from colourgan.options import command_options, flag, options
from colourgan.plans import Reproduction, Setup
from colourgan.registry import Registry

RECIPES = Registry("recipe")
GREY, TRUE = "grey", "true"
NOTE = "recipe.json"
_UNITS = {"limit": "training images", "epochs": "epochs", "size": "pixels a side"}
_UNITS |= {"batch_size": "images a batch", "width": "channels at first"}
_MEASURED = {  # how claims call what is measured
    "l1": "L1",
    "smooth_variance": "variance of ab in smooth regions (CIE units²)",
    "within_5": "share of pixels within 5 units of the truth",
}


Findings = tuple[list[Claim], list[tuple[str, str]]]
"""What a recipe found: claims, and (file, caption) of each figure."""


@dataclass(frozen=True)
class Recipe:
    """A published experiment.

    title, source: for the report; published: its own setup, the options it has and no others; run:
    a generator function of a Setup that yields its models, name → Step (their seeds are set by the
    engine, their names by the key), gets their Results back and returns Findings. Its docstring
    describes the experiment: what was published, and what differs here.
    """

    title: str
    source: str
    published: dict[str, Any]
    run: Callable[[Setup], Generator[dict[str, Step], "Results", Findings]]


def recipe(name: str, title: str, source: str, **published: Any) -> Callable:
    """A decorator that enters a recipe; published: option of Setup → its value, no limit: all."""
    setup = vars(Setup(**published))
    known = {each: value for each, value in setup.items() if each in ("limit", *published)}

    def enter(run: Callable) -> Callable:
        return RECIPES.register(name)(Recipe(title, source, known, run)).run

    return enter


@dataclass
class Results:
    """What the models of a recipe measured on the same test images.

    images: these; cells: model → one Cell a seed; grey: metric → (N,), what no color scores; out:
    the folder for figures; steps: model → one Step a seed. Besides METRICS there are
    "smooth_variance" and "smooth_variance_true", see `chroma_variance`, and "mean_a" and "mean_b",
    an image's mean color in CIE units. A seed whose training failed has NaN everywhere.
    """

    images: ImageSet
    cells: dict[str, list[Cell]]
    grey: dict[str, Tensor]
    out: Path
    device: str = "cpu"
    steps: dict[str, list[Step]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """What pictures show: grey, each model, the truth."""
        return GREY, *self.cells, TRUE

    @cached_property
    def values(self) -> dict[str, dict[str, Tensor]]:
        """model → metric → (S, N) values, one row a seed; grey's has one row."""
        grey = {metric: each.double() for metric, each in self.grey.items()}
        return {GREY: {metric: each[None] for metric, each in grey.items()}} | {
            name: {
                metric: torch.stack([cell.values.get(metric, each * math.nan) for cell in cells])
                for metric, each in grey.items()
            }
            for name, cells in self.cells.items()
        }

    def per_seed(self, metric: str) -> dict[str, list[float]]:
        """model → the metric's mean over the images for each seed."""
        return {model: values[metric].mean(1).tolist() for model, values in self.values.items()}

    def difference(self, metric: str, model: str, base: str) -> Tensor:
        """(S, N): the metric of one model minus that of another, seed by seed, image by image."""
        return self.values[model][metric] - self.values[base][metric]

    def above(self, text: str, published: str, metric: str, model: str, base: str) -> Claim:
        """The claim that a metric of one model is above that of another; see `claim`."""
        quantity = f"{_MEASURED.get(metric, metric)}: {model} minus {base}"
        return claim(text, published, quantity, self.difference(metric, model, base), low=0)

    def below(self, text: str, published: str, metric: str, model: str, base: str) -> Claim:
        """The claim that it is below."""
        return self.above(text, published, metric, model, base)._replace(low=None, high=0)

    def beyond_saturation(self, text: str, model: str, base: str) -> Claim:
        """The claim that a model's L1 is below that of its rival with the same saturation.

        base: the rival's name. NaN where no factor makes it as colorful.
        """
        none = self.grey["l1"] * math.nan
        matched = torch.stack([cell.matched.get("l1", none) for cell in self.cells[model]])
        quantity = f"L1: {model} minus {base} made as colorful"
        return claim(text, "not measured", quantity, self.values[model]["l1"] - matched, high=0)

    def history(self, model: str) -> list[list[dict[str, float]]]:
        """The rows of history.csv, of each seed that is done."""
        return [cell.history for cell in self.cells[model] if cell.state == DONE]

    def column(self, model: str, name: str) -> list[list[float]]:
        """One column of each seed's history; NaN throughout for one that failed."""
        epochs = max(map(len, self.history(model)))
        return [
            [row[name] for row in cell.history] if cell.state == DONE else [math.nan] * epochs
            for cell in self.cells[model]
        ]

    def runs(self, model: str) -> list[Path | None]:
        """The run folder of each seed; None for one that failed."""
        return [
            self.out / "runs" / cell.run if cell.state == DONE else None
            for cell in self.cells[model]
        ]

    def generators(self, model: str) -> Iterator[nn.Module | None]:
        """The trained model of each seed, on the device; None for one that failed."""
        for step, run in zip(self.steps[model], self.runs(model), strict=True):
            yield prepared(step, run.parent).to(self.device).eval() if run else None

    @torch.no_grad()
    def colored(self, model: str, L: Tensor) -> list[Tensor]:
        """What the first seed that is done makes of L (N, 1, S, S): (3, S, S) in [0, 1] each."""
        if model == GREY:
            return list(lightness_to_grey(L).expand(-1, 3, -1, -1))
        generator = next(each for each in self.generators(model) if each is not None)
        return list(decode(L, generator(L.to(self.device)).float().cpu()))

    def pictures(self, model: str, rows: Sequence[int]) -> list[Tensor]:
        """`colored` test images; rows: their numbers, of which those beyond the last are left out.

        "grey" and "true" are the images themselves.
        """
        rows = [row for row in rows if row < len(self.images)]
        if model == TRUE:
            return list(self.images.rgb[rows] / 255)
        return self.colored(model, self.images.L[rows])


def reproduce(plan: Reproduction | None = None, /, **given: Any) -> Report:
    """Trains a published experiment and writes its report to out/report.html; returns the report.

    plan: see `Reproduction`, or its options by name. What is finished in `out` (by default
    reproductions/RECIPE) is kept, what was broken off goes on. Raises UsageError for settings that
    the recipe has not or names that are wrong, and RunError if a training failed, once all others
    are done and, if every model has a seed that is done, the report is written.
    """
    plan = replace(plan, **given) if plan else Reproduction.made(given)
    chosen, setup, conclude, models, found = _opened(plan)
    place = place_of(found.steps[-1])
    images = found.test.images(*place)  # they and encoders may be missing: before hours of training
    for step in found.steps:
        if hasattr(step.training, "encoder") and step.needs is None and step.seed == 0:
            build_encoder(step.training.encoder)
    found.write_note(plan)
    found.run()
    cells = {name: [found.cell(step) for step in steps] for name, steps in models.items()}
    if not all(any(cell.state == DONE for cell in each) for each in cells.values()):
        found.conclude()
    results = Results(images, cells, found.test.grey(*place), found.out, found.test.device, models)
    try:
        conclude.send(results)
    except StopIteration as end:
        claims, figures = end.value
    smaller, changed = [], []
    for name, before in chosen.published.items():
        here, unit = getattr(setup, name), _UNITS.get(name)
        if here != before and unit:
            few = name != "batch_size" and (before is None or here < before)
            text = f"{_text(here)} instead of {_text(before)} {unit}"
            (smaller if few else changed).append(text)
        elif here != before:
            changed.append(f"{name} {_text(here)} standing in for {_text(before)}")
    failed = [
        f"{step.name}, failed and does not count: {found.failure(step).rstrip('.')}."
        for step in found.steps
        if found.state(step) == FAILED
    ]
    runs = [found.runs / step.run for step in found.steps]
    histories = [read_history(run) for run in runs if (run / "history.csv").exists()]
    done = [cell for each in cells.values() for cell in each if cell.state == DONE]
    configs = [read_config(found.runs / cell.run) for cell in done]
    scale = Scale(  # the smallest training counts
        images=min(config["found"]["train_images"] for config in configs),
        epochs=min(len(cell.history) for cell in done),
        seeds=plan.seeds,
        test_images=len(images),
    )
    rows = []  # the table of `evaluate`, each number once a seed
    for model, values in results.values.items():
        seeds = zip(*values.values(), strict=True)
        each = [summarize(dict(zip(values, seed, strict=True))) for seed in seeds]
        columns = {name: [row[name] for row in each] for name in each[0]}
        rows.append({"name": model, "values": columns})
    report = Report(
        recipe=plan.recipe,
        title=chosen.title,
        source=chosen.source,
        description=inspect.getdoc(chosen.run),
        scale=scale._asdict(),
        reduced=smaller,
        changed=changed,
        settings=_settings(chosen.published, setup, models),
        rows=rows,
        claims=[each._asdict() for each in claims],
        figures=[{"file": file, "caption": caption} for file, caption in figures],
        notes=failed,
        minutes=sum(row["seconds"] for rows in histories for row in rows) / 60,
        command=shlex.join(["colourgan", "reproduce", plan.recipe, *command_options(plan)]),
    )
    found.conclude(str(write_report(report, found.out)))
    return report


def status_of(plan: Reproduction) -> list[str]:
    """Lines that say what of a reproduction is done, what failed and why, and the time left."""
    *_, models, found = _opened(plan)
    return found.status_lines([step for steps in models.values() for step in steps])


def _opened(plan: Reproduction) -> tuple[Recipe, Setup, Generator, dict[str, list[Step]], Schedule]:
    """(the recipe, its setup, its generator, each model's steps by seed, the schedule of all)."""
    chosen = RECIPES[plan.recipe]
    content_of_folder.cache_clear()
    given = {each.name: getattr(plan, each.name) for each in fields(Setup)}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in chosen.published:
            others = ", ".join(map(flag, chosen.published))
            raise UsageError(f"recipe {plan.recipe} has no {flag(name)}: it has {others}")
    out = Path(plan.out or Path("reproductions") / plan.recipe)
    if (out / NOTE).is_file():
        other = read_note(out / NOTE, Reproduction).recipe
        if other != plan.recipe:
            raise UsageError(f"{out} belongs to recipe {other}: choose another --out")
    setup = Setup(**chosen.published | given)
    conclude = chosen.run(setup)
    yielded = next(conclude)
    names = {step: name for name, step in yielded.items()}

    def seeded(step: Step | None, seed: int) -> Step | None:
        """The step and all that it needs, with that seed and, if it is a model, its name."""
        if step is None:
            return None
        return replace(
            step,
            training=replace(step.training, seed=seed, precision=plan.precision),
            needs=seeded(step.needs, seed),
            rival=seeded(step.rival, seed),
            factors={"model": names[step]} if step in names else None,
            label=step.label or ("" if step in names else step.training.command),
        )

    models = {
        name: [seeded(step, seed) for seed in range(plan.seeds)] for name, step in yielded.items()
    }
    # By seeds, so that what is broken off has compared everything with fewer of them.
    steps = with_needs([step for row in zip(*models.values(), strict=True) for step in row])
    for step in steps:
        check_names(step.training)
    return chosen, setup, conclude, models, schedule(plan, out / NOTE, steps, details=True)


def _settings(
    published: dict[str, Any], setup: Setup, models: dict[str, list[Step]]
) -> list[dict[str, str]]:
    """The recipe's setup, then what else the models are trained with: a row for what all share."""
    rows = [(name, _text(value), _text(getattr(setup, name))) for name, value in published.items()]
    each: dict[str, dict[str, str]] = {}  # model → its options that have an effect
    for model, (step, *_) in models.items():
        training, each[model] = step.training, {}
        for option, about in options(type(training)):
            value = getattr(training, option.name)
            if not about.role and all(need.holds(training) for need in about.needs):
                each[model][option.name] = about.none if value is None else str(value)
    for option in dict.fromkeys(name for found in each.values() for name in found):
        here = {model: found[option] for model, found in each.items() if option in found}
        text = "; ".join(f"{model}: {value}" for model, value in here.items())
        if len(set(here.values())) == 1 and len(here) == len(each):
            text = next(iter(here.values()))
        if option not in (*published, "seed"):
            rows.append((option, "", text))
    return [
        {"setting": name.replace("_", " "), "published": before, "here": here}
        for name, before, here in rows
    ]


def _text(value: Any) -> str:
    if value is None:
        return "all"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else ", ".join(value)


def exactly(encoders: Sequence[str], count: int) -> Sequence[str]:
    """The encoders; UsageError if there are not so many."""
    if len(encoders) != count:
        many = f"{count} encoder{'s' * (count > 1)}, not {len(encoders)}"
        raise UsageError(f"this recipe compares {many}: name {count}, separated by commas")
    return encoders
