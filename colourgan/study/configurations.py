"""A study's factors: their levels in order and in words, and the cells that share them."""

import math
from collections import defaultdict, namedtuple
from collections.abc import Iterable, Sequence
from pathlib import Path

from colourgan.experiments.cells import NONE, SETTINGS, Cell

FACTORS = (
    "data", "size", "limit", "encoder", "generator", "method", "discriminator", "tuning", "stages",
    "lightness", "decoder",
)  # fmt: skip
UNET = "dynamic_unet"
"""The generator around an encoder; the others have none."""
ALL = "all"
"""The limit of a study without one."""

Configuration = namedtuple("Configuration", FACTORS)
"""A cell's factors without its seed, strings in the order of FACTORS."""

_DEFAULTS = {
    "generator": UNET, "method": "l1", "discriminator": "patchgan", "tuning": "unfrozen",
    "stages": "all", "lightness": "folded", "decoder": "encoder",
}  # fmt: skip


def level_order(factor: str, level: str) -> tuple:
    """Sorts the levels of one factor: what others are compared with first, numbers as numbers.

    That is the usual level, such as "l1" or "all", and of an encoder its random weights. A cell
    that has not the factor comes last.
    """
    if factor == "encoder":
        name, _, weights = level.partition("@")
        return level == NONE, name, weights != "none", weights
    number = int(level) if level.isdecimal() else math.inf
    return level == NONE, level != _DEFAULTS.get(factor), number, level


def configurations(cells: Iterable[Cell]) -> dict[Configuration, list[Cell]]:
    """The cells of each configuration, sorted by seed, whatever their state; sorted by factors."""
    groups = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: cell.seed):
        groups[Configuration(**cell.factors)].append(cell)
    order = sorted(groups, key=lambda each: [*map(level_order, FACTORS, each)])
    return {configuration: groups[configuration] for configuration in order}


def factor_words(factor: str) -> str:
    """A factor in a heading."""
    return "number of training images" if factor == "limit" else factor


def level_words(factor: str, level: str) -> str:
    """A level that is understood without its factor: "2 stages", "L summed", "500 images"."""
    if factor == "limit":
        count = f"{int(level):,}" if level.isdecimal() else level
        return f"{count} image" if level == "1" else f"{count} images"
    if factor == "stages":
        return f"{level} stage" if level == "1" else f"{level} stages"
    if factor == "decoder":
        return "own decoder" if level == _DEFAULTS["decoder"] else f"decoder {level}"
    return f"L {level}" if factor == "lightness" else level


def short_names(
    configurations: Iterable[Configuration], always: str = ""
) -> dict[Configuration, str]:
    """A name for each that is readable and unique among them: "resnet20@none gan, 500 images".

    Factors that do not vary are left out, but for `always`, or if nothing of the model varies its
    encoder; so are those that a configuration has not (NONE), or that it shall not be named by
    (""). A U-Net around an encoder goes by the encoder's name, another generator by its own.
    """
    configurations = list(configurations)
    levels = {factor: {getattr(c, factor) for c in configurations} for factor in FACTORS}
    varying = {factor for factor in FACTORS if len(levels[factor] - {NONE, ""}) > 1} | {always}
    varying |= {"encoder"} if "generator" in varying else set()
    settings = [factor for factor in SETTINGS if factor in varying]
    model = [f for f in FACTORS if f in varying and f not in (*SETTINGS, "limit")] or ["encoder"]
    data = folder_names(levels["data"])
    names = {}
    for each in configurations:
        words = [
            level_words(factor, level)
            for factor in model
            if (level := getattr(each, factor)) not in (NONE, "")
            and (factor, level) != ("generator", UNET)
        ]
        if not words and each.generator != UNET:
            words = [each.generator]
        where = (getattr(each, factor) for factor in settings)
        where = " ".join(data.get(level, level) for level in where)
        images = level_words("limit", each.limit) if each.limit and "limit" in varying else ""
        names[each] = ", ".join(filter(None, (" ".join(words), where, images)))
    return names


def names_by(
    configurations: Iterable[Configuration], factors: Sequence[str], always: str = ""
) -> dict[Configuration, str]:
    """The same of these factors alone, so that several configurations may have one name."""
    blank = dict.fromkeys((factor for factor in FACTORS if factor not in factors), "")
    named = {each: each._replace(**blank) for each in configurations}
    names = short_names(dict.fromkeys(named.values()), always)
    return {each: names[shown] for each, shown in named.items()}


def folder_names(data: Iterable[str]) -> dict[str, str]:
    """Data set or folder → it without what it lies in, unless two then have one name."""
    whole = {each: each for each in data}
    short = {each: Path(each).name or each for each in whole}
    return short if len(set(short.values())) == len(short) else whole
