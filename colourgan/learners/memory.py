"""The batch size: what fits the memory, and what is said where it does not."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from itertools import takewhile
from weakref import finalize

import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from colourgan import processes
from colourgan.callbacks import Accumulation
from colourgan.datasets import set_batch_size
from colourgan.devices import free_memory
from colourgan.errors import OutOfMemory, is_out_of_memory, naming_what_was_large
from colourgan.learners.runs import Run
from colourgan.learners.trial import fit_on, forget, without_trace
from colourgan.trainings import AUTO, Training

SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""What "auto" chooses from; larger batches have been of no use to colorization."""

FEWEST_STEPS = 8  # an epoch: of few images no batch is larger than an eighth
RESERVE = 0.1  # of a GPU's memory that stays free: other steps may need a little more
SHARE = 0.5  # of the machine's free memory: what is measured leaves out the libraries' own
_MEASURED = (4, 12)  # images in the two batches that are measured
_log = logging.getLogger(__name__)


def first_size(training: Training) -> int:
    """The batch size that loaders are made with, before `settle_batches` may change it."""
    return 8 if training.batch_size == AUTO else training.batch_size


def settle_batches(learn: Learner, run: Run, t: Training) -> None:
    """Gives a learner its batch size and gradient accumulation.

    "auto" is what an earlier start of the run found, else what `largest_batch` finds; config.json
    has it under "chosen". Raises OutOfMemory if not a single image fits.
    """
    accumulate, size = getattr(t, "accumulate", 1), t.batch_size
    if accumulate > 1:
        learn.add_cb(Accumulation(first_size(t)))
    if size == AUTO:
        chosen = run.config.setdefault("chosen", {})
        if "batch_size" not in chosen:
            steps = 1 if getattr(t, "same_batch", False) else getattr(t, "d_steps", 1)
            chosen["batch_size"], why = largest_batch(learn, accumulate, steps)
            run.write_config()
            _log.info("%s: batch size %d fits the memory (%s)", run.path, chosen["batch_size"], why)
        size = chosen["batch_size"]
    if accumulate > 1:
        learn.accumulation.size = size // processes.world()  # a batch is that of all processes
    if accumulate > 1 or t.batch_size == AUTO:
        set_batch_size(learn.dls, size, accumulate)


def largest_batch(learn: Learner, accumulate: int = 1, steps: int = 1) -> tuple[int, str]:
    """The largest of SIZES whose training steps fit the memory, and why it is not larger.

    On a GPU each size is tried, of one real batch repeated, until one does not fit or leaves less
    than RESERVE of the memory free; elsewhere two small batches are measured, and what larger ones
    take is computed. accumulate: parts of a batch of so many images each; steps: batches until
    every network has stepped. All is as before afterwards, see `without_trace`.
    """
    images = learn.dls.train.n
    most = max(1, images // (FEWEST_STEPS * accumulate))
    sizes = [size for size in SIZES if size <= most]
    with without_trace(learn):
        batch = learn.dls.train.one_batch()

        def train(size: int, *cbs: Callback) -> None:
            if accumulate > 1:
                learn.accumulation.size = size
            rows = torch.arange(size * accumulate) % len(batch[0])
            larger = tuple(part[rows.to(part.device)] for part in batch)
            fit_on(learn, [larger] * steps, cbs)

        device = learn.dls.device
        if device.type == "cuda":
            fits, said = _tried(learn, train, device)
        else:
            fits, said = _computed(train)
        found = list(takewhile(fits, sizes))
    if not found:
        raise OutOfMemory("out of memory with a single image: try a smaller --size or model")
    if found[-1] == SIZES[-1]:
        return found[-1], f"{said()}, the largest that auto chooses"
    if found == sizes:
        return found[-1], f"{said()}, and an eighth of the {images} training images"
    return found[-1], said()


def _tried(
    learn: Learner, train: Callable, device: torch.device
) -> tuple[Callable[[int], bool], Callable[[], str]]:
    """Whether a size fits a GPU, a function that tries it; and what the largest that did takes."""
    said = [""]

    def fits(size: int) -> bool:
        try:
            train(size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        else:
            # What torch keeps is the most that a step took; others may use the GPU, too.
            kept, free = torch.cuda.memory_reserved(device), torch.cuda.mem_get_info(device)[0]
            if free < RESERVE * (kept + free):
                return False
            said.append(f"{kept / 1e9:.1f} of {(kept + free) / 1e9:.1f} GB")
            return True
        finally:
            forget(learn)

    return fits, lambda: said[-1]


def _computed(train: Callable) -> tuple[Callable[[int], bool], Callable[[], str]]:
    """The same without a GPU, from what two small batches take."""
    free, fitting = free_memory(), [0.0]
    train(_MEASURED[0])  # makes the optimizers' states
    (few, taken), (more, larger) = (_most_bytes(train, size) for size in _MEASURED)
    image = (more - few) / (_MEASURED[1] - _MEASURED[0])

    def fits(size: int) -> bool:
        needed = max(few + image * (size - _MEASURED[0]), taken, larger)
        if needed <= SHARE * free:
            fitting.append(needed)
        return needed <= SHARE * free

    def said() -> str:
        return f"about {fitting[-1] / 1e9:.2g} of {free / 1e9:.1f} GB that are free"

    return fits, said


def _most_bytes(train: Callable, size: int) -> tuple[int, int]:
    """What a training takes at most for its passes, and with the optimizer's steps.

    The latter do not depend on the batch, and for a few images take more than all passes.
    """
    passes = []
    with _LiveBytes() as live:
        train(size, Callback(after_backward=lambda self: passes.append(live.most)))
    return passes[0], live.most


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made inside it; most: the largest sum of those alive at once.

    Unlike the memory of the process it is the same in every run.
    """

    def __init__(self):
        super().__init__()
        self.now, self.most, self.known = 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def saying_what_to_try(
    t: Training, size: int | None = None, kept: Callable[[], str] = str
) -> AbstractContextManager[None]:
    """Turns the errors of a full memory into one that names the batch size and a smaller one.

    size: the batch size, if "auto" chose it; kept: what there is to say of the run so far.
    """
    asked = t.batch_size if size is None else size
    return naming_what_was_large(lambda: f"at batch size {asked}: try {_advice(t, asked)}{kept()}")


def _advice(t: Training, size: int | str) -> str:
    names, tries = {each.name for each in fields(t)}, []
    if size == AUTO:
        tries = ["a number for --batch-size"]
    elif size > 1:
        more = f" --accumulate {2 * t.accumulate}" if "accumulate" in names else ""
        tries = [f"--batch-size {size // 2}{more}"]
    smaller = "a smaller --size" if "size" in names else "a model of a smaller size"
    return " or ".join((*tries, smaller))
