"""The grid of a study: which trainings it needs, each named by the hash of its configuration."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path

from colourgan.datasets import native_size
from colourgan.errors import UsageError
from colourgan.files import file_hash
from colourgan.learners import PLACES, gan_finetune, pretrain, train_encoder
from colourgan.reconstructions import RECONSTRUCTIONS
from colourgan.study.cells import FACTORS
from colourgan.study.settings import ADAPTED, TRAINED, Settings, check

_HASH_DIGITS = 12


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
    check(settings)
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
    if method in RECONSTRUCTIONS:
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
