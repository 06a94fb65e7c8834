"""Who is served when: requests of the page, of its interface, and of the plain one alike."""

import asyncio
from collections.abc import Callable
from typing import Any

from anyio.to_thread import run_sync

from colourgan.errors import RunError

BUSY = "too many pictures wait here at once: try again in a minute"


class TooMany(RunError):
    """As many requests as are allowed wait already."""


class Turns:
    """Colors `jobs` pictures at a time, whoever asks for them, in the order of asking, in threads.

    A batch has a turn of its own: it takes long, and nobody is to wait for it.
    """

    def __init__(self, jobs: int, queue: int):
        self.queue, self.waiting = queue, 0
        self._free, self._batch = asyncio.Semaphore(jobs), asyncio.Semaphore(1)

    @property
    def is_full(self) -> bool:
        return self.waiting >= self.queue

    async def take(self, call: Callable, *args, waited: bool = True) -> Any:
        """What the function gives, once it is its turn. waited: in Gradio's queue, which has its
        own limit; for others raises TooMany.
        """
        if not waited and self.is_full:
            raise TooMany(BUSY)
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        try:
            return await run_sync(call, *args)
        finally:
            self._free.release()

    async def batch(self, call: Callable, *args) -> Any:
        """As `take`, for what takes long."""
        async with self._batch:
            return await run_sync(call, *args)
