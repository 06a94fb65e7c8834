"""Work that is done in threads before it is asked for, in order and with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

_WAIT = 0.1  # seconds after which a thread looks whether it is still wanted

A, B = TypeVar("A"), TypeVar("B")


def ahead(items: Iterator[A], count: int) -> Iterator[A]:
    """The same items, or the same error; a thread makes up to `count` before they are asked for.

    Closing this closes `items` too.
    """
    made: Queue = Queue(count)
    stopped = Event()

    def put(*entry) -> bool:
        while not stopped.is_set():
            try:
                made.put(entry, timeout=_WAIT)
                return True
            except Full:
                pass
        return False

    def work() -> None:
        try:
            with closing(items):
                for item in items:
                    if not put("item", item):
                        return
            put("end", None)
        except BaseException as error:  # it is raised where the items are asked for
            put("error", error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                kind, value = made.get(timeout=_WAIT)
            except Empty:
                continue
            if kind == "item":
                yield value
            elif kind == "end":
                return
            else:
                raise value
    finally:
        stopped.set()
        thread.join()


def in_order(
    pool: Executor, function: Callable[[A], B], items: Iterator[A], count: int
) -> Iterator[B]:
    """`function` of each item, in order; up to `count` are computed at the same time."""
    running: deque[Future[B]] = deque()
    with closing(items):
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) >= count:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for each in running:
                each.cancel()
