"""Many machines as one: a connection to a Ray cluster.

The optional package ray does it. What it would say by itself is switched off: its workers' output
is in its own logs, and errors are raised.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from colourgan.devices import cores
from colourgan.errors import RunError, UsageError

_PATIENCE = 10.0  # seconds
ENGINES = ("local", "ray")


def check_engine(engine: str, address: str | None = None) -> None:
    """Raises UsageError for an unknown engine, and for an address without Ray."""
    if engine not in ENGINES:
        raise UsageError(f"unknown engine '{engine}': choices: {', '.join(ENGINES)}")
    if address and engine != "ray":
        raise UsageError("--ray-address needs --engine ray")


@contextmanager
def connected(address: str | None = None) -> Iterator[ModuleType]:
    """The module ray, connected until the block ends to a cluster.

    address: "auto" for the one that this machine belongs to, or HOST:PORT; by default that of the
    environment's RAY_ADDRESS, and without one a cluster of this machine alone is started. A
    connection that is there already is used, and stays. Raises UsageError if ray is missing or
    there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("the engine ray needs ray: pip install 'colourgan[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    address = None if address == "local" else address
    _check_address(address)
    where = {"address": "local", "num_cpus": cores(), "include_dashboard": False}
    with _quiet(ray):
        try:
            with _kept_handler(), _silence():
                ray.init(
                    **({"address": address} if address else where),
                    logging_level=logging.CRITICAL, log_to_driver=False,
                )  # fmt: skip
        except Exception as error:  # it raises this class itself, among others
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if address:
                raise UsageError(f"there is no Ray cluster at {address} ({first})") from error
            raise RunError(f"Ray does not start ({first})") from error
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _quiet(ray: ModuleType) -> Iterator[None]:
    """Ray tells its makers nothing, stdout and stderr neither.

    Its messages about nodes that died go to stdout, where tables are.
    """
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        "RAY_worker_niceness": "0",  # of a busy machine workers get what threads would
    }
    given = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(given)
    ray._private.worker._worker_logs_enabled = False
    try:
        yield
    finally:
        ray._private.worker._worker_logs_enabled = True
        for name in given:
            os.environ.pop(name, None)


@contextmanager
def _kept_handler() -> Iterator[None]:
    """What a SIGTERM does stays: Ray would have it end the process without a word."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends the block as KeyboardInterrupt, whatever Ray makes of it on the way.

    Where the signal meets it in its own threads or callbacks, what comes out is one of its errors.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler, pressed = signal.getsignal(signal.SIGINT), threading.Event()

    def interrupt(number, frame):
        pressed.set()
        if callable(handler):
            handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if pressed.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, handler)


def enter(folder: str) -> None:
    """Makes relative paths mean in a worker what they meant in the folder they were given in."""
    with suppress(OSError):  # a node without it may see all that has an absolute path
        os.chdir(folder)


def _check_address(address: str | None) -> None:
    """Raises UsageError if nobody listens there: Ray itself would go on trying for minutes."""
    if not address or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"{address!r} is no address of a Ray cluster: give auto or HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"there is no Ray cluster at {address} ({error})") from error


def room(ray: ModuleType) -> dict[str, float]:
    """The cluster's resources, "CPU" and "GPU" among them, at least one CPU."""
    found = ray.cluster_resources()
    return {"GPU": 0} | found | {"CPU": max(1, found.get("CPU", 0))}


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing is written to stderr, by libraries in C++ neither."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
