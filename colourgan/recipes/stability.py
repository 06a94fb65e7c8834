"""How steady the training is: norms against each other, and Wasserstein against cross-entropy."""

from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from colourgan.claims import claim
from colourgan.learners import train_generator
from colourgan.metrics import colorfulness
from colourgan.recipes.experiment import PICTURED, Experiment, Findings, Results, column
from colourgan.recipes.figures import Figure, loss_curves, measure_bars, over_epochs, samples
from colourgan.recipes.registry import RECIPES

SHOWN_EPOCHS = (1, 10, 25, 50, 100)
COLORLESS = 1.0  # colorfulness below which a file is grey though stored in color


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

    Source: the student project on CIFAR-10 that compares the two in a U-Net against a discriminator
    of one logit an image, which reads 35×35 pixels. Published: batch size 32, learning rates of
    generator and discriminator × 0.1^(step / decay) but at least 1e-6, and the loss
    (1 − w) × adversarial + w × L1. Batch: label smoothing .9, w .99, rates 3e-4 and 6e-5, decay
    60,000 steps, weights from its own initialization, 200 epochs. Spectral: no smoothing, w .985,
    rates 2e-4 and 2e-4, decay 40,000, default initialization, 100 epochs. It reports that spectral
    norm is steadier (D loss) and needs fewer steps; that batch norm is more vivid; and that
    spectral norm stays grey where an object can have many colors.
    epochs: of batch norm; spectral norm trains half as long, as published.
    Differs: the generator is the pix2pix U-Net with batch norm in both; "its own initialization"
    is N(0, .02); Adam's betas, not published, are .5 and .999.
    """
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
    batch = partial(
        train_generator,
        d_norm="batch",
        init="normal",
        real_label=0.9,
        reconstruction_weight=0.99,
        adversarial_weight=0.01,
        lr=3e-4,
        d_lr=6e-5,
        decay_steps=60_000,
        epochs=epochs,
        **shared,
    )
    spectral = partial(
        train_generator,
        d_norm="spectral",
        init="default",
        reconstruction_weight=0.985,
        adversarial_weight=0.015,
        lr=2e-4,
        d_lr=2e-4,
        decay_steps=40_000,
        epochs=max(1, epochs // 2),
        **shared,
    )
    models = {
        "batch": experiment.train("batch", batch),
        "spectral": experiment.train("spectral", spectral),
    }
    results = experiment.evaluate(models, data, size)
    claims = [
        claim(
            "Spectral norm is steadier.",
            "seen in curves",
            "spread of the D loss over epochs, spectral minus batch: standard deviation / mean",
            _relative_spread(models["spectral"]) - _relative_spread(models["batch"]),
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
    notes = []
    if ambiguous := _ambiguity(results):
        claims.append(
            claim(
                "Spectral norm is greyer where an object can have many colors.",
                "seen in pictures",
                "correlation over classes between how much their true colors vary and by how much "
                "batch is more colorful than spectral",
                ambiguous,
                low=0,
            )
        )
    else:
        notes.append("Greyness by object is not measured: the test images have no class in a name.")
    columns = ("grey", *models, "true")
    figures = [
        loss_curves(experiment, models, ("d_loss", "g_loss", "valid_loss")),
        measure_bars(experiment, results, ("l1", "colorfulness")),
        *[samples(experiment, results, columns, *chosen) for chosen in _telling(results)],
    ]
    return Findings(models, results, claims, figures, notes)


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

    Source: the student project that trains WGAN-GP (Gulrajani et al., "Improved Training of
    Wasserstein GANs", 2017) on CIFAR-10: U-Net, PatchGAN, gradient penalty × 10, L1 × 100, five
    steps of the discriminator a step of the generator, Adam at 2e-4 with betas .5 and .99, layer
    norm in the discriminator, batches of 16, 100 epochs. It reports that the D loss goes to 0 while
    L1 falls, and that training is steadier and collapses less than with cross-entropy.
    Differs: the penalty is the paper's (a mixture uniform for each image, the norm over all of its
    values); the network with cross-entropy has batch norm and one step each, as in pix2pix.
    Collapse is measured by how much the mean color differs from image to image.
    """
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
    results = experiment.evaluate(models, data, size)
    runs = models["WGAN-GP"]
    claims = [
        claim(
            "The D loss goes to 0.",
            "seen in curves",
            "size of WGAN-GP's D loss in the last epoch over that in the first",
            [abs(losses[-1]) / max(abs(losses[0]), 1e-8) for losses in column(runs, "d_loss")],
            high=1,
        ),
        claim(
            "L1 falls.",
            "seen in curves",
            "WGAN-GP's validation L1 in the last epoch minus that in the first",
            [losses[-1] - losses[0] for losses in column(runs, "valid_loss")],
            high=0,
        ),
        claim(
            "It is steadier than cross-entropy.",
            "seen in curves",
            "spread of validation L1 about its trend, WGAN-GP minus BCE",
            _unsteadiness(runs) - _unsteadiness(models["BCE"]),
            high=0,
        ),
        claim(
            "It collapses less than cross-entropy.",
            "seen in pictures",
            "spread of mean ab over images, WGAN-GP minus BCE, CIE units",
            _spread(results, "WGAN-GP") - _spread(results, "BCE"),
            low=0,
        ),
    ]
    columns = ("grey", *models, "true")
    shown = [epoch for epoch in SHOWN_EPOCHS if epoch < epochs] + [epochs]
    figures = [
        loss_curves(experiment, models, ("d_loss", "g_loss", "valid_loss")),
        measure_bars(experiment, results, ("l1", "colorfulness")),
        samples(experiment, results, columns),
        over_epochs(experiment, "WGAN-GP", runs[0], shown, "wgan-epochs.png"),
        over_epochs(experiment, "BCE", models["BCE"][0], shown, "bce-epochs.png"),
        _colorless(experiment, results, columns),
    ]
    return Findings(models, results, claims, figures)


def _relative_spread(runs: list[Path]) -> Tensor:
    """(S,): standard deviation of a run's D loss over its epochs as a share of its mean.

    As a share, since smoothed labels bound the loss of one of the two from below.
    """
    losses = [torch.tensor(each) for each in column(runs, "d_loss")]
    return torch.stack([each.std(correction=0) / each.mean() for each in losses])


def _unsteadiness(runs: list[Path]) -> Tensor:
    """(S,): mean size of the second differences of validation L1; 0 for a straight line."""
    losses = torch.tensor(column(runs, "valid_loss"))
    if losses.shape[1] < 3:
        return torch.full((len(losses),), torch.nan)
    return losses.diff(n=2).abs().mean(1)


def _spread(results: Results, model: str) -> Tensor:
    """(S,): standard deviation of an image's mean color over the test images, CIE units."""
    values = results.values[model]
    return torch.stack([values["mean_a"], values["mean_b"]]).std(2).mean(0)


def _ambiguity(results: Results) -> list[float]:
    """One correlation a seed over classes; empty if there are fewer than 3 classes.

    A test image's class is its folder.
    """
    rows = defaultdict(list)
    for row, file in enumerate(results.images.files):
        rows[file.parent].append(row)
    groups = [group for group in rows.values() if len(group) > 1]
    if len(groups) < 3:
        return []
    true = results.images.true_ab().mean((2, 3))
    variety = torch.stack([true[group].std(0).sum() for group in groups]).double()
    gains = results.difference("colorfulness", "batch", "spectral").double()
    by_class = torch.stack([gains[:, group].mean(1) for group in groups], dim=1)
    return [torch.corrcoef(torch.stack([variety, gain]))[0, 1].item() for gain in by_class]


def _telling(results: Results) -> list[tuple[list[int], str, str]]:
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


def _colorless(experiment: Experiment, results: Results, columns: tuple[str, ...]) -> Figure:
    """What becomes of files that are grey, or of the least colorful ones if none is."""
    true = torch.cat([colorfulness(part / 255) for part in results.images.rgb.split(256)])
    rows = true.argsort()[:PICTURED].tolist()
    count = int((true < COLORLESS).sum())
    caption = f"Test images that are grey themselves: {count} of {len(true)}"
    caption += "." if count >= PICTURED else "; with the least colorful ones."
    return samples(experiment, results, columns, rows, "grey-files.png", caption)
