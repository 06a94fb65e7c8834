"""A finished study as tables for notebooks and RESULTS.md: python bench/collect.py STUDY NAME

STUDY: a study's folder. Writes nbs/results/NAME.csv (a row a model and seed, with rows of the
rival at matched saturation), NAME-comparisons.csv and NAME-grey.csv (what no color scores), without
the columns that belong to one machine, and prints the means as a Markdown table.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from colourgan.evaluate import load_images, measure_grey
from colourgan.study import read_study, report_of
from colourgan.study.configurations import FACTORS

RESULTS = Path(__file__).parents[1] / "nbs" / "results"
MEASURED = ("l1", "psnr", "ssim", "delta_e", "colorfulness", "colorfulness_true", "within_5")
COMPARED = ("l1", "delta_e", "colorfulness")


def main(folder: Path, name: str) -> None:
    plan = read_study(folder)
    report_of(plan)
    RESULTS.mkdir(exist_ok=True)
    results = pd.read_csv(folder / "results.csv")
    if not (results["state"] == "done").all():
        sys.exit(f"{folder} is not finished: run the study again")
    results = results[[*FACTORS, "seed", "kind", "state", *MEASURED]].round(5)
    results.to_csv(RESULTS / f"{name}.csv", index=False, lineterminator="\n")
    compared = pd.read_csv(folder / "comparisons.csv")
    compared = compared[compared["metric"].isin(COMPARED)].round(6)
    compared.to_csv(RESULTS / f"{name}-comparisons.csv", index=False, lineterminator="\n")
    rows = []
    for data, size in results[["data", "size"]].drop_duplicates().itertuples(index=False):
        images = load_images(data, size, plan.test_limit, data_dir=plan.data_dir, progress=False)
        row = measure_grey(images).row()
        rows.append({"data": data, "size": size, **{key: row[key] for key in MEASURED}})
    pd.DataFrame(rows).round(5).to_csv(
        RESULTS / f"{name}-grey.csv", index=False, lineterminator="\n"
    )
    print(table(results))


def table(results: pd.DataFrame) -> str:
    """Mean ± standard deviation over the seeds, a line a configuration, as Markdown."""
    varied = [f for f in FACTORS if results[f].nunique() > 1] + ["kind"]
    lines = ["| " + " | ".join([*varied, "seeds", "L1", "ΔE", "colorfulness"]) + " |"]
    lines.append("|" + "---|" * (len(varied) + 4))
    for key, group in results.groupby(varied, sort=False, dropna=False):
        key = key if isinstance(key, tuple) else (key,)
        cells = [
            f"{group[metric].mean():{style}} ± {group[metric].std():{style}}"
            for metric, style in (("l1", ".4f"), ("delta_e", ".2f"), ("colorfulness", ".1f"))
        ]
        lines.append("| " + " | ".join([*map(str, key), str(len(group)), *cells]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("name")
    given = parser.parse_args()
    main(given.study, given.name)
