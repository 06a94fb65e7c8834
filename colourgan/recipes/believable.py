"""Colors that people believe: a GAN that is short, and color as classes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from colourgan.claims import Claim, claim
from colourgan.learners import gan_finetune, pretrain, read_config
from colourgan.recipes.experiment import Experiment, Findings, Results, exactly
from colourgan.recipes.figures import animation, loss_curves, measure_bars, over_epochs, samples
from colourgan.recipes.registry import RECIPES

IMAGENET = 1_281_167  # training images of ILSVRC 2012, of which DeOldify counts its shares
GAN_IMAGES = 4000  # in an epoch of the GANs: a third of a percent of ImageNet
GAN_BATCH = 8  # published: 8 for the discriminator alone, 5 afterwards
PATIENCE = 2

UNET = {
    "frozen_epochs": 1,
    "lr": 1e-3,
    "encoder_lr_ratio": 1e-3,
    "weight_decay": 1e-3,
    "beta2": 0.99,
    "eps": 1e-8,
    "schedule": "one-cycle",
    "self_attention": True,
    "blur": True,
    "augmentation": "flip+crop",
    "ema": 0.0,
}
GAN = {
    "reconstruction": "feature",
    "discriminator": "patchgan",
    "norm": "spectral",
    "objective": "bce",
    "l1_weight": 100.0,
    "adversarial_weight": 1.0,
    "batch_size": GAN_BATCH,
    "lr": 2e-5,
    "d_lr": 1e-4,
    "beta1": 0.0,
    "beta2": 0.9,
    "weight_decay": 1e-3,
    "schedule": "constant",
    "augmentation": "flip+crop",
    "ema": 0.0,
}

TEMPERATURE = 0.38
CLASSES = {
    "frozen_epochs": 1,
    "lr": 1e-3,
    "encoder_lr_ratio": 0.1,
    "weight_decay": 1e-3,
    "beta2": 0.99,
    "eps": 1e-8,
    "schedule": "one-cycle",
    "augmentation": "flip+crop",
    "ema": 0.0,
}


@RECIPES.register("nogan")
def nogan(
    experiment: Experiment,
    data: str = "tiny-imagenet",
    size: int = 64,
    limit: int | None = None,
    epochs: int = 4,
    batch_size: int = 88,
    encoders: Sequence[str] = ("efficientnet_lite0",),
) -> Findings:
    """NoGAN: a generator and a discriminator trained apart, then a GAN that ends in time.

    Source: the project DeOldify by Jason Antic (jantic/DeOldify on GitHub), "What is NoGAN?" in
    its README and its notebook ColorizeTrainingStable.ipynb. Published: a U-Net with blur and
    self-attention around a pretrained encoder learns by feature loss, one pass over ImageNet with
    the encoder frozen, then four at growing sizes from 64 pixels (two of them over half of the
    images), batches of 88 at 64 pixels, rates up to 1e-3 frozen and 3e-4 later, the encoder's a
    thousandth of it; a discriminator with spectral norm learns to tell its pictures from true ones
    for 10 epochs; then both train as a GAN, rates 2e-5 and 1e-4, Adam with betas 0 and .9, on 1 to
    3 % of ImageNet, until just before glitches appear, found by looking at checkpoints. It reports
    most of a GAN's gain in color without its artifacts: steady enough for videos.
    epochs: of the generators alone, after the frozen one; discriminator alone and GANs train at
    most 2.5 and 5 times as many, of 4,000 images each.
    Differs: Tiny ImageNet, 200 classes of ImageNet at 64×64, at that one size; EfficientNet-Lite0
    stands in for resnet101, and its features for VGG's in the feature loss; rates up to 1e-3
    throughout; the generator predicts ab, not RGB. The discriminator is a PatchGAN that sees L and
    ab, one step for each of the generator's; cross-entropy stands beside 100 × the feature loss.
    When to stop is measured: once L1 on validation images, against the generator before the GAN
    made as colorful, has not fallen for 2 epochs; the best epoch is kept. The conventional GAN
    differs from NoGAN in nothing but a discriminator that begins with random weights, and in
    training to the end.
    """
    (encoder,) = exactly(encoders, 1)
    experiment.open(data, size, encoders)
    alone = partial(pretrain, encoder, data, size, limit, epochs, batch_size=batch_size, **UNET)
    l1 = experiment.train("l1", partial(alone, reconstruction="l1"))
    features = experiment.train("feature", partial(alone, reconstruction="feature"))
    few = GAN_IMAGES if limit is None else min(limit, GAN_IMAGES)
    gan = partial(gan_finetune, data=data, limit=few, epochs=5 * epochs, **GAN)
    ending = partial(gan, d_epochs=max(1, 5 * epochs // 2), patience=PATIENCE)
    models = {
        "L1": l1,
        "feature": features,
        "GAN": experiment.train("gan", *[partial(gan, run) for run in features]),
        "NoGAN": experiment.train("nogan", *[partial(ending, run) for run in features]),
    }
    results = experiment.evaluate(models)
    matched = experiment.as_colorful(results, "L1", l1, "NoGAN")
    columns = ("grey", *models, "true")
    figures = [
        measure_bars(experiment, results, ("l1", "colorfulness", "smooth_variance")),
        samples(experiment, results, columns),
        animation(experiment, results, [[column] for column in columns]),
        loss_curves(experiment, models, ("valid_loss", "saturation", "d_loss", "gain")),
        over_epochs(experiment, "NoGAN", models["NoGAN"][0]),
    ]
    shares = [share_of_imagenet(run) for run in models["NoGAN"]]
    return Findings(models, results, nogan_claims(results, matched, shares), figures)


def nogan_claims(results: Results, matched: Tensor, shares: Sequence[float]) -> list[Claim]:
    """What nogan's source says, of the models "L1", "feature", "GAN" and "NoGAN".

    matched: (S, N), L1 of "L1" made as colorful as "NoGAN"; shares: see `share_of_imagenet`.
    """
    return [
        claim(
            "NoGAN's error is below the conventional GAN's.",
            "seen in pictures",
            "L1 of NoGAN minus L1 of the GAN",
            results.difference("l1", "NoGAN", "GAN"),
            high=0,
        ),
        claim(
            "NoGAN's colors are steadier than the conventional GAN's.",
            "seen in videos",
            "variance of ab in smooth regions, NoGAN minus GAN, CIE units²",
            results.difference("smooth_variance", "NoGAN", "GAN"),
            high=0,
        ),
        claim(
            "NoGAN is more colorful than the generator that it began with.",
            "seen in pictures",
            "colorfulness of NoGAN minus that of the feature generator",
            results.difference("colorfulness", "NoGAN", "feature"),
            low=0,
        ),
        claim(
            "All useful GAN training takes 3 % of ImageNet at most.",
            "1 to 3 %",
            "images in the GAN's epochs up to the best one, in percent of ImageNet's",
            shares,
            high=3,
        ),
        claim(
            "NoGAN brings more than saturation.",
            "not measured",
            "L1 of NoGAN minus that of the L1 generator made as colorful",
            results.values["NoGAN"]["l1"] - matched,
            high=0,
        ),
    ]


def share_of_imagenet(run: Path) -> float:
    """How many images the GAN of a run had seen at its best epoch, in percent of ImageNet's.

    NaN for a run that diverged before it had found one.
    """
    config = read_config(run)
    if "best" not in config:
        return float("nan")
    epochs = config["best"]["epoch"] - config["arguments"]["d_epochs"]
    return 100 * epochs * config["found"]["train_images"] / IMAGENET


@RECIPES.register("colorful-classes")
def colorful_classes(
    experiment: Experiment,
    data: str = "tiny-imagenet",
    size: int = 64,
    limit: int | None = None,
    epochs: int = 14,
    batch_size: int = 40,
    encoders: Sequence[str] = ("efficientnet_lite0",),
) -> Findings:
    """Color as classes, rare ones counting more, against regression.

    Source: Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016. Published: ab in bins
    of 10 units, soft targets of the 5 nearest ones (σ 5), cross-entropy in which rare colors weigh
    more (λ .5), decoded by the annealed mean at temperature .38; all of ImageNet, mirrored crops of
    176 pixels, 450,000 batches of 40, about 14 epochs, Adam at 3e-5 falling to 3e-6, weight decay
    1e-3. It reports that regression by L2 is greyish, that classes are more vivid, and with
    rebalancing most of all; and that rebalancing costs accuracy counted pixel by pixel (area under
    the curve of errors 91.6 → 89.5 %).
    Differs: Tiny ImageNet, 200 classes of ImageNet at 64×64; a U-Net around EfficientNet-Lite0,
    which is pretrained on ImageNet, instead of a network like VGG from random weights; so the rates
    are those of transfer learning here, up to 1e-3 in one cycle. The weight of a color is not
    smoothed, and grey pictures count too. Accuracy is the share of pixels within 5 units of the
    truth. A regression by L1 was not published; it is made as colorful as the classes, by a factor
    on its ab, to see whether these know more than how to saturate.
    """
    (encoder,) = exactly(encoders, 1)
    experiment.open(data, size, encoders)
    base = partial(pretrain, encoder, data, size, limit, epochs, batch_size=batch_size, **CLASSES)
    bins = partial(base, reconstruction="bins", colorfulness=0.8)
    models = {
        "L2": experiment.train("l2", partial(base, reconstruction="l2")),
        "L1": experiment.train("l1", partial(base, reconstruction="l1")),
        "classes": experiment.train("classes", partial(bins, rebalancing=0.0)),
        "rebalanced": experiment.train("rebalanced", partial(bins, rebalancing=0.5)),
    }
    results = experiment.evaluate(models, decode_as_published)
    matched = experiment.as_colorful(results, "L1", models["L1"], "rebalanced")
    columns = ("grey", *models, "true")
    figures = [
        measure_bars(experiment, results, ("l1", "colorfulness", "within_5")),
        samples(experiment, results, columns),
        animation(experiment, results, [[column] for column in columns]),
        loss_curves(experiment, models, ("saturation",)),
    ]
    return Findings(models, results, class_claims(results, matched), figures)


def decode_as_published(generator: nn.Module) -> None:
    """Lets a generator of classes decode as the paper does, not as was chosen after training.

    That choice makes all models equally colorful, which is what is to be compared.
    """
    if hasattr(generator, "classes"):
        generator.classes.set_decoding(TEMPERATURE, vivid=1.0, saturation=1.0)


def class_claims(results: Results, matched: Tensor) -> list[Claim]:
    """What the source of colorful-classes says, of "L2", "L1", "classes" and "rebalanced".

    matched: (S, N), L1 of "L1" made as colorful as "rebalanced".
    """
    return [
        claim(
            "Rebalanced classes are more colorful than regression.",
            "seen in pictures",
            "colorfulness of rebalanced classes minus that of L2",
            results.difference("colorfulness", "rebalanced", "L2"),
            low=0,
        ),
        claim(
            "Rebalancing makes colors more vivid.",
            "seen in pictures",
            "colorfulness of classes, rebalanced minus not",
            results.difference("colorfulness", "rebalanced", "classes"),
            low=0,
        ),
        claim(
            "Rebalancing costs accuracy, counted pixel by pixel.",
            "91.6 → 89.5 %",
            "share of pixels within 5 units of the truth, rebalanced minus not",
            results.difference("within_5", "rebalanced", "classes"),
            high=0,
        ),
        claim(
            "Rebalanced classes bring more than saturation.",
            "not measured",
            "L1 of rebalanced classes minus that of the L1 generator made as colorful",
            results.values["rebalanced"]["l1"] - matched,
            high=0,
        ),
    ]
