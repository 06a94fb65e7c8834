"""The house of colourgan/__init__.py: who may import whom, and what importing costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import colourgan

PACKAGE = Path(colourgan.__file__).parent
SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
ENTRANCES = {"__init__", "__main__"}  # they stand outside the house


def house(text):
    """module → floor, read from the map: '  2  generators, callbacks   what they are for'."""
    floors, floor = {}, None
    for line in text.splitlines():
        if match := re.match(r"    (\d| )  (\w+(?:, \w+)*)(?:  |$)", line):
            number, names = match.groups()
            floor = floor if number == " " else int(number)
            floors |= dict.fromkeys(names.split(", "), floor)
    return floors


FLOORS = house(colourgan.__doc__)


def imported(code):
    """The top-level modules of colourgan that a source imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "colourgan":
            names = [f"colourgan.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a module comes from"
            names = [node.module]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("colourgan.")}
    return found


IMPORTS = {
    name: imported(path.read_text()) for name, path in SOURCES.items() if name not in ENTRANCES
}


def test_the_map_is_read_as_it_is_meant():
    text = "House:\n\n    0  one, two   words\n       three     more, words\n    1  four\n  five"
    assert house(text) == {"one": 0, "two": 0, "three": 0, "four": 1}
    code = "def f():\n  from colourgan import a, b\n  import colourgan.c.d\nimport os, colourgan"
    assert imported(code) == {"a", "b", "c"}


def test_every_module_has_its_place_on_the_map_and_the_map_nothing_else():
    assert {module.split(".")[0] for module in IMPORTS} == set(FLOORS)


@pytest.mark.parametrize("module", IMPORTS)
def test_a_module_imports_only_from_lower_floors(module):
    here = module.split(".")[0]
    others = IMPORTS[module] - {here}
    assert others <= set(FLOORS)
    # The ground floor's modules stand on each other; the next test sees that none stands on itself.
    upward = {n for n in others if FLOORS[n] >= FLOORS[here] and FLOORS[n] + FLOORS[here] > 0}
    assert not upward, f"{module}, floor {FLOORS[here]}, imports {upward}"


def test_no_import_leads_back():
    graph = {top: set() for top in FLOORS}
    for module, names in IMPORTS.items():
        graph[module.split(".")[0]] |= names - {module.split(".")[0]}
    while leaves := [top for top, names in graph.items() if not names & graph.keys()]:
        for top in leaves:
            del graph[top]
    assert not graph


def test_the_public_names_are_where_the_entrance_says():
    assert set(colourgan._PUBLIC.values()) <= set(FLOORS)
    # Importing a module of the same name anywhere would put it in the function's place.
    assert not set(colourgan.__all__) & set(FLOORS)
    for name in colourgan.__all__:
        assert getattr(colourgan, name).__name__ == name
    assert set(colourgan.__all__) <= set(dir(colourgan))
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        colourgan.pretrian  # noqa: B018


HEAVY = {"torch", "torchvision", "fastai", "timm", "numpy", "PIL", "matplotlib", "skimage"}


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("-c import\tcolourgan", ""),
        ("-m colourgan --help", "gan-finetune"),
        ("-m colourgan pretrain --help", "--encoder-lr-ratio"),
        ("-m colourgan study --help", "--gan-d-norm"),
        ("-m colourgan reproduce --help", "--width"),
    ],
)
def test_looking_at_the_entrance_loads_nothing_heavy(arguments, shown):
    command = [sys.executable, "-X", "importtime", *arguments.split(" ")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "colourgan" in loaded and not loaded & HEAVY
    assert shown in done.stdout and bool(shown) == bool(done.stdout)
