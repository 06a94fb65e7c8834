"""ARCH[@WEIGHTS] → the stages of a pretrained encoder that reads lightness instead of RGB."""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from colourgan.download import download
from colourgan.encoders.architectures import ENCODERS, Architecture
from colourgan.encoders.backbones import check_name, timm_backbone
from colourgan.encoders.stages import flat, reading_lightness, without_closing_expansion
from colourgan.encoders.weights import check_file, read_weights
from colourgan.errors import RunError, UsageError
from colourgan.files import file_hash

PACKAGED = {"resnet20": "resnet20-cifar10.safetensors"}


class Encoder(NamedTuple):
    """stages: L (N, 1, H, W) in network units → features, one module after the other;
    origin: {"arch", "weights", "sha256"}: where the weights are from, without any path.
    """

    stages: nn.Sequential
    origin: dict


def build_encoder(spec: str, pretrained: bool = True, lightness: str = "folded") -> Encoder:
    """The encoder written `spec`, as stages that take L.

    spec: ARCH (its published weights), ARCH@none (random), ARCH@packaged, ARCH@FILE; ARCH is a name
    of ENCODERS or timm:NAME. pretrained=False builds the same stages without weights, for a model
    file that brings its own. lightness: how they read L, see `reading_lightness`. On grey pictures
    folded and replicated stages compute what the original encoder computes, folded ones but for the
    border pixels that zero padding reaches.
    Raises UsageError for unknown names and unfit backbones, RunError if weights cannot be had.
    """
    if pretrained:
        check_encoder(spec)
    arch, _, weights = spec.partition("@")
    weights = (weights or "published") if pretrained else "none"
    if arch.startswith("timm:"):
        stages, origin, mean, std = timm_backbone(arch.removeprefix("timm:"), weights)
    else:
        kind = ENCODERS[arch]()
        stages, origin = _registered(arch, kind, weights)
        mean, std = kind.mean, kind.std
    stages = without_closing_expansion(stages)
    stages = reading_lightness(stages, mean, std, arch, lightness)
    return Encoder(stages, {"arch": arch, **origin})


def check_encoder(spec: str) -> None:
    """Raises UsageError for a name that `build_encoder` does not know or a file that is not there.

    Nothing is built, and no weights are looked for elsewhere.
    """
    arch, at, weights = spec.partition("@")
    if at and not weights:  # such as an unset variable of a shell
        raise UsageError(f"nothing follows the @ of '{spec}': a file, none or packaged")
    if arch.startswith("timm:"):
        check_name(arch.removeprefix("timm:"))
    else:
        ENCODERS[arch]
        if weights == "packaged":
            _packaged(arch)
    if weights not in ("", "none", "packaged", "published"):
        check_file(Path(weights).expanduser())


def _registered(arch: str, kind: Architecture, weights: str) -> tuple[list[nn.Module], dict]:
    if weights == "none":
        return flat(kind.stages(kind.build(kind.classes))), {"weights": "none", "sha256": None}
    path = weights_file(arch, kind, weights)
    classifier, _ = load_classifier(arch, kind, path)
    origin = weights if weights in ("published", "packaged") else path.name
    return flat(kind.stages(classifier)), {"weights": origin, "sha256": file_hash(path)}


def weights_file(arch: str, kind: Architecture, weights: str) -> Path:
    if weights == "published":
        return _published(arch, kind)
    if weights != "packaged":
        return Path(weights).expanduser()
    return _packaged(arch)


def _packaged(arch: str) -> Path:
    if arch not in PACKAGED:
        raise UsageError(f"{arch} has no packaged weights: only {', '.join(PACKAGED)} has")
    return Path(str(files("colourgan") / "weights" / PACKAGED[arch]))


def _published(arch: str, kind: Architecture) -> Path:
    """The file of the published weights, downloaded once to where torch.hub keeps such files."""
    name = kind.url.rsplit("/", 1)[1]
    digits = name.rsplit("-", 1)[1].split(".")[0]
    target = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        return download(kind.url, target, f"sha256:{digits}")
    except RunError as error:
        packaged = f", {arch}@packaged (comes with colourgan)" if arch in PACKAGED else ""
        raise RunError(
            f"{error}; or use {arch}@FILE (your own weights){packaged} or {arch}@none (random)"
        ) from error


def load_classifier(arch: str, kind: Architecture, path: Path) -> tuple[nn.Module, int]:
    """The whole classifier with the weights of a file, and the number of its classes.

    Raises RunError if the file's tensors are not those of this architecture.
    """
    state = read_weights(path)
    outputs = [v.shape[0] for k, v in state.items() if k.startswith(kind.head) and v.ndim == 2]
    classes = outputs[-1] if outputs else kind.classes
    model = kind.build(classes)
    if not outputs:  # a body alone will do for an encoder
        head = {k: v for k, v in model.state_dict().items() if k.startswith(kind.head)}
        state = head | state
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise RunError(f"the weights in {path} are not those of {arch}: {reason[:200]}") from error
    return model, classes


def build_classifier(spec: str, classes: int) -> nn.Module:
    """A classifier of RGB images to train: random for ARCH, from ARCH@WEIGHTS but for its head.

    spec: as for `build_encoder`, of a name of ENCODERS; published weights are ARCH@published here.
    Raises UsageError and RunError as `build_encoder` does.
    """
    arch, _, weights = spec.partition("@")
    kind = ENCODERS[arch]()
    model = kind.build(classes)
    if weights not in ("", "none"):
        donor, _ = load_classifier(arch, kind, weights_file(arch, kind, weights))
        body = {k: v for k, v in donor.state_dict().items() if not k.startswith(kind.head)}
        model.load_state_dict(body, strict=False)
    return model
