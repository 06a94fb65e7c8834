"""Networks to take encoders from, and what is said of encoders that cannot be had."""

import hashlib
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from colourgan.encoders import ENCODERS, build_encoder

TIMM = "mobilenetv3_small_050"


def lively(model):
    """A network whose batch norms do something: fresh ones multiply by 1 and add 0."""
    random = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.1)
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
    return model.eval()


def make_classifiers(folder: Path) -> dict[str, tuple[nn.Module, Path]]:
    """name → a whole network of random weights, and a file of them."""
    torch.manual_seed(0)
    found = {}
    for name in ("resnet20", "resnet18", "mobilenet_v2"):
        found[name] = lively(ENCODERS[name]().build(10)), folder / f"{name}.pt"
    found[f"timm:{TIMM}"] = lively(timm.create_model(TIMM)), folder / f"{TIMM}.pt"
    for model, path in found.values():
        torch.save(model.state_dict(), path)
    return found


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def refused(error, spec):
    with pytest.raises(error) as caught:
        build_encoder(spec)
    return one_line(caught)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same_weights(encoder, classifier):
    """Whether all stages but the folded first one hold the classifier's tensors."""
    own = list(encoder.stages[1:].state_dict().values())
    wanted = list(classifier[1:6].state_dict().values())
    return len(own) == len(wanted) and all(map(torch.equal, own, wanted))
