"""Images from a stream: shuffled, decoded by other processes, and resumable at the image.

The order depends on the seed and the source alone. Each turn through a source goes through its
shards in an order shuffled anew; what is read fills a window of at most WINDOW images and
WINDOW_BYTES, which is shuffled and given out while a thread reads the next one. So at most two
windows are in memory, and a place in the order is four numbers: the turn, where in it the window
begins (which shard, which image in it), and how many images of the window were given.

Neither webdataset's nor datasets' own shuffling can do this: both fill up their buffer with what
comes next whenever they give an image, and none of them keeps the buffer's content when it saves
its state.
"""

import os
import random
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import islice
from multiprocessing import current_process, get_all_start_methods
from typing import NamedTuple

import numpy as np
import torch
from fastcore.basics import chunked
from PIL import Image
from torch.utils.data import DataLoader

from colourgan.datasets.cache import Decoded, decode, warn_left_out
from colourgan.datasets.shards import Sample, Source
from colourgan.devices import cores
from colourgan.errors import RunError

WINDOW = 2048  # images that are shuffled with each other, at most
WINDOW_BYTES = 2**28  # of their files together, the last one beyond it
MOST_WORKERS = 16
CHUNK = 32  # images that a worker decodes at a time
KEPT = 64  # usable images that may take the place of an unusable one


class Place(NamedTuple):
    """Where a window begins: in which turn, which shard of its order, which image of the shard."""

    turn: int = 0
    shard: int = 0
    image: int = 0


class Order:
    """Images of a source in shuffled order, turn after turn without end.

    place, given: where to begin, after how many images of that window; both say where the next
    image comes from. held: shard → how many of its first images are left out. Raises RunError as
    the source does, and for one without images.
    """

    def __init__(self, source: Source, held: dict[int, int], seed: int, place: Place, given: int):
        self.source, self.held, self.seed = source, held, seed
        self.windows = self._windows(place)
        self.next = _Reading(self.windows)
        self.place, self.window, self.given = place, [], given
        if given:
            self._turn_over()
            self.given = given

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        if self.given == len(self.window):
            self._turn_over()
        sample, self.window[self.given] = self.window[self.given], None  # given: no longer held
        self.given += 1
        return sample

    def _turn_over(self) -> None:
        self.window.clear()
        self.place, self.window = self.next.result()
        self.given = 0
        self.next = _Reading(self.windows)

    def _windows(self, place: Place) -> Iterator[tuple[Place, list[Sample]]]:
        while True:
            shards = list(range(self.source.shards))
            random.Random(f"{self.seed} {place.turn}").shuffle(shards)
            begin, window, size = place, [], 0
            found = place.shard + place.image  # above 0: this turn is resumed and had some before
            for position in range(place.shard, len(shards)):
                shard = shards[position]
                first = place.image if position == place.shard else 0
                first = max(first, self.held.get(shard, 0))
                for number, sample in enumerate(self.source.read(shard, first), first):
                    if not threading.main_thread().is_alive():
                        return
                    window.append(sample)
                    size, found = size + len(sample.image), found + 1
                    if len(window) >= WINDOW or size >= WINDOW_BYTES:
                        yield begin, self._shuffled(begin, window)
                        window, size = [], 0
                        begin = Place(place.turn, position, number + 1)
            if not found:
                raise RunError(f"{self.source.name} has no image to train on")
            if window:
                yield begin, self._shuffled(begin, window)
            place = Place(place.turn + 1)

    def _shuffled(self, begin: Place, window: list[Sample]) -> list[Sample]:
        random.Random(f"{self.seed} {tuple(begin)}").shuffle(window)
        return window


class _Reading(threading.Thread):
    """The next window, read by a thread of its own that the end of the program does not wait for.

    Not a daemon: one that is inside Arrow's code when Python ends would end it by a crash.
    """

    def __init__(self, windows: Iterator[tuple[Place, list[Sample]]]):
        super().__init__(name="colourgan-stream")
        self.windows, self.found, self.error = windows, None, None
        self.start()

    def run(self) -> None:
        try:
            self.found = next(self.windows)
        except BaseException as error:  # it is raised where the window is asked for
            self.error = error

    def result(self) -> tuple[Place, list[Sample]]:
        self.join()
        if self.error is not None:
            raise self.error
        return self.found


class Stream:
    """The training images of a source, epoch by epoch, decoded: (size, size, 3) uint8.

    An epoch is the next `count` images of the order, of which this process, number `rank` of
    `world`, takes every world-th: `share` images, as many in each process. All processes are at the
    same place between epochs. The place of an image that cannot be used is taken by one of the last
    KEPT before it, so that batches and epochs are equally long everywhere. An epoch that is broken
    off begins again.
    """

    def __init__(
        self, source: Source, held: dict[int, int], size: int, count: int, seed: int,
        rank: int = 0, world: int = 1,
    ):  # fmt: skip
        self.source, self.held, self.size, self.count = source, held, size, count
        self.rank, self.world, self.share = rank, world, count // world
        self.state = {"seed": seed, "place": list(Place()), "given": 0}
        self.order: Order | None = None  # its place is that of the state
        self.warned = False

    def epoch(self) -> Iterator[np.ndarray]:
        """The `share` images of the next epoch; once they are given the stream has moved on."""
        order, self.order = self.order, None
        if order is None:
            place = Place(*self.state["place"])
            order = Order(self.source, self.held, self.state["seed"], place, self.state["given"])
        mine = (
            sample
            for number, sample in enumerate(islice(order, self.count))
            if number % self.world == self.rank and number < self.share * self.world
        )
        yield from self._filled(decoded(mine, self.size))
        self.state |= {"place": list(order.place), "given": order.given}
        self.order = order

    def _filled(self, images: Iterable[tuple[str, Decoded]]) -> Iterator[np.ndarray]:
        kept: deque[np.ndarray] = deque(maxlen=KEPT)
        reasons, such_as, owed = Counter(), "", 0
        for place, image in images:
            if isinstance(image, str):
                such_as, owed = such_as or place, owed + 1
                reasons[image] += 1
            else:
                kept.append(image)
                yield image
            while owed and kept:
                kept.rotate(-1)
                yield kept[-1]
                owed -= 1
        if owed:
            what = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            raise RunError(f"{self.source.name} has no usable color image in an epoch: {what}")
        if reasons and not self.warned:
            self.warned = True
            warn_left_out(reasons, self.share - reasons.total(), such_as)

    def afresh(self) -> "Stream":
        """A stream that begins where this one stands, and does not move it."""
        args = self.source, self.held, self.size, self.count, self.state["seed"]
        other = Stream(*args, self.rank, self.world)
        other.load_state_dict(self.state)
        other.warned = True  # one warning is enough
        return other

    def state_dict(self) -> dict:
        """Where the next epoch begins, in plain numbers; the same in all processes."""
        return dict(self.state)

    def load_state_dict(self, state: dict) -> None:
        """Has the next epoch begin where another stream stood, of any number of processes."""
        self.state, self.order = dict(state), None


def first_images(source: Source, count: int) -> tuple[Iterator[Sample], dict[int, int]]:
    """The first images of a source, and shard → how many of its first they are, once all are read.

    There may be fewer than `count`.
    """
    held: dict[int, int] = {}

    def read() -> Iterator[Sample]:
        for shard in range(source.shards):
            for sample in source.read(shard, 0):
                held[shard] = held.get(shard, 0) + 1
                yield sample

    return islice(read(), count), held


def decoded(samples: Iterable[Sample], size: int) -> Iterator[tuple[str, Decoded]]:
    """Where each image is, and its pixels (size, size, 3) uint8 or why it cannot be used; in order.

    As many processes decode as there are cores but one; where processes cannot be forked, this one.
    """
    places: deque[str] = deque()  # of images that are being decoded

    def chunks() -> Iterator[list[bytes]]:
        for chunk in chunked(samples, CHUNK):
            places.extend(sample.place for sample in chunk)
            yield [sample.image for sample in chunk]

    Image.init()  # or each process would find PIL's formats for itself
    loader = DataLoader(
        Decoder(size), batch_sampler=_Once(chunks), collate_fn=list,
        num_workers=workers(), generator=torch.Generator(),
        multiprocessing_context="fork" if workers() else None,
    )  # fmt: skip
    for chunk in loader:
        for image in chunk:
            yield places.popleft(), image


def workers() -> int:
    """How many processes decode for this one: as fastai, none on macOS or where there is no fork.

    Processes that train together on one machine share its cores; torchrun and accelerate say how
    many they are.
    """
    forks = "fork" in get_all_start_methods() and not current_process().daemon
    if sys.platform == "darwin" or not forks:
        return 0
    together = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(MOST_WORKERS, max(1, cores() // together - 1))


class Decoder:
    """What a DataLoader takes for a data set: an image's bytes are the index of its pixels."""

    def __init__(self, size: int):
        self.size = size

    def __getitem__(self, image: bytes) -> Decoded:
        return decode(BytesIO(image), self.size, skip_colorless=True)


class _Once:
    """Batches of indices that are made in the process that asks for them."""

    def __init__(self, chunks: Callable[[], Iterator[list[bytes]]]):
        self.chunks = chunks

    def __iter__(self) -> Iterator[list[bytes]]:
        return self.chunks()
