"""A study's cells: one trained model each, as plain data for tables, statistics and pages."""

from typing import NamedTuple

from torch import Tensor

FACTORS = ("data", "size", "encoder", "method", "tuning", "stages", "lightness", "decoder")

DONE = "done"
FAILED = "failed"
NOT_DONE = "not done"

LOWER_IS_BETTER = ("l1", "delta_e", "delta_colorfulness", "lpips", "fid", "kid", "frechet")
HIGHER_IS_BETTER = ("psnr", "ssim", "within_5")


class Cell(NamedTuple):
    """One trained model of a study and what it measured.

    factors: a value for each of FACTORS, as the user wrote it. run: the hash that names its run
    folder. state: DONE, FAILED or NOT_DONE; reason: why it failed. values: metric → (N,) float64,
    one value a test image, the same images for all cells of one data set and size. matched: of a
    GAN cell, those of its L1 parent whose ab are multiplied until it is as colorful as this cell.
    distances, matched_distances: "frechet", "fid", "kid", "lpips", each of all test images. costs:
    parameters of encoder, decoder and discriminator, "flops" of one image forward, training
    "images_per_second" and "seconds", "peak_memory_mb". history: the rows of history.csv. All of
    these are empty unless it is DONE.
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
