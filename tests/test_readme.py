"""What the README promises: its commands parse, its Python runs, its files exist."""

import inspect
import re
import shlex
from pathlib import Path

import pytest

from colourgan import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line.replace("\\\n", " "), comments=True)
    for kind, text in BLOCKS
    for line in re.findall(r"^colourgan .*?(?<!\\)$", text, re.MULTILINE | re.DOTALL)
    if kind == "bash"
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_and_options_exist(words):
    command = getattr(cli, words[1].replace("-", "_"))
    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(command).parameters}
    assert {word for word in words if word.startswith("--")} <= known


def test_there_are_commands():
    assert {words[1] for words in COMMANDS} >= {"pretrain", "gan-finetune", "evaluate", "colorize"}


def test_links_lead_to_files():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)h#][^)]*)\)", prose):
        assert (ROOT / target).exists(), target


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
