"""Inception-v3 and AlexNet as distances need them: the real format, but weights of one's own."""

from pathlib import Path

import torch
from tiny_encoders import sha256
from torch_fidelity import FeatureExtractorInceptionV3, feature_extractor_inceptionv3
from torchvision.models import alexnet

from colourgan.distances import networks
from colourgan.distances.networks import Weights


def make_inception(monkeypatch, home: Path) -> Path:
    """The file of Inception-v3 where torch.hub looks for it, and its checksum where it is asked."""
    with monkeypatch.context() as patch:
        patch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(1)
        state = FeatureExtractorInceptionV3("any", ["2048"]).state_dict()
    for kernel in state.values():
        if kernel.ndim == 4:
            kernel *= 2.4  # or too little of a picture is left after 20 layers
    path = save(state, home, networks.INCEPTION.url)
    monkeypatch.setattr(networks, "INCEPTION", known(networks.INCEPTION.url, path))
    return path


def make_alexnet(monkeypatch, home: Path) -> Path:
    """The same of AlexNet; of its classifier, which is not used, only the shapes are there."""
    torch.manual_seed(1)
    state = alexnet().state_dict()
    for name, tensor in state.items():
        if name.startswith("classifier"):
            state[name] = torch.zeros(1).expand(tensor.shape)
    path = save(state, home, networks.ALEXNET.url)
    monkeypatch.setattr(networks, "ALEXNET", known(networks.ALEXNET.url, path))
    return path


def save(state: dict, home: Path, url: str) -> Path:
    path = home / "hub" / "checkpoints" / url.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def known(url: str, path: Path) -> Weights:
    return Weights(url, f"sha256:{sha256(path)}")
