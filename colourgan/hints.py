"""Colors that a person sets at points of a picture, and how they spread from there.

A hint's color takes the place of the predicted one where it spreads, as in Levin, Lischinski and
Weiss, "Colorization using Optimization", SIGGRAPH 2004: between neighbors of like lightness. Their
optimization on top of the prediction, not a further input of the network: so every model takes
hints, ONNX files of others too, and none is trained anew. bench/hints.py measures what hints bring.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import ImageColor

from colourgan import lab
from colourgan.errors import UsageError

KEEP = "keep"
MOST_HINTS = 200  # of a picture: so many take 3 seconds
PIXELS = 36_000  # of the grid that colors spread on: 160 × 225; its equations take 0.5 s
# Chosen with bench/hints.py. How much lightness (in CIE units) two neighbors may differ in before
# the color stops between them, and λ, the weight of the prediction.
_DEVIATION, _LAMBDA = 2.0, 1e-8
_LEAST_WEIGHT = 1e-4  # of two neighbors, however unlike: no region is cut off
_RIDGE = 1e-4  # on the diagonal, relative: hints beside each other are nearly collinear


class Hint(NamedTuple):
    """The color that a pixel is meant to have, x to the right and y down from 0 in the upright
    picture; color: sRGB in 0..255, None for the predicted one, which then stays.
    """

    x: float
    y: float
    color: tuple[int, int, int] | None


def parse_hint(text: str) -> Hint:
    """A hint from "x,y,color": a color as CSS writes it, or "keep"; UsageError for another text."""
    try:
        x, y, color = text.split(",", 2)
        return as_hint((float(x), float(y), color.strip()))
    except ValueError as error:  # UsageError, too
        reason = f" ({error})" if isinstance(error, UsageError) else ""
        raise UsageError(
            f"hint '{text}' is not x,y,color{reason}: such as 120,80,red, 120,80,#8b0000 or "
            f"120,80,{KEEP}"
        ) from None


def as_hint(values: Sequence) -> Hint:
    """A hint from (x, y, color): color as a name, as #rrggbb, as (r, g, b), "keep" or None.

    Raises UsageError for anything else.
    """
    try:
        x, y, color = values
        x, y = float(x), float(y)
    except (TypeError, ValueError):
        raise UsageError(f"hint {values!r} is not (x, y, color)") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UsageError(f"hint {values!r} has no place")
    return Hint(x, y, _rgb(color))


def _rgb(color) -> tuple[int, int, int] | None:
    if color is None or color == KEEP:
        return None
    try:
        rgb = ImageColor.getrgb(color) if isinstance(color, str) else color
        red, green, blue = (int(value) for value in rgb[:3])
    except (TypeError, ValueError):
        raise UsageError(f"unknown color {color!r}") from None
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise UsageError(f"color {color!r} is not within 0 to 255")
    return red, green, blue


def grid_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the grid that colors spread on in a picture: at most PIXELS in all."""
    scale = min(1, math.sqrt(PIXELS / (height * width)))
    shorter = max(1, math.floor(min(height, width) * scale))
    longer = min(math.floor(max(height, width) * scale), PIXELS // shorter)
    return (longer, shorter) if height > width else (shorter, longer)


def change(
    hints: Iterable[Hint], size: tuple[int, int], L: np.ndarray, ab: np.ndarray
) -> np.ndarray:
    """What to add to ab so that pixels have the colors of hints: (2, h, w) float32.

    size: (height, width) of the picture; L (h, w), ab (2, h, w): the picture's lightness and its
    predicted color on the grid, network-scaled. Of two hints in one cell of the grid the later
    counts. Raises UsageError for a hint outside of the picture, and for more than MOST_HINTS.
    """
    hints = list(hints)
    if len(hints) > MOST_HINTS:
        raise UsageError(f"{len(hints)} hints are too many: at most {MOST_HINTS}")
    wanted: dict[int, tuple[int, int, int] | None] = {}
    for hint in hints:
        cell = _cell(hint, size, L.shape)
        wanted.pop(cell, None)
        wanted[cell] = hint.color
    found, shares = np.zeros_like(ab), _shares(L, list(wanted))
    for share, color in zip(shares, wanted.values(), strict=True):
        if color is not None:
            found += share * (_ab(color) - ab)
    return found


def _shares(L: np.ndarray, cells: list[int]) -> np.ndarray:
    """How much each pixel takes of the color of each cell: (cells, h, w) float32 in [0, 1].

    1 at its own cell and 0 at the others'; together at most 1, the rest is the prediction's.
    """
    spreading = _spreading(L, cells)
    together = spreading[cells]
    together[np.diag_indices(len(cells))] *= 1 + _RIDGE
    # Between unlike hints the solution swings beyond them.
    shares = (spreading @ np.linalg.inv(together)).clip(0, 1)
    shares /= np.maximum(shares.sum(1, keepdims=True), 1)
    return shares.T.reshape(len(cells), *L.shape).astype(np.float32)


def _cell(hint: Hint, size: tuple[int, int], grid: tuple[int, int]) -> int:
    height, width = size
    if not (0 <= hint.x < width and 0 <= hint.y < height):
        raise UsageError(
            f"hint at {hint.x:g},{hint.y:g} is outside of the picture of {width} × {height} pixels"
        )
    return int(hint.y * grid[0] / height) * grid[1] + int(hint.x * grid[1] / width)


def _ab(color: tuple[int, int, int]) -> np.ndarray:
    return lab.ab(np.array([[color]], np.uint8))


def _spreading(L: np.ndarray, cells: list[int]) -> np.ndarray:
    """For each of these cells, how a value spreads from it: (h · w, cells) float64.

    Columns of (AᵀA + λ)⁻¹, where A takes from each pixel the mean of its 8 neighbors, weighted by
    how alike their lightness is (Levin et al., equation 1), and λ holds on to the prediction. Their
    combinations are what costs least for the values that they have at the cells.
    """
    from scipy import sparse
    from scipy.sparse.linalg import splu

    height, width = L.shape
    count = L.size
    index, lightness = np.arange(count).reshape(L.shape), 50 * L.astype(np.float64)
    weights = sparse.csr_array((count, count))
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[down:, max(0, right) : width + min(0, right)]
        difference = (lightness[here] - lightness[there]) / _DEVIATION
        weight = np.exp(-0.5 * difference**2) + _LEAST_WEIGHT
        weight /= math.hypot(down, right)
        pairs = index[here].ravel(), index[there].ravel()
        weights += sparse.coo_array((weight.ravel(), pairs), (count, count)).tocsr()
    weights += weights.T
    total = np.maximum(weights.sum(1), _LEAST_WEIGHT)  # a picture of one pixel has no neighbors
    away = sparse.eye_array(count) - sparse.diags_array(1 / total) @ weights
    equations = (away.T @ away + _LAMBDA * sparse.eye_array(count)).tocsc()
    # As it is symmetric and positive definite, nothing needs pivoting.
    solver = splu(
        equations, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True}
    )
    at = np.zeros((count, len(cells)))
    at[cells, np.arange(len(cells))] = 1
    return solver.solve(at)
