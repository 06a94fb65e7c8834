"""Lists of pictures: text, CSV, JSON lines and parquet files of paths, and pictures in parquet."""

import json
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from tiny_colorizers import Painter

from colourgan.colorize import Colorizer, colorize_files
from colourgan.colorize.inputs import tasks
from colourgan.colorize.listings import listed, pictures
from colourgan.errors import RunError, UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 8), (120, 120, 120)).save(name)


def picture() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (12, 8), (120, 120, 120)).save(buffer, "PNG")
    return buffer.getvalue()


def written(*inputs: str) -> dict[str, str]:
    """What becomes of what."""
    return {str(each.source): str(*each.targets) for each in tasks(inputs, Path("out"))}


PATHS = ["a.png", "sub/b.jpg", "", "sub/../a.png"]
LISTS = {
    "list.txt": "\r\n".join(PATHS) + "\n",
    "list.csv": 'label,path\n1,a.png\n2,"sub/b.jpg"\n3,\n4,sub/../a.png\n',
    "list.jsonl": "\n".join(json.dumps({"path": path}) if path else "" for path in PATHS),
    "strings.jsonl": '"a.png"\n"sub/b.jpg"\n',
    "LIST.TXT": "\ufeffa.png\nsub/b.jpg",
}


@pytest.mark.parametrize("name", LISTS)
def test_paths_of_a_list_are_beside_it_and_keep_their_folders(name, folder):
    put("x/a.png", "x/sub/b.jpg")
    Path("x", name).write_text(LISTS[name], newline="", encoding="utf-8")
    expected = {"x/a.png": "out/a.png", "x/sub/b.jpg": "out/sub/b.jpg"}
    assert written(f"x/{name}") == expected
    outcomes = colorize_files([f"x/{name}"], Colorizer(Painter(), working_size=16), progress=False)
    assert [each.state for each in outcomes] == ["colored"] * 2


def test_a_path_that_leads_elsewhere_has_all_its_folders_in_its_name(folder):
    put("a.png", "x/b.png")
    Path("x/list.txt").write_text(f"../a.png\n{folder}/x/b.png\n")
    below = folder.relative_to("/")
    expected = {"x/../a.png": f"out/{below}/a.png", f"{folder}/x/b.png": f"out/{below}/x/b.png"}
    assert written("x/list.txt") == expected


def test_a_picture_that_is_listed_and_named_is_colored_once(folder):
    put("a.png", "x/b.png")
    Path("list.txt").write_text("a.png\nx/b.png\na.png\n")
    assert written("a.png", "list.txt", "x") == {"a.png": "out/a.png", "x/b.png": "out/x/b.png"}


def test_what_is_listed_and_not_there_has_failed_and_the_others_have_not(folder):
    put("a.png")
    Path("list.txt").write_text("none.png\na.png\n.\n")
    with pytest.raises(UsageError, match=r"list.txt lists '.', which is no path"):
        tasks(["list.txt"], Path("out"))
    Path("list.txt").write_text("none.png\na.png\n")
    outcomes = colorize_files(["list.txt"], Colorizer(Painter(), working_size=16), progress=False)
    assert [each.state for each in outcomes] == ["failed", "colored"]
    assert outcomes[0].notes == ("cannot read none.png: No such file or directory",)


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("l.txt", "\n\n", UsageError, "nothing to colorize"),
        ("l.txt", "a\0b", UsageError, r"lists 'a\\x00b'"),
        ("l.csv", "file,label\na.png,1\n", UsageError, "no column path: its columns are file, lab"),
        ("l.csv", "", UsageError, "its columns are none"),
        ("l.jsonl", '{"path": "a"}\n{"file": "b"}\n', UsageError, 'line 2 is no JSON object with'),
        ("l.jsonl", "a.png\n", UsageError, "line 1 is no JSON object"),
        ("l.parquet", "a.png\n", RunError, "l.parquet is damaged or no parquet file"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_read(name, text, error, message, folder):
    Path(name).write_text(text)
    with pytest.raises(error, match=message) as caught:
        tasks([name], Path("out"))
    assert "\n" not in str(caught.value)


def test_parquet_needs_pyarrow(folder, monkeypatch):
    Path("l.parquet").touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"needs pyarrow: pip install 'colourgan\[ray\]'"):
        tasks(["l.parquet"], Path("out"))


def write(file: str, group: int = 100, **columns) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), file, row_group_size=group)


def test_a_parquet_file_of_paths_is_a_list_and_so_is_a_folder_of_them(folder):
    put("x/a.png", "x/sub/b.jpg")
    write("x/deep/one.parquet", path=["../a.png", None])
    write("x/list.parquet", path=["a.png", "sub/b.jpg"], label=[1, 2])
    expected = {"x/a.png": "out/a.png", "x/sub/b.jpg": "out/sub/b.jpg"}
    assert written("x/list.parquet") == expected
    Path("y").mkdir()
    Path("x/list.parquet").rename("y/list.parquet")
    assert written("y") == {"y/a.png": "out/a.png", "y/sub/b.jpg": "out/sub/b.jpg"}
    assert set(written("x")) == {"x/a.png", "x/sub/b.jpg"}  # a folder of pictures is one
    write("z.parquet", label=[1])
    with pytest.raises(UsageError, match="no column path or image or bytes: its columns are label"):
        tasks(["z.parquet"], Path("out"))


def test_pictures_in_parquet_are_called_as_in_a_folder(folder):
    png = picture()
    names = ["a.jpg", "sub/b.gif", "../../c.png", None, "a.jpg"]
    write("d/x.parquet", 2, image=[{"bytes": png, "path": name} for name in names])
    write("d/e/y.parquet", bytes=[png], name=["n.png"])
    write("d/e/z.parquet", bytes=[png])
    assert written("d") == {
        "d/e/y.parquet/n.png": "out/e/y/n.png",
        "d/e/z.parquet/00000000": "out/e/z/00000000.png",
        "d/x.parquet/a.jpg": "out/x/a.jpg",
        "d/x.parquet/sub/b.gif": "out/x/sub/b.png",
        "d/x.parquet/c.png": "out/x/c.png",
        "d/x.parquet/00000003": "out/x/00000003.png",
        "d/x.parquet/a-00000004.jpg": "out/x/a-00000004.jpg",
    }
    rows = [task.row for task in tasks(["d/x.parquet"], Path("out"))]
    assert [row[1:] for row in rows] == [
        (0, 0, "image"), (0, 1, "image"), (1, 0, "image"), (1, 1, "image"), (2, 0, "image"),
    ]  # fmt: skip
    assert list(pictures(Path("d/x.parquet"), 1, "image")) == [(png, "../../c.png"), (png, None)]
    with pytest.raises(UsageError, match="by Ray: add --engine ray"):
        colorize_files(["d"], Colorizer(Painter(), working_size=16), progress=False)
    assert len(list(listed(Path("d/e/z.parquet")))) == 1
