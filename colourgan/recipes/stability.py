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
from colourgan.options import adapted
from colourgan.plans import Setup
from colourgan.recipes import figures
from colourgan.recipes.experiment import Results, recipe
from colourgan.recipes.sources import BATCH_VS_SPECTRAL, WASSERSTEIN
from colourgan.trainings import TrainGenerator

CURVES = ("d_loss", "g_loss", "valid_loss")


@recipe(
    "batch-vs-spectral",
    title="Batch norm in both networks against spectral norm in the discriminator",
    source=BATCH_VS_SPECTRAL,
    distances=("frechet",),
    data="cifar10", size=32, epochs=200, batch_size=32, width=64,
)  # fmt: skip
def batch_vs_spectral(s: Setup):
    """Published: a U-Net after Nazeri et al. on images resized to 35×35, against a discriminator of
    one logit an image; batch size 32, Adam with betas .5 and .999, learning rates of generator and
    discriminator × 0.1^(step / decay) but at least 1e-6, and the loss (1 − w) × adversarial +
    w × L1. Batch: label smoothing .9, w .99, rates 3e-4 and 6e-5, decay 60,000 steps, weights from
    N(0, .02), 200 epochs. Spectral: no smoothing, w .985, rates 2e-4 and 2e-4, decay 40,000,
    default initialization, 100 epochs. It reports that batch norm is vivid and over-colorizes
    blander images; that spectral norm is steadier, needs fewer steps and gives better and more
    believable colors; and that it stays grey where an object can have many colors.

    Norm, rates, smoothing, weights and initialization differ together: what is said of "batch" and
    "spectral" is said of these bundles. The control has the settings of batch norm with spectral
    norm in its place, and trains as long: what is said of it is said of the norm.

    epochs: of batch norm and of the control; spectral norm trains half as long, as published.

    Steadiness is compared over as many epochs, from one to the next, so that neither a trend nor
    the floor that smoothed labels give a loss counts. "Fewer steps" is judged where both end: ΔE of
    spectral norm after half the epochs against ΔE of batch norm after all of them, made as
    colorful, since by the error alone a grey model would win. Bland images are the quarter with the
    least true colorfulness. An object is a class: the folder that a test image lies in.
    """
    batch = TrainGenerator(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        generator="nazeri_unet", width=s.width, dropout=0.5, norm="batch",
        discriminator="imagegan", d_width=s.width, d_norm="batch", init="normal", real_label=0.9,
        reconstruction_weight=0.99 * AB_SCALE / 127, adversarial_weight=0.01, lr=3e-4, d_lr=6e-5,
        beta1=0.5, beta2=0.999, schedule="exponential", decay_steps=60_000, lr_floor=1e-6,
        augmentation="flip",
    )  # fmt: skip
    spectral = replace(
        batch, epochs=max(1, s.epochs // 2), d_norm="spectral", init="default", real_label=1.0,
        reconstruction_weight=0.985 * AB_SCALE / 127, adversarial_weight=0.015, lr=2e-4, d_lr=2e-4,
        decay_steps=40_000,
    )  # fmt: skip
    rival = Step(batch)
    results = yield {
        "batch": rival,
        "spectral": Step(spectral, rival=rival),
        "control": Step(replace(batch, d_norm="spectral"), rival=rival),
    }
    return norm_claims(results), [
        figures.loss_curves(results, *CURVES),
        figures.measure_bars(results, "l1", "colorfulness"),
        *[figures.samples(results, *chosen) for chosen in telling(results)],
        *[figures.over_epochs(results, model) for model in results.cells],
    ]


def norm_claims(results: Results) -> list[Claim]:
    """What the source of batch-vs-spectral says of its bundles, then the same of the norm alone."""
    words, pictures = "in words (README.md:37)", "in words and pictures (README.md:35-37)"
    control, both = "the same, with equal settings", ("spectral", "batch")
    fewer = "The spectral bundle gets there in fewer steps."
    values = results.values["batch"]
    true = results.true("colorfulness")
    bland = true <= true.quantile(0.25)
    over = (values["colorfulness"] - true)[:, bland]
    quantity = "colorfulness in the blandest quarter of the images: batch minus the truth"
    claims = [
        steadier(results, "The spectral bundle is steadier.", words, "spectral"),
        results.beyond_saturation(fewer, *both, metric="delta_e")._replace(
            published="100 epochs against 200 (README.md:19-25)"
        ),
        results.below(
            "The spectral bundle's colors are more believable.", words, "frechet", *both
        ),
        results.above(
            "The batch bundle is more vivid.", pictures, "colorfulness", "batch", "spectral"
        ),
        claim(
            "The batch bundle over-colorizes blander images.", "in words (README.md:35)", quantity,
            over, low=0, void=results.void("batch"),
        ),
    ]  # fmt: skip
    variety, void = class_variety(results.images), results.void(*both)
    gain = results.difference("colorfulness", "batch", "spectral")
    if variety is None:
        variety = torch.full(gain.shape[1:], torch.nan)
        void = "the test images have no classes"
    together = (variety - variety.mean()) * (gain - gain.mean(1, keepdim=True))
    quantity = (
        "how much more colorful batch is than spectral, times how far the colors of the image's "
        "class vary above the mean of these classes"
    )
    text = "The spectral bundle is greyer where an object can have many colors."
    return [
        *claims,
        claim(text, pictures, quantity, together, low=0, void=void),
        steadier(results, "Spectral norm alone is steadier.", control, "control"),
        results.below(
            "Spectral norm alone is more believable.", control, "frechet", "control", "batch"
        ),
        results.above(
            "Batch norm alone is more vivid.", control, "colorfulness", "batch", "control"
        ),
    ]


def steadier(results: Results, text: str, published: str, model: str) -> Claim:
    """The claim that a model's D loss jumps less from epoch to epoch than that of batch norm."""
    losses = {name: results.column(name, "d_loss") for name in (model, "batch")}
    length = min(len(seed) for seeds in losses.values() for seed in seeds)
    one, other = ([unsteadiness(seed[:length]) for seed in each] for each in losses.values())
    quantity = f"spread of the D loss from epoch to epoch: {model} minus batch, {length} epochs"
    void = results.void(model, "batch")
    return claim(text, published, quantity, np.subtract(one, other), high=0, void=void)


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
        ranked = order.argsort(descending=True)[: figures.PICTURED].tolist()
        if rows := [row for row in ranked if order[row] > 0]:  # there may be none
            found.append((rows, f"{name.replace(' ', '-')}.png", f"{name.capitalize()}, by ΔE."))
    return found


@recipe(
    "wasserstein",
    title="A Wasserstein GAN with gradient penalty, beside the same networks with cross-entropy",
    source=WASSERSTEIN,
    data="cifar10", size=32, epochs=100, batch_size=16, width=256,
)  # fmt: skip
def wasserstein(s: Setup):
    """Published: a U-Net of 256-512-512-1024 channels with residual blocks on the way up and
    dropout of .2, a PatchGAN with layer norm that sees noisy colors, gradient penalty × 25,
    L1 × 100, five steps of the discriminator on each batch and one of the generator, Adam at 2e-4
    with betas .5 and .99, batches of 16, 100 epochs of 3,125 steps. It shows the D loss with its
    penalty going to 0 and the L1 of training falling; that such a training is steadier and
    collapses less than with cross-entropy is its text's, not its experiment's.

    width: of the generator; the discriminator's is a quarter of it, as published.

    The D loss and L1 are judged as the source plots them: with the penalty, on training images;
    without it, and on validation images, in claims beside them. Collapse is measured by how far the
    mean color of an image lies from that of all.
    """
    wgan = TrainGenerator(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        generator="residual_unet", width=s.width, norm="batch", dropout=0.2, init="normal",
        discriminator="patchgan94", d_width=max(1, s.width // 4), d_norm="layer",
        objective="wgan_gp", penalty_weight=25.0, reconstruction_weight=100 * AB_SCALE / 127.5,
        d_steps=5, same_batch=True, d_noise_l=0.1, d_noise_ab=0.1 * 127.5 / AB_SCALE,
        lr=2e-4, d_lr=2e-4, beta1=0.5, beta2=0.99, augmentation="none",
    )  # fmt: skip
    bce = adapted(wgan, objective="bce", d_norm="batch", d_steps=1, same_batch=False)
    results = yield {"WGAN-GP": Step(wgan), "BCE": Step(bce)}
    judged = {
        "size of the D loss over its largest": {"WGAN-GP": d_sizes(results, True)},
        "L1 of training images": {m: results.column(m, "train_loss") for m in results.cells},
    }
    return wasserstein_claims(results), [
        figures.quantity_curves(
            results, judged, "judged.png",
            "What is judged: the D loss with its penalty, below a half at the end, and L1.",
            bounds={"size of the D loss over its largest": 0.5},
        ),
        figures.loss_curves(results, *CURVES, "d_penalty"),
        figures.measure_bars(results, "l1", "colorfulness"),
        figures.samples(results),
        *[figures.over_epochs(results, model) for model in results.cells],
        *figures.grey_files(results),
    ]  # fmt: skip


def d_sizes(results: Results, penalty: bool) -> list[list[float]]:
    """The size of WGAN-GP's D loss at each epoch over its largest, for each seed.

    penalty: with the gradient penalty, as the source plots it. NaN if it was 0 throughout.
    """
    columns = (results.column("WGAN-GP", name) for name in ("d_loss", "d_penalty"))
    sizes = [np.abs(np.subtract(d, 0 if penalty else p)) for d, p in zip(*columns, strict=True)]
    return [(each / (each.max() or math.nan)).tolist() for each in sizes]


def wasserstein_claims(results: Results) -> list[Claim]:
    """What the source of wasserstein shows, the same judged otherwise, and what its text says.

    Fewer than three epochs say nothing of a course.
    """
    models = "WGAN-GP", "BCE"
    l1 = {model: results.column(model, "valid_loss") for model in models}
    wgan, bce = ([unsteadiness(losses) for losses in each] for each in l1.values())
    means = {m: torch.stack([results.values[m][ab] for ab in ("mean_a", "mean_b")]) for m in l1}
    variety = {m: (ab - ab.mean(2, keepdim=True)).square().sum(0) for m, ab in means.items()}
    size = "size of the D loss in the last epoch over its largest of any{}; below a half counts"
    jumps = "spread of validation L1 from epoch to epoch, WGAN-GP minus BCE"
    far = "squared distance of an image's mean ab from that of all, CIE units², WGAN-GP minus BCE"
    curve, beside = "a curve (README.md, Loss Curves)", "judged otherwise: {}"
    textbook = "a textbook statement (README.md, Advantages); cross-entropy was not trained"
    gain, void = variety["WGAN-GP"] - variety["BCE"], results.void("WGAN-GP")
    both = results.void(*models)
    found = []
    for penalty, published, what in (
        (True, curve, ""),
        (False, beside.format("without the penalty"), ", without the penalty"),
    ):
        left = [sizes[-1] if len(sizes) > 2 else math.nan for sizes in d_sizes(results, penalty)]
        text = f"The D loss goes to 0{what}."
        found.append(claim(text, published, size.format(what), left, high=0.5, void=void))
    for column, published, images in (
        ("train_loss", curve, "training"),
        ("valid_loss", beside.format("on validation images"), "validation"),
    ):
        losses = results.column("WGAN-GP", column)
        fallen = [each[-1] - each[0] if len(each) > 2 else math.nan for each in losses]
        quantity = f"WGAN-GP's {images} L1 in the last epoch minus that in the first"
        text = f"L1 of {images} images falls."
        found.append(claim(text, published, quantity, fallen, high=0, void=void))
    steady, collapses = "It is steadier than cross-entropy.", "It collapses less."
    return [
        *found,
        claim(steady, textbook, jumps, np.subtract(wgan, bce), high=0, void=both),
        claim(collapses, textbook, far, gain, low=0, void=both),
    ]
