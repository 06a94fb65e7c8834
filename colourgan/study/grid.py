"""The grid of a study: which trainings it needs, each one of the study's own with changes."""

from dataclasses import fields, replace
from itertools import product

from colourgan.datasets import DATASETS, native_size
from colourgan.encoders import ENCODERS, check_encoder
from colourgan.errors import UsageError
from colourgan.experiments.steps import Step, content_of_folder, with_needs
from colourgan.learners.calls import check_names
from colourgan.objectives import OBJECTIVES
from colourgan.options import adapted
from colourgan.plans import Study
from colourgan.reconstructions import RECONSTRUCTIONS
from colourgan.study.configurations import FACTORS

TRAINED = "trained:"
ADAPTED = "adapted"
_USUAL = ("unfrozen", "all", "folded", "encoder")


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
        kind, colon, objective = method.partition(":")
        if colon and kind == "gan":
            OBJECTIVES[objective]
        elif (kind != "gan" or colon) and method not in RECONSTRUCTIONS:
            choices = ", ".join((*RECONSTRUCTIONS, "gan", "gan:OBJECTIVE"))
            raise UsageError(f"unknown method '{method}': choices: {choices}")
    for each in fields(Study):
        if about := each.metadata.get("part"):
            given = getattr(study, each.name)
            for name in about.without:  # it would have no effect, and the note does not keep it
                usual = getattr(each.default, name), getattr(type(given), name)
                if getattr(given, name) not in usual:
                    raise UsageError(f"{each.name} may not set {name}: the study does")
            check_names(given)
    sizes = {data: study.sizes or (native_size(data),) for data in study.data}
    cells = []
    for seed, data in product(range(study.seeds), study.data):
        for size, encoder, tuning, stages, lightness, decoder, method in product(
            sizes[data], study.encoders, study.tunings, study.stages, study.lightness,
            study.decoders, study.methods,
        ):  # fmt: skip
            factors = (data, str(size), encoder, method, tuning, stages, lightness, decoder)
            cells.append(_cell(study, seed, dict(zip(FACTORS, factors, strict=True))))
    known: dict[str, Step] = {}
    for cell in cells:
        same = known.setdefault(cell.run, cell)
        if same.factors != cell.factors:
            raise UsageError(f"'{same.name}' and '{cell.name}' are the same training")
    return with_needs(cells)


def wanted(study: Study, steps: list[Step]) -> list[Step]:
    """The cells that were asked for: not the encoders, nor an L1 that only a GAN begins with."""
    return [step for step in steps if step.factors and step.factors["method"] in study.methods]


def _cell(study: Study, seed: int, factors: dict[str, str]) -> Step:
    method, (data, size, encoder, _, *others) = factors["method"], factors.values()
    varied = [encoder, method, data, size, *(word for word in others if word not in _USUAL)]
    label = " ".join(varied)
    if method.startswith("gan"):
        base = _cell(study, seed, factors | {"method": "l1"})
        objective = method.partition(":")[2] or "bce"
        # A penalty on single images' gradients and a norm over batches exclude each other.
        layer = (objective, study.gan.d_norm) == ("wgan_gp", "batch")
        norm = "layer" if layer else study.gan.d_norm
        changes = {"objective": objective, "d_norm": norm, "seed": seed}
        gan = adapted(study.gan, **changes, precision=study.precision)
        return Step(gan, base, factors, rival=base, label=label)
    tuning, stages, decoder = factors["tuning"], factors["stages"], factors["decoder"]
    frozen = {"gradual": 1, "frozen": study.base.epochs}.get(tuning, 0)
    ratio = {} if tuning == "frozen" else {"encoder_lr_ratio": 1.0 if tuning == "unfrozen" else 0.1}
    needs = _encoder(study, factors)
    pretrain = adapted(
        study.base, encoder=encoder.partition("@")[0] if needs else encoder, data=data,
        size=int(size), epochs=study.base.epochs - frozen, frozen_epochs=frozen, **ratio,
        reconstruction=method, decoder_channels=None if decoder == "encoder" else int(decoder),
        encoder_stages=None if stages == "all" else int(stages), lightness=factors["lightness"],
        seed=seed, precision=study.precision,
    )  # fmt: skip
    return Step(pretrain, needs, factors, label=label)


def _encoder(study: Study, factors: dict[str, str]) -> Step | None:
    """What makes the weights of ARCH@trained:DATA and ARCH@adapted; one for all seeds."""
    arch, _, weights = factors["encoder"].partition("@")
    if weights.startswith(TRAINED):
        data = weights.removeprefix(TRAINED)
        size = study.encoder.size or native_size(data)
    elif weights.partition(":")[0] == ADAPTED:
        arch = f"{arch}@{weights.partition(':')[2] or 'published'}"
        data, size = factors["data"], int(factors["size"])
    else:
        return None
    training = replace(study.encoder, encoder=arch, data=data, size=size, precision=study.precision)
    return Step(training, label=f"train-encoder {arch} on {data}")


def _check_data(data: str) -> None:
    if data not in DATASETS:
        content_of_folder(data)
