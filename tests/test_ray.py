"""Coloring and studies on a Ray cluster of two nodes, of which one is killed in the middle."""

import csv
import os
import signal
import sys
import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from test_scheduler import Trainer, alone, chain, opened
from test_study import TOY, results
from tiny_colorizers import noise, painter_file
from tiny_runs import call, make_data, started

from colourgan.cluster import connected, interruptible
from colourgan.colorize import Colorizer, cluster, colorize_files, colorize_on_ray
from colourgan.errors import RunError, UsageError
from colourgan.experiments import cluster as experiments_cluster
from colourgan.experiments import scheduler
from colourgan.learners.runs import HOLDER
from colourgan.study import study
from colourgan.trainings import TRAININGS

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'colourgan[ray]'")
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
# So that a dead node is noticed within seconds, and one that is only slow stays.
SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 20000,
    "health_check_failure_threshold": 5,
}


class Nodes:
    """A cluster whose head does no work; `address` is its."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        head = {**NODE, "num_cpus": 0, "include_dashboard": False, "_system_config": SOON}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address
        self.fill()

    def fill(self) -> None:
        """Has it two nodes that work."""
        for _ in range(5):
            if len(self.cluster.worker_nodes) == 2:
                return
            with suppress(Exception):  # on a busy machine one may not be there in time
                self.cluster.add_node(**NODE)

    def kill(self, node) -> None:
        self.cluster.remove_node(node, allow_graceful=False)

    def of_process(self, number: int):
        """The node that a process works on, None for none."""
        status = Path(f"/proc/{number}/status").read_text()
        parent = int(status.split("PPid:")[1].split()[0])
        for node in self.cluster.worker_nodes:
            if node.all_processes["raylet"][0].process.pid == parent:
                return node
        return None


@pytest.fixture(scope="module")
def two():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        found = Nodes()
        yield found
        found.cluster.shutdown()


@pytest.fixture
def nodes(two):
    two.fill()
    yield two
    assert not ray.is_initialized()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(folder) -> dict:
    return {"model": painter_file(folder / "painter.onnx")}


class Slow(cluster.Worker):
    """Takes its time for a picture, and does not survive one that is called deadly."""

    def color(self, number, task, *rest):
        time.sleep(0.1)
        if "deadly" in task.source.name:
            os._exit(1)
        return super().color(number, task, *rest)


@pytest.fixture
def slow(monkeypatch):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(cluster, "Worker", Slow)


def make_photos(count: int) -> None:
    Path("in").mkdir()
    for i in range(count):
        Image.fromarray(noise(20 + i, 30, seed=i)).save(f"in/{i:02d}.png")
    Path("in/broken.jpg").write_bytes(b"no picture")


def files(below: str) -> dict[str, bytes]:
    return {str(p.relative_to(below)): p.read_bytes() for p in Path(below).rglob("*.*")}


def rows(report: str) -> list[list[str]]:
    """Lines of a report without what was written; [] while there is none."""
    if not Path(report).exists():
        return []
    with open(report, newline="") as file:
        return [[row[0], *row[2:]] for row in list(csv.reader(file))[1:]]


def wait_for(holds, seconds: float = 180):
    """What a function gives, once it is true."""
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
    return found


# ----------------------------------------------------------------------------------- pictures


def test_every_picture_is_colored_once_though_a_node_dies(nodes, model, folder, slow):
    make_photos(40)
    Path("list.txt").write_text("in/03.png\nnone.png\n")
    given = {"progress": False, "side_by_side": True}
    colorize_files(["in", "list.txt"], Colorizer(**model), "local", report="local.csv", **given)
    given |= {"address": nodes.address, "report": "ray.csv"}

    def kill():
        wait_for(lambda: len(rows("ray.csv")) >= 6)
        nodes.kill(next(iter(nodes.cluster.worker_nodes)))
        seen.append(len(rows("ray.csv")))

    seen = []
    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = colorize_on_ray(["in", "list.txt"], model, "ray", **given)
    killer.join()
    assert 6 <= seen[0] < 40
    assert files("ray") == files("local") and len(files("ray")) == 40
    assert rows("ray.csv") == rows("local.csv") and len(rows("ray.csv")) == 42
    assert [str(each.source) for each in outcomes] == [row[0] for row in rows("ray.csv")]


def test_a_restart_does_what_is_missing_and_nothing_else(folder, model, monkeypatch):
    make_photos(6)
    given = {"progress": False, "skip_existing": True, "report": "r.csv"}
    colorize_files(["in"], Colorizer(**model), "out", **given)
    Path("out/02.png").unlink()
    left = []

    def stream(ray, tasks, *others):
        left.extend(task.source.name for _, task in tasks)
        yield [(number, "colored", (), None) for number, task in tasks[:1]]

    monkeypatch.setattr(cluster, "_stream", stream)
    monkeypatch.setattr(cluster, "connected", lambda address: nullcontext(ray))
    outcomes = colorize_on_ray(["in"], model, "out", **given)
    assert left == ["02.png", "broken.jpg"]
    states = [each.state for each in outcomes]
    assert states == ["skipped"] * 2 + ["colored"] + ["skipped"] * 3 + ["failed"]
    assert [row[1] for row in rows("r.csv")] == states
    assert "the workers died" in outcomes[-1].notes[0]  # nothing was heard of it
    monkeypatch.delattr(cluster, "connected")  # not needed for what is done
    Path("in/broken.jpg").unlink()
    put = Path("out/02.png").write_bytes(b"of somebody else")
    assert (
        put
        and [each.state for each in colorize_on_ray(["in"], model, "out", **given)]
        == ["skipped"] * 6
    )


def test_pictures_in_parquet_files_are_colored(nodes, model, folder, slow, monkeypatch):
    """And one that kills its worker, again and again, has failed."""
    monkeypatch.setattr(cluster, "_RETRIES", 1)
    make_photos(8)
    kept = {path.name: path.read_bytes() for path in sorted(Path("in").iterdir())}
    structs = [{"bytes": data, "path": name} for name, data in kept.items()]
    structs += [{"bytes": None, "path": "in/00.png"}, {"bytes": None, "path": None}]
    structs += [{"bytes": kept["01.png"], "path": "deadly.png"}]
    table = pa.table({"image": structs, "label": range(len(structs))})
    parquet.write_table(table, "all.parquet", row_group_size=5)
    Path("cut").mkdir()
    parquet.write_table(table.slice(0, 2), "cut/cut.parquet", compression="none")
    cut = Path("cut/cut.parquet").read_bytes()
    head = cut.index(kept["00.png"][:100]) - 20  # of its page
    Path("cut/cut.parquet").write_bytes(cut[:head] + bytes(30) + cut[head + 30 :])
    outcomes = colorize_on_ray(
        ["all.parquet", "cut"], model, "ray", address=nodes.address, report="r.csv", progress=False
    )
    colorize_files(["in"], Colorizer(**model), "local", progress=False)
    local = files("local")
    assert {name: files("ray/all")[name] for name in local} == local
    assert files("ray/all")["in/00.png"] == local["00.png"]
    assert [str(each.source) for each in outcomes if each.state == "failed"] == [
        "all.parquet/broken.jpg", "all.parquet/00000010", "all.parquet/deadly.png",
        "cut/cut.parquet/00.png", "cut/cut.parquet/01.png",
    ]  # fmt: skip
    assert len(rows("r.csv")) == len(structs) + 2
    said = {row[0]: row[2] for row in rows("r.csv")}
    broken = "cannot read all.parquet/broken.jpg: not a picture, or broken from its first bytes on"
    assert said["all.parquet/broken.jpg"] == broken
    assert said["cut/cut.parquet/01.png"].startswith("cannot read cut/cut.parquet/01.png: ")
    assert "the workers died that were to color it" in said["all.parquet/deadly.png"]


# A shell's background job, as a test run may be one, ignores Ctrl-C and hands that down.
SLOW = """
import signal
import time
from colourgan.colorize import cluster

signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow(cluster.Worker):
    def color(self, *given):
        time.sleep(0.2)
        return super().color(*given)

cluster.Worker = Slow
"""


def test_what_ray_makes_of_ctrl_c_is_an_interruption():
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda number, frame: None)  # the signal meets another thread
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            signal.raise_signal(signal.SIGINT)
            raise RunError("Ray gave up")
        with pytest.raises(RunError), interruptible():
            raise RunError("Ray gave up")
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_leaves_a_report_and_one_line(nodes, model, folder, monkeypatch):
    make_photos(40)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    command = "colorize in --engine ray --report r.csv --model painter.onnx"
    with started(*command.split(), prelude=SLOW) as process:
        wait_for(lambda: len(rows("r.csv")) >= 4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
    assert process.returncode == 130 and not out, err
    assert err.startswith("colourgan: interrupted: ") and err.count("\n") == 1
    found = rows("r.csv")
    assert 4 <= len(found) < 41
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    assert all(row[1] in ("colored", "failed") for row in found)


# ------------------------------------------------------------------------------------- studies


def test_a_study_has_the_same_results_though_a_node_dies(nodes, folder):
    data = str(make_data(folder / "data", train=16, test=6))
    # Long enough not to be done before its node is.
    plan = replace(TOY, seeds=1, data=(data,), base=replace(TOY.base, epochs=24))
    study(plan, out=folder / "local")

    def kill():
        [holder] = wait_for(lambda: [*(folder / "ray").glob("runs/pretrain-*/state.pt")])
        number = int((holder.parent / HOLDER).read_text().split()[1])
        killed.append(nodes.of_process(number))
        nodes.kill(killed[0])
        assert not (holder.parent / "trained.json").exists()

    killed = []
    killer = threading.Thread(target=kill)
    killer.start()
    page = study(plan, out=folder / "ray", engine="ray", ray_address=nodes.address)
    killer.join()
    assert killed[0] is not None
    assert page.is_file()
    ours, theirs = (results(folder / name).drop(columns="run") for name in ("ray", "local"))
    assert ours.equals(theirs) and len(ours) == 3
    logs = "".join(path.read_text() for path in (folder / "ray" / "logs").iterdir())
    assert logs.count("1/2: ") == 2, logs  # begun, and resumed


class FakeRay:
    """A cluster of two CPUs that does a task when it is waited for; `order` has their runs.

    busy: runs that are so the first time; dead: those whose node dies whatever is tried.
    """

    exceptions = ray.exceptions

    def __init__(self, busy=(), dead=()):
        self.busy, self.dead, self.order, self.needs = set(busy), set(dead), [], None

    def cluster_resources(self):
        return {"CPU": 2.0}

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0}}, {"Alive": False, "Resources": {}}]

    def remote(self, **needs):
        self.needs = needs
        return lambda function: SimpleNamespace(remote=lambda *given: partial(function, *given))

    def wait(self, tasks, timeout):
        return tasks[:1], tasks[1:]

    def get(self, task):
        run = task.args[-1]
        self.order.append(run)
        if run in self.dead:
            raise ray.exceptions.WorkerCrashedError
        if run in self.busy:
            self.busy.remove(run)
            return False, "not done"
        return task()


def scheduled(folder, monkeypatch, fake, steps, during=lambda training: None):
    trainer = Trainer(folder, during)
    monkeypatch.setattr(scheduler, "TRAIN", dict.fromkeys(TRAININGS, trainer))
    monkeypatch.setattr(experiments_cluster, "_WAIT", 0.02)
    monkeypatch.setattr(experiments_cluster, "connected", lambda address: nullcontext(fake))
    found = opened(folder, steps, engine="ray")
    found.run()
    return found


def test_steps_wait_for_what_they_need_and_for_others(folder, monkeypatch):
    steps = [*chain(), *alone(2)]
    fake = FakeRay(busy=[steps[0].run])
    found = scheduled(folder, monkeypatch, fake, steps)
    by_run = {step.run: step.label for step in steps}
    order = [by_run[run] for run in fake.order]
    assert order[0] == "E" and sorted(order[1:]) == ["A", "A0", "A1", "E", "G"]
    again = order[1:]
    assert again.index("E") < again.index("A") < again.index("G")
    assert fake.needs == {"num_cpus": 1, "num_gpus": 0, "max_retries": 5}
    found.conclude()


def test_a_step_whose_nodes_die_has_failed_and_the_others_go_on(folder, monkeypatch):
    steps = [*chain(), *alone(2)]

    def during(training):
        if training.seed == 1:
            raise RunError("it diverged")

    fake = FakeRay(dead=[steps[1].run])
    found = scheduled(folder, monkeypatch, fake, steps, during)
    assert [found.state(step) for step in steps] == ["done", "failed", "failed", "done", "failed"]
    assert found.failure(steps[1]).startswith("WorkerCrashedError: ")
    assert found.failure(steps[2]) == f"A, seed 0: {found.failure(steps[1])}"
    assert found.failure(steps[4]) == "it diverged"
    assert len(fake.order) == 4


# --------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("in --engine spark", "unknown engine 'spark': choices: local, ray"),
        ("in --ray-address auto", "--ray-address needs --engine ray"),
        ("in --engine ray --ray-address here", "'here' is no address of a Ray cluster"),
        ("in --engine ray --ray-address 127.0.0.1:9", "there is no Ray cluster at 127.0.0.1:9"),
        ("in --engine ray --sheet s.png", "--sheet cannot be used with --engine ray"),
        ("in/00.png --engine ray --hint 1,1,red", "--hint cannot be used with --engine ray"),
        ("- --engine ray", "--engine ray is for files: it cannot be used with -"),
        ("a.mp4 --engine ray", "--engine ray is for pictures: it cannot be used with a film"),
        ("in --engine ray --jobs 0", "--jobs 0 is too small: at least 1 is needed"),
        ("in --engine ray --samples 2", "an ONNX model has no dropout"),
        ("in --engine ray --model none", "no file none"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, said, folder, monkeypatch, capsys):
    make_photos(1)
    Path("a.mp4").touch()
    assert call(monkeypatch, "colorize", *arguments.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and err.startswith(f"colourgan: {said}")
    assert not Path("colored").exists()


def test_a_cluster_that_does_not_start_is_one_line(monkeypatch):
    def init(**given):
        raise Exception("it timed out\nfor ever")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RunError, match=r"^Ray does not start \(it timed out\)$"), connected():
        pass


def test_without_ray_it_says_what_to_install(folder, monkeypatch):
    make_photos(1)
    monkeypatch.setitem(sys.modules, "ray", None)
    install = r"the engine ray needs ray: pip install 'colourgan\[ray\]'"
    with pytest.raises(UsageError, match=install):
        colorize_on_ray(["in"], {}, progress=False)
    with pytest.raises(UsageError, match=install), connected():
        pass
