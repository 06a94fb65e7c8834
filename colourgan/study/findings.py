"""What a study's numbers say: configurations, effects of factors, sentences and tables of words.

No sentence says more than the intervals of `colourgan.experiments.judge`.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, groupby, permutations, product
from statistics import fmean
from typing import NamedTuple

from colourgan.evaluate import COLUMNS
from colourgan.experiments import judge
from colourgan.experiments.cells import DONE, NONE, SETTINGS, Cell, differing, numbers
from colourgan.experiments.judge import BETTER, HIGHER, LOWER, NOT_DISTINGUISHABLE, WORSE
from colourgan.plots.svg import Row
from colourgan.study.configurations import (
    FACTORS,
    Configuration,
    configurations,
    factor_words,
    folder_names,
    level_order,
    level_words,
    names_by,
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
    "generator_parameters": ("generator, M", 1e6, ",.2f"),
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

    label: its name among those of its data set and size; family_label: the same without its method
    and number of images, such as "resnet20@none"; family: the number of that, from 1, which means
    the same in all charts. method: its name, with the discriminator's if that varies. images: how
    many it is trained on, "" if that does not vary. kind: both; families are compared in pairs
    within a kind. shape: the number of the kind, from 0.
    """

    configuration: Configuration
    label: str
    family: int
    family_label: str
    method: str
    images: str
    shape: int
    cells: tuple[Cell, ...] = field(repr=False)

    @property
    def place(self) -> Place:
        return self.configuration.data, self.configuration.size

    @property
    def kind(self) -> str:
        return ", ".join(filter(None, (self.method, self.images)))

    @property
    def rival(self) -> dict[str, str]:
        """What its cells are compared with at matched saturation, see `differing`; {} for none."""
        matched = [cell for cell in self.done if cell.matched]
        return differing(matched[0]) if matched else {}

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
    of_method, of_images = ("method", "discriminator"), ("limit",)
    model = [name for name in FACTORS if name not in (*SETTINGS, *of_method, *of_images)]
    labels = names_by(groups, (*model, *of_method, *of_images))
    families = names_by(groups, model)
    methods = names_by(groups, of_method, "method")
    images = names_by(groups, of_images)
    kinds = {each: (methods[each], images[each]) for each in groups}
    family_order, method_order = (list(dict.fromkeys(x.values())) for x in (families, methods))
    # By method, so that in a chart of one method no two kinds have one shape.
    kind_order = sorted(dict.fromkeys(kinds.values()), key=lambda k: method_order.index(k[0]))
    return [
        Entry(
            configuration=each,
            label=labels[each],
            family=family_order.index(families[each]) + 1,
            family_label=families[each],
            method=methods[each],
            images=images[each],
            shape=kind_order.index(kinds[each]),
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

    Pairs of levels that no two configurations differ in alone have none, nor has NONE.
    """
    groups, found = configurations(cells), []
    for factor in (factor for factor in FACTORS if factor not in SETTINGS):
        levels = {getattr(configuration, factor) for configuration in groups} - {NONE}
        levels = sorted(levels, key=lambda level: level_order(factor, level))
        for before, after in combinations(levels, 2):
            starts = [each for each in groups if getattr(each, factor) == before]
            ends = [each for each in groups if getattr(each, factor) == after]
            pairs = (pair for pair in product(starts, ends) if _alike(*pair, but_for=factor))
            alike = [(groups[start], groups[end]) for start, end in pairs]
            if comparisons := judge.compare_all(alike, metric):
                found.append(Effect(factor, before, after, metric, comparisons))
    return found


def _alike(a: Configuration, b: Configuration, but_for: str) -> bool:
    """Whether all other factors are equal.

    One that a side has not counts as equal: an L1 model goes with every discriminator of its GANs.
    """
    return all(
        x == y or (NONE in (x, y) and factor not in SETTINGS)
        for factor, x, y in zip(FACTORS, a, b, strict=True)
        if factor != but_for
    )


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

    pairs: of L1, of all configurations of one data set, size and kind; (a, b) → of b against a, in
    both orders. matched: configuration → its L1 against that of its rival with matched saturation,
    such as a GAN's against its parent's. effects: metric → what each factor changes.
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

    group: of one data set, size and kind, each with a finished cell.
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


def matched_sentences(known: Compared, group: Sequence[Entry]) -> list[str]:
    """Configurations against their rivals made as colorful, a sentence for all that differ alike.

    "L1 of gan against that of l1 made as colorful (matched saturation): better for resnet20."
    """
    alike: dict[tuple, list[Entry]] = {}
    for entry in (entry for entry in group if entry in known.matched):
        own = {factor: getattr(entry.configuration, factor) for factor in entry.rival}
        # With a method that varies goes its discriminator.
        who = entry.method if own.keys() == {"method"} else _words(own)
        alike.setdefault((*entry.rival, who, _words(entry.rival)), []).append(entry)
    told = []
    for (*factors, who, rival), some in alike.items():
        # The method is either what differs or l1.
        others = {*FACTORS} - {*SETTINGS, "limit", "method", "discriminator", *factors}
        names = names_by([entry.configuration for entry in group], others)
        labels = defaultdict(lambda: defaultdict(list))  # word → name → numbers of images
        for entry in some:
            images = labels[known.matched[entry].word][names[entry.configuration]]
            images += [entry.images.partition(" ")[0]] if entry.images else []
        parts = []
        for word in (word for word in (BETTER, WORSE, NOT_DISTINGUISHABLE) if word in labels):
            parts.append(f"{word} {_where(labels[word])}".strip())
        start = f"L1 of {who} against that of {rival} made as colorful (matched saturation)"
        reserve = _reserve(known.matched[entry] for entry in some)
        told.append(f"{start}: {'; '.join(parts)}.{reserve}")
    return told


def _where(found: Mapping[str, Sequence[str]]) -> str:
    """ "for a and b", "for a with 500 and 2,000 images and for b with 500 images".

    found: name → numbers of images, none if they do not vary; a name may be "".
    """
    if len(found) > _LISTED:
        return f"for {len(found)} models"
    if not any(found.values()):
        names = [name for name in found if name]
        return f"for {_listed(names)}" if names else ""
    told = {name: f"with {_listed(images)} images" for name, images in found.items()}
    return _listed([f"for {name} {images}" if name else images for name, images in told.items()])


def _words(levels: Mapping[str, str]) -> str:
    return " ".join(level_words(factor, level) for factor, level in levels.items())


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
        alike = [_shared(each, factor) for effect in group for each in effect.comparisons]
        # All configurations say what varies, those that nothing was compared with, too.
        everyone = [e.configuration._replace(**{factor: ""}) for e in found]
        names = short_names(dict.fromkeys([*everyone, *alike]))
        cards = []
        for effect in group:
            # Effects of several metrics begin alike: (factor, before, after).
            told = [sentence(each).partition(": ") for each in every if each[:3] == effect[:3]]
            rows = []
            for each in effect.comparisons if drawn else ():
                text = each.word, _LOOKS.get(each.word, "open"), _told(each)
                name = names[_shared(each, factor)] or "L1"
                rows.append(Row(name, [each.difference], each.interval, *text))
            sentences = [text for *_, text in told]
            cards.append({"title": told[0][0], "sentences": sentences, "rows": rows})
        factors.append({"factor": factor_words(factor), "drawn": drawn, "cards": cards})
    return factors


def _shared(comparison: judge.Comparison, factor: str) -> Configuration:
    """What both sides have beside the factor; of what only one of them has, that one's."""
    a, b = Configuration(**comparison.a), Configuration(**comparison.b)
    return Configuration(*(y if x == NONE else x for x, y in zip(a, b, strict=True)))._replace(
        **{factor: ""}
    )


def _told(comparison: judge.Comparison) -> str:
    """ "+0.0031 (95 % +0.0020 to +0.0042)"."""
    ends = comparison.interval
    told = f"95 % {_signed(ends[0])} to {_signed(ends[1])}" if ends else "one seed, no interval"
    return f"{_signed(comparison.difference)} ({told})"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")
