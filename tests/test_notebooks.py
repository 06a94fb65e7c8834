"""nbdev's own command runs every notebook, every code cell must have run, and each has its form.

nbdev-test exits with 0 as well if it finds no notebook, or if cells or a whole notebook are marked
not to be run: therefore what ran is counted, in the execution counts that it saves.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "nbs"
NAMES = (
    "00_start_here.ipynb",
    "01_lab_color.ipynb",
    "02_what_a_unet_learns_with_l1.ipynb",
    "03_gan_finetuning.ipynb",
    "04_same_domain.ipynb",
    "05_cross_domain.ipynb",
    "06_objectives_compared.ipynb",
    "07_your_own_photos.ipynb",
    "08_the_packaged_model.ipynb",
)
EACH = pytest.mark.parametrize("name", NAMES)
MEGABYTE = 2**20
COLAB = re.compile(
    r"\]\(https://colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/main/(.+)\)"
)
INSTALL = re.compile(
    r'import sys\n\nif "google\.colab" in sys\.modules:\n'
    r'    %pip install -q "colourgan\[train\] @ git\+https://github\.com/([\w.-]+/[\w.-]+)"'
)
OF_ONE_MACHINE = re.compile(r"/(?:tmp|home|root|Users|content|usr|var)/|\d\d:\d\d|\bit/s\b")


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in cells(path) if cell["cell_type"] == "code" and source(cell)]


def outputs(name: str) -> list[dict]:
    return [output for cell in code_cells(NOTEBOOKS / name) for output in cell["outputs"]]


def texts(output: dict) -> str:
    """All that a reader would see of it as text."""
    data = output.get("data", {})
    shown = [data[kind] for kind in ("text/plain", "text/html") if kind in data]
    return "".join("".join(part) for part in [output.get("text", ""), *shown])


def forget_runs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])
    path.write_text(json.dumps(notebook), encoding="utf-8")


def copy_of_nbs(folder: Path) -> Path:
    ignored = shutil.ignore_patterns(".ipynb_checkpoints")
    return Path(shutil.copytree(NOTEBOOKS, folder / "nbs", ignore=ignored))


def nbdev(command: str, *options: str) -> list[str]:
    return [str(Path(sys.executable).with_name(f"nbdev-{command}")), *options]


@pytest.fixture(scope="module")
def after_nbdev_test(tmp_path_factory):
    """A copy of nbs/ that `nbdev-test` has run and saved."""
    folder = tmp_path_factory.mktemp("notebooks")
    copies = copy_of_nbs(folder)
    for path in copies.glob("*.ipynb"):
        forget_runs(path)
    run = subprocess.run(
        nbdev("test", "--save"),
        cwd=folder,
        env=os.environ | surroundings(folder),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Success." in run.stdout, run.stdout + run.stderr
    return copies


def surroundings(folder: Path) -> dict[str, str]:
    """Data of their own; one thread each, as they run side by side."""
    return {
        "FASTAI_HOME": str(folder / "fastai"),
        "COLOURGAN_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def test_the_notebooks_are_those_of_the_list():
    assert sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")) == list(NAMES)


@EACH
def test_nbdev_test_runs_every_code_cell(name, after_nbdev_test, capsys):
    wanted = len(code_cells(NOTEBOOKS / name))
    ran = [cell for cell in code_cells(after_nbdev_test / name) if cell["execution_count"]]
    with capsys.disabled():
        print(f"\nnbdev-test ran {len(ran)} of {wanted} code cells of nbs/{name}")
    assert len(ran) == wanted > 0


@EACH
def test_every_notebook_checks_what_it_shows(name):
    assert any("assert" in source(cell) for cell in code_cells(NOTEBOOKS / name))


@EACH
def test_it_opens_with_a_question_and_ends_with_an_answer(name):
    first, *_, last = cells(NOTEBOOKS / name)
    assert re.match(r"# [^\n]+\?\n", source(first))
    assert last["cell_type"] == "markdown"
    assert re.match(r"## Answer\n\n\w[^#]{200,}", source(last))


@EACH
def test_it_opens_in_colab_and_installs_there_only(name):
    badge = COLAB.search(source(cells(NOTEBOOKS / name)[0]))
    assert badge and badge[2] == f"nbs/{name}"
    installs, settings = code_cells(NOTEBOOKS / name)[:2]
    found = INSTALL.fullmatch(source(installs))
    assert found and found[1] == badge[1]
    assert re.search(r"^[A-Z].* = Path\(tempfile\.mkdtemp\(\)\)", source(settings), re.MULTILINE)


def test_all_of_them_name_one_repository():
    found = {COLAB.search(source(cells(NOTEBOOKS / name)[0]))[1] for name in NAMES}
    assert len(found) == 1, found


@EACH
def test_it_imports_the_package_and_defines_no_class(name):
    code = "\n".join(source(cell) for cell in code_cells(NOTEBOOKS / name))
    assert re.search(r"^from colourgan", code, re.MULTILINE)
    assert not re.search(r"^\s*class\b", code, re.MULTILINE)


@EACH
def test_its_outputs_are_kept_and_hold_nothing_of_one_machine(name):
    """To make them: `nbdev-test --save`, take away stderr, progress bars and the larger of PNG and
    JPEG where a picture is stored as both, then `nbdev-clean`.
    """
    found = outputs(name)
    assert {"image/png", "image/jpeg"} & {kind for o in found for kind in o.get("data", {})}
    for output in found:
        assert output["output_type"] != "error" and output.get("name") != "stderr"
        assert not (noise := OF_ONE_MACHINE.search(texts(output))), noise
    assert (NOTEBOOKS / name).stat().st_size < MEGABYTE


def test_nbdev_clean_has_nothing_to_do(tmp_path):
    copies = copy_of_nbs(tmp_path)
    subprocess.run(nbdev("clean", "--fname", str(copies)), cwd=tmp_path, check=True)
    changed = [
        name for name in NAMES if (copies / name).read_bytes() != (NOTEBOOKS / name).read_bytes()
    ]
    assert not changed
