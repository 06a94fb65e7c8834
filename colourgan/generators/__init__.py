"""Generators: L → ab. fastai's DynamicUnet around any encoder, and the U-Net of pix2pix."""

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
from colourgan.generators.pix2pix import Pix2PixUnet, pix2pix_unet

__all__ = [
    "FORMAT_VERSION", "GENERATORS", "SMALLEST", "BoundedAb", "ColorClasses", "ColorUnet",
    "Pix2PixUnet", "described", "dynamic_unet", "pix2pix_unet", "predict_at", "sampling",
    "set_decoding", "splitter",
]  # fmt: skip
