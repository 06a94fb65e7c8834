"""Studies that are trained: killed, shared, failing, extended, and compared with work by hand."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from test_resume import KILL_AT_BATCH, KILL_AT_RENAME
from tiny_runs import colourgan, make_data, make_pictures

from colourgan.cli import main
from colourgan.errors import RunError, UsageError
from colourgan.evaluate import evaluate
from colourgan.learners import gan_finetune, pretrain
from colourgan.models import load_model
from colourgan.study import defaults, read_arguments, status_of, study
from colourgan.study.costs import flops, peak_memory
from colourgan.study.table import COST_COLUMNS

TOY = {
    "encoders": ["resnet20@none", "resnet20@packaged"],
    "sizes": [16],
    "seeds": 2,
    "decoders": ["8"],
    "epochs": 2,
    "batch_size": 8,
    "gan_epochs": 1,
    "gan_batch_size": 8,
    "d_width": 4,
    "device": "cpu",
}
CELLS = 8


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data"), train=16, test=6))


@pytest.fixture(scope="module")
def whole(one_thread, data, tmp_path_factory):
    """The folder of a study in one go."""
    out = tmp_path_factory.mktemp("studies") / "toy"
    begin(out)
    study("toy", data=[data], out=out, **TOY)
    return out


def begin(out):
    """Makes a study of one thread a training, whatever machine it runs on."""
    out.mkdir(parents=True, exist_ok=True)
    arguments = defaults() | {"name": "toy", "out": None, "threads": 1}
    (out / "study.json").write_text(json.dumps(arguments, default=str))


def command(data, out, *more, **changed):
    """The command line of the toy study."""
    options = TOY | {"data": [data], "out": out} | changed
    words = (
        (f"--{k.replace('_', '-')}", ",".join(map(str, v)) if isinstance(v, list) else str(v))
        for k, v in options.items()
    )
    return ["study", "toy", *(word for pair in words for word in pair), *more]


def results(out):
    """results.csv without what a cell cost."""
    table = pd.read_csv(out / "results.csv")
    return table.drop(columns=[name for name in COST_COLUMNS if name in table])


def trained(*texts):
    """The trainings that were announced, without their numbers."""
    return [line for text in texts for line in re.findall(r"^\d+/\d+: (.*?seed \d+)", text, re.M)]


def test_a_study_leaves_runs_tables_a_picture_and_a_page(whole):
    assert {path.name for path in whole.iterdir()} >= {
        "runs", "study.json", "results.csv", "results.parquet", "report.html", "summary.png",
    }  # fmt: skip
    table = results(whole)
    assert (table.kind == "model").sum() == CELLS
    assert (table.kind == "matched saturation").sum() == CELLS / 2
    assert (table.state == "done").all() and table.l1.between(0, 1).all()
    for run in table.run.unique():
        assert (whole / "runs" / run / "model.safetensors").is_file()
    costs = pd.read_csv(whole / "results.csv").query("kind == 'model'")
    assert (costs.seconds > 0).all() and (costs.flops > 1e5).all()
    assert costs.peak_memory_mb.between(50, 50_000).all()
    assert costs.discriminator_parameters.notna().sum() == CELLS / 2


def test_a_cells_numbers_are_those_of_the_same_trainings_by_hand(whole, data, tmp_path):
    common = {"batch_size": 8, "seed": 1, "device": "cpu"}
    pretrain(
        "resnet20@packaged", data, 16, epochs=2, frozen_epochs=0, encoder_lr_ratio=1.0,
        decoder_channels=8, out=tmp_path / "l1", **common,
    )  # fmt: skip
    gan_finetune(tmp_path / "l1", epochs=1, d_width=4, out=tmp_path / "gan", **common)
    models = {name: load_model(tmp_path / name) for name in ("l1", "gan")}
    found = evaluate(models, data, limit=1000, progress=False)
    table = results(whole).query("encoder == 'resnet20@packaged' and seed == 1")
    kept = {(row.method, row.kind): row for row in table.itertuples()}
    for row in found.rows[1:3]:
        cell = kept[row["name"], "model"]
        for metric in ("l1", "psnr", "ssim", "delta_e", "colorfulness", "within_5"):
            assert getattr(cell, metric) == pytest.approx(row[metric], rel=1e-6), metric


@pytest.mark.parametrize(
    "prelude",
    [KILL_AT_BATCH.format(at=14), KILL_AT_RENAME.format(at=40)],
    ids=["training", "writing"],
)
def test_a_killed_study_goes_on_to_the_same_results(prelude, whole, data, tmp_path):
    out = tmp_path / "killed"
    begin(out)
    ended = colourgan(*command(data, out), prelude=prelude)
    assert ended.returncode == -9
    assert not (out / "results.csv").exists()
    study("toy", data=[data], out=out, **TOY)
    pd.testing.assert_frame_equal(results(out), results(whole), check_exact=True)


def test_two_commands_and_side_by_side_trainings_share_the_work(whole, data, tmp_path):
    out = tmp_path / "shared"
    begin(out)
    code = "from colourgan.cli import main\nif __name__ == '__main__': main()"
    script = tmp_path / "script.py"
    script.write_text(code)
    calls = [command(data, out, "--jobs", "2"), command(data, out)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), *call],
            stderr=subprocess.PIPE, text=True,
        )
        for call in calls
    ]  # fmt: skip
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    logs = [path.read_text() for path in (out / "logs").iterdir()]
    done = trained(*errors, *logs)
    assert len(done) == len(set(done)) == CELLS
    pd.testing.assert_frame_equal(results(out), results(whole), check_exact=True)


def alive(group):
    """Whether a process group has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_all_processes_and_loses_nothing(data, tmp_path):
    out = tmp_path / "interrupted"
    begin(out)
    script = tmp_path / "script.py"
    script.write_text("from colourgan.cli import main\nif __name__ == '__main__': main()")
    words = [sys.executable, "-W", "ignore", str(script), *command(data, out, "--jobs", "2")]
    process = subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it for &
    )
    while not any(out.glob("runs/*/trained.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("colourgan: interrupted: what was finished is kept")
    assert "Traceback" not in error
    for _ in range(100):
        if not alive(process.pid):
            return
        time.sleep(0.1)
    pytest.fail("a process of the study is left")


def test_what_is_finished_is_kept_and_more_can_be_asked_for(whole, data, tmp_path, capsys):
    before = results(whole)
    study("toy", data=[data], out=whole, **TOY)
    assert trained(capsys.readouterr().err) == []
    study("toy", data=[data], out=whole, **TOY | {"seeds": 3, "encoders": ["resnet20@none"]})
    done = trained(capsys.readouterr().err)
    assert len(done) == 2 and all(line.endswith("seed 2") for line in done)
    assert len(results(whole)) == 3 * 3
    study("toy", data=[data], out=whole, **TOY)
    pd.testing.assert_frame_equal(results(whole), before, check_exact=True)


def test_a_failed_cell_is_reported_and_the_rest_goes_on(data, tmp_path, capsys):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"nothing")
    small = TOY | {"seeds": 1, "encoders": [f"resnet20@{weights}", "resnet20@none"]}
    out = tmp_path / "failing"
    with pytest.raises(RunError, match=r"2 of 4 trainings failed.*report of the others"):
        study("toy", data=[data], out=out, **small)
    table = pd.read_csv(out / "results.csv").query("kind == 'model'")
    assert sorted(table.state) == ["done", "done", "failed", "failed"]
    reasons = table.query("state == 'failed'").reason
    assert reasons.str.contains("weights.pt").all()
    assert "weights.pt" in (out / "report.html").read_text()
    lines = status_of(read_arguments(out), out)
    assert lines[0].startswith("2 of 4 cells done") and len(lines) == 3
    capsys.readouterr()
    with pytest.raises(RunError):  # what failed is tried again, once; what is done is not
        study("toy", data=[data], out=out, **small)
    assert len(trained(capsys.readouterr().err)) == 1


def test_an_encoder_is_trained_first_and_its_weights_are_used(data, tmp_path):
    small = {"seeds": 1, "methods": ["l1"], "encoder_epochs": 1, "encoder_size": 16}
    given = TOY | small | {"encoders": [f"resnet20@trained:{data}", "resnet20@adapted:packaged"]}
    out = tmp_path / "encoders"
    study("toy", data=[data], out=out, **given)
    table = results(out)
    assert (table.state == "done").all() and len(table) == 2
    origins = [load_model(out / "runs" / run).origin["weights"] for run in table.run]
    assert origins == ["encoder.safetensors"] * 2
    moved = tmp_path / "moved"
    out.rename(moved)
    study("toy", data=[data], out=moved, **given | {"seeds": 2})
    assert len(results(moved)) == 4


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["colourgan", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


def test_status_and_report_from_the_command_line(whole, call):
    code, out, _ = call("study", "toy", "--out", whole, "--status")
    assert code == 0 and out.startswith(f"{CELLS} of {CELLS} cells done")
    (whole / "report.html").unlink()
    code, out, err = call("study", "toy", "--out", whole, "--report")
    assert code == 0 and str(whole / "report.html") in err
    assert (whole / "report.html").is_file()


def test_status_before_the_end_tells_what_is_left(whole, data, call):
    code, out, _ = call("study", "toy", "--out", whole, "--seeds", "4", "--status")
    assert code == 0 and re.match(r"10 of 16 cells done .* left$", out.strip())
    assert read_arguments(whole)["seeds"] == 2  # asking changes nothing


WRONG = {
    "encoder": (["--encoders", "resnt20"], "did you mean 'resnet20'"),
    "comma": (["--methods", "l1,,gan"], "one comma"),
    "size": (["--sizes", "big"], "--sizes big"),
    "jobs": (["--jobs", "0"], "jobs"),
    "test": (["--test-limit", "1"], "2 images"),
    "distance": (["--distances", "fit"], "fid"),
    "report of nothing": (["--report"], "holds no study"),
    "precision": (["--precision", "int8"], "bf16"),
}


@pytest.mark.parametrize("arguments, expected", WRONG.values(), ids=WRONG)
def test_wrong_use_is_one_line_and_leaves_nothing(arguments, expected, call, data, tmp_path):
    out = tmp_path / "wrong"
    code, _, err = call(*command(data, out), *arguments)
    assert code == 2 and expected in err and err.count("\n") == 1
    assert not out.exists()


def test_a_folder_without_a_study_says_so(tmp_path):
    with pytest.raises(UsageError, match="holds no study"):
        read_arguments(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_note_is_one_line(text, call, tmp_path):
    (tmp_path / "study.json").write_text(text)
    code, _, err = call("study", "toy", "--out", tmp_path, "--status")
    assert code == 1 and "study.json is damaged" in err and err.count("\n") == 1


def test_status_of_a_study_that_is_not_there(call, tmp_path):
    code, out, err = call("study", "toy", "--out", tmp_path, "--status")
    assert (code, out) == (2, "") and "holds no study" in err and err.count("\n") == 1


def test_photos_that_were_added_are_measured_and_old_cells_with_them(data, tmp_path, capsys):
    photos = make_data(tmp_path / "photos", train=16, test=6)
    small = TOY | {"seeds": 1, "methods": ["l1"], "encoders": ["resnet20@none"], "epochs": 1}
    out = tmp_path / "growing"
    study("toy", data=[str(photos)], out=out, **small)
    before = results(out).l1.tolist()
    make_pictures(photos / "test", 8, seed=5)
    capsys.readouterr()
    study("toy", data=[str(photos)], out=out, **small)
    assert "training images" not in capsys.readouterr().err  # nothing is trained again
    assert results(out).l1.tolist() != before


def test_when_nothing_succeeds_the_reason_is_said(data, tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"nothing")
    given = TOY | {"seeds": 1, "encoders": [f"resnet20@{weights}"]}
    with pytest.raises(
        RunError, match=r"2 of 2 trainings failed, the first: .*weights\.pt"
    ) as caught:
        study("toy", data=[data], out=tmp_path / "failing", **given)
    assert "report" not in str(caught.value)


def test_settings_of_the_last_call_are_kept_and_said(whole, call):
    _, _, err = call("study", "toy", "--out", whole, "--report")
    assert err.startswith(
        f"{whole} was last called as: colourgan study toy --encoders resnet20@none"
    )


def test_flops_are_two_a_multiplication():
    class One(torch.nn.Conv2d):
        pass

    convolution = One(1, 2, 3, padding=1, bias=False)
    assert flops(convolution, 8) == 2 * 9 * 2 * 8 * 8


def test_peak_memory_forgets_an_earlier_peak():
    if not Path("/proc/self/clear_refs").exists():
        return
    with peak_memory("cpu") as large:
        torch.ones(50_000_000).sum()
    with peak_memory("cpu") as small:
        pass
    assert large["peak_memory_mb"] - small["peak_memory_mb"] > 150
