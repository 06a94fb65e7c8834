"""Color of low resolution at a picture's full resolution: its edges where lightness has them.

A guided filter (He, Sun and Tang, "Guided Image Filtering", PAMI 35(6), 2013) in the form that adds
detail: around each pixel ab is taken for a linear function of L, as far as it is one, and its slope
times the detail that L has beyond ab's own resolution is added to the enlarged ab. Slopes come from
small pictures, only L is of full size: He and Sun, "Fast Guided Filter", arXiv:1505.00996, 2015.

On NumPy and Pillow alone. bench/upsampling.py compares it with other ways.
"""

import numpy as np
from PIL import Image

_FINER = 2  # a guide's pixels a side for one of ab's; with 3 no error changes by 0.3 %
_LONGEST = 4  # as of working sizes: a panorama's guide is squeezed, so that memory is bounded
# Variances that are no edge, in network units: 1.6 of L's 100 and 0.35 of CIE a or b, squared.
_EPSILON_L, _EPSILON_AB = 1e-3, 1e-5
_BICUBIC, _BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR


def guide_size(height: int, width: int, working_size: int = 128) -> tuple[int, int]:
    """(height, width) of a picture's guide for the pixels of ab's shorter side.

    The guide's shorter side is twice that, its longer at most 4 times its shorter; neither is
    larger than the picture's.
    """
    shorter = _FINER * working_size
    scale = min(1, shorter / min(height, width))
    return tuple(min(round(side * scale), _LONGEST * shorter) for side in (height, width))


class Enlarged:
    """ab of a picture at full size, as many rows at a time as are asked for.

    ab: (2, h, w) of any size, as this package's generators predict it: colors decoded at half of
    that size and enlarged. guide: (gh, gw), L of the picture averaged down to `guide_size`. size:
    the picture's (height, width). All float32, in network units.
    """

    def __init__(self, ab: np.ndarray, guide: np.ndarray, size: tuple[int, int]):
        self._first = ab[:, :1, :1].astype(np.float32)  # without it, constant colors are exactly 0
        ab = ab - self._first
        # What ab's two-fold enlarging did to colors: only so do both have the same details.
        L = _blurred(_resized(guide[None], ab.shape[1:]))
        detail = guide - _resized(L, guide.shape)
        sharp = _resized(ab, guide.shape) + _resized(_slope(ab, L), guide.shape) * detail
        # Darker or lighter than all around, as a black rim, the line would lead to new colors.
        low, high = (
            _resized(_around(extreme, ab), guide.shape, _BILINEAR)
            for extreme in (np.minimum, np.maximum)
        )
        sharp = sharp.clip(low, high)
        slope = _slope(sharp, guide[None])
        self._lines = np.concatenate((slope, sharp - slope * guide)).astype(np.float32)
        self._below, self._across = (
            _between(*sides) for sides in zip(guide.shape, size, strict=True)
        )

    def rows(self, rows: slice, L: np.ndarray) -> np.ndarray:
        """ab (2, rows, width) float32 of these rows of the picture, however it is cut into them.

        L: (rows, width), theirs at full resolution. Memory is for some 8 arrays of its size.
        """
        low, part = (each[rows] for each in self._below)
        lines = _lerp(self._lines[:, low[0] : low[-1] + 2], *self._across, axis=2)
        lines = _lerp(lines, low - low[0], part, axis=1)
        ab, rest = lines[:2], lines[2:]
        ab *= L
        ab += rest
        ab += self._first
        return ab


def _slope(ab: np.ndarray, L: np.ndarray) -> np.ndarray:
    """(2, h, w): by how much a and b grow with L around each pixel; ab (2, h, w), L (1, h, w).

    Less where they do not follow L: times the share of their variance that the line explains.
    """
    mean_ab, mean = _blurred(ab), _blurred(L)
    together = _blurred(ab * L) - mean_ab * mean
    slope = together / (np.maximum(_blurred(L * L) - mean * mean, 0) + _EPSILON_L)
    variance = np.maximum(_blurred(ab * ab) - mean_ab * mean_ab, 0)
    return slope * (slope * together / (variance + _EPSILON_AB))


def _blurred(planes: np.ndarray) -> np.ndarray:
    """(C, h, w) after a binomial filter of 7 × 7 pixels, whose standard deviation is 1.2."""
    for axis in (1, 2) * 3:
        before, here, after = _shifted(planes, axis, 1)
        planes = before + after
        planes += here
        planes += here
        planes *= 0.25
    return planes


def _shifted(planes: np.ndarray, axis: int, reach: int) -> list[np.ndarray]:
    """Planes (C, h, w) moved by -reach to reach pixels, their borders repeated."""
    padded = np.pad(planes, [(reach, reach) if i == axis else (0, 0) for i in range(3)], "edge")
    starts, count = range(2 * reach + 1), planes.shape[axis]
    return [padded[(slice(None),) * axis + (slice(i, i + count),)] for i in starts]


def _between(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of `size` pixels along `count` values: the one before it, and the next's share."""
    at = ((np.arange(size) + 0.5) * count / size - 0.5).clip(0, count - 1)
    low = at.astype(np.intp)
    return low, (at - low).astype(np.float32)


def _lerp(planes: np.ndarray, low: np.ndarray, part: np.ndarray, axis: int) -> np.ndarray:
    """Planes (C, h, w) at the places of `_between` along an axis."""
    last = planes.take([-1], axis)
    steps = np.diff(planes, axis=axis, append=last).take(low, axis)
    steps *= part[:, None] if axis == 1 else part
    steps += planes.take(low, axis)
    return steps


def _resized(planes: np.ndarray, size: tuple[int, int], how=_BICUBIC) -> np.ndarray:
    images = (Image.fromarray(plane.astype(np.float32)) for plane in planes)
    return np.stack([np.asarray(image.resize(size[::-1], how)) for image in images])


def _around(extreme: np.ufunc, planes: np.ndarray) -> np.ndarray:
    """np.minimum or np.maximum of the 5 × 5 pixels at each; as ab is enlarged, the next colors."""
    for axis in (1, 2):
        planes = extreme.reduce(_shifted(planes, axis, 2))
    return planes
