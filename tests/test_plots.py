"""Grids show every picture in its place; curves show every number there is."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from colourgan.plots import curves, grid


def flat(red: float, green: float, blue: float, height: int = 32, width: int = 32):
    return torch.tensor([red, green, blue]).view(3, 1, 1).expand(3, height, width)


def sides(sheet: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the box that holds exactly the pixels of this color."""
    y, x = np.nonzero((sheet == color).all(2))
    box = sheet[y.min() : y.max() + 1, x.min() : x.max() + 1]
    assert (box == color).all()
    return y.min(), x.min(), *box.shape[:2]


def test_small_pictures_are_enlarged_in_their_places(tmp_path):
    rows = [[flat(1, 0, 0), flat(0, 1, 0)], [flat(0, 0, 1), flat(1, 1, 0)]]
    grid(rows, tmp_path / "a.png", ["grey", "true"])
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    red, green = sides(sheet, (255, 0, 0)), sides(sheet, (0, 255, 0))
    blue, yellow = sides(sheet, (0, 0, 255)), sides(sheet, (255, 255, 0))
    assert {s[2:] for s in (red, green, blue, yellow)} == {(96, 96)}
    assert red[0] == green[0] < red[0] + 96 < blue[0] == yellow[0]
    assert red[1] == blue[1] < red[1] + 96 < green[1] == yellow[1]


def test_a_pixel_becomes_a_square(tmp_path):
    picture = torch.zeros(3, 32, 32)
    picture[0, 5, 7] = 1
    grid([[picture]], tmp_path / "a.png", ["grey"])
    assert sides(np.asarray(Image.open(tmp_path / "a.png")), (255, 0, 0))[2:] == (3, 3)


def test_pictures_of_different_sizes_keep_them(tmp_path):
    rows = [[flat(1, 0, 0, 100, 60), flat(0, 1, 0, 30, 200)], [flat(0, 0, 1), flat(1, 1, 0)]]
    grid(rows, tmp_path / "a.png", ["grey", "true"])
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    red, green = sides(sheet, (255, 0, 0)), sides(sheet, (0, 255, 0))
    assert red[2:] == (100, 60)
    assert green[2:] == (30, 200)
    assert green[0] == red[0]
    blue, yellow = sides(sheet, (0, 0, 255)), sides(sheet, (255, 255, 0))
    assert blue[0] == yellow[0] > red[0] + 100
    assert yellow[1] + 16 == green[1] + 100  # one above the other


def test_titles_stand_over_columns_and_left_of_rows(tmp_path):
    rows = [[flat(1, 0, 0), flat(0, 1, 0)]]
    grid(rows, tmp_path / "a.png", ["", "predicted by resnet18"], ["a row"])
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    (top, red, _, _), (_, green, _, width) = sides(sheet, (255, 0, 0)), sides(sheet, (0, 255, 0))
    dark = sheet.max(2) < 100
    assert dark[:top, green : green + width].sum() > 50
    assert not dark[:top, :green].any()
    assert dark[top:, :red].sum() > 20


def test_values_outside_0_to_1_are_clamped(tmp_path):
    grid([[flat(1.5, -0.5, 0)]], tmp_path / "a.png", ["grey"])
    assert sides(np.asarray(Image.open(tmp_path / "a.png")), (255, 0, 0))


@pytest.mark.parametrize(
    ("rows", "columns", "titles"),
    [(0, 1, None), (1, 2, None), (1, 1, ["a", "b"])],
)
def test_titles_must_match_the_pictures(rows, columns, titles, tmp_path):
    with pytest.raises(ValueError, match="pictures"):
        grid([[flat(1, 0, 0)]] * rows, tmp_path / "a.png", ["grey"] * columns, titles)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A function from a history to {label of the y axis: {name: (x, y)}}, and its figures."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k)))

    def draw(history):
        curves(history, tmp_path / "loss.png")
        assert Image.open(tmp_path / "loss.png").width > 300
        lines = {}
        for axes in figures[-1].axes:
            assert axes.get_xlabel() == "epoch"
            assert len(axes.get_legend().get_texts()) == len(axes.lines)
            lines[axes.get_ylabel()] = {x.get_label(): tuple(x.get_xydata().T) for x in axes.lines}
        return lines

    draw.figures = figures
    return draw


def test_every_numeric_column_is_drawn_in_its_panel(drawn):
    first = {"epoch": 0, "train_loss": 0.08, "valid_loss": 0.079, "seconds": 3}
    gan = {"d_loss": 1.3, "g_loss": 0.9, "d_real_accuracy": 0.7, "d_fake_accuracy": 0.6}
    panels = drawn([first | gan, first | gan | {"epoch": 1}])
    assert {label: list(columns) for label, columns in panels.items()} == {
        "loss": ["train_loss", "valid_loss"],
        "seconds": ["seconds"],
        "adversarial losses": ["d_loss", "g_loss"],
        "discriminator accuracy": ["d_real_accuracy", "d_fake_accuracy"],
    }
    x, y = panels["discriminator accuracy"]["d_real_accuracy"]
    assert x.tolist() == [0, 1]
    assert y.tolist() == [0.7, 0.7]


def test_text_is_read_and_what_is_no_number_leaves_a_gap(drawn):
    history = [
        {"epoch": "0", "train_loss": "0.5", "valid_loss": "nan", "time": "00:12", "d_loss": ""},
        {"epoch": "1", "train_loss": None, "valid_loss": "inf", "time": "00:11"},
        {"epoch": "2", "train_loss": "0.25", "valid_loss": "nan", "time": "00:11", "psnr": "21"},
    ]
    panels = drawn(history)
    assert {label: list(columns) for label, columns in panels.items()} == {
        "loss": ["train_loss"],
        "psnr": ["psnr"],
    }
    y = panels["loss"]["train_loss"][1]
    assert (y[0], y[2]) == (0.5, 0.25)
    assert math.isnan(y[1])


@pytest.mark.parametrize("epochs", [[0, 1, 0, 1], [None, None, None, None]])
def test_epochs_that_start_anew_are_drawn_one_after_another(epochs, drawn):
    history = [{"epoch": epoch, "train_loss": 1.0} for epoch in epochs]
    assert drawn(history)["loss"]["train_loss"][0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([1e5, 2, 1, 1], "log"),
        ([9, 2, 1, 1], "linear"),
        ([1e5, -1, 0, 1], "linear"),
        ([1e5, 0, 1, 1], "linear"),
        ([math.inf, 2, 1, 1], "linear"),
    ],
)
def test_a_first_loss_that_dwarfs_the_others_makes_the_axis_logarithmic(losses, scale, drawn):
    drawn([{"train_loss": loss} for loss in losses])
    assert drawn.figures[0].axes[0].get_yscale() == scale


def test_a_history_without_numbers_writes_nothing(tmp_path):
    curves([], tmp_path / "loss.png")
    curves([{"epoch": 0, "time": "00:12"}], tmp_path / "loss.png")
    assert not list(tmp_path.iterdir())


def test_a_plot_that_fails_leaves_the_last_one_whole(tmp_path, monkeypatch):
    curves([{"train_loss": 1.0}], tmp_path / "loss.png")
    before = (tmp_path / "loss.png").read_bytes()

    def full(figure, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(RuntimeError, match="no space"):
        curves([{"train_loss": 2.0}], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
