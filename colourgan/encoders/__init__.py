"""Encoders: pretrained bodies as stages that read lightness, written ARCH[@WEIGHTS]."""

from colourgan.encoders.architectures import ENCODERS, Architecture
from colourgan.encoders.build import Encoder, build_classifier, build_encoder, load_classifier
from colourgan.encoders.weights import read_weights, save_weights

__all__ = [
    "ENCODERS",
    "Architecture",
    "Encoder",
    "build_classifier",
    "build_encoder",
    "load_classifier",
    "read_weights",
    "save_weights",
]
