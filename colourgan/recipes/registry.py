"""RECIPES: name → a published experiment as one function of an Experiment and its settings."""

from colourgan.registry import Registry

RECIPES = Registry("recipe")
