"""What a study's numbers say: configurations, effects of factors, sentences and tables of words.

No sentence says more than the intervals of `colourgan.experiments.judge`.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, groupby, permutations
from statistics import fmean
from typing import NamedTuple

from colourgan.evaluate import COLUMNS
from colourgan.experiments import judge
from colourgan.experiments.cells import DONE, SETTINGS, Cell, numbers
from colourgan.experiments.judge import BETTER, HIGHER, LOWER, NOT_DISTINGUISHABLE, WORSE
from colourgan.plots.svg import Row
from colourgan.study.configurations import (
    FACTORS,
    Configuration,
    configurations,
    folder_names,
    level_order,
    level_words,
    short_names,
)

MOST = 12  # configurations in one chart
_LISTED = 6  # names: of more that are all the others, only their number
_FEW = 15  # pairs of a factor's levels: of more not each is drawn or told at the top
_LOOKS = {BETTER: "better", WORSE: "worse"}

Place = tuple[str, str]
"""Data set and size: test images are the same within one, and only within one."""


COSTS = {
    "encoder_parameters": ("encoder, M", 1e6, ",.2f"),
    "decoder_parameters": ("decoder, M", 1e6, ",.2f"),
    "discriminator_parameters": ("discriminator, M", 1e6, ",.2f"),
    "flops": ("FLOPs, G", 1e9, ",.3f"),
    "images_per_second": ("images/s", 1, ",.0f"),
    "seconds": ("seconds", 1, ",.0f"),
    "peak_memory_mb": ("peak MB", 1, ",.0f"),
}
"""What a configuration costs → what that is called, its unit as a number, and its format."""
_NAMES = {  # of metrics, in a sentence; the others' are their columns' headings
    "colorfulness_true": "true colorfulness",
    "delta_colorfulness": "the colorfulness's distance from the true one",
    "frechet": "Fréchet distance",
}
_UNITS = {"psnr": " dB", "within_5": " of all pixels"}


@dataclass(frozen=True, eq=False)
class Entry:
    """One configuration: its cells of all seeds, its names and its numbers.

    label: its name among those of its data set and size. family: the number, from 1, of what is
    left of the label without the method, `family_label`; it means the same in all charts. shape:
    the number of its method, from 0.
    """

    configuration: Configuration
    label: str
    family: int
    family_label: str
    shape: int
    cells: tuple[Cell, ...] = field(repr=False)

    @property
    def place(self) -> Place:
        return self.configuration.data, self.configuration.size

    @property
    def method(self) -> str:
        return self.configuration.method

    @property
    def look(self) -> dict[str, int]:
        """Of its marks, in all charts."""
        return {"color": self.family - 1, "shape": self.shape}

    @cached_property
    def done(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.state == DONE]

    @cached_property
    def _numbers(self) -> list[dict[str, float]]:
        return [numbers(cell) for cell in self.done]

    def seeds(self, name: str) -> list[float]:
        """A number's finite values, one a seed."""
        values = (each.get(name, math.nan) for each in self._numbers)
        return [value for value in values if math.isfinite(value)]

    def mean(self, name: str) -> float | None:
        """Over the seeds that have a finite value; None if none has."""
        values = self.seeds(name)
        return fmean(values) if values else None

    def text(self, name: str) -> str:
        """Mean ± standard deviation over seeds, of a metric."""
        return judge.mean_text(self.seeds(name), COLUMNS[name][1])

    def interval(self, name: str) -> tuple[float, float] | None:
        """95 % of the mean over trainings, these test images given; None for fewer than two."""
        return judge.interval(self.seeds(name))


def entries(cells: Iterable[Cell]) -> list[Entry]:
    """All configurations, in the order of their factors."""
    groups = configurations(cells)
    anywhere = {each: each._replace(data="", size="") for each in groups}
    families = {each: whole._replace(method="") for each, whole in anywhere.items()}
    labels = short_names(dict.fromkeys(anywhere.values()))
    family_labels = short_names(dict.fromkeys(families.values()))
    order = list(family_labels)
    methods = list(dict.fromkeys(each.method for each in groups))
    return [
        Entry(
            configuration=each,
            label=labels[anywhere[each]],
            family=order.index(families[each]) + 1,
            family_label=family_labels[families[each]],
            shape=methods.index(each.method),
            cells=tuple(group),
        )
        for each, group in groups.items()
    ]


def places(found: Iterable[Entry]) -> dict[Place, list[Entry]]:
    """The configurations of each data set and size."""
    known: dict[Place, list[Entry]] = {}
    for entry in found:
        known.setdefault(entry.place, []).append(entry)
    return known


def place_names(found: Iterable[Entry]) -> dict[Place, str]:
    """ "cifar10, 32×32"; a folder without what it lies in, unless two then have one name."""
    known = places(found)
    short = folder_names(data for data, _ in known)
    return {(data, size): f"{short[data]}, {size}×{size}" for data, size in known}


def panels(found: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """[(title, MOST configurations or fewer)]: parted by method, then between encoders.

    One encoder's stay together if they fit.
    """
    if len(found) <= MOST:
        return [("", list(found))]
    parts = []
    for method in dict.fromkeys(entry.method for entry in found):
        chunks: list[list[Entry]] = []
        same = [entry for entry in found if entry.method == method]
        for _, group in groupby(same, key=lambda entry: entry.configuration.encoder):
            waiting = list(group)
            if not chunks or len(chunks[-1]) + len(waiting) > MOST:
                chunks.append([])
            chunks[-1] += waiting[:MOST]
            chunks += [waiting[i : i + MOST] for i in range(MOST, len(waiting), MOST)]
        for number, chunk in enumerate(chunks, 1):
            count = f" ({number} of {len(chunks)})" if len(chunks) > 1 else ""
            parts.append((f"{method}{count}", chunk))
    return parts


class Effect(NamedTuple):
    """What it changes to go from one level of a factor to another, all other factors being equal.

    comparisons: one for each choice of the other factors; a has the level `before`, b `after`.
    """

    factor: str
    before: str
    after: str
    metric: str
    comparisons: list[judge.Comparison]


def effects(cells: Iterable[Cell], metric: str) -> list[Effect]:
    """An Effect for each pair of levels of each factor that varies, but SETTINGS.

    Pairs of levels that no two configurations differ in alone have none.
    """
    groups, found = configurations(cells), []
    for factor in (factor for factor in FACTORS if factor not in SETTINGS):
        levels = {getattr(configuration, factor) for configuration in groups}
        levels = sorted(levels, key=lambda level: level_order(factor, level))
        for before, after in combinations(levels, 2):
            starts = [each for each in groups if getattr(each, factor) == before]
            pairs = ((start, start._replace(**{factor: after})) for start in starts)
            alike = [(groups[start], groups[end]) for start, end in pairs if end in groups]
            if comparisons := judge.compare_all(alike, metric):
                found.append(Effect(factor, before, after, metric, comparisons))
    return found


def sentence(effect: Effect) -> str:
    """ "l1 → gan: L1 lower by 0.0031 on average; better in 3 of 4 settings, worse in 1"."""
    before, after = (level_words(effect.factor, level) for level in (effect.before, effect.after))
    count = len(effect.comparisons)
    average = " on average" if count > 1 else ""
    heading, style = COLUMNS.get(effect.metric, (effect.metric, ".4f"))
    name = _NAMES.get(effect.metric, heading.rstrip(" ↓↑"))
    unit = _UNITS.get(effect.metric, "")
    difference = fmean(each.difference for each in effect.comparisons)
    size = format(abs(difference), style)
    if not math.isfinite(difference):
        change = f"{name} not known"
    elif size.strip("0.%"):
        change = f"{name} {LOWER if difference < 0 else HIGHER} by {size}{unit}{average}"
    else:  # rounded to nothing
        least = re.sub("0(?=%?$)", "1", size)
        change = f"{name} different by less than {least}{unit}{average}"

    words = [each.word for each in effect.comparisons]
    kinds = (BETTER, WORSE, HIGHER, LOWER, NOT_DISTINGUISHABLE)
    first, *others = [word for word in kinds if word in words]
    if all(each.interval is None for each in effect.comparisons):
        outcome = f"{NOT_DISTINGUISHABLE} by one seed"
    elif others:
        rest = (f"{word} in {words.count(word)}" for word in others)
        outcome = ", ".join([f"{first} in {words.count(first)} of {count} settings", *rest])
    elif count == 1:
        outcome = first
    elif first == NOT_DISTINGUISHABLE:
        outcome = f"distinguishable in none of {count} settings"
    else:
        outcome = f"{first} in all {count} settings"
    return f"{before} → {after}: {change}; {outcome}"


class Compared(NamedTuple):
    """All comparisons of a study.

    pairs: of L1, of all configurations of one data set, size and method; (a, b) → of b against a,
    in both orders. matched: GAN → its L1 against that of its parent with matched saturation.
    effects: metric → what each factor changes.
    """

    pairs: dict[tuple[Configuration, Configuration], judge.Comparison]
    matched: dict[Entry, judge.Comparison]
    effects: dict[str, list[Effect]]

    @property
    def count(self) -> int:
        """How many different comparisons there are."""
        every = [*self.pairs.values(), *self.matched.values()]
        for effect in (effect for found in self.effects.values() for effect in found):
            every += effect.comparisons
        sides = ((Configuration(**each.a), Configuration(**each.b), each.metric) for each in every)
        return len({(frozenset((a, b)), metric) for a, b, metric in sides})

    def of(self, entry: Entry, other: Entry) -> judge.Comparison | None:
        """L1 of `entry` against that of `other`; None if they were not compared."""
        return self.pairs.get((other.configuration, entry.configuration))


def compared(cells: Sequence[Cell], groups: Iterable[Sequence[Entry]]) -> Compared:
    """All comparisons; groups: configurations whose pairs are compared."""
    groups = list(groups)
    pairs = [pair for group in groups for pair in permutations(group, 2)]
    pairs = [(a, b, judge.compare(a.cells, b.cells, "l1")) for a, b in pairs]
    matched = [(e, judge.compare_with_matched(e.cells, "l1")) for group in groups for e in group]
    distances = dict.fromkeys(name for cell in cells for name in cell.distances)
    metrics = ("l1", "delta_e", "delta_colorfulness", *distances)
    return Compared(
        pairs={(a.configuration, b.configuration): found for a, b, found in pairs if found},
        matched={entry: found for entry, found in matched if found},
        effects={metric: effects(cells, metric) for metric in metrics},
    )


def best_sentence(known: Compared, group: Sequence[Entry]) -> str:
    """Which configuration of a group has the lowest L1, and from which it cannot be told apart.

    group: of one data set, size and method, each with a finished cell.
    """
    best = min(group, key=lambda entry: entry.mean("l1"))
    others = {entry: known.of(best, entry) for entry in group if entry is not best}
    kinds = {
        BETTER: "better than {}",
        NOT_DISTINGUISHABLE: f"{NOT_DISTINGUISHABLE} from {{}}",
        WORSE: "worse than {} on the seeds that both have",
        None: "not compared with {}: no seed in common",
    }
    parts = []
    for kind, text in kinds.items():
        labels = [e.family_label for e, found in others.items() if (found and found.word) == kind]
        if len(labels) == len(others) > _LISTED:
            parts.append(text.format(f"all {len(labels)} others"))
        elif labels:
            parts.append(text.format(_listed(labels)))
    said = f"; it is {', '.join(parts)}" if parts else ", and nothing to be compared with"
    start = f"{best.family_label} has the lowest mean L1, {best.text('l1')}"
    return f"{start}{said}.{_reserve(others.values())}"


def matched_sentence(known: Compared, group: Sequence[Entry]) -> str:
    """GANs against their L1 parents made as colorful; "" if the group has none."""
    labels = defaultdict(list)
    for entry in (entry for entry in group if entry in known.matched):
        labels[known.matched[entry].word].append(entry.family_label)
    kinds = (BETTER, WORSE, NOT_DISTINGUISHABLE)
    parts = [f"{word} for {_listed(labels[word])}" for word in kinds if labels[word]]
    start = "L1 of the GAN against that of its L1 parent made as colorful (matched saturation)"
    reserve = _reserve(known.matched.get(entry) for entry in group)
    return f"{start}: {'; '.join(parts)}.{reserve}" if parts else ""


def _listed(labels: Sequence[str]) -> str:
    *first, last = labels
    return f"{', '.join(first)} and {last}" if first else last


def _reserve(comparisons: Iterable[judge.Comparison | None]) -> str:
    """What a sentence must add if it speaks of pairs with one seed."""
    alone = any(each is not None and each.interval is None for each in comparisons)
    return " One seed decides nothing: another training may differ." if alone else ""


def effect_sentences(known: Compared) -> dict[str, list[str]]:
    """Factor → what it does to L1; a factor with many pairs of levels is only counted."""
    told = {}
    for factor, found in groupby(known.effects["l1"], key=lambda effect: effect.factor):
        told[factor] = [f"{sentence(effect)}." for effect in found]
        if len(told[factor]) > _FEW:
            told[factor] = [f"{len(told[factor])} pairs were compared: see the effects at the end."]
    return told


def matrix(known: Compared, group: Sequence[Entry]) -> list[list[dict | None]]:
    """For each configuration (a row) its L1 against each other's (a column).

    None where they were not compared, else as text: "word", "look" ("better", "worse" or "open"),
    "difference", and "title" with the interval.
    """
    rows = [[None] * len(group) for _ in group]
    for (i, row), (j, column) in permutations(enumerate(group), 2):
        if each := known.of(row, column):
            rows[i][j] = {
                "word": each.word,
                "look": _LOOKS.get(each.word, "open"),
                "difference": _signed(each.difference),
                "title": f"{row.family_label} minus {column.family_label}: {_told(each)}",
            }
    return rows


def effect_cards(known: Compared, found: Sequence[Entry]) -> list[dict]:
    """For each factor ("factor") its "cards", one for each pair of its levels.

    A card: "title" ("l1 → gan"), "sentences", one a metric, and "rows" of a chart, one a comparison
    of L1: named by what is equal, its tone as the "look" in `matrix`, its title the difference with
    its interval. Of a factor with many pairs the rows are left out: "drawn" is False.
    """
    every = [effect for effects in known.effects.values() for effect in effects]
    factors = []
    for factor, group in groupby(known.effects["l1"], key=lambda effect: effect.factor):
        group = list(group)
        drawn = len(group) <= _FEW
        names = short_names([e.configuration._replace(**{factor: ""}) for e in found])
        cards = []
        for effect in group:
            # Effects of several metrics begin alike: (factor, before, after).
            told = [sentence(each).partition(": ") for each in every if each[:3] == effect[:3]]
            rows = []
            for each in effect.comparisons if drawn else ():
                name = names[Configuration(**each.a)._replace(**{factor: ""})] or "L1"
                text = each.word, _LOOKS.get(each.word, "open"), _told(each)
                rows.append(Row(name, [each.difference], each.interval, *text))
            sentences = [text for *_, text in told]
            cards.append({"title": told[0][0], "sentences": sentences, "rows": rows})
        factors.append({"factor": factor, "drawn": drawn, "cards": cards})
    return factors


def _told(comparison: judge.Comparison) -> str:
    """ "+0.0031 (95 % +0.0020 to +0.0042)"."""
    ends = comparison.interval
    told = f"95 % {_signed(ends[0])} to {_signed(ends[1])}" if ends else "one seed, no interval"
    return f"{_signed(comparison.difference)} ({told})"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")
