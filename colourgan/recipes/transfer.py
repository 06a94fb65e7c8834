"""Transfer: what an encoder's own domain brings to colorization."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from colourgan.claims import Claim, claim
from colourgan.learners import gan_finetune, pretrain, train_encoder
from colourgan.recipes.experiment import Experiment, Findings, Results, exactly
from colourgan.recipes.figures import animation, loss_curves, measure_bars, samples
from colourgan.recipes.registry import RECIPES

# "As published": Adam with its own constants, nothing frozen, one learning rate for all.
PRETRAINING = {
    "frozen_epochs": 0,
    "lr": 1e-4,
    "encoder_lr_ratio": 1.0,
    "weight_decay": 0.0,
    "beta2": 0.999,
    "eps": 1e-8,
    "schedule": "constant",
    "augmentation": "flip",
}
FINETUNING = {
    "discriminator": "patchgan",
    "norm": "batch",
    "objective": "bce",
    "l1_weight": 100.0,
    "lr": 2e-4,
    "d_lr": 2e-4,
    "beta1": 0.5,
    "beta2": 0.999,
    "augmentation": "flip",
    "ema": 0.0,
}
LOSSES = ("valid_loss", "saturation")


@RECIPES.register("same-domain")
def same_domain(
    experiment: Experiment,
    data: str = "cifar10",
    size: int = 32,
    limit: int | None = 8000,
    epochs: int = 20,
    batch_size: int = 16,
    encoders: Sequence[str] = ("resnet20",),
) -> Findings:
    """A CIFAR encoder colors CIFAR: L1 pretraining, then a PatchGAN.

    Source: a fastai student project on transfer learning for GAN colorization, its part where
    encoder and images are of one domain: resnet20 of CIFAR-10 in a DynamicUnet, 8,000 images of
    CIFAR-10. Published: pretraining by L1 with Adam at 1e-4 for 20 epochs, nothing frozen; then
    binary cross-entropy of a PatchGAN, its weights from N(0, .02), + 100 × L1, Adam at 2e-4 with
    betas .5 and .999. It reports that the GAN raises L1 from .079 to .084, and makes the colors
    stronger.
    Differs: the PatchGAN is the one that fits 32×32 pixels (receptive field 16), the 70×70 one sees
    more than the image; the GAN trains for as many epochs as the L1, since its length was not
    published, nor were the batch sizes and the augmentation (flips here); L1 is measured on
    ab / 110.
    """
    experiment.open(data, size, exactly(encoders, 1))
    base = partial(
        pretrain, encoders[0], data, size, limit, epochs, batch_size=batch_size, **PRETRAINING
    )
    unets = experiment.train("l1", base)
    gans = experiment.train("gan", *_gans(unets, data, limit, epochs, batch_size))
    models = {"U-Net": unets, "GAN": gans}
    results = experiment.evaluate(models)
    columns = ("grey", *models, "true")
    figures = [
        measure_bars(experiment, results, ("l1", "colorfulness")),
        animation(experiment, results, [[column] for column in columns]),
        samples(experiment, results, columns),
        loss_curves(experiment, models, LOSSES),
    ]
    return Findings(models, results, same_domain_claims(results), figures)


def same_domain_claims(results: Results) -> list[Claim]:
    """What same-domain's source says, of the models "U-Net" and "GAN"."""
    return [
        claim(
            "The GAN raises the L1 error.",
            ".079 → .084",
            "L1 of the GAN minus L1 of the U-Net",
            results.difference("l1", "GAN", "U-Net"),
            low=0,
        ),
        claim(
            "The GAN's colors are stronger.",
            "",
            "colorfulness of the GAN minus that of the U-Net",
            results.difference("colorfulness", "GAN", "U-Net"),
            low=0,
        ),
    ]


@RECIPES.register("cross-domain")
def cross_domain(
    experiment: Experiment,
    data: str = "stl10",
    size: int = 96,
    limit: int | None = 5000,
    epochs: int = 20,
    batch_size: int = 16,
    encoders: Sequence[str] = ("resnet20", "resnet18"),
) -> Findings:
    """An encoder of another domain, CIFAR, against one of ImageNet, both on larger images.

    Source: a fastai student project on transfer learning for GAN colorization, its part where
    encoder and images differ: resnet20 of CIFAR-10 against resnet18 of ImageNet, on 5,000 images of
    STL-10 (96×96), other settings as in same-domain. It reports an L1 of .076 with the ImageNet
    encoder against .086, and colors that are not consistent where contrast is low.
    encoders: the CIFAR one, then the ImageNet one.
    Differs: as same-domain. Of STL-10's 5,000 labelled training images a tenth is kept for
    validation. "Consistent" is measured on images averaged to 16×16, by the variance of a and b
    inside the smoothest quarter of each, against the truth's. STL-10's pictures come from ImageNet
    (so do Tiny ImageNet's): an ImageNet encoder may have seen them. The two encoders bring decoders
    of different size with them.
    """
    experiment.open(data, size, exactly(encoders, 2))
    models = {}
    for name, encoder in zip(("CIFAR", "ImageNet"), encoders, strict=True):
        base = partial(
            pretrain, encoder, data, size, limit, epochs, batch_size=batch_size, **PRETRAINING
        )
        unets = experiment.train(f"{name.lower()}-l1", base)
        commands = _gans(unets, data, limit, epochs, batch_size)
        gans = experiment.train(f"{name.lower()}-gan", *commands)
        models |= {f"{name} U-Net": unets, f"{name} GAN": gans}
    results = experiment.evaluate(models)
    sides = [[f"{name} {kind}" for name in ("CIFAR", "ImageNet")] for kind in ("U-Net", "GAN")]
    figures = [
        measure_bars(experiment, results, ("l1", "colorfulness", "smooth_variance")),
        animation(experiment, results, [["grey"] * 2, *sides, ["true"] * 2]),
        samples(experiment, results, ("grey", *models, "true")),
        loss_curves(experiment, models, LOSSES),
    ]
    return Findings(models, results, cross_domain_claims(results), figures)


def cross_domain_claims(results: Results) -> list[Claim]:
    """What cross-domain's source says, of "CIFAR U-Net", "ImageNet GAN" and so on."""
    return [
        claim(
            "The ImageNet encoder's L1 is lower.",
            ".076 against .086",
            "L1 with the ImageNet encoder minus that with the CIFAR encoder, U-Nets",
            results.difference("l1", "ImageNet U-Net", "CIFAR U-Net"),
            high=0,
        ),
        claim(
            "It still is after the GAN.",
            "",
            "L1 with the ImageNet encoder minus that with the CIFAR encoder, GANs",
            results.difference("l1", "ImageNet GAN", "CIFAR GAN"),
            high=0,
        ),
        *[_inconsistent(results, name) for name in ("CIFAR GAN", "ImageNet GAN")],
    ]


def _inconsistent(results: Results, model: str) -> Claim:
    values = results.values[model]
    return claim(
        f"{model}: color is not consistent where contrast is low.",
        "seen in pictures",
        "variance of ab in smooth regions minus that of the truth, CIE units²",
        values["smooth_variance"] - values["smooth_variance_true"],
        low=0,
    )


@RECIPES.register("adapt-encoder")
def adapt_encoder(
    experiment: Experiment,
    data: str = "stl10",
    size: int = 96,
    limit: int | None = 5000,
    epochs: int = 20,
    batch_size: int = 16,
    encoders: Sequence[str] = ("resnet20", "resnet18"),
) -> Findings:
    """Does it close the domain gap to train the encoder on the target images first?

    Source: the future work that a fastai student project on transfer learning for GAN colorization
    names (see same-domain and cross-domain): finetune the encoder on the target set, as a
    classifier of its labels, before it colors. No results are published. Here the CIFAR encoder
    goes on by `train-encoder` on the target's classes (SGD, a tenth of its usual rate, batches of
    128), for as many epochs as the L1 takes after it, and is compared with itself unadapted and
    with the ImageNet encoder.
    encoders: the CIFAR one, then the ImageNet one. Needs data whose folders are classes.
    Differs: nothing is published to differ from; of STL-10 a tenth is kept for validation.
    """
    cifar, imagenet = exactly(encoders, 2)
    start = cifar if "@" in cifar else f"{cifar}@published"
    experiment.open(data, size, encoders)
    adapt = partial(train_encoder, start, data, size, limit, epochs, batch_size=128, lr=0.02)
    adapted = experiment.train("encoder", adapt)
    arch = cifar.partition("@")[0]
    unet = partial(
        pretrain, data=data, size=size, limit=limit, epochs=epochs, batch_size=batch_size,
        **PRETRAINING,
    )  # fmt: skip
    ready = [partial(unet, f"{arch}@{file}") for file in adapted]
    models = {
        "CIFAR": experiment.train("cifar-l1", partial(unet, cifar)),
        "adapted": experiment.train("adapted-l1", *ready),
        "ImageNet": experiment.train("imagenet-l1", partial(unet, imagenet)),
    }
    results = experiment.evaluate(models)
    figures = [
        measure_bars(experiment, results, ("l1", "colorfulness")),
        samples(experiment, results, ("grey", *models, "true")),
        loss_curves(experiment, models, LOSSES),
    ]
    return Findings(models, results, adapt_encoder_claims(results), figures)


def adapt_encoder_claims(results: Results) -> list[Claim]:
    """The question of adapt-encoder as claims about "CIFAR", "adapted" and "ImageNet"."""
    gap = results.difference("l1", "CIFAR", "ImageNet")
    gained = results.difference("l1", "CIFAR", "adapted")
    return [
        claim(
            "There is a domain gap.",
            ".076 against .086",
            "L1 with the CIFAR encoder minus that with the ImageNet encoder",
            gap,
            low=0,
        ),
        claim(
            "Adapting the encoder to the target lowers L1.",
            "future work",
            "L1 with the CIFAR encoder minus that with the adapted one",
            gained,
            low=0,
        ),
        claim(
            "It closes at least half of the gap.",
            "future work",
            "what adapting gains in L1 minus half of the gap",
            gained - gap / 2,
            low=0,
        ),
    ]


def _gans(
    unets: list[Path], data: str, limit: int | None, epochs: int, batch_size: int
) -> list[partial]:
    """The finetuning of each seed's U-Net."""
    settings = {"data": data, "limit": limit, "epochs": epochs, "batch_size": batch_size}
    return [partial(gan_finetune, unet, **settings, **FINETUNING) for unet in unets]
