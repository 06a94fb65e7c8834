"""Cells of a study that nobody trained: random values around a level that the test chooses."""

from zlib import crc32

import torch

from colourgan.experiments.cells import DONE, FAILED, NONE, Cell

EPOCHS = 3
ENCODERS = ("resnet20", "resnet20@none", "mobilenet_v2", "mobilenet_v2@none")
DATA = (("cifar10", "32"), ("tiny-imagenet", "64"))
SEEDS = (0, 1, 2)
REASON = "training diverged: the loss is not finite"

# metric → (what it is about at level 0.1, how it moves with the level)
_CENTERS = {
    "l1": (0.1, 1.0),
    "psnr": (24.0, -40.0),
    "ssim": (0.9, -1.0),
    "delta_e": (11.0, 110.0),
    "colorfulness": (20.0, -100.0),
    "within_5": (0.4, -3.0),
}
_COSTS = {
    "encoder_parameters": 270_896.0,
    "decoder_parameters": 5_000_000.0,
    "flops": 120_000_000.0,
    "images_per_second": 80.0,
    "seconds": 100.0,
    "peak_memory_mb": 900.0,
}


def tiny_cell(
    encoder="resnet20",
    method="l1",
    seed=0,
    data="cifar10",
    size="32",
    tuning="unfrozen",
    stages="all",
    lightness="folded",
    decoder="encoder",
    limit="all",
    generator="dynamic_unet",
    discriminator=None,
    rival=None,
    level=0.1,
    spread=0.001,
    images=12,
    state=DONE,
    reason="",
):
    """A cell whose mean L1 is about `level` and differs between seeds by about `spread`.

    The images of one data set and size are hard or easy for all of its cells alike, so that pairing
    by image pays. A cell that is not DONE has no numbers. rival: the factors in which its rival
    differs; a GAN's is its L1 parent.
    """
    gan = "gan" in method
    discriminator = discriminator or ("patchgan" if gan else NONE)
    factors = {
        "data": data, "size": size, "limit": limit, "encoder": encoder, "generator": generator,
        "method": method, "discriminator": discriminator, "tuning": tuning, "stages": stages,
        "lightness": lightness, "decoder": decoder,
    }  # fmt: skip
    # Of what there always was, so that the numbers stay what they were.
    chosen = (data, size, encoder, method, tuning, stages, lightness, decoder)
    chosen += (limit, generator, discriminator) if limit != "all" else ()
    run = f"{crc32(repr((chosen, seed)).encode()):08x}"
    if state != DONE:
        return Cell(factors, seed, run, state, reason or REASON, {}, {}, {}, {}, {}, [])
    rival = rival or ({"method": "l1", "discriminator": NONE} if gan else None)
    hardness = torch.randn(images, generator=_random(data, size)).double()
    values = _values(hardness, _random(run), level, spread)
    matched = _values(hardness, _random(run, "matched"), level * 1.02, spread) if rival else {}
    history = [_epoch(epoch, level, gan) for epoch in range(EPOCHS)]
    costs = _COSTS | ({"discriminator_parameters": 660_000.0} if gan else {})
    distances = {"frechet": 100 * level}
    of_rival = {"frechet": 102 * level} if rival else {}
    return Cell(
        factors, seed, run, state, "", values, matched, distances, of_rival, costs, history,
        rival=rival and factors | rival,
    )  # fmt: skip


def tiny_grid(count=48):
    """About `count` cells: encoders × two data sets × l1 and gan × 3 seeds; the last one failed."""
    more = max(count // 12 - len(ENCODERS), 0)
    encoders = (*ENCODERS, *(f"timm:convnext_{i}" for i in range(more)))[: max(count // 12, 1)]
    cells = [
        tiny_cell(encoder, method, seed, data, size, level=0.08 + 0.01 * number)
        for data, size in DATA
        for number, encoder in enumerate(encoders)
        for method in ("l1", "gan")
        for seed in SEEDS
    ]
    return [*cells[:-1], cells[-1]._replace(**_FAILED)]


def tiny_limits(methods=("l1",), limits=(500, 2000, 8000, 32000), encoders=ENCODERS[:2], **more):
    """Cells at several numbers of training images, the fewer the worse, pretrained ones better.

    Rivals: of a pretrained L1 cell random weights, of another method the L1 cell.
    """
    return [
        tiny_cell(
            encoder, method, seed, limit=str(limit),
            level=0.05 + 1 / limit**0.5 + 0.01 * encoder.endswith("@none") + 0.005 * number,
            rival={"method": "l1"} if number else _random_weights(encoder), **more,
        )
        for limit in limits
        for encoder in encoders
        for number, method in enumerate(methods)
        for seed in SEEDS
    ]  # fmt: skip


def _random_weights(encoder):
    arch, _, weights = encoder.partition("@")
    return None if weights == "none" else {"encoder": f"{arch}@none"}


_FAILED = {
    "state": FAILED,
    "reason": REASON,
    "values": {},
    "matched": {},
    "distances": {},
    "matched_distances": {},
    "costs": {},
    "history": [],
}


def _random(*words):
    return torch.Generator().manual_seed(crc32(" ".join(words).encode()))


def _values(hardness, random, level, spread):
    """Per metric: the level of this cell, moved by its seed, by the image, and by chance."""
    here = level + spread * torch.randn(1, generator=random).double()
    here = here + 0.02 * hardness
    values = {}
    for name, (center, slope) in _CENTERS.items():
        chance = 0.002 * torch.randn(len(hardness), generator=random).double()
        values[name] = center + slope * (here - 0.1 + chance)
    values["colorfulness_true"] = 25 - 30 * hardness.abs() / 10
    return values


def _epoch(epoch, level, gan):
    """One row of history.csv."""
    loss = level * (1 + 1 / (epoch + 1))
    row = {"epoch": epoch, "train_loss": loss, "valid_loss": loss * 1.05, "saturation": 0.6}
    return row | ({"d_loss": 0.6} if gan else {}) | {"seconds": 12.0}
