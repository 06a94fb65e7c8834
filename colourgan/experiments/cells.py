"""Cells: one trained model each, as plain data for tables, comparisons and pages."""

from typing import NamedTuple

from torch import Tensor

from colourgan.metrics import summarize

DONE = "done"
FAILED = "failed"
NOT_DONE = "not done"

LOWER_IS_BETTER = ("l1", "delta_e", "delta_colorfulness", "lpips", "fid", "kid", "frechet")
HIGHER_IS_BETTER = ("psnr", "ssim", "within_5")

SETTINGS = ("data", "size")
"""Factors whose levels are not compared: their test images differ."""

NONE = "none"
"""Level of a factor that a cell has not, such as the discriminator of one that is no GAN."""


class Cell(NamedTuple):
    """One trained model and what it measured.

    factors: what the model is named by, factor → level as the user wrote it; all but the seed. run:
    the hash that names its run folder. state: DONE, FAILED or NOT_DONE; reason: why it failed.
    values: metric → (N,) float64, one value a test image, the same images for all cells of one data
    set and size. matched: those of its rival, such as a GAN's L1 parent, whose ab are multiplied
    until it is as colorful as this cell; empty for a cell without a rival, and if no factor does
    that. distances, matched_distances: "frechet", "fid", "kid", "lpips", each of all test images.
    costs: parameters of encoder and decoder (or of a generator without an encoder) and of the
    discriminator, "flops" of one image forward, training "images_per_second" and "seconds",
    "peak_memory_mb". history: the rows of history.csv. rival: the rival's factors. All of these are
    empty unless it is DONE.
    """

    factors: dict[str, str]
    seed: int
    run: str
    state: str
    reason: str
    values: dict[str, Tensor]
    matched: dict[str, Tensor]
    distances: dict[str, float]
    matched_distances: dict[str, float]
    costs: dict[str, float]
    history: list[dict[str, float]]
    rival: dict[str, str] | None = None


def numbers(cell: Cell) -> dict[str, float]:
    """All of a cell's numbers: its metrics' means over images, distances, costs; {} if not DONE."""
    if cell.state != DONE or not cell.values:
        return {}
    others = {name: values.double().mean().item() for name, values in cell.values.items()}
    return summarize(cell.values) | others | cell.distances | cell.costs


def as_matched(cell: Cell) -> Cell:
    """A cell's rival as a cell of its own: with the saturation of this cell.

    A factor in which they differ has both levels, as in {"method": "l1 as colorful as gan"}. It has
    no costs and no history: nobody trained it.
    """
    named = {factor: f"{level} as colorful as {cell.factors[factor]}"
             for factor, level in differing(cell).items()}  # fmt: skip
    return cell._replace(
        factors=cell.factors | named, values=cell.matched, distances=cell.matched_distances,
        matched={}, matched_distances={}, costs={}, history=[], rival=None,
    )  # fmt: skip


def differing(cell: Cell) -> dict[str, str]:
    """The factors that name a cell's rival beside it, with the rival's levels: {"method": "l1"}.

    What the rival has not, such as a discriminator, is not among them. Of a cell that does not know
    its rival's factors it is an L1 model.
    """
    rival = cell.rival or {"method" if "method" in cell.factors else "model": "l1"}
    return {
        factor: rival[factor]
        for factor, level in cell.factors.items()
        if rival.get(factor, level) not in (level, NONE)
    }
