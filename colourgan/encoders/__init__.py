"""Encoders: pretrained bodies as stages that read lightness, written ARCH[@WEIGHTS]."""

from colourgan.encoders.architectures import ENCODERS, Architecture
from colourgan.encoders.build import (
    Encoder,
    build_classifier,
    build_encoder,
    check_encoder,
    load_classifier,
    rgb_classifier,
    rgb_stages,
)
from colourgan.encoders.stages import LIGHTNESS, up_to_resolution
from colourgan.encoders.weights import read_weights, save_weights

__all__ = [
    "ENCODERS", "LIGHTNESS", "Architecture", "Encoder", "build_classifier", "build_encoder",
    "check_encoder", "load_classifier", "read_weights", "rgb_classifier", "rgb_stages",
    "save_weights", "up_to_resolution",
]  # fmt: skip
