"""The grid of a study: which trainings it needs, each named by the hash of its configuration."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path

from colourgan.datasets import DATASETS, native_size
from colourgan.datasets.loaders import Augment
from colourgan.discriminators import NORMS
from colourgan.encoders import ENCODERS, LIGHTNESS, check_encoder
from colourgan.errors import UsageError
from colourgan.files import file_hash
from colourgan.generators import SMALLEST
from colourgan.learners import PLACES, gan_finetune, pretrain, train_encoder
from colourgan.objectives import OBJECTIVES
from colourgan.study.cells import FACTORS

TUNINGS = ("unfrozen", "discriminative", "gradual", "frozen")
TRAINED = "trained:"
ADAPTED = "adapted"
_HASH_DIGITS = 12
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


@dataclass(frozen=True)
class Training:
    """One training of a study: a command with its arguments, and the training it begins with.

    factors: of a cell, a value for each of FACTORS; None for the training of an encoder. needs:
    the encoder's training of a pretraining, the pretraining of a finetuning. run: the name of its
    run folder: a hash of the command, all its arguments but places, and the run it begins with.
    """

    command: Callable[..., Path]
    arguments: tuple[tuple[str, object], ...]
    needs: "Training | None" = None
    factors: tuple[str, ...] | None = None
    seed: int = 0

    @cached_property
    def run(self) -> str:
        signature = inspect.signature(self.command).parameters
        every = {name: each.default for name, each in signature.items()}
        every |= {**dict(self.arguments), "seed": self.seed}
        shown = {name: v for name, v in every.items() if name not in (*PLACES, "resume")}
        for name in shown.keys() & {"encoder", "arch"}:
            shown[name] = with_content(shown[name])
        needs = self.needs.run if self.needs else None
        text = json.dumps([self.command.__name__, shown, needs], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]

    @property
    def setting(self) -> dict[str, str]:
        """factor → value of a cell."""
        return dict(zip(FACTORS, self.factors, strict=True))

    @property
    def name(self) -> str:
        """For people: the command and what is particular about it."""
        if self.factors is None:
            given = dict(self.arguments)
            return f"train-encoder {given['arch']} on {given['data']}"
        varied = (self.setting[name] for name in ("encoder", "method", "data", "size"))
        others = (v for v in self.factors[4:] if v not in ("unfrozen", "all", "folded", "encoder"))
        return f"{' '.join((*varied, *others))}, seed {self.seed}"

    def call(self, runs: Path, **where) -> Path:
        """Trains; `runs` holds the run folders of all trainings."""
        given = dict(self.arguments)
        if self.command is gan_finetune:
            given["model"] = runs / self.needs.run
        elif self.needs:
            given["encoder"] += f"@{runs / self.needs.run / 'encoder.safetensors'}"
        return self.command(**given, seed=self.seed, out=runs / self.run, **where)


def grid(settings: Settings) -> list[Training]:
    """All trainings of a study, each once, those that others begin with before them.

    Ordered by seed, so that a study that is broken off has compared everything with fewer seeds.
    Raises UsageError for a wrong word anywhere in the settings.
    """
    _check(settings)
    sizes = {data: settings.sizes or [native_size(data)] for data in settings.data}
    places = [(data, size) for data in settings.data for size in sizes[data]]
    treatments = product(settings.tunings, settings.stages, settings.lightness, settings.decoders)
    parts = product(
        range(settings.seeds), places, settings.encoders, list(treatments), settings.methods
    )
    found: dict[str, Training] = {}
    for seed, (data, size), encoder, treatment, method in parts:
        cell = _cell(settings, seed, data, size, encoder, treatment, method)
        for training in _with_needs(cell):
            known = found.setdefault(training.run, training)
            if known.factors != training.factors:
                raise UsageError(f"'{known.name}' and '{training.name}' are the same training")
    return list(found.values())


def wanted(settings: Settings, trainings: Iterable[Training]) -> list[Training]:
    """The cells that were asked for: not the encoders, nor an L1 that only a GAN begins with."""
    return [t for t in trainings if t.factors and t.setting["method"] in settings.methods]


def _with_needs(training: Training) -> list[Training]:
    before = _with_needs(training.needs) if training.needs else []
    return [*before, training]


def _cell(settings: Settings, seed, data, size, encoder, treatment, method) -> Training:
    factors = dict(zip(FACTORS, (data, str(size), encoder, method, *treatment), strict=True))
    if method in ("l1", "l2"):
        return _pretraining(settings, seed, factors)
    base = _pretraining(settings, seed, factors | {"method": "l1"})
    objective = method.partition(":")[2] or "bce"
    arguments = {
        "objective": objective,
        # A penalty on single images' gradients and a norm over batches exclude each other.
        "norm": "layer" if (objective, settings.norm) == ("wgan_gp", "batch") else settings.norm,
        "d_width": settings.d_width,
        "l1_weight": settings.l1_weight,
        "epochs": settings.gan_epochs or settings.epochs,
        "batch_size": settings.gan_batch_size,
        "lr": settings.gan_lr,
        "d_lr": settings.gan_lr,
        "ema": settings.ema,
        "augmentation": settings.augmentation,
        "precision": settings.precision,
    }
    return Training(gan_finetune, tuple(arguments.items()), base, tuple(factors.values()), seed)


def _pretraining(settings: Settings, seed: int, factors: dict[str, str]) -> Training:
    tuning, stages, decoder = factors["tuning"], factors["stages"], factors["decoder"]
    needs = _encoder_training(settings, factors)
    frozen = {"gradual": 1, "frozen": settings.epochs}.get(tuning, 0)
    arguments = {
        "encoder": factors["encoder"].partition("@")[0] if needs else factors["encoder"],
        "data": factors["data"],
        "size": int(factors["size"]),
        "limit": settings.limit,
        "epochs": settings.epochs - frozen,
        "frozen_epochs": frozen,
        "batch_size": settings.batch_size,
        "lr": settings.lr,
        "encoder_lr_ratio": 1.0 if tuning == "unfrozen" else 0.1,
        "reconstruction": factors["method"],
        "augmentation": settings.augmentation,
        "decoder_channels": None if decoder == "encoder" else int(decoder),
        "encoder_stages": None if stages == "all" else int(stages),
        "lightness": factors["lightness"],
        "precision": settings.precision,
    }
    return Training(pretrain, tuple(arguments.items()), needs, tuple(factors.values()), seed)


def _encoder_training(settings: Settings, factors: dict[str, str]) -> Training | None:
    """What makes the weights of ARCH@trained:DATA and ARCH@adapted; one for all seeds."""
    arch, _, weights = factors["encoder"].partition("@")
    if weights.startswith(TRAINED):
        data = weights.removeprefix(TRAINED)
        size = settings.encoder_size or native_size(data)
    elif weights.partition(":")[0] == ADAPTED:
        arch = f"{arch}@{weights.partition(':')[2] or 'published'}"
        data, size = factors["data"], int(factors["size"])
    else:
        return None
    arguments = {
        "arch": arch,
        "data": data,
        "size": size,
        "limit": settings.encoder_limit,
        "epochs": settings.encoder_epochs,
        "precision": settings.precision,
    }
    return Training(train_encoder, tuple(arguments.items()))


def with_content(encoder: str) -> str:
    """ARCH@FILE with the file's hash for its path: a study may move, its weights may not change."""
    arch, _, weights = encoder.partition("@")
    file = Path(weights).expanduser()
    if not file.is_file():
        return encoder
    state = file.stat()
    return f"{arch}@{_hash(file, state.st_mtime_ns, state.st_size)}"


@lru_cache
def _hash(file: Path, modified: int, size: int) -> str:
    """Of a file that may be large, once for all cells."""
    return file_hash(file)


def _check(settings: Settings) -> None:
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
        _check_words("method", [kind], ("l1", "l2", "gan") if not colon else ("gan",))
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
