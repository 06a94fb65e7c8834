"""Learners: `color_learner` for fastai users; the commands pretrain, gan-finetune, train-encoder."""

from colourgan.learners.color import color_learner
from colourgan.learners.encoder import train_encoder
from colourgan.learners.finetune import gan_finetune
from colourgan.learners.pretrain import pretrain
from colourgan.learners.runs import read_config

__all__ = ["color_learner", "gan_finetune", "pretrain", "read_config", "train_encoder"]
