"""A generator of two convolutions, a few small batches, and a learner that joins them."""

import io
from functools import partial

import fastai.callback.schedule  # noqa: F401 gives learners lr_find
import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from fastcore.basics import noop
from torch import nn
from torch.nn import functional as F

from colourgan.callbacks import Adversarial
from colourgan.discriminators import patchgan
from colourgan.objectives import OBJECTIVES

SIZE, BATCH, G_LR = 16, 2, 1e-3


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        convolutions = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
        self.layers = nn.Sequential(*convolutions)

    def forward(self, L):
        return self.layers(L).tanh()


def batches(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count * BATCH, 3, SIZE, SIZE, generator=random) * 2 - 1
    return [(p[:1], p[1:]) for p in pictures]


def make_learner(tmp_path, cbs=(), count=5, train=None):
    torch.manual_seed(1)
    loaders = DataLoader(train or batches(count), bs=BATCH), DataLoader(batches(2, 9), bs=BATCH)
    dls = DataLoaders(*loaders, device=torch.device("cpu"))
    adam = partial(OptimWrapper, opt=partial(torch.optim.Adam, betas=(0.5, 0.999)))
    learn = Learner(dls, Generator(), F.l1_loss, opt_func=adam, path=tmp_path, cbs=list(cbs))
    learn.logger = noop
    return learn


def make_adversarial(norm="batch", **options):
    torch.manual_seed(2)
    return Adversarial(patchgan(SIZE, norm, width=4), OBJECTIVES["bce"](), **options)


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(module, expected, **tolerance):
    for name, value in module.state_dict().items():
        torch.testing.assert_close(
            value, expected[name], msg=lambda m, n=name: f"{n}: {m}", **tolerance
        )


def changed(module, before):
    return [n for n, value in module.state_dict().items() if not torch.equal(value, before[n])]


def saved(state):
    """What is read of a state again after `torch.save`, by the rules of a run's state.pt."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
