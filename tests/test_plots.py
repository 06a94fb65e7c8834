"""Every picture is in its place, in a grid and in each frame of a GIF."""

import numpy as np
import pytest
import torch
from PIL import Image

from colourgan.plots import gif, grid


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
