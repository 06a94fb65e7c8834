"""What a study's numbers say, in sentences and tables of words, never more than the intervals."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from colourgan.evaluate import COLUMNS
from colourgan.study.cells import Cell
from colourgan.study.comparisons import (
    BETTER,
    UNDECIDED,
    WORSE,
    Comparison,
    compare_all,
    compare_with_matched,
)
from colourgan.study.factors import Configuration, short_names
from colourgan.study.figures import Axis, axis
from colourgan.study.shown import Entry, mean_text
from colourgan.study.statistics import Effect, effects, sentence

_LISTED = 6  # names: of more that are all the others, only their number
_FEW = 15  # pairs of a factor's levels: of more not each is drawn or told at the top
_OPPOSITE = {BETTER: WORSE, WORSE: BETTER}
_LOOKS = {BETTER: "better", WORSE: "worse"}


class Compared(NamedTuple):
    """All comparisons of a study, each made once.

    pairs: of L1, of all configurations of one data set, size and method; (a, b) → of b against a.
    matched: GAN → its L1 against that of its parent with matched saturation. effects: metric →
    what each factor changes.
    """

    pairs: dict[tuple[Configuration, Configuration], Comparison]
    matched: dict[Entry, Comparison]
    effects: dict[str, list[Effect]]

    @property
    def count(self) -> int:
        """How many different comparisons there are."""
        of_effects = [
            each
            for found in self.effects.values()
            for effect in found
            for each in effect.comparisons
        ]
        every = [*self.pairs.values(), *self.matched.values(), *of_effects]
        return len({(frozenset((each.a, each.b)), each.metric) for each in every})

    def of(self, entry: Entry, other: Entry) -> Comparison | None:
        """`entry` against `other`; None if they were not compared."""
        a, b = other.configuration, entry.configuration
        if (a, b) in self.pairs:
            return self.pairs[a, b]
        turned = self.pairs.get((b, a))
        return turned and _turned(turned)


def compared(cells: Sequence[Cell], groups: Iterable[Sequence[Entry]]) -> Compared:
    """All comparisons; groups: configurations whose pairs are compared."""
    groups = list(groups)
    pairs = [pair for group in groups for pair in combinations(group, 2)]
    known = compare_all([(a.cells, b.cells) for a, b in pairs], "l1")
    gans = {e: compare_with_matched(e.cells, "l1") for group in groups for e in group}
    distances = dict.fromkeys(name for cell in cells for name in cell.distances)
    metrics = ("l1", "delta_e", "delta_colorfulness", *distances)
    return Compared(
        pairs={(each.a, each.b): each for each in known},
        matched={entry: comparison for entry, comparison in gans.items() if comparison},
        effects={metric: effects(cells, metric) for metric in metrics},
    )


def _turned(comparison: Comparison) -> Comparison:
    """The same of a against b."""

    def turned(interval):
        return interval and (-interval[1], -interval[0])

    return comparison._replace(
        a=comparison.b,
        b=comparison.a,
        per_seed=[-each for each in comparison.per_seed],
        difference=-comparison.difference,
        images=turned(comparison.images),
        seeds=turned(comparison.seeds),
        word=_OPPOSITE.get(comparison.word, comparison.word),
    )


def best_sentence(known: Compared, group: Sequence[Entry]) -> str:
    """Which configuration of a group has the lowest L1, and from which it cannot be told apart.

    group: of one data set, size and method, each with a finished cell.
    """
    best = min(group, key=lambda entry: entry.mean("l1"))
    labels = defaultdict(list)
    for entry in (entry for entry in group if entry is not best):
        comparison = known.of(best, entry)
        labels[comparison.word if comparison else ""].append(entry.family_label)
    kinds = {
        BETTER: "better than {}",
        UNDECIDED: f"{UNDECIDED} from {{}}",
        WORSE: "worse than {} on the seeds that both have",
        "": "not compared with {}: no seed in common",
    }
    parts = [
        text.format(_listed(labels[word], len(group) - 1))
        for word, text in kinds.items()
        if labels[word]
    ]
    said = f"; it is {', '.join(parts)}" if parts else ", and nothing to be compared with"
    number = mean_text(best.seeds("l1"), COLUMNS["l1"][1])
    return f"{best.family_label} has the lowest mean L1, {number}{said}."


def matched_sentence(known: Compared, group: Sequence[Entry]) -> str:
    """GANs against their L1 parents made as colorful; "" if the group has none."""
    labels = defaultdict(list)
    for entry in group:
        if entry in known.matched:
            labels[known.matched[entry].word].append(entry.family_label)
    kinds = (BETTER, WORSE, UNDECIDED)
    parts = [f"{word} for {_listed(labels[word])}" for word in kinds if labels[word]]
    start = "L1 of the GAN against that of its L1 parent made as colorful (matched saturation)"
    return f"{start}: {'; '.join(parts)}." if parts else ""


def effect_sentences(known: Compared) -> dict[str, list[str]]:
    """Factor → what it does to L1; a factor with many pairs of levels is only counted."""
    told = {}
    for factor, found in _by_factor(known.effects["l1"]).items():
        told[factor] = [f"{sentence(effect)}." for effect in found]
        if len(found) > _FEW:
            told[factor] = [f"{len(found)} pairs were compared: see the effects at the end."]
    return told


def matrix(known: Compared, group: Sequence[Entry]) -> list[list[dict | None]]:
    """For each configuration (a row) its L1 against each other's (a column): word and intervals."""
    return [[_matrix_cell(known, row, column) for column in group] for row in group]


def _matrix_cell(known: Compared, row: Entry, column: Entry) -> dict | None:
    comparison = known.of(row, column)
    if comparison is None:
        return None
    return {
        "word": comparison.word,
        "look": _LOOKS.get(comparison.word, "open"),
        "difference": _signed(comparison.difference),
        "title": f"{row.family_label} minus {column.family_label}: {_intervals(comparison)}",
    }


def effect_cards(known: Compared, found: Sequence[Entry]) -> list[dict]:
    """For each factor a card for each pair of its levels: sentences, and differences of L1."""
    groups = _by_factor(known.effects["l1"])
    drawn = {factor for factor, group in groups.items() if len(group) <= _FEW}
    ends = [
        end
        for factor in drawn
        for effect in groups[factor]
        for comparison in effect.comparisons
        for end in _ends(comparison)
    ]
    scale = axis([0.0, *ends])
    return [
        {
            "factor": factor,
            "drawn": factor in drawn,
            "zero": scale.place(0.0),
            "ticks": scale.ticks(),
            "cards": [_card(known, effect, scale, factor in drawn, found) for effect in group],
        }
        for factor, group in groups.items()
    ]


def _by_factor(found: Sequence[Effect]) -> dict[str, list[Effect]]:
    groups = defaultdict(list)
    for effect in found:
        groups[effect.factor].append(effect)
    return groups


def _card(
    known: Compared, effect: Effect, scale: Axis, drawn: bool, found: Sequence[Entry]
) -> dict:
    alike = (effect.factor, effect.before, effect.after)
    same = [
        other
        for others in known.effects.values()
        for other in others
        if (other.factor, other.before, other.after) == alike
    ]
    title, *_ = sentence(effect).partition(": ")
    names = short_names([e.configuration._replace(**{effect.factor: ""}) for e in found])
    rows = [
        _difference(each, names[each.a._replace(**{effect.factor: ""})] or "L1", scale)
        for each in effect.comparisons
    ]
    return {
        "title": title,
        "sentences": [sentence(each).partition(": ")[2] for each in same],
        "rows": rows if drawn else [],
    }


def _difference(comparison: Comparison, name: str, scale: Axis) -> dict:
    return {
        "name": name,
        "word": comparison.word,
        "look": _LOOKS.get(comparison.word, "open"),
        "mean": scale.place(comparison.difference),
        "images": [scale.place(end) for end in comparison.images or ()],
        "seeds": [scale.place(end) for end in comparison.seeds or ()],
        "title": _intervals(comparison),
    }


def _ends(comparison: Comparison) -> list[float]:
    return [comparison.difference, *(comparison.images or ()), *(comparison.seeds or ())]


def _intervals(comparison: Comparison) -> str:
    kinds = {"over images": comparison.images, "over seeds": comparison.seeds}
    told = [f"{kind} {_signed(i[0])} to {_signed(i[1])}" for kind, i in kinds.items() if i]
    return f"{_signed(comparison.difference)} ({'; '.join(told) or 'no interval'})"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _listed(labels: Sequence[str], others: int | None = None) -> str:
    if len(labels) == others and others > _LISTED:
        return f"all {others} others"
    *first, last = labels
    return f"{', '.join(first)} and {last}" if first else last
