"""What a study's page shows of each configuration, and how many of them share one chart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from statistics import fmean, stdev
from typing import NamedTuple

from colourgan.claims import Claim
from colourgan.evaluate import COLUMNS
from colourgan.study.cells import DONE, Cell
from colourgan.study.factors import Configuration, configurations, folder_names, short_names
from colourgan.study.statistics import numbers

MOST = 12  # configurations in one chart
MISSING = "–"

Place = tuple[str, str]
"""Data set and size: test images are the same within one, and only within one."""


class Cost(NamedTuple):
    """What one of a configuration's costs is called, its unit as a number, and its format."""

    heading: str
    unit: float
    style: str


COSTS = {
    "encoder_parameters": Cost("encoder, M", 1e6, ",.2f"),
    "decoder_parameters": Cost("decoder, M", 1e6, ",.2f"),
    "discriminator_parameters": Cost("discriminator, M", 1e6, ",.2f"),
    "flops": Cost("FLOPs, G", 1e9, ",.3f"),
    "images_per_second": Cost("images/s", 1, ",.0f"),
    "seconds": Cost("seconds", 1, ",.0f"),
    "peak_memory_mb": Cost("peak MB", 1, ",.0f"),
}


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
        return mean_text(self.seeds(name), COLUMNS[name][1])

    def interval(self, name: str) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean over seeds; None for fewer than two."""
        values = self.seeds(name)
        return Claim("", "", name, values).interval() if len(values) > 1 else None


def mean_text(values: Sequence[float], style: str) -> str:
    """Mean ± standard deviation; the mean alone of one value, – of none."""
    if not values:
        return MISSING
    mean = format(fmean(values), style)
    return f"{mean} ± {stdev(values):{style}}" if len(values) > 1 else mean


def entries(cells: Sequence[Cell]) -> list[Entry]:
    """All configurations, in the order of their factors."""
    groups = configurations(cells)
    labels = short_names(dict.fromkeys(map(_anywhere, groups)))
    families = short_names(dict.fromkeys(_without_method(each) for each in groups))
    order = {family: number for number, family in enumerate(families, 1)}
    methods = list(dict.fromkeys(each.method for each in groups))
    return [
        Entry(
            configuration=each,
            label=labels[_anywhere(each)],
            family=order[_without_method(each)],
            family_label=families[_without_method(each)],
            shape=methods.index(each.method),
            cells=tuple(group),
        )
        for each, group in groups.items()
    ]


def places(found: Sequence[Entry]) -> dict[Place, list[Entry]]:
    """The configurations of each data set and size."""
    known: dict[Place, list[Entry]] = {}
    for entry in found:
        known.setdefault(entry.place, []).append(entry)
    return known


def place_names(found: Sequence[Entry]) -> dict[Place, str]:
    """ "cifar10, 32×32"; a folder without what it lies in, unless two then have one name."""
    short = folder_names(data for data, _ in places(found))
    return {(data, size): f"{short[data]}, {size}×{size}" for data, size in places(found)}


def panels(found: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """[(title, MOST configurations or fewer)]: parted by method, then between encoders."""
    if len(found) <= MOST:
        return [("", list(found))]
    parts = []
    for method in dict.fromkeys(entry.method for entry in found):
        chunks = _chunks([entry for entry in found if entry.method == method])
        for number, chunk in enumerate(chunks, 1):
            count = f" ({number} of {len(chunks)})" if len(chunks) > 1 else ""
            parts.append((f"{method}{count}", chunk))
    return parts


def _chunks(found: list[Entry]) -> list[list[Entry]]:
    """One encoder's stay together if they fit."""
    chunks: list[list[Entry]] = [[]]
    for _, group in groupby(found, key=lambda entry: entry.configuration.encoder):
        waiting = list(group)
        if len(chunks[-1]) + len(waiting) > MOST and chunks[-1]:
            chunks.append([])
        while waiting:
            room = MOST - len(chunks[-1])
            chunks[-1] += waiting[:room]
            waiting = waiting[room:]
            if waiting:
                chunks.append([])
    return chunks


def _anywhere(configuration: Configuration) -> Configuration:
    return configuration._replace(data="", size="")


def _without_method(configuration: Configuration) -> Configuration:
    return _anywhere(configuration)._replace(method="")
