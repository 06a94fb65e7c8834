"""A study's factors: their levels in order and in words, and the cells that share them."""

import math
from collections import defaultdict, namedtuple
from collections.abc import Iterable
from pathlib import Path

from colourgan.experiments.cells import SETTINGS, Cell

FACTORS = ("data", "size", "encoder", "method", "tuning", "stages", "lightness", "decoder")

Configuration = namedtuple("Configuration", FACTORS)
"""A cell's factors without its seed, strings in the order of FACTORS."""

_USUAL = ("l1", "unfrozen", "all", "folded", "encoder")
_DEFAULTS = dict(zip(FACTORS[3:], _USUAL, strict=True))  # of method, tuning, …


def level_order(factor: str, level: str) -> tuple:
    """Sorts the levels of one factor: what others are compared with first, numbers as numbers.

    That is the usual level, such as "l1" or "all", and of an encoder its random weights.
    """
    if factor == "encoder":
        name, _, weights = level.partition("@")
        return name, weights != "none", weights
    number = int(level) if level.isdecimal() else math.inf
    return level != _DEFAULTS.get(factor), number, level


def configurations(cells: Iterable[Cell]) -> dict[Configuration, list[Cell]]:
    """The cells of each configuration, sorted by seed, whatever their state; sorted by factors."""
    groups = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: cell.seed):
        groups[Configuration(**cell.factors)].append(cell)
    order = sorted(groups, key=lambda each: [*map(level_order, FACTORS, each)])
    return {configuration: groups[configuration] for configuration in order}


def level_words(factor: str, level: str) -> str:
    """A level that is understood without its factor: "2 stages", "L summed", "decoder 64"."""
    if factor == "stages":
        return f"{level} stage" if level == "1" else f"{level} stages"
    if factor == "decoder":
        return "own decoder" if level == _DEFAULTS["decoder"] else f"decoder {level}"
    return f"L {level}" if factor == "lightness" else level


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
    names = {}
    for each in configurations:
        words = " ".join(level_words(factor, getattr(each, factor)) for factor in model)
        where = (getattr(each, factor) for factor in settings)
        where = " ".join(data.get(level, level) for level in where)
        names[each] = ", ".join(filter(None, (words, where)))
    return names


def folder_names(data: Iterable[str]) -> dict[str, str]:
    """Data set or folder → it without what it lies in, unless two then have one name."""
    whole = {each: each for each in data}
    short = {each: Path(each).name or each for each in whole}
    return short if len(set(short.values())) == len(short) else whole
