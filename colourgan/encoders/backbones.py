"""timm's backbones as encoders: those whose stages simply follow one another."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from colourgan.encoders.architectures import IMAGENET
from colourgan.encoders.stages import flat
from colourgan.encoders.weights import first_line, read_weights
from colourgan.errors import RunError, UsageError
from colourgan.files import file_hash


class Backbone(NamedTuple):
    """stages: in order, of (N, 3, H, W) RGB that is normalised by mean and std;
    origin: {"weights", "sha256"}.
    """

    stages: list[nn.Module]
    origin: dict
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def timm_backbone(name: str, weights: str) -> Backbone:
    """The backbone that timm calls `name`; weights: "published", "none" or a file.

    Raises UsageError for an unknown name, or a backbone whose stages do not run in order to its
    last feature; RunError for weights that cannot be had or are another network's.
    """
    published = _published_at(name)
    if weights == "none":
        model, origin = _created(name), {"weights": "none", "sha256": None}
    elif weights == "published":
        model = _with_published_weights(name, published)
        origin = {"weights": "published", "sha256": _tensor_hash(model)}
    else:
        path = Path(weights).expanduser()
        model = _with_weights_of(path, name)
        origin = {"weights": path.name, "sha256": file_hash(path)}
    config = model.pretrained_cfg
    mean, std = config.get("mean") or IMAGENET[0], config.get("std") or IMAGENET[1]
    return Backbone(_in_order(name, model), origin, mean, std)


def check_name(name: str) -> None:
    """Raises UsageError for a backbone that timm does not have."""
    import timm

    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        near = get_close_matches(name, timm.list_models(), n=1)
        hint = f": did you mean 'timm:{near[0]}'?" if near else ""
        raise UsageError(f"timm has no backbone '{name}'{hint} (timm.list_models() names all)")


def _published_at(name: str) -> str | None:
    """Where timm gets a backbone's weights, None if nowhere; UsageError for an unknown name."""
    import timm

    check_name(name)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the backbone is there, but not its weights after the dot
        choices = timm.list_models(name.split(".", maxsplit=1)[0] + ".*", pretrained=True)
        raise UsageError(f"timm has no weights '{name}': choices: {', '.join(choices)}") from error
    if config and config.hf_hub_id:
        return f"https://huggingface.co/{config.hf_hub_id}"
    return (config and config.url) or None


def _created(name: str, **options) -> nn.Module:
    import timm

    try:
        with _quiet():
            return timm.create_model(name, features_only=True, **options)
    except Exception as error:  # many backbones cannot do this, each says so in its own way
        raise UsageError(f"timm:{name} does not fit as an encoder: {first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of timm that a classifier is left out, and of its hub before errors."""
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _with_published_weights(name: str, place: str | None) -> nn.Module:
    import timm

    if not place:
        raise RunError(f"timm publishes no weights for {name}: use timm:{name}@FILE or @none")
    try:
        with _quiet():
            return timm.create_model(name, features_only=True, pretrained=True)
    except Exception as error:  # of the hub, of the network, of many libraries
        _created(name)  # if it is the backbone that does not fit, this says so
        raise RunError(
            f"could not get the weights of timm:{name} from {place} ({type(error).__name__}): "
            f"try again later, or use timm:{name}@FILE or timm:{name}@none (random)"
        ) from error


def _with_weights_of(path: Path, name: str) -> nn.Module:
    """The backbone with a file's weights, and no random ones among them."""
    state = read_weights(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random = _created(name)
        torch.manual_seed(0)
        try:
            model = _created(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
        except UsageError as error:
            reason = first_line(error.__cause__)
            raise RunError(f"{path} holds no weights of timm:{name}: {reason}") from error
    left = _alike(random, model)
    if left:  # timm loads what has the right name and leaves the rest as it is
        raise RunError(f"{path} holds no weights of timm:{name}: there is no {left[0]}")
    return model


def _alike(one: nn.Module, other: nn.Module) -> list[str]:
    """Names of the kernels, random at first, that two networks share."""
    pairs = zip(one.named_parameters(), other.parameters(), strict=True)
    return [name for (name, a), b in pairs if a.ndim > 1 and a.std() > 0 and torch.equal(a, b)]


def _in_order(name: str, model: nn.Module) -> list[nn.Module]:
    """A backbone's stages; UsageError unless running them gives the model's last feature."""
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
    except (RuntimeError, AssertionError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"timm:{name} does not fit as an encoder: {first_line(error)}") from error
    if not fits:
        raise UsageError(f"timm:{name} does not fit as an encoder: its stages do not run in order")
    return joined


def _channels_last(x: Tensor) -> bool:
    """Whether a feature of a square image is (N, H, W, C), as inside some transformers."""
    return x.ndim == 4 and x.shape[1] == x.shape[2] != x.shape[3]


def _tensor_hash(model: nn.Module) -> str:
    """SHA-256 over a model's tensors, for weights that did not come as one file."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()
