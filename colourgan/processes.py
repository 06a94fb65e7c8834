"""Several processes that train one model together: who they are and what they say to each other.

`accelerate launch` and `torchrun` start the processes and tell each of them, in environment
variables, how many there are and which of them it is. Within `joined` they form a group. Anywhere
else, and in a process of its own, there is one process of rank 0, and everything here is free.

Gradients are averaged by `average` after the backward pass, not by torch's DistributedDataParallel.
That puts a wrapper around a network, so that its attributes and the names of its weights change; it
expects one forward pass for each backward pass, and the same parameters to train all along; and it
does not support torch.autograd.grad, which a gradient penalty uses. A GAN here has several forward
passes a step, freezes its discriminator for the generator's step and an encoder for some epochs.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from colourgan.errors import RunError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
MEET = timedelta(minutes=10)  # for all processes to have started
# For the slowest thing that the others wait for: decoding a large data set, a copy of a state. That
# a process has ended is noticed otherwise, by its closed connection or by Heartbeat.
WAIT = timedelta(hours=12)
BEAT = 2.0  # seconds between two signs of life
SILENCE = 45.0  # seconds without one after which a process counts as ended
_ENDED = (
    "another of the {} processes has ended or does not answer: look for what it said; the run "
    "keeps its last whole epoch, add --resume to go on"
)
_turn: ContextVar[bool] = ContextVar("turn", default=False)


def launched() -> int:
    """How many processes were started together, as the environment says; 1 without a launcher."""
    known = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    return int(os.environ["WORLD_SIZE"]) if known else 1


def check_launcher() -> None:
    """Raises UsageError where `accelerate launch` was to start several processes and started one.

    It does so without several GPUs, and says nothing.
    """
    if {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys() and "RANK" not in os.environ:
        raise UsageError(
            "accelerate launch started one process, as it does on CPUs and on a single GPU: use "
            "torchrun --nproc-per-node 2 -m colourgan … or accelerate launch --multi_gpu"
        )


def launched_rank(local: bool = False) -> int:
    """Which of them this one is, from 0; local: which of those on its machine."""
    if launched() == 1:
        return 0
    return int(os.environ.get("LOCAL_RANK", "0") if local else os.environ["RANK"])


def world() -> int:
    """How many processes train together now."""
    return _dist().get_world_size() if _joined() else 1


def rank() -> int:
    """Which of them this one is; 0 writes the run folder."""
    return _dist().get_rank() if _joined() else 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """In the block the launched processes train together; of one process it does nothing.

    device: as a training's; each process takes one GPU of its machine. The error that a process
    meets because another one has ended is a RunError here. Raises UsageError if there are not as
    many GPUs, RunError if not all processes come together.
    """
    if launched() == 1:
        yield
        return
    if not _joined():
        _join(device)
    heartbeat = Heartbeat()
    try:
        yield
        total([0.0])  # the others may still need what the first process holds
    except RuntimeError as error:
        atexit.unregister(_part)  # which would wait for the others
        if isinstance(error, RunError) or not _of_a_peer(error):
            raise
        raise RunError(_ENDED.format(world())) from error
    finally:
        heartbeat.stop()


def _join(device: str) -> None:
    """Forms the group, which lasts as long as the process: one script may train several times."""
    from torch.distributed.rendezvous import rendezvous

    dist, backend = _dist(), _backend(device)
    try:
        store, number, count = next(rendezvous("env://", timeout=MEET))
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        line = (str(error).splitlines() or [""])[0]
        raise RunError(f"the {launched()} processes did not meet at {where}: {line}") from error
    atexit.register(_part)


def _part() -> None:
    with suppress(RuntimeError):
        _dist().destroy_process_group()


def _backend(device: str) -> str:
    """What the processes talk by: gloo, and NCCL for what is on GPUs. Chooses the GPU."""
    import torch

    on_gpus = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    if not on_gpus:
        if device not in ("auto", "cpu"):
            raise UsageError(f"device {device}: several processes train on CUDA GPUs or on the CPU")
        return "gloo"
    if ":" in device:
        raise UsageError(f"device {device}: each process takes a GPU of its own, choose cuda")
    count, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > count:
        raise UsageError(f"{here} processes need as many GPUs, and this machine has {count}")
    torch.cuda.set_device(launched_rank(local=True))
    return "cpu:gloo,cuda:nccl"


def _of_a_peer(error: RuntimeError) -> bool:
    """Whether an error is that of a broken connection: gloo's have no class of their own."""
    words = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
    return isinstance(error, _dist().DistError) or any(word in str(error) for word in words)


class Heartbeat:
    """Ends this process with one line when another of the group gives no sign of life any more.

    Where connections break, a waiting process learns it at once; this is for a machine that is
    gone, for NCCL, whose waiting ends with the timeout, and for a process that waits for nothing.
    """

    def __init__(self):
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # A connection of its own: that of the group is locked while it waits.
        self.store = _dist().TCPStore(address, port, is_master=False, timeout=MEET)
        self.key, self.others = f"alive-{rank()}", [f"alive-{other}" for other in range(world())]
        self.store.set(self.key, str(time.time()))
        self.store.wait(self.others)
        self.store.set_timeout(timedelta(seconds=SILENCE))
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        self.thread.join(BEAT)

    def _run(self) -> None:
        seen = {other: (b"", time.monotonic()) for other in self.others}
        while not self.ended.wait(BEAT):
            try:
                self.store.set(self.key, str(time.time()))
                values = {other: self.store.get(other) for other in self.others}
            except RuntimeError:  # the process that holds the store has ended
                if not self.ended.wait(2 * BEAT):
                    self._leave()
                return
            now = time.monotonic()
            for other, value in values.items():
                if value != seen[other][0]:
                    seen[other] = value, now
                elif now - seen[other][1] > SILENCE and not self.ended.is_set():
                    self._leave()

    def _leave(self) -> None:
        print(f"colourgan: {_ENDED.format(world())}", file=sys.stderr, flush=True)
        os._exit(1)  # the main thread may be waiting in a library for what never comes


def share(value: T) -> T:
    """The first process's `value`, in all of them; anything that can be pickled."""
    if world() == 1:
        return value
    values = [value]
    _dist().broadcast_object_list(values, src=0)
    return values[0]


def first(call: Callable[[], T]) -> T:
    """What `call` returns in the first process, the only one to call it, in all of them.

    Its UsageError or RunError is raised in all of them; `told` is set on it where it need not be
    shown once more.
    """
    if world() == 1:
        return call()
    result = error = None
    if rank() == 0:
        try:
            result = call()
        except (UsageError, RunError) as raised:
            error = raised
    result, shared = share((result, error))
    if shared is not None:
        if rank():
            shared.told = True
        raise error or shared
    return result


def gathered(value: T) -> list[T]:
    """Every process's `value`, in the order of their ranks."""
    if world() == 1:
        return [value]
    values = [None] * world()
    _dist().all_gather_object(values, value)
    return values


def average(tensors: Iterable["Tensor"]) -> None:
    """Replaces each tensor by its mean over the processes, which have the same ones in order.

    The tensors are floats of one kind on one device; each process gets the same bits.
    """
    if world() > 1:
        _as_one(list(tensors), lambda flat: (_dist().all_reduce(flat), flat.div_(world())))


def copy_from_first(tensors: Iterable["Tensor"]) -> None:
    """Replaces each tensor by the first process's, of whatever kind they are."""
    if world() > 1:
        tensors = list(tensors)
        for kind in {tensor.dtype: None for tensor in tensors}:
            same = [tensor for tensor in tensors if tensor.dtype == kind]
            _as_one(same, lambda flat: _dist().broadcast(flat, 0))


def _as_one(tensors: list["Tensor"], operation: Callable[["Tensor"], object]) -> None:
    """Sends tensors as one message, not as hundreds, and writes what comes back into them."""
    import torch

    if not tensors:
        return
    with torch.no_grad():
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        operation(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def average_gradients(parameters: Iterable["Tensor"]) -> None:
    """Averages the gradients that a backward pass left in these parameters.

    Of losses that are means over equal parts of a batch, that is the gradient of the whole batch.
    """
    average(parameter.grad for parameter in parameters if parameter.grad is not None)


def mean(value: "Tensor") -> "Tensor":
    """The mean over the processes of a detached tensor; NaN in one of them is NaN in all."""
    if world() == 1:
        return value
    value = value.detach().clone()
    average([value])
    return value


def total(values: list[float]) -> list[float]:
    """The sums over the processes of some numbers."""
    import torch

    if world() == 1:
        return values
    sums = torch.tensor(values, dtype=torch.float64)
    _dist().all_reduce(sums)
    return sums.tolist()


@contextmanager
def in_turn() -> Iterator[None]:
    """The block runs in the first process of each machine, then in its others.

    What is downloaded or decoded there is found by the others; its UsageError or RunError is theirs
    too. A block within a block is a part of it; no other function of this module may be called
    inside.
    """
    if world() == 1 or _turn.get():
        yield
        return
    local, error = launched_rank(local=True), None
    if local and (met := gathered(None)[rank() - local]):
        met.told = True
        raise met
    token = _turn.set(True)
    try:
        yield
    except (UsageError, RunError) as raised:
        error = raised
    finally:
        _turn.reset(token)
    if not local:
        gathered(error)
    if error:
        raise error


def _joined() -> bool:
    return launched() > 1 and _dist().is_available() and _dist().is_initialized()


def _dist():
    import torch.distributed

    return torch.distributed
