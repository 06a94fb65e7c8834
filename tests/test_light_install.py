"""`pip install colourgan` alone colors pictures: with what setup.cfg requires, without torch."""

import csv
import importlib.metadata
import os
import subprocess
import sys
from configparser import ConfigParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from colourgan.cli.errors import TRAINING

ROOT = Path(__file__).parents[1]
TRAIN = "pip install 'colourgan[train]'"


def required() -> list[importlib.metadata.Distribution]:
    """The packages that pip brings with colourgan when no extra is asked for."""
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    found, wanted = {}, settings["options"]["install_requires"].strip().split("\n")
    while wanted:
        each = Requirement(wanted.pop())
        here = each.marker is None or each.marker.evaluate({"extra": ""})
        if here and each.name not in found:
            found[each.name] = importlib.metadata.distribution(each.name)
            wanted += found[each.name].requires or []
    return list(found.values())


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """Python where only these packages can be imported: a function of its arguments."""
    packages = tmp_path_factory.mktemp("packages")
    for distribution in required():
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                os.symlink(distribution.locate_file(top), packages / top)
    environment = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}

    def run(*arguments: str, also: dict | None = None, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, "-S", *arguments]  # -S: without site-packages
        options |= {"capture_output": True, "env": environment | (also or {}), "timeout": 120}
        return subprocess.run(command, **options)

    return run


@pytest.fixture
def folder(tmp_path) -> Path:
    noise = np.random.default_rng(0).integers(60, 190, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((120, 90)).convert("L").save(tmp_path / "photo.jpg")
    return tmp_path


def test_the_packages_for_training_are_not_there(light):
    code = f"import importlib.util as u; print([n for n in {sorted(TRAINING)} if u.find_spec(n)])"
    assert light("-c", code).stdout == b"[]\n"


def test_files_are_colored(light, folder):
    options = ["--quality", "best", "--sheet", "sheet.png", "--report", "report.csv"]
    options += ["--hint", "30,40,teal"]
    done = light("-m", "colourgan", "colorize", "photo.jpg", *options, cwd=folder)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert done.stderr.decode() == "1 colored: colored/photo.jpg, sheet.png, report.csv\n"
    with Image.open(folder / "colored" / "photo.jpg") as image:
        assert (image.mode, image.size) == ("RGB", (120, 90))
        assert np.asarray(image.convert("HSV"))[..., 1].max() > 10
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width > 2 * 120
    with open(folder / "report.csv", newline="") as file:
        assert list(csv.reader(file))[1:] == [["photo.jpg", "colored/photo.jpg", "colored", ""]]


def test_nobody_is_told_of_it(light, folder):
    """ONNX Runtime would keep a number of this computer, for its makers, in a temporary file."""
    (folder / "temporary").mkdir()
    temporary = {"TMPDIR": str(folder / "temporary"), "HOME": str(folder / "home")}
    assert (
        light("-m", "colourgan", "colorize", "photo.jpg", cwd=folder, also=temporary).returncode
        == 0
    )
    assert not any((folder / "temporary").iterdir()) and not (folder / "home").exists()


def test_a_pipe_is_colored(light, folder):
    done = light("-m", "colourgan", "colorize", "-", input=(folder / "photo.jpg").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    with Image.open(BytesIO(done.stdout)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (120, 90))


def test_python_colors_without_loading_torch(light, folder):
    code = "from colourgan import Colorizer; image = Colorizer()('photo.jpg'); print(image.size)"
    done = light("-c", code, cwd=folder)
    assert (done.stdout, done.stderr) == (b"(120, 90)\n", b"")


@pytest.mark.parametrize(
    "arguments",
    [
        "pretrain --data sample",
        "gan-finetune run",
        "train-cyclegan --data sample",
        "evaluate packaged --data sample",
        "export packaged",
        "reproduce believable",
        "study run",
        "list",
        "list encoders",
        "colorize photo.jpg --model run",
        "colorize photo.jpg --model model.safetensors",
        "colorize photo.jpg --device cuda",
    ],
)
def test_what_needs_torch_says_how_to_get_it(arguments, light, folder):
    (folder / "run").mkdir()
    (folder / "run" / "model.safetensors").touch()
    (folder / "model.safetensors").touch()
    done = light("-m", "colourgan", *arguments.split(), cwd=folder)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n")) == (2, b"", 1), said
    assert said.startswith("colourgan: this needs ") and TRAIN in said
    assert {path.name for path in folder.iterdir()} == {"photo.jpg", "run", "model.safetensors"}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nothing", "no file nothing: name a run folder or a model file"),
        ("empty", "run folder empty holds no model.safetensors yet: name a run folder or a"),
        ("hf:a/b", "hf:a/b needs huggingface_hub: pip install 'colourgan[hub]'"),
        ("hf:a", "'hf:a' names no model on the Hub"),
    ],
)
def test_a_model_that_is_not_there_is_no_reason_to_install_torch(model, said, light, folder):
    (folder / "empty").mkdir()
    done = light("-m", "colourgan", "colorize", "photo.jpg", "--model", model, cwd=folder)
    assert done.returncode == 2 and said in done.stderr.decode() and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["", "pretrain", "study", "reproduce", "evaluate", "colorize"])
def test_help_needs_nothing(command, light):
    done = light("-m", "colourgan", *command.split(), "--help")
    assert done.returncode == 0 and b"Usage: colourgan" in done.stdout
    assert not done.stderr


def test_heic_says_which_package_reads_it(light, folder):
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    done = light("-m", "colourgan", "colorize", "photo.heic", "--format", "jpeg", cwd=folder)
    assert done.returncode == 1
    assert b"HEIC needs one more package: pip install 'colourgan[heif]'" in done.stderr
