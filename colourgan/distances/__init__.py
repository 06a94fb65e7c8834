"""How far predicted pictures are from true ones, as networks see them: DISTANCES.

A new distance is one function (pred, target) of Pictures, registered in DISTANCES, that gives one
number for the set or one value an image (N,); `distances_of`, tables and `list` find it there.
"""

from collections import Counter
from collections.abc import Sequence
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor, nn

from colourgan.distances.networks import (
    FEATURE_ENCODER,
    INCEPTION_FEATURES,
    Pictures,
    imagenet_labels,
    library,
    perceptual,
    repeatable,
)
from colourgan.errors import UsageError
from colourgan.metrics import check_sides
from colourgan.registry import Registry

__all__ = [
    "DISTANCES", "FEATURE_ENCODER", "INCEPTION_FEATURES", "Pictures", "check_distances",
    "compare", "distances_of", "frechet", "frechet_distance", "imagenet_labels",
]  # fmt: skip

DISTANCES = Registry("distance")

_LPIPS_SIDE = 31  # pixels: AlexNet halves smaller pictures away
_KID_SUBSET = 1000  # images, 100 times: as torch-fidelity and torchmetrics have it


@DISTANCES.register("frechet")
def _frechet(pred: Pictures, target: Pictures) -> float:
    """Fréchet distance in the features of an encoder of your choice; 0 is equal."""
    return frechet(pred.features, target.features)


@DISTANCES.register("fid")
def _fid(pred: Pictures, target: Pictures) -> float:
    """Fréchet inception distance (FID): the same in the features of Inception-v3; 0 is equal.

    Weights and resizing are torch-fidelity's, which are those of the original. Source: Heusel et
    al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", 2017.
    """
    return frechet(pred.inception, target.inception)


@DISTANCES.register("kid")
def _kid(pred: Pictures, target: Pictures) -> float:
    """Kernel inception distance (KID), in the same features; about 0 is equal.

    The mean over 100 random subsets of 1,000 images, the same at every call; up to 1,000 images are
    one set. Raises UsageError for fewer than 2. Source: Bińkowski et al., "Demystifying
    MMD GANs", 2018.
    """
    module = library("torchmetrics.image.kid", "kid needs")
    images = _at_least_two(len(pred.inception), len(target.inception))
    subsets = 1 if images <= _KID_SUBSET else 100
    with repeatable(), catch_warnings():
        simplefilter("ignore")  # that the features are kept in memory
        kid = module.KernelInceptionDistance(nn.Identity(), subsets, min(images, _KID_SUBSET))
        kid.update(target.inception, real=True)
        kid.update(pred.inception, real=False)
        return kid.compute()[0].item()


@DISTANCES.register("lpips")
@torch.inference_mode()
def _lpips(pred: Pictures, target: Pictures) -> Tensor:
    """Learned perceptual image patch similarity (LPIPS), one value an image; 0 is equal.

    Of AlexNet, version 0.1. Raises UsageError if a side is under 31 pixels. Source: Zhang et al.,
    "The unreasonable effectiveness of deep features as a perceptual metric", 2018.
    """
    check_sides(pred.rgb, _LPIPS_SIDE, "lpips")
    lpips = perceptual().to(pred.device)
    for pair in zip(pred.batches("lpips"), target.batches(), strict=True):
        lpips.update(*pair)
    return lpips.compute().cpu().double()


@DISTANCES.register("accuracy")
def _accuracy(pred: Pictures, target: Pictures) -> Tensor:
    """Share of pictures that an ImageNet classifier recognizes, where their classes are known.

    1 or 0 an image, by efficientnet_lite0, which chooses among the classes of the target's images;
    pictures under 192 pixels are enlarged to that. Raises UsageError if the target has no labels.
    Source: Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016, section 3.1: a test of
    realism.
    """
    if target.labels is None:
        raise UsageError(
            "accuracy needs images in folders named by ImageNet's classes, such as n01440764/"
        )
    classes = target.labels.unique()
    return (classes[pred.class_scores[:, classes].argmax(1)] == target.labels).double()


def frechet_distance(
    pred_rgb: Tensor,
    true_rgb: Tensor,
    encoder: str,
    device: str = "cpu",
    batch_size: int = 64,
    stage: int = -1,
) -> float:
    """The Fréchet distance of two sets of pictures in the features of an encoder; see `frechet`.

    pred_rgb, true_rgb: (N, 3, H, W) and (M, 3, H, W), uint8 0..255 or float in [0, 1]; encoder:
    ARCH[@WEIGHTS], and stage, as for Pictures; weights of @none are the same ones at every call.
    It is no FID: numbers of different encoders, or of another sort of pictures, have nothing in
    common. Raises UsageError for encoders and stages that are not there and fewer than 2 pictures,
    RunError if weights cannot be had.
    """
    sets = (Pictures(rgb, encoder, device, batch_size, stage) for rgb in (pred_rgb, true_rgb))
    return frechet(*(pictures.features for pictures in sets))


def frechet(pred: Tensor, true: Tensor) -> float:
    """The squared Fréchet distance of the Gaussians fitted to two sets of features; 0 is equal.

    pred, true: (N, C) and (M, C). ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2(Σ₁Σ₂)^½). It comes out larger the
    fewer pictures there are: compare numbers of equally many pictures only. Up to C pictures give
    singular covariances, for which it is still defined, but then far from its value for many.
    Raises UsageError for fewer than 2 pictures. Source: Dowson and Landau, "The Fréchet distance
    between multivariate normal distributions", J. Multivariate Analysis 12(3), 1982.
    """
    _at_least_two(len(pred), len(true))
    gap = (pred.double().mean(0) - true.double().mean(0)).square().sum()
    centred = ((each.double() - each.double().mean(0)) for each in (pred, true))
    one, other = (torch.linalg.qr(c / (len(c) - 1) ** 0.5, mode="r").R for c in centred)
    # With Σ = RᵀR the trace of the root of Σ₁Σ₂ is the sum of the singular values of R₁R₂ᵀ: exact
    # for singular covariances, too, where a matrix square root is not.
    overlap = torch.linalg.svdvals(one @ other.T).sum()
    return max(0.0, (gap + one.square().sum() + other.square().sum() - 2 * overlap).item())


def distances_of(
    names: Sequence[str],
    pred_rgb: Tensor,
    true_rgb: Tensor,
    feature_encoder: str = FEATURE_ENCODER,
    device: str = "cpu",
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """What DISTANCES of these names give: numbers of the whole set, and values (N,) an image.

    pred_rgb, true_rgb: (N, 3, H, W), uint8 0..255 or float in [0, 1]. A distance of single images,
    lpips, is among the numbers by its mean. feature_encoder: ARCH[@WEIGHTS], for frechet.
    Raises UsageError for unknown names, missing packages and pictures too small or too few,
    RunError if weights cannot be had, ValueError if the shapes differ.
    """
    sets = (Pictures(rgb, feature_encoder, device) for rgb in (pred_rgb, true_rgb))
    return compare(names, *sets)


def compare(
    names: Sequence[str], pred: Pictures, target: Pictures
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """As `distances_of`; the target's features can be used again for another prediction."""
    if pred.rgb.shape != target.rgb.shape:
        shapes = f"{tuple(pred.rgb.shape)} and {tuple(target.rgb.shape)}"
        raise ValueError(f"pred and target differ in shape: {shapes}")
    found = {name: DISTANCES[name](pred, target) for name in names}
    values = {name: each for name, each in found.items() if isinstance(each, Tensor)}
    means = {name: each.mean().item() for name, each in values.items()}
    return {name: means.get(name, each) for name, each in found.items()}, values


def check_distances(
    names: Sequence[str], feature_encoder: str = FEATURE_ENCODER, size: int = 64
) -> None:
    """Raises what `distances_of` would for pictures of size×size pixels, but within seconds.

    They are tried on two small sets, so weights that are missing are downloaded.
    """
    for name, count in Counter(names).items():
        DISTANCES[name]
        if count > 1:
            raise UsageError(f"the distance '{name}' is named {count} times")
    rgb = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(2, dtype=torch.long)
    target = Pictures(rgb.flip(0), feature_encoder, labels=labels)
    compare(names, Pictures(rgb, feature_encoder), target)


def _at_least_two(*counts: int) -> int:
    """The smallest count; UsageError if it is under 2."""
    if min(counts) < 2:
        raise UsageError(f"a distance of sets needs at least 2 images in each, got {min(counts)}")
    return min(counts)
