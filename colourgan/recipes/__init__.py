"""Recipes: published experiments by name, each one function, its report and its verdicts.

registry    RECIPES
experiment  trainings for every seed, and what their models measure
figures     what several recipes draw
transfer    same-domain, cross-domain, adapt-encoder
pix2pix     unet-pix2pix-cyclegan, conditional-gan
stability   batch-vs-spectral, wasserstein
believable  nogan, colorful-classes
run         runs a recipe at a scale and writes its report
"""

# `list` shows this order
from colourgan.recipes import transfer, pix2pix, stability, believable  # noqa: F401, I001
from colourgan.recipes.registry import RECIPES
from colourgan.recipes.run import reproduce

__all__ = ["RECIPES", "reproduce"]
