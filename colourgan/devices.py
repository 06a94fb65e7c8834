"""The processor that networks run on, and how many cores there are for the rest."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from colourgan.errors import UsageError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> "torch.device":
    """The device called `name`; "auto" takes a GPU if there is one. UsageError if it is missing."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{name}' is not available here: use cpu or auto") from error


def cores() -> int:
    """How many of the processor's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still take: of the machine, or of its container if less.

    root: where proc and sys are. Where the system does not say it, half of the memory there is.
    """
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for folder in _control_groups(root):
        names = ("max", "current") if (folder / "memory.max").is_file() else (
            "limit_in_bytes", "usage_in_bytes",
        )  # fmt: skip
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            limit, used = (int((folder / f"memory.{name}").read_text()) for name in names)
            found.append(max(0, limit - used + _cached(folder)))
    if not found and hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return min(found, default=4 * 2**30)


def _control_groups(root: Path) -> list[Path]:
    """Folders that tell the limits of this process, the nearest first."""
    mounted, found = root / "sys/fs/cgroup", []
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds in ("", "memory"):  # of version 2 and of version 1
                top = mounted / kinds
                nearest = top / path.strip("/")
                found += [nearest, *(up for up in nearest.parents if up.is_relative_to(top))]
    return found


def _cached(folder: Path) -> int:
    """Bytes of files that a control group holds in memory and gives up when it needs to."""
    with suppress(OSError, ValueError):
        words = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return sum(int(size) for name, size in words if name == "inactive_file")
    return 0
