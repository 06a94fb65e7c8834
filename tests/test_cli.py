"""The command line as users meet it: exit codes, one line for an error, nothing lost."""

import inspect
import json

import pytest
from PIL import Image
from safetensors import safe_open
from tiny_runs import TRAINING, colourgan, make_data, make_pictures, options

from colourgan import cli
from colourgan.encoders import build_encoder
from colourgan.errors import UsageError
from colourgan.evaluate import evaluate
from colourgan.learners import (
    gan_finetune,
    pretrain,
    train_cyclegan,
    train_encoder,
    train_generator,
)
from colourgan.recipes import reproduce
from colourgan.study import study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data/, a pretrained run p and a finetuned run g."""
    folder = tmp_path_factory.mktemp("cli")
    make_data(folder / "data")
    pretrain("resnet20@none", str(folder / "data"), **TRAINING, out=folder / "p")
    gan_finetune(folder / "p", epochs=1, batch_size=8, device="cpu", out=folder / "g")
    return folder


def run(capsys, monkeypatch, folder, *arguments):
    """Exit code, stdout, stderr of the command line, in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["colourgan", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture
def call(capsys, monkeypatch, folder):
    return lambda *arguments: run(capsys, monkeypatch, folder, *arguments)


COMMANDS = {
    "pretrain": (cli.pretrain, pretrain),
    "gan-finetune": (cli.gan_finetune, gan_finetune),
    "train-encoder": (cli.train_encoder, train_encoder),
    "train-generator": (cli.train_generator, train_generator),
    "train-cyclegan": (cli.train_cyclegan, train_cyclegan),
    "reproduce": (cli.reproduce, reproduce),
    "study": (cli.study, study),
}


@pytest.mark.parametrize("command, function", COMMANDS.values(), ids=COMMANDS)
def test_options_mirror_the_signature(command, function):
    shown = {n: p.default for n, p in inspect.signature(command).parameters.items()}
    meant = {n: p.default for n, p in inspect.signature(function).parameters.items()}
    for name in ("context", "status", "report"):  # what is done with a study is no setting of it
        shown.pop(name, None)
    meant = {n: ",".join(v) if isinstance(v, tuple) else v for n, v in meant.items()}
    empty = inspect.Parameter.empty
    if function is gan_finetune:  # a resumed run needs no model
        meant["model"] = None
    assert shown == meant | {n: d for n, d in shown.items() if d is empty and meant[n] is empty}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_option(call, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    code, out, _ = call(command, "--help")
    assert code == 0
    for name in cli_parameters(command):
        assert f"--{name}" in out


def cli_parameters(command):
    names = list(inspect.signature(COMMANDS[command][1]).parameters)
    return [name.replace("_", "-") for name in names if name not in ("model", "recipe", "name")]


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
    "smoothing": (["gan-finetune", "p", "--real-label", "0"], "above 0 and at most 1"),
    "weight": (["gan-finetune", "p", "--l1-weight=-1"], "must not be negative"),
    "gan on bins": (["gan-finetune", "p", "--reconstruction", "bins"], "l1, l2 or feature"),
    "patience": (["gan-finetune", "p", "--patience", "0"], "1 epoch or more, not 0"),
    "d-epochs": (["gan-finetune", "p", "--d-epochs=-1"], "d_epochs must not be negative"),
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
    "no encoders": (["reproduce", "cross-domain", "--encoders", ""], "'' leaves a name out"),
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
    "format": (["export", "p", "--to", "onnx"], "torchscript"),
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


def test_spaces_beside_the_commas_of_encoders_do_not_count(call, monkeypatch):
    def show(recipe, data, size, limit, epochs, batch_size, width, encoders, *others):
        raise UsageError(str(encoders))

    monkeypatch.setattr("colourgan.recipes.reproduce", show)
    _, _, err = call("reproduce", "cross-domain", "--encoders", " resnet18 , resnet20@my file.pt")
    assert err == "colourgan: ['resnet18', 'resnet20@my file.pt']\n"


@pytest.mark.parametrize(
    "arguments, function",
    [
        (["pretrain", "--data", "data"], "colourgan.learners.pretrain"),
        (["reproduce", "same-domain"], "colourgan.recipes.reproduce"),
    ],
)
def test_ctrl_c_says_what_is_kept_and_how_each_command_goes_on(
    call, monkeypatch, arguments, function
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(function, interrupt)
    code, out, err = call(*arguments)
    assert (code, out) == (130, "")
    assert err == (
        "colourgan: interrupted: what was finished is kept; a training goes on with "
        "--resume --out RUN, `reproduce` and `study` by the same command\n"
    )


def test_help_names_the_commands_in_the_order_of_their_use(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    _, out, _ = call("--help")
    listed = out.split("Commands:")[1].splitlines()
    names = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    assert names == [*COMMANDS, "evaluate", "colorize", "export", "list"]


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
    assert config["arguments"]["l1_weight"] == 100
    assert config["arguments"]["seed"] == 0
    assert config["parent"]["model"] == str(folder / "p")
    assert len(config["parent"]["sha256"]) == 64
    assert config["found"]["parameters"].keys() == {"encoder", "decoder", "discriminator"}
    assert config["versions"].keys() > {"torch", "fastai", "colourgan"}
    header, first = (run / "history.csv").read_text().splitlines()
    assert header.startswith("epoch,train_loss,valid_loss,")
    assert "d_loss" in header and "d_fake_accuracy" in header
    assert first.startswith("1,0.")
    for name in ("loss.png", "samples/epoch_001.png"):
        with Image.open(run / name) as picture:
            assert picture.width > 200
    with safe_open(run / "model.safetensors", "pt") as model:
        assert not any("discriminator" in name for name in model.keys())  # noqa: SIM118


def test_evaluate_prints_json_alone_on_stdout(call, folder):
    code, out, _ = call("evaluate", "p", "g", "--data", "data", "--json", "--out", "e")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert [row["name"] for row in rows[:3]] == ["grey", "p", "g"]
    assert list(rows[0]) == [
        "name", "l1", "psnr", "ssim", "delta_e", "colorfulness", "colorfulness_true",
        "delta_colorfulness", "within_5", "frechet",
    ]  # fmt: skip
    assert len(rows) == 4 and rows[0]["delta_colorfulness"] > rows[3]["delta_colorfulness"]
    assert {path.name for path in (folder / "e").iterdir()} == {
        "deciles.png", "evaluation.json", "evaluation.png", "evaluation.txt",
    }  # fmt: skip


def test_evaluate_measures_the_distances_asked_for(call):
    code, out, err = call("evaluate", "p", "--distances", " frechet", "--json", "--out", "e")
    assert code == 0, err
    assert list(json.loads(out)["rows"][0])[-1] == "frechet"
    assert "features of efficientnet_lite0" in json.loads(out)["notes"][0]
    shown = inspect.signature(cli.evaluate).parameters
    meant = inspect.signature(evaluate).parameters
    assert {"distances", "feature_encoder"} <= shown.keys() & meant.keys()
    assert shown["feature_encoder"].default == meant["feature_encoder"].default


def test_training_works_without_the_test_images(folder, tmp_path):
    make_pictures(tmp_path / "data" / "train", 20)
    (tmp_path / "data" / "test").mkdir()
    few = {**TRAINING, "epochs": 1}
    pretrain("resnet20@none", str(tmp_path / "data"), **few, out=tmp_path / "p")
    gan_finetune(tmp_path / "p", epochs=1, batch_size=8, device="cpu", out=tmp_path / "g")
    assert (tmp_path / "g" / "model.safetensors").exists()


def test_a_last_batch_of_one_trains(tmp_path):
    make_pictures(tmp_path / "train", 10)
    make_pictures(tmp_path / "valid", 3)
    few = {**TRAINING, "epochs": 1, "batch_size": 9}
    pretrain("resnet20@none", str(tmp_path), **few, out=tmp_path / "p")
    assert (tmp_path / "p" / "model.safetensors").exists()


def test_train_encoder_gives_an_encoder(folder, tmp_path):
    arguments = {"data": folder / "data", "size": 16, "epochs": 1, "batch_size": 8}
    trained = colourgan("train-encoder", *options({**arguments, "out": tmp_path / "e"}))
    assert trained.returncode == 0, trained.stderr
    assert "accuracy" in trained.stderr
    file = tmp_path / "e" / "encoder.safetensors"
    with safe_open(file, "pt") as weights:
        note = json.loads(weights.metadata()["colourgan"])
    assert note["classes"] == ["a", "b"] and note["seed"] == 0 and "out" not in note
    run = pretrain(f"resnet20@{file}", str(folder / "data"), **TRAINING, out=tmp_path / "p")
    assert json.loads((run / "config.json").read_text())["found"]["parameters"]["encoder"]


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
    script = "from fastai.learner import load_learner\nlearn = load_learner('p.pkl')\n"
    script += "print(learn.predict('color.png')[1].shape, hasattr(learn, 'adversarial'))"
    done = colourgan("list", prelude=script, cwd=folder)
    assert "torch.Size([2, 16, 16]) False" in done.stdout, done.stderr
    code, out, _ = call("evaluate", "p.pkl", "p", "--data", "data", "--trust-pickle", "--json")
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
    pretrain("resnet20@none", "sample", **few, out=tmp_path / "p", data_dir=tmp_path)
    gan_finetune(tmp_path / "p", epochs=1, batch_size=8, device="cpu", out=tmp_path / "g")
    config = json.loads((tmp_path / "g" / "config.json").read_text())
    assert config["arguments"]["data_dir"] == str(tmp_path)
    assert config["found"]["train_images"] == 18


def test_an_encoder_rate_of_0_leaves_its_weights(folder, tmp_path):
    few = {**TRAINING, "ema": 0.0, "weight_decay": 0.0, "encoder_lr_ratio": 0.0}
    run = pretrain("resnet20@packaged", str(folder / "data"), **few, out=tmp_path / "p")
    convolution = "encoder.3.conv1.weight"
    with safe_open(run / "model.safetensors", "pt") as trained:
        weights = trained.get_tensor(convolution)
    origin = build_encoder("resnet20@packaged").stages.state_dict()
    assert weights.equal(origin[convolution.removeprefix("encoder.")])
