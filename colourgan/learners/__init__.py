"""Learners: `color_learner` for fastai users; pretrain, gan-finetune and train-encoder."""

from colourgan.learners.color import choose_device, color_learner
from colourgan.learners.encoder import train_encoder
from colourgan.learners.export import export
from colourgan.learners.finetune import data_of, gan_finetune
from colourgan.learners.pretrain import pretrain
from colourgan.learners.runs import read_config

__all__ = [
    "choose_device",
    "color_learner",
    "data_of",
    "export",
    "gan_finetune",
    "pretrain",
    "read_config",
    "train_encoder",
]
