"""Figures of bench/speed.py: turns made into a ratio, the table, and the file of results."""

import json
from pathlib import Path
from statistics import median

from colourgan.files import replacing


def compared(ours: list[float], theirs: list[float], bar: float) -> dict:
    """What is told of two series of images a second, colourgan's and the peer's, turn by turn."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "colourgan": median(ours),
        "peer": median(theirs),
        "ratio": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "bar": bar,
        "met": median(ratios) >= bar,
        "turns": {"colourgan": ours, "peer": theirs},
    }


def table(rows: dict[str, dict]) -> str:
    """The rows, by name of pair, as text; with what a GPU did where they have it."""
    head = f"{'images/s':25}{'colourgan':>10}{'peer':>9}{'ratio':>8}  {'turns':14}{'bar':>5}  met"
    if any("gpu_idle" in row for row in rows.values()):
        head += "  of peak  idle  launches  data"
    return "\n".join([head, *(line(name, row) for name, row in rows.items())])


def line(name: str, row: dict) -> str:
    spread = f"{row['lowest']:.2f} to {row['highest']:.2f}"
    text = (
        f"{name:25}{row['colourgan']:10.1f}{row['peer']:9.1f}{row['ratio']:7.2f}×  {spread:14}"
        f"{row['bar']:4g}×  {'yes' if row['met'] else 'no ':3}"
    )
    if "gpu_idle" not in row:
        return text.rstrip()
    peak = "?" if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}"
    return (
        f"{text}{peak:>9}{row['gpu_idle']:6.0%}{row['launches_per_step']:10.0f}{row['data']:6.0%}"
    )


def write_results(path: Path, settings: dict, rows: dict[str, dict]) -> None:
    """Writes settings and rows; the rows that the file had stay if their settings are the same."""
    before = json.loads(path.read_text()) if path.exists() else {}
    pairs = before.pop("pairs", {})
    rows = rounded((pairs if before == settings else {}) | rows)
    with replacing(path) as part:
        part.write_text(json.dumps(settings | {"pairs": rows}, indent=1) + "\n")


def rounded(value):
    """The same with four digits that count of every fractional number."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def slug(name: str) -> str:
    """A device's name for the name of a file: NVIDIA H200 → nvidia-h200."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
