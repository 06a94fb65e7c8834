"""What a study is asked for, and whether it can be done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from colourgan.datasets import DATASETS
from colourgan.datasets.loaders import Augment
from colourgan.discriminators import NORMS
from colourgan.encoders import ENCODERS, LIGHTNESS, check_encoder
from colourgan.errors import UsageError
from colourgan.generators import SMALLEST
from colourgan.objectives import OBJECTIVES
from colourgan.reconstructions import RECONSTRUCTIONS

TUNINGS = ("unfrozen", "discriminative", "gradual", "frozen")
TRAINED = "trained:"
ADAPTED = "adapted"
_LEAST = dict.fromkeys(
    (
        "seeds",
        "limit",
        "epochs",
        "batch_size",
        "gan_epochs",
        "gan_batch_size",
        "d_width",
        "encoder_limit",
        "encoder_epochs",
    ),
    1,
) | {"encoder_size": SMALLEST, "l1_weight": 0, "lr": 0, "gan_lr": 0}


@dataclass(frozen=True)
class Settings:
    """What a study compares and how its cells are trained; the arguments of `study`, see there."""

    encoders: Sequence[str]
    data: Sequence[str]
    methods: Sequence[str]
    sizes: Sequence[int]
    seeds: int
    tunings: Sequence[str]
    stages: Sequence[str]
    lightness: Sequence[str]
    decoders: Sequence[str]
    limit: int | None
    epochs: int
    batch_size: int
    lr: float
    gan_epochs: int | None
    gan_batch_size: int
    gan_lr: float
    norm: str
    d_width: int
    l1_weight: float
    ema: float
    augmentation: str
    encoder_size: int | None
    encoder_limit: int | None
    encoder_epochs: int
    precision: str


def check(settings: Settings) -> None:
    """Raises UsageError for a wrong word or number anywhere in the settings."""
    for field in fields(Settings):
        given = getattr(settings, field.name)
        if isinstance(given, (list, tuple)) and len(set(given)) < len(given):
            raise UsageError(f"{field.name} names something twice: {', '.join(map(str, given))}")
    for name in ("encoders", "data", "methods", "tunings", "stages", "lightness", "decoders"):
        if not getattr(settings, name):
            raise UsageError(f"{name}: a study needs at least one")
    for name, least in _LEAST.items():
        value = getattr(settings, name)
        if value is not None and value < least:
            raise UsageError(f"{name} must be {least} or more, not {value}")
    for size in settings.sizes:
        if size < SMALLEST:
            raise UsageError(f"size {size} is too small: at least {SMALLEST} pixels are needed")
    if not 0 <= settings.ema < 1:
        raise UsageError(f"the decay of an average must be from 0 to below 1, not {settings.ema}")
    NORMS[settings.norm]
    Augment(settings.augmentation)
    _check_words("tuning", settings.tunings, TUNINGS)
    _check_words("lightness", settings.lightness, LIGHTNESS)
    _check_numbers("stages", settings.stages, "all", 2)
    _check_numbers("decoder", settings.decoders, "encoder", 4)
    for method in settings.methods:
        kind, colon, objective = method.partition(":")
        if kind == "gan" and colon:
            OBJECTIVES[objective]
        _check_words("method", [kind], (*RECONSTRUCTIONS, "gan") if not colon else ("gan",))
    for data in settings.data:
        _check_data(data)
    for encoder in settings.encoders:
        _check_encoder(encoder)


def _check_words(what: str, words: Iterable[str], choices: Sequence[str]) -> None:
    for word in words:
        if word not in choices:
            raise UsageError(f"unknown {what} '{word}': choices: {', '.join(choices)}")


def _check_numbers(what: str, words: Iterable[str], other: str, least: int) -> None:
    for word in words:
        if word != other and not (word.isdecimal() and int(word) >= least):
            raise UsageError(f"unknown {what} '{word}': {other} or a number from {least}")


def _check_data(data: str) -> None:
    if data not in DATASETS and not Path(data).expanduser().is_dir():
        try:
            DATASETS[data]
        except UsageError as error:
            raise UsageError(f"{error}, or the path of a folder of images") from None


def _check_encoder(encoder: str) -> None:
    arch, _, weights = encoder.partition("@")
    if weights.startswith(TRAINED):
        _check_data(weights.removeprefix(TRAINED))
        ENCODERS[arch]
    elif weights.partition(":")[0] == ADAPTED:
        ENCODERS[arch]
        check_encoder(f"{arch}@{weights.partition(':')[2] or 'published'}")
    else:
        check_encoder(encoder)
