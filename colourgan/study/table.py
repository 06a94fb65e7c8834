"""A study's numbers as tables: a row a cell, a row a comparison; CSV and Parquet."""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pandas as pd

from colourgan.errors import RunError, UsageError
from colourgan.files import replacing
from colourgan.study.cells import FACTORS, HIGHER_IS_BETTER, LOWER_IS_BETTER, Cell
from colourgan.study.comparisons import Comparison, compare_all
from colourgan.study.factors import (
    SETTINGS,
    Configuration,
    as_matched,
    configuration_of,
    configuration_order,
    configurations,
    short_names,
)
from colourgan.study.statistics import numbers

COST_COLUMNS = (
    "encoder_parameters",
    "decoder_parameters",
    "discriminator_parameters",
    "flops",
    "images_per_second",
    "seconds",
    "peak_memory_mb",
)
"""The last columns of results.csv: what a cell cost. Another training of it gives others."""

MODEL, MATCHED = "model", "matched saturation"
"""Kinds of rows."""

_TEXTS = (*FACTORS, "kind", "state", "reason", "run")
_FIRST = (*FACTORS, "seed", "kind", "state", "reason", "run")
_COMPARED = {
    **dict.fromkeys(("data", "size", "metric", "a", "b"), str),
    **dict.fromkeys(("difference", "images_low", "images_high", "seeds_low", "seeds_high"), float),
    "seeds": int,
    "word": str,
}
"""Column of comparisons.csv → type."""


def rows(cells: Iterable[Cell]) -> list[dict]:
    """A row a cell, of kind MODEL, and for a GAN cell one of kind MATCHED after it.

    A row: FACTORS, "seed", "kind", "state", "reason", "run", then what `numbers` gives. MATCHED is
    the L1 parent at the GAN cell's saturation, see `as_matched`; its run is the GAN cell's. Sorted
    by factors and seed.
    """
    found = []
    for cell in sorted(cells, key=_order):
        found.append(_row(cell, MODEL))
        if cell.matched:
            found.append(_row(as_matched(cell), MATCHED))
    return found


def comparisons(cells: Iterable[Cell]) -> list[dict]:
    """A row for each pair of configurations of one data set and size, and metric with a direction.

    Each GAN configuration is compared with its MATCHED one, too, but for delta_colorfulness, which
    matching makes equal. a, b: names of both without data and size; the rest is a Comparison's:
    "difference" is b's number minus a's, "seeds" how many are paired, "word" is about b.
    """
    groups = configurations(cells)
    models = [pair for pair in combinations(groups.values(), 2) if _comparable(*pair)]
    matched = [([as_matched(c) for c in group if c.matched], group) for group in groups.values()]
    rivals = [pair for pair in matched if pair[0]]
    everyone = [*groups, *(configuration_of(rival[0]) for rival, _ in rivals)]
    names = short_names(map(_without_settings, everyone))
    found = []
    for metric in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER):
        pairs = models if metric == "delta_colorfulness" else models + rivals
        found += [_compared(each, names) for each in compare_all(pairs, metric)]
    return found


def write_tables(cells: Iterable[Cell], out: Path | str) -> None:
    """Writes results.csv, results.parquet (both `rows`) and comparisons.csv to the folder `out`.

    Their bytes depend on the cells alone, not on their order. A number that a row has not is an
    empty field. Raises RunError if they cannot be written.
    """
    cells, out = list(cells), Path(out)
    results = _results(rows(cells))
    compared = pd.DataFrame(comparisons(cells), columns=list(_COMPARED)).astype(_COMPARED)
    for name, frame in (("results.csv", results), ("comparisons.csv", compared)):
        with replacing(out / name) as part:
            frame.to_csv(part, index=False, lineterminator="\n")
    with replacing(out / "results.parquet") as part:
        results.to_parquet(part, index=False)


def read_results(out: Path | str) -> pd.DataFrame:
    """The `rows` that `write_tables` wrote to the folder `out`; numbers that are not there are NaN.

    Raises UsageError if there is no results.parquet, RunError if it cannot be read.
    """
    path = Path(out, "results.parquet")
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's errors are both
        raise RunError(f"{path} is not a study's table: make it again") from error


def _order(cell: Cell) -> tuple:
    return configuration_order(configuration_of(cell)), cell.seed


def _row(cell: Cell, kind: str) -> dict:
    about = {"seed": cell.seed, "kind": kind, "state": cell.state}
    return cell.factors | about | {"reason": cell.reason, "run": cell.run} | numbers(cell)


def _results(rows: list[dict]) -> pd.DataFrame:
    """The rows with columns and types that do not depend on which of them have numbers."""
    measured = dict.fromkeys(name for row in rows for name in row)
    measured = [name for name in measured if name not in (*_FIRST, *COST_COLUMNS)]
    columns = [*_FIRST, *measured, *COST_COLUMNS]
    types = {name: str if name in _TEXTS else float for name in columns} | {"seed": int}
    return pd.DataFrame(rows, columns=columns).astype(types)


def _comparable(a: list[Cell], b: list[Cell]) -> bool:
    return all(a[0].factors[setting] == b[0].factors[setting] for setting in SETTINGS)


def _without_settings(configuration: Configuration) -> Configuration:
    return configuration._replace(**dict.fromkeys(SETTINGS, ""))


def _compared(comparison: Comparison, names: dict[Configuration, str]) -> dict:
    images, seeds = (ends or (None, None) for ends in (comparison.images, comparison.seeds))
    return {
        "data": comparison.b.data,
        "size": comparison.b.size,
        "metric": comparison.metric,
        "a": names[_without_settings(comparison.a)],
        "b": names[_without_settings(comparison.b)],
        "difference": comparison.difference,
        "images_low": images[0],
        "images_high": images[1],
        "seeds_low": seeds[0],
        "seeds_high": seeds[1],
        "seeds": len(comparison.paired),
        "word": comparison.word,
    }
