"""Lines over numbers of training images: each seed in its place, with what is known of the mean."""

import math
import re

import pytest
from matplotlib.figure import Figure

from colourgan.plots.svg import Trend, axis, draw_trends, trend_chart

TRENDS = [
    Trend("random", {500: [0.3, 0.5], 2000: [0.2, 0.2], 8000: [0.1, 0.2]}, {500: (0.3, 0.5)}, 0),
    Trend("a < b", {2000: [0.1, 0.3], 500: [0.4, 0.4]}, {500: (0.4, 0.4), 2000: (0.1, 0.3)}, 1),
]


@pytest.fixture
def axes():
    return Figure().add_subplot()


def paths(axes, label):
    """{x: y} of the line with that label."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return dict(zip(*line.get_data(), strict=True))


def test_a_line_goes_through_the_means_in_the_order_of_x(axes):
    draw_trends(axes, TRENDS)
    assert axes.get_xscale() == "log"
    first, second = (paths(axes, trend.label) for trend in TRENDS)
    assert [*first.values()] == pytest.approx([0.4, 0.2, 0.15])
    assert [*second.values()] == pytest.approx([0.4, 0.2])
    assert [*second] == sorted(second)
    # Lines lie beside each other, by less than half of the way to the next x.
    for x, moved in zip((500, 2000), zip(first, second, strict=False), strict=False):
        assert moved[0] < x < moved[1] and moved[1] / moved[0] < 1.5
    low, high = axes.get_xlim()
    assert low < min(first) and max(first) < high


def test_every_seed_is_a_dot_and_shapes_tell_lines_apart(axes):
    draw_trends(axes, TRENDS)
    dots = [line for line in axes.lines if line.get_linestyle() == "None"]
    heights = sorted(y for line in dots for y in line.get_ydata())
    assert heights == [0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5]
    assert {line.get_marker() for line in dots} == {"o", "s"}
    styles = {line.get_label(): line.get_linestyle() for line in axes.lines}
    assert styles["random"] != styles["a < b"]


def test_ends_are_a_shade_or_bars_where_they_are_known(axes):
    draw_trends(axes, TRENDS)
    assert len(axes.collections) == 2
    axes.clear()
    nothing = Trend("x", {500: [1.0], 900: [2.0]}, {900: (math.nan, math.nan)})
    draw_trends(axes, [nothing, TRENDS[1]], barred=True)
    bars = [line for line in axes.lines if line.get_marker() == "_"]
    assert [tuple(line.get_ydata()) for line in bars] == [(0.4, 0.4), (0.1, 0.3)]
    assert not axes.collections


def test_one_x_is_drawn(axes):
    draw_trends(axes, [Trend("x", {500: [1.0]}, {})])
    low, high = axes.get_xlim()
    assert low < 500 < high


def test_a_chart_names_its_lines_and_its_numbers():
    drawn = trend_chart("L1 over images", TRENDS, axis([0.1, 0.5]), "training images", 0.25)
    assert drawn.startswith("<svg") and 'aria-label="L1 over images"' in drawn
    assert re.findall("<title>(.*?)</title>", drawn) == ["random", "a &lt; b"]
    for text in ("500", "2,000", "8,000", "random", "a &lt; b"):
        assert f">{text}</text>" in drawn
    assert ">training images, in orders of magnitude</text>" in drawn
    assert drawn == trend_chart("L1 over images", TRENDS, axis([0.1, 0.5]), "training images", 0.25)


def test_numbers_that_would_lie_on_each_other_are_left_out():
    many = Trend("x", {x: [1.0] for x in (1000, 1010, 1020, 2000, 4000)}, {})
    drawn = trend_chart("x", [many], axis([1.0]), "images")
    assert ">1,000<" in drawn and ">2,000<" in drawn and ">4,000<" in drawn
    assert ">1,010<" not in drawn and ">1,020<" not in drawn
