"""A study's numbers as tables: a row a cell, a row a comparison; CSV and Parquet."""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pandas as pd

from colourgan.errors import RunError, UsageError
from colourgan.experiments.cells import HIGHER_IS_BETTER, LOWER_IS_BETTER, Cell, as_matched, numbers
from colourgan.experiments.judge import compare_all
from colourgan.files import replacing
from colourgan.study.configurations import FACTORS, Configuration, configurations, short_names
from colourgan.study.findings import COSTS

MODEL, MATCHED = "model", "matched saturation"
"""Kinds of rows."""

_TEXTS = (*FACTORS, "kind", "state", "reason", "run")
_FIRST = (*FACTORS, "seed", "kind", "state", "reason", "run")
_SHARED = ("data", "size", "limit", "generator", "discriminator")
_COMPARED = dict.fromkeys((*_SHARED, "metric", "a", "b"), str)
_COMPARED |= dict.fromkeys(("difference", "low", "high"), float) | {"seeds": int, "word": str}
"""Column of comparisons.csv → type."""


def rows(cells: Iterable[Cell]) -> list[dict]:
    """A row a cell, of kind MODEL, and for a cell with a rival one of kind MATCHED after it.

    A row: FACTORS, "seed", "kind", "state", "reason", "run", then what `numbers` gives. MATCHED is
    the rival, such as a GAN's L1 parent, at the cell's saturation, see `as_matched`; its run is the
    cell's. Sorted by factors and seed.
    """
    found = []
    for cell in (cell for group in configurations(cells).values() for cell in group):
        kinds = {MODEL: cell} | ({MATCHED: as_matched(cell)} if cell.matched else {})
        for kind, each in kinds.items():
            about = {"seed": cell.seed, "kind": kind, "state": cell.state, "reason": cell.reason}
            found.append(each.factors | about | {"run": cell.run} | numbers(each))
    return found


def comparisons(cells: Iterable[Cell]) -> list[dict]:
    """A row for each pair of configurations of one data set and size, and metric with a direction.

    Each configuration with a rival is compared with its MATCHED one, too, but for
    delta_colorfulness, which matching makes equal. a, b: names of both without data and size;
    "limit", "generator", "discriminator": the level of both, "" if they differ; the rest is a
    Comparison's: "difference" is b's number minus a's, "low" and "high" the ends of its interval
    (None for one seed), "seeds" how many are paired, "word" is about b.
    """
    groups = configurations(cells)
    pairs = [(a, b) for a, b in combinations(groups, 2) if (a.data, a.size) == (b.data, b.size)]
    models = [(groups[a], groups[b]) for a, b in pairs]
    rivals = [([as_matched(c) for c in group if c.matched], group) for group in groups.values()]
    rivals = [(rival, group) for rival, group in rivals if rival]

    def anywhere(factors: dict[str, str]) -> Configuration:
        return Configuration(**factors)._replace(data="", size="")

    everyone = [*groups.values(), *(rival for rival, _ in rivals)]
    names = short_names(anywhere(group[0].factors) for group in everyone)
    found = []
    for metric in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER):
        pairs = models if metric == "delta_colorfulness" else models + rivals
        for each in compare_all(pairs, metric):
            a, b = names[anywhere(each.a)], names[anywhere(each.b)]
            measured = each.difference, *(each.interval or (None, None)), len(each.paired)
            shared = [each.b[name] * (each.a[name] == each.b[name]) for name in _SHARED]
            row = *shared, metric, a, b, *measured, each.word
            found.append(dict(zip(_COMPARED, row, strict=True)))
    return found


def write_tables(cells: Iterable[Cell], out: Path | str) -> None:
    """Writes results.csv, results.parquet (both `rows`) and comparisons.csv to the folder `out`.

    Their bytes depend on the cells alone, not on their order. A number that a row has not is an
    empty field. Raises RunError if they cannot be written.
    """
    cells, out = list(cells), Path(out)
    results = rows(cells)
    measured = dict.fromkeys(name for row in results for name in row)
    measured = [name for name in measured if name not in (*_FIRST, *COSTS)]
    columns = [*_FIRST, *measured, *COSTS]
    # Given, so that columns and types do not depend on which rows have numbers.
    types = {name: str if name in _TEXTS else float for name in columns} | {"seed": int}
    results = pd.DataFrame(results, columns=columns).astype(types)
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
