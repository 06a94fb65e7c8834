"""The model in the package: small, safe, told about, and what `colorize` takes by itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from tiny_runs import call

from colourgan.color import encode
from colourgan.colorize import Colorizer
from colourgan.errors import UsageError
from colourgan.models import load_model, model_file, names_of, save_model

CARD = Path(__file__).parents[1] / "colourgan" / "weights" / "README.md"


@pytest.fixture(scope="module")
def generator():
    return load_model("packaged")


def library_photo(library: str, name: str) -> Path:
    from importlib.resources import files

    return Path(str(files(library) / name))


def test_it_is_small_and_in_half_precision():
    file = model_file("packaged")
    assert file.stat().st_size < 20e6
    with safe_open(file, "pt") as opened:
        kinds = {opened.get_tensor(name).dtype for name in opened.keys()}  # noqa: SIM118
        metadata = json.loads(opened.metadata()["colourgan"])
    assert kinds == {torch.float16, torch.int64}
    assert metadata["arguments"]["encoder"] == "efficientnet_lite0"
    assert metadata["arguments"]["bins"] is True


def test_a_folder_of_that_name_goes_first(tmp_path, monkeypatch, generator):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "packaged").mkdir()
    with pytest.raises(UsageError, match=r"holds no model\.safetensors yet"):
        load_model("packaged")
    save_model(generator, tmp_path / "packaged" / "model.safetensors")
    assert model_file("packaged").parent == Path("packaged")


def test_its_name_in_tables_is_the_one_it_is_asked_by(tmp_path, generator):
    save_model(generator, tmp_path / "other" / "model.safetensors")
    assert list(names_of(["packaged", tmp_path / "other"])) == ["packaged", "other"]
    with pytest.raises(UsageError, match="named twice"):
        names_of(["packaged", model_file("packaged")])


def colors(picture: Path) -> torch.Tensor:
    """ab (2, H, W) in CIE units of what the packaged model makes of a picture."""
    image = Colorizer()(picture)
    rgb = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None]
    return encode(rgb)[1][0] * 110


def test_a_cat_is_warm_and_the_picture_not_of_one_color():
    ab = colors(library_photo("skimage", "data/chelsea.png"))
    assert (ab[1].mean() > 2) and ab.flatten(1).std(1).max() > 3


def test_photographs_are_as_colorful_as_was_asked_for():
    """Not of one brown: the true ones have a mean chroma of 15 to 45."""
    chroma = [
        colors(library_photo(*photo)).norm(dim=0).mean()
        for photo in (
            ("sklearn", "datasets/images/china.jpg"),
            ("skimage", "data/coffee.png"),
            ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
        )
    ]
    assert all(3 < value < 60 for value in chroma), chroma


def colorize(monkeypatch, *arguments: str) -> int:
    return call(monkeypatch, "colorize", *arguments)


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Image.open(library_photo("skimage", "data/chelsea.png")) as image:
        image.convert("L").save("old.jpg")
    return tmp_path


def test_colorize_needs_no_more_than_a_photograph(photo, monkeypatch, capsys):
    assert colorize(monkeypatch, "old.jpg") == 0
    with Image.open("colored/old.jpg") as image:
        pixels = np.asarray(image).astype(int)
    assert (pixels.max(2) - pixels.min(2)).mean() > 5
    assert "colored/old.jpg" in capsys.readouterr().err


def test_temperature_and_vivid_change_the_colors(photo, monkeypatch):
    pictures = {}
    for name, options in {
        "own": [],
        "mean": ["--temperature", "1"],
        "bold": ["--temperature", "0.2"],
        "plain": ["--vivid", "0"],
        "rare": ["--vivid", "1"],
    }.items():
        assert colorize(monkeypatch, "old.jpg", "--out", name, *options) == 0
        pixels = np.asarray(Image.open(f"{name}/old.jpg")).astype(int)
        pictures[name] = (pixels.max(2) - pixels.min(2)).mean()
    assert pictures["plain"] < pictures["rare"]
    assert len({pictures[name] for name in ("own", "mean", "bold")}) == 3


@pytest.mark.parametrize(
    "options, said",
    {
        ("--temperature", "0"): "temperature 0.0 is not between 0.01 and 1",
        ("--vivid", "1.5"): "vivid 1.5 is not between 0 and 1",
        ("--model", "pckaged"): "no file pckaged",
    }.items(),
)
def test_wrong_values_are_one_line(photo, monkeypatch, capsys, options, said):
    assert colorize(monkeypatch, "old.jpg", *options) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not Path("colored").exists()


def test_a_model_without_classes_has_no_temperature(photo, monkeypatch, capsys):
    from colourgan.generators import dynamic_unet

    save_model(dynamic_unet("resnet20@none", 32, decoder_channels=8), "plain.safetensors")
    options = ("--model", "plain.safetensors", "--temperature", "1")
    assert colorize(monkeypatch, "old.jpg", *options) == 2
    assert "--reconstruction bins" in capsys.readouterr().err


def test_the_card_says_how_it_was_made_and_what_it_is_not_for():
    text = " ".join(CARD.read_text(encoding="utf-8").split())
    for part in (
        "photographs.safetensors", "bench/packaged_model.py", "seed", "Tiny ImageNet", "limits",
        "true colors",
    ):  # fmt: skip
        assert part in text, part
