"""Transfer: what an encoder's own domain brings to colorization."""

from dataclasses import replace

from colourgan.experiments.judge import Claim, claim
from colourgan.experiments.steps import Step
from colourgan.plans import Setup
from colourgan.recipes.experiment import GREY, TRUE, Results, exactly, recipe
from colourgan.recipes.figures import animation, loss_curves, measure_bars, samples
from colourgan.recipes.sources import ADAPT_ENCODER, CROSS_DOMAIN, SAME_DOMAIN
from colourgan.trainings import GanFinetune, Pretrain, TrainEncoder

LOSSES = ("valid_loss", "saturation")
L1_OF_GANS = ".076 against .086, of the GANs (README.md:50-54, a chart)"


def l1_pretraining(s: Setup, encoder: str) -> Pretrain:
    """As published: Adam with its own constants, nothing frozen, one learning rate for all."""
    return Pretrain(
        encoder=encoder, data=s.data, size=s.size, limit=s.limit, epochs=s.epochs,
        batch_size=s.batch_size, reconstruction="l1", frozen_epochs=0, encoder_lr_ratio=1.0,
        lr=1e-4, schedule="constant", weight_decay=0.0, beta2=0.999, eps=1e-8, augmentation="flip",
        lightness="summed",
    )  # fmt: skip


def finetuned(s: Setup, unet: Step) -> Step:
    """A U-Net against the PatchGAN, cross-entropy + 100 × L1, as published; no average."""
    gan = GanFinetune(
        data=s.data, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        reconstruction_weight=100.0, lr=2e-4, d_lr=2e-4, beta1=0.5, beta2=0.999,
        augmentation="flip", ema=0.0,
    )  # fmt: skip
    return Step(gan, needs=unet, rival=unet)


@recipe(
    "same-domain",
    title="A CIFAR encoder colors CIFAR: L1 pretraining, then a PatchGAN",
    source=SAME_DOMAIN,
    data="cifar10", size=32, limit=8000, epochs=20, batch_size=16, encoders=("resnet20",),
)  # fmt: skip
def same_domain(s: Setup):
    """Published: resnet20 of CIFAR-10 in a DynamicUnet, 8,000 images of CIFAR-10; pretraining by L1
    with Adam at 1e-4 for 20 epochs, nothing frozen; then binary cross-entropy of a PatchGAN, its
    weights from N(0, .02), + 100 × L1, Adam at 2e-4 with betas .5 and .999, 20 epochs. It reports
    that the GAN raises L1 from .079 to .084, and makes the colors stronger.

    epochs: of each, the L1 and the GAN.
    """
    (encoder,) = exactly(s.encoders, 1)
    unet = Step(l1_pretraining(s, encoder))
    results = yield {"U-Net": unet, "GAN": finetuned(s, unet)}
    return same_domain_claims(results), [
        measure_bars(results, "l1", "colorfulness"),
        animation(results),
        samples(results),
        loss_curves(results, *LOSSES),
    ]


def same_domain_claims(results: Results) -> list[Claim]:
    """What the source of same-domain says."""
    raises, stronger = "The GAN raises the L1 error.", "The GAN's colors are stronger."
    models = "GAN", "U-Net"
    return [
        # That the GAN's error is high is what is claimed.
        results.above(raises, ".079 → .084 (README.md:26-30)", "l1", *models, worse=("GAN",)),
        results.above(stronger, "in words and pictures (README.md:26)", "colorfulness", *models),
        results.beyond_saturation("The GAN brings more than saturation.", *models),
    ]


@recipe(
    "cross-domain",
    title="An encoder of another domain, CIFAR, against one of ImageNet, both on larger images",
    source=CROSS_DOMAIN,
    distances=("frechet",),
    data="stl10", size=96, limit=5000, epochs=20, batch_size=16, encoders=("resnet20", "resnet18"),
)  # fmt: skip
def cross_domain(s: Setup):
    """Published: resnet20 of CIFAR-10 against resnet18 of ImageNet, on 5,000 images of STL-10
    (96×96), other settings as in same-domain. It reports that the GAN with the ImageNet encoder is
    more convincing and has an L1 of .076 against .086, and that its color is still not consistent
    where contrast is low.

    encoders: the CIFAR one, then the ImageNet one.

    "Consistent" is measured on images averaged to 16×16, by the variance of a and b inside the
    smoothest quarter of each, against the truth's; between the two GANs as a share of the squared
    colorfulness of each, since paler colors vary less. "Convincing" is measured by ΔE, by that
    share, and by the Fréchet distance in the features of EfficientNet-Lite0.
    """
    models = {}
    for name, encoder in zip(("CIFAR", "ImageNet"), exactly(s.encoders, 2), strict=True):
        unet = Step(l1_pretraining(s, encoder))
        models |= {f"{name} U-Net": unet, f"{name} GAN": finetuned(s, unet)}
    results = yield models
    return cross_domain_claims(results), [
        measure_bars(results, "l1", "colorfulness", "smooth_variance"),
        animation(results, [["CIFAR GAN"], ["ImageNet GAN"]]),
        samples(results),
        loss_curves(results, *LOSSES),
    ]


def cross_domain_claims(results: Results) -> list[Claim]:
    """What the source of cross-domain says, and L1 of the U-Nets, of which it says nothing."""
    gans, words = ("ImageNet GAN", "CIFAR GAN"), "in words and pictures (README.md:50)"
    convincing = "The ImageNet GAN is more convincing: {}."
    more = results.values["ImageNet GAN"]
    excess = more["smooth_variance"] - more["smooth_variance_true"]
    shares = []
    for model in gans:
        colors = results.values[model]["colorfulness"].mean(1, keepdim=True)
        shares.append(results.values[model]["smooth_variance"] / colors.square())
    return [
        results.below("The ImageNet GAN's L1 is lower.", L1_OF_GANS, "l1", *gans),
        results.below(
            "The ImageNet U-Net's L1 is lower.", "not published", "l1", "ImageNet U-Net",
            "CIFAR U-Net",
        ),
        results.below(convincing.format("its ΔE is lower"), words, "delta_e", *gans),
        results.below(
            convincing.format("its Fréchet distance is lower"), words, "frechet", *gans
        ),
        claim(
            convincing.format("its color is more consistent"), words,
            "variance of ab in smooth regions over squared colorfulness: ImageNet minus CIFAR GAN",
            shares[0] - shares[1], high=0, void=results.void(*gans),
        ),
        claim(
            "The ImageNet GAN's color is not consistent where contrast is low.",
            "in words and pictures (README.md:56)",
            "variance of ab in smooth regions minus that of the truth, CIE units²",
            excess, low=0, void=results.void("ImageNet GAN"),
        ),
    ]  # fmt: skip


@recipe(
    "adapt-encoder",
    title="Does it close the domain gap to train the encoder on the target images first?",
    source=ADAPT_ENCODER,
    data="stl10", size=96, limit=5000, epochs=20, batch_size=16, encoders=("resnet20", "resnet18"),
)  # fmt: skip
def adapt_encoder(s: Setup):
    """Published: no results, but the question (see cross-domain). Here the CIFAR encoder goes on by
    `train-encoder` on the target's classes (SGD, a tenth of its usual rate, batches of 128), for as
    many epochs as the L1 takes after it, and is compared with itself unadapted and with the
    ImageNet encoder: U-Nets and, as the source judges, GANs.

    encoders: the CIFAR one, then the ImageNet one. Needs data whose folders are classes.
    """
    cifar, imagenet = exactly(s.encoders, 2)
    arch = cifar.partition("@")[0]
    classifier = TrainEncoder(
        encoder=cifar if "@" in cifar else f"{cifar}@published", data=s.data, size=s.size,
        limit=s.limit, epochs=s.epochs, batch_size=128, lr=0.02,
    )  # fmt: skip
    unet = l1_pretraining(s, cifar)
    unets = {
        "CIFAR": Step(unet),
        "adapted": Step(replace(unet, encoder=arch), Step(classifier, label="adapted encoder")),
        "ImageNet": Step(l1_pretraining(s, imagenet)),
    }
    results = yield {
        f"{name} {kind}": step
        for name, unet in unets.items()
        for kind, step in (("U-Net", unet), ("GAN", finetuned(s, unet)))
    }
    return adapt_encoder_claims(results), [
        measure_bars(results, "l1", "colorfulness"),
        animation(results, [[GREY], ["CIFAR GAN"], ["adapted GAN"], ["ImageNet GAN"], [TRUE]]),
        samples(results),
        loss_curves(results, *LOSSES),
    ]


def adapt_encoder_claims(results: Results) -> list[Claim]:
    """The question of adapt-encoder as claims, of the GANs."""
    names = "CIFAR GAN", "adapted GAN", "ImageNet GAN"
    cifar, adapted, imagenet = names
    gap = results.difference("l1", cifar, imagenet)
    gained = results.difference("l1", cifar, adapted)
    exists, lowers = "There is a domain gap.", "Adapting the encoder to the target lowers L1."
    return [
        results.above(exists, L1_OF_GANS, "l1", cifar, imagenet),
        results.above(lowers, "a question", "l1", cifar, adapted),
        claim(
            "It closes at least half of the gap.", "a question",
            "what adapting gains in L1 minus half of the gap", gained - gap / 2, low=0,
            void=results.void(*names), requires=exists,
        ),
    ]  # fmt: skip
