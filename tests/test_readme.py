"""What README and RESULTS promise: their commands parse, their Python runs, their files exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from colourgan import cli

ROOT = Path(__file__).parents[1]
PAGES = {path: (ROOT / path).read_text() for path in ("README.md", "bench/RESULTS.md")}
README = PAGES["README.md"]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", "\n".join(PAGES.values()), re.DOTALL)
PARSERS = typer.main.get_command(cli.app).commands
COMMANDS = [
    shlex.split(line.replace("\\\n", " "), comments=True)
    for kind, text in BLOCKS
    for line in re.findall(r"^colourgan .*?(?<!\\)$", text, re.MULTILINE | re.DOTALL)
    if kind == "bash"
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_and_options_exist(words):
    known = {name for option in PARSERS[words[1]].params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_readme_is_a_page():
    assert len(README.splitlines()) <= 210


def test_there_are_commands():
    assert {words[1] for words in COMMANDS} >= {"pretrain", "gan-finetune", "evaluate", "colorize"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    prose = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)h#][^)]*)\)", prose)
    assert targets
    for target in targets:
        assert ((ROOT / page).parent / target).exists(), target


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_python_imports_work():
    for kind, text in BLOCKS:
        if kind == "python":
            imports = [line for line in text.splitlines() if line.startswith("from ")]
            assert imports
            exec("\n".join(imports))


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
