"""Curves and bars show every number there is, in its place and no other; a recipe's agree."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
import torch
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from colourgan.evaluate import ImageSet
from colourgan.experiments.cells import DONE, FAILED, Cell
from colourgan.experiments.steps import Step
from colourgan.plots import bars, compare_curves, curves
from colourgan.plots.charts import COLORS, STYLES, value_curves
from colourgan.plots.svg import (
    Line,
    Point,
    Row,
    axis,
    curve_chart,
    number_line,
    row_chart,
    scatter_chart,
)
from colourgan.recipes import figures
from colourgan.recipes.experiment import Results
from colourgan.reconstructions import RECONSTRUCTIONS
from colourgan.trainings import GanFinetune, Pretrain, TrainCycleGAN, TrainEncoder, TrainGenerator


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
    assert (left.get_xlabel(), left.get_title(), right.get_title()) == ("epoch", "l1", "d_loss")
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


def panels_of(axes):
    """title → the models whose lines it has."""
    return {each.get_title(): [line.get_label() for line in each.lines] for each in axes}


def test_models_of_different_units_have_panels_of_their_own(axes):
    histories = {
        "L2": [[{"valid_loss": 0.01, "saturation": 0.3}]],
        "L1": [[{"valid_loss": 0.08, "saturation": 0.4}]],
        "GAN": [[{"valid_loss": 0.09, "saturation": 0.5, "d_loss": 9.0}]],
        "other": [[{"valid_loss": 4.0, "saturation": 0.6}]],
    }
    units = {"valid_loss": {"L2": "L2", "L1": "L1", "GAN": "L1"}, "d_loss": {"GAN": "wgan_gp"}}
    drawn = axes(compare_curves, histories, ["valid_loss", "saturation", "d_loss"], units=units)
    assert panels_of(drawn) == {
        "valid_loss (L2)": ["L2"],
        "valid_loss (L1)": ["L1", "GAN"],
        "valid_loss": ["other"],
        "saturation": ["L2", "L1", "GAN", "other"],
        "d_loss (wgan_gp)": ["GAN"],
    }
    looks = {}
    for line in (line for panel in drawn for line in panel.lines):
        looks.setdefault(line.get_label(), set()).add((line.get_color(), line.get_linestyle()))
    assert [len(each) for each in looks.values()] == [1] * 4  # wherever they are drawn
    assert len(set.union(*looks.values())) == 4


def test_a_column_that_nobody_has_a_number_of_has_one_empty_panel(axes):
    histories = {"GAN": [[{"d_loss": ""}]], "U-Net": [[{"d_loss": None}]]}
    units = {"d_loss": {"GAN": "bce", "U-Net": "hinge"}}
    assert panels_of(axes(compare_curves, histories, ["d_loss"], units=units)) == {"d_loss": []}


def test_values_are_drawn_like_histories_with_the_bound_of_a_claim(axes):
    ratio = {"GAN": [[1.0, 0.5, 0.2], [1.0, 0.7]], "none": [[math.nan]], "nobody": []}
    left, right = axes(
        value_curves, {"D loss over its largest": ratio, "L1": {"GAN": [[0.2, 0.1, 0.1]]}},
        colors={"none": "#123456", "GAN": "#654321"}, bounds={"D loss over its largest": 0.05},
    )  # fmt: skip
    gan, none, nobody, bound = left.lines
    assert list(gan.get_xdata()) == [1, 2, 3] and list(gan.get_ydata()[:2]) == [1, 0.6]
    assert math.isnan(gan.get_ydata()[2])  # one seed has no third epoch
    assert (gan.get_color(), gan.get_linestyle()) == ("#654321", STYLES[1])
    assert none.get_color() == "#123456" and nobody.get_color() == COLORS[0]
    assert right.lines[0].get_color() == "#654321" and len(right.lines) == 1
    assert set(bound.get_ydata()) == {0.05} and left.get_ylim()[0] < 0.05
    assert left.get_xlim() == right.get_xlim() == (0.5, 3.5)
    legend = [text.get_text() for text in left.get_legend().get_texts()]
    assert legend == ["GAN", "none: none", "nobody: none", "bound: 0.05"]


@pytest.mark.parametrize(("panels", "bounds"), [({}, {}), ({"L1": {"GAN": [[1.0]]}}, {"l1": 0.5})])
def test_a_bound_is_one_of_a_panel_and_some_panel_there_must_be(panels, bounds, tmp_path):
    with pytest.raises(ValueError, match="bounds of"):
        value_curves(panels, tmp_path / "a.png", bounds=bounds)
    assert not list(tmp_path.iterdir())


def test_a_bar_is_the_mean_its_whisker_the_deviation_and_each_seed_a_dot(axes):
    groups = {
        "l1": {"U-Net": [0.07, 0.08, 0.09], "GAN": [0.1]},
        "psnr": {"U-Net": [-1.0, -3.0], "other": [2345.0]},
    }
    l1, psnr = axes(bars, groups, titles={"l1": "L1 ↓"})
    assert [panel.get_title() for panel in (l1, psnr)] == ["L1 ↓", "psnr"]
    names = [label.get_text() for label in l1.get_xticklabels()]
    assert names == ["U-Net", "GAN"]  # no place for what the metric does not have
    assert [label.get_text() for label in psnr.get_xticklabels()] == ["U-Net", "other"]
    unet, gan = l1.patches
    assert [unet.get_height(), gan.get_height()] == pytest.approx([0.08, 0.1])
    assert unet.get_facecolor() == psnr.patches[0].get_facecolor() != gan.get_facecolor()
    (whisker,) = [c for c in l1.collections if len(c.get_segments()) == 1]
    assert whisker.get_segments()[0][:, 1].tolist() == pytest.approx([0.07, 0.09])
    (dots,) = [line for line in l1.lines if line.get_marker() == "o"]
    assert list(dots.get_ydata()) == [0.07, 0.08, 0.09]
    assert len(set(dots.get_xdata())) == 3
    assert [text.get_text() for text in l1.texts] == ["0.0800", "0.100"]
    assert [text.get_text() for text in psnr.texts] == ["-2.00", "2,345"]
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


# ------------------------------------------------------------------------ the figures of a recipe


@pytest.fixture
def figure(monkeypatch):
    """A function that draws a figure of `figures` and returns its axes by title."""
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (a[0].touch(), saved.append(f)))

    def draw(function, *arguments):
        file, caption = function(*arguments)
        assert caption.endswith(".") and (arguments[0].out / file).exists()
        return {each.get_title(): each for each in saved[-1].axes}

    return draw


def trained(out, models, histories=None, steps=None, failed=(), **metrics):
    """Results of two seeds a model; failed: (model, seed).

    histories: model → column → one number an epoch, of both seeds; metrics: name → model → one
    number of all images, or one number of all models.
    """
    cells = {}
    for model in models:
        columns = (histories or {}).get(model, {})
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        cells[model] = []
        for seed in (0, 1):
            found = {k: v[model] if isinstance(v, dict) else v for k, v in metrics.items()}
            values = {name: torch.full((4,), float(value)) for name, value in found.items()}
            done = DONE, "", values, {}, {}, {}, {}, rows
            lost = FAILED, "", {}, {}, {}, {}, {}, []
            cells[model].append(Cell({}, seed, "", *(lost if (model, seed) in failed else done)))
    images = ImageSet(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), [])
    steps = {model: [Step(training)] * 2 for model, training in (steps or {}).items()}
    return Results(images, cells, {name: torch.zeros(4) for name in metrics}, out, steps=steps)


WASSERSTEIN = {
    "WGAN": TrainGenerator(objective="wgan_gp", d_norm="layer"),
    "BCE": TrainGenerator(objective="bce", reconstruction="l2"),
}


def test_curves_of_a_recipe_never_mix_the_units_that_its_models_train_with(figure, tmp_path):
    columns = {"valid_loss": [0.2, 0.1], "d_loss": [9.0, 8.0], "g_loss": [1.0, 1.0]}
    histories = {"WGAN": columns | {"d_penalty": [1.0, 0.5]}, "BCE": columns}
    asked = "valid_loss", "d_loss", "g_loss", "d_penalty"
    results = trained(tmp_path, histories, histories, WASSERSTEIN)
    drawn = figure(figures.loss_curves, results, *asked)
    assert panels_of(drawn.values()) == {
        "valid_loss (L1)": ["WGAN"],
        "valid_loss (L2)": ["BCE"],
        "d_loss (wgan_gp)": ["WGAN"],
        "d_loss (bce)": ["BCE"],
        "g_loss (wgan_gp)": ["WGAN"],
        "g_loss (bce)": ["BCE"],
        "d_penalty": ["WGAN"],
    }
    unknown = figure(figures.loss_curves, trained(tmp_path, histories, histories), *asked)
    assert list(unknown) == [*asked]


def test_a_loss_has_the_unit_of_what_is_minimised(tmp_path):
    steps = {name: Pretrain(reconstruction=name) for name in RECONSTRUCTIONS}
    steps |= {"open": Pretrain(), "cycle": TrainCycleGAN(), "gan": GanFinetune(objective="hinge")}
    results = trained(tmp_path, steps, steps=steps)
    classes = Step(Pretrain(reconstruction="bins"))
    results.steps["on"] = [Step(Pretrain(), needs=classes)]
    results.steps["adapted"] = [Step(Pretrain(), needs=Step(TrainEncoder()))]
    units = figures.loss_units(results)
    classified = dict.fromkeys(("bins", "on"), "cross-entropy")
    norms = dict.fromkeys(results.steps, "L1") | {"l2": "L2"}
    assert units["train_loss"] == norms | classified
    assert units["valid_loss"] == norms  # in validation classes are decoded
    adversarial = {model: unit for model, unit in units["d_loss"].items() if unit}
    assert adversarial == {"cycle": "least_squares", "gan": "hinge"}
    assert units["g_loss"]["cycle"] != units["d_loss"]["cycle"]  # a sum of two
    assert units["g_loss"]["gan"] == "hinge"


def test_a_model_has_one_color_in_all_charts_of_a_report(figure, tmp_path):
    models = list("ABCDEFG")  # one more than there are colors
    histories = {model: {"valid_loss": [2.0, 1.0]} for model in models}
    results = trained(tmp_path, models, histories, l1=1, colorfulness=2, colorfulness_true=3)
    bar = figure(figures.measure_bars, results, "l1", "colorfulness")["colorfulness"]
    names = [label.get_text() for label in bar.get_xticklabels()]
    assert names == ["grey", *models, "true"]
    colors = {n: to_hex(p.get_facecolor()) for n, p in zip(names, bar.patches, strict=True)}
    assert len(set(colors.values())) == 8 and "#000000" not in colors.values()
    (curve,) = figure(figures.loss_curves, results, "valid_loss").values()
    assert {x.get_label(): x.get_color().lower() for x in curve.lines} == {
        model: colors[model] for model in models
    }
    part = {"jumps": {model: results.column(model, "valid_loss") for model in ("C", "B")}}
    judged = figure(figures.quantity_curves, results, part, "judged.png", "Jumps.")["jumps"]
    for line in judged.lines:
        (same,) = (x for x in curve.lines if x.get_label() == line.get_label())
        assert line.get_color() == same.get_color()
        assert line.get_linestyle() == same.get_linestyle()
    shades = [int(colors[name][1:3], 16) for name in ("grey", "true")]
    assert colors["grey"] == f"#{colors['grey'][1:3] * 3}" and shades[0] > 2 * shades[1]


def test_more_models_than_colors_leave_grey_and_true_theirs(tmp_path):
    colors = figures.model_colors(trained(tmp_path, [str(number) for number in range(9)]))
    assert len(colors) == 11 and list(colors.values()).count(colors["true"]) == 1
    assert list(colors.values()).count(colors["grey"]) == 1


def test_the_true_images_have_a_bar_where_the_metric_is_one_of_them(figure, tmp_path):
    measured = {"l1": 0.1, "colorfulness": 20, "colorfulness_true": 36}
    measured |= {"smooth_variance": 5, "smooth_variance_true": 9}
    for failed in ((), [("A", 0)], [("B", 1)]):
        results = trained(tmp_path, "AB", failed=failed, **measured)
        drawn = figure(figures.measure_bars, results, "l1", "colorfulness", "smooth_variance")
        l1, colorful, smooth = drawn.values()
        assert [label.get_text() for label in l1.get_xticklabels()] == ["grey", "A", "B"]
        for panel, height in ((colorful, 36), (smooth, 9)):
            assert [label.get_text() for label in panel.get_xticklabels()][-1] == "true"
            assert panel.patches[-1].get_height() == pytest.approx(height)


def test_a_quantity_is_drawn_over_the_epochs_of_the_seeds_that_are_done(figure, tmp_path):
    histories = {"WGAN": {"d_loss": [4.0, 2.0, 1.0]}, "BCE": {"d_loss": [1.0, 1.0, 1.0]}}
    results = trained(tmp_path, histories, histories, failed=[("WGAN", 1)])
    ratio = [[loss / 4 for loss in seed] for seed in results.column("WGAN", "d_loss")]
    panels = {"D loss over its largest": {"WGAN": ratio}}
    bounds = {"D loss over its largest": 0.5}
    asked = panels, "judged.png", "The D loss.", bounds
    (panel,) = figure(figures.quantity_curves, results, *asked).values()
    line, bound = panel.lines
    assert line.get_xydata().tolist() == [[1, 1.0], [2, 0.5], [3, 0.25]]
    assert set(bound.get_ydata()) == {0.5}


@pytest.fixture
def svg(monkeypatch):
    """A function that draws with a function and returns its SVG and the axes it is made of."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k)))

    def draw(function, *arguments, **options):
        return function("what it shows", *arguments, **options), figures[-1].axes[0]

    return draw


def marks(axes, marker="o"):
    return [line for line in axes.lines if line.get_marker() == marker]


def texts(drawn):
    """What can be read, but for what a pointer brings up."""
    found = ElementTree.fromstring(drawn).iter("text")
    return [(each.text or "") + "".join(title.tail for title in each) for each in found]


ROWS = [
    Row("a", [0.1, 0.12], (0.08, 0.14), "0.1100 ± 0.0141", title="first <b>"),
    Row("b $x$", [0.22], None, "0.2200", color=1, shape=1),
    Row("c", [], None, "–", color=2),
]


def test_rows_are_bars_from_zero_with_their_interval_and_seeds(svg):
    drawn, axes = svg(row_chart, ROWS, axis([0.25], from_zero=True), dashed=0.125)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.11, 0.22])
    assert {bar.get_x() for bar in axes.patches} == {0} == {axes.get_xlim()[0]}
    (whisker,) = marks(axes, "|")
    assert list(whisker.get_xdata()) == [0.08, 0.14]
    assert [list(dots.get_xdata()) for dots in marks(axes)] == [[0.1, 0.12], [0.22]]
    assert [list(line.get_xdata()) for line in axes.lines[:1]] == [[0.125, 0.125]]
    assert len([line for line in axes.lines if line.get_linestyle() == "--"]) == 3
    assert {"a", "b $x$", "c", "–", "0.2200", "0", "0.1", "0.2"} <= set(texts(drawn))
    ys = [bar.get_y() for bar in axes.patches] + [axes.texts[4].get_position()[1]]
    assert ys == sorted(ys) and axes.get_ylim()[1] == 0  # downwards
    filled, hollow = (bar.get_facecolor()[:3] for bar in axes.patches)
    assert hollow == (1, 1, 1) != filled
    plain = svg(row_chart, ROWS, axis([0.25]))[1]
    assert not [line for line in plain.lines if line.get_linestyle() == "--"]


def test_differences_are_dots_around_zero(svg):
    rows = [
        Row("x", [-0.01], (-0.03, 0.01), "better", "better"),
        Row("y", [0.02], (0.01, 0.03), "worse", "worse"),
    ]
    drawn, axes = svg(row_chart, rows, axis([-0.03, 0.03]), dashed=0.0, bars=False)
    assert not axes.patches and "var(--bad" in drawn and "var(--good" in drawn
    assert [list(dot.get_xdata()) for dot in marks(axes)] == [[-0.01], [0.02]]
    assert [list(line.get_xdata()) for line in marks(axes, "|")] == [[-0.03, 0.01], [0.01, 0.03]]
    assert "−0.02" in texts(drawn)


def test_a_long_name_is_wrapped_and_does_not_meet_the_number_beside_it(svg):
    row = Row("a pretrained encoder with very many words in its name", [1], None, "0.1234 ± 0.0123")
    _, axes = svg(row_chart, [row] * 3, axis([1.0], from_zero=True))
    boxes = [text.get_window_extent() for text in axes.texts]
    assert " ".join(axes.texts[0].get_text().split()) == row.label
    assert all(name.x1 < number.x0 for name, number in zip(boxes[::2], boxes[1::2], strict=True))
    dots = [axes.transData.transform(dot.get_xydata()[0])[1] for dot in marks(axes)]
    for above, dot, below in zip(boxes[::2], dots, boxes[2::2], strict=False):
        assert above.y0 > dot + 5 and dot - 5 > below.y1


def test_what_is_not_finite_is_not_drawn(svg):
    rows = [Row("a", [math.nan], (math.nan, math.nan), "n/a"), Row("b", [math.inf, 1.0], (0, 1))]
    drawn, axes = svg(row_chart, rows, axis([1.0, math.nan, math.inf], from_zero=True))
    assert [bar.get_width() for bar in axes.patches] == [1] and "nan" not in drawn
    assert number_line("", [1.0, math.nan], (math.nan, math.nan), low=0) == ""
    assert number_line("", [math.inf], None, low=0) == number_line("", [], None) == ""


def test_points_lie_where_their_numbers_say(svg):
    points = [Point(1, 0.2, "7", """a <b> "c" 'd'"""), Point(1000, 0.1, "8", color=1, shape=3)]
    across = axis([1, 1000], logarithmic=True)
    drawn, axes = svg(scatter_chart, points, across, axis([0.1, 0.2]), "seconds")
    assert [tuple(line.get_xydata()[0]) for line in axes.lines] == [(1, 0.2), (1000, 0.1)]
    assert [line.get_marker() for line in axes.lines] == ["o", "s"]
    assert axes.get_xscale() == "log" and axes.get_yscale() == "linear"
    assert {"1", "5", "20", "100", "500", "seconds, in orders of magnitude"} <= set(texts(drawn))
    titles = [each.text for each in ElementTree.fromstring(drawn).iter("title")]
    assert {"7", "8"} <= set(texts(drawn)) and titles == ["""a <b> "c" 'd'"""]


@pytest.mark.parametrize("others", [0.4, -0.2])
def test_the_numbers_of_a_crowd_do_not_meet_and_stay_in_the_chart(others, svg):
    crowd = [Point(1 + i / 1e4, 0.1 + i / 1e5, str(i)) for i in range(12)]
    down = axis([0.1, others])
    _, axes = svg(scatter_chart, [*crowd, Point(9, others, "x")], axis([1.0, 9.0]), down, "x")
    boxes = sorted((text.get_window_extent() for text in axes.texts[-13:]), key=lambda b: b.y0)
    boxes = [box for box in boxes if box.x0 < 200]
    assert len(boxes) == 12
    assert all(above.y0 > below.y0 + 11 for below, above in pairwise(boxes))
    whole = axes.get_window_extent()
    assert boxes[0].y0 >= whole.y0 - 1 and boxes[-1].y1 <= whole.y1 + 1


def test_lines_are_told_apart_without_color_and_have_gaps(svg):
    lines = [Line(f"net {i}", [[i + 1.0, i + 0.5, i + 0.2]], color=i) for i in range(12)]
    drawn, axes = svg(curve_chart, lines, axis([0, 13]), 3)
    assert len({(line.get_linestyle(), line.get_marker()) for line in axes.lines}) == 12
    assert {f"net {i}" for i in range(12)} | {"1", "2", "3", "epoch"} <= set(texts(drawn))
    gap = Line("gap", [[1, 2.0, 3, 4], [2, math.nan, 4]])
    drawn, axes = svg(curve_chart, [gap], axis([0, 5]), 40)
    assert {"1", "6", "11", "36"} <= set(texts(drawn))
    (line,) = axes.lines
    assert line.get_ydata()[[0, 2]].tolist() == [1.5, 3.5]
    assert math.isnan(line.get_ydata()[1]) and math.isnan(line.get_ydata()[3])
    assert len(axes.get_xticks()) <= 8 and axes.get_xlim() == (0.7, 40.3)
    ends = {tuple(p) for path in axes.collections[0].get_paths() for p in path.vertices.tolist()}
    assert {(1, 1), (1, 2), (3, 3), (3, 4)} <= ends


@pytest.mark.parametrize(
    ("low", "high", "green", "said"),
    [(0, None, (0, 7), ["0"]), (None, -1.5, (-4, -1.5), ["−1.5"]), (1, 3, (1, 3), ["1", "3"])],
)
def test_a_number_line_is_green_where_the_claim_holds(low, high, green, said, svg):
    drawn, axes = svg(number_line, [-2.0, 5.0], (-3.0, 6.0), low, high)
    (area,) = axes.patches
    left, right = axes.get_xlim()
    assert max(area.get_x(), left) == pytest.approx(max(green[0], left))
    assert min(area.get_x() + area.get_width(), right) == pytest.approx(min(green[1], right))
    assert left < -3 and right > 6 and texts(drawn) == said
    mean, seeds = marks(axes)
    assert list(mean.get_xdata()) == [1.5] and list(seeds.get_xdata()) == [-2, 5]
    assert list(marks(axes, "|")[0].get_xdata()) == [-3, 6]


def test_axes_have_round_ticks_and_room():
    assert axis([0.0, 0.1], from_zero=True) == pytest.approx((0, 0.107, False))
    assert axis([1, 1000], logarithmic=True).logarithmic
    assert not axis([1, 10], logarithmic=True).logarithmic
    assert not axis([0, 1000], logarithmic=True).logarithmic
    low, high, _ = axis([2.0, 2.0])
    assert low < 2 < high and low + high == 4
    assert axis([]).high > axis([]).low and axis([math.nan, 1.0]).low < 1 < axis([math.nan, 1]).high


def test_an_svg_is_fit_for_any_place_of_a_page(svg):
    drawn, axes = svg(row_chart, ROWS, axis([0.25], from_zero=True))
    again, _ = svg(row_chart, ROWS, axis([0.25], from_zero=True))
    assert drawn == again  # not even a date differs
    root = ElementTree.fromstring(drawn)
    assert root.tag == "svg" and root.get("aria-label") == "what it shows"
    assert {each.tag for each in root.iter()} == {"svg", "g", "path", "text", "title"}
    assert not re.search(r"\bid=|url\(|http|href|<style|font-family|<!|<\?|#000000", drawn)
    assert root.get("fill") == "currentColor" and "stroke: currentColor" in drawn
    assert "var(--c0, #0072B2)" in drawn and "<title>first &lt;b&gt;</title>" in drawn
    # What matplotlib placed by reference lies where the axes say.
    height = float(root.get("viewBox").split()[3])
    places = {p.get("transform") for p in root.iter("path")} - {None}
    for dot in axes.transData.transform([point for m in marks(axes) for point in m.get_xydata()]):
        near = [re.findall(r"-?[\d.]+", place) for place in places]
        assert any(
            abs(float(x) - dot[0]) < 0.02 and abs(float(y) - height + dot[1]) < 0.02
            for x, y in near
        )


def test_names_that_a_font_lacks_or_that_look_like_formulas_are_shown_as_they_are(svg, recwarn):
    name = "漢字 $\\alpha$ & <x>"
    drawn, _ = svg(curve_chart, [Line(name, [[1.0, 2.0]])], axis([0, 3]), 2)
    assert name in texts(drawn) and not recwarn.list
    drawn, _ = svg(row_chart, [Row(name, [1.0], None, "$1$")], axis([0, 3]))
    assert {name, "$1$"} <= set(texts(drawn))


def test_a_style_of_the_user_changes_no_svg(svg):
    before, _ = svg(row_chart, ROWS, axis([0.25]))
    with rc_context({"font.size": 20, "grid.linewidth": 9, "svg.fonttype": "path"}):
        assert svg(row_chart, ROWS, axis([0.25]))[0] == before
