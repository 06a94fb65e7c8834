"""What joins a fastai training loop: one concern a file.

accumulation    a batch in parts, one step on all of them
precision       autocast of the device in use, loss scaling
adversarial     a discriminator that trains beside the generator
cycle           CycleGAN: a backward generator and two discriminators, from unpaired pictures; the
                pool of earlier generated images, shown to them again
reconstruction  training on classes of color; L1 of an ImageNet encoder's features
ema             the running average of the generator's weights
distributed     one training in several processes
best            which epoch's generator is best, by validation images
base            what all share: columns, a state to resume from, errors of one line

    learn.add_cbs([Precision("auto"), Adversarial(discriminator, objective), EMA()])

Remove them before `learn.export`: a pickle is for people who do not have this package.
"""

from colourgan.callbacks.accumulation import Accumulation
from colourgan.callbacks.adversarial import Adversarial
from colourgan.callbacks.base import TrainingCallback, Watch, epoch_of
from colourgan.callbacks.best import BestEpoch
from colourgan.callbacks.cycle import CycleConsistency, ImagePool
from colourgan.callbacks.distributed import Distributed, begin_alike
from colourgan.callbacks.ema import EMA
from colourgan.callbacks.precision import PRECISIONS, Precision, resolve_precision
from colourgan.callbacks.reconstruction import ClassifyColors, FeatureLoss

__all__ = [
    "EMA", "PRECISIONS", "Accumulation", "Adversarial", "BestEpoch", "ClassifyColors",
    "CycleConsistency", "Distributed", "FeatureLoss", "ImagePool", "Precision",
    "TrainingCallback", "Watch", "begin_alike", "epoch_of", "resolve_precision",
]  # fmt: skip
