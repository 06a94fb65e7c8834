"""A study's factors: their levels in order and in words, and the cells that share them."""

import math
from collections import defaultdict, namedtuple
from collections.abc import Iterable
from pathlib import Path

from colourgan.study.cells import FACTORS, Cell

Configuration = namedtuple("Configuration", FACTORS)
"""A cell's factors without its seed, strings in the order of FACTORS."""

SETTINGS = ("data", "size")
"""Factors whose levels are not compared: their test images differ."""

_DEFAULTS = {
    "method": "l1",
    "tuning": "unfrozen",
    "stages": "all",
    "lightness": "folded",
    "decoder": "encoder",
}


def configuration_of(cell: Cell) -> Configuration:
    return Configuration(**cell.factors)


def level_order(factor: str, level: str) -> tuple:
    """Sorts the levels of one factor: what others are compared with first, numbers as numbers.

    That is the usual level, such as "l1" or "all", and of an encoder its random weights.
    """
    if factor == "encoder":
        name, _, weights = level.partition("@")
        return name, weights != "none", weights
    number = int(level) if level.isdecimal() else math.inf
    return level != _DEFAULTS.get(factor), number, level


def configuration_order(configuration: Configuration) -> tuple:
    """Sorts configurations by their factors."""
    return tuple(map(level_order, FACTORS, configuration))


def configurations(cells: Iterable[Cell]) -> dict[Configuration, list[Cell]]:
    """The cells of each configuration, sorted by seed, whatever their state; sorted by factors."""
    groups = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: cell.seed):
        groups[configuration_of(cell)].append(cell)
    return {key: groups[key] for key in sorted(groups, key=configuration_order)}


def as_matched(cell: Cell) -> Cell:
    """A GAN cell's rival as a cell of its own: its L1 parent with the saturation of this cell.

    Its method is "l1 as colorful as gan". It has no costs and no history: nobody trained it.
    """
    factors = cell.factors | {"method": f"l1 as colorful as {cell.factors['method']}"}
    return cell._replace(
        factors=factors,
        values=cell.matched,
        matched={},
        distances=cell.matched_distances,
        matched_distances={},
        costs={},
        history=[],
    )


def short_names(configurations: Iterable[Configuration]) -> dict[Configuration, str]:
    """A name for each that is readable and unique among them: "resnet20@none gan, 32".

    Factors that do not vary are left out, but for the encoder if nothing of the model varies.
    """
    configurations = list(configurations)
    levels = {factor: {getattr(c, factor) for c in configurations} for factor in FACTORS}
    varying = [factor for factor in FACTORS if len(levels[factor]) > 1]
    model = [factor for factor in varying if factor not in SETTINGS] or ["encoder"]
    settings = [factor for factor in varying if factor in SETTINGS]
    data = folder_names(levels["data"])

    def name(configuration: Configuration) -> str:
        words = [level_words(factor, getattr(configuration, factor)) for factor in model]
        where = [getattr(configuration, factor) for factor in settings]
        where = [data.get(level, level) for level in where]
        return ", ".join(filter(None, (" ".join(words), " ".join(where))))

    return {configuration: name(configuration) for configuration in configurations}


def level_words(factor: str, level: str) -> str:
    """A level that is understood without its factor: "2 stages", "L summed", "decoder 64"."""
    if factor == "stages":
        return f"{level} stage" if level == "1" else f"{level} stages"
    if factor == "decoder":
        return "own decoder" if level == _DEFAULTS["decoder"] else f"decoder {level}"
    return f"L {level}" if factor == "lightness" else level


def folder_names(data: Iterable[str]) -> dict[str, str]:
    """Data set or folder → it without what it lies in, unless two then have one name."""
    whole = {each: each for each in data}
    short = {each: Path(each).name or each for each in whole}
    return short if len(set(short.values())) == len(short) else whole
