"""Processes that train together, as a launcher starts them; forked from a server, which is fast."""

import multiprocessing
import os
import socket
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["colourgan.learners", "colourgan.cli", "accelerate"])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Ranks:
    """Processes that each run `call(*arguments)`; `join` waits for what the calls return.

    folder: gets the files err-0, err-1, … with what each wrote to stderr.
    """

    def __init__(self, count: int, folder: Path, call, *arguments):
        self.count, self.folder, self.results = count, folder, _context.SimpleQueue()
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.processes = []
        for rank in range(count):
            env = {
                "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1,
                "COLOURGAN_CACHE": os.environ["COLOURGAN_CACHE"],
            }  # fmt: skip
            given = rank, env, self.results, folder, call, arguments
            self.processes.append(_context.Process(target=_run, args=given))
            self.processes[-1].start()

    def join(self, timeout: float = 120.0) -> list:
        """What each process's call returned, None if it ended otherwise, in the order of ranks."""
        for process in self.processes:
            process.join(timeout)
            if process.is_alive():
                self.kill()
                raise TimeoutError(f"still running: {self.said()}")
        found = [None] * self.count
        while not self.results.empty():
            rank, result = self.results.get()
            found[rank] = result
        return found

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def said(self) -> list[str]:
        return [(self.folder / f"err-{rank}").read_text() for rank in range(self.count)]


def together(count: int, folder: Path, call, *arguments) -> list:
    """What `call(*arguments)` returns in each of `count` processes; AssertionError if one fails."""
    ranks = Ranks(count, folder, call, *arguments)
    results = ranks.join()
    assert all(process.exitcode == 0 for process in ranks.processes), ranks.said()
    return results


def command(*arguments) -> None:
    """Runs the command line; its SystemExit ends the process."""
    from colourgan import cli

    sys.argv = ["colourgan", *map(str, arguments)]
    cli.main()


def _run(rank, env, results, folder, call, arguments) -> None:
    os.environ.update({name: str(value) for name, value in env.items()})
    descriptor = os.open(folder / f"err-{rank}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    import torch

    from colourgan.learners import training

    torch.set_num_threads(1)
    training.plots = SimpleNamespace(curves=lambda history, path: path.touch())  # takes longest
    try:
        results.put((rank, call(*arguments)))
    except Exception:
        traceback.print_exc()
        sys.exit(1)
