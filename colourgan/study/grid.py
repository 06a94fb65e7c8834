"""The grid of a study: which trainings it needs, each one of the study's own with changes."""

from collections.abc import Iterator
from dataclasses import fields, replace
from inspect import signature
from itertools import product

from colourgan.datasets import DATASETS, native_size
from colourgan.discriminators import DISCRIMINATORS, NORMS
from colourgan.encoders import ENCODERS, check_encoder
from colourgan.errors import UsageError
from colourgan.experiments.cells import NONE
from colourgan.experiments.steps import Step, content_of_folder, with_needs
from colourgan.generators import GENERATORS
from colourgan.learners.calls import check_names
from colourgan.objectives import OBJECTIVES
from colourgan.options import adapted
from colourgan.plans import Study
from colourgan.reconstructions import RECONSTRUCTIONS
from colourgan.study.configurations import ALL, FACTORS, UNET
from colourgan.trainings import ALONE, GanFinetune, Pretrain, TrainGenerator

TRAINED = "trained:"
ADAPTED = "adapted"
RANDOM = "none"  # weights
_USUAL = ("unfrozen", "all", "folded", "encoder", NONE)


def grid(study: Study) -> list[Step]:
    """All trainings of a study, each once, those that others need before them.

    Ordered by seed, so that a study that is broken off has compared everything with fewer seeds.
    Raises UsageError for a wrong word anywhere in the study.
    """
    content_of_folder.cache_clear()
    for data in study.data:
        _check_data(data)
    for encoder in study.encoders:
        arch, _, weights = encoder.partition("@")
        kind, _, detail = weights.partition(":")
        if weights.startswith(TRAINED):
            _check_data(weights.removeprefix(TRAINED))
            ENCODERS[arch]
        elif kind == ADAPTED:
            ENCODERS[arch]
            check_encoder(f"{arch}@{detail or 'published'}")
        else:
            check_encoder(encoder)
    for method in study.methods:
        _check_method(method)
    gans = [method for method in study.methods if _objective(method)]
    if study.discriminators and not gans:
        raise UsageError("--discriminators has no effect without a GAN method")
    for discriminator in study.discriminators:
        name, colon, norm = discriminator.partition(":")
        DISCRIMINATORS[name]
        if colon:
            NORMS[norm]
        if norm == "batch" and "wgan_gp" in map(_objective, gans):
            raise UsageError(
                f"--discriminators {discriminator}: a gradient penalty and batch norm exclude each "
                f"other, so wgan_gp needs another norm; plain {name} takes layer norm for it"
            )
    for generator in study.generators:
        with_bins = "bins" in signature(GENERATORS[generator]).parameters
        if "bins" in map(_reconstruction, study.methods) and not with_bins:
            raise UsageError(f"generator {generator} predicts no classes of color: leave out bins")
    for each in fields(Study):
        if about := each.metadata.get("part"):
            given = getattr(study, each.name)
            for name in about.without:  # it would have no effect, and the note does not keep it
                usual = getattr(each.default, name), getattr(type(given), name)
                if getattr(given, name) not in usual:
                    raise UsageError(f"{each.name} may not set {name}: the study does")
            check_names(given)
    sizes = {data: study.sizes or (native_size(data),) for data in study.data}
    limits = [str(limit) for limit in study.limits] or [str(study.base.limit or ALL)]
    cells = []
    for seed, data, limit in product(range(study.seeds), study.data, limits):
        for size, model in product(map(str, sizes[data]), _models(study)):
            factors = {"data": data, "size": size, "limit": limit, **model}
            cells.append(_cell(study, seed, {factor: factors[factor] for factor in FACTORS}))
    known: dict[str, Step] = {}
    for cell in cells:
        same = known.setdefault(cell.run, cell)
        if same.factors != cell.factors:
            raise UsageError(f"'{same.name}' and '{cell.name}' are the same training")
    return with_needs(cells)


def wanted(study: Study, steps: list[Step]) -> list[Step]:
    """The cells that were asked for: not the encoders, nor an L1 that only a GAN begins with."""
    return [step for step in steps if step.factors and step.factors["method"] in study.methods]


def _models(study: Study) -> Iterator[dict[str, str]]:
    """The factors of each model, but for what it is trained on.

    Those that it has not are NONE: without an encoder it exists once, without a GAN once for all
    discriminators.
    """
    gan = study.gan
    own = gan.discriminator + (f":{gan.d_norm}" if gan.d_norm != GanFinetune.d_norm else "")
    opponents = {method: [NONE] for method in study.methods}
    opponents |= {m: study.discriminators or [own] for m in study.methods if _objective(m)}
    names = ("encoder", "tuning", "stages", "lightness", "decoder")
    varied = (study.encoders, study.tunings, study.stages, study.lightness, study.decoders)
    for generator in study.generators:
        for body in product(*varied) if generator == UNET else [(NONE,) * len(names)]:
            for method, discriminators in opponents.items():
                for discriminator in discriminators:
                    yield {
                        "generator": generator, "method": method, "discriminator": discriminator,
                        **dict(zip(names, body, strict=True)),
                    }  # fmt: skip


def _cell(study: Study, seed: int, factors: dict[str, str]) -> Step:
    method, encoder, limit = (factors[name] for name in ("method", "encoder", "limit"))
    model = factors["generator"] if encoder == NONE else encoder
    varied = [model, method, factors["data"], factors["size"]]
    varied += [f"{limit} images"] if study.limits else []
    varied += [factors["discriminator"]] if study.discriminators and _objective(method) else []
    others = (factors[name] for name in ("tuning", "stages", "lightness", "decoder"))
    label = " ".join([*varied, *(word for word in others if word not in _USUAL)])
    if not _objective(method):
        needs, rival = _encoder(study, factors), _rival(study, seed, factors)
        return Step(_pretraining(study, seed, factors), needs, factors, rival=rival, label=label)
    parent = _reconstruction(method)
    base = _cell(study, seed, factors | {"method": parent, "discriminator": NONE})
    rival = base if parent == "l1" else _rival(study, seed, factors) or base
    return Step(_finetuning(study, seed, factors), base, factors, rival=rival, label=label)


def _pretraining(study: Study, seed: int, factors: dict[str, str]) -> Pretrain | TrainGenerator:
    base, encoder, generator = study.base, factors["encoder"], factors["generator"]
    limit = None if factors["limit"] == ALL else int(factors["limit"])
    epochs = base.epochs
    if study.steps:
        epochs = max(1, round(study.steps * base.images_per_step / limit))
    shared = {
        "data": factors["data"], "size": int(factors["size"]), "limit": limit, "seed": seed,
        "reconstruction": factors["method"], "precision": study.precision,
    }  # fmt: skip
    if generator != UNET:
        names = ("batch_size", "accumulate", "augmentation", "lr", "schedule", "decay_steps",
                 "lr_floor", "ema", "beta2")  # fmt: skip
        shared |= {name: getattr(base, name) for name in names}
        return TrainGenerator(generator=generator, discriminator=ALONE, epochs=epochs, **shared)
    tuning, stages, decoder = factors["tuning"], factors["stages"], factors["decoder"]
    frozen = {"gradual": 1, "frozen": epochs}.get(tuning, 0)
    ratio = {} if tuning == "frozen" else {"encoder_lr_ratio": 1.0 if tuning == "unfrozen" else 0.1}
    arch, _, weights = encoder.partition("@")
    return adapted(
        base, encoder=arch if _is_made_here(weights) else encoder, epochs=epochs - frozen,
        frozen_epochs=frozen, decoder_channels=None if decoder == "encoder" else int(decoder),
        encoder_stages=None if stages == "all" else int(stages), lightness=factors["lightness"],
        **ratio, **shared,
    )  # fmt: skip


def _finetuning(study: Study, seed: int, factors: dict[str, str]) -> GanFinetune:
    """Its data and limit are those of what it finetunes."""
    objective = _objective(factors["method"])
    discriminator, _, norm = factors["discriminator"].partition(":")
    norm = norm or study.gan.d_norm
    # A penalty on single images' gradients and a norm over batches exclude each other.
    norm = "layer" if (objective, norm) == ("wgan_gp", "batch") else norm
    return adapted(
        study.gan, objective=objective, discriminator=discriminator, d_norm=norm, seed=seed,
        precision=study.precision,
    )  # fmt: skip


def _rival(study: Study, seed: int, factors: dict[str, str]) -> Step | None:
    """The L1 cell that a cell is compared with at its own saturation, if the study has one.

    Of another method it is that of the same kind. An L1 cell itself has one only in a study of
    several limits, which asks from how many images on pretraining brings nothing more: that of
    random weights.
    """
    if "l1" not in study.methods:
        return None
    if factors["method"] != "l1":
        return _cell(study, seed, factors | {"method": "l1", "discriminator": NONE})
    arch, _, weights = factors["encoder"].partition("@")
    random = f"{arch}@{RANDOM}"
    if len(study.limits) > 1 and weights != RANDOM and random in study.encoders:
        return _cell(study, seed, factors | {"encoder": random})
    return None


def _is_made_here(weights: str) -> bool:
    """Whether the study trains them."""
    return weights.startswith(TRAINED) or weights.partition(":")[0] == ADAPTED


def _encoder(study: Study, factors: dict[str, str]) -> Step | None:
    """What makes the weights of ARCH@trained:DATA and ARCH@adapted; one for all seeds."""
    arch, _, weights = factors["encoder"].partition("@")
    limit, told = study.encoder.limit, ""
    if not _is_made_here(weights):
        return None
    if weights.startswith(TRAINED):
        data = weights.removeprefix(TRAINED)
        size = study.encoder.size or native_size(data)
    else:
        arch = f"{arch}@{weights.partition(':')[2] or 'published'}"
        data, size = factors["data"], int(factors["size"])
        if study.limits:
            limit, told = int(factors["limit"]), f", {factors['limit']} images"
    training = replace(
        study.encoder, encoder=arch, data=data, size=size, limit=limit, precision=study.precision
    )
    return Step(training, label=f"train-encoder {arch} on {data}{told}")


def _reconstruction(method: str) -> str:
    """What a method pretrains with: "bins" of "bins+gan:hinge", "l1" of "gan"."""
    before, plus, _ = method.partition("+")
    return before if plus or not _objective(method) else "l1"


def _objective(method: str) -> str:
    """The adversarial objective of a GAN method, "" of another."""
    kind, _, objective = method.rpartition("+")[2].partition(":")
    return (objective or "bce") if kind == "gan" else ""


def _check_method(method: str) -> None:
    before, plus, after = method.rpartition("+")
    kind, colon, objective = after.partition(":")
    if kind == "gan" and (not plus or before in RECONSTRUCTIONS):
        if before == "l1":
            raise UsageError(f"method '{method}' is called '{after}' for short: write that")
        if colon:
            OBJECTIVES[objective]
    elif method not in RECONSTRUCTIONS:
        gans = "gan[:OBJECTIVE] after l1, or RECONSTRUCTION+gan[:OBJECTIVE]"
        raise UsageError(f"unknown method '{method}': {', '.join(RECONSTRUCTIONS)}, {gans}")


def _check_data(data: str) -> None:
    if data not in DATASETS:
        content_of_folder(data)
