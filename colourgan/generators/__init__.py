"""Generators: L → ab. fastai's DynamicUnet around any encoder, and U-Nets without one.

base          what all share
dynamic_unet  DynamicUnet around an encoder
classes       color as classes
plain         what the following share, which start from random weights
pix2pix       halves down to one pixel
nazeri        halves four times
residual      halves four times, residual blocks on the way up
"""

from colourgan.generators.base import (
    FORMAT_VERSION,
    GENERATORS,
    SMALLEST,
    BoundedAb,
    described,
    predict_at,
    sampling,
    splitter,
)
from colourgan.generators.classes import ColorClasses, set_decoding
from colourgan.generators.dynamic_unet import ColorUnet, dynamic_unet
from colourgan.generators.nazeri import NazeriUnet, nazeri_unet
from colourgan.generators.pix2pix import Pix2PixUnet, pix2pix_unet
from colourgan.generators.residual import ResidualUnet, residual_unet

__all__ = [
    "FORMAT_VERSION", "GENERATORS", "SMALLEST", "BoundedAb", "ColorClasses", "ColorUnet",
    "NazeriUnet", "Pix2PixUnet", "ResidualUnet", "described", "dynamic_unet", "nazeri_unet",
    "pix2pix_unet", "predict_at", "residual_unet", "sampling", "set_decoding", "splitter",
]  # fmt: skip
