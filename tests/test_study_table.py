"""colourgan.study.table: the rows of a study, and the files that hold them."""

import random

import pandas as pd
import pytest
from tiny_cells import REASON, SEEDS, tiny_cell, tiny_grid, tiny_limits

from colourgan.errors import RunError, UsageError
from colourgan.experiments.cells import FAILED, HIGHER_IS_BETTER, LOWER_IS_BETTER, as_matched
from colourgan.experiments.judge import compare
from colourgan.metrics import summarize
from colourgan.study.configurations import FACTORS
from colourgan.study.findings import COSTS
from colourgan.study.table import comparisons, read_results, rows, write_tables

TEXTS = [*FACTORS, "kind", "state", "reason", "run"]


def written(cells, folder):
    write_tables(cells, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_csv(path):
    texts = dict.fromkeys(TEXTS, "str")
    numbers = [name for name in pd.read_csv(path, nrows=0).columns if name not in TEXTS]
    empty = {name: [""] for name in numbers}
    return pd.read_csv(
        path, dtype=texts, keep_default_na=False, na_values=empty, float_precision="round_trip"
    )


def test_a_row_has_the_factors_and_all_numbers_of_its_cell():
    cell = tiny_cell("resnet20@none", "l1", 1)
    (row,) = rows([cell])
    about = {"seed": 1, "kind": "model", "state": "done", "reason": "", "run": cell.run}
    assert row == cell.factors | about | summarize(cell.values) | cell.distances | cell.costs


def test_a_gan_cell_has_a_row_more_at_matched_saturation():
    cell = tiny_cell(method="gan:hinge")
    model, matched = rows([cell])
    assert (model["kind"], matched["kind"]) == ("model", "matched saturation")
    assert matched["method"] == "l1 as colorful as gan:hinge"
    same = [*set(FACTORS) - {"method"}, "seed", "run", "state"]
    assert [matched[name] for name in same] == [model[name] for name in same]
    values = {name: matched[name] for name in summarize(cell.matched)}
    assert values == summarize(cell.matched) and values["l1"] != model["l1"]
    assert matched["frechet"] == cell.matched_distances["frechet"] != model["frechet"]
    assert not {*COSTS} & matched.keys()


def test_a_pretrained_cell_has_random_weights_as_rival():
    cell = tiny_cell("resnet20", rival={"encoder": "resnet20@none"}, limit="500")
    model, matched = rows([cell])
    assert model["limit"] == matched["limit"] == "500" and model["encoder"] == "resnet20"
    assert matched["encoder"] == "resnet20@none as colorful as resnet20"
    assert (matched["method"], matched["discriminator"]) == ("l1", "none")
    assert (model["generator"], matched["generator"]) == ("dynamic_unet", "dynamic_unet")


def test_a_cell_that_failed_keeps_its_row_and_its_reason():
    cell = tiny_cell(method="gan", state=FAILED, reason='said "no",\nand then nothing')
    (row,) = rows([cell])
    assert (row["state"], row["reason"]) == ("failed", cell.reason) and "l1" not in row


def test_rows_are_sorted_by_factors_seed_and_kind_with_numbers_as_numbers():
    sizes, seeds, methods = ("8", "32", "128"), (2, 10), ("l1", "gan")
    cells = [tiny_cell("a", m, n, size=s) for s in sizes for m in methods for n in seeds]
    random.Random(0).shuffle(cells)
    matched = "l1 as colorful as gan"
    each = [("l1", 2), ("l1", 10), ("gan", 2), (matched, 2), ("gan", 10), (matched, 10)]
    expected = [(size, method, seed) for size in sizes for method, seed in each]
    assert [(row["size"], row["method"], row["seed"]) for row in rows(cells)] == expected


def test_the_files_depend_on_the_cells_and_not_on_their_order(tmp_path):
    cells = tiny_grid(24)
    first = written(cells, tmp_path / "a")
    assert first.keys() == {"results.csv", "results.parquet", "comparisons.csv"}
    random.Random(1).shuffle(cells)
    assert written(iter(cells), tmp_path / "b") == first
    assert b"\r" not in first["results.csv"] + first["comparisons.csv"]


def test_csv_and_parquet_hold_the_same_columns_types_and_numbers(tmp_path):
    cells = [*tiny_grid(12), tiny_cell("b", state=FAILED, reason='a "quoted",\nlong reason')]
    write_tables(cells, tmp_path)
    results = read_results(tmp_path)
    pd.testing.assert_frame_equal(results, read_csv(tmp_path / "results.csv"))
    expected = [{name: None if v != v else v for name, v in row.items()} for row in rows(cells)]
    for row, read in zip(expected, results.to_dict("records"), strict=True):
        assert {name: value for name, value in read.items() if value == value} == row
    assert results.columns[-len(COSTS) :].tolist() == list(COSTS)
    numbers = results.drop(columns=[*TEXTS, "seed"])
    assert {str(kind) for kind in numbers.dtypes} == {"float64"}
    assert results["seed"].dtype == "int64"


def test_the_last_columns_are_costs_even_where_nothing_is_known(tmp_path):
    write_tables([tiny_cell(state=FAILED)], tmp_path)
    results = read_results(tmp_path)
    assert results.columns.tolist() == [
        *FACTORS,
        "seed",
        "kind",
        "state",
        "reason",
        "run",
        *COSTS,
    ]
    assert results["size"].tolist() == ["32"] and results["reason"].tolist() == [REASON]
    assert results["flops"].isna().all() and results["flops"].dtype == float
    assert len(pd.read_csv(tmp_path / "comparisons.csv")) == 0
    write_tables([], tmp_path / "none")
    assert len(read_results(tmp_path / "none")) == 0


def test_every_pair_of_one_data_set_is_compared_by_every_metric_with_a_direction(tmp_path):
    cells = tiny_grid(48)
    write_tables(cells, tmp_path)
    table = pd.read_csv(tmp_path / "comparisons.csv")
    metrics = {"l1", "psnr", "ssim", "delta_e", "delta_colorfulness", "within_5", "frechet"}
    assert set(table["metric"]) == metrics <= {*LOWER_IS_BETTER, *HIGHER_IS_BETTER}
    per_place = table.groupby(["data", "size", "metric"]).size().unstack()
    rivals = dict.fromkeys(metrics, 4) | {"delta_colorfulness": 0}
    for metric in metrics:  # 8 configurations: 28 pairs, and 4 GANs beside their rivals
        assert per_place[metric].tolist() == [28 + rivals[metric]] * 2
    assert not table.duplicated(["data", "metric", "a", "b"]).any()
    assert table["seeds"].tolist().count(2) > 0  # the failed cell is not paired


def test_a_row_of_comparisons_says_what_compare_does():
    a = [tiny_cell("a", "gan", seed, level=0.1) for seed in SEEDS]
    b = [tiny_cell("b", "gan", seed, level=0.12) for seed in SEEDS]
    table = {(row["metric"], row["a"], row["b"]): row for row in comparisons([*b, *a])}
    row, found = table["l1", "a gan", "b gan"], compare(a, b, "l1")
    assert (row["data"], row["size"], row["seeds"]) == ("cifar10", "32", 3)
    assert row["word"] == found.word == "worse"
    assert row["difference"] == pytest.approx(found.difference, abs=1e-12)
    assert (row["low"], row["high"]) == found.interval
    rival = compare([as_matched(cell) for cell in b], b, "ssim")
    row = table["ssim", "b l1 as colorful as gan", "b gan"]
    assert row["difference"] == pytest.approx(rival.difference, abs=1e-12)


def test_comparisons_say_what_both_sides_are_trained_on(tmp_path):
    write_tables(tiny_limits(("l1", "gan"), (500, 2000)), tmp_path)
    table = pd.read_csv(tmp_path / "comparisons.csv", dtype=str, keep_default_na=False)
    l1 = table[table["metric"] == "l1"].set_index(["a", "b"])
    pair = l1.loc["resnet20@none l1, 500 images", "resnet20 l1, 500 images"]
    assert (pair["limit"], pair["generator"], pair["discriminator"]) == (
        "500", "dynamic_unet", "none",
    )  # fmt: skip
    assert l1.loc["resnet20 l1, 500 images", "resnet20 gan, 500 images"]["discriminator"] == ""
    assert l1.loc["resnet20 l1, 500 images", "resnet20 l1, 2,000 images"]["limit"] == ""
    rivals = [a for a, _ in l1.index if " as colorful as " in a]
    assert sorted(rivals) == [
        "resnet20 l1 as colorful as gan, 2,000 images",
        "resnet20 l1 as colorful as gan, 500 images",
        "resnet20@none as colorful as resnet20 l1, 2,000 images",
        "resnet20@none as colorful as resnet20 l1, 500 images",
        "resnet20@none l1 as colorful as gan, 2,000 images",
        "resnet20@none l1 as colorful as gan, 500 images",
    ]
    results = pd.read_csv(tmp_path / "results.csv", dtype=str, keep_default_na=False)
    assert results["limit"].tolist() == ["500"] * 21 + ["2000"] * 21
    models = results[results["kind"] == "model"]
    assert set(zip(models["method"], models["discriminator"], strict=True)) == {
        ("l1", "none"), ("gan", "patchgan"),
    }  # fmt: skip


def test_one_seed_has_no_ends_and_decides_nothing(tmp_path):
    write_tables([tiny_cell("a", level=0.1), tiny_cell("b", level=0.2)], tmp_path)
    table = pd.read_csv(tmp_path / "comparisons.csv")
    assert table.columns.tolist() == [
        *("data", "size", "limit", "generator", "discriminator", "metric", "a", "b"),
        *("difference", "low", "high", "seeds", "word"),
    ]
    assert table["low"].isna().all() and table["high"].isna().all() and len(table) == 7
    assert set(table["seeds"]) == {1} and set(table["word"]) == {"not distinguishable"}


def test_a_table_that_is_not_there_or_broken_is_a_plain_error(tmp_path):
    with pytest.raises(UsageError, match=r"there is no file .*results\.parquet"):
        read_results(tmp_path)
    (tmp_path / "results.parquet").write_bytes(b"not a table at all")
    with pytest.raises(RunError, match=r"results\.parquet is not a study's table: make it again"):
        read_results(tmp_path)
