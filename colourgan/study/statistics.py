"""What a study's numbers say: spread over seeds, differences with intervals, effects of factors."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import torch

from colourgan.evaluate import COLUMNS
from colourgan.metrics import summarize
from colourgan.study.cells import DONE, FACTORS, Cell
from colourgan.study.comparisons import (
    BETTER,
    HIGHER,
    LOWER,
    UNDECIDED,
    WORSE,
    Comparison,
    compare_all,
)
from colourgan.study.factors import (
    SETTINGS,
    Configuration,
    configuration_of,
    configurations,
    level_order,
    level_words,
)

_NAMES = {  # of metrics, in a sentence; the others' are their columns' headings
    "colorfulness_true": "true colorfulness",
    "delta_colorfulness": "the colorfulness's distance from the true one",
    "frechet": "Fréchet distance",
}
_UNITS = {"psnr": " dB", "within_5": " of all pixels"}


class Summary(NamedTuple):
    """A configuration over its seeds.

    seeds: those that are DONE; cells: how many there are, done or not. means, deviations: of each
    number of `numbers`, over the seeds that have it; the deviation's divisor is n - 1, and it is
    None for one seed.
    """

    configuration: Configuration
    seeds: list[int]
    cells: int
    means: dict[str, float]
    deviations: dict[str, float | None]


class Effect(NamedTuple):
    """What it changes to go from one level of a factor to another, all other factors being equal.

    comparisons: one for each choice of the other factors; a has the level `before`, b `after`.
    """

    factor: str
    before: str
    after: str
    metric: str
    comparisons: list[Comparison]

    @property
    def difference(self) -> float:
        """The mean of all comparisons' differences."""
        return fmean(each.difference for each in self.comparisons)

    @property
    def words(self) -> dict[str, int]:
        """Word → in how many comparisons; those that occur, UNDECIDED last."""
        words = [each.word for each in self.comparisons]
        kinds = (BETTER, WORSE, HIGHER, LOWER, UNDECIDED)
        return {word: words.count(word) for word in kinds if word in words}


def numbers(cell: Cell) -> dict[str, float]:
    """All of a cell's numbers: its metrics' means over images, distances, costs; {} if not DONE."""
    if cell.state != DONE or not cell.values:
        return {}
    others = {name: values.double().mean().item() for name, values in cell.values.items()}
    return summarize(cell.values) | others | cell.distances | cell.costs


def summary(cells: Sequence[Cell]) -> Summary:
    """A Summary of one configuration's cells, at least one, such as `configurations` gives."""
    found = defaultdict(list)
    for cell in cells:
        for name, number in numbers(cell).items():
            found[name].append(number)
    return Summary(
        configuration=configuration_of(cells[0]),
        seeds=[cell.seed for cell in cells if cell.state == DONE],
        cells=len(cells),
        means={name: fmean(values) for name, values in found.items()},
        deviations={name: _deviation(values) for name, values in found.items()},
    )


def effects(cells: Iterable[Cell], metric: str) -> list[Effect]:
    """An Effect for each pair of levels of each factor that varies, but SETTINGS.

    Pairs of levels that no two configurations differ in alone have none.
    """
    groups = configurations(cells)
    found = []
    for factor in (factor for factor in FACTORS if factor not in SETTINGS):
        levels = {getattr(configuration, factor) for configuration in groups}
        ordered = sorted((level_order(factor, level), level) for level in levels)
        for (_, before), (_, after) in combinations(ordered, 2):
            pairs = _differing_in(factor, before, after, groups)
            if comparisons := compare_all(pairs, metric):
                found.append(Effect(factor, before, after, metric, comparisons))
    return found


def sentence(effect: Effect) -> str:
    """ "l1 → gan: L1 lower by 0.0031 on average; better in 3 of 4 settings, worse in 1"."""
    before, after = (level_words(effect.factor, level) for level in (effect.before, effect.after))
    words, count = effect.words, len(effect.comparisons)
    (first, times), *others = words.items()
    if others:
        rest = (f"{word} in {number}" for word, number in others)
        outcome = ", ".join([f"{first} in {times} of {count} settings", *rest])
    elif count == 1:
        outcome = first
    elif first == UNDECIDED:
        outcome = f"distinguishable in none of {count} settings"
    else:
        outcome = f"{first} in all {count} settings"
    return f"{before} → {after}: {_size(effect)}; {outcome}"


def _size(effect: Effect) -> str:
    """How large it is: "L1 lower by 0.0031 on average"."""
    heading, style = COLUMNS.get(effect.metric, (effect.metric, ".4f"))
    name = _NAMES.get(effect.metric, heading.rstrip(" ↓↑"))
    unit = _UNITS.get(effect.metric, "")
    average = " on average" if len(effect.comparisons) > 1 else ""
    if not math.isfinite(effect.difference):
        return f"{name} not known"
    size = format(abs(effect.difference), style)
    if not size.strip("0.%"):  # rounded to nothing
        least = re.sub("0(?=%?$)", "1", size)
        return f"{name} different by less than {least}{unit}{average}"
    return f"{name} {LOWER if effect.difference < 0 else HIGHER} by {size}{unit}{average}"


def _deviation(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    return torch.tensor(values, dtype=torch.float64).std().item()


def _differing_in(
    factor: str, before: str, after: str, groups: dict[Configuration, list[Cell]]
) -> list[tuple[list[Cell], list[Cell]]]:
    """Pairs of configurations' cells that have one level and the other and are equal elsewhere."""
    starts = [configuration for configuration in groups if getattr(configuration, factor) == before]
    pairs = ((start, start._replace(**{factor: after})) for start in starts)
    return [(groups[start], groups[end]) for start, end in pairs if end in groups]
