"""sRGB ↔ CIE Lab on tensors of any device, with gradients; on arrays, without torch: `lab`.

Only elementwise arithmetic with Python scalars: autocast leaves that alone, so colors are always
computed in float32, and no constant has to be moved to a device except one table of 256 values.
"""

import torch
from torch import Tensor

from colourgan.lab import (
    AB_SCALE,
    F_INVERSE_KNEE,
    F_KNEE,
    F_OFFSET,
    F_SLOPE,
    GAMMA_KNEE,
    GAMMA_SLOPE,
    LINEAR_KNEE,
    TO_RGB,
    TO_XYZ,
)

# ((a_low, b_low), (a_high, b_high)) of all sRGB colors in network units, 0.01 CIE units wider.
AB_RANGE = ((-86.19 / AB_SCALE, -107.87 / AB_SCALE), (98.24 / AB_SCALE, 94.49 / AB_SCALE))


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE Lab (D65, 2 degrees) of sRGB pictures.

    rgb: (N, 3, H, W), uint8 in 0..255 or floating in [0, 1].
    Returns (N, 3, H, W) float32: L in 0..100, a in about -86..98, b in about -108..94.
    Raises ValueError for another shape or type.
    """
    check_shape(rgb, 3)
    if rgb.dtype == torch.uint8:
        table = _LINEAR_TABLE.to(rgb.device, non_blocking=True)
        linear = table.index_select(0, rgb.flatten().int()).view(rgb.shape)
    elif rgb.is_floating_point():
        linear = _without_gamma(rgb.float())
    else:
        raise ValueError(f"expected rgb as uint8 or floating point, got {rgb.dtype}")
    x, y, z = (_f(channel) for channel in _mix(linear, TO_XYZ))
    return torch.stack((y * 116 - 16, (x - y) * 500, (y - z) * 200), dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """sRGB of CIE Lab pictures; colors outside sRGB are clamped channel by channel.

    lab: (N, 3, H, W), L in 0..100. Returns (N, 3, H, W) float32 in [0, 1]. Gradients are finite
    everywhere (zero where a channel is clamped). Raises ValueError for another shape.
    """
    check_shape(lab, 3)
    L, a, b = lab.float().unbind(1)
    y = (L + 16) / 116
    x, z = y + a / 500, (y - b / 200).clamp(min=0)  # z as scikit-image: no negative blue light
    xyz = torch.stack([_f_inverse(f) for f in (x, y, z)], dim=1)
    return _gamma(torch.stack(_mix(xyz, TO_RGB), dim=1))


def encode(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """(L, ab) as networks see them.

    rgb: as for `rgb_to_lab`. Returns float32 L (N, 1, H, W) = L/50 - 1 in [-1, 1] and
    ab (N, 2, H, W) = ab/110 within AB_RANGE.
    """
    lab = rgb_to_lab(rgb)
    return lab[:, :1] / 50 - 1, lab[:, 1:] / AB_SCALE


def to_lab(L: Tensor, ab: Tensor) -> Tensor:
    """CIE Lab (N, 3, H, W) float32 of network-scaled L (N, 1, H, W) and ab (N, 2, H, W)."""
    check_shape(L, 1)
    check_shape(ab, 2)
    return torch.cat(((L.float() + 1) * 50, ab.float() * AB_SCALE), dim=1)


def decode(L: Tensor, ab: Tensor) -> Tensor:
    """sRGB (N, 3, H, W) float32 in [0, 1] of network-scaled L (N, 1, H, W) and ab (N, 2, H, W)."""
    return lab_to_rgb(to_lab(L, ab))


def lightness_to_grey(L: Tensor) -> Tensor:
    """The sRGB value g in [0, 1] whose picture R = G = B = g has this lightness.

    L: network-scaled, any shape, in [-1, 1]. Returns float32 of that shape.
    """
    return _gamma(_f_inverse(((L.float() + 1) * 50 + 16) / 116))


def check_shape(image: Tensor, channels: int) -> None:
    """Raises ValueError unless an image is (N, channels, H, W)."""
    if image.ndim != 4 or image.shape[1] != channels:
        raise ValueError(f"expected shape (N, {channels}, H, W), got {tuple(image.shape)}")


def _mix(image: Tensor, matrix: list[list[float]]) -> list[Tensor]:
    """Three (N, H, W): the 3×3 matrix applied to the channels of (N, 3, H, W)."""
    r, g, b = image.unbind(1)
    return [(r * row[0]).add_(g, alpha=row[1]).add_(b, alpha=row[2]) for row in matrix]


def _without_gamma(rgb: Tensor) -> Tensor:
    """Linear RGB of sRGB in [0, 1]; IEC 61966-2-1."""
    power = ((rgb.clamp(min=GAMMA_KNEE) + 0.055) / 1.055) ** 2.4
    return torch.where(rgb > GAMMA_KNEE, power, rgb / GAMMA_SLOPE)


_LINEAR_TABLE = _without_gamma(torch.arange(256, dtype=torch.float64) / 255).float()


def _gamma(linear: Tensor) -> Tensor:
    # The clamps inside the powers here and below keep gradients finite: torch.where multiplies the
    # branch not taken by 0, and 0 × infinity is NaN.
    power = 1.055 * linear.clamp(min=LINEAR_KNEE) ** (1 / 2.4) - 0.055
    return torch.where(linear > LINEAR_KNEE, power, linear * GAMMA_SLOPE).clamp(0, 1)


def _f(t: Tensor) -> Tensor:
    root = t.clamp(min=F_KNEE) ** (1 / 3)
    return torch.where(t > F_KNEE, root, t * F_SLOPE + F_OFFSET)


def _f_inverse(f: Tensor) -> Tensor:
    return torch.where(f > F_INVERSE_KNEE, f * f * f, (f - F_OFFSET) / F_SLOPE)
