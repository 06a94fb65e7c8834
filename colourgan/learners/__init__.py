"""Learners: `color_learner` for fastai users, and one function for each training command."""

from colourgan.learners.color import color_learner
from colourgan.learners.encoder import train_encoder
from colourgan.learners.export import export
from colourgan.learners.finetune import data_of, gan_finetune
from colourgan.learners.pretrain import pretrain
from colourgan.learners.runs import (
    contents,
    hash_of,
    is_unused,
    locked,
    read_config,
    read_history,
    read_training,
)
from colourgan.learners.scratch import train_cyclegan, train_generator

TRAIN = {
    each.training.command: each
    for each in (pretrain, gan_finetune, train_encoder, train_generator, train_cyclegan)
}
"""Command → the function that trains it."""

__all__ = [
    "TRAIN", "color_learner", "contents", "data_of", "export", "gan_finetune",
    "hash_of", "is_unused", "locked", "pretrain", "read_config", "read_history", "read_training",
    "train_cyclegan", "train_encoder", "train_generator",
]  # fmt: skip
