"""An evaluation in words: the table, a sentence for each pair of models, JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

NAME_WIDTH = 36  # characters: with the numbers, a line of about 110

# Column of a table row → (heading, format); a metric that is not here is shown under its own name.
COLUMNS = {
    "l1": ("L1 ↓", ".4f"),
    "psnr": ("PSNR ↑", ".2f"),
    "ssim": ("SSIM ↑", ".4f"),
    "delta_e": ("ΔE ↓", ".2f"),
    "colorfulness": ("colorfulness", ".1f"),
    "colorfulness_true": ("true", ".1f"),
    "delta_colorfulness": ("differs ↓", ".1f"),
    "within_5": ("within 5 ↑", ".1%"),
    "frechet": ("Fréchet ↓", ".3f"),
    "accuracy": ("accuracy ↑", ".1%"),
    "fid": ("FID ↓", ".1f"),
    "kid": ("KID ↓", ".4f"),
    "lpips": ("LPIPS ↓", ".4f"),
}
LEGEND = (
    "L1: of a and b / 110. ΔE: CIEDE2000. colorfulness: Hasler and Süsstrunk's, 0 is grey.\n"
    "within 5: share of pixels whose a and b are both within 5 units of the truth."
)

# Saturations are matched to a factor of ±0.0001, so that equal models differ by as little: what
# would be printed as 0.0 % is no difference.
_LEAST_RELATIVE = 0.0005


class Evaluation(NamedTuple):
    """rows: one dict per table row, "name", what `metrics.summarize` gives, the distances.

    comparisons: one dict per pair of models. "model" is the name of the more colorful one, "base"
    the other's, "against" the row of the other with its ab multiplied by "factor"; "l1_difference"
    is that row's L1 minus the model's (positive: the model is better than mere saturation),
    "interval" its 95 % bootstrap interval [low, high] over images; "relative" and
    "relative_interval" are the same as shares of that row's L1, "relative_delta_e" and
    "relative_delta_e_interval" those of ΔE. left_out: a sentence for each pair that could not be
    compared. count: number of test images;
    size: their side in pixels; picture: the grid's file, if any. notes: sentences about distances.
    """

    rows: list[dict]
    comparisons: list[dict]
    left_out: list[str]
    count: int
    data: str
    size: int
    picture: Path | None
    notes: Sequence[str] = ()


def table(evaluation: Evaluation) -> str:
    """Plain text: what was evaluated, a row of numbers for each model, a sentence for each pair."""
    names = [name for name in evaluation.rows[0] if name != "name"]
    columns = {name: COLUMNS.get(name, (name, ".4f")) for name in names}
    cells = [["", *(heading for heading, _ in columns.values())]]
    for row in evaluation.rows:
        numbers = (format(row[name], style) for name, (_, style) in columns.items())
        cells.append([row["name"], *numbers])
    data, size = evaluation.data, f"{evaluation.size}×{evaluation.size} pixels"
    lines = [f"{data}, test images: {evaluation.count:,} of {size}", "", *aligned(cells), ""]
    lines += [LEGEND, *evaluation.notes, "", *map(_sentence, evaluation.comparisons)]
    return "\n".join([*lines, *evaluation.left_out]).rstrip()


def as_json(evaluation: Evaluation) -> str:
    """A JSON object: "rows", "comparisons", "left_out", "images", "data", "size", maybe "notes"."""
    content = evaluation._asdict()
    content["images"] = content.pop("count")
    del content["picture"]
    if not content["notes"]:
        del content["notes"]
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _sentence(comparison: dict) -> str:
    """What a comparison means."""

    def under(name: str) -> tuple[str, str, float]:
        relative = comparison[name]
        sign, side = (-1, "over") if relative < 0 else (1, "under")
        low, high = sorted(sign * end for end in comparison[f"{name}_interval"])
        interval = f"{low * 100:z.1f} % to {high * 100:z.1f} %"
        return f"{abs(relative) * 100:z.1f} % {side}", interval, low

    rival = f"{comparison['base']} at matched saturation"
    l1, interval, low = under("relative")
    delta_e, delta_e_interval, _ = under("relative_delta_e")
    if low < _LEAST_RELATIVE:
        found = f"no better than {rival}, L1 {l1} it"
    elif comparison["relative"] < 0:
        found = f"worse than {rival}, L1 {l1} it"
    else:
        found = f"L1 {l1} {rival}"
    of_delta_e = f"ΔE {delta_e} it, {delta_e_interval}"
    return f"{comparison['model']}: {found}, 95 % interval {interval}; {of_delta_e}"


def aligned(cells: list[list[str]]) -> list[str]:
    """Lines of text: names on the left, wrapped if they are long, numbers on the right."""
    names = [wrap(row[0], NAME_WIDTH) or [""] for row in cells]
    left = max(len(line) for lines in names for line in lines)
    widths = [max(map(len, column)) for column in list(zip(*cells, strict=True))[1:]]
    lines = []
    for (first, *rest), row in zip(names, cells, strict=True):
        numbers = (text.rjust(width) for text, width in zip(row[1:], widths, strict=True))
        lines += ["  ".join([first.ljust(left), *numbers]), *rest]
    return lines
