"""An experiment on a Ray cluster: every step a task, on whichever node has room for it."""

import logging
import os
import pickle
import socket
import time
from functools import lru_cache
from secrets import token_hex
from types import ModuleType
from typing import Any

from tqdm import tqdm

from colourgan.cluster import connected, enter, room
from colourgan.devices import choose_device
from colourgan.experiments.cells import DONE, NOT_DONE
from colourgan.experiments.scheduler import Schedule, logged
from colourgan.experiments.steps import Step

_WAIT = 1.0  # seconds between looks at what others have done
_RETRIES = 5  # of a step whose node or process died
_log = logging.getLogger(__name__)


def run_on_ray(found: Schedule, bar: tqdm) -> None:
    """Trains and measures what is not done, as tasks of one GPU each, or of `threads` CPUs.

    All nodes must see the experiment's folder, which is where they learn what is done, and the
    data. A task whose node died is run again and goes on after the run's last epoch; until the
    system has freed the run's folder it waits, as for any other process that works on it.
    """
    with connected(found.address) as ray:
        work = _Work(ray, found)
        _log.info(
            "a Ray cluster of %d nodes, trainings at a time: %d; what they say is in %s",
            sum(node["Alive"] for node in ray.nodes()), found._at_once, found.out / "logs",
        )  # fmt: skip
        while work.goes_on():
            found.show(bar)
        found.show(bar)


class _Work:
    """The steps that are being worked on, and those that were."""

    def __init__(self, ray: ModuleType, found: Schedule):
        self.ray, self.found = ray, found
        self.on_gpu = found.place["device"] in ("auto", "cuda") and room(ray)["GPU"] >= 1
        # More than a node has would never begin.
        largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        self.cpus = 1 if self.on_gpu else min(found.threads, max(1, int(largest)))
        needs: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": int(self.on_gpu)}
        self.task = ray.remote(max_retries=_RETRIES, **needs)(work_on)
        # The random part: a process that worked for an earlier call knows what was done then.
        self.sent = pickle.dumps(found), token_hex(8), os.getcwd()
        self.running: dict[Any, Step] = {}
        self.tried: set[str] = set()
        self.busy: dict[str, float] = {}  # when others were last seen at a run
        self.found._at_once = self.at_once()

    def at_once(self) -> int:
        """Steps that the cluster has room for now, as nodes come and go."""
        resources = room(self.ray)
        return max(1, int(resources["GPU"] if self.on_gpu else resources["CPU"] // self.cpus))

    def goes_on(self) -> bool:
        """Begins what can begin and waits a little for an end; whether anything is left."""
        left = self.found.left(self.tried)
        self.found._at_once = self.at_once()
        taken = {step.run for step in self.running.values()}
        # The first that are free, as they are in the order in which they matter; one more, so that
        # no node waits.
        for step in left:
            if len(self.running) > self.found._at_once:
                break
            waits = time.monotonic() - self.busy.get(step.run, -_WAIT) < _WAIT
            if step.run not in taken and not waits and all(map(self.found.is_done, step.before)):
                self.running[self.task.remote(*self.sent, step.run)] = step
        if self.running:
            ended, _ = self.ray.wait(list(self.running), timeout=_WAIT)
            for each in ended:
                self._end(each, self.running.pop(each))
        elif left:
            time.sleep(_WAIT)
        return bool(left or self.running)

    def _end(self, task: Any, step: Step) -> None:
        try:
            took, state = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            line = (str(error).strip().splitlines() or [""])[-1].strip()
            self.found.note_failure(step, f"{type(error).__name__}: {line}")
            took, state = True, ""
        if state == DONE:
            # On a shared disk this node may see the files a little later.
            self.found._done.add(step.run)
        elif took:
            self.tried.add(step.run)
        elif state == NOT_DONE:
            self.busy[step.run] = time.monotonic()


def work_on(schedule: bytes, token: str, folder: str, run: str) -> tuple[bool, str]:
    """Does one step on a node: whether it was free, and its state then."""
    enter(folder)
    found = _opened(schedule, token)
    step = next(step for step in found.steps if step.run == run)
    with logged(found.out, f"{socket.gethostname()}-{os.getpid()}"):
        took = found.take(step, set())
    return took, found.state(step)


@lru_cache(maxsize=1)
def _opened(schedule: bytes, token: str) -> Schedule:
    """Once a process, as it keeps test images open."""
    found = pickle.loads(schedule)
    found.test.device = str(choose_device(found.place["device"]))  # of this node
    return found
