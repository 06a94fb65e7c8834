"""Generators that start from nothing: pix2pix, CycleGAN, and noise by dropout."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from colourgan.color import AB_SCALE, decode
from colourgan.evaluate import ImageSet, measure_model
from colourgan.experiments.judge import Claim, claim
from colourgan.experiments.steps import Step
from colourgan.generators import sampling
from colourgan.options import adapted
from colourgan.plans import Setup
from colourgan.plots import grid
from colourgan.recipes.experiment import GREY, Results, recipe
from colourgan.recipes.figures import animation, loss_curves, measure_bars, samples, spread_rows
from colourgan.recipes.sources import CONDITIONAL_GAN, UNET_PIX2PIX_CYCLEGAN
from colourgan.trainings import ALONE, TrainCycleGAN, TrainGenerator

DRAWN = 5  # colorizations of one photo
VISIBLE = 1.0  # CIE units: about what the eye can tell apart
ABOUT_FOUR = (3.0, 5.3)  # a quarter under, a third over: as far apart as factors
HUES = {"sky": (220.0, 300.0), "grass": (100.0, 160.0)}  # degrees in the plane of a and b
CHROMA = 10.0  # CIE units: less is hardly a color
LEAST = 0.02  # of an image's pixels


@recipe(
    "unet-pix2pix-cyclegan",
    title="The pix2pix U-Net alone, against a discriminator, and in a cycle without pairs",
    source=UNET_PIX2PIX_CYCLEGAN,
    test_images=400,
    data="landscape-pictures", size=256, epochs=200, batch_size=1, width=64,
)  # fmt: skip
def unet_pix2pix_cyclegan(s: Setup):
    """Published: a U-Net down to 1×1; least-squares GAN + 100 × L1; CycleGAN with L1 of the
    cycle × 10, an image pool of 50 and identity weight 0, since L and ab are no images of one kind;
    Adam at 2e-4 with beta1 .5, falling to 0 over the second half; batches of one image. It reports
    that pix2pix is more colorful than CycleGAN, which is washed out but colors sky and grass, that
    CycleGAN takes about 4 times as long and therefore got fewer epochs, and that Places365 is
    harder than landscapes.

    epochs: of the U-Net and of pix2pix; CycleGAN trains half as many, for about the same time.

    Sky and grass are pixels that are truly blue in the upper half of the image, and truly green
    anywhere: how far the prediction goes in the direction of the true color is measured there.
    """
    pix2pix = TrainGenerator(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        width=s.width, d_width=s.width, norm="instance", d_norm="instance", dropout=0.0,
        objective="least_squares", reconstruction_weight=100.0, lr=2e-4, d_lr=2e-4, beta1=0.5,
        schedule="linear", augmentation="flip",
    )  # fmt: skip
    cycle = TrainCycleGAN(
        data=s.data, size=s.size, limit=s.limit, epochs=max(1, s.epochs // 2),
        batch_size=s.batch_size, width=s.width, d_width=s.width, cycle_weight=10.0, pool_size=50,
        lr=2e-4, beta1=0.5, schedule="linear", augmentation="flip",
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
    models, words = ("pix2pix", "CycleGAN"), "in pictures"
    columns = (results.column(model, "seconds") for model in models)
    pix2pix, cycle = (np.array([np.median(seed) for seed in each]) for each in columns)
    colorful = "pix2pix is more colorful than CycleGAN."
    alone, unknown = "pix2pix is more colorful than the U-Net alone.", "compared; outcome not known"
    slower, published = "CycleGAN takes about 4 times as long.", "about 4"
    times = "CycleGAN's time for as many batches over pix2pix's; 3 to 5.3 counts as about 4"
    values, void = results.values["CycleGAN"], results.void("CycleGAN")
    dull = values["colorfulness"] - values["colorfulness_true"] / 2
    quantity = "colorfulness: CycleGAN minus half of the truth"
    found = [
        results.above(colorful, words, "colorfulness", *models),
        results.above(alone, unknown, "colorfulness", "pix2pix", "U-Net"),
        claim("CycleGAN is washed out.", words, quantity, dull, high=0, void=void),
        claim(slower, published, times, 2 * cycle / pix2pix, *ABOUT_FOUR, ends=False),
    ]
    toward = "how far the predicted ab goes toward the true one in {} pixels, CIE units"
    for place, kind in {"sky": "blue", "grass": "green"}.items():
        table, why = toward_truth(results, "CycleGAN", place), void
        if table is None:
            table, why = torch.full((len(pix2pix),), torch.nan), f"no test image shows {place}"
        quantity = toward.format(f"truly {kind}")
        found.append(
            claim(f"CycleGAN colors {place}.", words, quantity, table, low=VISIBLE, void=why)
        )
    return found


def toward_truth(results: Results, model: str, place: str) -> Tensor | None:
    """(S, N): the mean projection of predicted ab on the direction of the true ab, CIE units.

    place: "sky" (true hue of 220 to 300 degrees in the upper half) or "grass" (100 to 160 degrees);
    pixels whose true chroma is under CHROMA do not count. N: the images in which LEAST of the
    pixels are such. None if there are none; a seed that failed is NaN.
    """
    low, high = HUES[place]
    images, chosen, tables = results.images, [], []
    for rows in images.batches(f"looking for {place}"):
        a, b = images.true_ab(rows).mul(AB_SCALE).unbind(1)
        hue, chroma = torch.rad2deg(torch.atan2(b, a)) % 360, torch.hypot(a, b)
        mask = (low < hue) & (hue < high) & (chroma > CHROMA)
        if place == "sky":
            mask[:, mask.shape[1] // 2 :] = False
        chosen.append(mask)
    masks = torch.cat(chosen)
    enough = masks.float().mean((1, 2)) >= LEAST
    if not enough.any():
        return None
    for generator in results.generators(model):
        if generator is None:
            tables.append(torch.full((int(enough.sum()),), torch.nan))
            continue
        parts = []
        for rows in images.batches(f"{model}: {place}"):
            keep = enough[rows]
            if keep.any():
                with torch.no_grad():
                    pred = generator(images.L[rows][keep].to(results.device)).float().cpu()
                true = images.true_ab(rows)[keep]
                along = (pred * true).sum(1) / true.norm(dim=1).clamp_min(1e-6) * AB_SCALE
                mask = masks[rows][keep]
                parts.append((along * mask).sum((1, 2)) / mask.sum((1, 2)))
        tables.append(torch.cat(parts))
    return torch.stack(tables).double()


@recipe(
    "conditional-gan",
    title="A conditional GAN whose noise is dropout, in training and afterwards",
    source=CONDITIONAL_GAN,
    data="coco-sample", size=256, limit=8000, epochs=100, batch_size=16, width=64,
)  # fmt: skip
def conditional_gan(s: Setup):
    """Published: a U-Net of convolution, batch norm and ReLU, dropout of .5 that stays on at test
    time, a 70×70 PatchGAN, cross-entropy + 100 × L1, 8,000 images of the COCO sample at 256×256,
    batches of 16, 100 epochs. It says that one photo gets several colorizations; that L1 alone is
    greyer than L1 + cGAN, and L2 alone greyer than L1, is its text's, after the paper's section 4.2
    and figure 7.
    """
    gan = TrainGenerator(
        data=s.data, size=s.size, limit=s.limit, epochs=s.epochs, batch_size=s.batch_size,
        width=s.width, d_width=s.width, norm="batch", d_norm="batch", dropout=0.5,
        innermost_dropout=False, objective="bce", reconstruction_weight=100.0, lr=2e-4, beta1=0.5,
        augmentation="flip",
    )  # fmt: skip
    l1 = adapted(gan, discriminator=ALONE)
    results = yield {
        "L2": Step(replace(l1, reconstruction="l2")),
        "L1": Step(l1),
        "L1 + cGAN": Step(gan),
    }
    generators = list(results.generators("L1 + cGAN"))
    spreads = torch.stack([spread(generator, results.images) for generator in generators])
    results.values["L1 + cGAN, dropout on"] = sampled(results, generators)
    return conditional_claims(results, spreads), [
        samples(results),
        several(results, next(each for each in generators if each is not None)),
        measure_bars(results, "l1", "colorfulness"),
        loss_curves(results, "valid_loss", "d_loss"),
    ]


def conditional_claims(results: Results, spreads: Tensor) -> list[Claim]:
    """What the source of conditional-gan says; spreads: (S, N), see `spread`."""
    textbook = "a textbook statement (Isola et al., 4.2), repeated in README.md"
    quantity = "standard deviation of ab over a photo's colorizations, CIE units; 1 is visible"
    several, greyer = "One photo gets several colorizations.", "{} alone is greyer than {}."
    words, void = "in words (README.md, Generator)", results.void("L1 + cGAN")
    models = ("L1", "L1 + cGAN"), ("L2", "L1")
    return [
        claim(several, words, quantity, spreads, low=VISIBLE, void=void),
        *[results.below(greyer.format(*m), textbook, "colorfulness", *m) for m in models],
    ]


class Sampled(nn.Module):
    """A generator whose predictions are samples: dropout is on, the same noise at every call."""

    def __init__(self, generator: nn.Module):
        super().__init__()
        self.generator = generator

    def forward(self, L: Tensor) -> Tensor:
        return draw(self.generator, L, count=1)[0]


def sampled(results: Results, generators: list[nn.Module | None]) -> dict[str, Tensor]:
    """metric → (S, N): what the generators score with dropout on; NaN for a seed that failed."""
    seeds = [
        measure_model("dropout on", Sampled(g), results.images, results.device).values if g else {}
        for g in generators
    ]
    known = next(values for values in seeds if values)
    none = {name: each * torch.nan for name, each in known.items()}
    return {name: torch.stack([(v or none)[name].double() for v in seeds]) for name in known}


def draw(generator: nn.Module, L: Tensor, seed: int = 0, count: int = DRAWN) -> Tensor:
    """(count, N, 2, H, W): colorizations with dropout on, of L (N, 1, H, W) in network units."""
    device = next(generator.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), sampling(generator):
        torch.manual_seed(seed)
        return torch.stack([generator(L.to(device)).cpu() for _ in range(count)])


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
    L = results.images.L[spread_rows(results)]
    ab = draw(generator, L)
    columns = [results.colored(GREY, L), *(decode(L, one) for one in ab)]
    names = [GREY, *(f"sample {number + 1}" for number in range(len(ab)))]
    grid(list(zip(*columns, strict=True)), results.out / "several.png", names)
    return "several.png", "Several colorizations of the same images by L1 + cGAN, first seed."
