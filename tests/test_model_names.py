"""What models are called in tables and pictures."""

from pathlib import Path

import pytest

from colourgan import models
from colourgan.errors import UsageError
from colourgan.models import names_of


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Empty files under the names of models: naming them opens none."""
    for name in ("run", "a/run", "b/run", "b/c/run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / models.MODEL_NAME).touch()
    for name in ("best.v2.safetensors", "best.v2.pkl", "run.pkl"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/run"], ["run"]),
        (["a/run/model.safetensors"], ["run"]),
        (["best.v2.safetensors"], ["best.v2"]),
        (["a/run", "best.v2.pkl"], ["run", "best.v2"]),
        (["a/run", "b/run"], ["a/run", "b/run"]),
        (["b/run", "b/c/run/model.safetensors"], ["b/run", "c/run"]),
        (["best.v2.safetensors", "best.v2.pkl"], ["best.v2.safetensors", "best.v2.pkl"]),
        (["run.pkl", "run"], ["run.pkl", "run"]),
        (["a/run/."], ["run"]),
        (["a/run/../../b/run/"], ["run"]),
    ],
)
def test_models_are_called_after_their_run_or_file(shelf, paths, names):
    named = names_of(paths)
    assert list(named) == names
    assert list(named.values()) == [Path(path) for path in paths]


def test_the_current_folder_is_called_by_its_name(shelf, monkeypatch):
    monkeypatch.chdir(shelf / "a" / "run")
    assert list(names_of(["."])) == ["run"]
    assert list(names_of(["../run"])) == ["run"]


def test_names_that_only_differ_far_up(shelf):
    named = names_of(["run.pkl", "a/run", "b/run"])
    assert list(named) == [f"{shelf.name}/run", "a/run", "b/run"]


def test_a_model_named_twice(shelf):
    for paths in (["a/run", "a/run"], ["a/run", "./a/run/model.safetensors"]):
        with pytest.raises(UsageError, match="a model is named twice: a/run, "):
            names_of(paths)
    with pytest.raises(UsageError, match="no file"):
        names_of(["a/run", "gone.pkl"])
