"""How good colors are: METRICS, their table row, and the honest comparison of two models.

A new metric is one function (pred, target) -> (N,) registered in METRICS; tables find it there.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from skimage.color import deltaE_ciede2000
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

from colourgan.color import AB_SCALE, check_shape, decode
from colourgan.errors import RunError, UsageError
from colourgan.registry import Registry

METRICS = Registry("metric")

PSNR_CEILING = 100.0  # dB of identical pictures, so that one of them makes no mean infinite
MAX_FACTOR = 64.0  # the largest saturation factor that `saturation_match` tries
_SSIM_WINDOW = 11  # pixels a side: what sigma 1.5 comes to in Wang et al. 2004
_COARSE = 16  # values a side: patches of color, without texture
_AT_ONCE = 2**20  # pixels decoded together, and numbers of draws: bounds memory


class Colors(NamedTuple):
    """The same N pictures twice: lab (N, 3, H, W) in CIE units and rgb (N, 3, H, W) in [0, 1]."""

    lab: Tensor
    rgb: Tensor


@METRICS.register("l1")
def _l1(pred: Colors, target: Colors) -> Tensor:
    """Mean absolute difference of a and b in network units (CIE units / 110); 0 is equal."""
    return (pred.lab - target.lab)[:, 1:].abs().mean((1, 2, 3)) / AB_SCALE


@METRICS.register("psnr")
def _psnr(pred: Colors, target: Colors) -> Tensor:
    """Peak signal-to-noise ratio of RGB in dB, at most PSNR_CEILING; higher is nearer."""
    error = (pred.rgb - target.rgb).square().mean((1, 2, 3))
    return (-10 * error.log10()).clamp(max=PSNR_CEILING)


@METRICS.register("ssim")
def _ssim(pred: Colors, target: Colors) -> Tensor:
    """Structural similarity, mean over R, G and B; 1 is equal.

    Raises UsageError if a side is under 11 pixels. Source: Wang, Bovik, Sheikh and Simoncelli,
    IEEE TIP 13(4), 2004: Gaussian window of sigma 1.5, population covariance.
    """
    check_sides(pred.rgb, _SSIM_WINDOW, "ssim")
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = partial(structural_similarity, data_range=1.0, channel_axis=-1, **window)
    return _per_image(ssim, pred.rgb, target.rgb)


@METRICS.register("delta_e")
def _delta_e(pred: Colors, target: Colors) -> Tensor:
    """Mean CIEDE2000 color difference (CIE 142-2001) over pixels; 0 is equal, 1 about visible."""
    return _per_image(lambda a, b: deltaE_ciede2000(a, b).mean(), pred.lab, target.lab)


@METRICS.register("colorfulness")
def _colorfulness_of_pred(pred: Colors, target: Colors) -> Tensor:
    """The prediction's own `colorfulness`; compare with the row's colorfulness_true."""
    return colorfulness(pred.rgb)


@METRICS.register("within_5")
def _within_5(pred: Colors, target: Colors) -> Tensor:
    """Share of pixels whose a and b are both within 5 CIE units of the truth, in [0, 1]."""
    close = (pred.lab - target.lab)[:, 1:].abs() <= 5
    return close.all(dim=1).float().mean((1, 2))


def colorfulness(rgb: Tensor) -> Tensor:
    """Hasler and Süsstrunk's M3, one value an image; 0 is grey, 109 "extremely colorful".

    rgb: (N, 3, H, W) in [0, 1]; returns (N,). Raises ValueError for another shape.
    Source: "Measuring colourfulness in natural images", SPIE 2003, section 7 (values in 0..255).
    """
    check_shape(rgb, 3)
    r, g, b = (rgb.float() * 255).flatten(2).unbind(1)
    opponents = torch.stack((r - g, (r + g) / 2 - b))  # (2, N, H·W)
    spread, mean = torch.var_mean(opponents, dim=2, correction=0)
    return spread.sum(0).sqrt() + 0.3 * mean.square().sum(0).sqrt()


def check_sides(rgb: Tensor, least: int, metric: str) -> None:
    """Raises UsageError if a side of the pictures (N, 3, H, W) is under `least` pixels."""
    height, width = rgb.shape[2:]
    if min(height, width) < least:
        raise UsageError(
            f"{metric} needs pictures of at least {least}×{least} pixels, "
            f"got {width}×{height}: evaluate at a larger size"
        )


def smooth_regions(L: Tensor) -> Tensor:
    """(N, 1, 16, 16) bool: the quarter of a picture around which lightness varies least.

    L: (N, 1, H, W), any scale, averaged to 16×16; its variance is that of the 5×5 values around.
    """
    variance = _local_variance(adaptive_avg_pool2d(L, _COARSE))
    return variance <= variance.flatten(1).quantile(0.25, dim=1).view(-1, 1, 1, 1)


def chroma_variance(ab: Tensor, regions: Tensor) -> Tensor:
    """How much color varies inside regions, one value an image, in squared CIE units; 0 is even.

    ab: (N, 2, H, W) in network units, averaged to 16×16 so that noise and texture do not count but
    patches do; regions: (N, 1, 16, 16) bool, not empty. Returns (N,): the variances of a and b in
    the 5×5 values around each one of the regions, added, and averaged over the regions.
    """
    coarse = adaptive_avg_pool2d(ab, _COARSE) * AB_SCALE
    variance = _local_variance(coarse).sum(1, keepdim=True)
    return (variance * regions).sum((1, 2, 3)) / regions.sum((1, 2, 3))


def _local_variance(x: Tensor) -> Tensor:
    # In double precision: a difference of squares loses half of the digits.
    x = pad(x.double(), (2, 2, 2, 2), mode="reflect")
    return (avg_pool2d(x.square(), 5, 1) - avg_pool2d(x, 5, 1).square()).clamp_min(0)


def measure(pred: Colors, target: Colors) -> dict[str, Tensor]:
    """Per-image values (N,), on the CPU, of all METRICS and of "colorfulness_true" (the target's).

    Raises ValueError if shapes differ, UsageError for pictures too small for SSIM.
    """
    shapes = {tuple(tensor.shape) for tensor in (*pred, *target)}
    if len(shapes) > 1:
        raise ValueError(f"pred and target differ in shape: {sorted(shapes)}")
    values = {name: metric(pred, target) for name, metric in METRICS.items()}
    values["colorfulness_true"] = colorfulness(target.rgb)
    return {name: value.detach().cpu() for name, value in values.items()}


def summarize(values: dict[str, Tensor]) -> dict[str, float]:
    """One table row from what `measure` gave (batches joined): means over images, METRICS' order.

    After "colorfulness" come "colorfulness_true" and "delta_colorfulness", the absolute difference
    of the two means: it is of the whole set, so images too pale and too vivid cancel out.
    """
    row = {}
    for name in METRICS:
        row[name] = _mean(values[name])
        if name == "colorfulness":
            row["colorfulness_true"] = _mean(values["colorfulness_true"])
            row["delta_colorfulness"] = abs(row[name] - row["colorfulness_true"])
    return row


def saturation_match(ab: Tensor, L: Tensor, colorfulness_wanted: float) -> float:
    """The factor in 0..MAX_FACTOR (±0.0001) by which ab has that mean colorfulness over images.

    ab: (N, 2, H, W) and L: (N, 1, H, W) in network units. The upper bound doubles from 1 until it
    is colorful enough, then the last interval is bisected: so the first crossing is found even
    where clipping to sRGB makes colorfulness fall again. Raises RunError if there is none (grey
    or NaN predictions).
    """
    low, high = 0.0, 1.0
    # "not >=" and not "<": a NaN must end in the error, too.
    while not (reached := mean_colorfulness(ab, L, high)) >= colorfulness_wanted:
        low, high = high, high * 2
        if high > MAX_FACTOR:
            raise RunError(
                f"no saturation factor up to {MAX_FACTOR:g} gives colorfulness "
                f"{colorfulness_wanted:.1f} (reached {reached:.1f}): are the predictions grey?"
            )
    while high - low > 1e-4:
        middle = (low + high) / 2
        if mean_colorfulness(ab, L, middle) < colorfulness_wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def bootstrap_interval(
    differences: Tensor, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """(low, high): percentile bootstrap interval of the mean over images.

    differences: (N,), one value an image, such as two models' paired L1 difference. Raises
    ValueError for another shape or none at all. Source: Efron and Tibshirani, "An introduction to
    the bootstrap", 1993, chapter 13.
    """
    if differences.ndim != 1 or len(differences) == 0:
        raise ValueError(f"expected shape (N,) with N > 0, got {tuple(differences.shape)}")
    return percentile_interval(bootstrap_means(differences, seed, resamples), level)


def bootstrap_means(values: Tensor, seed: int = 0, resamples: int = 2000) -> Tensor:
    """(…, resamples) float64, on the CPU: means over N images drawn with replacement.

    values: (…, N), one value an image. All rows, and all calls with the same seed, see the same
    draws: the difference of two rows' means is the mean of their paired differences.
    """
    values, count = values.detach().cpu().double(), values.shape[-1]
    draws = _times_drawn(count, seed, resamples).split(max(1, _AT_ONCE // count))
    return torch.cat([values @ part.double().T for part in draws], dim=-1) / count


def percentile_interval(means: Tensor, level: float = 0.95) -> tuple[float, float]:
    """(low, high) that leave out equal shares of `means`, (resamples,), at both ends."""
    tail = (1 - level) / 2
    return tuple(means.quantile(means.new_tensor([tail, 1 - tail])).tolist())


@lru_cache(maxsize=2)
def _times_drawn(count: int, seed: int, resamples: int) -> Tensor:
    """(resamples, count) int16: how often each image is among those drawn."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randint(count, (count,), generator=generator) for _ in range(resamples))
    return torch.stack([indices.bincount(minlength=count).short() for indices in drawn])


def mean_colorfulness(ab: Tensor, L: Tensor, factor: float = 1.0) -> float:
    """The mean over images of `colorfulness`, with ab multiplied by a factor.

    ab: (N, 2, H, W) and L: (N, 1, H, W) in network units.
    """
    at_once = max(1, _AT_ONCE // L[0].numel())
    batches = zip(L.split(at_once), ab.split(at_once), strict=True)
    return _mean(torch.cat([colorfulness(decode(l_, ab_ * factor)) for l_, ab_ in batches]))


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _per_image(function: Callable, pred: Tensor, target: Tensor) -> Tensor:
    """(N,): `function` of each pair of pictures as (H, W, 3) float64 numpy arrays."""
    pairs = zip(pred.detach().cpu(), target.detach().cpu(), strict=True)
    arrays = ([picture.permute(1, 2, 0).double().numpy() for picture in pair] for pair in pairs)
    return torch.tensor([float(function(*pair)) for pair in arrays], device=pred.device)
