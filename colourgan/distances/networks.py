"""A set of pictures, and what networks see in them: their packages and weights."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import AlexNet_Weights
from tqdm import tqdm

from colourgan.color import check_shape
from colourgan.download import download
from colourgan.encoders import rgb_classifier, rgb_stages
from colourgan.errors import RunError, UsageError

FEATURE_ENCODER = "efficientnet_lite0"
CLASSIFIER = "efficientnet_lite0"
INCEPTION_FEATURES = 2048
_CLASSIFIED = 192  # pixels: pictures with a shorter side are enlarged to be classified


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


class Pictures:
    """N pictures and their features in networks, computed when first asked for and then kept.

    rgb: (N, 3, H, W), uint8 0..255 or float in [0, 1]; encoder: ARCH[@WEIGHTS] as `build_encoder`
    takes it, but reading RGB; stage: which of its stages gives the features, -1 the last; labels:
    (N,) ImageNet classes, if they are known. Raises ValueError for another shape.
    """

    def __init__(
        self,
        rgb: Tensor,
        encoder: str = FEATURE_ENCODER,
        device: str = "cpu",
        batch_size: int = 64,
        stage: int = -1,
        progress: bool = False,
        labels: Tensor | None = None,
    ):
        check_shape(rgb, 3)
        self.rgb, self.encoder, self.stage = rgb, encoder, stage
        self.device, self.batch_size, self.progress = device, batch_size, progress
        self.labels = labels

    @cached_property
    def features(self) -> Tensor:
        """(N, C) float64 on the CPU: the encoder's features, averaged over height and width."""
        with repeatable():
            normalized, *stages = rgb_stages(self.encoder)
        count = len(stages)
        if not -count <= self.stage < count:
            raise UsageError(f"{self.encoder} has no stage {self.stage}: it has {count}, from 0")
        used = stages[: range(count)[self.stage] + 1]
        network = nn.Sequential(normalized, *used).eval().to(self.device)
        return self._seen(f"features of {self.encoder}", lambda rgb: network(rgb).mean((2, 3)))

    @cached_property
    def class_scores(self) -> Tensor:
        """(N, 1000) float64 on the CPU: CLASSIFIER's logits of ImageNet's classes."""
        network = rgb_classifier(CLASSIFIER).to(self.device)

        def classify(rgb: Tensor) -> Tensor:
            factor = _CLASSIFIED / min(rgb.shape[2:])
            size = [round(length * factor) for length in rgb.shape[2:]]
            return network(interpolate(rgb, size, mode="bilinear") if factor > 1 else rgb)

        return self._seen("classes", classify)

    @cached_property
    def inception(self) -> Tensor:
        """(N, 2048) float64 on the CPU: what FID and KID compare, of the pictures in 8 bits."""
        network = inception().to(self.device)

        def see(rgb: Tensor) -> Tensor:
            return network((rgb * 255).round().clamp(0, 255).to(torch.uint8))[0]

        return self._seen("features of Inception-v3", see)

    def batches(self, task: str = "") -> Iterator[Tensor]:
        """Float in [0, 1], on the device, behind a progress bar."""
        parts = self.rgb.split(self.batch_size)
        for part in tqdm(parts, task, unit="batch", leave=False, disable=not self.progress):
            part = part.to(self.device)
            yield part.float() if part.is_floating_point() else part / 255

    @torch.inference_mode()
    def _seen(self, task: str, network: Callable[[Tensor], Tensor]) -> Tensor:
        found = torch.cat([network(batch).cpu().double() for batch in self.batches(task)])
        if not found.isfinite().all():
            raise RunError(f"{task} are not finite: its weights are broken, or the pictures are")
        return found


def imagenet_labels(files: Sequence[Path]) -> Tensor | None:
    """(N,) int64: the ImageNet classes that files' folders are named by; None if any is not."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    names = {info.index_to_label_name(i): i for i in range(info.num_classes())}
    found = [names.get(file.parent.name) for file in files]
    return None if None in found else torch.tensor(found)


@contextmanager
def repeatable() -> Iterator[None]:
    """The same random numbers every time, and those of the caller as if nothing had happened."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def library(module: str, needs: str) -> ModuleType:
    """An optional module; `needs` begins the UsageError if its package is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".", maxsplit=1)[0].replace("_", "-")
        advice = "pip install 'colourgan[quality]'"
        raise UsageError(f"{needs} the package {package}: {advice}") from error


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
        features = [str(INCEPTION_FEATURES)]
        return module.FeatureExtractorInceptionV3("inception-v3-compat", features, str(path))


def perceptual() -> nn.Module:
    """torchmetrics' LPIPS of AlexNet, which takes RGB in [0, 1] and gives one value an image.

    Raises UsageError without torchmetrics, RunError if the weights cannot be had.
    """
    module = library("torchmetrics.image.lpip", "lpips needs")
    _weights_file(ALEXNET, "AlexNet, which lpips needs")  # torchvision looks for them there
    with repeatable():
        return module.LearnedPerceptualImagePatchSimilarity("alex", "none", normalize=True)
