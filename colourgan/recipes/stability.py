"""How steady the training is: norms against each other, and Wasserstein against cross-entropy."""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from colourgan.claims import Claim, claim
from colourgan.color import AB_SCALE
from colourgan.learners import train_generator
from colourgan.recipes.experiment import PICTURED, Experiment, Findings, Results
from colourgan.recipes.figures import grey_files, loss_curves, measure_bars, over_epochs, samples
from colourgan.recipes.registry import RECIPES

CURVES = ("d_loss", "g_loss", "valid_loss")
BATCH = {
    "d_norm": "batch",
    "init": "normal",
    "real_label": 0.9,
    "reconstruction_weight": 0.99,
    "adversarial_weight": 0.01,
    "lr": 3e-4,
    "d_lr": 6e-5,
    "decay_steps": 60_000,
}
SPECTRAL = {
    "d_norm": "spectral",
    "init": "default",
    "reconstruction_weight": 0.985,
    "adversarial_weight": 0.015,
    "lr": 2e-4,
    "d_lr": 2e-4,
    "decay_steps": 40_000,
}


@RECIPES.register("batch-vs-spectral")
def batch_vs_spectral(
    experiment: Experiment,
    data: str = "cifar10",
    size: int = 32,
    limit: int | None = None,
    epochs: int = 200,
    batch_size: int = 32,
    width: int = 64,
) -> Findings:
    """Batch norm in both networks against spectral norm in the discriminator.

    Source: a student project on CIFAR-10 that compares the two in a U-Net against a discriminator
    of one logit an image, which reads 35×35 pixels. Published: batch size 32, learning rates of
    generator and discriminator × 0.1^(step / decay) but at least 1e-6, and the loss
    (1 − w) × adversarial + w × L1. Batch: label smoothing .9, w .99, rates 3e-4 and 6e-5, decay
    60,000 steps, weights from its own initialization, 200 epochs. Spectral: no smoothing, w .985,
    rates 2e-4 and 2e-4, decay 40,000, default initialization, 100 epochs. It reports that spectral
    norm is steadier (D loss) and needs fewer steps; that batch norm is more vivid; and that
    spectral norm stays grey where an object can have many colors.
    epochs: of batch norm; spectral norm trains half as long, as published.
    Differs: the generator is the pix2pix U-Net with batch norm and dropout of .5 in both, its ab
    bounded to the range of sRGB; "its own initialization" is N(0, .02); Adam's betas, not
    published, are .5 and .999. Steadiness is compared over as many epochs, from one to the next, so
    that neither a trend nor the floor that smoothed labels give a loss counts. An object is a
    class: the folder that a test image lies in.
    """
    experiment.open(data, size)
    shared = {
        "data": data,
        "size": size,
        "limit": limit,
        "batch_size": batch_size,
        "width": width,
        "norm": "batch",
        "discriminator": "imagegan",
        "d_width": width,
        "objective": "bce",
        "schedule": "exponential",
        "lr_floor": 1e-6,
        "augmentation": "flip",
    }
    batch = partial(train_generator, epochs=epochs, **BATCH, **shared)
    spectral = partial(train_generator, epochs=max(1, epochs // 2), **SPECTRAL, **shared)
    models = {
        "batch": experiment.train("batch", batch),
        "spectral": experiment.train("spectral", spectral),
    }
    results = experiment.evaluate(models)
    d_losses = {name: experiment.column(runs, "d_loss") for name, runs in models.items()}
    columns = ("grey", *models, "true")
    figures = [
        loss_curves(experiment, models, CURVES),
        measure_bars(experiment, results, ("l1", "colorfulness")),
        *[samples(experiment, results, columns, *chosen) for chosen in telling(results)],
        *[over_epochs(experiment, name, runs[0]) for name, runs in models.items()],
    ]
    return Findings(models, results, norm_claims(results, d_losses), figures)


def norm_claims(results: Results, d_losses: dict[str, list[list[float]]]) -> list[Claim]:
    """What the source of batch-vs-spectral says; d_losses: model → for each seed its D losses."""
    length = min(len(losses) for seeds in d_losses.values() for losses in seeds)
    spectral, batch = (
        [unsteadiness(losses[:length]) for losses in d_losses[name]]
        for name in ("spectral", "batch")
    )
    claims = [
        claim(
            "Spectral norm is steadier.",
            "seen in curves",
            f"spread of the D loss from epoch to epoch, spectral minus batch, {length} epochs",
            np.subtract(spectral, batch),
            high=0,
        ),
        claim(
            "Spectral norm gets there in fewer steps.",
            "100 epochs against 200",
            "L1 of spectral after half the epochs minus L1 of batch after all of them",
            results.difference("l1", "spectral", "batch"),
            high=0,
        ),
        claim(
            "Batch norm is more vivid.",
            "seen in pictures",
            "colorfulness of batch minus that of spectral",
            results.difference("colorfulness", "batch", "spectral"),
            low=0,
        ),
    ]
    return claims + _greyness_claim(results)


def _greyness_claim(results: Results) -> list[Claim]:
    """None without classes."""
    variety = class_variety(results)
    if variety is None:
        return []
    gain = results.difference("colorfulness", "batch", "spectral")
    return [
        claim(
            "Spectral norm is greyer where an object can have many colors.",
            "seen in pictures",
            "how much more colorful batch is than spectral, times how far the colors of the "
            "image's class vary above the mean of these classes",
            (variety - variety.mean()) * (gain - gain.mean(1, keepdim=True)),
            low=0,
        )
    ]


@RECIPES.register("wasserstein")
def wasserstein(
    experiment: Experiment,
    data: str = "cifar10",
    size: int = 32,
    limit: int | None = None,
    epochs: int = 100,
    batch_size: int = 16,
    width: int = 64,
) -> Findings:
    """A Wasserstein GAN with gradient penalty, beside the same networks with cross-entropy.

    Source: a student project that trains WGAN-GP (Gulrajani et al., "Improved Training of
    Wasserstein GANs", 2017) on CIFAR-10: U-Net, PatchGAN, gradient penalty × 10, L1 × 100, five
    steps of the discriminator a step of the generator, Adam at 2e-4 with betas .5 and .99, layer
    norm in the discriminator, batches of 16, 100 epochs. It reports that the D loss goes to 0 while
    L1 falls, and that training is steadier and collapses less than with cross-entropy.
    Differs: the penalty is the paper's (a mixture uniform for each image, the norm over all of its
    values); the network with cross-entropy has batch norm and one step each, as in pix2pix, so that
    in an epoch its generator takes five times as many steps; ab is bounded to the range of sRGB.
    The D loss judged is that without the penalty. Collapse is measured by how far the mean color of
    an image lies from that of all.
    """
    experiment.open(data, size)
    base = partial(
        train_generator,
        data,
        size,
        limit,
        width=width,
        d_width=width,
        dropout=0.5,
        reconstruction_weight=100.0,
        epochs=epochs,
        batch_size=batch_size,
        lr=2e-4,
        d_lr=2e-4,
        beta1=0.5,
        beta2=0.99,
        augmentation="flip",
    )
    penalized = {"objective": "wgan_gp", "penalty_weight": 10.0, "d_norm": "layer", "d_steps": 5}
    models = {
        "WGAN-GP": experiment.train("wgan", partial(base, **penalized)),
        "BCE": experiment.train("bce", partial(base, objective="bce", d_norm="batch")),
    }
    results = experiment.evaluate(models)
    runs = models["WGAN-GP"]
    columns = (experiment.column(runs, name) for name in ("d_loss", "d_penalty"))
    distances = [np.subtract(*each) for each in zip(*columns, strict=True)]
    l1 = {name: experiment.column(each, "valid_loss") for name, each in models.items()}
    columns = ("grey", *models, "true")
    figures = [
        loss_curves(experiment, models, (*CURVES, "d_penalty")),
        measure_bars(experiment, results, ("l1", "colorfulness")),
        samples(experiment, results, columns),
        *[over_epochs(experiment, name, each[0]) for name, each in models.items()],
        *grey_files(experiment, results, [each[0] for each in models.values()], columns[:-1]),
    ]
    return Findings(models, results, wasserstein_claims(results, distances, l1), figures)


def wasserstein_claims(
    results: Results, distances: Sequence[Sequence[float]], l1: dict[str, list[list[float]]]
) -> list[Claim]:
    """What the source of wasserstein says, of the models "WGAN-GP" and "BCE".

    distances: for each seed WGAN-GP's D loss without the penalty, epoch by epoch; l1: model → for
    each seed its validation L1.
    """
    sizes = [np.abs(each) for each in distances]
    steadiness = {name: [unsteadiness(losses) for losses in seeds] for name, seeds in l1.items()}
    return [
        claim(
            "The D loss goes to 0.",
            "seen in curves",
            "size of the D loss (without penalty) in the last epoch over its largest of any; "
            "below a half counts",
            [each[-1] / max(each.max(), 1e-12) for each in sizes],
            high=0.5,
        ),
        claim(
            "L1 falls.",
            "seen in curves",
            "WGAN-GP's validation L1 in the last epoch minus that in the first",
            [losses[-1] - losses[0] for losses in l1["WGAN-GP"]],
            high=0,
        ),
        claim(
            "It is steadier than cross-entropy.",
            "seen in curves",
            "spread of validation L1 from epoch to epoch, WGAN-GP minus BCE",
            np.subtract(steadiness["WGAN-GP"], steadiness["BCE"]),
            high=0,
        ),
        claim(
            "It collapses less than cross-entropy.",
            "seen in pictures",
            "squared distance of an image's mean ab from that of all, CIE units², "
            "WGAN-GP minus BCE",
            variety_of_images(results, "WGAN-GP") - variety_of_images(results, "BCE"),
            low=0,
        ),
    ]


def unsteadiness(losses: Sequence[float]) -> float:
    """How far a loss jumps from epoch to epoch: σ of its differences / √2; NaN under 3 epochs.

    Of numbers that are independent it is their standard deviation; a straight trend adds nothing.
    """
    return float(np.diff(losses).std() / math.sqrt(2)) if len(losses) > 2 else math.nan


def variety_of_images(results: Results, model: str) -> Tensor:
    """(S, N): squared distance of an image's mean ab from that of all images, CIE units²."""
    means = torch.stack([results.values[model][name] for name in ("mean_a", "mean_b")])
    return (means - means.mean(2, keepdim=True)).square().sum(0)


def class_variety(results: Results) -> Tensor | None:
    """(N,): how far the true mean colors in an image's class vary, in CIE units.

    None if there are fewer than 3 classes with 2 images. A class is a folder.
    """
    rows = defaultdict(list)
    for row, file in enumerate(results.images.files):
        rows[file.parent].append(row)
    if sum(len(group) > 1 for group in rows.values()) < 3:
        return None
    true = results.images.true_ab().mean((2, 3)) * AB_SCALE
    variety = torch.zeros(len(true))
    for group in rows.values():
        variety[group] = true[group].std(0, correction=0).sum()
    return variety


def telling(results: Results) -> list[tuple[list[int], str, str]]:
    """(rows, file, caption) of the images that set the two norms apart, and of the hardest."""
    batch, spectral = (results.values[name]["delta_e"].mean(0) for name in ("batch", "spectral"))
    orders = {
        "spectral better": (batch - spectral, "spectral-better.png"),
        "batch better": (spectral - batch, "batch-better.png"),
        "both struggle": (torch.minimum(batch, spectral), "both-struggle.png"),
    }
    return [
        (order.argsort(descending=True)[:PICTURED].tolist(), file, f"{name.capitalize()}, by ΔE.")
        for name, (order, file) in orders.items()
    ]
