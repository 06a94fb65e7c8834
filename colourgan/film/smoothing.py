"""Colors of a film smoothed over time: along motion, within a scene.

A network that colors each frame by itself changes its mind with grain and brightness, which shows
as flicker. Here a frame's colors are averaged with those of the frames before it, moved to where
the picture has moved (dense inverse search: Kroeger et al., ECCV 2016). They count only where the
motion there and back again fits, and where the moved lightness is what there is now: what moves
leaves no trail. Where too little of the picture agrees a new scene begins, and nothing is kept.
"""

import math
from typing import NamedTuple

import numpy as np

from colourgan.film.packages import opencv

SECONDS = 0.5  # flicker against lag: bench/film.py
# With a smaller share of pixels that agree, or less correlation, a scene ends. Of 600 pairs of
# photographs 98 % agree in at most 0.21; what moves within a scene, however grainy, in 0.49 up.
_AGREEING, _CORRELATED = 0.4, 0.5
_COARSER = 4  # correlation is taken of lightness reduced by this, where grain is averaged out
_TOLERANCE = 0.06  # of L, 3 of its 100: this difference leaves colors a third of their weight
_CONTRAST = 0.02  # of L, 1 of its 100: with less a picture has nothing that could correlate
_GRAIN = 5  # pixels a side over which a difference of lightness is averaged
_ASTRAY = 0.5  # of motion there and back, in squared pixels: as _TOLERANCE, and by its length more
_ASTRAY_OF_LENGTH = 0.05


class State(NamedTuple):
    """What the next frame needs of the last: L (h, w) and its smoothed ab (2, h, w)."""

    L: np.ndarray
    ab: np.ndarray


class Smoother:
    """Smooths one frame after another; all at one working size.

    seconds: after so long a color counts 1/e of a new one; 0 leaves colors as they are. state: of
    the last frame, None before the first; never changed in place. cuts: scenes that have ended.
    """

    def __init__(self, seconds: float, state: State | None = None):
        self.seconds, self.state, self.cuts = seconds, state, 0
        cv2 = opencv()
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, L: np.ndarray, ab: np.ndarray, elapsed: float) -> np.ndarray:
        """ab (2, h, w) of a frame, smoothed.

        L (h, w), ab (2, h, w): float32 in network units; elapsed: seconds since the last frame.
        """
        if not self.seconds:
            return ab
        if self.state is not None:
            ab = self._smoothed(L, ab, elapsed)
        self.state = State(L, ab)
        return ab

    def _smoothed(self, L: np.ndarray, ab: np.ndarray, elapsed: float) -> np.ndarray:
        if is_flat(self.state.L) != is_flat(L):  # into black or out of it
            self.cuts += 1
            return ab
        before = _like(self.state.L, L)
        moved, fits = self._moved(np.dstack((before, *self.state.ab)), before, L)
        lightness, colors = moved[..., 0], moved[..., 1:].transpose(2, 0, 1)
        agreed = agreement(lightness, L)
        if agreed.mean() < _AGREEING or correlation(lightness, L) < _CORRELATED:
            self.cuts += 1
            return ab
        weight = np.float32(math.exp(-max(elapsed, 0) / self.seconds)) * agreed * fits
        return ab + weight * (colors - ab)

    def _moved(
        self, planes: np.ndarray, before: np.ndarray, L: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Planes (h, w, C) of the frame before, each pixel where it is now, and how well (h, w)
        motion back fits motion forth, in [0, 1]: not where something has just come into sight.
        """
        cv2 = opencv()
        now, then = _as_bytes(L, L), _as_bytes(before, L)
        back, forth = self._flow.calc(now, then, None), self._flow.calc(then, now, None)
        height, width = L.shape
        grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height)))
        places = (grid + back).astype(np.float32)
        edge = cv2.BORDER_REPLICATE
        forth = cv2.remap(forth, places, None, cv2.INTER_LINEAR, borderMode=edge)
        length = np.square(back).sum(2) + np.square(forth).sum(2)
        astray = np.square(back + forth).sum(2) / (_ASTRAY + _ASTRAY_OF_LENGTH * length)
        return cv2.remap(planes, places, None, cv2.INTER_CUBIC, borderMode=edge), np.exp(-astray)


def agreement(moved: np.ndarray, L: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1]: how well moved lightness fits; grain and brightness do not count."""
    difference = opencv().blur(moved - L, (_GRAIN, _GRAIN))
    difference = difference - np.median(difference)
    return np.exp(-np.square(difference / np.float32(_TOLERANCE)))


def correlation(moved: np.ndarray, L: np.ndarray) -> float:
    """Of two pictures (h, w): 1 for equal ones, however bright, and for two without contrast."""
    cv2 = opencv()
    size = [max(1, side // _COARSER) for side in L.shape[::-1]]
    both = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (moved, L)]
    if any(map(is_flat, both)):  # only grain would correlate
        return float(all(map(is_flat, both)))
    one, other = ((each - each.mean()) / each.std() for each in both)
    return float((one * other).mean())


def is_flat(L: np.ndarray) -> bool:
    """Whether a picture is black, white or of another even lightness."""
    return bool(L.std() < _CONTRAST)


def _like(before: np.ndarray, L: np.ndarray) -> np.ndarray:
    """`before` with the mean and contrast of L: old films flicker in brightness."""
    gain = (L.std() + _CONTRAST) / (before.std() + _CONTRAST)
    return ((before - before.mean()) * gain + L.mean()).astype(np.float32)


def _as_bytes(L: np.ndarray, like: np.ndarray) -> np.ndarray:
    """L as uint8 with a contrast that suits optical flow, on the scale of `like`."""
    scaled = (L - like.mean()) * (50 / (like.std() + _CONTRAST)) + 128
    return scaled.clip(0, 255).astype(np.uint8)
