"""Colors that people believe: a GAN that is short, and color as classes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from colourgan.experiments.judge import Claim, claim
from colourgan.experiments.steps import Decoding, Step
from colourgan.learners import read_config
from colourgan.plans import Setup
from colourgan.recipes.experiment import Results, exactly, recipe
from colourgan.recipes.figures import animation, loss_curves, measure_bars, over_epochs, samples
from colourgan.recipes.sources import COLORFUL_CLASSES, NOGAN
from colourgan.trainings import GanFinetune, Pretrain

IMAGENET = NOGAN.images  # training images of ILSVRC 2012, of which DeOldify counts its shares
GAN_IMAGES = 4000  # in an epoch of the GANs: a third of a percent of ImageNet
GAN_BATCH = 8  # published: 8 for the discriminator alone, 5 afterwards


@recipe(
    "nogan",
    title="NoGAN: a generator and a discriminator trained apart, then a GAN that ends in time",
    source=NOGAN,
    data="tiny-imagenet", size=64, epochs=4, batch_size=88, encoders=("efficientnet_lite0",),
)  # fmt: skip
def nogan(s: Setup):
    """Published: a U-Net with blur and self-attention around a pretrained encoder learns by feature
    loss, one pass over ImageNet with the encoder frozen, then four at growing sizes from 64 pixels
    (two of them over half of the images), batches of 88 at 64 pixels, rates up to 1e-3 frozen and
    3e-4 later, the encoder's a thousandth of it; a discriminator with spectral norm learns to tell
    its pictures from true ones for 10 epochs; then both train as a GAN, rates 2e-5 and 1e-4, Adam
    with betas 0 and .9, on 1 to 3 % of ImageNet, until just before glitches appear, found by
    looking at checkpoints. It reports most of a GAN's gain in color without its artifacts: steady
    enough for videos.

    epochs: of the generators alone, after the frozen one; discriminator alone and GANs train at
    most 2.5 and 5 times as many, of 4,000 images each.
    """
    (encoder,) = exactly(s.encoders, 1)
    unet = Pretrain(
        encoder=encoder, data=s.data, size=s.size, limit=s.limit, epochs=s.epochs,
        batch_size=s.batch_size, reconstruction="feature", frozen_epochs=1, lr=1e-3,
        encoder_lr_ratio=1e-3, weight_decay=1e-3, eps=1e-8, self_attention=True, blur=True,
    )  # fmt: skip
    feature, l1 = Step(unet), Step(replace(unet, reconstruction="l1"))
    gan = GanFinetune(
        data=s.data, limit=min(s.limit or GAN_IMAGES, GAN_IMAGES), epochs=5 * s.epochs,
        batch_size=GAN_BATCH, reconstruction="feature", reconstruction_weight=100.0,
        d_norm="spectral", lr=2e-5, d_lr=1e-4, beta1=0.0, beta2=0.9, weight_decay=1e-3, ema=0.0,
    )  # fmt: skip
    ending = replace(gan, d_epochs=max(1, 5 * s.epochs // 2), patience=2)
    results = yield {
        "L1": l1,
        "feature": feature,
        "GAN": Step(gan, needs=feature),
        "NoGAN": Step(ending, needs=feature, rival=l1),
    }
    shares = [share_of_imagenet(run) if run else math.nan for run in results.runs("NoGAN")]
    return nogan_claims(results, shares), [
        measure_bars(results, "l1", "colorfulness", "smooth_variance"),
        samples(results),
        animation(results),
        loss_curves(results, "valid_loss", "saturation", "d_loss", "gain"),
        over_epochs(results, "NoGAN"),
    ]


def nogan_claims(results: Results, shares: Sequence[float]) -> list[Claim]:
    """What the source of nogan says; shares: of each seed of NoGAN, see `share_of_imagenet`."""
    error = "NoGAN's error is below the conventional GAN's."
    steadier = "NoGAN's colors are steadier than the conventional GAN's."
    colorful = "NoGAN is more colorful than the generator that it began with."
    short = "All useful GAN training takes 3 % of ImageNet at most."
    images = "images in NoGAN's epochs of both networks up to the best, in percent of ImageNet's"
    void = results.void("NoGAN")
    return [
        # Paler colors have a lower error and vary less: both count only if it became more colorful.
        results.below(error, "in pictures", "l1", "NoGAN", "GAN", requires=colorful),
        results.below(steadier, "in videos", "smooth_variance", "NoGAN", "GAN", requires=colorful),
        results.above(colorful, "in pictures", "colorfulness", "NoGAN", "feature"),
        claim(short, "1 to 3 % (README)", images, shares, high=3, void=void),
        results.beyond_saturation("NoGAN brings more than saturation.", "NoGAN", "L1"),
    ]


def share_of_imagenet(run: Path) -> float:
    """How many images the GAN of a run had seen at its best epoch, in percent of ImageNet's.

    NaN if no epoch was better than the generator before it: none of that training was useful.
    """
    config = read_config(run)
    if (config["best"]["gain"] or 0) <= 0:
        return math.nan
    epochs = config["best"]["epoch"] - config["arguments"]["d_epochs"]
    return 100 * epochs * config["found"]["train_images"] / IMAGENET


@recipe(
    "colorful-classes",
    title="Color as classes, rare ones counting more, against regression",
    source=COLORFUL_CLASSES,
    data="tiny-imagenet", size=64, epochs=14, batch_size=40, encoders=("efficientnet_lite0",),
)  # fmt: skip
def colorful_classes(s: Setup):
    """Published: ab in bins of 10 units, soft targets of the 5 nearest ones (σ 5), cross-entropy in
    which rare colors weigh more (λ .5), decoded by the annealed mean at temperature .38; all of
    ImageNet, mirrored crops of 176 pixels, 450,000 batches of 40, about 14 epochs, Adam at 3e-5
    falling to 3e-6, weight decay 1e-3. It reports that regression by L2 is greyish, that classes
    are more vivid, and with rebalancing most of all; and that rebalancing costs accuracy counted
    pixel by pixel (area under the curve of errors 91.6 → 89.5 %).
    """
    (encoder,) = exactly(s.encoders, 1)
    base = Pretrain(
        encoder=encoder, data=s.data, size=s.size, limit=s.limit, epochs=s.epochs,
        batch_size=s.batch_size, reconstruction="l1", lr=1e-3, weight_decay=1e-3, eps=1e-8,
    )  # fmt: skip
    l1, bins = Step(base), replace(base, reconstruction="bins", rebalancing=0.5)
    # As the paper decodes: what is chosen after training makes all models equally colorful, which
    # is what is to be compared.
    published = Decoding(temperature=0.38, vivid=1.0, saturation=1.0)
    results = yield {
        "L2": Step(replace(base, reconstruction="l2")),
        "L1": l1,
        "classes": Step(replace(bins, rebalancing=0.0), decoding=published),
        "rebalanced": Step(bins, decoding=published, rival=l1),
    }
    return class_claims(results), [
        measure_bars(results, "l1", "colorfulness", "within_5"),
        samples(results),
        animation(results),
        loss_curves(results, "saturation"),
    ]


def class_claims(results: Results) -> list[Claim]:
    """What the source of colorful-classes says."""
    seen, vivid = "in pictures (figures 4 and 6)", "Rebalancing makes colors more vivid."
    colorful = "Rebalanced classes are more colorful than regression."
    costs = "Rebalancing costs accuracy, counted pixel by pixel."
    saturation = "Rebalanced classes bring more than saturation."
    return [
        results.above(colorful, seen, "colorfulness", "rebalanced", "L2"),
        results.above(vivid, seen, "colorfulness", "rebalanced", "classes"),
        results.below(costs, "91.6 → 89.5 %", "within_5", "rebalanced", "classes"),
        results.beyond_saturation(saturation, "rebalanced", "L1"),
    ]
