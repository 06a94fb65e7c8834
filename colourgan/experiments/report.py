"""What an experiment showed: numbers in report.json, and a page and lines that judge them."""

import base64
import json
import math
import re
from dataclasses import asdict, dataclass, field
from inspect import cleandoc
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from colourgan.errors import RunError, UsageError
from colourgan.evaluate.text import COLUMNS, LEGEND, aligned
from colourgan.experiments import judge
from colourgan.experiments.judge import DECISIVE, FAILS, HOLDS, UNDECIDED, Claim, Scale
from colourgan.files import replacing
from colourgan.plots.svg import number_line

_KINDS = {".png": "png", ".gif": "gif", ".jpg": "jpeg", ".jpeg": "jpeg"}
_SMALL = 450  # pixels: a picture that narrow is pixel art, to be kept sharp
_LOOKS = {HOLDS: ("good", "✓"), FAILS: ("bad", "✗"), UNDECIDED: ("open", "?")}
_DRAWN = {"svg", "g", "path", "text", "title"}  # what an SVG may hold: it becomes part of the page


@dataclass
class Report:
    """One experiment as plain data; what it means is computed from it each time it is shown.

    recipe: its name; title; source: where it was published; description: what was done, plain text
    such as a docstring. scale: a Scale's fields; decisive: those that a verdict needs. reduced:
    "4,000 of the published 8,000 training images", … changed: what differs without being smaller,
    "300 epochs instead of 100", … differs: what is always different here, sentences. settings: one
    {"setting", "published", "where", "here", "differs"} each, where: in the source. rows:
    {"name", "values": {metric: one value a seed}} for each model, metrics as in `evaluate`. claims:
    Claims' fields; unjudged: claims of the source that are not judged, and why. figures: {"file",
    "caption"}, PNG, GIF, JPEG, or SVG as `plots.svg` draws it, files relative to the report's
    folder. notes: sentences to be read first. minutes: it took so long. command: how to make it
    again.
    """

    recipe: str
    title: str
    source: str
    description: str
    scale: dict[str, float]
    decisive: dict[str, float] = field(default_factory=DECISIVE._asdict)
    reduced: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    claims: list[dict] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    figures: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    minutes: float = 0.0
    command: str = ""


def page_template(name: str) -> Template:
    """A template of the package that escapes what it is given; rendering raises if a value lacks.

    name: its file's in colourgan/templates. Each page extends page.html, whose style sheet is the
    only one: it suits day, night, phones and paper, and nothing is loaded from anywhere.
    """
    environment = Environment(
        loader=PackageLoader("colourgan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def data_uri(content: bytes, kind: str) -> str:
    """A picture's bytes as text that a page embeds; kind: "png", "gif" or "jpeg"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write_report(report: Report, out: Path | str) -> Path:
    """Writes report.json and report.html to the folder `out`; returns the page's path.

    Raises RunError for a figure that is not there or cannot be shown.
    """
    out = Path(out)
    page = html(report, out)
    # JSON cannot say NaN and infinite: they become null.
    plain = json.loads(json.dumps(asdict(report)), parse_constant=lambda _: None)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    for name, content in (("report.json", text + "\n"), ("report.html", page)):
        with replacing(out / name) as part:
            part.write_text(content, encoding="utf-8")
    return out / "report.html"


def read_report(path: Path | str) -> Report:
    """What `write_report` wrote to that report.json; what was not finite is NaN.

    Raises UsageError if there is no such file, RunError if it is not a report.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        report = Report(**json.loads(path.read_text(encoding="utf-8")))
        Scale(**report.scale), Scale(**report.decisive)
        for entry in report.claims:
            if not entry["values"]:
                raise ValueError("a claim without values")
            error = _numbers([entry["image_error"]])[0]
            entry |= {"values": _numbers(entry["values"]), "image_error": error}
        report.claims = [Claim(**entry)._asdict() for entry in report.claims]
        for row in report.rows:
            row["values"] = {name: _numbers(values) for name, values in row["values"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} is not a report: make it again") from error
    return report


def html(report: Report, folder: Path | str) -> str:
    """The page that `write_report` writes, figures from `folder`."""
    description = cleandoc(report.description)
    # The lines of a paragraph are joined unless they begin an item with "- ".
    joined = re.sub(r"(?<!\n)\n(?!\n|- ) *", " ", description)
    return page_template("recipe.html").render(
        report=report,
        description=[part for part in re.split(r"\n{2,}", joined) if part],
        scale=Scale(**report.scale),
        banner=banner(report),
        changes=changes(report),
        judged=_judged(report),
        table=_table(report),
        figures=[_figure(figure, Path(folder)) for figure in report.figures],
        decisive=Scale(**report.decisive),
        legend=LEGEND,
    )


def verdict_lines(report: Report) -> list[str]:
    """For a terminal: what was scaled down or changed, each claim with its verdict, the table."""
    lines = [text for text in (banner(report), changes(report)) if text]
    lines += [""] if lines else []
    for judged in _judged(report):
        published = f"; published: {judged['published']}" if judged["published"] else ""
        lines += [f"{judged['mark']} {judged['verdict']}: {judged['text']}"]
        lines += [f"  not decided because: {judged['because']}"] if judged["because"] else []
        lines += [f"  {judged['quantity']}: {judged['mean']}, {judged['interval']}"]
        lines += [f"  holds if {judged['condition']}{published}", ""]
    lines += [f"not judged: {text}" for text in report.unjudged]
    lines += [""] if report.unjudged else []
    return lines + (aligned(_table(report)) if report.rows else [])


def banner(report: Report) -> str:
    """One sentence, "Scaled down: …", or "" for a run as published that is large enough."""
    short = Scale(**report.scale).short_of(Scale(**report.decisive))
    too_small = [f"too small to decide a claim ({', '.join(short)})"] if short else []
    return _sentence("Scaled down", report.reduced + too_small)


def changes(report: Report) -> str:
    """One sentence, "Differs from what was published: …", or "" if nothing was changed."""
    return _sentence("Differs from what was published", report.changed)


def _sentence(start: str, parts: list[str]) -> str:
    joined = "; ".join(part.rstrip(". ") for part in parts)
    return f"{start}: {joined}." if parts else ""


def _judged(report: Report) -> list[dict]:
    """Every claim's fields with all that follows from them, as text, and its number line as SVG.

    because: why it is not decided whatever its numbers say, beside the scale of the whole.
    """
    scale, decisive = Scale(**report.scale), Scale(**report.decisive)
    claims = [Claim(**entry) for entry in report.claims]
    known = scale.short_of(decisive)  # the banner says these
    found = []
    for each in claims:
        reasons = each.open_because(scale, decisive, claims)
        because = "; ".join(reason for reason in reasons if reason not in known)
        verdict = each.verdict(scale, decisive, claims)
        found.append(_shown(each, verdict) | {"because": because})
    return found


def _shown(claim: Claim, verdict: str) -> dict:
    """One claim as text."""
    ends = claim.interval()
    half = (ends[1] - ends[0]) / 2 if ends else 0.0
    style = ".4g"
    if 0 < half < math.inf:  # as many decimals as show two digits of half the interval
        style = f"z,.{min(max(1 - math.floor(math.log10(half)), 0), 8)}f"

    def digits(value: float) -> str:
        finite = math.isfinite(value)
        return format(value, style).replace("-", "−") if finite else judge.NOT_FINITE

    interval = "no interval" if ends else "no interval from one seed"
    if ends and math.isfinite(half):
        interval = f"95 % interval {digits(ends[0])} to {digits(ends[1])}"
    low, high = (f"{end or 0:g}".replace("-", "−") for end in (claim.low, claim.high))
    condition = f"between {low} and {high}"
    if None in (claim.low, claim.high):
        condition = f"above {low}" if claim.high is None else f"below {high}"
    name = f"The mean, {digits(claim.mean)}, its interval and the seeds, and where it holds"
    line = number_line(name, claim.values, ends, claim.low, claim.high)
    return claim._asdict() | {
        "verdict": verdict,
        "look": _LOOKS[verdict][0],
        "mark": _LOOKS[verdict][1],
        "mean": digits(claim.mean),
        "interval": interval,
        "condition": condition,
        "seeds": [digits(value) for value in claim.values],
        "line": Markup(line),
    }


def _table(report: Report) -> list[list[str]]:
    """Cells: headings, then a row a model, each number the mean over seeds ± their deviation."""
    metrics = list(dict.fromkeys(name for row in report.rows for name in row["values"]))
    columns = {name: COLUMNS.get(name, (name, ".4f")) for name in metrics}
    cells = [["", *(heading for heading, _ in columns.values())]]
    for row in report.rows:
        seeds = [(row["values"].get(name, []), style) for name, (_, style) in columns.items()]
        cells.append([row["name"], *(judge.mean_text(*each) for each in seeds)])
    return cells


def _figure(figure: dict[str, str], folder: Path) -> dict:
    """The figure's caption, and its "svg", or its "source" and size in pixels."""
    path = folder / figure["file"]
    kind = _KINDS.get(path.suffix.lower())
    shown = {"caption": figure["caption"], "svg": ""}
    try:
        if path.suffix.lower() == ".svg":
            return shown | {"svg": _inline(path.read_text("utf-8"))}
        if kind is None:
            raise RunError(f"{path} is no figure of a report: it must be a PNG, GIF, JPEG or SVG")
        with Image.open(path) as image:
            size = {"width": image.width, "height": image.height, "small": image.width <= _SMALL}
        return shown | size | {"source": data_uri(path.read_bytes(), kind)}
    except (OSError, ValueError, SyntaxError) as error:
        raise RunError(f"cannot read the figure {path}: draw it again") from error


def _inline(text: str) -> Markup:
    """An SVG as part of a page; ValueError or SyntaxError if it could do more than be looked at."""
    root = ElementTree.fromstring(text)
    for each in root.iter():
        each.tag = str(each.tag).removeprefix("{http://www.w3.org/2000/svg}")
        if each.tag not in _DRAWN:
            raise ValueError(f"<{each.tag}> in a drawing")
        for name, value in each.attrib.items():
            loads = name != "aria-label" and re.search(r"""url|["'/\\@]""", value.lower())
            if loads or name.startswith("on") or "href" in name:
                raise ValueError(f"{name}={value} in a drawing")
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _numbers(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
