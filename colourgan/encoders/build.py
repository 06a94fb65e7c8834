"""ARCH[@WEIGHTS] → the stages of a pretrained encoder that reads lightness instead of RGB."""

import hashlib
import logging
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from colourgan.color import lightness_to_grey
from colourgan.download import download
from colourgan.encoders.architectures import ENCODERS, IMAGENET, Architecture
from colourgan.encoders.weights import read_weights
from colourgan.errors import RunError, UsageError
from colourgan.files import file_hash

PACKAGED = {"resnet20": "resnet20-cifar10.safetensors"}


class Encoder(NamedTuple):
    """stages: L (N, 1, H, W) in network units → features, one module after the other;
    origin: {"arch", "weights", "sha256"}: where the weights are from, without any path.
    """

    stages: nn.Sequential
    origin: dict


class GreyInput(nn.Module):
    """Network-scaled L as the grey value that a pretrained encoder saw, with mean 0 and std 1.

    mean, std: the encoder's own RGB statistics, averaged over the channels: zero padding then stands
    for mean grey, as it did in the original.
    """

    def __init__(self, mean: float, std: float):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, L: Tensor) -> Tensor:
        return (lightness_to_grey(L) - self.mean) / self.std


def build_encoder(spec: str, pretrained: bool = True) -> Encoder:
    """The encoder written `spec`, as stages that take L.

    spec: ARCH (its published weights), ARCH@none (random), ARCH@packaged, ARCH@FILE; ARCH is a name
    of ENCODERS or timm:NAME. pretrained=False builds the same stages without weights, for a model
    file that brings its own. On grey pictures the stages compute what the original encoder computes,
    but for the border pixels that zero padding reaches.
    Raises UsageError for unknown names and unfit backbones, RunError for weights that cannot be had.
    """
    arch, _, weights = spec.partition("@")
    weights = (weights or "published") if pretrained else "none"
    if arch.startswith("timm:"):
        stages, origin, mean, std = _timm(arch.removeprefix("timm:"), weights)
    else:
        kind = ENCODERS[arch]()
        stages, origin = _registered(arch, kind, weights)
        mean, std = kind.mean, kind.std
    stages = without_closing_expansion(flat(stages))
    _fold(stages, mean, std, arch)
    return Encoder(stages, {"arch": arch, **origin})


def _registered(arch: str, kind: Architecture, weights: str) -> tuple[list[nn.Module], dict]:
    if weights == "none":
        return kind.stages(kind.build(kind.classes)), {"weights": "none", "sha256": None}
    path = _weights_file(arch, kind, weights)
    classifier, _ = load_classifier(arch, kind, path)
    origin = weights if weights in ("published", "packaged") else Path(weights).name
    return kind.stages(classifier), {"weights": origin, "sha256": file_hash(path)}


def _weights_file(arch: str, kind: Architecture, weights: str) -> Path:
    if weights == "packaged":
        if arch not in PACKAGED:
            raise UsageError(f"{arch} has no packaged weights: only {', '.join(PACKAGED)} has")
        return Path(str(files("colourgan") / "weights" / PACKAGED[arch]))
    if weights != "published":
        return Path(weights)
    name = kind.url.rsplit("/", 1)[1]
    digits = name.rsplit("-", 1)[1].split(".")[0]
    try:
        target = Path(torch.hub.get_dir()) / "checkpoints" / name
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
        state = {
            **{k: v for k, v in model.state_dict().items() if k.startswith(kind.head)},
            **state,
        }
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise RunError(f"the weights in {path} are not those of {arch}: {reason[:200]}") from error
    return model, classes


def _timm(name: str, weights: str) -> tuple[list[nn.Module], dict, tuple, tuple]:
    import timm

    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        near = get_close_matches(name, timm.list_models(), n=1)
        hint = f": did you mean 'timm:{near[0]}'?" if near else ""
        raise UsageError(f"timm has no backbone '{name}'{hint} (timm.list_models() names all)")
    model = _timm_model(name, weights)
    config = model.pretrained_cfg
    mean, std = config.get("mean") or IMAGENET[0], config.get("std") or IMAGENET[1]
    hashed = file_hash(weights) if Path(weights).is_file() else None
    source = Path(weights).name if hashed else weights
    origin = {"weights": source, "sha256": hashed or _tensor_hash(model, weights)}
    stages = _in_order(name, model)
    return stages, origin, mean, std


def _timm_model(name: str, weights: str) -> nn.Module:
    import timm

    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # the error below says it all
    overlay = None
    if weights not in ("none", "published"):
        if not Path(weights).is_file():
            raise UsageError(f"no encoder weights at {weights}")
        read_weights(Path(weights))  # says in one line what is wrong with a broken file
        overlay = {"file": weights}
    config = timm.get_pretrained_cfg(name)
    source = config and (config.hf_hub_id or config.url)
    if weights == "published" and not source:
        raise RunError(f"timm publishes no weights for {name}: use timm:{name}@FILE or @none")
    try:
        return timm.create_model(
            name,
            features_only=True,
            pretrained=weights != "none",
            pretrained_cfg_overlay=overlay,
        )
    except Exception as error:  # plain transformers, hub and network errors of many libraries
        if weights == "published":
            place = config.url or f"https://huggingface.co/{config.hf_hub_id}"
            raise RunError(
                f"could not get the weights of timm:{name} from {place} ({type(error).__name__}): "
                f"try again later, or use timm:{name}@FILE or timm:{name}@none (random)"
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"timm:{name} does not fit as an encoder: {reason[:200]}") from error


def _in_order(name: str, model: nn.Module) -> list[nn.Module]:
    """A timm backbone's stages; UsageError unless running them gives the model's last feature."""
    model.eval()
    stages = flat(model.children())
    x = image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    joined: list[nn.Module] = []
    try:
        with torch.inference_mode():
            wanted = model(image)[-1]
            for stage in stages:
                inside = _channels_last(x)
                x = stage(x)
                joined.append(nn.Sequential(joined.pop(), stage) if inside else stage)
        fits = x.shape == wanted.shape and torch.allclose(x, wanted, atol=1e-4)
    except (RuntimeError, AssertionError, AttributeError, TypeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"timm:{name} does not fit as an encoder: {reason[:200]}") from error
    if not fits:
        raise UsageError(f"timm:{name} does not fit as an encoder: its stages do not run in order")
    return joined


def _channels_last(x: Tensor) -> bool:
    """Whether a feature of a square image is (N, H, W, C), as inside some transformers."""
    return x.ndim == 4 and x.shape[1] == x.shape[2] != x.shape[3]


def flat(modules) -> list[nn.Module]:
    """Modules in order, plain nn.Sequential ones replaced by what they hold."""
    found: list[nn.Module] = []
    for module in modules:
        found += flat(module.children()) if type(module) is nn.Sequential else [module]
    return found


def without_closing_expansion(stages: list[nn.Module]) -> nn.Sequential:
    """The stages without closing 1×1 convolutions that only widen for a classifier.

    They would make the decoder many times larger than the encoder: mobilenet_v2's takes the U-Net
    from 7.8 M to 79.7 M parameters.
    """
    stages = list(stages)
    while len(stages) > 1 and _only_widens(stages[-1]):
        stages.pop()
    return nn.Sequential(*stages)


def _only_widens(stage: nn.Module) -> bool:
    convolutions = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
    return len(convolutions) == 1 and (
        convolutions[0].kernel_size == (1, 1)
        and convolutions[0].stride == (1, 1)
        and convolutions[0].out_channels >= 2 * convolutions[0].in_channels
    )


def _fold(stages: nn.Sequential, mean, std, arch: str) -> None:
    """Puts the RGB normalisation into the first convolution, which then reads one grey channel.

    For R = G = B = g and x = (g - m) / s, with m, s the channels' mean statistics, a kernel's
    response is x ⋆ Σ w_c s / std_c + Σ w_c (m - mean_c) / std_c: exact wherever no padding is seen.
    """
    first = [m for m in stages.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3]
    m, s = sum(mean) / 3, sum(std) / 3
    grey_input = GreyInput(m, s)
    L = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rgb = (lightness_to_grey(L) - _column(mean)) / _column(std)
    fits = bool(first)
    for convolution in first:
        wanted = _inner_response(convolution, rgb)
        _fold_one(convolution, torch.tensor(mean), torch.tensor(std), m, s)
        got = _inner_response(convolution, grey_input(L))
        fits &= torch.allclose(got, wanted, rtol=1e-4, atol=1e-4)
    if not fits:  # such as a convolution that standardises its weights as it runs
        raise UsageError(
            f"{arch} does not fit as an encoder: its first layer cannot read one channel"
        )
    stages[0] = nn.Sequential(grey_input, stages[0])


@torch.no_grad()
def _fold_one(convolution: nn.Conv2d, mean: Tensor, std: Tensor, m: float, s: float) -> None:
    weight = convolution.weight / std[:, None, None]
    shift = (weight * (m - mean)[:, None, None]).sum((1, 2, 3))
    bias = shift if convolution.bias is None else shift + convolution.bias
    convolution.weight = nn.Parameter(weight.sum(1, keepdim=True) * s)
    convolution.bias = nn.Parameter(bias)
    convolution.in_channels = 1


@torch.no_grad()
def _inner_response(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution's output away from the border, where padding shows."""
    out = convolution(x)
    edge = out.shape[-1] // 4
    return out[..., edge:-edge, edge:-edge]


def _column(values) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _tensor_hash(model: nn.Module, weights: str) -> str | None:
    """SHA-256 over a model's tensors, for weights that did not come as one file."""
    if weights == "none":
        return None
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()
