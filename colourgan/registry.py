"""A registry: a dict that is filled by a decorator and that suggests names when one is wrong."""

from collections.abc import Callable
from difflib import get_close_matches

from colourgan.errors import UsageError


class Registry(dict):
    """name → entry, in the order of registration.

    kind: the singular noun used in messages ("encoder"); `colourgan list {kind}s` prints the names.
    A missing name raises UsageError that says the nearest names and all choices.
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable:
        """A decorator that enters what it decorates under `name`; ValueError if it is taken."""

        def enter(entry):
            if name in self:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self[name] = entry
            return entry

        return enter

    def __missing__(self, name: str):
        near = get_close_matches(name, self, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"unknown {self.kind} '{name}': {hint}choices: {', '.join(self)}")
