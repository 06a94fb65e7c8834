"""Generators that paint plainly, as torch modules and as ONNX files, and pictures for them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from colourgan.color import encode

AB = (0.1, 0.3)  # what a Painter paints: warm, and inside sRGB at middling lightness
SIZE = 16


class Painter(nn.Module):
    """The same ab for every pixel; remembers the L it was given."""

    def __init__(self, a: float = AB[0], b: float = AB[1]):
        super().__init__()
        self.ab = nn.Parameter(torch.tensor([a, b]).view(1, 2, 1, 1))
        self.dropout = nn.Dropout(0.9)
        self.seen = []

    def forward(self, L):
        self.seen.append(L)
        return self.dropout(self.ab.detach().expand(len(L), -1, *L.shape[2:]))


class Halves(nn.Module):
    """Red on the left, blue on the right."""

    def forward(self, L):
        ab = torch.zeros(len(L), 2, *L.shape[2:])
        ab[:, 0, :, : L.shape[3] // 2] = 0.3
        ab[:, 1, :, L.shape[3] // 2 :] = -0.3
        return ab


def painter_file(path: Path) -> Path:
    """An ONNX model that paints as Painter does."""
    from onnx import TensorProto, helper, numpy_helper, save

    def tensor(name: str, values: list, shape: tuple) -> TensorProto:
        return numpy_helper.from_array(np.array(values, np.float32).reshape(shape), name)

    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("L", 1), ("ab", 2))
    ]
    weights = [tensor("weight", [0, 0], (2, 1, 1, 1)), tensor("bias", AB, (2,))]
    node = helper.make_node("Conv", ["L", "weight", "bias"], ["ab"])
    graph = helper.make_graph([node], "painter", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    about = {"ab_scale": 110.0, "arguments": {"size": SIZE}, "decoding": None}
    helper.set_model_props(model, {"colourgan": json.dumps(about)})
    save(model, path)
    return path


def noise(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8, smooth; of middling lightness, so that colors fit into sRGB."""
    small = np.random.default_rng(seed).integers(60, 190, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def as_ab(image: Image.Image) -> torch.Tensor:
    """(1, 2, H, W), network-scaled."""
    return encode(torch.tensor(np.array(image.convert("RGB"))).permute(2, 0, 1)[None])[1]


def is_painted(image: Image.Image) -> bool:
    """Whether a grey picture of middling lightness has a Painter's colors."""
    return bool((as_ab(image).mean((0, 2, 3)) - torch.tensor(AB)).abs().max() < 0.02)


def process(*arguments: bytes | str, without: str = "torch", **options):
    """The command line in a process of its own, which cannot import what is `without`."""
    code = f"import sys; sys.modules.update(dict.fromkeys({without.split()!r}))"
    code += "\nfrom colourgan.cli import main\nmain()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, **options)
