"""Curves and bars show every number there is, in its place and no other."""

import math
from itertools import pairwise

import pytest
from matplotlib.figure import Figure
from PIL import Image

from colourgan.plots import bars, compare_curves, curves


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
    first = {"epoch": 0, "train_loss": 0.08, "valid_loss": 0.079, "psnr": 21, "seconds": 3}
    gan = {"d_loss": 1.3, "g_loss": 0.9, "d_real_accuracy": 0.7, "d_fake_accuracy": 0.6}
    panels = drawn([first | gan, first | gan | {"epoch": 1}])
    assert {label: list(columns) for label, columns in panels.items()} == {
        "loss": ["train_loss", "valid_loss"],
        "psnr": ["psnr"],
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


@pytest.fixture
def axes(tmp_path, monkeypatch):
    """A function that draws with a function and returns the axes of what it saved."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k)))

    def draw(function, *arguments, **options):
        function(*arguments, path=tmp_path / "a.png", **options)
        assert Image.open(tmp_path / "a.png").width > 300
        return figures[-1].axes

    return draw


def test_models_are_compared_by_mean_and_range_over_seeds(axes):
    unet = [[{"epoch": "0", "l1": "0.1", "d_loss": ""}, {"epoch": "1", "l1": "0.3"}]]
    gan = [
        [{"epoch": 0, "l1": 1.0, "d_loss": 3.0}, {"epoch": 1, "l1": 2.0, "d_loss": math.nan}],
        [{"epoch": 0, "l1": 3.0, "d_loss": 5.0}, {"epoch": 1, "l1": 6.0, "d_loss": 1.0}],
    ]
    left, right = axes(compare_curves, {"U-Net": unet, "GAN": gan}, ["l1", "d_loss"])
    assert (left.get_xlabel(), left.get_ylabel(), right.get_ylabel()) == ("epoch", "l1", "d_loss")
    drawn = {line.get_label(): line.get_ydata() for line in left.lines}
    assert list(drawn["U-Net"]) == [0.1, 0.3]
    assert list(drawn["GAN"]) == [2, 4]
    shaded = {tuple(point) for point in left.collections[1].get_paths()[0].vertices}
    assert {(0, 1), (0, 3), (1, 2), (1, 6)} <= shaded
    assert [line.get_label() for line in right.lines] == ["GAN"]  # in its color of the left panel
    assert right.lines[0].get_color() == left.lines[1].get_color()
    mean = right.lines[0].get_ydata()
    assert mean[0] == 4 and math.isnan(mean[1])  # a seed broke down: no mean of the other alone


def test_a_model_whose_seeds_stopped_early_is_drawn_as_far_as_all_went(axes):
    seeds = [[{"l1": 1.0}, {"l1": 2.0}], [{"l1": 3.0}]]
    (panel,) = axes(compare_curves, {"GAN": seeds}, ["l1"])
    (line,) = panel.lines
    assert line.get_ydata()[0] == 2 and math.isnan(line.get_ydata()[1])


def test_a_column_must_exist_but_may_have_broken_down(axes, tmp_path):
    histories = {"GAN": [[{"epoch": 0, "d_loss": math.nan}]]}
    with pytest.raises(ValueError, match="no history has a column 'l1'"):
        compare_curves(histories, ["d_loss", "l1"], tmp_path / "a.png")
    (panel,) = axes(compare_curves, histories, ["d_loss"])
    assert [text.get_text() for text in panel.texts] == ["no finite number"]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["GAN: none"]


def test_a_model_whose_every_seed_diverged_is_named_in_the_legend_and_keeps_the_others_look(axes):
    broken = [[{"epoch": 0, "l1": math.nan}, {"epoch": 1, "l1": "nan"}]] * 2
    histories = {"GAN": broken, "U-Net": [[{"epoch": 0, "l1": 1.0}, {"epoch": 1, "l1": 0.5}]]}
    (panel,) = axes(compare_curves, histories | {"grey": [[{"l1": ""}], []]}, ["l1"])
    legend = [text.get_text() for text in panel.get_legend().get_texts()]
    assert legend == ["GAN: none", "U-Net"]
    assert list(panel.lines[1].get_ydata()) == [1.0, 0.5] and panel.get_xlim() == (-0.5, 1.5)


def test_a_bar_is_the_mean_its_whisker_the_deviation_and_each_seed_a_dot(axes):
    groups = {
        "l1": {"U-Net": [0.07, 0.08, 0.09], "GAN": [0.1]},
        "psnr": {"U-Net": [-1.0, -3.0], "other": [2345.0]},
    }
    l1, psnr = axes(bars, groups, titles={"l1": "L1 ↓"})
    assert [panel.get_title() for panel in (l1, psnr)] == ["L1 ↓", "psnr"]
    names = [label.get_text() for label in l1.get_xticklabels()]
    assert names == ["U-Net", "GAN", "other"] == [t.get_text() for t in psnr.get_xticklabels()]
    unet, gan = l1.patches
    assert [unet.get_height(), gan.get_height()] == pytest.approx([0.08, 0.1])
    assert unet.get_facecolor() == psnr.patches[0].get_facecolor() != gan.get_facecolor()
    (whisker,) = [c for c in l1.collections if len(c.get_segments()) == 1]
    assert whisker.get_segments()[0][:, 1].tolist() == pytest.approx([0.07, 0.09])
    (dots,) = [line for line in l1.lines if line.get_marker() == "o"]
    assert list(dots.get_ydata()) == [0.07, 0.08, 0.09]
    assert len(set(dots.get_xdata())) == 3
    assert [text.get_text() for text in l1.texts] == ["0.0800", "0.100", "none"]
    assert [text.get_text() for text in psnr.texts] == ["-2.00", "none", "2,345"]
    assert l1.get_ylim()[0] == 0 and psnr.get_ylim()[0] < -3


def test_a_model_with_a_seed_that_is_no_number_has_no_bar(axes):
    (panel,) = axes(bars, {"l1": {"GAN": [0.1, math.nan], "U-Net": [0.1, 0.2]}})
    assert len(panel.patches) == 1
    assert [text.get_text() for text in panel.texts] == ["none", "0.150"]


@pytest.mark.parametrize("seeds", [[math.nan], [math.nan] * 3, [math.inf, -math.inf, math.nan]])
def test_where_every_seed_diverged_each_bar_is_none(seeds, axes):
    (panel,) = axes(bars, {"l1": {"GAN": seeds, "U-Net": seeds}})
    assert not panel.patches
    assert [text.get_text() for text in panel.texts] == ["none", "none"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["GAN", "U-Net"]


@pytest.mark.parametrize("models", [2, 3, 7])
def test_bars_are_as_wide_as_a_page_and_their_names_do_not_meet(models, axes, tmp_path):
    names = [f"resnet20 number {i}" for i in range(models)]
    panels = axes(bars, {m: {name: [1.0, 2.0] for name in names} for m in "abc"})
    assert Image.open(tmp_path / "a.png").width in range(1190, 1210)  # 800 at 1.5 dots a pixel
    for panel in panels:
        boxes = [label.get_window_extent() for label in panel.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("groups", [{}, {"l1": {}}, {"l1": {"GAN": []}}])
def test_bars_of_nothing_are_refused(groups, tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        bars(groups, tmp_path / "a.png")
