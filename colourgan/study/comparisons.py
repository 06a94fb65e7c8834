"""Two configurations of a study compared: a difference, its two intervals, one word."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from colourgan.claims import Claim
from colourgan.metrics import bootstrap_means, percentile_interval
from colourgan.study.cells import DONE, HIGHER_IS_BETTER, LOWER_IS_BETTER, Cell
from colourgan.study.factors import Configuration, as_matched, configuration_of

BETTER, WORSE, HIGHER, LOWER = "better", "worse", "higher", "lower"
UNDECIDED = "not distinguishable"


class Comparison(NamedTuple):
    """One metric of two configurations of the same data and size, paired by image and by seed.

    paired: the seeds that both have. per_seed: b's number minus a's, in the order of `paired`;
    difference: their mean. images: 95 % percentile bootstrap interval of it over test images; None
    for a single image and for a number of the whole set, such as FID. seeds: 95 % interval of it
    over trainings by Student's t; None for one seed. word: BETTER or WORSE of b against a, or
    HIGHER or LOWER if the metric has no direction, if both intervals, or the only one, lie on that
    side of 0; else UNDECIDED.
    """

    a: Configuration
    b: Configuration
    metric: str
    paired: list[int]
    per_seed: list[float]
    difference: float
    images: tuple[float, float] | None
    seeds: tuple[float, float] | None
    word: str


class _Number(NamedTuple):
    """A cell's number, and how it comes out on (resamples,) other draws of images."""

    value: float
    resampled: Tensor | None


def compare(a: Sequence[Cell], b: Sequence[Cell], metric: str) -> Comparison | None:
    """A Comparison of two configurations' cells; None if no seed has that metric in both.

    Raises ValueError if they differ in data or size, or were measured on different test images.
    """
    return next(iter(compare_all([(a, b)], metric)), None)


def compare_with_matched(cells: Sequence[Cell], metric: str) -> Comparison | None:
    """A GAN configuration (b) against its L1 parents at matched saturation (a), as `compare`."""
    return compare([as_matched(cell) for cell in cells if cell.matched], cells, metric)


def compare_all(
    pairs: Iterable[tuple[Sequence[Cell], Sequence[Cell]]], metric: str
) -> list[Comparison]:
    """`compare` of each pair, much faster; those without a seed in common are left out."""
    paired = [_paired(a, b, metric) for a, b in pairs]
    known = _known([cell for pair in paired for side in pair for cell in side], metric)
    return [_comparison(a, b, metric, known) for a, b in paired if a]


def _per_image(cell: Cell, metric: str) -> Tensor | None:
    """(N,) values whose mean is the metric, or its absolute value is; None if it is of the set."""
    if metric == "delta_colorfulness" and cell.values:
        return cell.values["colorfulness"] - cell.values["colorfulness_true"]
    return cell.values.get(metric)


def _paired(a: Sequence[Cell], b: Sequence[Cell], metric: str) -> tuple[list[Cell], list[Cell]]:
    """The cells of both whose seeds both have with that metric, in the same order."""
    if len({(cell.factors["data"], cell.factors["size"]) for cell in (*a, *b)}) > 1:
        raise ValueError("cells of different data or sizes are not compared: their images differ")
    left, right = ({cell.seed: cell for cell in side if _has(cell, metric)} for side in (a, b))
    seeds = sorted(left.keys() & right.keys())
    return [left[seed] for seed in seeds], [right[seed] for seed in seeds]


def _has(cell: Cell, metric: str) -> bool:
    measured = metric in cell.distances or _per_image(cell, metric) is not None
    return cell.state == DONE and measured


def _key(cell: Cell) -> tuple:
    return configuration_of(cell), cell.seed


def _known(cells: Iterable[Cell], metric: str) -> dict[tuple, _Number]:
    """Each cell's number; images of one data set and size are drawn alike for all of its cells."""
    known, groups = {}, defaultdict(dict)
    for cell in cells:
        values = _per_image(cell, metric)
        if values is None:
            known[_key(cell)] = _Number(cell.distances[metric], None)
        else:
            groups[cell.factors["data"], cell.factors["size"]][_key(cell)] = values.double()
    for values in groups.values():
        known |= zip(values, _resampled(list(values.values()), metric), strict=True)
    return known


def _resampled(values: list[Tensor], metric: str) -> list[_Number]:
    if len({len(each) for each in values}) > 1:
        raise ValueError(f"{metric} was measured on different numbers of test images")
    table, rows = torch.stack(values).unique(dim=0, return_inverse=True)  # (…, N)
    # Equal cells share a row: else a product's rounding could make one better on every draw.
    means, resampled = table.mean(1)[rows], bootstrap_means(table)[rows]
    if metric == "delta_colorfulness":
        means, resampled = means.abs(), resampled.abs()
    # One image says nothing of others.
    draws = resampled if table.shape[1] > 1 else [None] * len(table)
    return [_Number(*each) for each in zip(means.tolist(), draws, strict=True)]


def _comparison(
    a: list[Cell], b: list[Cell], metric: str, known: dict[tuple, _Number]
) -> Comparison:
    pairs = [(known[_key(x)], known[_key(y)]) for x, y in zip(a, b, strict=True)]
    per_seed = [y.value - x.value for x, y in pairs]
    images = None
    if all(number.resampled is not None for pair in pairs for number in pair):
        images = percentile_interval(sum(y.resampled - x.resampled for x, y in pairs) / len(pairs))
    seeds = Claim(text="", published="", quantity=metric, values=per_seed).interval()
    return Comparison(
        a=configuration_of(a[0]),
        b=configuration_of(b[0]),
        metric=metric,
        paired=[cell.seed for cell in a],
        per_seed=per_seed,
        difference=fmean(per_seed),
        images=images,
        seeds=seeds,
        word=_word(metric, [interval for interval in (images, seeds) if interval]),
    )


def _word(metric: str, intervals: list[tuple[float, float]]) -> str:
    """In one word on which side of 0 all of the intervals lie; a NaN lies on neither."""
    up = bool(intervals) and all(low > 0 for low, _ in intervals)
    down = bool(intervals) and all(high < 0 for _, high in intervals)
    if not up and not down:
        return UNDECIDED
    if metric in HIGHER_IS_BETTER:
        return BETTER if up else WORSE
    if metric in LOWER_IS_BETTER:
        return WORSE if up else BETTER
    return HIGHER if up else LOWER
