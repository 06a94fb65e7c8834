"""Dataclasses of options: a field is the only place of an option's name, type, default and help.

Its checks, its place on the command line and in JSON, and what a value differs in from the defaults
are derived here; `training` and `part` make one dataclass of others.
"""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from inspect import get_annotations
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Any, NamedTuple, get_args, get_origin

from colourgan.errors import UsageError


class Condition(NamedTuple):
    """When an option has an effect. text: what must be given, for messages."""

    text: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, kw_only=True)
class Option:
    """What a field's metadata says of it under the key "option".

    least, above, most, below: bounds of a number; words: what may stand in its place. choices: the
    allowed words; kind: of a name that a registry lists, with further ones in `choices`. none: what
    None stands for. unit: of a number. needs: each must hold, or a value other than the default is
    refused as without effect. role: "place" (says where a run takes place, not what it computes),
    "data", "encoder" or "file" (identified by content, not by path). positional: an argument of the
    command, not an option.
    """

    help: str
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    words: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    kind: str = ""
    none: str = ""
    unit: str = ""
    needs: tuple[Condition, ...] = ()
    role: str = ""
    positional: bool = False

    def describe(self) -> str:
        """Help, choices and what None stands for, in one line."""
        text = self.help
        if self.kind:
            others = "".join(f"{word}, or " for word in self.choices)
            text = f"{text[:-1]}: {others}see `colourgan list {self.kind}s`."
        elif self.choices:
            *first, last = self.choices
            text = f"{text[:-1]}: {', '.join(first)} or {last}."
        return f"{text} [default: {self.none}]" if self.none else text

    def wrong(self, value: Any) -> str:
        """Why a value is not allowed, as in "must be 1 or more"; "" if it is."""
        if isinstance(value, tuple):
            return next(filter(None, map(self.wrong, value)), "")
        if isinstance(value, str) and self.choices and not self.kind and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}"
        if value is None or isinstance(value, (str, bool, Path)):
            return ""
        bounds = (
            (self.least, "{:g} or more", operator.ge),
            (self.above, "above {:g}", operator.gt),
            (self.most, "at most {:g}", operator.le),
            (self.below, "below {:g}", operator.lt),
        )
        bounds = [bound for bound in bounds if bound[0] is not None]
        if math.isfinite(value) and all(inside(value, end) for end, _, inside in bounds):
            return ""
        words = " and ".join(text.format(end) for end, text, _ in bounds)
        return f"must be {words or 'a finite number'}"


def option(default: Any, help: str, **about: Any) -> Any:
    """A dataclass field with an Option."""
    return field(default=default, metadata={"option": Option(help=help, **about)})


class Part(NamedTuple):
    """See `part`."""

    prefix: str
    without: tuple[str, ...]
    follows: tuple[str, ...]


class Entry(NamedTuple):
    """An option by its name on the command line: its field, its Option, its default there.

    follows: the option whose value it has unless it is given, see `part`.
    """

    name: str
    field: Field
    about: Option
    default: Any
    follows: str = ""


def entries(kind: type) -> Iterator[Entry]:
    """The options of a dataclass, its own before those it inherits; a part's with its prefix."""
    inherited = {each.name for each in _inherited(kind)}
    for each in sorted(fields(kind), key=lambda each: each.name in inherited):
        if about := each.metadata.get("option"):
            yield Entry(each.name, each, about, each.default)
        else:
            prefix, without, follows = each.metadata["part"]
            for inner in entries(each.type):
                if inner.name in follows:
                    about = replace(inner.about, none=f"that of {flag(inner.name)}")
                    yield Entry(prefix + inner.name, inner.field, about, None, inner.name)
                elif inner.name not in without:
                    default = getattr(each.default, inner.name)
                    yield inner._replace(name=prefix + inner.name, default=default)


def flat(value: Any) -> dict[str, Any]:
    """Name on the command line → value, fit for JSON, of a dataclass of options."""
    found = {}
    for each in fields(value):
        given = getattr(value, each.name)
        if "option" in each.metadata:
            found[each.name] = list(given) if isinstance(given, tuple) else _plain(given)
        else:
            prefix, without, _ = each.metadata["part"]
            found |= {prefix + k: v for k, v in flat(given).items() if k not in without}
    return found


def made(kind: type, given: Mapping[str, Any], start: Any = None) -> Any:
    """An instance of `kind` from what `flat` gives; what is left out is of `start`, or default.

    None for an option that follows another is as if it were left out. Raises UsageError for a name
    that is no option of it, or a wrong value.
    """
    changes, used = {}, set()
    for each in fields(kind):
        if "option" in each.metadata:
            if each.name in given:
                changes[each.name] = given[each.name]
                used.add(each.name)
            continue
        prefix, without, follows = each.metadata["part"]
        names = {prefix + inner.name: inner.name for inner in fields(each.type)}
        names = {k: v for k, v in names.items() if v not in without}
        used |= names.keys() & given.keys()
        new = {v: given[k] for k, v in names.items() if k in used}
        new = {k: v for k, v in new.items() if v is not None or k not in follows}
        if not start:
            new |= {name: given[name] for name in follows if name in given and name not in new}
        try:
            base = getattr(start, each.name) if start else each.default
            changes[each.name] = replace(base, **new)
        except UsageError as error:
            known = {flag(v): flag(k) for k, v in names.items()}
            words = re.split("(--[a-z0-9-]+)", str(error))
            raise UsageError("".join(known.get(word, word) for word in words)) from None
    if unknown := given.keys() - used:
        raise UsageError(f"unknown option {flag(min(unknown))}")
    return replace(start, **changes) if start else kind(**changes)


def command_options(value: Any) -> list[str]:
    """The options that make such a value on the command line: no arguments, no places."""
    words, given = [], flat(value)
    for each in entries(type(value)):
        is_list = isinstance(each.default, tuple)
        if each.about.positional or each.about.role == "place":
            continue
        default = given[each.follows] if each.follows else each.default
        if given[each.name] == (list(default) if is_list else default):
            continue
        if each.field.type is bool:
            words.append(flag(each.name) if given[each.name] else flag(f"no_{each.name}"))
        else:
            shown = given[each.name]
            text = ",".join(map(str, shown)) if isinstance(shown, list) else str(shown)
            words += [flag(each.name), text]
    return words


def options(kind: type) -> Iterator[tuple[Field, Option]]:
    """Every field of a dataclass with its Option."""
    return ((each, each.metadata["option"]) for each in fields(kind) if "option" in each.metadata)


def part(default: Any, prefix: str, without: tuple[str, ...], follows: tuple[str, ...] = ()) -> Any:
    """A dataclass field that is a training itself: the base of an experiment's trainings.

    prefix: of its options on the command line; without: those that the experiment sets; follows:
    those that are what the option without the prefix is, unless they are given.
    """
    return field(default=default, metadata={"part": Part(prefix, without, follows)})


def training(**changed: Any) -> Callable[[type], type]:
    """A decorator: a frozen, keyword-only dataclass that changes defaults of inherited options.

    changed: option → its default here, or (default, {what else of its Option differs}).
    """

    def decorate(cls: type) -> type:
        inherited = {each.name: each for each in _inherited(cls)}
        for name, value in changed.items():
            default, about = value if isinstance(value, tuple) else (value, {})
            before = inherited[name]
            kept = vars(before.metadata["option"]) | about
            setattr(cls, name, option(default, **kept))
            cls.__annotations__ = get_annotations(cls) | {name: before.type}
        return dataclass(frozen=True, kw_only=True)(cls)

    return decorate


def _inherited(kind: type) -> list[Field]:
    """The fields of a class's bases, the nearer base's last."""
    bases = (base for base in reversed(kind.__mro__[1:]) if is_dataclass(base))
    return [each for base in bases for each in fields(base)]


class Options:
    """Checks of every dataclass of options, and its plain values."""

    def __post_init__(self):
        for each, about in options(type(self)):
            value = _converted(each, getattr(self, each.name))
            object.__setattr__(self, each.name, value)
            if why := about.wrong(value):
                raise UsageError(f"{flag(each.name)} {why}, not {value}")
        for each, about in options(type(self)):
            for condition in about.needs:
                if getattr(self, each.name) != each.default and not condition.holds(self):
                    raise UsageError(f"{flag(each.name)} has no effect without {condition.text}")
        self.check()

    def check(self) -> None:
        """What must hold between options; UsageError if it does not."""

    @classmethod
    def made(cls, given: Mapping[str, Any]) -> Any:
        """An instance from names and values; TypeError for a name that is no option of it."""
        known = [each.name for each in fields(cls)]
        for name in given.keys() - set(known):
            near = get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise TypeError(f"{cls.__name__} has no option '{name}': {hint}{', '.join(known)}")
        return cls(**given)


def flag(name: str) -> str:
    """An option's name on the command line."""
    return "--" + name.replace("_", "-")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _converted(each: Field, value: Any) -> Any:
    """The value as the field's type: paths and lists of a notebook or of JSON are taken as well."""
    kinds = get_args(each.type) if get_origin(each.type) is UnionType else (each.type,)
    if value is None and type(None) in kinds:
        return None
    if inner := [get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple]:
        if isinstance(value, (list, tuple)):
            return tuple(_as(inner, part, each) for part in value)
        raise UsageError(f"{flag(each.name)} must be a list, not {value!r}")
    return _as([kind for kind in kinds if kind is not type(None)], value, each)


def _as(kinds: list[type], value: Any, each: Field) -> Any:
    """A single value as one of these types; UsageError if it is of none."""
    words = each.metadata["option"].words
    if words and isinstance(value, str):
        if value in words:
            return value
        value = _number(value)  # as the command line has it
    elif Path in kinds and isinstance(value, (str, Path)):
        return Path(value)
    elif str in kinds and isinstance(value, (str, Path)):
        return str(value)
    if bool in kinds and isinstance(value, bool):
        return value
    try:
        if int in kinds and not isinstance(value, (bool, str)) and value == int(value):
            return int(value)
        if float in kinds and not isinstance(value, (bool, str)):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    plain = [kind.__name__ for kind in kinds if not (words and kind is str)]
    raise UsageError(f"{flag(each.name)} must be {' or '.join((*plain, *words))}, not {value!r}")


def _number(text: str) -> float | str:
    """The number that a text is, or the text."""
    try:
        return float(text)
    except ValueError:
        return text


def adapted(value: Any, **changes: Any) -> Any:
    """dataclasses.replace; options that have no effect beside the changes go back to defaults."""
    values = {each.name: getattr(value, each.name) for each in fields(value)} | changes
    loose = SimpleNamespace(**values)
    for each, about in options(type(value)):
        if each.name not in changes and not all(need.holds(loose) for need in about.needs):
            values[each.name] = each.default
    return type(value)(**values)


def places(value: Any) -> list[str]:
    """The options that say where a run takes place, not what it computes."""
    return [each.name for each, about in options(type(value)) if about.role == "place"]


def differences(value: Any) -> dict[str, Any]:
    """What differs from the defaults, but for places: what a run is, beside contents of files."""
    return {
        each.name: _plain(getattr(value, each.name))
        for each, about in options(type(value))
        if about.role != "place" and getattr(value, each.name) != each.default
    }
