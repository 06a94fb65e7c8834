"""timm's backbones as encoders: those whose stages run one after the other."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

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
    import timm

    check_name(name)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the backbone is there, but not its weights after the dot
        choices = timm.list_models(name.split(".", maxsplit=1)[0] + ".*", pretrained=True)
        raise UsageError(f"timm has no weights '{name}': choices: {', '.join(choices)}") from error
    if weights == "none":
        model, origin = _created(name), {"weights": "none", "sha256": None}
    elif weights == "published":
        place = config and config.url
        if config and config.hf_hub_id:
            place = f"https://huggingface.co/{config.hf_hub_id}"
        if not place:
            raise RunError(f"timm publishes no weights for {name}: use timm:{name}@FILE or @none")
        try:
            with _quiet():
                model = timm.create_model(name, features_only=True, pretrained=True)
        except Exception as error:  # of the hub, of the network, of many libraries
            _created(name)  # if it is the backbone that does not fit, this says so
            raise RunError(
                f"could not get the weights of timm:{name} from {place} ({type(error).__name__}): "
                f"try again later, or use timm:{name}@FILE or timm:{name}@none (random)"
            ) from error
        digest = hashlib.sha256()  # over the tensors, which did not come as one file
        for tensor, value in sorted(model.state_dict().items()):
            digest.update(tensor.encode() + value.numpy().tobytes())
        origin = {"weights": "published", "sha256": digest.hexdigest()}
    else:
        path = Path(weights).expanduser()
        state = read_weights(path)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            random = _created(name)
            torch.manual_seed(0)
            overlay = {"state_dict": state}
            try:
                model = _created(name, pretrained=True, pretrained_cfg_overlay=overlay)
            except UsageError as error:
                reason = first_line(error.__cause__)
                raise RunError(f"{path} holds no weights of timm:{name}: {reason}") from error
        # timm loads what has the right name and leaves the rest as it is: random kernels, too.
        for (kernel, a), b in zip(random.named_parameters(), model.parameters(), strict=True):
            if a.ndim > 1 and a.std() > 0 and torch.equal(a, b):
                raise RunError(f"{path} holds no weights of timm:{name}: there is no {kernel}")
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


def _created(name: str, **options) -> nn.Module:
    import timm

    try:
        with _quiet():
            return timm.create_model(name, features_only=True, **options)
    except Exception as error:  # many backbones cannot do this, each says so in its own way
        raise UsageError(f"timm:{name} does not fit as an encoder: {first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences timm's warnings that a classifier is left out, and its hub's before errors."""
    loggers = map(logging.getLogger, ("timm", "huggingface_hub"))
    levels = {logger: logger.level for logger in loggers}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


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
                # Between some transformers' stages a feature is (N, H, W, C), of a square image.
                inside = x.ndim == 4 and x.shape[1] == x.shape[2] != x.shape[3]
                x = stage(x)
                joined.append(nn.Sequential(joined.pop(), stage) if inside else stage)
        fits = x.shape == wanted.shape and torch.allclose(x, wanted, atol=1e-4)
    except (RuntimeError, AssertionError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"timm:{name} does not fit as an encoder: {first_line(error)}") from error
    if not fits:
        raise UsageError(f"timm:{name} does not fit as an encoder: its stages do not run in order")
    return joined
