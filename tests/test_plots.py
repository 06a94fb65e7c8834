"""Every picture is in its place, in a grid and in each frame of a GIF."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from colourgan.evaluate import ImageSet
from colourgan.plots import gif, grid
from colourgan.recipes import figures
from colourgan.recipes.experiment import Results


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


def frames_of(path) -> list[np.ndarray]:
    """(H, W, 3) of each frame of a GIF, as a viewer shows it."""
    with Image.open(path) as image:
        return [
            np.asarray((image.seek(frame), image.convert("RGB"))[1])
            for frame in range(image.n_frames)
        ]


RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_a_gif_shows_the_same_places_in_several_states_for_ever(tmp_path):
    states = [("grey", [flat(1, 0, 0), flat(0, 0, 1)]), ("GAN", [flat(0, 0, 1), flat(1, 0, 0)])]
    gif(states, tmp_path / "a.gif", milliseconds=700)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.info["loop"], image.info["duration"]) == (2, 0, 700)
    first, second = frames_of(tmp_path / "a.gif")
    assert sides(first, RED) == sides(second, BLUE)
    assert sides(first, BLUE) == sides(second, RED)
    top, left, *size = sides(first, RED)
    assert size == [96, 96]
    assert sides(first, BLUE)[:2] == (top, left + 96 + 6)
    for frame in (first, second):
        assert (frame[:top].max(2) < 100).sum() > 30  # the title
        assert (frame[0] == 255).all() and (frame[-1] == 255).all()
    assert (first[:top] != second[:top]).any()


def test_a_gif_may_have_several_rows_and_a_title_in_several_lines(tmp_path):
    pictures = [flat(1, 0, 0), flat(0, 1, 0), flat(0, 0, 1)]
    titles = ("U-Net", "the generator after very many epochs of training")
    gif([(title, pictures) for title in titles], tmp_path / "a.gif", columns=2)
    short, long = frames_of(tmp_path / "a.gif")
    assert short.shape == long.shape
    red, green, blue = (sides(short, color) for color in (RED, (0, 255, 0), BLUE))
    assert red[0] == green[0] and red[1] == blue[1] and blue[0] > red[0] + 96
    assert sides(long, BLUE) == blue
    dark = [np.nonzero((frame[: red[0]].max(2) < 100).any(1))[0] for frame in (short, long)]
    assert len(dark[1]) > 2 * len(dark[0])


def test_many_colors_stay_near_in_a_gif(tmp_path):
    x = torch.linspace(0, 1, 128)
    smooth = torch.stack(
        [x.expand(128, -1), x[:, None].expand(-1, 128), torch.full((128, 128), 0.5)]
    )
    gif([("a", [smooth]), ("b", [smooth.flip(1)])], tmp_path / "a.gif")
    frame = frames_of(tmp_path / "a.gif")[1]
    shown = frame[-6 - 128 : -6, 6 : 6 + 128].astype(float)
    true = smooth.flip(1).permute(1, 2, 0).numpy() * 255
    assert np.abs(shown - true).mean() < 10
    # Seen from afar, dithered colors are the true ones.
    blocks = (shown - true).reshape(16, 8, 16, 8, 3).mean((1, 3))
    assert np.abs(blocks).mean() < 3


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [("a", [])],
        [("a", [flat(1, 0, 0)]), ("b", [flat(1, 0, 0)] * 2)],
        [("a", [flat(1, 0, 0)]), ("b", [flat(1, 0, 0, 32, 33)])],
    ],
)
def test_frames_of_a_gif_must_show_the_same_places(frames, tmp_path):
    with pytest.raises(ValueError, match="frames with pictures of these shapes"):
        gif(frames, tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------ the figures of a recipe


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A function from a number of test images to Results of "A", all red, and "B", all blue.

    A true image's green is its number, its blue 200.
    """
    painted = {"A": flat(1, 0, 0), "B": flat(0, 0, 1), "grey": flat(0.5, 0.5, 0.5)}
    monkeypatch.setattr(Results, "colored", lambda self, model, L: [painted[model]] * len(L))

    def make(count):
        rgb = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
        rgb[:, 1], rgb[:, 2] = torch.arange(count, dtype=torch.uint8)[:, None, None], 200
        return Results(ImageSet(rgb, []), {"A": [], "B": []}, {}, tmp_path)

    return make


@pytest.mark.parametrize("count, shown", [(1, 1), (5, 5), (8, 8), (9, 8), (100, 8), (121, 8)])
def test_rows_are_spread_evenly_over_the_test_set(count, shown, results):
    rows = figures.spread_rows(results(count))
    steps = [after - before for before, after in pairwise([*rows, count])]
    assert len(rows) == shown and rows[0] == 0
    assert min(steps) > 0 and max(steps) - min(steps) <= 1


def test_samples_and_animations_show_images_of_the_whole_test_set(results, tmp_path):
    made = results(200)
    rows = [0, 25, 50, 75, 100, 125, 150, 175]
    file, caption = figures.samples(made)
    assert caption == "Test images spread evenly over the set, first seed."
    sheet = np.asarray(Image.open(tmp_path / file))
    tops = [sides(sheet, (0, row, 200))[0] for row in rows]
    assert tops == sorted(tops)
    file, caption = figures.animation(made)
    assert caption.endswith("spread evenly over the set, first seed: grey → A → B → true.")
    true = frames_of(tmp_path / file)[-1]
    assert {int(green) for _, green, blue in true.reshape(-1, 3) if blue == 200} == set(rows)
    figures.samples(made, [7, 3], "chosen.png", "Chosen.")
    chosen = np.asarray(Image.open(tmp_path / "chosen.png"))
    assert sides(chosen, (0, 7, 200))[0] < sides(chosen, (0, 3, 200))[0]


def test_an_animation_may_flip_between_two_models_with_their_names_above(results, tmp_path):
    file, caption = figures.animation(results(20), [["A"], ["B"]], "flip.gif")
    assert file == "flip.gif" and caption.endswith("first seed: A → B.")
    first, second = frames_of(tmp_path / file)
    red, blue = (np.nonzero((f == c).all(2)) for f, c in ((first, RED), (second, BLUE)))
    assert np.array_equal(red, blue) and len(red[0]) == 8 * 96 * 96
    top = red[0].min()
    dark = [frame[:top].max(2) < 100 for frame in (first, second)]
    assert all(each.sum() > 20 for each in dark) and (dark[0] != dark[1]).any()


def test_an_animation_may_have_two_models_side_by_side(results, tmp_path):
    states = [["grey"] * 2, ["A", "B"], ["true"] * 2]
    _, caption = figures.animation(results(20), states)
    assert "side by side: grey → A | B → true." in caption
    frame = frames_of(tmp_path / "colors.gif")[1]
    row = frame[-6 - 48]  # through the last pictures
    order = [tuple(map(int, pixel)) for pixel in row if tuple(pixel) in (RED, BLUE)]
    assert order == ([RED] * 96 + [BLUE] * 96) * 2


@pytest.mark.parametrize("models", [3, 5])
def test_pictures_of_one_image_stay_in_one_row(models, results, tmp_path):
    figures.animation(results(20), [["A"] * models, ["B"] * models])
    frame = frames_of(tmp_path / "colors.gif")[0]
    assert (frame == RED).all(2).any(0).sum() == models * 96
