"""What commands say: the log on stderr, what was made, and how the last of stdout goes out."""

import logging
import os
import sys
from pathlib import Path

from colourgan.files import shown
from colourgan.processes import launched_rank


class _BesideBars(logging.Handler):
    """Writes messages to stderr, above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        level = "warning: " if record.levelno == logging.WARNING else ""
        tqdm.write(f"{level}{record.getMessage()}", file=sys.stderr)


def show_log() -> None:
    """Shows what the package logs, in the first of several processes."""
    log = logging.getLogger("colourgan")
    if not log.handlers:
        log.addHandler(_BesideBars())
    log.setLevel(logging.ERROR if launched_rank() else logging.INFO)


def done(what: str, *paths: Path | None) -> None:
    """Names on stderr what was made: stdout belongs to tables and JSON."""
    named = ", ".join(shown(path) for path in paths if path)
    print(f"{what}: {named}" if named else what, file=sys.stderr)


def flush() -> None:
    """Writes what stdout still holds; silent if nobody reads it any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
