"""A study's report.html: one page that is whole in itself, for phones, screens and paper."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from colourgan.evaluate import COLUMNS, ImageSet
from colourgan.evaluate.text import LEGEND
from colourgan.files import replacing
from colourgan.report import page_template
from colourgan.study.cells import DONE, FAILED, NOT_DONE, Cell
from colourgan.study.factors import as_matched
from colourgan.study.figures import bars, curves, look, scatter
from colourgan.study.findings import (
    Compared,
    best_sentence,
    compared,
    effect_cards,
    effect_sentences,
    matched_sentence,
    matrix,
)
from colourgan.study.photos import sheets
from colourgan.study.shown import (
    COSTS,
    MISSING,
    Entry,
    Place,
    entries,
    mean_text,
    panels,
    place_names,
    places,
)
from colourgan.study.statistics import numbers

PAGE = "report.html"
_BARS = ("l1", "delta_e", "colorfulness")


def write_page(
    title: str,
    command: str,
    settings: Mapping[str, object],
    cells: Sequence[Cell],
    runs: Path,
    images: Mapping[Place, ImageSet],
    grey: Mapping[Place, Mapping[str, float]],
    out: Path,
) -> Path:
    """Writes report.html to the folder `out`; returns its path.

    command: makes the study again; settings: what it trained with, name → value; runs: the folder
    of the run folders that `cells` name; images: the test images of each data set and size that
    has a finished cell; grey: what no color at all scores on them. Pictures of a model that cannot
    be read are left out, and the page says why. The page loads nothing from anywhere.
    """
    page = html(title, command, settings, cells, runs, images, grey)
    with replacing(Path(out) / PAGE) as part:
        part.write_text(page, encoding="utf-8")
    return Path(out) / PAGE


def html(
    title: str,
    command: str,
    settings: Mapping[str, object],
    cells: Sequence[Cell],
    runs: Path,
    images: Mapping[Place, ImageSet],
    grey: Mapping[Place, Mapping[str, float]],
) -> str:
    """The page that `write_page` writes."""
    found = entries(cells)
    groups = _groups(found)
    known = compared(cells, groups.values())
    names, columns = place_names(found), _columns(found)
    return page_template("study.html").render(
        title=title,
        command=command,
        settings={name: _setting(value) for name, value in settings.items()},
        facts=_facts(cells, found),
        unfinished=_unfinished(found, names),
        alone=max((len(entry.done) for entry in found), default=0) < 2,
        comparisons=known.count,
        effects=effect_sentences(known),
        factors=effect_cards(known, found),
        columns=columns,
        rows=[_row(entry, names, columns) for entry in found],
        places=[
            _place(names[place], group, groups, known, runs, images.get(place))
            for place, group in places(found).items()
        ],
        grey=[f"{names[place]}, {_grey(row)}" for place, row in grey.items()],
        absent=sum(cell.state != DONE for cell in cells),
        methods=_methods(found),
        legend=LEGEND,
        missing=MISSING,
    )


def _groups(found: Sequence[Entry]) -> dict[tuple[Place, str], list[Entry]]:
    """Configurations of one data set, size and method that have a finished cell."""
    groups: dict[tuple[Place, str], list[Entry]] = {}
    for entry in found:
        if entry.seeds("l1"):
            groups.setdefault((entry.place, entry.method), []).append(entry)
    return groups


def _setting(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or MISSING
    return MISSING if value is None else str(value)


def _facts(cells: Sequence[Cell], found: Sequence[Entry]) -> list[tuple[int, str]]:
    """(count, what of)."""
    states, names = Counter(cell.state for cell in cells), place_names(found)
    tested = {entry.place: len(cell.values["l1"]) for entry in found for cell in entry.done[:1]}
    return [
        (states[DONE], "models trained and measured"),
        (states[FAILED], "failed"),
        *([(states[NOT_DONE], "not done yet")] if states[NOT_DONE] else []),
        (len(found), "configurations"),
        (len({cell.seed for cell in cells}), "seeds"),
        *((count, f"test images of {names[place]}") for place, count in tested.items()),
    ]


def _unfinished(found: Sequence[Entry], names: Mapping[Place, str]) -> list[dict]:
    """What is not done, and why: an item for all seeds of which the same is to be said."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for entry in found:
        for cell in entry.cells:
            if cell.state != DONE:
                name = f"{entry.label}, {names[entry.place]}"
                seeds.setdefault((name, cell.state, cell.reason), []).append(cell.seed)
    return [
        {
            "name": f"{name}, seed{'s' * (len(each) > 1)} {', '.join(map(str, each))}",
            "state": state,
            "reason": reason,
        }
        for (name, state, reason), each in seeds.items()
    ]


def _grey(row: Mapping[str, float]) -> str:
    """What no color at all scores, in words."""
    return f"no color at all (ab = 0): L1 {row['l1']:.4f}, ΔE {row['delta_e']:.2f}"


def _columns(found: Sequence[Entry]) -> list[dict]:
    """The metrics, distances and costs that any cell has."""
    have = {name for entry in found for cell in entry.done for name in numbers(cell)}
    metrics = [
        {"name": name, "heading": heading, "style": style, "cost": False}
        for name, (heading, style) in COLUMNS.items()
    ]
    costs = [
        {"name": name, "heading": heading, "style": style, "unit": unit, "cost": True}
        for name, (heading, unit, style) in COSTS.items()
    ]
    return [column for column in metrics + costs if column["name"] in have]


def _row(entry: Entry, names: Mapping[Place, str], columns: list[dict]) -> dict:
    """A configuration's numbers, and those of its L1 parents at matched saturation."""
    matched = [numbers(as_matched(cell)) for cell in entry.done if cell.matched]
    return {
        "label": entry.label,
        "place": names[entry.place],
        "seeds": f"{len(entry.done)} of {len(entry.cells)}",
        "done": len(entry.done),
        "numbers": [_number(entry.seeds(column["name"]), column) for column in columns],
        "matched": matched and [_number(_of(matched, column), column) for column in columns],
    }


def _of(rows: list[dict[str, float]], column: dict) -> list[float]:
    return [row[column["name"]] for row in rows if column["name"] in row]


def _number(seeds: list[float], column: dict) -> dict:
    """As text, and as a number to sort by."""
    if not seeds:
        return {"number": "", "text": MISSING}
    # How much a cost differs between seeds says nothing about models.
    shown = [fmean(seeds) / column["unit"]] if column["cost"] else seeds
    return {"number": repr(fmean(seeds)), "text": mean_text(shown, column["style"])}


def _place(
    name: str,
    found: list[Entry],
    groups: Mapping[tuple[Place, str], list[Entry]],
    known: Compared,
    runs: Path,
    images: ImageSet | None,
) -> dict:
    """All that is shown of one data set and size."""
    here = {method: group for (place, method), group in groups.items() if place == found[0].place}
    done = [entry for entry in found if entry.done]
    return {
        "name": name,
        "best": [
            (method, best_sentence(known, group) + _reserve(group))
            for method, group in here.items()
        ],
        "matched": matched_sentence(known, done),
        "bars": [
            (title, [bars(part, found, metric) for metric in _BARS])
            for title, part in panels(found)
        ],
        "costs": [(title, _costs(part, done)) for title, part in panels(done)],
        "curves": [
            (method, title, lines)
            for method, group in here.items()
            for title, part in panels(group)
            if (lines := curves(part, group))
        ],
        "matrices": [(method, group, matrix(known, group)) for method, group in here.items()],
        "sheets": sheets(done, runs, images) if images else None,
    }


def _reserve(group: Sequence[Entry]) -> str:
    """What is to be said of configurations that were not compared over seeds."""
    if len(group) < 2 or sum(len(entry.done) > 1 for entry in group) > 1:
        return ""
    return " One seed: this rests on the test images alone, another training may differ."


def _costs(part: list[Entry], found: list[Entry]) -> dict:
    charts = [scatter(part, found, cost) for cost in ("seconds", "parameters", "flops")]
    families = {entry.family: entry for entry in part}
    return {
        "charts": [chart for chart in charts if chart],
        "families": [look(entry) | {"label": entry.family_label} for entry in families.values()],
    }


def _methods(found: Sequence[Entry]) -> list[tuple[str, int]]:
    """(method, its shape)."""
    return list({entry.method: entry.shape for entry in found}.items())
