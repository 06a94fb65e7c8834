"""What commands say when they are done, and how the last of stdout goes out."""

import os
import sys
from pathlib import Path


def done(what: str, *paths: Path | None) -> None:
    """Names on stderr what was made: stdout belongs to tables and JSON."""
    print(f"{what}: {', '.join(str(path) for path in paths if path)}", file=sys.stderr)


def flush() -> None:
    """Writes what stdout still holds; silent if nobody reads it any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
