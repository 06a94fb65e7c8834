"""Options that take several names, with commas between."""

from colourgan.errors import UsageError


def listed(option: str, text: str, what: str) -> list[str]:
    """The names between the commas; UsageError if one is left out, which `what` names."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"{option} {text!r} leaves a name out: give {what}, one comma between two")
    return names
