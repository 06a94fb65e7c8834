"""Hints: the color of a point, spread over what lies there and no farther than its edges."""

import math

import numpy as np
import pytest
from PIL import Image
from tiny_colorizers import Painter
from typer.testing import CliRunner

from colourgan import lab
from colourgan.cli import app
from colourgan.colorize import Colorizer, colorize_bytes, colorize_files
from colourgan.errors import UsageError
from colourgan.hints import MOST_HINTS, PIXELS, Hint, as_hint, change, grid_size, parse_hint

RED, BLUE = (200, 40, 40), (40, 60, 200)


def halves(height: int = 60, width: int = 90) -> Image.Image:
    """Dark on the left, light on the right, both with a little grain."""
    grey = np.where(np.arange(width) < width // 2, 90, 170) * np.ones((height, 1))
    grey += np.random.default_rng(0).normal(0, 2, grey.shape)
    return Image.fromarray(grey.round().astype(np.uint8))


def ab_of(image: Image.Image) -> np.ndarray:
    """CIE a and b (2, H, W)."""
    return lab.ab(np.asarray(image.convert("RGB"))) * lab.AB_SCALE


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer(Painter(), working_size=32, quality="fast")


@pytest.fixture
def photo(tmp_path):
    halves().save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_color_spreads_over_what_lies_there_and_stops_at_an_edge(colorizer):
    plain, hinted = colorizer(halves()), colorizer(halves(), [(20, 30, "#3c5cc8")])
    wanted = lab.ab(np.array([[[0x3C, 0x5C, 0xC8]]], np.uint8))[:, 0, 0] * lab.AB_SCALE
    moved, before = ab_of(hinted), ab_of(plain)
    assert np.abs(moved[:, 30, 20] - wanted).max() < 6  # as exact as bytes of dark pixels are
    whole = np.hypot(*(wanted - before[:, 30, 20]))
    far = np.hypot(*(moved - before))
    assert far[5:-5, 5:38].min() > 0.6 * whole
    assert far[:, 52:].max() < 0.1 * whole


def test_without_hints_nothing_changes(colorizer):
    assert colorizer(halves()).tobytes() == colorizer(halves(), []).tobytes()


def test_lightness_stays(colorizer):
    L = [lab.lightness(np.asarray(colorizer(halves(), hints))) for hints in ([], [(9, 9, "teal")])]
    assert np.abs(L[0] - L[1]).max() * 50 < 1


def test_a_removed_hint_leaves_nothing_behind(colorizer):
    hints = [Hint(20, 30, RED), Hint(70, 30, BLUE)]
    alone = colorizer(halves(), hints[:1])
    assert colorizer(halves(), hints).tobytes() != alone.tobytes()
    assert colorizer(halves(), hints[:1]).tobytes() == alone.tobytes()


def test_keep_holds_the_predicted_color(colorizer):
    plain = ab_of(colorizer(halves()))
    red = ab_of(colorizer(halves(), [(10, 30, RED)]))
    kept = ab_of(colorizer(halves(), [(10, 30, RED), (38, 30, None)]))
    assert np.hypot(*(red - plain))[30, 38] > 15
    assert np.hypot(*(kept - plain))[30, 38] < 3
    assert np.hypot(*(kept - plain))[30, 10] > 15


def test_several_hints_are_each_met_and_nothing_swings_beyond_them(colorizer):
    hints = [(8, 8, RED), (20, 50, BLUE), (36, 20, "olive"), (75, 40, "purple")]
    moved = ab_of(colorizer(halves(), hints))
    wanted = [lab.ab(np.array([[as_hint(h).color]], np.uint8))[:, 0, 0] * 110 for h in hints]
    for (x, y, _), ab in zip(hints, wanted, strict=True):
        assert np.abs(moved[:, y, x] - ab).max() < 12
    predicted = ab_of(colorizer(halves()))
    for moved_axis, *others in zip(
        moved, *wanted, predicted.min((1, 2)), predicted.max((1, 2)), strict=True
    ):
        assert min(others) - 12 < moved_axis.min() and moved_axis.max() < max(others) + 12


def test_the_later_of_two_hints_at_one_place_counts(colorizer):
    both = colorizer(halves(), [(20, 30, RED), (20, 30, BLUE)])
    assert both.tobytes() == colorizer(halves(), [(20, 30, BLUE)]).tobytes()


def test_hints_hold_whatever_the_saturation(photo):
    pale = Colorizer(Painter(), working_size=32, quality="fast", saturation=0.2)
    strong = Colorizer(Painter(), working_size=32, quality="fast", saturation=1.5)
    hinted = [ab_of(each(photo, [(20, 30, "teal")]))[:, 30, 20] for each in (pale, strong)]
    assert np.abs(hinted[0] - hinted[1]).max() < 4


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 3), (30, 900)])
def test_pictures_of_every_shape_take_hints(size, colorizer):
    image = halves(*size[::-1]) if min(size) > 1 else Image.new("L", size, 120)
    hinted = colorizer(image, [(size[0] - 1, size[1] - 1, "navy")])
    assert hinted.size == size
    assert hinted.getpixel((size[0] - 1, size[1] - 1)) != colorizer(image).getpixel(
        (size[0] - 1, size[1] - 1)
    )


def test_the_grid_is_bounded_and_keeps_the_shape():
    assert grid_size(60, 90) == (60, 90)
    height, width = grid_size(6000, 9000)
    assert height * width <= PIXELS and math.isclose(width / height, 1.5, rel_tol=0.01)
    assert grid_size(1, 10**6) == (1, PIXELS) and grid_size(10**6, 1) == (PIXELS, 1)


def test_of_a_large_change_little_is_left_far_away():
    L = np.zeros((40, 400), np.float32)
    found = change([Hint(0, 20, RED)], (40, 400), L, np.zeros((2, 40, 400), np.float32))
    size = np.hypot(*found)
    assert size[20, 0] == pytest.approx(
        np.hypot(*lab.ab(np.array([[RED]], np.uint8))[:, 0, 0]), rel=0.01
    )
    assert size[20, 20] > 0.8 * size[20, 0] and size[20, 399] < 0.05 * size[20, 0]


@pytest.mark.parametrize(
    "text, hint",
    [
        ("12,30,red", Hint(12, 30, (255, 0, 0))),
        (" 12 , 30.5 , #0080ff ", Hint(12, 30.5, (0, 128, 255))),
        ("0,0,rgb(1, 2, 3)", Hint(0, 0, (1, 2, 3))),
        ("1,2,hsl(0,100%,50%)", Hint(1, 2, (255, 0, 0))),
        ("1,2, keep", Hint(1, 2, None)),
    ],
)
def test_hints_are_read(text, hint):
    assert parse_hint(text) == hint


@pytest.mark.parametrize(
    "text", ["", "12,30", "red", "a,b,red", "12,30,reddish", "nan,3,red", "inf,3,red", "1,2,"]
)
def test_what_is_no_hint_is_refused(text):
    with pytest.raises(UsageError, match=r"is not x,y,color.*such as 120,80,red"):
        parse_hint(text)


@pytest.mark.parametrize(
    "values", [(1, 2), None, (1, 2, (300, 0, 0)), (1, 2, (1,)), ("x", 2, None)]
)
def test_values_that_are_no_hint_are_refused(values):
    with pytest.raises(UsageError):
        as_hint(values)


def test_too_many_hints_are_refused(colorizer):
    with pytest.raises(UsageError, match=f"{MOST_HINTS + 1} hints are too many: at most"):
        colorizer(halves(), [(i % 90, i // 90, "red") for i in range(MOST_HINTS + 1)])


@pytest.mark.parametrize("place", [(-1, 3), (90, 3), (3, 60)])
def test_a_hint_outside_of_the_picture_is_refused(place, colorizer, photo):
    with pytest.raises(UsageError, match="outside of the picture of 90 × 60 pixels"):
        colorizer(photo, [(*place, "red")])


def test_a_list_of_pictures_takes_no_hints(colorizer, photo):
    with pytest.raises(UsageError, match="single picture"):
        colorizer([photo, photo], [(1, 1, "red")])


def test_x_and_y_are_those_of_the_upright_picture(tmp_path, colorizer):
    turned = Image.Exif()
    turned[0x112] = 6
    halves().rotate(90, expand=True).save(tmp_path / "turned.png", exif=turned)
    upright = ab_of(colorizer(halves(), [(20, 30, BLUE)]))
    assert np.abs(ab_of(colorizer(tmp_path / "turned.png", [(20, 30, BLUE)])) - upright).max() < 2


def test_files_and_bytes_take_hints(photo, colorizer, tmp_path):
    hints = [parse_hint("20,30,#3c5cc8")]
    wanted = colorizer(photo, hints)
    colorize_files([photo], colorizer, tmp_path / "out.png", hints=hints, progress=False)
    with Image.open(tmp_path / "out.png") as image:
        assert image.tobytes() == wanted.tobytes()
    content, _ = colorize_bytes(photo.read_bytes(), colorizer, hints=hints)
    assert content == (tmp_path / "out.png").read_bytes()


def test_two_files_or_a_place_outside_are_refused_and_nothing_is_written(
    photo, colorizer, tmp_path
):
    halves().save(tmp_path / "other.png")
    for inputs, hint, said in (
        ([photo, tmp_path / "other.png"], "1,1,red", "for one picture, and these are 2"),
        ([photo], "900,1,red", "outside of the picture"),
    ):
        with pytest.raises(UsageError, match=said):
            colorize_files(
                inputs, colorizer, tmp_path / "out", hints=[parse_hint(hint)], progress=False
            )
    assert not any((tmp_path / "out").rglob("*.png"))


def test_the_command_takes_hints(photo, tmp_path):
    command = ["colorize", str(photo), "--working-size", "32", "--quality", "fast", "--out"]
    for name, hints in {
        "plain": [],
        "red": ["--hint", "20,30,red", "--hint", "70,30,keep"],
    }.items():
        assert (
            CliRunner().invoke(app, [*command, str(tmp_path / f"{name}.png"), *hints]).exit_code
            == 0
        )
    plain, red = (ab_of(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "red"))
    assert red[0, 30, 20] > plain[0, 30, 20] + 20
    assert np.abs(red - plain)[:, 30, 70].max() < 3
