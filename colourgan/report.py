"""What an experiment showed: numbers in report.json, and a page and lines that judge them."""

import base64
import json
import math
import re
from dataclasses import asdict, dataclass, field
from inspect import cleandoc
from pathlib import Path
from statistics import fmean, stdev

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from PIL import Image

from colourgan.claims import DECISIVE, FAILS, HOLDS, UNDECIDED, Claim, Scale
from colourgan.errors import RunError, UsageError
from colourgan.evaluate.text import COLUMNS, LEGEND, aligned
from colourgan.files import replacing

_KINDS = {".png": "image/png", ".gif": "image/gif"}
_LONG = 12  # settings: a longer table is folded away
_MISSING = "n/a"  # for a number that is not finite: a training diverged
_SMALL = 450  # pixels: a picture that narrow is pixel art, to be kept sharp
_LOOKS = {HOLDS: ("holds", "✓"), FAILS: ("fails", "✗"), UNDECIDED: ("open", "?")}


@dataclass
class Report:
    """One experiment as plain data; what it means is computed from it each time it is shown.

    recipe: its name; title; source: where it was published; description: the recipe's docstring.
    scale: a Scale's fields. reduced: "4,000 of the published 8,000 training images", … changed:
    what differs without being smaller, "300 epochs instead of 100", … settings: one {"setting",
    "published", "here"} each, published "" if only the runs have it. rows: {"name", "values":
    {metric: one value a seed}} for each model, metrics as in `evaluate`. claims: Claims' fields.
    figures: {"file", "caption"}, PNG or GIF, files relative to the report's folder. notes:
    sentences to be read first. minutes: it took so long. command: how to make it again.
    """

    recipe: str
    title: str
    source: str
    description: str
    scale: dict[str, int]
    reduced: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    settings: list[dict[str, str]] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    claims: list[dict] = field(default_factory=list)
    figures: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    minutes: float = 0.0
    command: str = ""


def write_report(report: Report, out: Path | str) -> Path:
    """Writes report.json and report.html to the folder `out`; returns the page's path.

    The page is whole in itself: figures are embedded, nothing is loaded from anywhere. Raises
    RunError for a figure that is not there or cannot be read.
    """
    out = Path(out)
    page = html(report, out)
    text = json.dumps(_finite(asdict(report)), indent=2, ensure_ascii=False, allow_nan=False)
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
        Scale(**report.scale)
        report.claims = [_read_claim(entry) for entry in report.claims]
        for row in report.rows:
            row["values"] = {name: _numbers(values) for name, values in row["values"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} is not a report: make it again") from error
    return report


def page_template(name: str) -> Template:
    """A template of the package that escapes what it is given; rendering raises if a value lacks.

    name: its file's in colourgan/templates.
    """
    environment = Environment(
        loader=PackageLoader("colourgan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def html(report: Report, folder: Path | str) -> str:
    """The page that `write_report` writes, figures from `folder`."""
    return page_template("report.html").render(
        report=report,
        description=_paragraphs(report.description),
        scale=Scale(**report.scale),
        banner=banner(report),
        changes=changes(report),
        judged=[_judged(Claim(**entry), Scale(**report.scale)) for entry in report.claims],
        table=_table(report),
        figures=[_figure(figure, Path(folder)) for figure in report.figures],
        decisive=DECISIVE,
        foldable=len(report.settings) > _LONG,
        legend=LEGEND,
    )


def verdict_lines(report: Report) -> list[str]:
    """For a terminal: what was scaled down or changed, each claim with its verdict, the table."""
    lines = [text for text in (banner(report), changes(report)) if text]
    lines += [""] if lines else []
    for entry in report.claims:
        judged = _judged(Claim(**entry), Scale(**report.scale))
        published = f"; published: {entry['published']}" if entry["published"] else ""
        lines += [f"{judged['mark']} {judged['verdict']}: {entry['text']}"]
        lines += [f"  {entry['quantity']}: {judged['mean']}, {judged['interval']}"]
        lines += [f"  holds if {judged['condition']}{published}", ""]
    return lines + (aligned(_table(report)) if report.rows else [])


def banner(report: Report) -> str:
    """One sentence, "Scaled down: …", or "" for a run as published that is large enough."""
    short = Scale(**report.scale).short_of(DECISIVE)
    too_small = [f"too small to decide a claim ({', '.join(short)})"] if short else []
    return _sentence("Scaled down", report.reduced + too_small)


def changes(report: Report) -> str:
    """One sentence, "Differs from what was published: …", or "" if nothing was changed."""
    return _sentence("Differs from what was published", report.changed)


def _sentence(start: str, parts: list[str]) -> str:
    joined = "; ".join(part.rstrip(". ") for part in parts)
    return f"{start}: {joined}." if parts else ""


def _read_claim(entry: dict) -> dict:
    """The same with NaN for null; ValueError, TypeError or KeyError if it is not a Claim's."""
    if not entry["values"]:
        raise ValueError("a claim without values")
    (error,) = _numbers([entry["image_error"]])
    return Claim(**entry | {"values": _numbers(entry["values"]), "image_error": error})._asdict()


def _judged(claim: Claim, scale: Scale) -> dict:
    """All that is said of one claim, as text; "line" is its place on a line of numbers."""
    interval = claim.interval()
    half = (interval[1] - interval[0]) / 2 if interval else 0.0
    low, high = ("" if end is None else _bound(end) for end in (claim.low, claim.high))
    between = f"between {low} and {high}" if low and high else f"above {low}" if low else ""
    verdict = claim.verdict(scale)
    look, mark = _LOOKS[verdict]
    return {
        "text": claim.text,
        "published": claim.published,
        "quantity": claim.quantity,
        "verdict": verdict,
        "look": look,
        "mark": mark,
        "mean": _digits(claim.mean, half),
        "interval": _interval(interval, half),
        "condition": between or f"below {high}",
        "seeds": [_digits(value, half) for value in claim.values],
        "line": _number_line(claim),
    }


def _interval(interval: tuple[float, float] | None, half: float) -> str:
    if interval is None:
        return "no interval from one seed"
    if not math.isfinite(half):
        return "no interval"
    return f"95 % interval {_digits(interval[0], half)} to {_digits(interval[1], half)}"


def _digits(value: float, half: float) -> str:
    """As many decimals as show two digits of half the interval."""
    if not math.isfinite(value):
        return _MISSING
    known = 0 < half < math.inf
    decimals = min(max(1 - math.floor(math.log10(half)), 0), 8) if known else 0
    text = f"{value:z,.{decimals}f}" if known else f"{value:.4g}"
    return text.replace("-", "−")


def _bound(end: float) -> str:
    return f"{end:g}".replace("-", "−")


def _number_line(claim: Claim) -> dict | None:
    """Seeds, mean, interval and bounds in percent of a line's width; None if any is not finite."""
    bounds = [end for end in (claim.low, claim.high) if end is not None]
    marks = [*claim.values, *bounds, *(claim.interval() or ())]
    if not all(map(math.isfinite, marks)):
        return None
    middle = (min(marks) + max(marks)) / 2
    half = (max(marks) - min(marks)) / 2 or 1.0

    def place(value: float) -> float:
        return round(50 + 42 * (value - middle) / half, 2)

    start = 0 if claim.low is None else place(claim.low)
    end = 100 if claim.high is None else place(claim.high)
    return {
        "start": start,
        "width": round(end - start, 2),
        "bounds": [(place(bound), _bound(bound)) for bound in bounds],
        "interval": [place(value) for value in claim.interval() or ()],
        "seeds": [place(value) for value in claim.values],
        "mean": place(claim.mean),
    }


def _table(report: Report) -> list[list[str]]:
    """Cells: headings, then a row a model, each number the mean over seeds ± their deviation."""
    metrics = list(dict.fromkeys(name for row in report.rows for name in row["values"]))
    columns = {name: COLUMNS.get(name, (name, ".4f")) for name in metrics}
    cells = [["", *(heading for heading, _ in columns.values())]]
    for row in report.rows:
        values = row["values"]
        numbers = (_cell(values.get(name, []), style) for name, (_, style) in columns.items())
        cells.append([row["name"], *numbers])
    return cells


def _cell(seeds: list[float], style: str) -> str:
    if not seeds:
        return "–"
    if not all(map(math.isfinite, seeds)):
        return _MISSING
    mean = format(fmean(seeds), style)
    return f"{mean} ± {stdev(seeds):{style}}" if len(seeds) > 1 else mean


def _figure(figure: dict[str, str], folder: Path) -> dict:
    """The figure's bytes as a data URI, its size in pixels and its caption."""
    path = folder / figure["file"]
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise RunError(f"{path} is no figure of a report: it must be a PNG or GIF")
    try:
        content = path.read_bytes()
        with Image.open(path) as image:
            width, height = image.size
    except OSError as error:
        raise RunError(f"cannot read the figure {path}: draw it again") from error
    return {
        "source": f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}",
        "caption": figure["caption"],
        "width": width,
        "height": height,
        "small": width <= _SMALL,
    }


def _paragraphs(docstring: str) -> list[str]:
    """Its paragraphs, their lines joined unless they begin an item with "- "."""
    joined = re.sub(r"(?<!\n)\n(?!\n|- ) *", " ", cleandoc(docstring))
    return [part for part in re.split(r"\n{2,}", joined) if part]


def _finite(value):
    """The same plain data with null for every number that JSON cannot say."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
