"""The errors a user can cause; the command line turns each into one line on stderr."""


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
