"""Claims: what a source says, what was measured here, and whether that bears it out."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from scipy.stats import t as student
from torch import Tensor

HOLDS = "holds"
FAILS = "does not hold"
UNDECIDED = "not decided at this scale"
VERDICTS = (HOLDS, FAILS, UNDECIDED)

_LEVEL = 0.95


class Scale(NamedTuple):
    """How large an experiment was; its fields' names are those of `recipes`' options."""

    images: int
    epochs: int
    seeds: int
    test_images: int

    def short_of(self, other: "Scale") -> list[str]:
        """What is smaller here than there: "200 of 4,000 training images", "1 of 3 seeds"."""
        units = ("training images", "epochs", "seeds", "test images")
        pairs = zip(self, other, units, strict=True)
        return [f"{here:,} of {there:,} {unit}" for here, there, unit in pairs if here < there]


DECISIVE = Scale(images=4000, epochs=4, seeds=3, test_images=1000)  # below it no claim is decided


class Claim(NamedTuple):
    """One claim and the numbers that speak for it or against it; plain values, fit for JSON.

    text: what the source claims, one sentence. published: its numbers, "" if it gives none.
    quantity: what was measured ("L1 of the GAN minus L1 of the U-Net"), values: it, once a seed.
    image_error: the standard error that its mean has from the choice of test images, 0 if it does
    not depend on them. The claim holds where the quantity is above `low` and below `high`; None is
    an open end.
    """

    text: str
    published: str
    quantity: str
    values: list[float]
    image_error: float = 0.0
    low: float | None = None
    high: float | None = None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return sum(self.values) / len(self.values)

    def interval(self) -> tuple[float, float] | None:
        """95 % of the mean, over trainings and test images; None for one seed.

        mean ± t · √(s² / S + image_error²), with t of Student's distribution at S - 1 degrees of
        freedom and s the standard deviation of S seeds: both errors are independent. NaN at both
        ends if a number is not finite.
        """
        seeds = len(self.values)
        if seeds < 2:
            return None
        variance = sum((value - self.mean) ** 2 for value in self.values) / (seeds - 1)
        t = float(student.ppf((1 + _LEVEL) / 2, seeds - 1))
        half = t * math.sqrt(variance / seeds + self.image_error**2)
        return self.mean - half, self.mean + half

    def verdict(self, scale: Scale) -> str:
        """HOLDS or FAILS if all of the interval says so at a DECISIVE scale, else UNDECIDED."""
        interval = self.interval()
        if scale.short_of(DECISIVE) or interval is None or not all(map(math.isfinite, interval)):
            return UNDECIDED
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if low < interval[0] and interval[1] < high:
            return HOLDS
        return FAILS if interval[1] <= low or high <= interval[0] else UNDECIDED


def claim(
    text: str,
    published: str,
    quantity: str,
    values: Tensor | Iterable[float] | Iterable[Tensor],
    low: float | None = None,
    high: float | None = None,
) -> Claim:
    """A Claim from a quantity measured once a seed (S,), or on N test images for each seed (S, N).

    Of the latter each seed's mean counts, and image_error is the standard deviation over images of
    the mean over seeds, divided by √N. values: tensor, array, or list of numbers, arrays or
    tensors. Raises ValueError for no values, another shape, or bounds that say nothing: none, or
    `low` not below `high`.
    """
    if (low is None and high is None) or (None not in (low, high) and low >= high):
        raise ValueError(f"a claim that holds between {low} and {high} says nothing: {text}")
    try:
        table = torch.stack([torch.as_tensor(v, dtype=torch.float64).cpu() for v in values])
    except RuntimeError as error:
        raise ValueError(f"values of different numbers or none at all: {text}") from error
    if table.ndim > 2 or not table.numel():
        raise ValueError(f"values of shape {tuple(table.shape)}, not (S,) or (S, N): {text}")
    image_error = 0.0
    if table.ndim == 2:
        # One image gives NaN: nothing is known of others.
        image_error = (table.mean(0).std() / math.sqrt(table.shape[1])).item()
        table = table.mean(1)
    return Claim(text, published, quantity, table.tolist(), image_error, low, high)
