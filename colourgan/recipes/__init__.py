"""Recipes: published experiments by name, each one function, its report and its verdicts.

sources     where each was published, and its settings with file and line
experiment  the decorator, what trained models measure, one command for all
figures     what several recipes draw
transfer    same-domain, cross-domain, adapt-encoder
pix2pix     unet-pix2pix-cyclegan, conditional-gan
stability   batch-vs-spectral, wasserstein
believable  nogan, colorful-classes
"""

# `list` shows this order
from colourgan.recipes import transfer, pix2pix, stability, believable  # noqa: F401, I001
from colourgan.recipes.experiment import RECIPES, reproduce, status_of

__all__ = ["RECIPES", "reproduce", "status_of"]
