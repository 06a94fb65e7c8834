"""Trainings as values: their checks, what they are identified by, and what is derived of them."""

import json
import shutil
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import typer
from tiny_runs import make_data
from typer.testing import CliRunner

from colourgan.cli.training import commands
from colourgan.errors import UsageError
from colourgan.learners.calls import trains
from colourgan.learners.runs import contents
from colourgan.options import (
    Options,
    adapted,
    command_options,
    flat,
    made,
    option,
    options,
)
from colourgan.plans import Experiment, Reproduction, Study
from colourgan.trainings import (
    SCHEMA,
    TRAININGS,
    GanFinetune,
    Pretrain,
    TrainCycleGAN,
    TrainEncoder,
    TrainGenerator,
    arguments,
    identity,
    recorded,
)

EACH = pytest.mark.parametrize("kind", [*TRAININGS.values(), Study, Reproduction])


@trains(Pretrain)
def call(training, cbs):
    """What `pretrain` would train, and with which callbacks."""
    return training, cbs


@EACH
def test_a_training_is_frozen_and_its_options_have_names(kind):
    value = kind()
    assert value == kind() and hash(value) == hash(kind())
    with pytest.raises(FrozenInstanceError):
        value.seed = 1
    with pytest.raises(TypeError):
        kind("cifar10")


WRONG = {
    "range": (Pretrain, {"epochs": -1}, "--epochs must be 0 or more, not -1"),
    "range here": (TrainCycleGAN, {"epochs": 0}, "--epochs must be 1 or more, not 0"),
    "between": (GanFinetune, {"real_label": 1.5}, "--real-label must be above 0 and at most 1"),
    "below": (TrainGenerator, {"dropout": 1.0}, "--dropout must be 0 or more and below 1, not 1.0"),
    "nan": (Pretrain, {"lr": nan}, "--lr must be 0 or more, not nan"),
    "infinity": (Pretrain, {"eps": inf}, "--eps must be above 0, not inf"),
    "infinite whole": (Pretrain, {"epochs": inf}, "--epochs must be int, not inf"),
    "choice": (Pretrain, {"lightness": "fold"}, "--lightness must be one of folded, summed, repl"),
    "choice here": (GanFinetune, {"reconstruction": "bins"}, "must be one of l1, l2, feature"),
    "whole": (Pretrain, {"epochs": 1.5}, "--epochs must be int, not 1.5"),
    "number": (Pretrain, {"epochs": "3"}, "--epochs must be int, not '3'"),
    "no number": (Pretrain, {"lr": "fast"}, "--lr must be float or auto, not 'fast'"),
    "truth": (Pretrain, {"epochs": True}, "--epochs must be int, not True"),
    "yes or no": (Pretrain, {"blur": 1}, "--blur must be bool, not 1"),
    "None": (Pretrain, {"lr": None}, "--lr must be float or auto, not None"),
    "path": (Pretrain, {"start": 3}, "--start must be Path, not 3"),
    "list": (Study, {"encoders": "resnet20"}, "--encoders must be a list, not 'resnet20'"),
    "of the list": (Study, {"sizes": (32, 8)}, "--sizes must be 16 or more"),
    "in the list": (Study, {"sizes": ("32",)}, "--sizes must be int, not '32'"),
    "choice of the list": (Study, {"tunings": ("gradual", "slow")}, "must be one of unfrozen"),
    "twice": (Study, {"data": ("a", "b", "a")}, "data names something twice: a, b, a"),
    "none": (Study, {"methods": ()}, "methods: a study needs at least one"),
    "stages": (Study, {"stages": ("1",)}, "unknown stages '1': all or a number from 2"),
    "nothing": (Pretrain, {"epochs": 0, "frozen_epochs": 0}, "nothing to train"),
    "noise": (GanFinetune, {"d_noise_l": -0.1}, "--d-noise-l must be 0 or more, not -0.1"),
    "steps": (GanFinetune, {"d_steps": 2, "g_steps": 3}, "--d-steps 2 and --g-steps 3: one of"),
    "resume": (TrainEncoder, {"resume": True}, "--resume needs the run's folder: add --out RUN"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_one_line(case):
    kind, given, message = WRONG[case]
    with pytest.raises(UsageError) as refused:
        kind(**given)
    assert message in str(refused.value) and "\n" not in str(refused.value)


STEPS = {"d_noise_l": 0.1, "d_noise_ab": 0.1}
STEPS |= {"d_steps": 2, "adversarial_weight": 2.0, "d_lr": 1e-3, "d_width": 8, "objective": "hinge"}
CONDITIONS = [
    (GanFinetune, {"penalty_weight": 1.0}, "--objective wgan_gp", {"objective": "wgan_gp"}),
    (GanFinetune, {"same_batch": True}, "--d-steps or --g-steps above 1", {"d_steps": 2}),
    (GanFinetune, {"same_batch": True}, "--d-steps or --g-steps above 1", {"g_steps": 2}),
    (TrainCycleGAN, {"innermost_dropout": False}, "--dropout above 0", {"dropout": 0.1}),
    (GanFinetune, {"real_label": 0.9}, "--objective bce or least_squares", {}),
    (Pretrain, {"decay_steps": 9}, "--schedule step or exponential", {"schedule": "step"}),
    (GanFinetune, {"lr_floor": 1e-5}, "--schedule linear, step or exp", {"schedule": "linear"}),
    (Pretrain, {"lr_floor": 1e-5}, "--schedule linear, step or exp", {"schedule": "exponential"}),
    (Pretrain, {"rebalancing": 0.9}, "--reconstruction bins", {"reconstruction": "bins"}),
    (Pretrain, {"colorfulness": 0.9}, "--reconstruction bins", {"start": "of-bins"}),
    (Pretrain, {"encoder_lr_ratio": 1.0}, "epochs that train the whole network", {"epochs": 1}),
    *(
        (TrainGenerator, {name: value}, "give --discriminator", {"discriminator": "pixelgan"})
        for name, value in (STEPS | {"d_norm": "layer"}).items()
    ),
]
WITHOUT = {"real_label": {"objective": "hinge"}, "encoder_lr_ratio": {"epochs": 0}}


@pytest.mark.parametrize("kind, given, needs, so", CONDITIONS, ids=[str(c[1]) for c in CONDITIONS])
def test_an_option_without_effect_is_refused(kind, given, needs, so):
    (name,) = given
    without = {"discriminator": "none"} if kind is TrainGenerator else WITHOUT.get(name, {})
    with pytest.raises(UsageError, match="has no effect without") as refused:
        kind(**given, **without)
    assert str(refused.value).startswith(f"--{name.replace('_', '-')} has no effect without")
    assert needs in str(refused.value)
    assert getattr(kind(**given, **so), name) == given[name]
    kind(**{name: getattr(kind, name)}, **without)  # the default is no request


def test_only_the_unet_of_pix2pix_has_dropout_in_its_innermost_block():
    both = {"innermost_dropout": False, "dropout": 0.1}
    assert not TrainGenerator(**both, generator="pix2pix_unet").innermost_dropout
    with pytest.raises(UsageError, match="--innermost-dropout has no effect without --generator p"):
        TrainGenerator(**both, generator="nazeri_unet")
    plain = adapted(TrainGenerator(**both), generator="residual_unet")
    assert plain == TrainGenerator(generator="residual_unet", dropout=0.1)


def test_values_are_taken_in_the_types_of_a_notebook_and_of_json():
    value = Pretrain(
        data=Path("photos"), out="runs/a", start="runs/b", lr=1, epochs=np.int64(3), limit=8.0,
        beta2=np.float32(0.5),
    )  # fmt: skip
    assert (value.data, value.out, value.start) == ("photos", Path("runs/a"), Path("runs/b"))
    assert [type(each) for each in (value.lr, value.epochs, value.limit, value.beta2)] == [
        float, int, int, float,
    ]  # fmt: skip
    sizes = Study(sizes=[np.int64(32), 64]).sizes
    assert sizes == (32, 64) and type(sizes[0]) is int


def test_by_value_or_by_name_is_the_same():
    assert call(Pretrain(epochs=3)) == call(epochs=3) == (Pretrain(epochs=3), [])
    assert identity(call(Pretrain(epochs=3))[0], {}) == identity(call(epochs=3)[0], {})
    assert call(Pretrain(epochs=3, lr=1.0), lr=2.0)[0] == Pretrain(epochs=3, lr=2.0)
    one = object()
    assert call(cbs=[one])[1] == call(cbs=(one,))[1] == call(cbs=one)[1] == [one]


def test_a_name_that_is_no_option_is_a_type_error_that_helps():
    for given in ({}, {"training": Pretrain()}):
        with pytest.raises(TypeError, match="has no option 'epoch': did you mean 'epochs'"):
            call(*given.values(), epoch=3)
    with pytest.raises(TypeError, match="takes a Pretrain or its options by name"):
        call(GanFinetune())
    with pytest.raises(TypeError):
        call("resnet20")
    with pytest.raises(UsageError, match="unknown schedule 'cosine'"):
        call(schedule="cosine")
    with pytest.raises(UsageError, match="flip, crop"):
        call(augmentation="spin")


# Identity


def named(training):
    return identity(training, contents(training))


def test_identity_is_what_differs_from_the_defaults_but_for_places():
    base = named(Pretrain())
    places = {"out": "a", "device": "cpu", "data_dir": "b", "resume": True}
    assert named(Pretrain(**places)) == base == named(Pretrain(lr=1e-3, limit=None))
    others = [{"lr": 2e-3}, {"seed": 1}, {"precision": "fp32"}, {"data": "cifar10"}, {"size": 96}]
    kinds = [named(kind()) for kind in TRAININGS.values()]
    assert len({*kinds, *(named(Pretrain(**each)) for each in others)}) == len(kinds + others)


def test_folders_and_files_count_by_their_content(tmp_path):
    data = make_data(tmp_path / "photos", 4, 2)
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "pictures")
    kept = named(Pretrain(data=str(data)))
    assert named(Pretrain(data=f"{data}/")) == kept == named(Pretrain(data=moved))
    (moved / "train/a/0.png").rename(moved / "train/a/first.png")
    assert named(Pretrain(data=moved)) != kept

    (tmp_path / "w.pt").write_bytes(b"weights")
    shutil.copy(tmp_path / "w.pt", tmp_path / "elsewhere/v.pt")
    for of in (
        lambda file: Pretrain(encoder=f"resnet20@{file}"),
        lambda file: Pretrain(start=file),
        lambda file: GanFinetune(model=file),
    ):
        (tmp_path / "elsewhere/v.pt").write_bytes(b"weights")
        kept = named(of(tmp_path / "w.pt"))
        assert named(of(tmp_path / "elsewhere/v.pt")) == kept
        (tmp_path / "elsewhere/v.pt").write_bytes(b"other weights")
        assert named(of(tmp_path / "elsewhere/v.pt")) != kept
    file = tmp_path / "w.pt"
    arches = {named(Pretrain(encoder=f"{arch}@{file}")) for arch in ("resnet20", "resnet18")}
    assert len(arches) == 2
    with pytest.raises(UsageError, match="nowhere"):
        named(Pretrain(data=str(tmp_path / "nowhere")))


# config.json


def test_a_config_gives_its_training_again():
    for value in (
        Pretrain(encoder="resnet20@none", start="runs/p", schedule="step", decay_steps=5, out="o"),
        GanFinetune(model="runs/p", d_norm="layer", objective="wgan_gp", patience=2),
        *(kind() for kind in TRAININGS.values()),
    ):
        config = {"schema": 2, "command": value.command, "arguments": arguments(value)}
        assert "resume" not in config["arguments"]
        assert recorded(config, "run") == value


def test_a_config_of_schema_1_is_read_with_its_names_and_defaults():
    old = {"model": "p", "norm": "layer", "l1_weight": 10.0, "reconstruction": None, "lr": 1e-4}
    assert recorded({"command": "gan-finetune", "arguments": old}, "run") == GanFinetune(
        model="p", d_norm="layer", reconstruction_weight=10.0, lr=1e-4
    )
    config = {"command": "train-encoder", "arguments": {"arch": "resnet18", "epochs": 2}}
    assert recorded(config, "run") == TrainEncoder(encoder="resnet18", epochs=2)
    config = {"command": "train-generator", "arguments": {"norm": "instance"}}
    assert recorded(config, "run") == TrainGenerator(norm="instance")  # of the generator


UNREADABLE = {
    "option": ({"arguments": {"hue": 1, "lr": 1e-3}}, "unknown here: hue"),
    "old name": ({"schema": 2, "command": "train-encoder", "arguments": {"arch": "a"}}, "arch"),
    "command": ({"command": "dream"}, "unknown here: dream"),
    "schema": ({"schema": 3}, "schema 3"),
    "value": ({"arguments": {"batch_size": 0}}, "--batch-size must be 1 or more, not 0"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_config_of_another_version_is_refused_in_one_line(case):
    changes, reason = UNREADABLE[case]
    config = {"command": "pretrain", "arguments": {}, "versions": {"colourgan": "0.7.1"}}
    with pytest.raises(UsageError) as refused:
        recorded(config | changes, "runs/a")
    message = str(refused.value)
    assert message.startswith("runs/a was made by colourgan 0.7.1 and needs that version")
    assert reason in message and "\n" not in message


# Values made of values


def test_adapted_drops_what_has_no_effect_any_more():
    value = GanFinetune(objective="wgan_gp", penalty_weight=1.0, d_norm="layer", lr=1e-4)
    with pytest.raises(UsageError, match="penalty"):
        replace(value, objective="hinge")
    hinge = GanFinetune(objective="hinge", d_norm="layer", lr=1e-4)
    assert adapted(value, objective="hinge") == hinge
    plain = adapted(TrainGenerator(d_norm="layer", g_steps=2, width=8), discriminator="none")
    assert plain == TrainGenerator(width=8, discriminator="none")
    with pytest.raises(UsageError, match="--penalty-weight has no effect"):
        adapted(value, objective="hinge", penalty_weight=2.0)  # it is asked for
    assert value.penalty_weight == 1.0


STUDY = Study(
    name="s",
    encoders=("resnet20@none", "resnet18"),
    sizes=(32, 64),
    methods=("l1",),
    seeds=2,
    base=Pretrain(frozen_epochs=0, epochs=3, self_attention=True, augmentation="flip"),
    gan=GanFinetune(epochs=10, d_norm="layer", patience=2),
    encoder=TrainEncoder(lr=0.1),
    jobs=2,
)


def test_a_study_is_flat_on_the_command_line_and_whole_again():
    plain = flat(STUDY)
    wanted = {"epochs": 3, "gan_d_norm": "layer", "gan_epochs": 10, "encoder_lr": 0.1, "jobs": 2}
    assert wanted.items() <= plain.items() and plain["sizes"] == [32, 64]
    assert not {"gan_model", "encoder_data", "gan_seed", "frozen_epochs"} & plain.keys()
    assert made(Study, plain) == STUDY
    assert made(Study, {"gan_epochs": 4}) == Study(gan=GanFinetune(epochs=4))
    changed = made(Study, {"gan_epochs": 4, "seeds": 5}, STUDY)
    assert changed == replace(STUDY, seeds=5, gan=replace(STUDY.gan, epochs=4))
    with pytest.raises(UsageError, match="unknown option --gan-hue"):
        made(Study, {"gan_hue": 1})


def test_the_length_of_a_study_s_finetuning_follows_that_of_its_pretraining():
    assert made(Study, {"epochs": 3, "gan_epochs": None}).gan.epochs == 3
    assert made(Study, {"epochs": 3, "gan_epochs": 4}).gan.epochs == 4
    with pytest.raises(UsageError, match="--gan-batch-size must be 1"):
        made(Study, {"gan_batch_size": 0})


def test_the_options_of_a_study_are_those_that_differ():
    words = " ".join(command_options(STUDY)).split(" --")
    assert {word.removeprefix("--") for word in words} == {
        "encoders resnet20@none,resnet18", "methods l1", "sizes 32,64", "seeds 2", "epochs 3",
        "self-attention", "augmentation flip", "gan-d-norm layer", "gan-patience 2",
        "gan-epochs 10", "gan-augmentation flip+crop",  # others than the pretraining's
        "encoder-lr 0.1",
    }  # fmt: skip
    assert command_options(Study(name="other", out="there")) == []


# A new option for all trainings is one field


@dataclass(frozen=True, kw_only=True)
class Brightened(Options):
    gamma: float = option(1.0, "Exponent of lightness.", least=0, unit="none")


@pytest.fixture(params=TRAININGS)
def extended(request, monkeypatch):
    """A training that has one option more, in the place of its kind."""
    kind = TRAININGS[request.param]
    more = dataclass(frozen=True, kw_only=True)(type(kind.__name__, (kind, Brightened), {}))
    monkeypatch.setitem(TRAININGS, kind.command, more)
    return kind, more


def test_a_new_option_is_one_field(extended):
    kind, more = extended
    assert {each.name for each in fields(more)} == {each.name for each in fields(kind)} | {"gamma"}
    app = typer.Typer(rich_markup_mode=None)
    for command in commands():
        app.command()(command)
    shown = " ".join(CliRunner().invoke(app, [kind.command, "--help"]).output.split())
    assert "--gamma <none> Exponent of lightness. [default: 1.0]" in shown
    with pytest.raises(UsageError, match="--gamma must be 0 or more, not -1"):
        more(gamma=-1)
    value = more(gamma=2)
    assert arguments(value) == arguments(kind()) | {"gamma": 2.0}
    assert identity(more(), {}) == identity(more(gamma=1), {}) == identity(kind(), {})
    assert identity(value, {}) not in (identity(kind(), {}), identity(more(gamma=3), {}))
    for schema in ({}, {"schema": 2}):  # written before there was a gamma
        config = {"command": kind.command, "arguments": arguments(kind()), **schema}
        assert recorded(config, "run") == more()
    config = {"schema": 2, "command": kind.command, "arguments": arguments(value)}
    assert recorded(config, "run") == value


def test_experiments_share_their_options():
    shared = {each.name for each in fields(Experiment)}
    assert shared <= {each.name for each in fields(Study)} & {
        each.name for each in fields(Reproduction)
    }


def test_a_changed_default_needs_another_schema():
    """Identities say what differs from the defaults: another default would be another training."""
    file = Path(__file__).with_name("defaults.json")
    known = json.loads(file.read_text())
    for command, kind in TRAININGS.items():
        for each, _ in options(kind):
            before = known[str(SCHEMA)][command].get(each.name, each.default)
            assert each.default == before, f"{command} {each.name}: raise SCHEMA, write {file.name}"


def test_an_old_run_may_have_had_options_without_effect():
    old = {"command": "pretrain", "arguments": {"rebalancing": 0.2, "epochs": 3, "decay_steps": 5}}
    assert recorded(old, "run") == Pretrain(epochs=3)
    old["schema"] = SCHEMA
    with pytest.raises(UsageError, match="has no effect"):
        recorded(old, "run")
