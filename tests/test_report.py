"""Reports: what they show follows from their numbers, and the page is whole in itself."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from colourgan.errors import RunError, UsageError
from colourgan.experiments.judge import DECISIVE, FAILS, HOLDS, UNDECIDED, claim
from colourgan.experiments.report import (
    Report,
    banner,
    changes,
    html,
    read_report,
    verdict_lines,
    write_report,
)
from colourgan.plots import gif
from colourgan.plots.svg import number_line

DECIDING = {"images": 4000, "epochs": 4, "seeds": 3, "test_images": 1000}
RAISES = claim("A GAN raises L1.", ".079 → .084", "L1 rises by", [0.005, 0.006, 0.0055], low=0)


def made(**changed) -> Report:
    content = {
        "recipe": "same-domain",
        "title": "A U-Net, then a GAN",
        "source": "A project, https://example.org/project",
        "description": "First line.\n\n    Of two\n    lines.\n    - an item\n      of two lines",
        "scale": DECIDING,
        "claims": [RAISES._asdict()],
        "command": "colourgan reproduce same-domain --seeds 3",
    }
    return Report(**content | changed)


class Page(HTMLParser):
    """A page's tags with their attributes, and its text."""

    def __init__(self, source: str):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if not self.tags or self.tags[-1][0] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def verdicts(self) -> list[str]:
        badges = [a["class"] for a in self.all("span") if "badge" in a.get("class", "")]
        names = {"badge good": HOLDS, "badge bad": FAILS, "badge open": UNDECIDED}
        assert all(names[badge] in self.text for badge in badges)
        return [names[badge] for badge in badges]


@pytest.fixture
def page(tmp_path):
    return lambda **changed: Page(write_report(made(**changed), tmp_path).read_text("utf-8"))


def test_a_report_goes_through_its_file(tmp_path):
    rows = [{"name": "GAN", "values": {"l1": [0.07, math.nan], "psnr": [22.0, math.inf]}}]
    report = made(
        rows=rows, notes=["ä → b"], minutes=1.5, reduced=["1 of 20 epochs"], changed=["bf16"]
    )
    assert write_report(report, tmp_path / "new") == tmp_path / "new" / "report.html"
    again = read_report(tmp_path / "new" / "report.json")
    assert math.isnan(again.rows[0]["values"]["l1"][1])
    assert math.isnan(again.rows[0]["values"]["psnr"].pop())
    again.rows[0]["values"]["l1"][1] = 0
    assert again.rows == [{"name": "GAN", "values": {"l1": [0.07, 0], "psnr": [22.0]}}]
    again.rows = rows
    assert again == report


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([-0.005, -0.006, -0.0055], FAILS), ([0.005, -0.006, 0.001], UNDECIDED)],
)
def test_altering_a_number_flips_the_verdict(values, verdict, tmp_path):
    write_report(made(), tmp_path)
    file = tmp_path / "report.json"
    assert not any(each in file.read_text() for each in (HOLDS, FAILS, UNDECIDED))
    assert Page(html(read_report(file), tmp_path)).verdicts() == [HOLDS, HOLDS]
    assert verdict_lines(read_report(file))[0] == "✓ holds: A GAN raises L1."

    content = json.loads(file.read_text())
    content["claims"][0]["values"] = values
    file.write_text(json.dumps(content))
    assert Page(html(read_report(file), tmp_path)).verdicts() == [verdict, verdict]
    assert f"{verdict}: A GAN raises L1." in verdict_lines(read_report(file))[0]


def test_altering_the_scale_undoes_the_verdict(tmp_path):
    write_report(made(), tmp_path)
    text = (tmp_path / "report.json").read_text()
    (tmp_path / "report.json").write_text(text.replace("1000", "999", 1))
    report = read_report(tmp_path / "report.json")
    assert Page(html(report, tmp_path)).verdicts() == [UNDECIDED] * 2
    assert banner(report) == "Scaled down: too small to decide a claim (999 of 1,000 test images)."


def test_a_number_that_is_none_is_kept_and_decides_nothing(tmp_path, page):
    broken = claim("It rises.", "", "rise", [[0.1, 0.2], [math.nan, 0.1], [0.1, 0.2]], low=0)
    shown = page(claims=[broken._asdict()])
    assert shown.verdicts() == [UNDECIDED] * 2
    assert "mean n/a , no interval" in shown.text and "0.15 · n/a · 0.15" in shown.text
    json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    again = read_report(tmp_path / "report.json").claims[0]
    assert math.isnan(again["values"][1]) and math.isnan(again["image_error"])
    assert Page(html(read_report(tmp_path / "report.json"), tmp_path)).text == shown.text


@pytest.mark.parametrize(
    "values",
    [[math.nan], [math.nan] * 3, [math.inf, 0.1, 0.2], [math.inf, -math.inf, math.nan]],
)
def test_seeds_that_diverged_never_break_the_page(values, tmp_path, page):
    broken = RAISES._replace(values=values)._asdict()
    rows = [{"name": "GAN", "values": {"l1": values}}]
    shown = page(claims=[broken, RAISES._asdict()], rows=rows)
    assert shown.verdicts() == [UNDECIDED, HOLDS] * 2
    seeds = " · ".join("n/a" if not math.isfinite(value) else f"{value}" for value in values)
    assert f"each seed {seeds} holds if above 0" in shown.text and "GAN n/a" in shown.text
    assert "nan" not in shown.text and len(shown.all("svg")) == 1  # of the claim that can be drawn
    again = read_report(tmp_path / "report.json")
    assert verdict_lines(again)[0] == f"? {UNDECIDED}: A GAN raises L1."
    assert Page(html(again, tmp_path)).verdicts() == [UNDECIDED, HOLDS] * 2


def test_a_claim_is_shown_with_its_numbers(page):
    shown = page()
    text = shown.text
    assert [svg["aria-label"] for svg in shown.all("svg")] == [
        "The mean, 0.0055, its interval and the seeds, and where it holds"
    ]
    assert "tested on" not in text
    of_images = claim("It rises.", "", "rise", torch.arange(6.0).view(2, 3), low=0)
    assert "tested on 3 test images" in page(claims=[of_images._asdict()]).text
    for part in (
        "published .079 → .084",
        "measured here L1 rises by",
        "mean 0.0055 , 95 % interval 0.0043 to 0.0067",
        "each seed 0.0050 · 0.0060 · 0.0055",
        "holds if above 0",
    ):
        assert part in text
    unpublished = RAISES._replace(published="")._asdict()
    assert "published measured here" not in page(claims=[unpublished]).text


def test_what_a_claim_waits_for_is_said(tmp_path):
    gap = RAISES._replace(text="There is a gap.", values=[-0.1, -0.11, -0.12])
    closes = RAISES._replace(text="It is closed.", requires="There is a gap.")
    grey = RAISES._replace(void="GAN is nearly grey")
    report = made(claims=[each._asdict() for each in (gap, closes, grey)], unjudged=["Another."])
    write_report(report, tmp_path)
    shown = Page((tmp_path / "report.html").read_text())
    assert shown.verdicts() == [FAILS, UNDECIDED, UNDECIDED] * 2
    waits = "not decided because judged only where this holds: There is a gap. measured here"
    assert waits in shown.text and "not decided because GAN is nearly grey" in shown.text
    assert "Claims that are not judged Another." in shown.text
    lines = verdict_lines(read_report(tmp_path / "report.json"))
    assert "  not decided because: GAN is nearly grey" in lines and "not judged: Another." in lines


def test_a_verdict_needs_what_its_recipe_says(tmp_path):
    few = {"images": 2000, "epochs": 1, "seeds": 3, "test_images": 430, "share": 0.3}
    assert Page(html(made(scale=few), tmp_path)).verdicts() == [UNDECIDED] * 2
    own = DECISIVE._replace(images=1750, epochs=1, test_images=400)._asdict()
    shown = Page(html(made(scale=few, decisive=own), tmp_path))
    assert shown.verdicts() == [HOLDS] * 2
    needed = "at least 1,750 training images, 3 seeds and 400 test images; one about where training"
    assert needed in shown.text and "after 25% of the published generator steps" in shown.text
    short = made(scale=few | {"share": 0.0016}, decisive=own)
    assert banner(short) == (
        "Scaled down: too small to decide a claim (0.16 % of the published generator steps, of the "
        "25% that a verdict needs)."
    )


@pytest.mark.parametrize(
    ("low", "high", "condition"),
    [(0, None, "above 0"), (None, -1.5, "below −1.5"), (0, 5, "between 0 and 5")],
)
def test_when_a_claim_holds_is_said(low, high, condition):
    report = made(claims=[RAISES._replace(low=low, high=high)._asdict()])
    assert f"holds if {condition}; published: .079 → .084" in "\n".join(verdict_lines(report))


def test_negative_and_large_values_have_the_digits_that_count():
    wide = RAISES._replace(values=[-4100.0, -4300.0, -4200.0])._asdict()
    single = RAISES._replace(values=[-0.000123456])._asdict()
    lines = "\n".join(verdict_lines(made(claims=[wide, single])))
    assert "L1 rises by: −4,200, 95 % interval −4,448 to −3,952" in lines
    assert "L1 rises by: −0.0001235, no interval from one seed" in lines


def test_the_table_shows_mean_and_deviation_in_evaluates_formats(page):
    rows = [
        {"name": "grey", "values": {"l1": [0.1], "within_5": [0.25], "smooth": [2.0]}},
        {"name": "GAN <3>", "values": {"l1": [0.07, 0.08, 0.09], "within_5": [0.5, math.nan]}},
    ]
    table = re.search(r"<table.*?</table>", html(made(rows=rows), "."), re.S)[0]
    cells = re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", table)
    assert cells == [
        *("", "L1 ↓", "within 5 ↑", "smooth"),
        *("grey", "0.1000", "25.0%", "2.0000"),
        *("GAN &lt;3&gt;", "0.0800 ± 0.0100", "n/a", "–"),
    ]
    assert verdict_lines(made(rows=rows))[-3:] == [
        "                    L1 ↓  within 5 ↑  smooth",
        "grey              0.1000       25.0%  2.0000",
        "GAN <3>  0.0800 ± 0.0100         n/a       –",
    ]


def test_scaled_down_is_said_where_it_cannot_be_missed(page):
    assert banner(made()) == "" and "Scaled down" not in page().text
    reduced = ["200 of the published 8,000 training images.", "1 of 20 epochs"]
    said = "Scaled down: 200 of the published 8,000 training images; 1 of 20 epochs."
    assert banner(made(reduced=reduced)) == said == verdict_lines(made(reduced=reduced))[0]
    shown = page(reduced=reduced).text
    assert shown.index(said) < shown.index("A GAN raises L1.")
    toy = banner(made(reduced=reduced, scale=DECIDING | {"images": 200, "seeds": 1}))
    assert toy.endswith("(200 of 4,000 training images, 1 of 3 seeds).")


def test_what_was_changed_is_not_called_scaled_down(page):
    changed = ["encoders resnet20@packaged standing in for resnet20.", "300 epochs instead of 100"]
    said = (
        "Differs from what was published: encoders resnet20@packaged standing in for resnet20; "
        "300 epochs instead of 100."
    )
    assert changes(made()) == "" and "Differs from" not in page().text
    assert changes(made(changed=changed)) == said and banner(made(changed=changed)) == ""
    assert verdict_lines(made(changed=changed))[:3] == [said, "", "✓ holds: A GAN raises L1."]
    shown = page(changed=changed)
    assert shown.text.index(said) < shown.text.index("A GAN raises L1.")
    assert "Scaled down" not in shown.text
    assert [p["class"] for p in shown.all("p") if p.get("role") == "note"] == ["banner calm"]

    both = {"changed": changed, "reduced": ["1 of 20 epochs"]}
    smaller = "Scaled down: 1 of 20 epochs."
    assert verdict_lines(made(**both))[:3] == [smaller, said, ""]
    shown = page(**both)
    assert f"{smaller} {said}" in shown.text
    assert [p["class"] for p in shown.all("p") if p.get("role") == "note"] == [
        "banner",
        "banner calm",
    ]


def test_one_of_a_thing_is_singular(page):
    one = page(scale={"images": 1, "epochs": 1, "seeds": 1, "test_images": 1}).text
    assert "1 training image 1 epoch 100 % of the published steps 1 seed 1 test image" in one
    many = page(scale={"images": 4000, "epochs": 4, "seeds": 3, "test_images": 1000}).text
    assert "4,000 training images 4 epochs" in many and "3 seeds 1,000 test images" in many


def test_notes_are_read_before_any_number(page):
    shown = page(
        notes=["Seed 1 of the GAN diverged.", "On a CPU."], reduced=["1 of 20 epochs"]
    ).text
    noted = "Scaled down: 1 of 20 epochs. Seed 1 of the GAN diverged. On a CPU. ✓ holds"
    assert noted in shown and shown.count("On a CPU.") == 1
    assert all(each.get("class") != "notes" for each in page().all("ul"))


def test_a_long_table_of_settings_is_folded_away(page):
    one = {"setting": "epochs", "published": "20", "here": "4"}
    assert not page(settings=[one] * 12).all("details") and not page().all("details")
    shown = page(settings=[one] * 34)
    assert shown.all("details") == [{}]  # not open
    assert "Settings (34) setting published here epochs 20 4" in shown.text
    assert len(shown.all("tr")) == 35


def test_settings_description_and_command_are_there(page):
    settings = [
        {"setting": "epochs", "published": "20", "where": "a.py:3", "here": "4", "differs": True},
        {"setting": "rate", "published": "1e-4", "here": "1e-4", "differs": False},
        {"setting": "beta", "published": "", "here": "0.5"},
    ]
    shown = page(settings=settings, minutes=12.34)
    for part in (
        "epochs 20 a.py:3 4 differs",
        "rate 1e-4 1e-4",
        "beta 0.5",
        "12.3 minutes",
        made().command,
    ):
        assert part in shown.text
    assert [row.get("class") for row in shown.all("tr")] == [None, "differs", None, None]
    assert '<th scope="row">beta</th><td></td><td>0.5</td>' in html(made(settings=settings), ".")
    source = html(made(), ".")
    assert '<p class="lines">Of two lines.\n- an item of two lines</p>' in source
    assert '<a href="https://example.org/project"' in source


def test_figures_are_embedded_as_they_are(tmp_path, page):
    Image.new("RGB", (900, 40), "red").save(tmp_path / "bars.png")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "photo.JPG")
    (photo,) = page(figures=[{"file": "photo.JPG", "caption": ""}]).all("img")
    assert photo["src"].startswith("data:image/jpeg;base64,")
    gif([("a", [torch.zeros(3, 9, 9)]), ("b", [torch.ones(3, 9, 9)])], tmp_path / "a.gif")
    figures = [{"file": "bars.png", "caption": "Bars"}, {"file": "a.gif", "caption": 'a "b" <c>'}]
    shown = page(figures=figures)
    large, small = shown.all("img")
    assert (large["width"], large["height"], large.get("class")) == ("900", "40", None)
    assert (small["class"], small["alt"]) == ("small", 'a "b" <c>')
    kind, data = small["src"].split(",")
    assert kind == "data:image/gif;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).n_frames == 2
    assert large["src"].startswith("data:image/png;base64,")
    assert [figure["file"] for figure in read_report(tmp_path / "report.json").figures] == [
        "bars.png",
        "a.gif",
    ]


def test_the_page_loads_nothing_and_fits_a_phone(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    rows = [{"name": "GAN", "values": {"l1": [0.1]}}]
    report = made(figures=[{"file": "a.png", "caption": ""}], rows=rows)
    source = write_report(report, tmp_path).read_text("utf-8")
    shown = Page(source)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in shown.tags}
    assert all(a["src"].startswith("data:") for _, a in shown.tags if "src" in a)
    assert "url(" not in source and "@import" not in source
    metas = {meta.get("name"): meta.get("content") for meta in shown.all("meta")}
    assert metas["viewport"].startswith("width=device-width")
    assert "screen and (prefers-color-scheme: dark)" in source  # paper stays white
    scrolled = re.findall(r'<div class="scroll"[^>]*>\s*<(\w+)', source)
    assert scrolled.count("table") == source.count("<table") == 1


def test_nothing_in_a_report_becomes_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    report = made(
        **dict.fromkeys(("recipe", "title", "source", "description", "command"), evil),
        reduced=[evil],
        changed=[evil],
        notes=[evil],
        settings=[dict.fromkeys(("setting", "published", "here"), evil)],
        rows=[{"name": evil, "values": {evil: [1.0]}}],
        figures=[{"file": "a.png", "caption": evil}],
        claims=[RAISES._replace(text=evil, published=evil, quantity=evil)._asdict()],
    )
    source = html(report, tmp_path)
    assert "<script" not in source
    assert source.count("&lt;script&gt;") >= 16


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none.png", r"cannot read the figure .*none\.png"),
        ("broken.gif", r"cannot read the figure .*broken\.gif"),
        ("text.pdf", r"text\.pdf .*must be a PNG, GIF, JPEG or SVG"),
        ("text.svg", r"cannot read the figure .*text\.svg"),
    ],
)
def test_a_figure_that_cannot_be_shown_is_an_error_and_leaves_the_last_report(
    file, message, tmp_path
):
    write_report(made(), tmp_path)
    before = (tmp_path / "report.html").read_bytes(), (tmp_path / "report.json").read_bytes()
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    with pytest.raises(RunError, match=message) as error:
        write_report(made(figures=[{"file": file, "caption": ""}]), tmp_path)
    assert "\n" not in str(error.value)
    assert before == (
        (tmp_path / "report.html").read_bytes(),
        (tmp_path / "report.json").read_bytes(),
    )


def test_a_drawing_becomes_part_of_the_page(tmp_path, page):
    svg = number_line("seeds & mean", [1.0, 2.0], (0.5, 2.5), low=0)
    (tmp_path / "a.svg").write_text(svg, encoding="utf-8")
    namespace = 'xmlns="http://www.w3.org/2000/svg" '
    (tmp_path / "b.svg").write_text(
        "<?xml version='1.0'?>" + svg.replace("<svg ", "<svg " + namespace)
    )
    shown = page(figures=[{"file": f"{x}.svg", "caption": x} for x in "ab"], claims=[])
    assert [each["aria-label"] for each in shown.all("svg")] == ["seeds & mean"] * 2
    assert not shown.all("img") and "http" not in html(made(source=""), ".").partition("<body")[2]
    assert (tmp_path / "report.html").read_text("utf-8").count(svg) == 2


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        '<path d="M0 0" onclick="alert(1)"/>',
        '<path d="M0 0" style="fill: URL(http://x)"/>',
        """<path style="fill: image-set('//x')"/>""",
        '<g xmlns:x="http://www.w3.org/1999/xlink"><path x:href="http://x"/></g>',
        '<image href="http://x"/>',
        "<g>",
    ],
)
def test_a_drawing_that_could_do_more_than_be_looked_at_is_refused(evil, tmp_path):
    (tmp_path / "a.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg">{evil}</svg>')
    with pytest.raises(RunError, match=r"cannot read the figure .*a\.svg"):
        html(made(figures=[{"file": "a.svg", "caption": ""}]), tmp_path)


def test_the_same_report_gives_the_same_page_and_nothing_on_it_has_the_same_name(tmp_path):
    report = made(claims=[RAISES._asdict()] * 2)
    source = html(report, tmp_path)
    assert source == html(report, tmp_path)
    ids = [a["id"] for _, a in Page(source).tags if "id" in a]
    assert sorted(ids) == sorted(set(ids)) == ["claim-1", "claim-2"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"recipe": "a", "more": 1}', "\xff"])
def test_a_file_that_is_no_report_is_said_to_be_none(text, tmp_path):
    (tmp_path / "report.json").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match=r"report\.json is not a report"):
        read_report(tmp_path / "report.json")
    with pytest.raises(UsageError, match=r"there is no file .*none\.json"):
        read_report(tmp_path / "none.json")


def test_a_claim_of_an_altered_file_must_still_be_a_claim(tmp_path):
    write_report(made(), tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    for broken in ({"values": []}, {"values": ["a"]}, {"verdict": HOLDS}, {"values": None}):
        claims = [content["claims"][0] | broken]
        (tmp_path / "report.json").write_text(json.dumps(content | {"claims": claims}))
        with pytest.raises(RunError, match="is not a report"):
            read_report(tmp_path / "report.json")
