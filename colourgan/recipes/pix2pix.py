"""Generators that start from nothing: pix2pix, CycleGAN, and noise by dropout."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from colourgan.color import AB_SCALE, decode
from colourgan.evaluate import ImageSet
from colourgan.experiments.judge import Claim, claim
from colourgan.experiments.steps import Step
from colourgan.generators import sampling
from colourgan.options import adapted
from colourgan.plans import Setup
from colourgan.plots import grid
from colourgan.recipes.experiment import GREY, Results, recipe
from colourgan.recipes.figures import PICTURED, animation, loss_curves, measure_bars, samples
from colourgan.trainings import ALONE, TrainCycleGAN, TrainGenerator

DRAWN = 5  # colorizations of one photo
VISIBLE = 1.0  # CIE units: about what the eye can tell apart
ABOUT_FOUR = (3.0, 5.3)  # a quarter under, a third over: as far apart as factors


@recipe(
    "unet-pix2pix-cyclegan",
    title="The pix2pix U-Net alone, against a discriminator, and in a cycle without pairs",
    source="a student project that compares U-Net, pix2pix and CycleGAN on a folder of landscape "
    "photos, with the settings of their papers (Isola et al., CVPR 2017; Zhu et al., ICCV 2017)",
    data="landscape-pictures", size=256, epochs=200, batch_size=1, width=64,
)  # fmt: skip
def unet_pix2pix_cyclegan(s: Setup):
    """Published: a U-Net down to 1×1; least-squares GAN + 100 × L1; CycleGAN with L1 of the
    cycle × 10, an image pool of 50 and identity weight 0, since L and ab are no images of one kind;
    Adam at 2e-4 with beta1 .5, falling to 0 over the second half; batches of one image. It reports
    that pix2pix is more colorful than CycleGAN, and that an epoch of CycleGAN takes about 4 times
    as long.

    Differs: CycleGAN's generators are the same U-Nets, not ResNets, so that methods and not
    networks are compared; none of the three has dropout; ab is bounded to the range of sRGB, by a
    tanh for each of its four ends. The discriminator of color judges L and ab together. Grey and
    color images are disjoint halves, so that CycleGAN's epoch has half as many batches as
    pix2pix's: the times compared are those of as many batches. Of the about 4,300 photos a tenth
    is kept for testing and a tenth for validation: fewer are left than a verdict needs here.
    """
    pix2pix = TrainGenerator(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        width=s.width, d_width=s.width, norm="instance", d_norm="instance", dropout=0.0,
        objective="least_squares", reconstruction_weight=100.0, lr=2e-4, d_lr=2e-4, beta1=0.5,
        schedule="linear", augmentation="flip",
    )  # fmt: skip
    cycle = TrainCycleGAN(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        width=s.width, d_width=s.width, cycle_weight=10.0, pool_size=50, lr=2e-4, beta1=0.5,
        schedule="linear", augmentation="flip",
    )  # fmt: skip
    results = yield {
        "U-Net": Step(adapted(pix2pix, discriminator=ALONE)),
        "pix2pix": Step(pix2pix),
        "CycleGAN": Step(cycle),
    }
    return cycle_claims(results), [
        samples(results),
        measure_bars(results, "l1", "colorfulness"),
        animation(results),
        loss_curves(results, "valid_loss", "d_loss", "seconds"),
    ]


def cycle_claims(results: Results) -> list[Claim]:
    """What the source of unet-pix2pix-cyclegan says."""
    # Medians over the epochs, which a machine's other work does not move.
    models = "pix2pix", "CycleGAN"
    pix2pix, cycle = (np.median(results.column(each, "seconds"), 1) for each in models)
    colorful = "pix2pix is more colorful than CycleGAN."
    slower, published = "CycleGAN takes about 4 times as long.", "about 4"
    times = "CycleGAN's time for as many batches over pix2pix's; 3 to 5.3 counts as about 4"
    return [
        results.above(colorful, "seen in pictures", "colorfulness", *models),
        claim(slower, published, times, 2 * cycle / pix2pix, *ABOUT_FOUR),
    ]


@recipe(
    "conditional-gan",
    title="A conditional GAN whose noise is dropout, in training and afterwards",
    source="a student project on conditional GANs after Isola et al., CVPR 2017, sections 3.1 to "
    "3.3",
    data="places365", size=256, epochs=20, batch_size=16, width=64,
)  # fmt: skip
def conditional_gan(s: Setup):
    """Published: a U-Net of convolution, batch norm and ReLU, dropout of .5 that stays on at test
    time, a 70×70 PatchGAN, cross-entropy + 100 × L1. Its claims: one photo gets several
    colorizations; L1 alone is greyer than L1 + cGAN, and L2 alone greyer than L1 (the paper's
    section 4.2 and its figure 7).

    Differs: the leaky ReLU on the way down is the paper's; ab is bounded to the range of sRGB; at
    less than 256 pixels the PatchGAN is the one that fits; the table is measured with dropout off,
    the colorizations of one photo with dropout on. Length and images were not published in enough
    detail: 20 epochs here, and with all of Places365 that is 1.8 million images if you brought
    them; --limit takes fewer.
    """
    gan = TrainGenerator(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        width=s.width, d_width=s.width, norm="batch", d_norm="batch", dropout=0.5, objective="bce",
        reconstruction_weight=100.0, lr=2e-4, beta1=0.5, augmentation="flip",
    )  # fmt: skip
    l1 = adapted(gan, discriminator=ALONE)
    results = yield {
        "L2": Step(replace(l1, reconstruction="l2")),
        "L1": Step(l1),
        "L1 + cGAN": Step(gan),
    }
    generators = list(results.generators("L1 + cGAN"))
    spreads = torch.stack([spread(generator, results.images) for generator in generators])
    return conditional_claims(results, spreads), [
        samples(results),
        several(results, next(each for each in generators if each is not None)),
        measure_bars(results, "l1", "colorfulness"),
        loss_curves(results, "valid_loss", "d_loss"),
    ]


def conditional_claims(results: Results, spreads: Tensor) -> list[Claim]:
    """What the source of conditional-gan says; spreads: (S, N), see `spread`."""
    seen = "seen in pictures"
    quantity = "standard deviation of ab over a photo's colorizations, CIE units; 1 is visible"
    greyer = "{} alone is greyer than {}."
    return [
        claim("One photo gets several colorizations.", seen, quantity, spreads, low=VISIBLE),
        results.below(greyer.format("L1", "L1 + cGAN"), seen, "colorfulness", "L1", "L1 + cGAN"),
        results.below(greyer.format("L2", "L1"), seen, "colorfulness", "L2", "L1"),
    ]


def draw(generator: nn.Module, L: Tensor, seed: int = 0) -> Tensor:
    """(DRAWN, N, 2, H, W): colorizations with dropout on, of L (N, 1, H, W) in network units."""
    device = next(generator.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), sampling(generator):
        torch.manual_seed(seed)
        return torch.stack([generator(L.to(device)).cpu() for _ in range(DRAWN)])


def spread(generator: nn.Module | None, images: ImageSet) -> Tensor:
    """(N,): how far an image's colorizations differ, in CIE units, as `colorize.spread` does.

    NaN without a generator.
    """
    if generator is None:
        return torch.full((len(images),), torch.nan)
    parts = (draw(generator, images.L[rows]) for rows in images.batches("drawing"))
    return torch.cat([(ab * AB_SCALE).std(0).mean((1, 2, 3)) for ab in parts])


def several(results: Results, generator: nn.Module) -> tuple[str, str]:
    """several.png: an image a row, a colorization a column."""
    L = results.images.L[:PICTURED]
    ab = draw(generator, L)
    columns = [results.colored(GREY, L), *(decode(L, one) for one in ab)]
    names = [GREY, *(f"sample {number + 1}" for number in range(len(ab)))]
    grid(list(zip(*columns, strict=True)), results.out / "several.png", names)
    return "several.png", "Several colorizations of the same images by L1 + cGAN, first seed."
