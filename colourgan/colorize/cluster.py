"""Coloring on a Ray cluster: as in threads, but on every processor of every machine."""

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from colourgan.cluster import connected, enter, interruptible, room
from colourgan.colorize.album import (
    Outcome,
    Settings,
    add_to_report,
    check_jobs,
    colored,
    is_there,
    plan,
    skipped,
    tell,
    write_report,
)
from colourgan.colorize.colorizer import Colorizer
from colourgan.colorize.formats import QUALITY
from colourgan.colorize.inputs import Task
from colourgan.colorize.listings import pictures
from colourgan.errors import DiskFull, RunError
from colourgan.files import shown
from colourgan.runtimes import OnnxRuntime

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

_AT_ONCE = 16  # pictures that a worker is given, at most
_BLOCK = 2**18  # bytes: of larger pictures in parquet files each goes its own way
_RETRIES = 5  # of what was lost with a worker or a node


def colorize_on_ray(
    inputs: Iterable[Path | str],
    model: Mapping[str, Any],
    out: Path | str = "colored",
    *,
    address: str | None = None,
    format: str | None = None,
    jpeg_quality: int = QUALITY,
    side_by_side: bool = False,
    samples: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    skip_existing: bool = False,
    report: Path | str | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Outcome]:
    """As `colorize_files`, on a Ray cluster, with the same files and outcomes.

    inputs: also parquet files with pictures in them. model: what a Colorizer is made of, once in
    each worker. address: see `connected`. jobs: workers, by default one a GPU if the model runs on
    one, else one a CPU. Inputs, out and the model's file must be seen under the same paths by all
    nodes. report: written to as pictures are done, in order in the end. This process holds what is
    planned and what became of it, but no picture.

    What is lost with a node is colored again, to the same bytes. A picture whose workers died again
    and again has failed, and so have the few that these had beside it; a call with skip_existing
    goes on. Raises as `colorize_files` and `connected` do, and RunError if Ray gives up.
    """
    settings = Settings(samples, seed, side_by_side, jpeg_quality, overwrite, skip_existing)
    check_jobs(jobs)
    runs_on_gpu = _check_model(model, samples)
    planned = plan(inputs, out, settings, format, report)
    outcomes = {
        i: skipped(task) for i, task in enumerate(planned) if skip_existing and is_there(task)
    }
    left = [(i, task) for i, task in enumerate(planned) if i not in outcomes]

    def add(found: dict[int, Outcome]) -> None:
        outcomes.update(found)
        bar.update(len(found))
        if report:
            with open(report, "a", newline="", encoding="utf-8", errors="surrogateescape") as file:
                add_to_report(found.values(), file)

    with (
        interruptible(),
        connected(address) if left else nullcontext() as ray,
        tqdm(total=len(left), unit="picture", disable=None if progress else True) as bar,
    ):
        try:
            if report:
                write_report(outcomes.values(), Path(report))
            for found in _stream(ray, left, model, settings, jobs, runs_on_gpu) if left else ():
                add({i: _outcome(planned[i], *rest) for i, *rest in found if rest[0] not in _STOPS})
                for _, state, notes, _ in found:
                    if state in _STOPS:
                        raise _STOPS[state](notes[0])
            add({i: _lost(task) for i, task in left if i not in outcomes})
        finally:
            ordered = [outcomes[i] for i in sorted(outcomes)]
            if report:
                write_report(ordered, Path(report))
    tell(ordered, samples)
    return ordered


def _check_model(model: Mapping[str, Any], samples: int | None) -> bool:
    """Whether it runs on a GPU where there is one; raises what a Colorizer does."""
    device = model.get("device", "auto")
    # A GPU is for the workers, which may share this machine.
    colorizer = Colorizer(**{**model, "device": "cpu" if device == "auto" else device})
    if samples is not None:
        colorizer.check_samples(samples)
    return device in ("auto", "cuda") and not isinstance(colorizer.runtime, OnnxRuntime)


Found = tuple[int, str, tuple[str, ...], float | None]
"""A picture's number, and state, notes and spread of its outcome; or a state of _STOPS."""

_STOPS = {"disk full": DiskFull, "no model": RunError}


def _outcome(task: Task, state: str, notes: tuple[str, ...], spread: float | None) -> Outcome:
    return Outcome(task.source, task.targets if state == "colored" else (), state, notes, spread)


def _lost(task: Task) -> Outcome:
    why = f"the workers died that were to color it, {_RETRIES + 1} times: out of memory?"
    return Outcome(task.source, (), "failed", (f"cannot color {shown(task.source)}: {why}",))


def _stream(
    ray: ModuleType,
    tasks: Sequence[tuple[int, Task]],
    model: Mapping[str, Any],
    settings: Settings,
    jobs: int | None,
    runs_on_gpu: bool,
) -> Iterator[list[Found]]:
    """What became of numbered tasks, some at a time, as they are done."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    resources = room(ray)
    on_gpu = runs_on_gpu and resources["GPU"] >= 1
    workers = min(jobs or int(resources["GPU" if on_gpu else "CPU"]), len(tasks))
    plain = [each for each in tasks if not each[1].row]
    in_rows = [each for each in tasks if each[1].row]
    for chosen in filter(None, (plain, in_rows)):
        dataset = _dataset(chosen, workers)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that in later versions nothing sets max_task_retries
            dataset = dataset.map_batches(
                Worker,
                fn_constructor_args=(dict(model), settings, os.getcwd()),
                batch_size=None,
                batch_format="pyarrow",
                # When a node dies, the workers that are left take over.
                compute=ray.data.ActorPoolStrategy(
                    min_size=1, max_size=workers, initial_size=workers
                ),
                num_cpus=1,
                num_gpus=1 if on_gpu else None,
                **_retries(dataset.map_batches),
            )
        try:
            for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield [pickle.loads(each) for each in batch["found"].to_pylist()]
        except ray.exceptions.RayError as error:
            last = (str(error).strip().splitlines() or [""])[-1]
            raise RunError(f"Ray gave up ({type(error).__name__}: {last})") from error


def _retries(map_batches: Callable) -> dict[str, int]:
    """Without it a picture that kills its worker would do so for ever."""
    kinds = {each.kind for each in signature(map_batches).parameters.values()}
    return {"max_task_retries": _RETRIES} if Parameter.VAR_KEYWORD in kinds else {}


def _dataset(tasks: Sequence[tuple[int, Task]], workers: int) -> "Dataset":
    """Blocks of "task", each a numbered Task, and the "data" of those in rows."""
    import pyarrow
    import ray.data

    if tasks[0][1].row:
        groups: dict[tuple, list] = {}
        for each in tasks:
            groups.setdefault(each[1].row[:2], []).append(each)
        pieces = [[pickle.dumps(each)] for each in groups.values()]
    else:
        many = max(1, min(_AT_ONCE, len(tasks) // (4 * workers)))
        pieces = [
            [pickle.dumps(each) for each in tasks[first : first + many]]
            for first in range(0, len(tasks), many)
        ]
    dataset = ray.data.from_arrow([pyarrow.table({"task": piece}) for piece in pieces])
    dataset.context.enable_progress_bars = False
    dataset.context.target_max_block_size = _BLOCK
    dataset.context.max_errored_blocks = -1  # their pictures have failed, see `_lost`
    if tasks[0][1].row:
        # Reading takes hardly any CPU, and must not wait until a worker leaves one.
        dataset = dataset.map_batches(
            _read, fn_kwargs={"folder": os.getcwd()}, batch_size=None, batch_format="pyarrow",
            num_cpus=0, concurrency=workers,
        )  # fmt: skip
    return dataset


def _read(batch: "pyarrow.Table", folder: str) -> Iterator["pyarrow.Table"]:
    """The pictures of a row group, one after the other."""
    for tasks in map(pickle.loads, batch["task"].to_pylist()):
        wanted = {task.row.row: (i, task) for i, task in tasks}
        file, group, _, column = tasks[0][1].row
        try:
            for row, (data, path) in enumerate(pictures(Path(folder, file), group, column)):
                if row in wanted:
                    i, task = wanted.pop(row)
                    if data is None and path:
                        task = replace(task, source=file.parent / path)
                    yield _block(i, task, data if data or path else b"")
        except Exception as error:  # a damaged file; the others are colored
            first = (str(error).splitlines() or [""])[0]
            for i, task in wanted.values():
                yield _block(i, task, None, f"cannot read {shown(task.source)}: {first}")


def _block(number: int, task: Task, data: bytes | None, why: str = "") -> "pyarrow.Table":
    import pyarrow

    types = {"task": pyarrow.binary(), "data": pyarrow.large_binary(), "why": pyarrow.string()}
    row = {"task": pickle.dumps((number, task)), "data": data, "why": why}
    return pyarrow.Table.from_pylist([row], pyarrow.schema(types.items()))


class Worker:
    """Has a Colorizer, and colors what it is given."""

    def __init__(self, model: dict[str, Any], settings: Settings, folder: str):
        enter(folder)  # so that outcomes call their files as without Ray, too
        # What was not there when coloring began was written by a worker that died since.
        self.settings = replace(settings, overwrite=True)
        self.broken = ""
        try:
            self.colorizer = Colorizer(**model)
        except Exception as error:  # raised here, it would be tried again and again
            self.broken = f"no worker can load the model: {error}"

    def __call__(self, batch: "pyarrow.Table") -> "pyarrow.Table":
        import pyarrow

        found = [
            self.color(*pickle.loads(row["task"]), row.get("data"), row.get("why"))
            for row in batch.to_pylist()
        ]
        return pyarrow.table({"found": list(map(pickle.dumps, found))})

    def color(self, number: int, task: Task, data: bytes | None, why: str | None) -> Found:
        """What became of one picture; why: what kept its bytes from being read."""
        if self.broken:
            return number, "no model", (self.broken,), None
        if why:
            return number, "failed", (why,), None
        try:
            outcome = colored(task, self.colorizer, self.settings, data=data)
        except DiskFull as error:
            return number, "disk full", (str(error),), None
        return number, outcome.state, outcome.notes, outcome.spread
