"""A study's page: whole in itself, true to its numbers, and nobody's names are markup."""

import base64
import io
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_cells import REASON, tiny_cell, tiny_grid

from colourgan.color import decode, encode
from colourgan.evaluate import ImageSet
from colourgan.generators import pix2pix_unet
from colourgan.models import MODEL_NAME, save_model
from colourgan.study import photos
from colourgan.study.cells import DONE, FAILED, NOT_DONE
from colourgan.study.comparisons import BETTER, UNDECIDED, WORSE
from colourgan.study.figures import Axis, axis, bars, curves, scatter
from colourgan.study.findings import best_sentence, compared, matrix
from colourgan.study.page import write_page
from colourgan.study.shown import MOST, entries, panels, place_names
from colourgan.study.summary import summary_picture

VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """A page's tags with their attributes, its text, and the text of each cell of its tables."""

    def __init__(self, source: str):
        super().__init__()
        self.source, self.tags, self.words, self.open = source, [], [], []
        self.feed(source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self) -> dict[str, Image.Image]:
        """alt → picture of all that are embedded."""
        return {each["alt"]: opened(each["src"]) for each in self.all("img")}


def opened(uri: str) -> Image.Image:
    kind, _, text = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert kind == f"data:image/{image.format.lower()}"
    return image


def some_images(count: int, size: int) -> ImageSet:
    random = torch.Generator().manual_seed(size)
    rgb = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=random)
    return ImageSet(rgb, encode(rgb)[0], [Path("x")] * count, [], 64, False)


IMAGES = {("cifar10", "32"): some_images(12, 32), ("tiny-imagenet", "64"): some_images(12, 64)}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page of these cells; each model is one constant color."""

    def written(cells, title="Which encoder?", command="colourgan study x", **settings):
        images = {place: IMAGES.get(place) or some_images(12, 32) for place in all_places(cells)}
        grey = {place: {"l1": 0.0841, "delta_e": 10.49} for place in images}
        path = write_page(title, command, settings, cells, Path("runs"), images, grey, tmp_path)
        assert path == tmp_path / "report.html"
        return Page(path.read_text("utf-8"))

    def constant(path):
        return lambda L: torch.full((len(L), 2, *L.shape[2:]), int(path.name, 16) % 7 / 20)

    monkeypatch.setattr(photos, "load_model", constant)
    return written


def all_places(cells):
    return {(cell.factors["data"], cell.factors["size"]) for cell in cells if cell.state == DONE}


def three(encoder, level, **more):
    return [tiny_cell(encoder, seed=seed, level=level, **more) for seed in range(3)]


def groups(found):
    return {entry.method: [e for e in found if e.method == entry.method] for entry in found}


def test_what_rests_on_one_seed_is_said(page):
    def told(seeds):
        cells = [tiny_cell(encoder, seed=seed) for encoder in "ab" for seed in range(seeds)]
        return "One seed: this rests on the test images alone" in page(cells).text

    assert told(1) and not told(2)


def test_it_says_what_no_color_at_all_scores(page):
    text = " ".join(page([tiny_cell()]).text.split())
    assert "On cifar10, 32×32, no color at all (ab = 0): L1 0.0841, ΔE 10.49." in text


def test_all_cells_are_there_and_nothing_is_loaded_from_elsewhere(page):
    shown = page(tiny_grid(48), epochs=10, limit=None, encoders=["a", "b"])
    assert not shown.open
    assert "47 models trained and measured 1 failed 16 configurations 3 seeds" in shown.text
    assert "12 test images of cifar10, 32×32 12 test images of tiny-imagenet, 64×64" in shown.text
    assert f"mobilenet_v2@none gan, tiny-imagenet, 64×64, seed 2: failed, {REASON}" in shown.text
    assert shown.text.count("matched saturation") >= 8
    assert "colourgan study x" in shown.text and "epochs 10 limit – encoders a, b" in shown.text
    assert not re.search(r"https?:|//\w+\.|@import|url\(", shown.source)
    loads = [a[k] for _, a in shown.tags for k in ("src", "href", "action", "data") if k in a]
    assert all(load.startswith(("data:", "#")) for load in loads)
    assert {load[1:] for load in loads if load[0] == "#"} <= {a.get("id") for _, a in shown.tags}
    bodies = [a for a in shown.all("tbody") if "data-place" in a]
    assert len(bodies) == 16
    assert {a["data-place"] for a in bodies} == {"cifar10, 32×32", "tiny-imagenet, 64×64"}


def test_the_table_can_be_sorted_by_numbers(page):
    cells = tiny_grid(24)
    shown = page(cells)
    table = shown.source[shown.source.index('id="configurations"') :]
    headings = re.findall(r'<th scope="col" aria-sort="none"><button', table)
    first = table[table.index("<tbody") : table.index("</tr>", table.index("<tbody"))]
    numbers = re.findall(r'<td data-number="([^"]*)">([^<]*)', first)
    assert len(headings) == len(numbers) + 2
    assert numbers[0] == ("3", "3 of 3")
    own = [cell for cell in cells if cell.factors == entries(cells)[0].configuration._asdict()]
    means = torch.stack([cell.values["l1"].mean() for cell in own])
    assert math.isclose(float(numbers[1][0]), means.mean())
    assert numbers[1][1] == f"{means.mean():.4f} ± {means.std():.4f}"
    by_heading = dict(zip(re.findall(r"sort\">([^<]*)", table)[2:], numbers, strict=False))
    assert by_heading["decoder, M"] == ("5000000.0", "5.00")
    assert by_heading["discriminator, M"] == ("", "–")  # of an L1 model
    assert by_heading["Fréchet ↓"][1].startswith("9.000 ±")


def test_what_a_user_named_is_not_markup(page):
    name = '<img src="http://x" onerror=alert(1)>&"'
    cells = [
        *three("a", 0.1, data=name),
        tiny_cell("b", data=name, state=FAILED, reason="<script>x</script>"),
        tiny_cell("c", data=name, state=NOT_DONE, reason="waits & waits"),
    ]
    shown = page(cells, title="<b>title</b>", command="a > 'b' <c>", **{"<i>": "<u>"})
    assert not shown.open
    assert not {"i", "u", "c"} & {tag for tag, _ in shown.tags}
    assert len(shown.all("script")) == 1 and not any("onerror" in a for _, a in shown.tags)
    assert "<b>title</b>" in shown.text and "<script>x</script>" in shown.text
    assert "not done, waits & waits" in shown.text and "a > 'b' <c>" in shown.text
    assert "2 of the models are missing" in shown.text


def test_best_is_never_more_than_the_intervals_say(page):
    near = [*three("a", 0.1, spread=0.004), *three("b", 0.1005, spread=0.004)]
    found = entries([*near, *three("c", 0.15)])
    known = compared([*near, *three("c", 0.15)], groups(found).values())
    best = min(found, key=lambda entry: entry.mean("l1"))
    other = {"a": "b", "b": "a"}[best.label]
    said = best_sentence(known, found)
    assert said.startswith(f"{best.label} has the lowest mean L1, {best.mean('l1'):.4f} ± ")
    assert said.endswith(f"it is better than c, not distinguishable from {other}.")
    assert said in page([*near, *three("c", 0.15)]).text
    words = [[cell and cell["word"] for cell in row] for row in matrix(known, found)]
    assert words[2] == [WORSE, WORSE, None] and [row[2] for row in words[:2]] == [BETTER] * 2
    assert words[0][1] == words[1][0] == UNDECIDED
    cells = matrix(known, found)
    assert cells[2][0]["difference"][0] == "+" and cells[0][2]["difference"][0] == "−"
    assert cells[2][0]["difference"][1:] == cells[0][2]["difference"][1:]
    low, high = known.of(found[0], found[2]).images
    assert (-high, -low) == known.of(found[2], found[0]).images and low < high < 0


def test_seeds_without_a_partner_are_not_compared(page):
    cells = [tiny_cell("a", seed=0, level=0.1), tiny_cell("b", seed=1, level=0.2)]
    shown = page(cells)
    assert "it is not compared with b: no seed in common." in shown.text
    assert "There is one seed only" in shown.text
    assert "There is one seed only" not in page(three("a", 0.1)).text


def test_the_number_of_comparisons_is_said(page):
    cells = [*three("a", 0.1), *three("b", 0.15), *three("c", 0.2)]
    found = entries(cells)
    # 3 pairs, of L1, ΔE, colorfulness and Fréchet distance; those of L1 are also the effects'.
    assert compared(cells, [found]).count == 12
    assert (
        "makes 12 comparisons" in page(cells).text and "up to about 1 of them" in page(cells).text
    )


def test_effects_are_told_and_drawn(page):
    shown = page(tiny_grid(24))
    assert "What the encoder changes resnet20@none → resnet20: L1 lower by" in shown.text
    assert "What the method changes l1 → gan: L1" in shown.text
    assert "resnet20@none, tiny-imagenet 64" in shown.text  # a setting of the method's effect
    assert "No factor varies" in page(three("a", 0.1)).text
    many = page([cell for i in range(7) for cell in three(f"e{i}", 0.1 + i / 100)])
    assert "21 pairs were compared: see the effects at the end." in many.text
    assert "e0 has the lowest mean L1" in many.text and "e1, e2, e3, e4, e5 and e6." in many.text


def test_the_same_photos_go_through_every_model(page):
    cells = tiny_grid(24)
    shown = page(cells)
    pictures = shown.pictures()
    names = ["grey", "resnet20@none l1", "resnet20@none gan", "resnet20 l1", "resnet20 gan", "true"]
    assert [a["alt"].partition(": ")[2] for a in shown.all("img")] == names * 4
    assert all(a.get("class") == "pixels" for a in shown.all("img"))
    assert pictures["6 test photos of cifar10, 32×32: true"].size == (6 * 32, 32)
    first = opened(shown.all("img")[5]["src"])
    expected = torch.cat(list(IMAGES["cifar10", "32"].rgb[:6]), 2).permute(1, 2, 0)
    assert np.array_equal(np.array(first), expected.numpy())
    grey = np.array(opened(shown.all("img")[0]["src"]))
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()


def test_best_and_worst_are_chosen_by_their_color_difference(page):
    cells = [*three("a", 0.1), *three("b", 0.11)]
    errors = torch.stack([cell.values["delta_e"] for cell in cells]).mean(0)
    order = errors.argsort().tolist()
    shown = page(cells)
    true = [a for a in shown.all("img") if a["alt"].endswith("true")][1]
    expected = torch.cat([IMAGES["cifar10", "32"].rgb[i] for i in order[:3] + order[-3:]], 2)
    assert np.array_equal(np.array(opened(true["src"])), expected.permute(1, 2, 0).numpy())
    assert f"best, ΔE {errors.min():.1f}" in shown.text
    assert f"worst, ΔE {errors.max():.1f}" in shown.text


def test_pictures_are_of_the_model_in_the_run_folder(tmp_path):
    cells = [tiny_cell("a", seed=1), tiny_cell("a", seed=0), tiny_cell("b", seed=0)]
    model = pix2pix_unet(32, 4, "instance", init="kaiming").eval()
    (tmp_path / cells[1].run).mkdir()
    save_model(model, tmp_path / cells[1].run / MODEL_NAME)
    images = IMAGES["cifar10", "32"]
    first, _ = photos.sheets(entries(cells), tmp_path, images)
    with torch.no_grad():
        rgb = decode(images.L[:6], model(images.L[:6])).mul(255).round().byte()
    shown = np.array(opened(first.strips[1].source)).astype(int)
    assert abs(shown - torch.cat(list(rgb), 2).permute(1, 2, 0).numpy()).max() <= 1
    assert first.strips[2].source == "" and "no file" in first.strips[2].problem


def test_large_photos_are_shown_smaller_and_smoothly(page):
    images = some_images(1, 160)
    sheet, extremes = photos.sheets(entries([tiny_cell("a", images=1)]), Path("runs"), images)
    assert not sheet.sharp and opened(sheet.strips[-1].source).size == (128, 128)
    assert len(extremes.titles) == 2


def test_two_hundred_cells_make_a_page_of_bearable_size(page):
    shown = page(tiny_grid(200))
    assert len([a for a in shown.all("tbody") if "data-place" in a]) == 64
    assert len(shown.source) < 15e6 and len(shown.tags) < 20_000
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', shown.source, re.DOTALL)
    assert max(len(re.findall(r"<li\b", legend)) for legend in legends) == MOST + 2  # two methods


def test_charts_hold_so_many_configurations_and_no_more():
    found = entries([tiny_cell(f"e{i}", method) for i in range(15) for method in ("l1", "gan")])
    parts = panels(found)
    assert [title for title, _ in parts] == [
        "l1 (1 of 2)", "l1 (2 of 2)", "gan (1 of 2)", "gan (2 of 2)",
    ]  # fmt: skip
    assert [len(part) for _, part in parts] == [12, 3, 12, 3]
    assert panels(found[:12]) == [("", found[:12])]
    many = entries([tiny_cell("a", stages=str(i)) for i in range(1, 31)])
    assert [len(part) for _, part in panels(many)] == [12, 12, 6]


def test_an_entry_is_numbered_and_named_alike_in_all_charts():
    found = entries(tiny_grid(48))
    assert {(e.family, e.family_label) for e in found if e.family == 1} == {
        (1, "mobilenet_v2@none")
    }
    assert {e.shape for e in found if e.method == "gan"} == {1}
    assert found[0].label == "mobilenet_v2@none l1"
    folders = entries([tiny_cell(data="/x/cats"), tiny_cell(data="/y/cats"), tiny_cell(data="z")])
    assert place_names(folders)["/x/cats", "32"] == "/x/cats, 32×32"
    assert place_names(folders[:1])["/x/cats", "32"] == "cats, 32×32"


def test_bars_begin_at_zero_and_carry_the_interval():
    found = entries([*three("a", 0.1), *three("b", 0.2)])
    chart = bars(found, found, "l1")
    a, b = chart["rows"]
    ratio = found[1].mean("l1") / found[0].mean("l1")
    assert chart["ticks"][0] == (0.0, "0") and math.isclose(
        b["width"] / a["width"], ratio, rel_tol=1e-3
    )
    assert a["interval"][0] < min(a["seeds"]) < a["width"] < max(a["seeds"]) < a["interval"][1]
    assert max(b["interval"]) <= 100 and chart["true"] is None
    assert 0 < bars(found, found, "colorfulness")["true"] < 100
    (alone,) = bars(entries([tiny_cell("a")]), found, "l1")["rows"]
    assert alone["interval"] == [] and "±" not in alone["text"]


def test_points_lie_where_their_numbers_say():
    cheap, dear = tiny_cell("a", level=0.2), tiny_cell("b", level=0.1)
    dear = dear._replace(costs=dear.costs | {"seconds": 5000.0})
    found = entries([cheap, dear])
    chart = scatter(found, found, "seconds")
    a, b = chart["points"]
    assert a["x"] < b["x"] and a["y"] < b["y"] and chart["logarithmic"]
    assert scatter(entries([cheap._replace(costs={})]), found, "seconds") is None
    same = entries([tiny_cell(f"e{i}", level=0.1) for i in range(6)])
    ys = sorted(point["text_y"] for point in scatter(same, same, "flops")["points"])
    assert all(after - before > 5 for before, after in pairwise(ys))


def test_curves_have_a_gap_where_a_seed_has_no_number():
    one, other = tiny_cell("a", seed=0), tiny_cell("a", seed=1)
    other = other._replace(history=[*other.history[:1], {"epoch": 1, "valid_loss": math.nan}])
    (line,) = curves(*[entries([one, other])] * 2)["lines"]
    assert len(line["dots"]) == 1
    assert curves(*[entries([one._replace(history=[])])] * 2) is None
    (whole,) = curves(*[entries([one])] * 2)["lines"]
    xs, ys = zip(*whole["dots"], strict=True)
    assert list(xs) == sorted(xs) and list(ys) == sorted(ys)  # the loss falls, y grows downwards


def test_axes_have_round_ticks():
    assert [text for _, text in axis([0.0, 0.1], from_zero=True).ticks()] == ["0", "0.05", "0.1"]
    assert axis([1, 1000], logarithmic=True).logarithmic
    assert not axis([1, 10], logarithmic=True).logarithmic
    assert Axis(1, 100, True).place(10) == 50
    assert axis([2.0, 2.0]).place(2.0) == 50 and axis([]).ticks()
    assert axis([-1.0, 1.0]).ticks()[0][1] == "−1"


def test_the_summary_picture_shows_all_or_says_that_there_is_nothing(tmp_path):
    file = tmp_path / "summary.png"
    summary_picture(tiny_grid(48), file, {("cifar10", "32"): 0.12})
    with Image.open(file) as image:
        assert image.width == 1200
        few = image.height
    summary_picture(tiny_grid(96), file)
    with Image.open(file) as image:
        assert image.height > few
    with pytest.raises(ValueError, match="no cell is done"):
        summary_picture([tiny_cell(state=FAILED)], file)
