"""The errors a user can cause; the command line turns each into one line on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """Wrong use: an unknown name, a missing file, an impossible size. Exit code 2."""


class RunError(RuntimeError):
    """A run that could not go on: broken file, full disk, NaN in a loss. Exit code 1."""


class Diverged(RunError):
    """A loss became NaN or infinite; what was trained before is kept."""


class OtherSettings(UsageError):
    """A run cannot go on as it was asked to: it was started with other settings."""


class DiskFull(RunError):
    """No space is left to write to."""


class Busy(RunError):
    """A run folder that another process is training in."""


class OutOfMemory(RunError):
    """The memory of the GPU or of the machine is too small for what was asked."""


_FULL = (
    "out of memory", "can't allocate memory", "bad_alloc", "failed to allocate memory",
    "bad allocation", "status_alloc_failed",
)  # fmt: skip


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error is that of a full memory: Python's, torch's or ONNX Runtime's own.

    An error that says so in this package's words already is none.
    """
    while error is not None and not isinstance(error, RunError | UsageError):
        if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _FULL):
            return True
        error = error.__context__  # fastai raises another where one has no message
    return False


@contextmanager
def naming_what_was_large(said: Callable[[], str]) -> Iterator[None]:
    """Turns the error of a full memory into one line, "out of memory" and what `said` adds."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"out of memory {said()}") from error
