"""nbdev's own command runs every notebook, and every code cell must have run.

nbdev-test exits with 0 as well if it finds no notebook, or if cells or a whole notebook are marked
not to be run: therefore what ran is counted, in the execution counts that it saves.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "nbs"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"])]


def forget_runs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])
    path.write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture(scope="module")
def after_nbdev_test(tmp_path_factory):
    """A copy of nbs/ that `nbdev-test` has run and saved."""
    folder = tmp_path_factory.mktemp("notebooks")
    copies = folder / "nbs"
    shutil.copytree(NOTEBOOKS, copies, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for path in copies.glob("*.ipynb"):
        forget_runs(path)
    command = [str(Path(sys.executable).with_name("nbdev-test")), "--save"]
    run = subprocess.run(
        command, cwd=folder, env=os.environ | own_data(folder), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Success." in run.stdout, run.stdout + run.stderr
    return copies


def own_data(folder: Path) -> dict[str, str]:
    return {"FASTAI_HOME": str(folder / "fastai"), "COLOURGAN_CACHE": str(folder / "cache")}


def test_there_is_a_notebook_to_start_with():
    assert "00_start_here.ipynb" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_nbdev_test_runs_every_code_cell(name, after_nbdev_test, capsys):
    wanted = len(code_cells(NOTEBOOKS / name))
    ran = [cell for cell in code_cells(after_nbdev_test / name) if cell["execution_count"]]
    with capsys.disabled():
        print(f"\nnbdev-test ran {len(ran)} of {wanted} code cells of nbs/{name}")
    assert len(ran) == wanted > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_notebook_checks_what_it_shows(name):
    assert any("assert" in "".join(cell["source"]) for cell in code_cells(NOTEBOOKS / name))
