"""The networks that distances look through: where their packages and weights come from."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn
from torchvision.models import AlexNet_Weights

from colourgan.download import download
from colourgan.encoders import rgb_stages
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


def rgb_encoder(spec: str, stage: int) -> nn.Sequential:
    """RGB (N, 3, H, W) in [0, 1] → the feature map of an encoder's stage; in evaluation mode."""
    with repeatable():
        normalized, *stages = rgb_stages(spec)
    if not -len(stages) <= stage < len(stages):
        raise UsageError(f"{spec} has no stage {stage}: it has {len(stages)}, from 0")
    last = range(len(stages))[stage]
    return nn.Sequential(normalized, *stages[: last + 1]).eval()


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
