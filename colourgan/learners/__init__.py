"""Learners: `color_learner` for fastai users, and one function for each training command."""

from colourgan.learners.color import choose_device, color_learner
from colourgan.learners.encoder import train_encoder
from colourgan.learners.export import export
from colourgan.learners.finetune import data_of, gan_finetune
from colourgan.learners.pretrain import pretrain
from colourgan.learners.runs import PLACES, is_unused, read_config, read_history
from colourgan.learners.scratch import train_cyclegan, train_generator

__all__ = [
    "PLACES",
    "choose_device",
    "color_learner",
    "data_of",
    "export",
    "gan_finetune",
    "is_unused",
    "pretrain",
    "read_config",
    "read_history",
    "train_cyclegan",
    "train_encoder",
    "train_generator",
]
