"""The command line as users meet it: exit codes, one line for an error, nothing lost."""

import json
import re

import pytest
from fastai.learner import load_learner
from PIL import Image
from safetensors import safe_open
from tiny_runs import (
    TRAINING,
    make_data,
    make_pictures,
    options,
    undrawn,  # noqa: F401
)
from tiny_runs import call as call_main

import colourgan
from colourgan.encoders import build_encoder
from colourgan.errors import UsageError
from colourgan.files import file_hash
from colourgan.learners import TRAIN, gan_finetune, pretrain, train_encoder
from colourgan.options import command_options, entries, flag, flat, made
from colourgan.plans import Reproduction, Study
from colourgan.trainings import (
    TRAININGS,
    GanFinetune,
    Pretrain,
    TrainCycleGAN,
    TrainEncoder,
    TrainGenerator,
)

SHORT = {**TRAINING, "epochs": 1, "frozen_epochs": 0, "ema": 0.0}
COMMANDS = {**TRAININGS, "reproduce": Reproduction, "study": Study}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data/, a pretrained run p and a finetuned run g."""
    folder = tmp_path_factory.mktemp("cli")
    make_data(folder / "data")
    pretrain(encoder="resnet20@none", data=folder / "data", **SHORT, out=folder / "p")
    gan_finetune(model=folder / "p", epochs=1, batch_size=8, device="cpu", out=folder / "g")
    return folder


@pytest.fixture
def call(capsys, monkeypatch, folder):
    """Exit code, stdout, stderr of the command line, in this process."""

    def run(*arguments):
        monkeypatch.chdir(folder)
        code = call_main(monkeypatch, *arguments)
        return code, *capsys.readouterr()

    return run


# What is derived from trainings and plans


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_option_with_its_default_and_what_it_is(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0
    shown, kind = "".join(out.split()), COMMANDS[command]
    assert "".join((kind.__doc__ if command in TRAININGS else "").split()) in shown
    defaults = flat(kind())
    assert defaults.keys() == {each.name for each in entries(kind)}
    for each in entries(kind):
        base = None if each.follows else defaults[each.name]
        listed = ",".join(map(str, base)) if isinstance(base, list) else base
        shows = base not in (None, [], "") and not isinstance(base, bool)
        default = f"[default: {listed}]" if shows else ""
        text = "".join(f"{each.about.describe()} {default}".split())
        name = each.name if each.about.positional else flag(each.name)
        # Between the name and its text: the kind of value, or the opposite of a flag.
        pattern = rf"{name}(/--no-[a-z-]+|<[a-z]+>)?{re.escape(text)}"
        assert re.search(pattern, shown), (each.name, text)


CALLED = [
    Pretrain(
        encoder="resnet20@none", data="data", schedule="step", decay_steps=5, lr=3e-5, size=32,
        self_attention=True, reconstruction="bins", rebalancing=0.25, limit=7, lightness="summed",
    ),
    GanFinetune(model="p", d_norm="layer", objective="wgan_gp", patience=2, limit=9),
    TrainEncoder(encoder="resnet18", label_smoothing=0.1, data="data"),
    TrainGenerator(discriminator="none", norm="instance", width=8, precision="fp32"),
    TrainCycleGAN(cycle_weight=5.0, pool_size=0, lr_floor=1e-6, seed=3),
]  # fmt: skip


@pytest.mark.parametrize("value", CALLED, ids=TRAININGS)
def test_the_command_line_makes_the_training(value, call, monkeypatch, tmp_path):
    kind, seen = type(value), []
    monkeypatch.setitem(TRAIN, kind.command, lambda training: seen.append(training) or "run")
    model = [value.model] if getattr(value, "model", None) else []
    places = ["--out", tmp_path, "--device", "cpu", "--data-dir", "d"]
    assert call(kind.command)[0] == 0
    assert call(kind.command, *model, *command_options(value), *places)[0] == 0
    plain = flat(value) | {"out": str(tmp_path), "device": "cpu", "data_dir": "d"}
    assert seen == [kind(), kind(**plain)]


def test_the_command_line_makes_the_study_and_the_reproduction(call, monkeypatch):
    seen = []
    monkeypatch.setattr("colourgan.study.study", lambda plan: seen.append(plan) or "page")
    given = {"encoders": ("resnet20@none", "resnet18"), "sizes": (32, 64), "gan_epochs": 2}
    value = made(Study, given | {"name": "s", "self_attention": True})
    code, _, err = call("study", "s", *command_options(value), "--out", "o", "--jobs", "3")
    assert code == 0, err
    assert seen == [made(Study, {"out": "o", "jobs": 3}, value)]

    def show(plan):
        raise UsageError(f"{plan.encoders} {plan.epochs} {plan.out}")

    monkeypatch.setattr("colourgan.recipes.reproduce", show)
    encoders = " resnet18 , resnet20@my file.pt"  # spaces beside commas do not count
    _, _, err = call("reproduce", "cross-domain", "--encoders", encoders, "--epochs", 2)
    said = "('resnet18', 'resnet20@my file.pt') 2 reproductions/cross-domain"
    assert err == f"colourgan: {said}\n"


WASSERSTEIN = ["--objective", "wgan_gp", "--discriminator", "pixelgan"]
WRONG_USE = {
    "command": (["pretain"], "pretain"),
    "option": (["pretrain", "--epoch", "3"], "--epochs"),
    "value": (["pretrain", "--epochs", "many"], "--epochs"),
    "encoder": (["pretrain", "--encoder", "resnt18", "--data", "data"], "did you mean 'resnet18'"),
    "data": (["pretrain", "--encoder", "resnet20@none", "--data", "cifar"], "'cifar10'"),
    "augmentation": (
        ["pretrain", "--encoder", "resnet20@none", "--data", "data", "--augmentation", "spin"],
        "flip, crop",
    ),
    "size": (["pretrain", "--encoder", "resnet20@none", "--data", "data", "--size", "4"], "16"),
    "weights": (["pretrain", "--encoder", "resnet20@no.pt", "--data", "data"], "no.pt"),
    "precision": (
        ["pretrain", "--encoder", "resnet20@none", "--data", "data", "--precision", "int8"],
        "bf16",
    ),
    "device": (
        ["pretrain", "--encoder", "resnet20@none", "--data", "data", "--device", "abacus"],
        "abacus",
    ),
    "empty folder": (["pretrain", "--encoder", "resnet20@none", "--data", "empty"], "empty"),
    "discriminator": (["gan-finetune", "p", "--discriminator", "patchgun"], "'patchgan'"),
    "objective": (["gan-finetune", "p", "--objective", "bse"], "'bce'"),
    "smoothing": (
        ["gan-finetune", "p", "--real-label", "0"],
        "--real-label must be above 0 and at most 1, not 0.0",
    ),
    "weight": (
        ["gan-finetune", "p", "--reconstruction-weight=-1"],
        "--reconstruction-weight must be 0 or more, not -1.0",
    ),
    "gan on bins": (
        ["gan-finetune", "p", "--reconstruction", "bins"],
        "--reconstruction must be one of l1, l2, feature",
    ),
    "no effect": (
        ["gan-finetune", "p", "--penalty-weight", "5"],
        "--penalty-weight has no effect without --objective wgan_gp",
    ),
    "patience": (["gan-finetune", "p", "--patience", "0"], "--patience must be 1 or more, not 0"),
    "d-epochs": (["gan-finetune", "p", "--d-epochs=-1"], "--d-epochs must be 0 or more, not -1"),
    "penalty": (
        ["train-generator", "--data", "data", "--size", "32", *WASSERSTEIN],
        "batch norm mixes",
    ),
    "halving": (["train-generator", "--data", "data", "--size", "96"], "cannot halve 96"),
    "cycle": (["train-cyclegan", "--data", "data", "--size", "16", "--cycle-weight=-1"], "cycle"),
    "schedule": (["gan-finetune", "p", "--schedule", "cosine"], "exponential"),
    "recipe": (["reproduce", "wassertein", "--data", "data"], "did you mean 'wasserstein'"),
    "recipe's option": (["reproduce", "same-domain", "--width", "8"], "has no --width"),
    "recipe's encoders": (["reproduce", "cross-domain", "--encoders", "resnet20"], "2 encoders"),
    "encoders with a gap": (["reproduce", "cross-domain", "--encoders", "a, ,b"], "'a, ,b' leaves"),
    "no encoders": (["reproduce", "cross-domain", "--encoders", ""], "2 encoders, not 0"),
    "samples": (
        ["colorize", "data", "--model", "p", "--out", "c", "--samples", "2"],
        "has no dropout",
    ),
    "parent": (["gan-finetune", "nowhere"], "nowhere"),
    "no parent": (["gan-finetune"], "pretrain run"),
    "file without data": (["gan-finetune", "p/model.safetensors"], "--data"),
    "resume of nothing": (["pretrain", "--resume"], "--out"),
    "resume of no run": (["pretrain", "--resume", "--out", "data"], "config.json"),
    "model": (["evaluate", "q", "--data", "data"], "q"),
    "twice": (["evaluate", "p", "p", "--data", "data"], "twice"),
    "picture": (["colorize", "missing.jpg", "--model", "p", "--out", "c"], "missing.jpg"),
    "format": (["export", "p", "--to", "onxx"], "torchscript"),
    "kind": (["list", "colors"], "encoders"),
    "distance": (["evaluate", "p", "--data", "data", "--distances", "kidd"], "did you mean 'kid'"),
    "distances with a gap": (
        ["evaluate", "p", "--data", "data", "--distances", "fid,"],
        "--distances 'fid,' leaves a name out",
    ),
    "feature encoder": (
        ["evaluate", "p", "--distances", "frechet", "--feature-encoder", "resnt20"],
        "did you mean 'resnet20'",
    ),
    "pickle": (["evaluate", "code.pkl", "--data", "data"], "--trust-pickle"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_is_one_line_and_exit_code_2(call, folder, case):
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "code.pkl").write_bytes(b"never loaded")
    arguments, named = WRONG_USE[case]
    code, out, err = call(*arguments)
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("colourgan: "), err
    assert named in err


@pytest.mark.parametrize("arguments", [["pretrain"], ["reproduce", "wasserstein"]], ids=str)
def test_ctrl_c_says_what_is_kept_and_how_each_command_goes_on(call, monkeypatch, arguments):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setitem(TRAIN, "pretrain", interrupt)
    monkeypatch.setattr("colourgan.recipes.reproduce", interrupt)
    code, out, err = call(*arguments)
    assert (code, out) == (130, "")
    assert err == (
        "colourgan: interrupted: what was finished is kept; a training goes on with "
        "--resume --out RUN, `colorize` with --skip-existing, a film, `reproduce` and `study` "
        "by the same command\n"
    )


def test_help_names_the_commands_in_the_order_of_their_use(call):
    _, out, _ = call("--help")
    listed = out.split("Commands:")[1].splitlines()
    names = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    trainings, others = (
        list(TRAININGS),
        ["evaluate", "export", "push", "study", "reproduce", "list"],
    )
    assert names == ["colorize", "serve", *trainings, *others]
    assert set(COMMANDS) < set(names)


def test_without_arguments_it_is_the_help(call):
    assert call() == call("--help")


def test_it_names_its_version(call):
    assert call("--version") == (0, f"colourgan {colourgan.__version__}\n", "")


def test_debug_shows_the_traceback(call):
    code, _, err = call("evaluate", "q", "--data", "data", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_failed_runs_are_one_line_and_exit_code_1(call, folder):
    (folder / "cut.safetensors").write_bytes((folder / "p/model.safetensors").read_bytes()[:5000])
    code, _, err = call("evaluate", "cut.safetensors", "--data", "data")
    assert (code, err.count("\n")) == (1, 1)
    assert "cut.safetensors is damaged" in err
    (folder / "broken.png").write_bytes(b"\x89PNG nothing more")
    code, _, err = call("colorize", "broken.png", "--model", "p", "--out", "c")
    assert code == 1 and "broken.png" in err and "Traceback" not in err


def test_a_run_folder_holds_everything(folder):
    run = folder / "g"
    config = json.loads((run / "config.json").read_text())
    assert config["arguments"]["reconstruction_weight"] == 100
    assert config["arguments"]["seed"] == 0
    assert config["schema"] == 2 and config["cores"] and config["threads"]
    assert config["contents"]["model"] == file_hash(folder / "p" / "model.safetensors")
    assert "parent" not in config and "resume" not in config["arguments"]
    assert config["found"]["parameters"].keys() == {"encoder", "decoder", "discriminator"}
    assert config["versions"].keys() > {"torch", "fastai", "colourgan"}
    header, first = (run / "history.csv").read_text().splitlines()
    assert header.startswith("epoch,train_loss,valid_loss,")
    assert "d_loss" in header and "d_fake_accuracy" in header
    assert first.startswith("1,0.")
    with Image.open(run / "samples/epoch_001.png") as picture:
        assert picture.width > 200
    assert (run / "loss.png").exists()
    with safe_open(run / "model.safetensors", "pt") as model:
        assert not any("discriminator" in name for name in model.keys())  # noqa: SIM118


def test_evaluate_prints_json_alone_on_stdout(call, folder):
    code, out, _ = call("evaluate", "p", "g", "--data", "data", "--json", "--out", "e")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert "features of efficientnet_lite0" in json.loads(out)["notes"][0]
    assert [row["name"] for row in rows[:3]] == ["grey", "p", "g"]
    assert list(rows[0]) == [
        "name", "l1", "psnr", "ssim", "delta_e", "colorfulness", "colorfulness_true",
        "delta_colorfulness", "within_5", "frechet",
    ]  # fmt: skip
    assert len(rows) == 4 and rows[0]["delta_colorfulness"] > rows[3]["delta_colorfulness"]
    assert {path.name for path in (folder / "e").iterdir()} == {
        "deciles.png", "evaluation.json", "evaluation.png", "evaluation.txt",
    }  # fmt: skip


def test_data_may_lack_test_images_and_leave_a_last_batch_of_one(tmp_path):
    make_pictures(tmp_path / "data" / "train", 10)
    make_pictures(tmp_path / "data" / "valid", 3)
    (tmp_path / "data" / "test").mkdir()
    few = {**SHORT, "batch_size": 9, "encoder": "resnet20@none"}
    pretrain(data=tmp_path / "data", **few, out=tmp_path / "p")
    gan_finetune(model=tmp_path / "p", epochs=1, batch_size=9, device="cpu", out=tmp_path / "g")
    assert (tmp_path / "g" / "model.safetensors").exists()


def test_train_encoder_gives_an_encoder(call, folder, tmp_path):
    arguments = {"data": folder / "data", "size": 16, "epochs": 1, "batch_size": 8}
    code, out, err = call("train-encoder", *options({**arguments, "out": tmp_path / "e"}))
    assert (code, out) == (0, ""), err
    file = tmp_path / "e" / "encoder.safetensors"
    assert "accuracy" in err and err.endswith(f"run: {file}\n")
    with safe_open(file, "pt") as weights:
        note = json.loads(weights.metadata()["colourgan"])
    assert note["classes"] == ["a", "b"] and note["seed"] == 0 and "out" not in note
    few = {**TRAINING, "epochs": 0, "encoder": f"resnet20@{file}"}
    run = pretrain(data=folder / "data", **few, out=tmp_path / "p")
    config = json.loads((run / "config.json").read_text())
    assert config["found"]["parameters"]["encoder"]
    assert config["contents"]["encoder"] == f"resnet20@{file_hash(file)}"
    more = train_encoder(**arguments, encoder=f"resnet20@{file}", out=tmp_path / "more")
    with safe_open(more, "pt") as weights:
        assert json.loads(weights.metadata()["colourgan"])["started_from"] == file.name


def test_colorize_from_the_command_line(call, folder):
    make_pictures(folder / "photos", 3, side=50)
    arguments = ["colorize", "photos", "--model", "g", "--out", "out", "--sheet", "sheet.png"]
    code, _, err = call(*arguments)
    assert code == 0, err
    assert Image.open(folder / "out" / "a" / "0.png").size == (50, 50)
    assert (folder / "sheet.png").exists()
    code, _, err = call(*arguments)
    assert code == 2 and "--overwrite" in err


def test_exports_are_made_once(call, folder):
    for to, ending in (("safetensors", "safetensors"), ("torchscript", "ts"), ("fastai", "pkl")):
        code, _, err = call("export", "p", "--to", to)
        assert code == 0, err
        assert (folder / f"p.{ending}").exists()
    code, _, err = call("export", "p", "--to", "fastai")
    assert code == 2 and "exists already" in err
    (folder / "color.png").write_bytes(next((folder / "data/test").rglob("*.png")).read_bytes())
    learn = load_learner(folder / "p.pkl")
    with learn.no_bar():
        assert learn.predict(folder / "color.png")[1].shape == (2, 16, 16)
    assert not hasattr(learn, "adversarial")
    evaluation = ["--data", "data", "--distances", "none", "--json"]
    code, out, _ = call("evaluate", "p.pkl", "p", *evaluation, "--trust-pickle")
    rows = json.loads(out)["rows"]
    assert code == 0 and rows[1]["l1"] == pytest.approx(rows[2]["l1"], abs=1e-6)


def test_list_names_the_parts(call):
    code, out, _ = call("list", "discriminators")
    assert code == 0 and "patchgan" in out
    code, out, _ = call("list")
    for name in (
        "mobilenet_v2",
        "timm:NAME",
        "feature",
        "stl10",
        "bce",
        "within_5",
        "lpips",
        "dynamic_unet",
    ):
        assert name in out


def test_a_first_try_that_failed_does_not_block_the_folder(call):
    wrong = ["pretrain", "--encoder", "resnet20@none", "--data", "data", "--out", "again"]
    code, _, err = call(*wrong, "--precision", "fp16", "--device", "cpu")
    assert code == 2 and "fp16" in err
    code, _, err = call(*wrong, *options({**TRAINING, "epochs": 0}))
    assert code == 0, err


def test_the_folder_of_named_data_is_handed_down(folder, tmp_path):
    make_data(tmp_path / "sample")  # stands where --data-dir has the data set of that name
    few = {**TRAINING, "epochs": 0}
    pretrain(encoder="resnet20@none", data="sample", **few, out=tmp_path / "p", data_dir=tmp_path)
    gan_finetune(model=tmp_path / "p", epochs=1, batch_size=8, device="cpu", out=tmp_path / "g")
    config = json.loads((tmp_path / "g" / "config.json").read_text())
    assert config["arguments"]["data_dir"] == str(tmp_path)
    assert config["found"]["train_images"] == 18


def test_an_encoder_rate_of_0_leaves_its_weights(folder, tmp_path):
    few = {**SHORT, "weight_decay": 0.0, "encoder_lr_ratio": 0.0}
    run = pretrain(encoder="resnet20@packaged", data=folder / "data", **few, out=tmp_path / "p")
    convolution = "encoder.3.conv1.weight"
    with safe_open(run / "model.safetensors", "pt") as trained:
        weights = trained.get_tensor(convolution)
    origin = build_encoder("resnet20@packaged").stages.state_dict()
    assert weights.equal(origin[convolution.removeprefix("encoder.")])
