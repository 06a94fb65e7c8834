"""A study's report.html and summary.png: all of its numbers, in words, tables and pictures."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import fmean

import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from colourgan.color import decode, lightness_to_grey
from colourgan.errors import RunError, UsageError
from colourgan.evaluate import COLUMNS, ImageSet
from colourgan.evaluate.text import LEGEND
from colourgan.experiments import judge
from colourgan.experiments.cells import (
    DONE,
    FAILED,
    NOT_DONE,
    SETTINGS,
    Cell,
    as_matched,
    numbers,
)
from colourgan.experiments.report import data_uri, page_template
from colourgan.files import replacing
from colourgan.models import load_model
from colourgan.plots import svg
from colourgan.plots.charts import series
from colourgan.study import findings
from colourgan.study.configurations import FACTORS, factor_words, level_words, names_by
from colourgan.study.findings import COSTS, Entry, Place, panels
from colourgan.study.limits import limit_charts, limit_panels

PAGE = "report.html"
_BARS = ("l1", "delta_e", "colorfulness")
_SPENT = {  # what a chart's axis says, its unit, and the costs that are added up, if known
    "seconds of training": (1, ("seconds",)),
    "parameters, millions": (
        1e6,
        ("encoder_parameters", "decoder_parameters", "generator_parameters"),
    ),
    "FLOPs an image, 10⁹": (1e9, ("flops",)),
}
_FIRST = 6  # test photos, as they come
_EXTREMES = 3  # best ones, and as many worst ones
_SHARP = 64  # pixels: photos as small are pixel art, to be enlarged as squares
_LARGEST = 128  # pixels: larger photos are shown smaller
_QUALITY = 88  # of JPEG

# Of the summary picture, whose text is 14 pixels high where it is shown 800 pixels wide.
_ACROSS, _PANEL_WIDTH, _DOTS_AN_INCH = 2, 8.0, 150
_ROW, _FRAME = 0.17, 1.1  # inches: for one method of one row; for axis and title
_LINE = 0.22  # inches: of the legend
_GAP = 0.22  # between two methods of one row, whose distance to the next is 1, if they are few
_LOOKS = (
    ("#0072B2", "o"), ("#D55E00", "D"), ("#009E73", "s"), ("#CC79A7", "^"), ("#E69F00", "v"),
    ("#56B4E9", "P"), ("#000000", "X"), ("#7F5F00", "p"),
)  # fmt: skip
_NAMED = 5  # methods in a line of the legend


def write_page(
    title: str,
    command: str,
    settings: Mapping[str, str],
    cells: Sequence[Cell],
    runs: Path,
    images: Mapping[Place, ImageSet],
    grey: Mapping[Place, Mapping[str, float]],
    out: Path,
) -> Path:
    """Writes report.html to the folder `out`; returns its path.

    command: makes the study again; settings: what it trained with, name → value as text; runs: the
    folder of the run folders that `cells` name; images: the test images of each data set and size
    that has a finished cell; grey: what no color at all scores on them. Pictures of a model that
    cannot be read are left out, and the page says why. The page loads nothing from anywhere.
    """
    found = findings.entries(cells)
    names = findings.place_names(found)
    groups: dict[tuple[Place, str], list[Entry]] = {}  # those whose pairs are compared
    for entry in found:
        if entry.seeds("l1"):
            groups.setdefault((entry.place, entry.kind), []).append(entry)
    known = findings.compared(cells, groups.values())

    states = Counter(cell.state for cell in cells)
    facts = [(states[DONE], "models trained and measured"), (states[FAILED], "failed")]
    facts += [(states[NOT_DONE], "not done yet")] if states[NOT_DONE] else []
    facts += [(len(found), "configurations"), (len({cell.seed for cell in cells}), "seeds")]
    tested = {entry.place: len(cell.values["l1"]) for entry in found for cell in entry.done[:1]}
    facts += [(count, f"test images of {names[place]}") for place, count in tested.items()]

    unfinished = defaultdict(list)  # the seeds of which the same is to be said
    for entry in found:
        for cell in (cell for cell in entry.cells if cell.state != DONE):
            said = f"{cell.state}{', ' * bool(cell.reason)}{cell.reason}"
            unfinished[f"{entry.label}, {names[entry.place]}", said].append(cell.seed)

    shown = []
    for place, here in findings.places(found).items():
        kinds = {kind: group for (where, kind), group in groups.items() if where == place}
        done = [entry for entry in here if entry.done]
        many = [(kind, group) for kind, group in kinds.items() if len(group) > 1]
        shown.append(
            {
                "name": names[place],
                "best": [(kind, findings.best_sentence(known, g)) for kind, g in kinds.items()],
                "matched": findings.matched_sentences(known, done),
                "bars": [(part, _bars(group, here)) for part, group in panels(here)],
                "costs": [(part, _costs(group, done), group) for part, group in panels(done)],
                "curves": [
                    (part or kind, chart)
                    for kind, group in kinds.items()
                    for part, some in panels(group)
                    if (chart := _curves(part or kind, some, group))
                ],
                "matrices": [(kind, group, findings.matrix(known, group)) for kind, group in many],
                "sheets": _sheets(done, runs, images[place]) if done and place in images else [],
            }
        )
    factors = findings.effect_cards(known, found)
    cards = [card for factor in factors for card in factor["cards"]]
    drawn = [row for card in cards for row in card["rows"]]
    ends = [end for row in drawn for end in (*row.values, *(row.interval or ()))]
    across = svg.axis([0.0, *ends])  # of all effects
    for card in cards:
        name, some = f"Differences of L1, {card['title']}", card["rows"]
        chart = svg.row_chart(name, some, across, dashed=0.0, bars=False) if some else ""
        card["chart"] = Markup(chart)
    columns, rows = _table(found, names)
    unpublished = {"published": "", "where": "", "differs": False}  # unlike a recipe's settings
    signs = {entry.kind: svg.SHAPES[entry.shape % len(svg.SHAPES)][1] for entry in found}
    l1 = {place: row["l1"] for place, row in grey.items()}
    page = page_template("study.html").render(
        title=title,
        command=command,
        settings=[unpublished | {"setting": k, "here": v} for k, v in settings.items()],
        facts=[(f"{count:,}", text) for count, text in facts],
        generators=len({entry.configuration.generator for entry in found}),
        unfinished=[
            f"{name}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: {said}"
            for (name, said), seeds in unfinished.items()
        ],
        absent=sum(cell.state != DONE for cell in cells),
        alone=max((len(entry.done) for entry in found), default=0) < 2,
        comparisons=known.count,
        by_chance=math.ceil(known.count / 20),
        effects={factor_words(k): told for k, told in findings.effect_sentences(known).items()},
        factors=factors,
        columns=columns,
        rows=rows,
        places=shown,
        grey=[
            f"{names[place]}, no color at all (ab = 0): L1 {row['l1']:.4f}, ΔE {row['delta_e']:.2f}"
            for place, row in grey.items()
        ],
        limits=limit_charts(limit_panels(found), l1),
        signs=signs,
        legend=LEGEND,
        missing=judge.MISSING,
    )
    with replacing(Path(out) / PAGE) as part:
        part.write_text(page, encoding="utf-8")
    return Path(out) / PAGE


def _table(found: Sequence[Entry], names: Mapping[Place, str]) -> tuple[list[str], list[dict]]:
    """Headings of the numbers that any cell has, and each configuration's as text and to sort by.

    "matched" are those of its rivals at matched saturation, [] if it has none, and "rival" is what
    these are called.
    """
    have = {name for entry in found for cell in entry.done for name in numbers(cell)}
    columns = {name: (heading, 1, style) for name, (heading, style) in COLUMNS.items()} | COSTS
    columns = {name: column for name, column in columns.items() if name in have}

    def cells(rows: Sequence[Mapping[str, float]]) -> list[dict]:
        shown = []
        for name, (_, unit, style) in columns.items():
            values = [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]
            # How much a cost differs between seeds says nothing about models.
            told = [fmean(values) / unit] if values and name in COSTS else values
            number = repr(fmean(values)) if values else ""
            shown.append({"number": number, "text": judge.mean_text(told, style)})
        return shown

    rows = []
    for entry in found:
        matched = [numbers(as_matched(cell)) for cell in entry.done if cell.matched]
        rows.append(
            {
                "label": entry.label,
                "place": names[entry.place],
                "seeds": f"{len(entry.done)} of {len(entry.cells)}",
                "done": len(entry.done),
                "numbers": cells([numbers(cell) for cell in entry.done]),
                "matched": cells(matched) if matched else [],
                "rival": " ".join(level_words(*each) for each in entry.rival.items()),
            }
        )
    return [heading for heading, _, _ in columns.values()], rows


def _bars(part: Sequence[Entry], everyone: Sequence[Entry]) -> list[dict]:
    """For each of _BARS its heading and chart; `everyone` shares the axes."""
    shown = []
    for metric in _BARS:
        heading, style = COLUMNS[metric]
        truth = [value for e in everyone for value in e.seeds("colorfulness_true")]
        true = fmean(truth) if truth and metric == "colorfulness" else None
        ends = [end for e in everyone for end in (*e.seeds(metric), *(e.interval(metric) or ()))]
        across = svg.axis([*ends, true or 0.0], from_zero=True)
        rows = [
            svg.Row(e.label, e.seeds(metric), e.interval(metric), e.text(metric), **e.look)
            for e in part
        ]
        told = "" if true is None else format(true, style)
        chart = Markup(svg.row_chart(heading, rows, across, true))
        shown.append({"heading": heading, "chart": chart, "true": told})
    return shown


def _costs(part: Sequence[Entry], everyone: Sequence[Entry]) -> list[tuple[str, Markup]]:
    """(heading, L1 against a cost) of each cost that any cell knows; `everyone` shares the axes."""
    shown = []
    for heading, (unit, names) in _SPENT.items():
        known = {}
        for entry in everyone:
            spent = [cost for name in names if (cost := entry.mean(name)) is not None]
            if spent and (l1 := entry.mean("l1")) is not None:
                known[entry] = sum(spent) / unit, l1
        points = [
            svg.Point(x, y, str(e.family), f"{e.label}: L1 {y:.4f}, {x:,.4g}", **e.look)
            for e, (x, y) in known.items()
            if e in part
        ]
        if points:
            xs, ys = zip(*known.values(), strict=True)
            axes = svg.axis(xs, logarithmic=True), svg.axis(ys)
            chart = svg.scatter_chart(f"L1 against {heading}", points, *axes, heading)
            shown.append((f"L1 ↓ against {heading}", Markup(chart)))
    return shown


def _curves(name: str, part: Sequence[Entry], everyone: Sequence[Entry]) -> Markup | None:
    """The validation loss over epochs, None if nobody has any; `everyone` shares the axes."""
    losses = {}
    for entry in everyone:
        seeds = [series(cell.history, "valid_loss") for cell in entry.done if cell.history]
        if any(all(map(math.isfinite, epoch)) for epoch in zip(*seeds, strict=False)):
            losses[entry] = seeds
    known = [entry for entry in part if entry in losses]
    lines = [svg.Line(e.family_label, losses[e], e.family - 1) for e in known]
    if not lines:
        return None
    columns = [column for seeds in losses.values() for column in seeds]
    down = svg.axis([loss for column in columns for loss in column], logarithmic=True)
    title = f"Validation loss over epochs, {name}"
    return Markup(svg.curve_chart(title, lines, down, max(map(len, columns))))


@torch.no_grad()
def _sheets(entries: Sequence[Entry], runs: Path, images: ImageSet) -> list[dict]:
    """Two sheets of test photos: the first ones; the best and worst by their ΔE.

    entries: of one data set and size, finished; each is shown by its first seed. ΔE: the mean over
    seeds, then over all of these configurations. A sheet: "title"; "titles" above the photos;
    "strips", for grey, each configuration and the true photos: "label", "problem", "" unless there
    is no picture, and "source", "width" and "height" of a picture of all photos side by side.
    "sharp": they are pixel art.
    """
    seeds = [torch.stack([cell.values["delta_e"] for cell in each.done]) for each in entries]
    errors = torch.stack([each.mean(0) for each in seeds]).mean(0)  # (N,)
    order = errors.argsort(stable=True).tolist()
    first = list(range(min(_FIRST, len(order))))
    count = max(1, min(_EXTREMES, len(order) // 2))
    extremes = [*order[:count], *order[len(order) - count :]]
    L, rgb = images.L[first + extremes], images.rgb[first + extremes] / 255
    shown: list[tuple[str, Tensor | str]] = [("grey", lightness_to_grey(L).expand_as(rgb))]
    for entry in entries:
        try:
            shown.append((entry.label, decode(L, load_model(runs / entry.done[0].run)(L))))
        except (RunError, UsageError) as error:
            shown.append((entry.label, str(error)))
    shown.append(("true", rgb))

    def strip(label: str, photos: Tensor | str, part: slice) -> dict:
        if isinstance(photos, str):
            return {"label": label, "problem": photos}
        photos = photos[part]  # (n, 3, S, S) in [0, 1]
        if photos.shape[-1] > _LARGEST:
            photos = interpolate(photos, (_LARGEST, _LARGEST), mode="area")
        pixels = photos.clamp(0, 1).mul(255).round().byte()
        image = Image.fromarray(torch.cat(list(pixels), 2).permute(1, 2, 0).contiguous().numpy())
        kind, file = "png" if image.height <= _SHARP else "jpeg", BytesIO()
        image.save(file, kind, quality=_QUALITY, subsampling=0)  # a PNG has neither
        size = {"width": image.width, "height": image.height}
        return {"label": label, "problem": "", "source": data_uri(file.getvalue(), kind)} | size

    ranks = ["best, "] * count + ["worst, "] * count
    kinds = (
        ("the first test photos", [""] * len(first), first, slice(len(first))),
        ("best and worst", ranks, extremes, slice(len(first), None)),
    )
    return [
        {
            "title": title,
            "titles": [f"{rank}ΔE {errors[r]:.1f}" for rank, r in zip(ranks, rows, strict=True)],
            "strips": [strip(*each, part) for each in shown],
            "sharp": rgb.shape[-1] <= _SHARP,
        }
        for title, ranks, rows, part in kinds
    ]


def summary_picture(
    cells: Sequence[Cell], path: Path | str, grey: Mapping[Place, float] | None = None
) -> None:
    """Writes a PNG: a panel a data set and size, in it a line a model, with its L1 to the right.

    Each mark is a seed, the upright stroke their mean, the line its 95 % interval; methods are side
    by side. grey: the L1 of no color at all, a dashed line. Raises ValueError if no cell is done.
    """
    found = [entry for entry in findings.entries(cells) if entry.seeds("l1")]
    if not found:
        raise ValueError("nothing to draw: no cell is done")
    groups, names, grey = findings.places(found), findings.place_names(found), grey or {}
    across = min(_ACROSS, len(groups))
    down = math.ceil(len(groups) / across)
    others = [name for name in FACTORS if name not in (*SETTINGS, "method", "discriminator")]
    labels = names_by([entry.configuration for entry in found], others)
    lines = list(dict.fromkeys(labels.values()))
    methods = list(dict.fromkeys(entry.method for entry in found))
    looks = {method: _LOOKS[number % len(_LOOKS)] for number, method in enumerate(methods)}
    gap = min(_GAP, 0.8 / len(methods))
    legend = math.ceil((len(methods) + bool(grey)) / _NAMED) * _LINE
    height = _FRAME + _ROW * (1 + len(methods)) * len(lines)
    size = _PANEL_WIDTH, 0.2 + legend + height * down
    figure = Figure(size, _DOTS_AN_INCH, layout="constrained")
    for number, (place, group) in enumerate(groups.items()):
        axes = figure.add_subplot(down, across, number + 1)
        for entry in group:
            color, mark = looks[entry.method]
            step = methods.index(entry.method) - (len(methods) - 1) / 2
            y = lines.index(labels[entry.configuration]) + gap * step
            seeds = entry.seeds("l1")
            if interval := entry.interval("l1"):
                axes.plot(interval, (y, y), color=color, linewidth=1.5, alpha=0.6)
            axes.plot(seeds, [y] * len(seeds), mark, color=color, markersize=4.5, alpha=0.7)
            axes.plot(fmean(seeds), y, "|", color=color, markersize=11, markeredgewidth=2)
        if place in grey:
            axes.axvline(grey[place], color="0.35", linestyle="--", linewidth=1.2)
        axes.set_title(names[place], fontsize=10, parse_math=False)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_yticks(range(len(lines)), lines, parse_math=False)
        axes.tick_params(labelleft=number % across == 0)
        axes.set_xlabel("L1 of a and b: lower is better")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    style = {"markersize": 5, "linewidth": 1.5}
    handles = [Line2D([], [], color=c, marker=m, label=k, **style) for k, (c, m) in looks.items()]
    if grey:
        handles.append(Line2D([], [], color="0.35", linestyle="--", label="no color at all"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), _NAMED), frameon=False
    )
    with replacing(path) as beside:
        figure.savefig(beside, format="png")
