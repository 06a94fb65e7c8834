"""Transfer: what an encoder's own domain brings to colorization."""

from dataclasses import replace

from colourgan.experiments.judge import Claim, claim
from colourgan.experiments.steps import Step
from colourgan.plans import Setup
from colourgan.recipes.experiment import GREY, TRUE, Results, exactly, recipe
from colourgan.recipes.figures import animation, loss_curves, measure_bars, samples
from colourgan.trainings import GanFinetune, Pretrain, TrainEncoder

LOSSES = ("valid_loss", "saturation")


def l1_pretraining(s: Setup, encoder: str) -> Pretrain:
    """As published: Adam with its own constants, nothing frozen, one learning rate for all."""
    return Pretrain(
        encoder=encoder, data=s.data, size=s.size, limit=s.limit, epochs=s.epochs,
        batch_size=s.batch_size, reconstruction="l1", frozen_epochs=0, encoder_lr_ratio=1.0,
        lr=1e-4, schedule="constant", weight_decay=0.0, beta2=0.999, eps=1e-8, augmentation="flip",
    )  # fmt: skip


def finetuned(s: Setup, unet: Step) -> Step:
    """A U-Net against the PatchGAN, cross-entropy + 100 × L1, as published; no average."""
    gan = GanFinetune(
        data=s.data, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        reconstruction_weight=100.0, lr=2e-4, d_lr=2e-4, beta1=0.5, beta2=0.999,
        augmentation="flip", ema=0.0,
    )  # fmt: skip
    return Step(gan, needs=unet)


@recipe(
    "same-domain",
    title="A CIFAR encoder colors CIFAR: L1 pretraining, then a PatchGAN",
    source="a fastai student project on transfer learning for GAN colorization, its part where "
    "encoder and images are of one domain",
    data="cifar10", size=32, limit=8000, epochs=20, batch_size=16, encoders=("resnet20",),
)  # fmt: skip
def same_domain(s: Setup):
    """Published: resnet20 of CIFAR-10 in a DynamicUnet, 8,000 images of CIFAR-10; pretraining by L1
    with Adam at 1e-4 for 20 epochs, nothing frozen; then binary cross-entropy of a PatchGAN, its
    weights from N(0, .02), + 100 × L1, Adam at 2e-4 with betas .5 and .999. It reports that the GAN
    raises L1 from .079 to .084, and makes the colors stronger.

    Differs: the PatchGAN is the one that fits 32×32 pixels (receptive field 16), the 70×70 one sees
    more than the image; the GAN trains for as many epochs as the L1, since its length was not
    published, nor were the batch sizes and the augmentation (flips here); L1 is measured on
    ab / 110.
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
    return [
        results.above("The GAN raises the L1 error.", ".079 → .084", "l1", "GAN", "U-Net"),
        results.above("The GAN's colors are stronger.", "", "colorfulness", "GAN", "U-Net"),
    ]


@recipe(
    "cross-domain",
    title="An encoder of another domain, CIFAR, against one of ImageNet, both on larger images",
    source="a fastai student project on transfer learning for GAN colorization, its part where "
    "encoder and images differ",
    data="stl10", size=96, limit=5000, epochs=20, batch_size=16, encoders=("resnet20", "resnet18"),
)  # fmt: skip
def cross_domain(s: Setup):
    """Published: resnet20 of CIFAR-10 against resnet18 of ImageNet, on 5,000 images of STL-10
    (96×96), other settings as in same-domain. It reports an L1 of .076 with the ImageNet encoder
    against .086, and colors that are not consistent where contrast is low.

    encoders: the CIFAR one, then the ImageNet one.

    Differs: as same-domain. Of STL-10's 5,000 labelled training images a tenth is kept for
    validation. "Consistent" is measured on images averaged to 16×16, by the variance of a and b
    inside the smoothest quarter of each, against the truth's. STL-10's pictures come from ImageNet
    (so do Tiny ImageNet's): an ImageNet encoder may have seen them. The two encoders bring decoders
    of different size with them.
    """
    models = {}
    for name, encoder in zip(("CIFAR", "ImageNet"), exactly(s.encoders, 2), strict=True):
        unet = Step(l1_pretraining(s, encoder))
        models |= {f"{name} U-Net": unet, f"{name} GAN": finetuned(s, unet)}
    results = yield models
    sides = [[f"{name} {kind}" for name in ("CIFAR", "ImageNet")] for kind in ("U-Net", "GAN")]
    return cross_domain_claims(results), [
        measure_bars(results, "l1", "colorfulness", "smooth_variance"),
        animation(results, [[GREY] * 2, *sides, [TRUE] * 2]),
        samples(results),
        loss_curves(results, *LOSSES),
    ]


def cross_domain_claims(results: Results) -> list[Claim]:
    """What the source of cross-domain says."""
    lower, still = "The ImageNet encoder's L1 is lower.", "It still is after the GAN."
    claims = [
        results.below(lower, ".076 against .086", "l1", "ImageNet U-Net", "CIFAR U-Net"),
        results.below(still, "", "l1", "ImageNet GAN", "CIFAR GAN"),
    ]
    quantity = "variance of ab in smooth regions minus that of the truth, CIE units²"
    for model in ("CIFAR GAN", "ImageNet GAN"):
        text = f"{model}: color is not consistent where contrast is low."
        values = results.values[model]
        more = values["smooth_variance"] - values["smooth_variance_true"]
        claims.append(claim(text, "seen in pictures", quantity, more, low=0))
    return claims


@recipe(
    "adapt-encoder",
    title="Does it close the domain gap to train the encoder on the target images first?",
    source="the future work that a fastai student project on transfer learning for GAN "
    "colorization names",
    data="stl10", size=96, limit=5000, epochs=20, batch_size=16, encoders=("resnet20", "resnet18"),
)  # fmt: skip
def adapt_encoder(s: Setup):
    """Published: no results, but the question (see same-domain and cross-domain): finetune the
    encoder on the target set, as a classifier of its labels, before it colors. Here the CIFAR
    encoder goes on by `train-encoder` on the target's classes (SGD, a tenth of its usual rate,
    batches of 128), for as many epochs as the L1 takes after it, and is compared with itself
    unadapted and with the ImageNet encoder.

    encoders: the CIFAR one, then the ImageNet one. Needs data whose folders are classes.

    Differs: nothing is published to differ from; of STL-10 a tenth is kept for validation.
    """
    cifar, imagenet = exactly(s.encoders, 2)
    arch = cifar.partition("@")[0]
    classifier = TrainEncoder(
        encoder=cifar if "@" in cifar else f"{cifar}@published", data=s.data, size=s.size,
        limit=s.limit, epochs=s.epochs, batch_size=128, lr=0.02,
    )  # fmt: skip
    unet = l1_pretraining(s, cifar)
    results = yield {
        "CIFAR": Step(unet),
        "adapted": Step(replace(unet, encoder=arch), Step(classifier, label="adapted encoder")),
        "ImageNet": Step(l1_pretraining(s, imagenet)),
    }
    return adapt_encoder_claims(results), [
        measure_bars(results, "l1", "colorfulness"),
        samples(results),
        loss_curves(results, *LOSSES),
    ]


def adapt_encoder_claims(results: Results) -> list[Claim]:
    """The question of adapt-encoder as claims."""
    gap = results.difference("l1", "CIFAR", "ImageNet")
    gained = results.difference("l1", "CIFAR", "adapted")
    lowers, asked = "Adapting the encoder to the target lowers L1.", "future work"
    closes = "It closes at least half of the gap."
    quantity = "what adapting gains in L1 minus half of the gap"
    return [
        results.above("There is a domain gap.", ".076 against .086", "l1", "CIFAR", "ImageNet"),
        results.above(lowers, asked, "l1", "CIFAR", "adapted"),
        claim(closes, asked, quantity, gained - gap / 2, low=0),
    ]
