"""The one rule for "better" and "holds": a 95 % interval on one side of a bound.

A trained model's number has two sources of error: the seed of its training and the choice of test
images. Over S seeds and the same N images the mean's variance is s²/S + e², where s is the standard
deviation of the seeds' means and e the image standard error: the standard deviation over images of
each image's mean over seeds, divided by √N. Its degrees of freedom are Welch and Satterthwaite's,

    ν = (s²/S + e²)² / ((s²/S)² / (S − 1) + (e²)² / (N − 1)),

and the interval is mean ± t(.975, ν) · √(s²/S + e²). What seed and image do only together is part
of s² and of e², which makes it slightly too wide. With few seeds ν is itself uncertain: simulated
with 1,000 images, the interval covers the true mean in 92 to 95 of 100 experiments of three seeds,
in 87 to 95 of two; fewest where √(s²/S) is about three times e. Sources: Satterthwaite, "An
approximate distribution of estimates of variance components", Biometrics Bulletin 1946; Welch, "The
generalization of 'Student's' problem when several different population variances are involved",
Biometrika 1947.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from colourgan.experiments.cells import HIGHER_IS_BETTER, LOWER_IS_BETTER, Cell, as_matched

VERDICTS = HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "not decided at this scale"
BETTER, WORSE, HIGHER, LOWER = "better", "worse", "higher", "lower"
NOT_DISTINGUISHABLE = "not distinguishable"
_WORDS = dict.fromkeys(LOWER_IS_BETTER, (BETTER, WORSE))  # if it is below 0, if it is above
_WORDS |= dict.fromkeys(HIGHER_IS_BETTER, (WORSE, BETTER))

_LEVEL = 0.95
MISSING, NOT_FINITE = "–", "n/a"  # instead of a number: nobody has it, a training diverged


def mean_text(values: Sequence[float], style: str) -> str:
    """Mean ± standard deviation (divisor n − 1); the mean alone of one value, – of none.

    "n/a" if any is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        return NOT_FINITE if values else MISSING
    spread = f" ± {stdev(values):{style}}" if len(values) > 1 else ""
    return f"{fmean(values):{style}}{spread}"


def interval(
    values: Sequence[float], image_error: float = 0.0, images: int = 0
) -> tuple[float, float] | None:
    """(low, high): 95 % of the mean over seeds, by the rule above; None for one seed.

    values: one number a seed. image_error: e above, NaN if there is one image only; images: N; both
    0 for numbers that do not depend on test images, or are of a whole set. One seed says nothing of
    other trainings. NaN at both ends if anything is not finite.
    """
    seeds = len(values)
    if seeds < 2:
        return None
    mean = sum(values) / seeds
    of_seeds = sum((value - mean) ** 2 for value in values) / (seeds - 1) / seeds
    total = of_seeds + image_error**2
    if not math.isfinite(total):
        return math.nan, math.nan
    if total == 0:
        return mean, mean
    # The same as ν above, with shares of the variance: their squares do not underflow.
    share = of_seeds / total
    freedom = 1 / (share**2 / (seeds - 1) + (1 - share) ** 2 / max(images - 1, 1))
    half = float(stdtrit(freedom, (1 + _LEVEL) / 2)) * math.sqrt(total)
    return mean - half, mean + half


def lies_between(
    ends: tuple[float, float] | None, low: float | None, high: float | None
) -> bool | None:
    """True if all of an interval lies between the bounds, False if none of it does, else None.

    The bounds themselves are not between them; None is an open end. NaN and no interval: None.
    """
    if ends is None or not all(map(math.isfinite, ends)):
        return None
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    if low < ends[0] and ends[1] < high:
        return True
    return False if ends[1] <= low or high <= ends[0] else None


def _over_images(table: Tensor) -> tuple[list[float], float, int]:
    """What `interval` takes: (values, image_error, images) of (S,), or (S, N) on N test images."""
    if table.ndim == 1:
        return table.tolist(), 0.0, 0
    images = table.shape[1]
    error = table.mean(0).std().item() / math.sqrt(images) if images > 1 else math.nan
    return table.mean(1).tolist(), error, images


class Scale(NamedTuple):
    """How large an experiment was; its fields' names are those of `recipes`' options.

    share: generator steps taken as a share of those of the published training, the smallest of all
    models; 1 where nothing is published that they could be compared with.
    """

    images: int
    epochs: int
    seeds: int
    test_images: int
    share: float = 1.0

    def short_of(self, other: "Scale") -> list[str]:
        """What is smaller here than there: "200 of 4,000 training images", "1 of 3 seeds"."""
        units = ("training images", "epochs", "seeds", "test images")
        pairs = zip(self[:4], other[:4], units, strict=True)
        found = [f"{here:,} of {there:,} {unit}" for here, there, unit in pairs if here < there]
        if self.share < other.share:
            steps = f"{100 * self.share:.2g} % of the published generator steps"
            found.append(f"{steps}, of the {other.share:.0%} that a verdict needs")
        return found


# Below it no claim is decided. Three seeds give an interval that covers what it says (see above).
# A quarter of the published generator steps is a convention: it is where the curves that the
# sources show have done most of their fall, and small enough to be had on one machine.
DECISIVE = Scale(images=4000, epochs=4, seeds=3, test_images=1000, share=0.25)


class Claim(NamedTuple):
    """One claim and the numbers that speak for it or against it; plain values, fit for JSON.

    text: what the source claims, one sentence. published: its numbers and where they stand, or what
    else it is. quantity: what was measured ("L1 of the GAN minus L1 of the U-Net"), values: it,
    once a seed. image_error: the standard error that its mean has from the choice of test images,
    images: their number; both 0 if it does not depend on them. The claim holds where the quantity
    is above `low` and below `high`; None is an open end.

    ends: it says where training ends up, so that it is not decided before a share of the published
    steps. void: why its models cannot decide it, whatever they measured ("GAN is worse than grey:
    …"). requires: the text of another claim of the same report without which it says nothing.
    """

    text: str
    published: str
    quantity: str
    values: list[float]
    image_error: float = 0.0
    images: int = 0
    low: float | None = None
    high: float | None = None
    ends: bool = True
    void: str = ""
    requires: str = ""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return sum(self.values) / len(self.values)

    def interval(self) -> tuple[float, float] | None:
        return interval(self.values, self.image_error, self.images)

    def open_because(
        self, scale: Scale, decisive: Scale = DECISIVE, others: Sequence["Claim"] = ()
    ) -> list[str]:
        """Why no number could decide it; others: the claims of its report.

        Empty if the numbers decide, which may still leave it open.
        """
        reasons = scale.short_of(decisive if self.ends else decisive._replace(share=0.0))
        reasons += [self.void] if self.void else []
        if self.requires:
            (first,) = (each for each in others if each.text == self.requires)
            if first.verdict(scale, decisive, others) != HOLDS:
                reasons.append(f"judged only where this holds: {self.requires}")
        return reasons

    def verdict(
        self, scale: Scale, decisive: Scale = DECISIVE, others: Sequence["Claim"] = ()
    ) -> str:
        """HOLDS or FAILS if all of the interval says so at a decisive scale, else UNDECIDED.

        A published experiment is not refuted by a small one, nor by models that learned nothing.
        """
        if self.open_because(scale, decisive, others):
            return UNDECIDED
        between = lies_between(self.interval(), self.low, self.high)
        return {True: HOLDS, False: FAILS, None: UNDECIDED}[between]


def claim(
    text: str,
    published: str,
    quantity: str,
    values: Tensor | Iterable[float] | Iterable[Tensor],
    low: float | None = None,
    high: float | None = None,
    **about: Any,
) -> Claim:
    """A Claim from a quantity measured once a seed (S,), or on N test images for each seed (S, N).

    values: tensor, array, or list of numbers, arrays or tensors; about: ends, void and requires.
    Raises ValueError for no values, another shape, or bounds that say nothing: none, or `low` not
    below `high`.
    """
    if (low is None and high is None) or (None not in (low, high) and low >= high):
        raise ValueError(f"a claim that holds between {low} and {high} says nothing: {text}")
    try:
        table = torch.stack([torch.as_tensor(v, dtype=torch.float64).cpu() for v in values])
    except RuntimeError as error:
        raise ValueError(f"values of different numbers or none at all: {text}") from error
    if table.ndim > 2 or not table.numel():
        raise ValueError(f"values of shape {tuple(table.shape)}, not (S,) or (S, N): {text}")
    return Claim(text, published, quantity, *_over_images(table), low, high, **about)


class Comparison(NamedTuple):
    """One metric of two configurations tested on the same images, paired by seed and by image.

    a, b: the factors of both. paired: the seeds that both have. per_seed: b's number minus a's, in
    the order of `paired`; difference: their mean, interval: its `interval`, where a number of the
    whole set, such as FID, has no image error. word: BETTER or WORSE of b against a, or HIGHER or
    LOWER if the metric has no direction, if all of the interval lies on that side of 0; else, and
    always for one seed, NOT_DISTINGUISHABLE.
    """

    a: dict[str, str]
    b: dict[str, str]
    metric: str
    paired: list[int]
    per_seed: list[float]
    difference: float
    interval: tuple[float, float] | None
    word: str


def compare(a: Sequence[Cell], b: Sequence[Cell], metric: str) -> Comparison | None:
    """A Comparison of two configurations' cells; None if no seed has that metric in both.

    "delta_colorfulness" is |m|, m the mean over images of colorfulness minus the true one. Its
    image error is that of sign(m) · m (delta method): right unless m is within its own error of 0.
    Raises ValueError if they differ in data or size, or were measured on different test images.
    """
    if len({(cell.factors.get("data"), cell.factors.get("size")) for cell in (*a, *b)}) > 1:
        raise ValueError("cells of different data or sizes are not compared: their images differ")
    left, right = (
        {cell.seed: found for cell in side if (found := _measured(cell, metric)) is not None}
        for side in (a, b)
    )
    paired = sorted(left.keys() & right.keys())
    if not paired:
        return None
    if len({side[seed].shape for side in (left, right) for seed in paired}) > 1:
        raise ValueError(f"{metric} was measured on different numbers of test images")
    table = torch.stack([right[seed] - left[seed] for seed in paired])  # (S, N), of a set (S,)
    per_seed, error, images = _over_images(table)
    ends = interval(per_seed, error, images)
    below, above = _WORDS.get(metric, (LOWER, HIGHER))
    word = above if lies_between(ends, 0, None) else NOT_DISTINGUISHABLE
    word = below if lies_between(ends, None, 0) else word
    mean = sum(per_seed) / len(per_seed)
    return Comparison(a[0].factors, b[0].factors, metric, paired, per_seed, mean, ends, word)


def compare_with_matched(cells: Sequence[Cell], metric: str) -> Comparison | None:
    """A GAN configuration (b) against its L1 parents at matched saturation (a), as `compare`."""
    return compare([as_matched(cell) for cell in cells if cell.matched], cells, metric)


def compare_all(
    pairs: Iterable[tuple[Sequence[Cell], Sequence[Cell]]], metric: str
) -> list[Comparison]:
    """`compare` of each pair; those without a seed in common are left out."""
    return [found for a, b in pairs if (found := compare(a, b, metric)) is not None]


def _measured(cell: Cell, metric: str) -> Tensor | None:
    """(N,) values whose mean is the metric, or () if it is of the whole set; None if not there."""
    if metric == "delta_colorfulness" and cell.values:
        off = (cell.values["colorfulness"] - cell.values["colorfulness_true"]).double()
        return -off if off.mean() < 0 else off
    if metric in cell.values:
        return cell.values[metric].double()
    found = cell.distances.get(metric)
    return None if found is None else torch.tensor(found, dtype=torch.float64)
