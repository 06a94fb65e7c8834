"""sRGB ↔ CIE Lab in NumPy, for whole photographs, and the constants that `color` shares.

Colors of pictures are computed here, where no torch is needed; `color` does the same on tensors, on
any device and with gradients. A test holds the two together.
"""

import numpy as np

AB_SCALE = 110.0  # CIE a and b are divided by this for the networks

# Matrix and white point (D65, 2 degrees) as in skimage/color/colorconv.py, v0.26, so that results
# agree to the digit: the four-digit matrix printed in IEC 61966-2-1 gives slightly other ones.
_XYZ_FROM_RGB = np.array(
    [
        (0.412453, 0.357580, 0.180423),
        (0.212671, 0.715160, 0.072169),
        (0.019334, 0.119193, 0.950227),
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
# Linear RGB to XYZ with the white point divided out, and back; Python floats for other libraries.
TO_XYZ = (_XYZ_FROM_RGB / _WHITE[:, None]).tolist()
TO_RGB = np.linalg.inv(TO_XYZ).tolist()
F_KNEE, F_SLOPE, F_OFFSET = 0.008856, 7.787, 16 / 116  # CIE 15:2004, section 8.2.1
F_INVERSE_KNEE = 0.2068966
GAMMA_KNEE, LINEAR_KNEE, GAMMA_SLOPE = 0.04045, 0.0031308, 12.92  # IEC 61966-2-1


def lightness(pixels: np.ndarray) -> np.ndarray:
    """L of sRGB pixels as networks see it: CIE lightness / 50 - 1, in [-1, 1].

    pixels: (H, W) grey or (H, W, 3) RGB, uint8 in 0..255, or grey as float32 in [0, 1].
    Returns (H, W) float32.
    """
    if pixels.dtype != np.uint8:
        return _lightness(_without_gamma(pixels))
    if pixels.ndim == 2:
        return _GREY_LIGHTNESS[pixels]
    weights = TO_XYZ[1]
    luminance = sum((_LINEAR * np.float32(weights[i]))[pixels[..., i]] for i in range(3))
    return _lightness(luminance)


def ab(pixels: np.ndarray) -> np.ndarray:
    """ab (2, H, W) float32, network-scaled, of sRGB pixels (H, W, 3), uint8."""
    linear = _LINEAR[pixels]
    x, y, z = (_f(linear @ np.array(weights, np.float32)) for weights in TO_XYZ)
    return np.stack((500 * (x - y), 200 * (y - z))) / np.float32(AB_SCALE)


def to_rgb(L: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """sRGB (H, W, 3) float32 in [0, 1]; colors outside sRGB are clamped channel by channel.

    L: (H, W), ab: (2, H, W), both float32 and network-scaled.
    """
    y = L * np.float32(50 / 116) + np.float32(66 / 116)
    x = y + ab[0] * np.float32(AB_SCALE / 500)
    z = np.maximum(y - ab[1] * np.float32(AB_SCALE / 200), 0)  # as scikit-image: no negative light
    xyz = [_f_inverse(f) for f in (x, y, z)]
    rgb = np.empty((*L.shape, 3), dtype=np.float32)
    for channel, row in enumerate(TO_RGB):
        linear = sum(plane * np.float32(share) for plane, share in zip(xyz, row, strict=True))
        rgb[..., channel] = _gamma(linear)
    return rgb


def to_grey(L: np.ndarray) -> np.ndarray:
    """The sRGB value in [0, 1] whose grey has this lightness; L: float32, network-scaled."""
    return _gamma(_f_inverse(L * np.float32(50 / 116) + np.float32(66 / 116)))


def to_bytes(rgb: np.ndarray) -> np.ndarray:
    """uint8 of values in [0, 1], rounded."""
    return (rgb * 255 + np.float32(0.5)).astype(np.uint8)


# The straight parts of the curves are short: few pixels lie there, and copying those few is many
# times faster than np.where.


def _lightness(luminance: np.ndarray) -> np.ndarray:
    return _f(luminance) * np.float32(116 / 50) - np.float32(66 / 50)


def _f(light: np.ndarray) -> np.ndarray:
    f = np.cbrt(light)
    np.copyto(f, light * np.float32(F_SLOPE) + np.float32(F_OFFSET), where=light <= F_KNEE)
    return f


def _f_inverse(f: np.ndarray) -> np.ndarray:
    cube = f * f * f
    np.copyto(cube, (f - np.float32(F_OFFSET)) / np.float32(F_SLOPE), where=f <= F_INVERSE_KNEE)
    return cube


def _gamma(linear: np.ndarray) -> np.ndarray:
    linear = linear.clip(0, 1)
    power = linear ** np.float32(1 / 2.4)
    power *= np.float32(1.055)
    power -= np.float32(0.055)
    np.copyto(power, linear * np.float32(GAMMA_SLOPE), where=linear <= LINEAR_KNEE)
    return power


def _without_gamma(grey: np.ndarray) -> np.ndarray:
    power = ((grey + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    np.copyto(power, grey / np.float32(GAMMA_SLOPE), where=grey <= GAMMA_KNEE)
    return power


_LINEAR = _without_gamma(np.arange(256) / 255).astype(np.float32)
_GREY_LIGHTNESS = _lightness(_LINEAR)
