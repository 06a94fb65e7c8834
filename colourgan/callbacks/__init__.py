"""What joins a fastai training loop, one concern a file.

precision    autocast of the device in use, loss scaling
adversarial  a discriminator that trains beside the generator
cycle        CycleGAN: a generator back and two discriminators, from unpaired pictures
classes      training on classes of color
feature      L1 of what an ImageNet encoder sees
pool         earlier generated images, shown to a discriminator again
ema          the running average of the generator's weights
best         which epoch's generator is best, by validation images
gan          what callbacks with discriminators share: columns, an end at NaN
base         what all share: a state to resume from, errors of one line

    learn.add_cbs([Precision("auto"), Adversarial(discriminator, objective), EMA()])

Remove them before `learn.export`: a pickle is for people who do not have this package.
"""

from colourgan.callbacks.adversarial import Adversarial
from colourgan.callbacks.base import TrainingCallback, epoch_of
from colourgan.callbacks.best import BestEpoch
from colourgan.callbacks.classes import ClassifyColors
from colourgan.callbacks.cycle import CycleConsistency
from colourgan.callbacks.ema import EMA
from colourgan.callbacks.feature import FeatureLoss
from colourgan.callbacks.pool import ImagePool
from colourgan.callbacks.precision import PRECISIONS, Precision, resolve_precision

__all__ = [
    "EMA",
    "PRECISIONS",
    "Adversarial",
    "BestEpoch",
    "ClassifyColors",
    "CycleConsistency",
    "FeatureLoss",
    "ImagePool",
    "Precision",
    "TrainingCallback",
    "epoch_of",
    "resolve_precision",
]
