"""A recipe: the trainings of a published experiment, its claims and figures, and its report."""

import inspect
import logging
import math
import shlex
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from colourgan.color import decode, lightness_to_grey
from colourgan.distances import DISTANCES
from colourgan.encoders import build_encoder
from colourgan.errors import UsageError
from colourgan.evaluate import ImageSet
from colourgan.experiments.cells import DONE, FAILED, Cell
from colourgan.experiments.estimate import estimated_seconds, generator_steps, training_images
from colourgan.experiments.judge import DECISIVE, Claim, Scale, claim, lies_between
from colourgan.experiments.measure import place_of, prepared
from colourgan.experiments.report import Report, write_report
from colourgan.experiments.scheduler import Schedule, duration, read_note, schedule
from colourgan.experiments.steps import Step, content_of_folder, with_needs
from colourgan.learners import read_config, read_history
from colourgan.learners.calls import check_names
from colourgan.metrics import summarize
from colourgan.options import command_options, flag, options
from colourgan.plans import Reproduction, Setup
from colourgan.recipes.sources import Source
from colourgan.registry import Registry

RECIPES = Registry("recipe")
GREY, TRUE = "grey", "true"
PALE = 0.05  # of the true colorfulness: a model with less says nothing about colors
ALIKE = 1.0  # CIE units, about what the eye can tell apart: mean colors that vary by less
NOTE = "recipe.json"
_PATIENCE = 3 * 3600.0  # seconds: how long a shorter one should take that is proposed
_log = logging.getLogger(__name__)
_UNITS = {"limit": "training images", "epochs": "epochs", "size": "pixels a side"}
_UNITS |= {"batch_size": "images a batch", "width": "channels at first"}
_MEASURED = {  # how claims call what is measured
    "l1": "L1",
    "smooth_variance": "variance of ab in smooth regions (CIE units²)",
    "within_5": "share of pixels within 5 units of the truth",
    "delta_e": "ΔE",
    "frechet": "Fréchet distance",
}


Findings = tuple[list[Claim], list[tuple[str, str]]]
"""What a recipe found: claims, and (file, caption) of each figure."""


@dataclass(frozen=True)
class Recipe:
    """A published experiment.

    title: for the report; source: where it was published, and its settings; published: its own
    setup, the options it has and no others; decisive: how large it has to be for a verdict;
    distances: of sets of images, that its claims compare; run: a generator function of a Setup that
    yields its models, name → Step (their seeds are set by the one who runs them), is sent their
    Results and returns its Findings.
    """

    title: str
    source: Source
    published: dict[str, Any]
    decisive: Scale
    distances: tuple[str, ...]
    run: Callable[[Setup], Generator[dict[str, Step], "Results", Findings]]

    def models(self, setup: Setup) -> dict[str, Step]:
        """What it trains with that setup."""
        return next(self.run(setup))


def recipe(
    name: str,
    title: str,
    source: Source,
    test_images: int = DECISIVE.test_images,
    distances: tuple[str, ...] = (),
    **published: Any,
) -> Callable:
    """A decorator that enters a recipe; published: option of Setup → its value, no limit: all.

    test_images: that a verdict needs, where its data have fewer than usual. Training images are
    needed as usual, or half of the published ones if these are few; of the length decides the share
    of the published steps.
    """
    setup = vars(Setup(**published))
    known = {each: value for each, value in setup.items() if each in ("limit", *published)}
    images = min(DECISIVE.images, source.images // 2)
    decisive = DECISIVE._replace(images=images, epochs=1, test_images=test_images)

    def enter(run: Callable) -> Callable:
        return RECIPES.register(name)(Recipe(title, source, known, decisive, distances, run)).run

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

    def above(
        self,
        text: str,
        published: str,
        metric: str,
        model: str,
        base: str,
        worse: Sequence[str] = (),
        **about: Any,
    ) -> Claim:
        """The claim that a metric of one model is above that of another; see `claim`.

        Both must have learned something for it to be decided; worse: those that may have a higher
        error than grey. A distance such as "frechet" is of the whole test set.
        """
        quantity = f"{_MEASURED.get(metric, metric)}: {model} minus {base}"
        if metric in DISTANCES:
            table = [np.array(self.distances(metric, each)) for each in (model, base)]
            difference = table[0] - table[1]
        else:
            difference = self.difference(metric, model, base)
        void = self.void(model, base, worse=worse)
        return claim(text, published, quantity, difference, low=0, void=void, **about)

    def below(self, *arguments: Any, **about: Any) -> Claim:
        """The claim that it is below."""
        return self.above(*arguments, **about)._replace(low=None, high=0)

    def beyond_saturation(self, text: str, model: str, base: str, metric: str = "l1") -> Claim:
        """The claim that a model's error is below that of its rival with the same saturation.

        base: the rival's name; metric: l1 or delta_e. NaN where no factor makes it as colorful.
        """
        none = self.grey["l1"] * math.nan
        matched = torch.stack([cell.matched.get(metric, none) for cell in self.cells[model]])
        quantity = f"{_MEASURED.get(metric, metric)}: {model} minus {base} made as colorful"
        difference = self.values[model][metric] - matched
        void = self.void(model, base)
        return claim(text, "not published", quantity, difference, high=0, void=void)

    def distances(self, name: str, model: str) -> list[float]:
        """A distance of the whole test set, once a seed; NaN for one that failed."""
        return [cell.distances.get(name, math.nan) for cell in self.cells[model]]

    def true(self, metric: str) -> Tensor:
        """(N,): "colorfulness" or "smooth_variance" of the true images."""
        return self.values[GREY][f"{metric}_true"][0]

    def void(self, *models: str, worse: Sequence[str] = ()) -> str:
        """Why these models can decide nothing, "" if they can.

        A model is no use as a witness if a seed of it failed, if its L1 is worse than grey's (by
        the judge's rule; but for those of `worse`), if it is nearly grey itself, or if it paints
        all images alike.
        """
        return "; ".join(filter(None, (self._failing(model, model in worse) for model in models)))

    def _failing(self, model: str, may_be_worse: bool) -> str:
        values = self.values[model]
        if not values["l1"].isfinite().all():
            return f"{model} has a seed that failed"
        error = claim("", "", "", values["l1"] - self.grey["l1"].double(), low=0)
        if not may_be_worse and lies_between(error.interval(), 0, None):
            means = f"L1 {values['l1'].mean():.4f} against {self.grey['l1'].mean():.4f}"
            return f"{model} is worse than grey ({means})"
        if "colorfulness_true" in values:
            colors, true = values["colorfulness"].mean(), values["colorfulness_true"].mean()
            if colors < PALE * true:
                return f"{model} is nearly grey (colorfulness {colors:.1f} of {true:.1f})"
        if "mean_a" in values and len(self.images) > 1:
            means = torch.stack((values["mean_a"], values["mean_b"]))  # (2, S, N)
            spread = means.std(2).square().sum(0).sqrt().mean()
            if spread < ALIKE:
                return f"{model} paints all images alike (mean colors vary by {spread:.2f} units)"
        return ""

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
    reproductions/RECIPE) is kept, what was broken off goes on. Before a long one it is tried and
    logged how long it will take. Raises UsageError for settings that the recipe has not or names
    that are wrong, and RunError if a training failed, once all others are done and, if every model
    has a seed that is done, the report is written.
    """
    plan = replace(plan, **given) if plan else Reproduction.made(given)
    chosen, setup, conclude, models, found = _opened(plan)
    place = place_of(found.steps[-1])
    images = found.test.images(*place)  # they and encoders may be missing: before hours of training
    for step in found.steps:
        if hasattr(step.training, "encoder") and step.needs is None and step.seed == 0:
            build_encoder(step.training.encoder)
    found.write_note(plan)
    planned = {model: training_images(steps[0], found) for model, steps in models.items()}
    share = _share(_generator_steps(chosen, models, planned))
    if share < chosen.decisive.share:
        _log.info(
            "this is %.2g %% of the published generator steps: a verdict about where training ends "
            "needs %.0f %%", 100 * share, 100 * chosen.decisive.share,
        )  # fmt: skip
    if (seconds := estimated_seconds(found)) is not None:
        _log.info("%s", forecast(seconds, setup.epochs))
    found.run()
    cells = {name: [found.cell(step) for step in steps] for name, steps in models.items()}
    if not all(any(cell.state == DONE for cell in each) for each in cells.values()):
        found.conclude()
    grey = found.test.grey(*place)
    results = Results(images, cells, grey, found.out, found.test.device, models)
    try:
        conclude.send(results)
    except StopIteration as end:
        claims, figures = end.value
    failed = [
        f"{step.name}, failed and does not count: {found.failure(step).rstrip('.')}."
        for step in found.steps
        if found.state(step) == FAILED
    ]
    runs = [found.runs / step.run for step in found.steps]
    histories = [read_history(run) for run in runs if (run / "history.csv").exists()]
    done = [cell for each in cells.values() for cell in each if cell.state == DONE]
    trained = {cell.run: read_config(found.runs / cell.run)["found"] for cell in done}
    images_of = {
        model: min(trained[s.run]["train_images"] for s in steps if s.run in trained)
        for model, steps in models.items()
    }
    steps = _generator_steps(chosen, models, images_of)
    scale = Scale(  # the smallest training counts
        images=min(each["train_images"] for each in trained.values()),
        epochs=min(len(cell.history) for cell in done),
        seeds=plan.seeds,
        test_images=len(images),
        share=_share(steps),
    )
    smaller, changed = _changes(chosen.published, setup)
    further = {GREY: [found.test.grey_distances(*place)]}
    further |= {model: [cell.distances for cell in each] for model, each in cells.items()}
    report = Report(
        recipe=plan.recipe,
        title=chosen.title,
        source=chosen.source.text,
        description=inspect.getdoc(chosen.run),
        differs=[f"{subject}: {how}" for subject, how in chosen.source.differs.items()],
        unjudged=[f"{text} ({why})" for text, why in chosen.source.unjudged.items()],
        scale=scale._asdict(),
        decisive=chosen.decisive._asdict(),
        reduced=smaller,
        changed=changed,
        settings=_settings(chosen, models, steps),
        rows=[
            {"name": model, "values": _columns(values, further.get(model, []))}
            for model, values in results.values.items()
        ],
        claims=[each._asdict() for each in claims],
        figures=[{"file": file, "caption": caption} for file, caption in figures],
        notes=failed,
        minutes=sum(row["seconds"] for rows in histories for row in rows) / 60,
        command=shlex.join(["colourgan", "reproduce", plan.recipe, *command_options(plan)]),
    )
    found.conclude(str(write_report(report, found.out)))
    return report


def _columns(
    values: dict[str, Tensor], distances: Sequence[dict[str, float]]
) -> dict[str, list[float]]:
    """A row of the table of `evaluate`, each number once a seed."""
    seeds = zip(*values.values(), strict=True)
    each = [summarize(dict(zip(values, seed, strict=True))) for seed in seeds]
    columns = {name: [row[name] for row in each] for name in each[0]}
    known = dict.fromkeys(name for found in distances for name in found)
    return columns | {name: [d.get(name, math.nan) for d in distances] for name in known}


def forecast(seconds: float, epochs: int) -> str:
    """ "about 31 h on this machine; --epochs 10 takes about 3 h": what to expect of a long one."""
    text = f"about {duration(seconds)} on this machine"
    fewer = max(1, round(epochs * _PATIENCE / seconds))
    if fewer <= epochs / 2:
        text += f"; --epochs {fewer} takes about {duration(seconds * fewer / epochs)}"
    return text


def _changes(published: dict[str, Any], setup: Setup) -> tuple[list[str], list[str]]:
    """(what of the setup is smaller than published, what else differs), in words."""
    smaller, changed = [], []
    for name, before in published.items():
        here, unit = getattr(setup, name), _UNITS.get(name)
        if here != before and unit:
            few = name != "batch_size" and (before is None or here < before)
            text = f"{_text(here)} instead of {_text(before)} {unit}"
            (smaller if few else changed).append(text)
        elif here != before:
            changed.append(f"{name} {_text(here)} standing in for {_text(before)}")
    return smaller, changed


def _generator_steps(
    chosen: Recipe, models: dict[str, list[Step]], images: dict[str, int]
) -> dict[str, tuple[int | None, int]]:
    """model → (generator steps of the published training, of the one here).

    images: of each model's training. None for a model that nobody published. One that stops early
    counts with all the epochs that it might have taken.
    """
    source, published = chosen.source, chosen.models(Setup(**chosen.published))
    found = {}
    for model, steps in models.items():
        before = published[model].training
        count = min(before.limit or source.images, source.images)
        known = source.steps or generator_steps(before, count)
        here = generator_steps(steps[0].training, images[model])
        found[model] = (None if model in source.added else known, here)
    return found


def _share(steps: dict[str, tuple[int | None, int]]) -> float:
    """Of the published generator steps, the smallest of all models; 1 at most."""
    return min(1.0, *(here / published for published, here in steps.values() if published))


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
    test = {"details": True, "distances": chosen.distances}
    return chosen, setup, conclude, models, schedule(plan, out / NOTE, steps, **test)


def _settings(
    chosen: Recipe, models: dict[str, list[Step]], steps: dict[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    """A row for each option that has an effect on any model, and for the number of steps.

    A row: {"setting", "published", "where", "here", "differs"}. What all models share is said once;
    published is "not published" where the source says nothing. differs: a published value is
    another here.
    """
    here: dict[str, dict[str, Any]] = {}  # option → model → value
    for model, (step, *_) in models.items():
        for option, about in options(type(step.training)):
            kept = about.role in ("", "data", "encoder") and option.name != "seed"
            if kept and all(need.holds(step.training) for need in about.needs):
                value = getattr(step.training, option.name)
                here.setdefault(option.name, {})[model] = about.none if value is None else value
    rows = []
    for option, values in here.items():
        said = {model: chosen.source.setting(model, option) for model in values}
        known = {model: each for model, each in said.items() if each}
        places = dict.fromkeys(each.where for each in known.values())
        rows.append(
            {
                "setting": option.replace("_", " "),
                "published": _each({m: e.text or e.value for m, e in known.items()}, values)
                or "not published",
                "where": "; ".join(places),
                "here": _each(values, models),
                "differs": any(each.value != values[model] for model, each in known.items()),
            }
        )
    before = {model: each for model, (each, _) in steps.items() if each}
    now = {model: each for model, (_, each) in steps.items()}
    rows.append(
        {
            "setting": "generator steps",
            "published": _each(before, models),
            "where": "epochs × images / batch size",
            "here": _each(now, models),
            "differs": any(now[model] != each for model, each in before.items()),
        }
    )
    return rows


def _each(values: dict[str, Any], models: Iterable[str]) -> str:
    """ "3e-4" if all of the models have it, else "batch: 3e-4; spectral: 2e-4"."""
    texts = {model: _text(value) for model, value in values.items()}
    if len(set(texts.values())) == 1 and len(texts) == len(list(models)):
        return next(iter(texts.values()))
    return "; ".join(f"{model}: {text}" for model, text in texts.items())


def _text(value: Any) -> str:
    if value is None:
        return "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else ", ".join(value)


def exactly(encoders: Sequence[str], count: int) -> Sequence[str]:
    """The encoders; UsageError if there are not so many."""
    if len(encoders) != count:
        many = f"{count} encoder{'s' * (count > 1)}, not {len(encoders)}"
        raise UsageError(f"this recipe compares {many}: name {count}, separated by commas")
    return encoders
