"""Commands from dataclasses of options: their command line and --help are derived, not declared."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from colourgan.errors import UsageError
from colourgan.options import Entry, entries, flag

_METAVARS = {int: "<int>", float: "<float>"}  # as Typer writes them for numbers
_LISTS = (tuple[str, ...], tuple[str, ...] | None, tuple[int, ...])


def hint(kind: type, name: str) -> Any:
    """The type hint of one of a dataclass's options, for a command that is written by hand."""
    return next(_hint(each) for each in entries(kind) if each.name == name)


def _hint(entry: Entry) -> Any:
    kinds = get_args(entry.field.type) or (entry.field.type,)
    plain = () if entry.field.type in _LISTS else (bool, int, float, Path)
    base = number = next((kind for kind in plain if kind in kinds), str)
    if entry.about.words:  # beside numbers
        base = str
    text = entry.about.describe()
    if entry.about.positional:
        return Annotated[base | None if entry.default is None else base, typer.Argument(help=text)]
    names = [flag(entry.name)] if base is bool and entry.about.role == "place" else []
    shape = {"metavar": f"<{entry.about.unit}>"} if entry.about.unit else {}
    if base is not number and not shape:
        shape = {"metavar": _METAVARS[number]}
    shown = entry.default not in (None, ()) and base is not bool
    return Annotated[
        base | None if entry.default is None else base,
        typer.Option(*names, help=text, show_default=shown, **shape),
    ]


def command(kind: type, call: Callable, name: str, help: str, **flags: str) -> Callable[..., None]:
    """A function for Typer with the options of `kind`.

    call: gets the typer.Context and a mapping from names to values. flags: further ones, name →
    help; they are in the mapping, too.
    """

    def run(context: typer.Context, **given: Any) -> None:
        call(context, given)

    keyword = partial(Parameter, kind=Parameter.KEYWORD_ONLY)
    parameters = [keyword("context", annotation=typer.Context)]
    for each in entries(kind):
        default = each.default
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        elif default == "" and each.about.positional:
            default = Parameter.empty
        parameters.append(keyword(each.name, default=default, annotation=_hint(each)))
    for flagged, text in flags.items():
        annotation = Annotated[bool, typer.Option(flag(flagged), help=text)]
        parameters.append(keyword(flagged, default=False, annotation=annotation))
    run.__signature__ = Signature(parameters)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__name__, run.__doc__ = name, help
    return run


def parsed(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """A command's values with lists, which are written with commas, as lists."""
    known = {each.name: each.field for each in entries(kind)}
    found = {name: value for name, value in given.items() if name in known}
    for name, value in found.items():
        each = known[name]
        if isinstance(value, str) and each.type in _LISTS:
            words = listed(flag(each.name), value, "names") if value.strip() else []
            try:
                found[name] = tuple(map(int if each.type == tuple[int, ...] else str, words))
            except ValueError:
                raise UsageError(f"{flag(each.name)} {value}: give numbers, as 32,64") from None
    return found


def listed(option: str, text: str, what: str) -> list[str]:
    """The names between the commas; UsageError if one is left out, which `what` names."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"{option} {text!r} leaves a name out: give {what}, one comma between two")
    return names


def given_on(context: typer.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the command line names itself, without the defaults."""
    source = context.get_parameter_source
    return {name: v for name, v in values.items() if source(name).name == "COMMANDLINE"}
