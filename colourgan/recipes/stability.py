"""How steady the training is: norms against each other, and Wasserstein against cross-entropy."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from colourgan.color import AB_SCALE
from colourgan.evaluate import ImageSet
from colourgan.experiments.judge import Claim, claim
from colourgan.experiments.steps import Step
from colourgan.plans import Setup
from colourgan.recipes import figures
from colourgan.recipes.experiment import Results, recipe
from colourgan.trainings import TrainGenerator

CURVES = ("d_loss", "g_loss", "valid_loss")


@recipe(
    "batch-vs-spectral",
    title="Batch norm in both networks against spectral norm in the discriminator",
    source="a student project on CIFAR-10 that compares the two in a U-Net against a discriminator "
    "of one logit an image, which reads 35×35 pixels",
    data="cifar10", size=32, epochs=200, batch_size=32, width=64,
)  # fmt: skip
def batch_vs_spectral(s: Setup):
    """Published: batch size 32, learning rates of generator and discriminator × 0.1^(step / decay)
    but at least 1e-6, and the loss (1 − w) × adversarial + w × L1. Batch: label smoothing .9,
    w .99, rates 3e-4 and 6e-5, decay 60,000 steps, weights from its own initialization, 200 epochs.
    Spectral: no smoothing, w .985, rates 2e-4 and 2e-4, decay 40,000, default initialization, 100
    epochs. It reports that spectral norm is steadier (D loss) and needs fewer steps; that batch
    norm is more vivid; and that spectral norm stays grey where an object can have many colors.

    epochs: of batch norm; spectral norm trains half as long, as published.

    Differs: the generator is the pix2pix U-Net with batch norm and dropout of .5 in both, its ab
    bounded to the range of sRGB; "its own initialization" is N(0, .02); Adam's betas, not
    published, are .5 and .999. Steadiness is compared over as many epochs, from one to the next, so
    that neither a trend nor the floor that smoothed labels give a loss counts. An object is a
    class: the folder that a test image lies in.
    """
    batch = TrainGenerator(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        width=s.width, d_width=s.width, discriminator="imagegan", d_norm="batch", init="normal",
        real_label=0.9, reconstruction_weight=0.99, adversarial_weight=0.01, lr=3e-4, d_lr=6e-5,
        schedule="exponential", decay_steps=60_000, lr_floor=1e-6, augmentation="flip",
    )  # fmt: skip
    spectral = replace(
        batch, epochs=max(1, s.epochs // 2), d_norm="spectral", init="default", real_label=1.0,
        reconstruction_weight=0.985, adversarial_weight=0.015, lr=2e-4, d_lr=2e-4,
        decay_steps=40_000,
    )  # fmt: skip
    results = yield {"batch": Step(batch), "spectral": Step(spectral)}
    return norm_claims(results), [
        figures.loss_curves(results, *CURVES),
        figures.measure_bars(results, "l1", "colorfulness"),
        *[figures.samples(results, *chosen) for chosen in telling(results)],
        *[figures.over_epochs(results, model) for model in results.cells],
    ]


def norm_claims(results: Results) -> list[Claim]:
    """What the source of batch-vs-spectral says."""
    losses = {model: results.column(model, "d_loss") for model in ("spectral", "batch")}
    length = min(len(seed) for seeds in losses.values() for seed in seeds)
    spectral, batch = ([unsteadiness(seed[:length]) for seed in each] for each in losses.values())
    steadier, seen = np.subtract(spectral, batch), "seen in pictures"
    spread = f"spread of the D loss from epoch to epoch, spectral minus batch, {length} epochs"
    fewer, epochs = "Spectral norm gets there in fewer steps.", "100 epochs against 200"
    half = "L1 of spectral after half the epochs minus L1 of batch after all of them"
    claims = [
        claim("Spectral norm is steadier.", "seen in curves", spread, steadier, high=0),
        claim(fewer, epochs, half, results.difference("l1", "spectral", "batch"), high=0),
        results.above("Batch norm is more vivid.", seen, "colorfulness", "batch", "spectral"),
    ]
    variety = class_variety(results.images)
    if variety is not None:
        gain = results.difference("colorfulness", "batch", "spectral")
        together = (variety - variety.mean()) * (gain - gain.mean(1, keepdim=True))
        quantity = (
            "how much more colorful batch is than spectral, times how far the colors of the "
            "image's class vary above the mean of these classes"
        )
        text = "Spectral norm is greyer where an object can have many colors."
        claims.append(claim(text, seen, quantity, together, low=0))
    return claims


def unsteadiness(losses: Sequence[float]) -> float:
    """How far a loss jumps from epoch to epoch: σ of its differences / √2; NaN under 3 epochs.

    Of numbers that are independent it is their standard deviation; a straight trend adds nothing.
    """
    return float(np.diff(losses).std() / math.sqrt(2)) if len(losses) > 2 else math.nan


def class_variety(images: ImageSet) -> Tensor | None:
    """(N,): how far the true mean colors in an image's class vary, in CIE units.

    None if there are fewer than 3 classes with 2 images. A class is a folder.
    """
    members = defaultdict(list)
    for number, file in enumerate(images.files):
        members[file.parent].append(number)
    if sum(len(group) > 1 for group in members.values()) < 3:
        return None
    means = [images.true_ab(rows).mean((2, 3)) for rows in images.batches("classes")]
    true = torch.cat(means) * AB_SCALE
    variety = torch.zeros(len(true))
    for group in members.values():
        variety[group] = true[group].std(0, correction=0).sum()
    return variety


def telling(results: Results) -> list[tuple[list[int], str, str]]:
    """(rows, file, caption) of the images that set the two norms apart, and of the hardest."""
    batch, spectral = (results.values[name]["delta_e"].nanmean(0) for name in ("batch", "spectral"))
    found = []
    for name, order in (
        ("spectral better", batch - spectral),
        ("batch better", spectral - batch),
        ("both struggle", torch.minimum(batch, spectral)),
    ):
        rows = order.argsort(descending=True)[: figures.PICTURED].tolist()
        found.append((rows, f"{name.replace(' ', '-')}.png", f"{name.capitalize()}, by ΔE."))
    return found


@recipe(
    "wasserstein",
    title="A Wasserstein GAN with gradient penalty, beside the same networks with cross-entropy",
    source="a student project that trains WGAN-GP (Gulrajani et al., “Improved Training of "
    "Wasserstein GANs”, 2017) on CIFAR-10",
    data="cifar10", size=32, epochs=100, batch_size=16, width=64,
)  # fmt: skip
def wasserstein(s: Setup):
    """Published: U-Net, PatchGAN, gradient penalty × 10, L1 × 100, five steps of the discriminator
    a step of the generator, Adam at 2e-4 with betas .5 and .99, layer norm in the discriminator,
    batches of 16, 100 epochs. It reports that the D loss goes to 0 while L1 falls, and that
    training is steadier and collapses less than with cross-entropy.

    Differs: the penalty is the paper's (a mixture uniform for each image, the norm over all of its
    values); the network with cross-entropy has batch norm and one step each, as in pix2pix, so that
    in an epoch its generator takes five times as many steps; ab is bounded to the range of sRGB.
    The D loss judged is that without the penalty. Collapse is measured by how far the mean color of
    an image lies from that of all.
    """
    bce = TrainGenerator(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        width=s.width, d_width=s.width, dropout=0.5, d_norm="batch", objective="bce",
        reconstruction_weight=100.0, lr=2e-4, d_lr=2e-4, beta1=0.5, beta2=0.99, augmentation="flip",
    )  # fmt: skip
    wgan = replace(bce, objective="wgan_gp", penalty_weight=10.0, d_norm="layer", d_steps=5)
    results = yield {"WGAN-GP": Step(wgan), "BCE": Step(bce)}
    return wasserstein_claims(results), [
        figures.loss_curves(results, *CURVES, "d_penalty"),
        figures.measure_bars(results, "l1", "colorfulness"),
        figures.samples(results),
        *[figures.over_epochs(results, model) for model in results.cells],
        *figures.grey_files(results),
    ]


def wasserstein_claims(results: Results) -> list[Claim]:
    """What the source of wasserstein says."""
    columns = (results.column("WGAN-GP", name) for name in ("d_loss", "d_penalty"))
    sizes = [np.abs(np.subtract(*each)) for each in zip(*columns, strict=True)]
    l1 = {model: results.column(model, "valid_loss") for model in ("WGAN-GP", "BCE")}
    wgan, bce = ([unsteadiness(losses) for losses in each] for each in l1.values())
    left = [each[-1] / max(each.max(), 1e-12) for each in sizes]
    fallen = [losses[-1] - losses[0] for losses in l1["WGAN-GP"]]
    means = {m: torch.stack([results.values[m][ab] for ab in ("mean_a", "mean_b")]) for m in l1}
    variety = {m: (ab - ab.mean(2, keepdim=True)).square().sum(0) for m, ab in means.items()}
    size = "size of the D loss (without penalty) in the last epoch over its largest of any; "
    last = "WGAN-GP's validation L1 in the last epoch minus that in the first"
    jumps = "spread of validation L1 from epoch to epoch, WGAN-GP minus BCE"
    far = "squared distance of an image's mean ab from that of all, CIE units², WGAN-GP minus BCE"
    seen, gain = "seen in curves", variety["WGAN-GP"] - variety["BCE"]
    collapses = "It collapses less than cross-entropy."
    return [
        claim("The D loss goes to 0.", seen, f"{size}below a half counts", left, high=0.5),
        claim("L1 falls.", seen, last, fallen, high=0),
        claim("It is steadier than cross-entropy.", seen, jumps, np.subtract(wgan, bce), high=0),
        claim(collapses, "seen in pictures", far, gain, low=0),
    ]
