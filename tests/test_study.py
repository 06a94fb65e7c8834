"""Studies that are trained for real: broken off, failing, extended, and compared with hand work."""

import itertools
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny_runs import make_data, make_pictures

from colourgan.cli import main
from colourgan.errors import RunError, UsageError
from colourgan.evaluate import evaluate
from colourgan.learners import gan_finetune, pretrain, training
from colourgan.models import load_model
from colourgan.plans import Study
from colourgan.study import command_line, read_study, report_of, status_of, study
from colourgan.study.findings import COSTS
from colourgan.trainings import GanFinetune, Pretrain, TrainEncoder

TOY = Study(
    name="toy",
    encoders=("resnet20@none",),
    sizes=(16,),
    seeds=2,
    decoders=("8",),
    base=Pretrain(frozen_epochs=0, epochs=2, batch_size=8),
    gan=GanFinetune(epochs=1, batch_size=8, d_width=4),
    device="cpu",
)
# The same on the command line.
OPTIONS = (
    "--encoders resnet20@none --sizes 16 --seeds 2 --decoders 8 --epochs 2 --batch-size 8 "
    "--gan-epochs 1 --gan-batch-size 8 --gan-d-width 4"
)


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
    page = study(TOY, data=(data,), out=out)
    assert page == out / "report.html" and page.is_file()
    return out


@pytest.fixture
def trained(caplog):
    """Gives the names of the trainings that were announced since it was asked last."""
    caplog.set_level(logging.INFO, "colourgan")

    def since():
        texts = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [found[1] for text in texts if (found := re.match(r"\d+/\d+: (.*seed \d+)", text))]

    return since


def results(out):
    """results.csv without what a model cost."""
    return pd.read_csv(out / "results.csv").drop(columns=list(COSTS), errors="ignore")


def test_a_study_leaves_runs_tables_a_picture_and_a_page(whole):
    assert {path.name for path in whole.iterdir()} == {
        "runs", "study.json", "results.csv", "results.parquet", "comparisons.csv", "report.html",
        "summary.png",
    }  # fmt: skip
    table = results(whole)
    assert (table.kind == "model").sum() == 4
    assert (table.kind == "matched saturation").sum() == 2
    assert (table.state == "done").all() and table.l1.between(0, 1).all()
    for run in table.run.unique():
        assert re.fullmatch(r"(pretrain|gan-finetune)-[0-9a-f]{12}", run)
        assert (whole / "runs" / run / "model.safetensors").is_file()
    costs = pd.read_csv(whole / "results.csv").query("kind == 'model'")
    assert (costs.seconds > 0).all() and (costs.flops > 1e5).all()
    assert costs.peak_memory_mb.between(50, 50_000).all()
    assert costs.discriminator_parameters.notna().sum() == 2


def test_a_cells_numbers_are_those_of_the_same_trainings_by_hand(whole, data, tmp_path):
    common = {"batch_size": 8, "seed": 1, "device": "cpu"}
    pretrain(
        encoder="resnet20@none", data=data, size=16, epochs=2, frozen_epochs=0,
        encoder_lr_ratio=1.0, decoder_channels=8, out=tmp_path / "l1", **common,
    )  # fmt: skip
    gan_finetune(model=tmp_path / "l1", epochs=1, d_width=4, out=tmp_path / "gan", **common)
    models = {name: load_model(tmp_path / name) for name in ("l1", "gan")}
    found = evaluate(models, data, limit=1000, progress=False)
    kept = {(row.method, row.kind): row for row in results(whole).query("seed == 1").itertuples()}
    for row in found.rows[1:3]:
        cell = kept[row["name"], "model"]
        for metric in ("l1", "psnr", "ssim", "delta_e", "colorfulness", "within_5"):
            assert getattr(cell, metric) == pytest.approx(row[metric], rel=1e-6), metric


def test_a_study_that_was_broken_off_goes_on_to_the_same_results(
    whole, data, tmp_path, monkeypatch, trained
):
    count, after = itertools.count(1), training.Progress.after_batch

    def interrupt(self):
        after(self)
        if self.training and next(count) == 3:  # in the second epoch of the first training
            raise KeyboardInterrupt

    out = tmp_path / "broken"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Progress, "after_batch", interrupt)
        study(TOY, data=(data,), out=out)
    assert not (out / "results.csv").exists()
    assert len(trained()) == 1
    # It may move meanwhile, and so may its images.
    out = out.rename(tmp_path / "moved")
    images = make_data(tmp_path / "images", train=16, test=6)
    study(TOY, data=(str(images),), out=out)
    assert len(trained()) == 4
    found, expected = (results(each).drop(columns="data") for each in (out, whole))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_what_is_finished_is_kept_and_more_can_be_asked_for(whole, data, trained):
    before = results(whole)
    study(TOY, data=(data,), out=whole)
    assert trained() == []
    study(TOY, data=(data,), out=whole, methods=("gan",))
    assert trained() == [] and set(results(whole).method) == {"gan", "l1 as colorful as gan"}
    study(TOY, data=(data,), out=whole, methods=("l2", "l1"), seeds=1)
    assert trained() == [f"resnet20@none l2 {data} 16 8, seed 0"]
    assert list(results(whole).method) == ["l1", "l2", "l1 as colorful as l2"]
    study(TOY, data=(data,), out=whole)
    pd.testing.assert_frame_equal(results(whole), before, check_exact=True)


def test_a_limit_beyond_the_data_is_refused(data, tmp_path):
    given = replace(TOY, data=(data,), methods=("l1",), limits=(8, 500), out=tmp_path / "limits")
    with pytest.raises(UsageError, match=r"--limits 500: .* has \d+ training images beside those"):
        study(given)
    assert not given.out.exists()


def test_limits_are_trained_equally_long_and_drawn(data, tmp_path):
    plan = replace(
        TOY, data=(data,), seeds=1, methods=("l1",), limits=(8, 15), steps=4,
        encoders=("resnet20@packaged", "resnet20@none"), base=replace(TOY.base, batch_size=4),
        out=tmp_path / "limits",
    )  # fmt: skip
    page = study(plan).read_text()
    table = results(plan.out)
    models = table[table.kind == "model"]
    assert len(models) == 4 and (models.state == "done").all()
    for row in models.itertuples():
        config = json.loads((plan.out / "runs" / row.run / "config.json").read_text())
        assert config["arguments"]["limit"] == row.limit
        assert config["arguments"]["epochs"] == {8: 2, 15: 1}[row.limit]
        assert config["found"]["train_images"] == row.limit  # one of 16 validates
    matched = table[table.kind == "matched saturation"]
    assert set(matched.encoder) == {"resnet20@none as colorful as resnet20@packaged"}
    assert sorted(matched.limit) == [8, 15] and set(matched.method) == {"l1"}
    assert "How many training images" in page and (plan.out / "limits.png").is_file()
    study(plan, limits=(15,))
    assert not (plan.out / "limits.png").exists()
    assert set(results(plan.out).encoder) == {*plan.encoders}  # nothing is matched any more


def test_generators_and_discriminators_are_trained_and_compared(data, tmp_path):
    plan = replace(
        TOY, data=(data,), seeds=1, methods=("l1", "l2+gan"), base=replace(TOY.base, epochs=1),
        generators=("dynamic_unet", "pix2pix_unet"), out=tmp_path / "generators",
        discriminators=("patchgan", "pixelgan:none"),
    )  # fmt: skip
    study(plan)
    table = results(plan.out)
    models = table[table.kind == "model"].fillna("")
    assert len(models) == 2 * (1 + 2) and (models.state == "done").all()
    for row in models.itertuples():
        config = json.loads((plan.out / "runs" / row.run / "config.json").read_text())
        asked, unet = config["arguments"], row.generator == "dynamic_unet"
        assert row.encoder == ("resnet20@none" if unet else "none")
        assert row.decoder == ("8" if unet else "none")
        if row.method == "l1":
            assert config["command"] == ("pretrain" if unet else "train-generator")
            assert asked["epochs"] == 1 and row.discriminator == "none"
        else:
            opponent = f"{asked['discriminator']}:{asked['d_norm']}"
            assert opponent == {"patchgan": "patchgan:batch"}.get(
                row.discriminator, row.discriminator
            )
    matched = table[table.kind == "matched saturation"]
    assert list(matched.method) == ["l1 as colorful as l2+gan"] * 4
    assert set(matched.discriminator) == {*plan.discriminators}
    costs = pd.read_csv(plan.out / "results.csv").query("kind == 'model'")
    assert costs.generator_parameters.notna().sum() == 3
    assert costs.encoder_parameters.notna().sum() == 3


def test_options_in_whose_place_others_are_given_are_not_told(data):
    plan = replace(TOY, base=replace(TOY.base, limit=9), limits=(8, 16), steps=4)
    line = command_line(plan)
    assert "--limits 8,16" in line and "--steps 4" in line
    assert "--limit " not in line and "--epochs" not in line
    assert "--limit 9" in command_line(replace(plan, limits=()))
    assert "--epochs 2" in command_line(replace(plan, steps=None))
    assert "--gan-epochs 1" in line


def test_a_failed_training_is_reported_and_the_rest_goes_on(data, tmp_path, trained):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"nothing")
    plan = replace(
        TOY, data=(data,), seeds=1, encoders=(f"resnet20@{weights}", "resnet20@none"),
        gan=replace(TOY.gan, d_steps=5), out=tmp_path / "failing",
    )  # fmt: skip
    # Two by the weights; in the other GAN, of 2 batches, the generator would not take a step.
    with pytest.raises(RunError, match=r"3 of 4 trainings failed.*report of the others"):
        study(plan)
    table = results(plan.out).query("kind == 'model'").set_index(["encoder", "method"])
    assert dict(table.state) == {
        (plan.encoders[0], "l1"): "failed",
        (plan.encoders[0], "gan"): "failed",
        ("resnet20@none", "l1"): "done",
        ("resnet20@none", "gan"): "failed",
    }
    reasons = table.reason.dropna()
    assert len(reasons) == 3 and reasons[plan.encoders[0]].str.contains("weights.pt").all()
    never = "the generator would never train"
    assert reasons["resnet20@none", "gan"].startswith(never)
    assert pd.isna(table.l1["resnet20@none", "gan"])
    page = (plan.out / "report.html").read_text()
    assert "weights.pt" in page and never in page
    lines = status_of(read_study(plan.out))
    assert lines[0] == "1 of 4 models done (1 of 4 trainings), 3 failed"
    assert len(lines) == 4 and never in lines[-1]
    trained()
    with pytest.raises(RunError):  # what failed is tried again, once; what is done is not
        study(plan)
    assert [name.split()[1] for name in trained()] == ["l1", "gan"]


def test_when_nothing_succeeds_the_reason_is_said(data, tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"nothing")
    given = {"data": (data,), "seeds": 1, "encoders": (f"resnet20@{weights}",)}
    with pytest.raises(RunError) as caught:
        study(TOY, **given, out=tmp_path / "failing")
    assert re.search(r"2 of 2 trainings failed, the first: .*weights\.pt", str(caught.value))
    assert "report of" not in str(caught.value)
    with pytest.raises(UsageError, match="no finished model"):
        report_of(read_study(tmp_path / "failing"))


def test_an_encoder_is_trained_first_and_its_weights_are_used(data, tmp_path):
    plan = replace(
        TOY, data=(data,), seeds=1, methods=("l1",), base=replace(TOY.base, epochs=1),
        encoders=(f"resnet20@trained:{data}", "resnet20@adapted:packaged"),
        encoder=TrainEncoder(epochs=1, size=16),
    )  # fmt: skip
    out = tmp_path / "encoders"
    study(plan, out=out)
    table = results(out)
    assert (table.state == "done").all() and len(table) == 2
    origins = [load_model(out / "runs" / run).origin["weights"] for run in table.run]
    assert origins == ["encoder.safetensors"] * 2
    moved = out.rename(tmp_path / "moved")
    assert status_of(replace(plan, out=moved, seeds=2))[0].startswith("2 of 4 models done (4 of 6")
    assert read_study(moved).out == moved


def test_photos_that_were_added_are_measured_and_nothing_is_trained_again(tmp_path, trained):
    photos = make_data(tmp_path / "photos", train=16, test=6)
    plan = replace(
        TOY, data=(str(photos),), seeds=1, methods=("l1",), base=replace(TOY.base, epochs=1),
        out=tmp_path / "growing",
    )  # fmt: skip
    study(plan)
    before = results(plan.out).l1.tolist()
    make_pictures(photos / "test", 8, seed=5)
    assert len(trained()) == 1
    study(plan)
    assert results(plan.out).l1.tolist() != before
    assert "frechet" not in results(plan.out)
    made = sorted((plan.out / "runs").glob("*/model.safetensors"))
    written = [model.stat().st_mtime_ns for model in made]
    assert status_of(replace(plan, distances=("frechet",)))[0].startswith("0 of 1")
    study(plan, distances=("frechet",), feature_encoder="resnet20@packaged")
    assert results(plan.out).frechet.gt(0).all()
    assert [model.stat().st_mtime_ns for model in made] == written


def test_options_are_values_or_names(tmp_path):
    with pytest.raises(TypeError, match=r"no option 'epochs'"):
        study(name="toy", epochs=3)
    with pytest.raises(UsageError, match="needs a name"):
        study(encoders=("resnet20@none",), out=tmp_path)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------ the command line


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["colourgan", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


def command(data, out, *more):
    return [
        "study",
        "toy",
        *OPTIONS.split(),
        "--data",
        data,
        "--device",
        "cpu",
        "--out",
        out,
        *more,
    ]


def test_the_command_line_makes_the_same_trainings(whole, data, call, trained):
    code, _, err = call(*command(data, whole))
    assert code == 0 and trained() == []
    assert err.startswith(f"{whole} was last called as: colourgan study toy {OPTIONS[:24]}")
    assert err.endswith(f"report: {whole / 'report.html'}\n")


def test_status_and_report_from_the_command_line(whole, call):
    code, out, _ = call("study", "toy", "--out", whole, "--status")
    assert (code, out) == (0, "4 of 4 models done (4 of 4 trainings), 0 failed\n")
    (whole / "report.html").unlink()
    code, out, err = call("study", "toy", "--out", whole, "--report")
    assert (code, err.splitlines()[-1]) == (0, f"report: {whole / 'report.html'}")
    assert (whole / "report.html").is_file()


def test_status_before_the_end_tells_what_is_left_and_changes_nothing(whole, call):
    note = (whole / "study.json").read_bytes()
    code, out, _ = call("study", "toy", "--out", whole, "--seeds", "4", "--status")
    assert code == 0
    assert out == "4 of 8 models done (4 of 8 trainings), 0 failed, about 1 min left\n"
    code, out, _ = call("study", "toy", "--out", whole, "--gan-lr", "0.1", "--status")
    assert out.startswith("2 of 4 models done")
    assert (whole / "study.json").read_bytes() == note
    assert read_study(whole) == replace(TOY, data=read_study(whole).data, out=whole)


def test_the_note_is_what_was_asked_for(whole, data):
    note = json.loads((whole / "study.json").read_text())
    assert note["threads"] == 1
    given = note["arguments"]
    assert given.items() >= {
        "data": [data], "seeds": 2, "epochs": 2, "gan_epochs": 1, "gan_d_width": 4, "jobs": 1,
    }.items()  # fmt: skip


WRONG = {
    "encoder": (["--encoders", "resnt20"], "did you mean 'resnet20'"),
    "comma": (["--methods", "l1,,gan"], "one comma"),
    "size": (["--sizes", "big"], "--sizes big"),
    "jobs": (["--jobs", "0"], "jobs"),
    "limits": (["--limits", "few"], "--limits few: give numbers"),
    "no limit": (["--limits", "0"], "--limits must be 1 or more"),
    "steps": (["--steps", "9"], "add --limits or --limit"),
    "method": (["--methods", "l1+gan"], "is called 'gan' for short"),
    "discriminator": (["--discriminators", "patchgan:bach"], "did you mean 'batch'?"),
    "generator": (["--generators", "pix2pix"], "did you mean 'pix2pix_unet'?"),
    "test": (["--test-limit", "1"], "--test-limit must be 2 or more"),
    "distance": (["--distances", "fit"], "fid"),
    "distance of small images": (["--distances", "lpips"], "lpips"),
    "report of nothing": (["--report"], "holds no study"),
    "status of nothing": (["--status"], "holds no study"),
    "precision": (["--precision", "int8"], "bf16"),
    "precision of a CPU": (["--precision", "fp16"], "fp16"),
    "no option": (["--gan-objective", "hinge"], "--gan-objective"),
    "without effect": (["--lr-floor", "0.1"], "--schedule linear"),
}


@pytest.mark.parametrize("arguments, expected", WRONG.values(), ids=WRONG)
def test_wrong_use_is_one_line_and_leaves_nothing(arguments, expected, call, data, tmp_path):
    out = tmp_path / "wrong"
    code, _, err = call(*command(data, out), *arguments)
    assert code == 2 and expected in err and err.count("\n") == 1
    assert not out.exists()


def test_a_folder_without_a_study_says_so(tmp_path):
    with pytest.raises(UsageError, match="holds no study"):
        read_study(tmp_path)


def test_a_damaged_note_is_one_line(call, tmp_path):
    (tmp_path / "study.json").write_text("{")
    code, _, err = call("study", "toy", "--out", tmp_path, "--status")
    assert code == 1 and "study.json is damaged" in err and err.count("\n") == 1


def alive(group):
    """Whether a process group has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_all_processes_and_a_later_call_goes_on(whole, data, tmp_path):
    """Trainings in parallel, each in a process that starts from nothing."""
    out = tmp_path / "interrupted"
    script = tmp_path / "script.py"
    script.write_text("from colourgan.cli import main\nif __name__ == '__main__': main()")
    words = [sys.executable, "-W", "ignore", script, *command(data, out, "--jobs", "2")]
    process = subprocess.Popen(
        [*map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
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
            break
        time.sleep(0.1)
    else:
        pytest.fail("a process of the study is left")
    told = "".join(path.read_text() for path in (out / "logs").iterdir())
    assert "training images" in told  # the log of the trainings too
    study(TOY, data=(data,), out=out)
    pd.testing.assert_frame_equal(results(out), results(whole), check_exact=True)
