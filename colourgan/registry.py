"""A registry: a dict that is filled by a decorator and that suggests names when one is wrong."""

from collections.abc import Callable
from difflib import SequenceMatcher
from itertools import takewhile

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
        nearness = {"": (0.0, 0)}
        for choice in self:
            # Of equally similar names the one that begins alike is nearer: resnet2O is no resnet32.
            alike = takewhile(lambda pair: pair[0] == pair[1], zip(name, choice, strict=False))
            nearness[choice] = SequenceMatcher(None, name, choice).ratio(), len(list(alike))
        near = max(nearness, key=nearness.get)
        hint = f"did you mean '{near}'? " if nearness[near][0] > 0.5 else ""
        raise UsageError(f"unknown {self.kind} '{name}': {hint}choices: {', '.join(self)}")
