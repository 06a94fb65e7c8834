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
from tiny_cells import REASON, tiny_cell, tiny_grid, tiny_limits

from colourgan.color import decode
from colourgan.evaluate import ImageSet
from colourgan.experiments.cells import DONE, FAILED, NOT_DONE, as_matched
from colourgan.experiments.judge import compare
from colourgan.generators import pix2pix_unet
from colourgan.models import MODEL_NAME, save_model
from colourgan.study.findings import MOST, best_sentence, compared, entries
from colourgan.study.limits import _apart, limit_panels, limits_picture
from colourgan.study.report import summary_picture, write_page

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
    return ImageSet(rgb, [Path("x")] * count)


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

    monkeypatch.setitem(write_page.__globals__, "load_model", constant)
    return written


def all_places(cells):
    return {(cell.factors["data"], cell.factors["size"]) for cell in cells if cell.state == DONE}


def three(encoder, level, **more):
    return [tiny_cell(encoder, seed=seed, level=level, **more) for seed in range(3)]


def groups(found):
    return {entry.kind: [e for e in found if e.kind == entry.kind] for entry in found}


def test_what_rests_on_one_seed_is_said(page):
    def told(seeds):
        cells = [tiny_cell(encoder, seed=seed) for encoder in "ab" for seed in range(seeds)]
        return "One seed decides nothing: another training may differ." in page(cells).text

    assert told(1) and not told(2)


def test_it_says_what_no_color_at_all_scores(page):
    text = " ".join(page([tiny_cell()]).text.split())
    assert "On cifar10, 32×32, no color at all (ab = 0): L1 0.0841, ΔE 10.49." in text


def test_all_cells_are_there_and_nothing_is_loaded_from_elsewhere(page):
    shown = page(tiny_grid(48), epochs="10", limit="–", encoders="a, b")
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


def test_the_page_says_what_the_findings_say(page):
    cells = [*three("a", 0.1, spread=0.004), *three("b", 0.1005, spread=0.004), *three("c", 0.15)]
    found = entries(cells)
    known = compared(cells, groups(found).values())
    shown = page(cells)
    assert f"l1 : {best_sentence(known, found)}" in shown.text
    row = shown.source[shown.source.index('<th scope="row">3 c</th>') :].partition("</tr>")[0]
    assert re.findall('<td class="(.*?)"', row) == ["worse", "worse"]
    assert row.count("worse<small>+0.0") == 2 and row.count("c minus") == 2


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
    assert len(svgs(shown, "Differences of L1, l1 → gan")) == 1
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
    path = write_page("x", "", {}, cells, tmp_path, {("cifar10", "32"): images}, {}, tmp_path)
    shown = Page(path.read_text("utf-8"))
    with torch.no_grad():
        rgb = decode(images.L[:6], model(images.L[:6])).mul(255).round().byte()
    first = np.array(shown.pictures()["6 test photos of cifar10, 32×32: a"]).astype(int)
    names = [each["alt"].partition(": ")[2] for each in shown.all("img")]
    assert names == ["grey", "a", "true"] * 2 and "b No pictures: " in shown.text
    first = np.array(opened(shown.all("img")[1]["src"])).astype(int)
    assert abs(first - torch.cat(list(rgb), 2).permute(1, 2, 0).numpy()).max() <= 1


def test_large_photos_are_shown_smaller_and_smoothly(page, tmp_path):
    place, images = ("cifar10", "160"), some_images(1, 160)
    cells = [tiny_cell("a", size="160", images=1)]
    write_page("x", "", {}, cells, tmp_path, {place: images}, {}, tmp_path)
    shown = Page((tmp_path / "report.html").read_text("utf-8"))
    photos = shown.all("img")
    assert [opened(photo["src"]).size for photo in photos] == [(128, 128)] * 3 + [(256, 128)] * 3
    assert not any("class" in photo for photo in photos)


def test_two_hundred_cells_make_a_page_of_bearable_size(page):
    shown = page(tiny_grid(200))
    assert len([a for a in shown.all("tbody") if "data-place" in a]) == 64
    assert len(shown.source) < 15e6 and len(shown.tags) < 20_000
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', shown.source, re.DOTALL)
    assert max(len(re.findall(r"<li\b", legend)) for legend in legends) == MOST + 1  # one method
    ticks = [re.findall('anchor: middle[^>]* x="([^"]+)', svg) for svg in svgs(shown, "ΔE ↓")]
    assert len(ticks) > 6 and len(set(map(tuple, ticks))) == 2  # one axis for each data set


def svgs(shown, name):
    return re.findall(rf'<svg [^>]*aria-label="{re.escape(name)}".*?</svg>', shown.source)


def test_the_same_cells_give_the_same_page_and_nothing_on_it_has_the_same_name(page):
    shown = page(tiny_grid(24))
    assert shown.source == page(tiny_grid(24)).source
    ids = [a["id"] for _, a in shown.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_each_number_has_its_charts(page):
    cells = [*three("a", 0.1), *three("b", 0.2), tiny_cell("c", state=FAILED)]
    cells[-2] = cells[-2]._replace(history=[])
    shown = page(cells)
    bars = svgs(shown, "L1 ↓")[0]
    mean = torch.stack([cell.values["l1"].mean() for cell in cells[:3]])
    assert f">{mean.mean():.4f} ± {mean.std():.4f}<" in bars and ">–<" in bars
    assert "dasharray" not in bars and "dasharray" in svgs(shown, "colorfulness")[0]
    true = torch.cat([cell.values["colorfulness_true"] for cell in cells[:6]]).mean()
    assert f"Dashed: {true:.1f}, the true photos'." in shown.text
    spent = ("seconds of training", "parameters, millions", "FLOPs an image, 10⁹")
    for cost, number in zip(spent, ("100", "5.271", "0.12"), strict=True):
        (chart,) = svgs(shown, f"L1 against {cost}")
        assert f"<title>a: L1 {mean.mean():.4f}, {number}</title>" in chart
    (curves,) = svgs(shown, "Validation loss over epochs, l1")
    assert "<title>a</title>" in curves and "<title>b</title>" in curves
    (effect,) = svgs(shown, "Differences of L1, a → b")
    assert effect.count("<title>") == 3  # of the dot, and of the interval and its two ends
    assert ">worse<" in effect and re.search(r"<title>\+0\.\d+ \(95 % ", effect)


def test_what_no_cell_has_is_left_out(page):
    bare = [cell._replace(costs={}, history=[]) for cell in three("a", 0.1)]
    broken = [cell._replace(history=[{"valid_loss": math.nan}]) for cell in three("b", 0.1)]
    shown = page(bare)
    assert "L1 ↓ against" not in shown.text and not svgs(shown, "Validation loss over epochs, l1")
    assert "decoder, M" not in shown.text and len(svgs(shown, "L1 ↓")) == 1
    assert not svgs(page(broken), "Validation loss over epochs, l1")
    nothing = page([tiny_cell("a", state=FAILED)])
    assert "1 of the models is missing" in nothing.text and not nothing.all("img")


def drawn_trends(shown, name):
    """The lines' names of the only chart so called."""
    (chart,) = svgs(shown, name)
    return re.findall("<title>(.*?)</title>", chart)


def test_several_numbers_of_training_images_have_charts(page):
    shown = page(tiny_limits())
    assert "l1, 500 images : resnet20 has the lowest mean L1" in shown.text
    assert "What the number of training images changes 500 images → 2,000 images" in shown.text
    over = "over the number of training images"
    assert drawn_trends(shown, f"L1 of a and b {over}") == ["resnet20@none", "resnet20"]
    matched = f"L1 minus that of random weights made as colorful {over}"
    assert drawn_trends(shown, matched) == ["resnet20"]
    assert {"href": "#limits"} in shown.all("a")
    (chart,) = svgs(shown, f"L1 of a and b {over}")
    for images in ("500", "2,000", "8,000", "32,000"):
        assert f">{images}</text>" in chart
    assert "dasharray" in chart  # no color at all
    assert "resnet20 against that of resnet20@none made as colorful" in shown.text
    assert "matched saturation: resnet20@none" in shown.text
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', shown.source, re.DOTALL)
    signs = re.findall(r"<li>(\S) l1, ([\d,]+) images", legends[0])
    assert [images for _, images in signs] == ["500", "2,000", "8,000", "32,000"]
    assert len({sign for sign, _ in signs}) == 4


def test_one_number_of_training_images_has_no_chart_over_it(page):
    for cells in (tiny_limits(limits=(500,)), tiny_grid(24)):
        shown = page(cells)
        assert 'id="limits"' not in shown.source and {"href": "#limits"} not in shown.all("a")
        assert "500 images" not in shown.text


def test_each_discriminator_and_generator_has_its_charts(page):
    cells = [c for d in ("patchgan", "pixelgan") for c in three("a", 0.1, method="gan",
             discriminator=d)]  # fmt: skip
    cells += [*three("a", 0.1), *three("none", 0.2, generator="pix2pix_unet", tuning="none")]
    costs = {"generator_parameters": 2e6, "seconds": 5.0}
    cells = [
        cell._replace(costs=costs) if cell.factors["encoder"] == "none" else cell for cell in cells
    ]
    shown = page(cells)
    labels = ("a l1", "a gan patchgan", "a gan pixelgan", "pix2pix_unet l1")
    assert all(f'<th scope="row">{label}</th>' in shown.source for label in labels)
    (spent,) = svgs(shown, "L1 against parameters, millions")
    assert spent.count("<title>") == 4 and re.search("<title>pix2pix_unet l1: L1 .*?, 2</ti", spent)
    assert "What the discriminator changes patchgan → pixelgan: L1" in shown.text
    assert "What the generator changes dynamic_unet → pix2pix_unet: L1" in shown.text
    assert "L1 of gan pixelgan against that of l1 made as colorful" in shown.text


def picture_of(cells, path, draw, **more):
    """(whether it was drawn, width, height)"""
    drawn = draw(cells, path, **more)
    with Image.open(path) as image:
        return drawn, *image.size


def test_the_picture_of_limits_has_a_row_for_l1_and_one_for_what_is_left(tmp_path):
    file = tmp_path / "limits.png"
    assert not limits_picture(tiny_grid(24), file) and not file.exists()
    assert not limits_picture([tiny_cell(state=FAILED)], file) and not file.exists()
    grey = {"grey": {("cifar10", "32"): 0.12}}
    drawn, width, two = picture_of(tiny_limits(), file, limits_picture, **grey)
    assert drawn and 1090 < width < 1110
    more = picture_of(tiny_limits(("l1", "bins", "gan")), file, limits_picture, **grey)
    assert more[1] == width and more[2] > two
    random = tiny_limits(encoders=("resnet20@none",))
    assert picture_of(random, file, limits_picture)[2] < two  # nothing to compare with


def lines_of(panel):
    return [(chart.matched, [trend.label for trend in chart.trends]) for chart in panel.charts]


def test_a_panel_of_limits_holds_what_can_be_told_apart():
    (panel,) = limit_panels(entries(tiny_limits(("l1", "bins"))))
    assert panel.title == ""
    assert [chart.heading for chart in panel.charts] == [
        "L1 of a and b", "L1 minus that of l1 made as colorful",
        "L1 minus that of random weights made as colorful",
    ]  # fmt: skip
    assert lines_of(panel) == [
        (False, ["resnet20@none l1", "resnet20@none bins", "resnet20 l1", "resnet20 bins"]),
        (True, ["resnet20@none bins", "resnet20 bins"]),
        (True, ["resnet20 l1"]),
    ]
    many = tiny_limits(("l1", "gan"), encoders=("a", "a@none", "b", "b@none"))
    titles = [panel.title for panel in limit_panels(entries(many))]
    assert titles == ["l1", "gan"]
    l1, gan = limit_panels(entries(many))
    assert lines_of(l1) == [(False, ["a@none", "a", "b@none", "b"]), (True, ["a", "b"])]
    everyone = ["a@none", "a", "b@none", "b"]
    assert lines_of(gan) == [(False, everyone), (True, everyone)]
    other = tiny_limits(data="tiny-imagenet", size="64")
    titles = [panel.title for panel in limit_panels(entries([*tiny_limits(), *other]))]
    assert titles == ["cifar10, 32×32", "tiny-imagenet, 64×64"]


def test_a_line_over_limits_has_all_seeds_and_the_interval_of_its_difference():
    cells = tiny_limits(limits=(500, 2000))
    (panel,) = limit_panels(entries(cells))
    l1, difference = panel.charts
    some = [cell for cell in cells if cell.factors["limit"] == "500" and cell.rival]
    values = [cell.values["l1"].mean().item() for cell in some]
    (trend,) = (trend for trend in l1.trends if trend.label == "resnet20")
    assert trend.seeds[500] == pytest.approx(values)
    assert trend.ends[500] == pytest.approx((min(values), max(values)))
    comparison = compare([as_matched(cell) for cell in some], some, "l1")
    (trend,) = difference.trends
    assert trend.seeds[500] == comparison.per_seed and trend.ends[500] == comparison.interval
    one = [cell for cell in cells if cell.seed == 0]
    (panel,) = limit_panels(entries(one))
    assert panel.charts[1].trends[0].ends == {}  # one seed has no interval


@pytest.mark.parametrize("wanted", [[0, 1, 2, 3], [50, 50, 50], [0, 99, 100, 100], [20, 60, 100]])
def test_names_beside_lines_do_not_meet(wanted):
    room = [12.0, 24.0, 12.0, 12.0][: len(wanted)]
    heights = _apart(wanted, room, 100)
    edges = [(y - r / 2, y + r / 2) for y, r in zip(heights, room, strict=True)]
    assert all(below[1] <= above[0] + 1e-9 for below, above in pairwise(edges))
    assert edges[-1][1] <= 100


def test_the_summary_picture_shows_all_or_says_that_there_is_nothing(tmp_path):
    file = tmp_path / "summary.png"
    summary_picture(tiny_grid(48), file, {("cifar10", "32"): 0.12})
    with Image.open(file) as image:
        assert image.width == 1200
        few = image.height
    summary_picture(tiny_grid(96), file)
    with Image.open(file) as image:
        assert image.height > few
    grid = tiny_limits(("l1", "l2", "bins", "gan", "gan:hinge", "gan:wgan_gp", "bins+gan"))
    summary_picture(grid, file, {("cifar10", "32"): 0.12})
    with Image.open(file) as image:
        assert image.width == 1200 and image.height > few
    with pytest.raises(ValueError, match="no cell is done"):
        summary_picture([tiny_cell(state=FAILED)], file)
