"""The networks that distances look through: where their packages and weights come from."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import AlexNet_Weights

from colourgan.download import download
from colourgan.encoders import ENCODERS, check_encoder, load_classifier
from colourgan.encoders.backbones import timm_backbone
from colourgan.encoders.build import weights_file
from colourgan.encoders.stages import flat
from colourgan.errors import RunError, UsageError

INCEPTION_FEATURES = 2048


class Weights(NamedTuple):
    """Where a network's weights come from; checksum: as `download` wants it."""

    url: str
    checksum: str


INCEPTION = Weights(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "sha256:6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
ALEXNET = Weights(AlexNet_Weights.DEFAULT.url, "sha256:7be5be79")


class _Normalized(nn.Module):
    """RGB in [0, 1] with mean 0 and std 1, as an encoder was trained on it."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, rgb: Tensor) -> Tensor:
        return (rgb - self.mean) / self.std


def rgb_encoder(spec: str, stage: int) -> nn.Sequential:
    """RGB (N, 3, H, W) in [0, 1] → the feature map of an encoder's stage; in evaluation mode."""
    check_encoder(spec)
    arch, _, weights = spec.partition("@")
    with repeatable():
        if arch.startswith("timm:"):
            name = arch.removeprefix("timm:")
            stages, _, mean, std = timm_backbone(name, weights or "published")
        else:
            stages, mean, std = _registered(arch, weights or "published")
    if not -len(stages) <= stage < len(stages):
        raise UsageError(f"{spec} has no stage {stage}: it has {len(stages)}, from 0")
    last = range(len(stages))[stage]
    return nn.Sequential(_Normalized(mean, std), *stages[: last + 1]).eval()


def _registered(arch: str, weights: str) -> tuple[list[nn.Module], tuple, tuple]:
    kind = ENCODERS[arch]()
    if weights == "none":
        classifier = kind.build(kind.classes)
    else:
        classifier, _ = load_classifier(arch, kind, weights_file(arch, kind, weights))
    return flat(kind.stages(classifier)), kind.mean, kind.std


@contextmanager
def repeatable() -> Iterator[None]:
    """The same random numbers every time, and those of the caller as if nothing had happened."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def library(module: str, needs: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".", maxsplit=1)[0].replace("_", "-")
        raise UsageError(
            f"{needs} the package {package}: pip install 'colourgan[quality]'"
        ) from error


def _weights_file(weights: Weights, whose: str) -> Path:
    """Downloaded once to where torch.hub keeps such files."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[1]
    try:
        return download(weights.url, path, weights.checksum)
    except RunError as error:
        raise RunError(f"no weights of {whose}: {error}") from error


def inception() -> nn.Module:
    """uint8 RGB (N, 3, H, W) → a tuple of features (N, 2048); torch-fidelity's, as is its resizing.

    Raises UsageError without torch-fidelity, RunError if the weights cannot be had.
    """
    module = library("torch_fidelity", "fid and kid need")
    path = _weights_file(INCEPTION, "Inception-v3, which fid and kid need")
    with repeatable():
        return module.FeatureExtractorInceptionV3(
            "inception-v3-compat", [str(INCEPTION_FEATURES)], str(path)
        )


def perceptual() -> nn.Module:
    """torchmetrics' LPIPS of AlexNet, which takes RGB in [0, 1] and gives one value an image.

    Raises UsageError without torchmetrics, RunError if the weights cannot be had.
    """
    module = library("torchmetrics.image.lpip", "lpips needs")
    _weights_file(ALEXNET, "AlexNet, which lpips needs")  # torchvision looks for them there
    with repeatable():
        return module.LearnedPerceptualImagePatchSimilarity("alex", "none", normalize=True)
