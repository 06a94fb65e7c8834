"""Models go to the Hub and come back from it, against a stand-in; what is secret is not told."""

import errno
import json
import os
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from PIL import Image
from tiny_colorizers import noise, painter_file, process
from tiny_hub import TOKEN, Hub, Repository
from tiny_runs import call

from colourgan import sharing
from colourgan.colorize import Colorizer
from colourgan.datasets import DATASETS
from colourgan.errors import DiskFull, RunError, UsageError
from colourgan.generators import pix2pix_unet
from colourgan.hub import fetched, is_on_hub, reference
from colourgan.models import load_model, names_of, save_model
from colourgan.runtimes import OnnxRuntime, TorchRuntime, open_runtime
from colourgan.sharing import is_unedited, prepared, push, signed
from colourgan.trainings import GanFinetune, TrainGenerator, arguments

NAME = "hf:anna/streets"
PIECE = 8  # characters: fewer of a token are no secret
HISTORY = """epoch,train_loss,valid_loss,saturation,seconds
1,0.3,0.1012,0.5,60
2,0.2,0.0987,0.6,60
3,0.1,0.0999,0.7,60
"""


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that huggingface_hub talks to, with Anna's token, and a cache of its own."""
    server, home = Hub(), tmp_path / "home"
    settings = {
        "ENDPOINT": server.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,  # which would have large files go by another protocol
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its attempts
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    huggingface_hub.close_session()  # which keeps the proxies that it once found
    yield server
    huggingface_hub.close_session()
    server.stop()


@pytest.fixture
def logged_out(monkeypatch):
    monkeypatch.delenv("HF_TOKEN")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder as a training leaves it, of photographs in a folder of Anna's."""
    run = tmp_path_factory.mktemp("anna") / "runs" / "streets"
    (run / "samples").mkdir(parents=True)
    torch.manual_seed(0)
    generator = pix2pix_unet(16, width=4, dropout=0.5)
    for weight in generator.parameters():  # far from what it starts with, which is nearly grey
        torch.nn.init.normal_(weight, std=0.3)
    save_model(generator, run / "model.safetensors")
    photos = run.parents[1] / "photos | of <b>mine"
    training = TrainGenerator(
        data=str(photos), data_dir=run.parents[1], out=run, size=16, width=4, epochs=3, lr=3e-4
    )
    write_config(run, training, contents={"data": "0123456789abcdef"}, cores=77)
    (run / "history.csv").write_text(HISTORY)
    for name in ("loss.png", "samples/epoch_002.png", "samples/epoch_003.png"):
        Image.new("RGB", (4, 4), (0, 0, ord(name[-5]))).save(run / name)
    return run


def write_config(run: Path, training, **more) -> None:
    found = {"device": "cpu", "train_images": 1234, "valid_images": 56, "parameters": {}}
    config = {
        "schema": 2,
        "command": training.command,
        "arguments": arguments(training),
        "versions": {"colourgan": "0.2.0", "python": "3.11.0"},
        "found": found,
        **more,
    }
    run.mkdir(exist_ok=True)
    (run / "config.json").write_text(json.dumps(config))


@pytest.fixture(autouse=True)
def exported_once(monkeypatch):
    """A model is exported to ONNX once, as that takes seconds."""
    monkeypatch.setattr(sharing, "_onnx", lambda file, half: onnx_of(file.read_bytes(), file, half))


def onnx_of(content: bytes, file: Path, half: bool) -> bytes | None:
    if content not in _EXPORTED:
        _EXPORTED[content] = _EXPORT(file, half)
    return _EXPORTED[content]


_EXPORTED: dict[bytes, bytes | None] = {}
_EXPORT = sharing._onnx


@lru_cache
def picture() -> Image.Image:
    return Image.fromarray(noise()).convert("L")


def files(hub: Hub, name: str = "anna/streets") -> dict[str, bytes]:
    return hub.repositories[name].files


def card(hub: Hub, name: str = "anna/streets") -> str:
    return files(hub, name)["README.md"].decode()


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def refused(match: str, action, *given, kind: type = UsageError, **options) -> None:
    """Asserts an error of one line, which repeats nothing of the token."""
    with pytest.raises(kind, match=match) as caught:
        action(*given, **options)
    assert "\n" not in str(caught.value) and not tells_token(str(caught.value))
    assert caught.value.__cause__ is None or not tells_token(str(caught.value.__cause__))


def tells_token(text: str) -> bool:
    return any(TOKEN[i : i + PIECE] in text for i in range(len(TOKEN) - PIECE + 1))


# Names


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("hf:anna/streets", "anna/streets", None),
        ("hf:A-1_b/c.d-e", "A-1_b/c.d-e", None),
        ("hf:anna/streets@v1.0", "anna/streets", "v1.0"),
        ("hf:anna/streets@refs/pr/1", "anna/streets", "refs/pr/1"),
        (r"hf:anna\streets", "anna/streets", None),
    ],
)
def test_names_of_the_hub(text, repository, revision):
    assert is_on_hub(text) and is_on_hub(Path(text))
    assert reference(text) == reference(Path(text)) == (repository, revision)
    assert str(reference(text)) == text.replace("\\", "/")


@pytest.mark.parametrize(
    "text",
    [
        "hf:", "hf:anna", "hf:anna/", "hf:/streets", "hf:a/b/c", "hf://anna/streets", "hf:a/b@",
        "hf:a/../b", "hf:a/b@../../x", "hf:a/b@/x", "hf:a b/c", "hf:a/b\n", "hf:a/b--c", "hf:a/-b",
        "hf:a/b.git", "hf:a/b.", "hf:ä/b", "hf:a/" + 96 * "b", "hf:a/b@v 1", "anna/streets",
    ],
)  # fmt: skip
def test_names_of_another_form(text):
    refused("names no model on the Hub: write hf:USER/NAME or hf:USER/NAME@REV", reference, text)


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    painter_file(Path("hf:painter.onnx"))
    assert isinstance(open_runtime("hf:painter.onnx"), OnnxRuntime)
    assert not is_on_hub("./hf:a/b") and not is_on_hub(torch.nn.ReLU())


# What is sent


def test_a_run_is_one_commit_of_its_files(hub, run):
    assert push(run, NAME) == f"{hub.address}/anna/streets"
    (_, commit) = hub.repositories["anna/streets"].commits
    assert set(commit.files) == {
        ".gitattributes", "README.md", "config.json", "history.csv", "loss.png",
        "model.onnx", "model.safetensors",
    }  # fmt: skip
    for name in ("model.safetensors", "history.csv", "loss.png"):
        assert commit.files[name] == (run / name).read_bytes()
    assert commit.message == "streets, by colourgan push"
    assert not hub.repositories["anna/streets"].private


def test_the_same_again_sends_what_it_is_now(hub, run):
    push(run, NAME)
    push(run, NAME, message="once more")
    assert [each.message for each in hub.repositories["anna/streets"].commits[1:]] == [
        "streets, by colourgan push", "once more",
    ]  # fmt: skip


def test_nothing_tells_of_the_machine(hub, run):
    push(run, NAME)
    for name, content in files(hub).items():
        for secret in (os.fspath(run.parent), run.parents[1].name, "/runs", "data_dir"):
            assert secret.encode() not in content, name
    config = json.loads(files(hub)["config.json"])
    assert "cores" not in config and "out" not in config["arguments"]
    assert config["arguments"]["data"] == "photos | of <b>mine"
    assert config["found"]["train_images"] == 1234


@pytest.mark.parametrize(
    ("value", "role", "kept"),
    [
        ("cifar10", "data", "cifar10"),
        ("/home/anna/photos", "data", "photos"),
        ("~/photos/", "data", "photos"),
        (r"C:\Users\anna\photos", "data", "photos"),
        ("/home/me@work/photos", "data", "photos"),
        ("/", "data", "folder"),
        ("resnet18@/home/anna/weights.pt", "encoder", "resnet18@weights.pt"),
        ("resnet20@packaged", "encoder", "resnet20@packaged"),
        ("timm:hf-hub:timm/resnet18", "encoder", "timm:hf-hub:timm/resnet18"),
        ("hf:anna/streets", "file", "hf:anna/streets"),
        (None, "data", None),
        (3, "", 3),
    ],
)
def test_of_a_path_the_last_part_is_told(value, role, kept):
    assert sharing.without_folders(value, role) == kept


def test_pictures_of_ones_own_are_sent_when_asked_for(hub, run):
    push(run, NAME, pictures=True)
    assert files(hub)["samples.png"] == (run / "samples" / "epoch_003.png").read_bytes()
    assert "(samples.png)" in card(hub)
    push(run, NAME)
    assert "samples.png" not in files(hub) and "(samples.png)" not in card(hub)


def test_files_of_an_earlier_model_go_and_others_stay(hub, run, tmp_path):
    push(run, NAME)
    hub.repositories["anna/streets"].add({"notes.txt": b"mine", "evaluation.json": b"{}"})
    file = tmp_path / "other.safetensors"
    file.write_bytes((run / "model.safetensors").read_bytes())
    push(file, NAME)
    assert set(files(hub)) == {
        ".gitattributes", "README.md", "model.onnx", "model.safetensors", "notes.txt",
    }  # fmt: skip


def test_a_model_that_onnx_cannot_hold_goes_without(hub, run, monkeypatch, caplog):
    def refuse(*given):
        raise UsageError("generator odd does not export to ONNX: it is odd")

    monkeypatch.setattr(sharing, "_onnx", _EXPORT)
    monkeypatch.setattr("colourgan.exports.onnx.onnx_bytes", refuse)
    push(run, NAME)
    assert "model.onnx" not in files(hub) and "pip install '.[hub,train]'" in card(hub)
    assert "without model.onnx, so coloring will need torch: generator odd" in caplog.text
    assert isinstance(open_runtime(NAME), TorchRuntime)


@pytest.mark.parametrize("private", [False, True])
def test_a_new_repository_is_private_on_request(hub, run, private):
    push(run, NAME, private=private)
    assert hub.repositories["anna/streets"].private == private


def test_private_is_not_said_of_what_is_public(hub, run):
    hub.repositories["anna/streets"] = Repository()
    refused("exists and is public, so nothing was sent", push, run, NAME, private=True)
    assert len(hub.repositories["anna/streets"].commits) == 1


def test_a_repository_of_another_kind_is_left_alone(hub, run):
    other = {"README.md": b"---\nlibrary_name: transformers\n---\n", "config.json": b"{}"}
    hub.repositories["anna/streets"] = Repository()
    hub.repositories["anna/streets"].add(other)
    refused("holds another kind of model, so nothing was sent", push, run, NAME)
    assert files(hub)["config.json"] == b"{}"
    push(run, NAME, overwrite_card=True)
    assert len(files(hub)["config.json"]) > 2


def test_what_came_in_between_is_not_lost(hub, run):
    push(run, NAME)
    repository = hub.repositories["anna/streets"]
    hub.meanwhile = lambda: repository.add({"README.md": b"edited just now"})
    refused("was changed meanwhile: try again", push, run, NAME, kind=RunError)
    assert card(hub) == "edited just now"


# The model card


def test_the_card_is_filled_from_the_run(hub, run):
    push(run, NAME, license="cc-by-4.0")
    text = card(hub)
    about = front_matter(text)
    assert about["library_name"] == "colourgan" and about["pipeline_tag"] == "image-to-image"
    assert about["license"] == "cc-by-4.0" and {"colorization", "gan"} <= set(about["tags"])
    assert "base_model" not in about and "datasets" not in about
    assert "colourgan colorize old.jpg --model hf:anna/streets" in text
    assert 'Colorizer("hf:anna/streets")("old.jpg").save("colored.jpg")' in text
    assert "pip install '.[hub]'" in text
    assert "| `--lr` | `0.0003` | Learning rate of the generator |" in text
    assert "`photos / of <b>mine`: 1,234 training and 56 validation images" in text
    assert "| 2, lowest loss | 0.2000 | 0.0987 | 0.6000 |" in text
    assert "| 3, this model | 0.1000 | 0.0999 | 0.7000 |" in text
    assert (
        "On validation images; 3 epochs, 3 minutes of training:" in text and "validation L1" in text
    )
    assert "Do not use it to claim what the true colors" in text
    assert "colourgan 0.2.0" in text and "(loss.png)" in text
    assert "colourgan train-generator" in text and "--width 4" in text


def test_a_card_names_public_data_and_what_it_started_from(tmp_path, run):
    other = tmp_path / "finetuned"
    training = GanFinetune(model="hf:bob/base", data="cifar10", patience=2)
    write_config(other, training, best={"epoch": 1, "gain": 0.1})
    (other / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    (other / "history.csv").write_text(HISTORY)
    text = prepared(other, NAME).card
    about = front_matter(text)
    assert about["base_model"] == "bob/base" and about["datasets"] == ["uoft-cs/cifar10"]
    assert "The data set `cifar10`" in text and "| 1, this model |" in text
    assert "colourgan gan-finetune hf:bob/base --patience 2 --data cifar10" in text
    assert "license" not in about and "None is named: ask before" in text


def test_a_card_says_what_auto_found(tmp_path, run):
    other = tmp_path / "found"
    training = GanFinetune(model="hf:bob/base", data="cifar10", batch_size="auto", lr=1e-4)
    write_config(other, training, chosen={"batch_size": 64})
    (other / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    text = prepared(other, NAME).card
    assert "| `--batch-size` | `auto` (64) |" in text and "| `--lr` | `0.0001` |" in text


def test_all_named_data_sets_are_known():
    assert sharing.NAMED_DATA.keys() == set(DATASETS)


def test_a_file_alone_says_what_is_in_it(tmp_path, run, monkeypatch):
    asked = []
    monkeypatch.setattr(sharing, "_onnx", lambda file, half: asked.append(half) or b"onnx")
    file = tmp_path / "own.safetensors"
    save_model(load_model(run), file, half=True)
    shared = prepared(file, NAME)
    assert asked == [True] and set(shared.files) == {"model.safetensors", "model.onnx"}
    assert "the generator `pix2pix_unet`" in shared.card and "half precision" in shared.card
    assert "## Training" not in shared.card and "## Limits" in shared.card


def test_a_run_is_known_by_its_model_file_too(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent)
    whole = prepared(run, NAME)
    for path in ("streets", "./streets/.", "streets/model.safetensors"):
        assert prepared(path, NAME).card == whole.card
        assert sharing._name_of(path) == next(iter(names_of([path]))) == "streets"
    alone = tmp_path / "no-run"
    alone.mkdir()
    (alone / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    assert set(prepared(alone, NAME).files) == {"model.safetensors", "model.onnx"}
    (run / "config.json").rename(run / "kept")
    for damaged in ("{", "[]", "{}"):
        (run / "config.json").write_text(damaged)
        refused("is damaged", prepared, run, NAME, kind=RunError)
    (run / "kept").rename(run / "config.json")


def test_the_packaged_model_needs_no_torch(tmp_path):
    code = "from colourgan.sharing import prepared\nshared = prepared('packaged', 'hf:anna/own')\n"
    code += "print(sorted(shared.files))\nprint(shared.card)"
    done = without_torch(code, tmp_path)
    assert done.stdout.startswith("['model.onnx', 'model.safetensors']\n---\n"), done.stderr
    assert "license: apache-2.0" in done.stdout and "EfficientNet-Lite0" in done.stdout
    assert "--model hf:anna/own --working-size 160" in done.stdout


def without_torch(code: str, cwd: Path):
    """Python in a process of its own that can import neither torch nor huggingface_hub."""
    hidden = "import sys; sys.modules.update(dict.fromkeys(['torch', 'huggingface_hub']))\n"
    options = {"capture_output": True, "text": True, "timeout": 120, "cwd": cwd}
    return subprocess.run([sys.executable, "-c", hidden + code], **options)


def evaluation(folder: Path, *names: str, data: str = "/home/anna/test") -> Path:
    rows = [{"name": name, "l1": 0.09, "psnr": 21.5, "own": 3.0} for name in ("grey", *names)]
    folder.mkdir()
    found = {"rows": rows, "comparisons": [], "left_out": [], "images": 1500, "data": data}
    found |= {"size": 64, "notes": ["features of resnet18@/home/anna/weights.pt"]}
    (folder / "evaluation.json").write_text(json.dumps(found))
    Image.new("RGB", (4, 4)).save(folder / "evaluation.png")
    return folder


def test_an_evaluation_is_a_table_in_the_card(hub, run, tmp_path):
    push(run, NAME, evaluation=evaluation(tmp_path / "own", "streets", "packaged"))
    text = card(hub)
    assert "on 1,500 test images of `test` at 64×64 pixels" in text
    assert "|  | L1 ↓ | PSNR ↑ | own |" in text and "| `streets` | 0.0900 | 21.50 |" in text
    assert b"/home" not in files(hub)["evaluation.json"]
    assert "evaluation.png" not in files(hub)
    public = evaluation(tmp_path / "public", "b/streets", data="stl10")
    push(run, NAME, evaluation=public)
    assert "(evaluation.png)" in card(hub) and "evaluation.png" in files(hub)


def test_an_evaluation_of_something_else(run, tmp_path):
    other = evaluation(tmp_path / "other", "packaged")
    refused("other measures grey, packaged, not streets", prepared, run, NAME, evaluation=other)
    refused("holds no evaluation.json: name the --out", prepared, run, NAME, evaluation=run)
    (other / "evaluation.json").write_text("{")
    refused("damaged", prepared, run, NAME, evaluation=other, kind=RunError)
    (other / "evaluation.json").write_text("{}")
    refused("no evaluation of colourgan", prepared, run, NAME, evaluation=other, kind=RunError)


def test_an_edited_card_stays(hub, run, caplog):
    push(run, NAME)
    mine = card(hub).replace("## Use", "## How I use it")
    hub.repositories["anna/streets"].add({"README.md": mine.encode()})
    push(run, NAME, license="mit")
    assert card(hub) == mine
    assert "README.md was edited there and stays; --overwrite-card replaces it" in caplog.text
    push(run, NAME, license="mit", overwrite_card=True)
    assert "license: mit" in card(hub) and "## Use" in card(hub)


def test_a_card_that_nobody_edited_is_replaced(hub, run):
    push(run, NAME)
    hub.repositories["anna/streets"].add({"README.md": card(hub).replace("\n", "\r\n").encode()})
    push(run, NAME, license="mit")
    assert "license: mit" in card(hub)


def test_whether_a_card_was_edited():
    text = signed("# one\n\ntwo\n")
    assert is_unedited(text) and is_unedited(text.rstrip())
    for edited in (text + "three", text.replace("two", "2"), "# one", "", text.replace("one", "")):
        assert not is_unedited(edited)


def test_what_cannot_be_pushed(run, tmp_path):
    no = tmp_path / "no"
    no.mkdir()
    refused("holds no model.safetensors yet", prepared, no, NAME)
    refused("no file .*gone", prepared, tmp_path / "gone.safetensors", NAME)
    onnx = painter_file(tmp_path / "a.onnx")
    refused("cannot be pushed: name a run folder, a .safetensors", prepared, onnx, NAME)
    weights = Path(sharing.__file__).parents[1] / "weights" / "resnet20-cifar10.safetensors"
    refused("holds no generator of colourgan", prepared, weights, NAME)
    broken = tmp_path / "broken.safetensors"
    for content in (b"", b"12345678", b"\x02" + bytes(7) + b"[]", b"\xff" * 20):
        broken.write_bytes(content)
        refused("is damaged or no safetensors file", prepared, broken, NAME, kind=RunError)
    refused("no identifier such as apache-2.0", prepared, run, NAME, license="My own\nlicense")
    refused("goes to the main branch: leave @v1 out", prepared, run, NAME + "@v1")
    refused("names no model on the Hub", prepared, run, "anna/streets")


# What comes back


def test_a_model_comes_back_as_it_was(hub, run):
    push(run, NAME)
    local = np.asarray(Colorizer(run)(picture())).astype(int)
    colorizer = Colorizer(NAME)
    assert isinstance(colorizer.runtime, OnnxRuntime)
    there = np.asarray(colorizer(picture())).astype(int)
    assert abs(there - local).max() <= 1 and local.std(2).max() > 1
    loaded, before = load_model(NAME).state_dict(), load_model(run).state_dict()
    assert all(torch.equal(loaded[name], before[name]) for name in before)


def test_without_an_onnx_model_torch_colors(hub, run):
    push(run, NAME)
    hub.repositories["anna/streets"].add({"model.onnx": None})
    colorizer = Colorizer(NAME)
    assert isinstance(colorizer.runtime, TorchRuntime)
    assert colorizer(picture()) == Colorizer(run)(picture())


def test_samples_are_drawn_by_torch(hub, run):
    push(run, NAME)
    there = [*Colorizer(NAME).samples(picture(), 2).images]
    assert there == [*Colorizer(run).samples(picture(), 2).images] and there[0] != there[1]


def test_the_light_install_colors(hub, run, tmp_path):
    push(run, NAME)
    hub.requests.clear()
    picture().save("a.png")
    before = {*tmp_path.rglob("*")}
    env = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    env.pop("HF_TOKEN")
    done = process("colorize", "a.png", "--model", NAME, "--out", "b.png", env=env)
    assert (done.returncode, done.stderr) == (0, b"1 colored: b.png\n")
    local = np.asarray(Colorizer(run)(picture())).astype(int)
    assert abs(np.asarray(Image.open("b.png")).astype(int) - local).max() <= 1
    new = {*tmp_path.rglob("*")} - before - {Path("b.png").absolute(), tmp_path / "home"}
    assert new and all(path.is_relative_to(tmp_path / "home" / "hub") for path in new)
    (asked, _) = hub.requests  # and nothing but the file that it needs, where that is
    assert asked == ("HEAD", "/anna/streets/resolve/main/model.onnx")
    assert not hub.leaked


def test_only_the_model_is_fetched_and_only_once(hub, run):
    push(run, NAME)
    hub.requests.clear()
    for _ in range(2):
        load_model(NAME)
    assert [method for method, _ in hub.requests] == ["HEAD", "GET", "HEAD"]
    assert all("model.safetensors" in path or "/large/" in path for _, path in hub.requests)
    assert not hub.leaked


def test_a_revision_is_what_it_was(hub, run, tmp_path):
    push(run, NAME)
    first = hub.repositories["anna/streets"].commits[-1].sha
    torch.manual_seed(1)
    save_model(pix2pix_unet(16, width=4), tmp_path / "streets.safetensors")
    hub.repositories["anna/streets"].add(
        {"model.safetensors": (tmp_path / "streets.safetensors").read_bytes()}
    )
    new, old = load_model(f"{NAME}@main").state_dict(), load_model(f"{NAME}@{first}").state_dict()
    name = next(name for name in new if name.endswith("weight"))
    assert not torch.equal(new[name], old[name])
    assert torch.equal(old[name], load_model(run).state_dict()[name])
    names = names_of([f"{NAME}@main", f"{NAME}@{first}", run])
    assert list(names) == ["streets@main", f"streets@{first}", "streets"]


def test_models_of_the_hub_are_called_by_their_names(hub, run):
    push(run, NAME)
    hub.repositories["bob/streets"] = hub.repositories["anna/streets"]
    assert list(names_of([NAME])) == ["streets"]
    assert list(names_of([NAME, "hf:bob/streets"])) == ["anna/streets", "bob/streets"]
    with pytest.raises(UsageError, match="named twice"):
        names_of([NAME, NAME])


@pytest.mark.parametrize("how", ["offline", "down", "failing"])
def test_what_was_fetched_once_is_there_without_the_hub(hub, run, monkeypatch, how):
    push(run, NAME)
    before = Colorizer(NAME)(picture())
    cut_off(hub, monkeypatch, how)
    assert Colorizer(NAME)(picture()) == before
    other = "hf:anna/others"
    refused(f"{other} is not in the cache|the Hub fails", fetched, other, "model.safetensors",
        kind=RunError)  # fmt: skip


def cut_off(hub: Hub, monkeypatch, how: str) -> None:
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif how == "down":
        hub.stop()
        huggingface_hub.close_session()  # with the connections that are still open
    else:
        hub.failing = 503


def test_offline_nothing_is_sent(hub, run, monkeypatch):
    cut_off(hub, monkeypatch, "offline")
    refused("HF_HUB_OFFLINE is set: unset it", push, run, NAME)
    assert not hub.requests


# Errors


def test_what_is_not_there(hub, run):
    refused("there is no hf:anna/gone that your token can see", load_model, "hf:anna/gone")
    push(run, NAME)
    refused("has no revision v9", load_model, f"{NAME}@v9")
    hub.repositories["anna/streets"].add({"model.onnx": None, "model.safetensors": None})
    refused("holds no colourgan model: it has no model.safetensors", load_model, NAME)
    refused("it has no model.onnx or model.safetensors", open_runtime, NAME)


def test_what_is_private_says_how_to_log_in(hub, run, monkeypatch):
    push(run, NAME, private=True)
    assert load_model(NAME)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", constants.HF_HUB_CACHE + "2")
    monkeypatch.delenv("HF_TOKEN")
    refused("or it is private: check its name or log in with `hf auth login`", load_model, NAME)


def test_conditions_and_wrong_tokens(hub, run, monkeypatch):
    push(run, NAME)
    hub.repositories["anna/streets"].gated = True
    refused("has conditions: accept them on its page", load_model, NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_outdated")
    refused("does not accept your token for hf:anna/streets", load_model, NAME)


def test_models_of_another_kind_are_named_as_they_were(hub, tmp_path):
    hub.repositories["anna/streets"] = Repository()
    hub.repositories["anna/streets"].add({"model.safetensors": b"no", "model.onnx": b"no"})
    refused("^model.safetensors of hf:anna/streets is damaged", load_model, NAME, kind=RunError)
    refused("^model.onnx of hf:anna/streets is damaged", open_runtime, NAME, kind=RunError)
    weights = Path(sharing.__file__).parents[1] / "weights" / "resnet20-cifar10.safetensors"
    hub.repositories["anna/streets"].add({"model.safetensors": weights.read_bytes()})
    refused("^model.safetensors of hf:anna/streets holds an encoder", load_model, NAME)


def test_a_push_needs_a_token_before_anything_else(hub, run, logged_out):
    refused("needs a token that may write: log in with `hf auth login`", push, run, NAME)
    assert not hub.requests


def test_a_push_needs_the_right_to_write(hub, run):
    refused("your token may not write to hf:bob/streets", push, run, "hf:bob/streets")


def test_the_hub_says_what_is_wrong_with_a_card(hub, run):
    wrong = r'refuses hf:anna/streets \(Invalid metadata in README.md. - "license" must be one of'
    refused(wrong, push, run, NAME, license="bogus", kind=RunError)
    assert len(hub.repositories["anna/streets"].commits) == 1


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull, "no space left to keep hf:"),
        (
            PermissionError(errno.EACCES, "denied", "/x/hub"),
            RunError,
            "cannot write /x/hub: denied",
        ),
        (OSError(f"odd size {TOKEN}"), RunError, r"failed in huggingface_hub \(OSError\)"),
        (RuntimeError(TOKEN), RunError, r"failed in huggingface_hub \(RuntimeError\)"),
        (ConnectionResetError(TOKEN), RunError, "not in the cache and the Hub cannot be reached"),
        (TimeoutError(TOKEN), RunError, "not in the cache and the Hub cannot be reached"),
    ],
)
def test_what_else_goes_wrong_is_one_line(hub, monkeypatch, error, kind, said):
    def fail(**given):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    refused(said, load_model, NAME, kind=kind)


def test_without_huggingface_hub(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for action in (load_model, open_runtime):
        refused("needs huggingface_hub: pip install 'colourgan.hub.'", action, NAME)
    refused("needs huggingface_hub: pip install", push, run, NAME)
    assert prepared(run, NAME).card


# The command


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("command", ["push", "colorize"])
def test_the_token_is_never_shown(hub, run, monkeypatch, capfd, command, status):
    hub.failing = status
    picture().save("a.png")
    words = {"push": [run, NAME], "colorize": ["a.png", "--model", NAME]}[command]
    assert call(monkeypatch, command, *words, "--debug") in (1, 2)
    out, err = capfd.readouterr()
    assert hub.requests and "Traceback" in err and err.splitlines()[-1].startswith("colourgan: ")
    assert not tells_token(out + err) and "you sent" not in out + err


def test_the_command_says_where_it_went(hub, run, monkeypatch, capfd):
    assert call(monkeypatch, "push", run, NAME, "--private", "--message", "Streets of 1915") == 0
    assert capfd.readouterr() == ("", f"pushed: {hub.address}/anna/streets\n")
    repository = hub.repositories["anna/streets"]
    assert repository.private and repository.commits[-1].message == "Streets of 1915"


def test_a_dry_run_shows_all_and_sends_nothing(hub, run, monkeypatch, capfd, logged_out):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert call(monkeypatch, "push", run, NAME, "--dry-run", "--license", "mit") == 0
    out, err = capfd.readouterr()
    size = (run / "model.safetensors").stat().st_size
    assert f"{size:,}  model.safetensors\n" in out and "  README.md\n" in out
    assert out.endswith(prepared(run, NAME, license="mit").card) and not err
    assert not hub.requests and not hub.repositories
