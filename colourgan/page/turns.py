"""Who is served when: requests of the page, of its interface, and of the plain one alike."""

from asyncio import wrap_future
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from colourgan.errors import RunError

BUSY = "too many pictures wait here at once: try again in a minute"


class TooMany(RunError):
    """As many requests as are allowed wait already."""


class Turns:
    """Colors `jobs` pictures at a time, whoever asks for them, in the order of asking, in threads.

    A batch has a turn of its own: it takes long, and nobody is to wait for it. Who goes away before
    its turn loses it; what has begun keeps its thread until it is done, so that there are never
    more at a time.
    """

    def __init__(self, jobs: int, queue: int):
        self._most = jobs + queue
        self._pool, self._batches = ThreadPoolExecutor(jobs), ThreadPoolExecutor(1)
        self._asked: set[Future] = set()  # what waits or runs

    @property
    def is_full(self) -> bool:
        return len(self._asked) >= self._most

    async def take(self, call: Callable, *args, waited: bool = True) -> Any:
        """What the function gives, once it is its turn. waited: in Gradio's queue, which has its
        own limit; for others raises TooMany.
        """
        if not waited and self.is_full:
            raise TooMany(BUSY)
        future = self._pool.submit(copy_context().run, call, *args)
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return await wrap_future(future)

    async def batch(self, call: Callable, *args) -> Any:
        """As `take`, for what takes long."""
        return await wrap_future(self._batches.submit(copy_context().run, call, *args))
