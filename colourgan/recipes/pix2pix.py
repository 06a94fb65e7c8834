"""Generators that start from nothing: pix2pix, CycleGAN, and noise by dropout."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from colourgan.claims import Claim, claim
from colourgan.color import AB_SCALE, decode
from colourgan.generators import sampling
from colourgan.learners import train_cyclegan, train_generator
from colourgan.models import load_model
from colourgan.plots import grid
from colourgan.recipes.experiment import PICTURED, Experiment, Findings, Results
from colourgan.recipes.figures import Figure, animation, loss_curves, measure_bars, samples
from colourgan.recipes.registry import RECIPES

DRAWN = 5  # colorizations of one photo
VISIBLE = 1.0  # CIE units: about what the eye can tell apart
ABOUT_FOUR = (3.0, 5.3)  # a quarter under, a third over: as far apart as factors


@RECIPES.register("unet-pix2pix-cyclegan")
def unet_pix2pix_cyclegan(
    experiment: Experiment,
    data: str = "landscape-pictures",
    size: int = 256,
    limit: int | None = None,
    epochs: int = 200,
    batch_size: int = 1,
    width: int = 64,
) -> Findings:
    """The pix2pix U-Net alone, against a discriminator, and in a cycle without pairs.

    Source: a student project that compares U-Net, pix2pix and CycleGAN on a folder of landscape
    photos, with the settings of their papers (Isola et al., CVPR 2017; Zhu et al., ICCV 2017): a
    U-Net down to 1×1; least-squares GAN + 100 × L1; CycleGAN with L1 of the cycle × 10, an image
    pool of 50 and identity weight 0, since L and ab are no images of one kind; Adam at 2e-4 with
    beta1 .5, falling to 0 over the second half; batches of one image. It reports that pix2pix is
    more colorful than CycleGAN, and that an epoch of CycleGAN takes about 4 times as long.
    Differs: CycleGAN's generators are the same U-Nets, not ResNets, so that methods and not
    networks are compared; none of the three has dropout; ab is bounded to the range of sRGB, by a
    tanh for each of its four ends. The discriminator of color judges L and ab together. Grey and
    color images are disjoint halves, so that CycleGAN's epoch has half as many batches as
    pix2pix's: the times compared are those of as many batches. Of the about 4,300 photos a tenth
    is kept for testing and a tenth for validation: fewer are left than a verdict needs here.
    """
    experiment.open(data, size)
    shared = {
        "data": data,
        "size": size,
        "limit": limit,
        "epochs": epochs,
        "batch_size": batch_size,
        "width": width,
        "d_width": width,
        "norm": "instance",
        "lr": 2e-4,
        "beta1": 0.5,
        "beta2": 0.999,
        "schedule": "linear",
        "augmentation": "flip",
    }
    paired = partial(train_generator, dropout=0.0, reconstruction_weight=100.0, **shared)
    adversarial = {"objective": "least_squares", "d_norm": "instance", "d_lr": 2e-4}
    cycle = partial(train_cyclegan, cycle_weight=10.0, pool_size=50, d_norm="instance", **shared)
    models = {
        "U-Net": experiment.train("unet", partial(paired, discriminator="none")),
        "pix2pix": experiment.train("pix2pix", partial(paired, **adversarial)),
        "CycleGAN": experiment.train("cyclegan", cycle),
    }
    results = experiment.evaluate(models)
    seconds = {name: experiment.column(runs, "seconds") for name, runs in models.items()}
    columns = ("grey", *models, "true")
    figures = [
        samples(experiment, results, columns),
        measure_bars(experiment, results, ("l1", "colorfulness")),
        animation(experiment, results, [[name] for name in columns]),
        loss_curves(experiment, models, ("valid_loss", "d_loss", "seconds")),
    ]
    return Findings(models, results, cycle_claims(results, seconds), figures)


def cycle_claims(results: Results, seconds: dict[str, list[list[float]]]) -> list[Claim]:
    """What the source of unet-pix2pix-cyclegan says.

    seconds: model → for each seed those that the training batches of each epoch took.
    """
    # Medians, which a machine's other work does not move.
    typical = {name: np.array([np.median(s) for s in each]) for name, each in seconds.items()}
    return [
        claim(
            "pix2pix is more colorful than CycleGAN.",
            "seen in pictures",
            "colorfulness of pix2pix minus that of CycleGAN",
            results.difference("colorfulness", "pix2pix", "CycleGAN"),
            low=0,
        ),
        claim(
            "CycleGAN takes about 4 times as long.",
            "about 4",
            "CycleGAN's time for as many batches over pix2pix's; 3 to 5.3 counts as about 4",
            2 * typical["CycleGAN"] / typical["pix2pix"],
            *ABOUT_FOUR,
        ),
    ]


@RECIPES.register("conditional-gan")
def conditional_gan(
    experiment: Experiment,
    data: str = "places365",
    size: int = 256,
    limit: int | None = None,
    epochs: int = 20,
    batch_size: int = 16,
    width: int = 64,
) -> Findings:
    """A conditional GAN whose noise is dropout, in training and afterwards.

    Source: a student project on conditional GANs after Isola et al., CVPR 2017, sections 3.1 to
    3.3: a U-Net of convolution, batch norm and ReLU, dropout of .5 that stays on at test time, a
    70×70 PatchGAN, cross-entropy + 100 × L1. Its claims: one photo gets several colorizations; L1
    alone is greyer than L1 + cGAN, and L2 alone greyer than L1 (the paper's section 4.2 and its
    figure 7).
    Differs: the leaky ReLU on the way down is the paper's; ab is bounded to the range of sRGB; at
    less than 256 pixels the PatchGAN is the one that fits; the table is measured with dropout off,
    the colorizations of one photo with dropout on. Length and images were not published in enough
    detail: 20 epochs here, and with all of Places365 that is 1.8 million images if you brought
    them; --limit takes fewer.
    """
    experiment.open(data, size)
    base = partial(
        train_generator,
        data,
        size,
        limit,
        width=width,
        dropout=0.5,
        norm="batch",
        epochs=epochs,
        batch_size=batch_size,
        lr=2e-4,
        beta1=0.5,
        beta2=0.999,
        augmentation="flip",
    )
    gan = partial(base, d_norm="batch", d_width=width, objective="bce", reconstruction_weight=100.0)
    models = {
        "L2": experiment.train("l2", partial(base, discriminator="none", reconstruction="l2")),
        "L1": experiment.train("l1", partial(base, discriminator="none")),
        "L1 + cGAN": experiment.train("gan", gan),
    }
    results = experiment.evaluate(models)
    generators = [load_model(run).to(experiment.device) for run in models["L1 + cGAN"]]
    spreads = torch.stack([spread(generator, results.images.L) for generator in generators])
    columns = ("grey", *models, "true")
    figures = [
        samples(experiment, results, columns),
        _several(experiment, results, generators[0]),
        measure_bars(experiment, results, ("l1", "colorfulness")),
        loss_curves(experiment, models, ("valid_loss", "d_loss")),
    ]
    return Findings(models, results, conditional_claims(results, spreads), figures)


def conditional_claims(results: Results, spreads: Tensor) -> list[Claim]:
    """What the source of conditional-gan says; spreads: (S, N), see `spread`."""
    return [
        claim(
            "One photo gets several colorizations.",
            "seen in pictures",
            "standard deviation of ab over a photo's colorizations, CIE units; 1 is visible",
            spreads,
            low=VISIBLE,
        ),
        claim(
            "L1 alone is greyer than L1 + cGAN.",
            "seen in pictures",
            "colorfulness of L1 minus that of L1 + cGAN",
            results.difference("colorfulness", "L1", "L1 + cGAN"),
            high=0,
        ),
        claim(
            "L2 alone is greyer than L1.",
            "seen in pictures",
            "colorfulness of L2 minus that of L1",
            results.difference("colorfulness", "L2", "L1"),
            high=0,
        ),
    ]


def draw(generator: nn.Module, L: Tensor, seed: int = 0) -> Tensor:
    """(DRAWN, N, 2, H, W): colorizations with dropout on, of L (N, 1, H, W) in network units."""
    device = next(generator.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), sampling(generator):
        torch.manual_seed(seed)
        return torch.stack([generator(L.to(device)).cpu() for _ in range(DRAWN)])


def spread(generator: nn.Module, L: Tensor) -> Tensor:
    """(N,): how far an image's colorizations differ, in CIE units, as `colorize.spread` does."""
    batches = (draw(generator, part) for part in L.split(64))
    return torch.cat([(ab * AB_SCALE).std(0).mean((1, 2, 3)) for ab in batches])


def _several(experiment: Experiment, results: Results, generator: nn.Module) -> Figure:
    """several.png: an image a row, a colorization a column."""
    L = results.images.L[:PICTURED]
    ab = draw(generator, L)
    names = [f"sample {i + 1}" for i in range(len(ab))]
    columns = [results.pictures("grey", range(PICTURED)), *(decode(L, one) for one in ab)]
    grid(list(zip(*columns, strict=True)), experiment.path("several.png"), ["grey", *names])
    return "several.png", "Several colorizations of the same images by L1 + cGAN, seed 0."
