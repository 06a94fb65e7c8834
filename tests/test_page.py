"""The page: what it colors, what it refuses, what it keeps, and how it looks to a browser."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from tiny_page import address_of, as_bytes, browser, command, drawn, put

from colourgan import lab
from colourgan.colorize import Colorizer, colorize_bytes
from colourgan.colorize.colorizer import grey_copy
from colourgan.errors import RunError, UsageError
from colourgan.files import file_hash
from colourgan.hints import Hint
from colourgan.page import Limits
from colourgan.page.coloring import PREVIEW, REPORT, Coloring, Settings, marked
from colourgan.page.examples import FOLDER, examples, halves
from colourgan.page.limits import WORKING, Janitor
from colourgan.pictures import Picture

gradio = pytest.importorskip("gradio", reason="the page needs gradio")
import httpx  # noqa: E402 - which gradio brings

PACKAGED = {"packaged": "packaged"}
RED = (200, 40, 40)
PATIENCE = 120_000  # milliseconds: other tests may take the processor


def grey_of(picture: Image.Image | bytes) -> np.ndarray:
    """L of a picture, which coloring must leave as it was."""
    image = Image.open(BytesIO(picture)) if isinstance(picture, bytes) else picture
    return lab.lightness(np.asarray(image.convert("RGB")))


def is_of(color: bytes | Image.Image, pixels: np.ndarray) -> bool:
    """Whether a colored picture is that of these grey pixels."""
    L = lab.lightness(np.dstack([pixels] * 3))
    found = grey_of(color)
    return found.shape == L.shape and float(np.abs(found - L).mean()) < 0.02


# What colors the pictures, without a page


@pytest.fixture
def coloring(tmp_path) -> Coloring:
    return Coloring(PACKAGED, Limits(max_mb=1, max_megapixels=2), [tmp_path])


def test_the_file_is_what_the_command_line_gives(coloring, tmp_path):
    exif = Image.Exif()
    exif[315] = "Ann"
    path = put(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    settings = Settings(quality="best", saturation=1.3, temperature=0.4)
    own = Colorizer(quality="best", saturation=1.3, temperature=0.4)
    expected, _ = colorize_bytes(path.read_bytes(), own)
    assert coloring.file(path, settings) == (expected, ".jpg", ())
    coloring.preview(path, settings)  # which what is colored later makes use of
    assert coloring.file(path, settings)[0] == expected


def test_a_preview_is_small_and_like_the_file(coloring, tmp_path):
    path = put(tmp_path / "a.png", drawn(300, 2400))
    preview = coloring.preview(path, Settings())
    assert preview.grey.size == preview.color.size == (PREVIEW, 150)
    assert (preview.height, preview.width) == (300, 2400)
    whole = Image.open(BytesIO(coloring.file(path, Settings())[0]))
    assert whole.size == (2400, 300)
    difference = np.asarray(whole.reduce(2), float) - np.asarray(preview.color, float)
    assert np.abs(difference).mean() < 2


def test_only_what_changed_is_computed_again(coloring, tmp_path, monkeypatch):
    calls = []
    predict = Colorizer.predict
    monkeypatch.setattr(
        Colorizer, "predict", lambda self, given: calls.append(1) or predict(self, given)
    )
    path = put(tmp_path / "a.png")
    for settings in (Settings(), Settings(saturation=0.5), Settings(hints=(Hint(3, 4, RED),))):
        coloring.preview(path, settings)
    coloring.file(path, Settings(saturation=2))
    assert len(calls) == 1
    coloring.preview(path, Settings(quality="fast"))
    assert len(calls) == 2
    put(path, drawn(seed=1))  # another picture under the same name
    assert is_of(coloring.preview(path, Settings()).color, drawn(seed=1))


def test_hints_are_in_pixels_of_the_whole_picture(coloring, tmp_path):
    path = put(tmp_path / "a.png", np.full((200, 2400), 110, np.uint8))
    settings = Settings(hints=(Hint(2300, 150, RED),))
    a = lab.ab(np.asarray(coloring.preview(path, settings).color))[0]
    assert a[75, 1150] > 0.2
    marks = marked(coloring.preview(path, settings).color, settings.hints, 0.5)
    assert np.any(np.asarray(marks)[75, 1150 - 20 : 1150 + 20] == 255)
    with pytest.raises(UsageError, match="hint at 2400,0 is outside of the picture of 2400 × 200"):
        coloring.preview(path, Settings(hints=(Hint(2400, 0, RED),)))


def test_transparency_stays_in_the_file_and_is_white_in_the_preview(coloring, tmp_path):
    pixels = np.dstack([drawn()] * 3 + [np.zeros((60, 90), np.uint8)])
    path = put(tmp_path / "a.png", pixels)
    assert coloring.preview(path, Settings()).color.getextrema() == ((255, 255),) * 3
    assert Image.open(BytesIO(coloring.file(path, Settings())[0])).mode == "RGBA"


@pytest.mark.parametrize(
    ("name", "content", "error", "line"),
    [
        ("a.jpg", b"nothing", RunError, "cannot read a.jpg: not a picture"),
        ("a.txt", b"nothing", RunError, "cannot read a.txt: not a picture"),
        ("a.png", as_bytes(drawn())[:200], RunError, "cannot read a.png: "),
        ("a.png", as_bytes(drawn(1000, 2001)), UsageError, "a.png has 2.1 megapixels: at most 2"),
        ("a.ico", as_bytes(drawn(), "ICO"), RunError, "cannot read a.ico"),
    ],
)
def test_a_file_that_cannot_be_colored_is_named_without_its_folder(
    name, content, error, line, coloring, tmp_path
):
    (tmp_path / name).write_bytes(content)
    for call in (coloring.preview, coloring.file):
        with pytest.raises(error) as caught:
            call(tmp_path / name, Settings())
        assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_nothing_is_read_outside_of_what_was_sent(coloring, tmp_path, tmp_path_factory):
    other = put(tmp_path_factory.mktemp("other") / "a.png")
    os.symlink(other, tmp_path / "link.png")
    for path in (other, tmp_path / "link.png", tmp_path / "gone.png", tmp_path):
        for call in (coloring.preview, coloring.file, coloring.opened):
            with pytest.raises(UsageError, match="not here any more: send it again"):
                call(path, *([] if call == coloring.opened else [Settings()]))
        with pytest.raises(UsageError, match="not here any more"):
            coloring.many([path], Settings(), tmp_path / "out.zip")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (Settings(model="other"), "unknown model 'other': choices: packaged"),
        (Settings(quality="x"), "unknown quality 'x'"),
        (Settings(saturation=float("nan")), "saturation nan is not between 0 and 10"),
        (Settings(temperature=2.0), "temperature 2.0 is not between"),
        (Settings(hints=(Hint(1, 1, None),) * 201), "201 hints are too many: at most 200"),
    ],
)
def test_settings_that_are_not_there_are_refused(settings, line, coloring, tmp_path):
    with pytest.raises(UsageError, match=line):
        coloring.file(put(tmp_path / "a.png"), settings)


def test_many_files_become_one_zip_with_a_report(coloring, tmp_path):
    put(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"broken")
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "in/d.png", "../../e.png", "/f.png", "C:\\g.png"):
            archive.writestr(name, as_bytes(drawn(seed=3)))
        archive.writestr("__MACOSX/._a.png", b"")
        archive.writestr("notes.txt", b"")
        archive.writestr("large.png", as_bytes(drawn(1500, 1500)))
        archive.writestr("bomb.png", bytes(10**7))
    (tmp_path / "broken.zip").write_bytes(b"PK")
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.zip", "broken.zip")]
    out = tmp_path / "out.zip"
    said = coloring.many(paths, Settings(quality="fast"), out)
    assert said == f"6 colored, 4 could not be: {REPORT} says why"
    with zipfile.ZipFile(out) as archive:
        names = set(archive.namelist())
        assert names == {"a.png", "a-2.png", "in/d.png", "e.png", "f.png", "g.png", REPORT}
        assert is_of(archive.read("in/d.png"), drawn(seed=3))
        report = archive.read(REPORT).decode()
    assert str(tmp_path) not in report
    for line in (
        '"in/d.png","in/d.png","colored"', '"b.jpg","","failed","cannot read b.jpg: not a',
        '"large.png","","failed","large.png has 2.3 megapixels: at most 2 are colored here"',
        '"bomb.png","","failed","bomb.png is too large: at most 1 MB"',
        '"broken.zip","","failed","broken.zip cannot be read as a zip file',
    ):  # fmt: skip
        assert f"\n{line}" in report, report
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
    with pytest.raises(RunError, match=r"cannot read b.jpg: not a picture"):
        coloring.many([tmp_path / "b.jpg"], Settings(), out)
    with pytest.raises(RunError, match=r"broken\.zip cannot be read as a zip file"):
        coloring.many([tmp_path / "broken.zip"], Settings(), out)


def test_a_page_that_closes_ends_a_batch(coloring, tmp_path):
    coloring.close()
    out = tmp_path / "out" / "colored.zip"
    out.parent.mkdir()
    with pytest.raises(RunError, match="the page is closed"):
        coloring.many([put(tmp_path / "a.png")], Settings(), out)


@pytest.mark.parametrize("name", ["max_mb", "max_megapixels", "queue", "jobs"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_above_nothing(name, value):
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} .* is not above 0"):
        Limits(**{name: value})


def test_files_go_after_an_hour_and_the_oldest_if_there_are_too_many(tmp_path):
    for name, size in (("old", 5), ("young", 5), ("in/part", 5), ("in/last", 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
        time.sleep(0.02)
    janitor = Janitor(tmp_path, most=15, kept=60)
    janitor.clean()
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(p.name for p in left) == ["last", "part", "young"]
    with Janitor(tmp_path, most=15, kept=0.05, every=0.01):
        until = time.monotonic() + PATIENCE / 1000
        while any(tmp_path.iterdir()) and time.monotonic() < until:
            time.sleep(0.01)
        assert not list(tmp_path.iterdir())


def test_what_is_being_worked_on_stays(tmp_path):
    for folder in (WORKING + "1", "done"):
        (tmp_path / "a" / folder).mkdir(parents=True)
        (tmp_path / "a" / folder / "file").write_bytes(bytes(20))
    Janitor(tmp_path, most=10, kept=0).clean()
    assert [path.parent.name for path in tmp_path.rglob("file")] == [WORKING + "1"]


def test_a_long_batch_keeps_its_files(coloring, tmp_path, monkeypatch):
    janitor = Janitor(tmp_path, most=10**9, kept=0)
    paths = [put(tmp_path / f"{i}.png") for i in range(3)]
    colored = Coloring.__dict__["_colorizer"]

    def slow(self, settings):
        janitor.clean()  # once the pictures lie in the folder of the batch
        return colored(self, settings)

    monkeypatch.setattr(Coloring, "_colorizer", slow)
    out = tmp_path / "out" / "colored.zip"
    out.parent.mkdir()
    assert coloring.many(paths, Settings(), out) == "3 colored"


def test_without_a_list_there_is_no_gallery(tmp_path):
    assert examples(tmp_path) == []


def test_the_gallery_is_twelve_photographs_that_may_be_shown():
    listed = json.loads((FOLDER / "gallery.json").read_text())
    assert len({each["sha256"] for each in listed}) == len({each["name"] for each in listed}) == 12
    assert {each["license"] for each in listed} == {"public domain", "CC0"}
    files = {each[key] for each in listed for key in ("file", "halves")} | {"gallery.json"}
    assert {path.name for path in FOLDER.iterdir()} == files
    hashed = {"skimage": "data", "matplotlib": "mpl-data/sample_data"}
    packaged = {
        file_hash(path)
        for package, folder in hashed.items()
        for path in Path(str(resources.files(package) / folder)).iterdir()
        if path.suffix in (".png", ".jpg")
    }
    assert sum(each["sha256"] in packaged for each in listed) == 7  # the others are historical


@pytest.mark.parametrize("example", examples(), ids=lambda each: each.file.stem)
def test_the_gallery_shows_what_the_model_in_the_package_does(example):
    picture = Picture(example.file)
    made = halves(grey_copy(picture), Colorizer()(picture))
    with Image.open(example.halves) as image:  # JPEG: compared without its fine detail
        shown, made = (np.asarray(each.resize((64, 48)), int) for each in (image, made))
    assert np.abs(made - shown).max() < 12
    assert np.ptp(shown[:, :30], axis=2).max() < 8 < np.ptp(shown[:, 34:], axis=2).max()


def test_colors_and_hints_of_clients():
    from colourgan.page.layout import color_of, hints_of

    assert color_of("#C03020") == color_of("rgba(191.6, 48, 32.2, 1)") == (192, 48, 32)
    assert hints_of([[1, 2.5, "#c03020"], [3, 4, None]]) == (
        Hint(1, 2.5, (192, 48, 32)), Hint(3, 4, None),
    )  # fmt: skip
    assert hints_of(None) == hints_of([]) == ()
    for wrong in ("red", [[1, 2]], [1], {"a": 1}, [[1, 2, "no"]], [[float("nan"), 2, None]]):
        with pytest.raises(UsageError, match=r"hint|color"):
            hints_of(wrong)
    for wrong in ("", "#12", "rgb(1,2)", "red"):
        with pytest.raises(UsageError, match="is no color"):
            color_of(wrong)


def test_so_many_at_a_time_in_the_order_of_asking():
    from colourgan.page.turns import TooMany, Turns

    running, most, order = 0, 0, []
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
            order.append(number)

    async def ask() -> list:
        turns = Turns(jobs=2, queue=3)
        asked = [turns.take(work, i, waited=False) for i in range(8)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    assert [type(each) for each in answers] == [type(None)] * 5 + [TooMany] * 3
    assert most == 2 and sorted(order) == [0, 1, 2, 3, 4]


def test_who_goes_away_leaves_no_room_for_more_at_a_time():
    from colourgan.page.turns import Turns

    running, most, begun = 0, 0, []
    lock, go = threading.Lock(), threading.Event()

    def work(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            begun.append(number)
        go.wait(PATIENCE / 1000)
        with lock:
            running -= 1

    async def ask() -> bool:
        turns = Turns(jobs=1, queue=3)
        first = asyncio.create_task(turns.take(work, 0))
        while not begun:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(turns.take(work, i)) for i in range(1, 4)]
        await asyncio.sleep(0.05)
        full = turns.is_full
        for task in (first, *others[:2]):
            task.cancel()
        await asyncio.gather(first, *others[:2], return_exceptions=True)
        assert not turns.is_full
        go.set()
        await others[2]
        return full

    assert asyncio.run(ask())
    assert (most, begun) == (1, [0, 3])


# The interface, in this process


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sent").resolve()


@pytest.fixture(scope="module")
def client(folder):
    """A client of the application, which has let it in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        from starlette.testclient import TestClient

        from colourgan.page.server import application

        limits = Limits(max_mb=0.2, max_megapixels=1)
        app = application(PACKAGED, ("ann", "secret"), limits, folder)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            client.auth = ("ann", "secret")
            yield client


@pytest.fixture
def logged_in(client):
    client.post("/login", data={"username": "ann", "password": "secret"}).raise_for_status()
    yield client
    client.cookies.clear()


def called(client, image, *arguments) -> tuple[str, object]:
    """The event and the data that /color answers with."""
    data = [image, *arguments]
    defaults = ["good", 1, 0, [], "packaged"]
    answer = client.post("/gradio_api/call/color", json={"data": data + defaults[len(data) - 1 :]})
    event = client.get(f"/gradio_api/call/color/{answer.json()['event_id']}").text
    name, data = event.strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def sent(client, content: bytes, name: str = "a.png") -> dict:
    """What stands for a file that was uploaded."""
    (path,) = client.post("/gradio_api/upload", files={"files": (name, content)}).json()
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_one_request_colors_a_picture(client, folder):
    content = as_bytes(drawn(), "TIFF", dpi=(300, 300))
    answer = client.post("/api/color?quality=best&saturation=2&hint=5,5,red", content=content)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/tiff"
    expected = Colorizer(quality="best", saturation=2)(BytesIO(content), [(5, 5, "red")])
    with Image.open(BytesIO(answer.content)) as image:
        assert image.format == "TIFF" and image.info["dpi"] == (300, 300)
        assert np.array_equal(np.asarray(image), np.asarray(expected))
    assert not list(folder.rglob("*.sent"))


@pytest.mark.parametrize(
    ("query", "content", "code", "line"),
    [
        ("", b"nothing", 400, "cannot read the picture: not a picture"),
        ("", b"", 400, "cannot read the picture: not a picture"),
        ("", as_bytes(drawn(1000, 1100)), 400, "the picture has 1.1 megapixels: at most 1"),
        ("", bytes(10**6), 413, "too large: at most 0.2 MB are taken"),
        ("quality=x", as_bytes(drawn()), 400, "unknown quality 'x': choices: fast, good, best"),
        ("color=x", as_bytes(drawn()), 400, "unknown 'color': choices: quality, saturation"),
        ("saturation=x", as_bytes(drawn()), 400, "saturation is no number"),
        ("hint=red", as_bytes(drawn()), 400, "hint 'red' is not x,y,color"),
        ("hint=999,1,red", as_bytes(drawn()), 400, "hint at 999,1 is outside of the picture of 90"),
        ("model=/etc/passwd", as_bytes(drawn()), 400, "unknown model '/etc/passwd'"),
    ],
)
def test_a_wrong_request_is_told_why(query, content, code, line, client):
    answer = client.post(f"/api/color?{query}", content=content)
    assert answer.status_code == code
    assert answer.json()["error"].startswith(line)
    assert "\n" not in answer.json()["error"]


def test_a_form_is_told_what_to_send(client):
    answer = client.post("/api/color", files={"file": ("a.png", as_bytes(drawn()))})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("send the bytes of the picture alone, as `curl --data")


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://page.example", "Sec-Fetch-Site": "same-origin"}, True),  # by a proxy
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_pages_of_other_hosts_get_nothing(headers, let_in, client):
    answer = client.post("/api/color", content=as_bytes(drawn()), headers=headers)
    assert answer.status_code == (200 if let_in else 403)
    answers = (answer, client.get("/config", headers={"Host": "192.168.1.5", **headers}))
    assert not any(name.startswith("access-control") for each in answers for name in each.headers)


def test_no_more_is_kept_than_there_is_room_for(client, folder):
    (folder / "filled").write_bytes(bytes(20 * 10**6 - 1000))  # 100 files of 0.2 MB
    try:
        for answer in (
            client.post("/api/color", content=as_bytes(drawn())),
            client.post("/gradio_api/upload", files={"files": ("a.png", as_bytes(drawn()))}),
        ):
            assert answer.status_code == 507
            assert answer.json()["error"] == "too many files are kept here: try again later"
    finally:
        (folder / "filled").unlink()
    assert client.post("/api/color", content=as_bytes(drawn())).status_code == 200


def test_a_request_without_a_length_is_cut_off(client):
    answer = client.post("/api/color", content=(bytes(10**5) for _ in range(9)))
    assert answer.status_code == 413


def test_nobody_is_let_in_without_the_password(client):
    uploaded = {"files": ("a.png", as_bytes(drawn()))}
    for auth in (None, ("ann", "wrong"), ("ann", ""), ("", "secret")):
        answer = client.post("/api/color", content=as_bytes(drawn()), auth=auth)
        assert answer.status_code == 401 and "Basic" in answer.headers["www-authenticate"]
    assert client.post("/api/color", headers={"authorization": "Basic ä%".encode()}, auth=None)
    assert client.post("/gradio_api/upload", files=uploaded).status_code == 401
    assert client.post("/gradio_api/call/color", json={"data": []}).status_code == 401
    assert client.get("/config").status_code == 401
    wrong = client.post("/login", data={"username": "ann", "password": "no"})
    assert wrong.status_code == 400


def test_the_endpoint_of_gradio_colors_a_picture(logged_in):
    content = as_bytes(drawn(), "JPEG")
    hints = [[5, 5, "#c03020"], [40, 40, None]]
    event, data = called(logged_in, sent(logged_in, content, "my photo.jpg"), "fast", 1.5, 0, hints)
    assert event == "complete"
    assert data[0]["orig_name"] == "my photo-color.jpg"
    answer = logged_in.get(f"/gradio_api/file={data[0]['path']}")
    expected = Colorizer(quality="fast", saturation=1.5)(BytesIO(content), hints)
    with Image.open(BytesIO(answer.content)) as image:
        difference = np.asarray(image, float) - np.asarray(expected, float)
    assert np.abs(difference).mean() < 3  # as JPEG loses some


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["'x'"], "unknown quality ''x'': choices: fast, good, best"),
        (["good", -1], "saturation -1 is not between 0 and 10"),
        (["good", 1, 7], "temperature 7 is not between 0.01 and 1"),
        (["good", 1, 0, "red"], "hints are a list such as"),
        (["good", 1, 0, [[1]]], "hint [1] is not (x, y, color)"),
    ],
)
def test_the_endpoint_of_gradio_tells_what_is_wrong(arguments, line, logged_in):
    event, data = called(logged_in, sent(logged_in, as_bytes(drawn())), *arguments)
    assert event == "error" and data["error"].startswith(line)


@pytest.mark.parametrize("streamed", [False, True])
def test_no_other_file_is_read_and_no_address(streamed, logged_in, tmp_path, capfd):
    inside = put(tmp_path / "a.png")
    marks = {"is_stream": streamed, "meta": {"_type": "gradio.FileData"}}
    for path in (str(inside), "/etc/passwd", "http://127.0.0.1:1/a.png", "https://example.com/a"):
        event, data = called(logged_in, {"path": path, **marks})
        assert event == "error", path
        assert "cannot read" not in str(data) and "\n" not in str(data)
        assert logged_in.get(f"/gradio_api/file={path}").status_code in (403, 404)
    assert "Traceback" not in capfd.readouterr().err


def test_too_large_an_upload_is_refused(logged_in):
    for content, name in ((bytes(300_000), "a.png"), (bytes(5 * 10**6), "b.png")):
        answer = logged_in.post("/gradio_api/upload", files={"files": (name, content)})
        assert answer.status_code == 413


def test_only_what_the_page_needs_is_answered_and_no_host_is_named(client):
    for path in (
        "/docs",
        "/gradio_api/vibe-edit",
        "/monitoring",
        "/gradio_api/runs",
        "/openapi.json",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (404, "there is no such page")
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self' ") and "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "@import" not in client.get("/theme.css").text


# The command


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """The exit code and what was said last."""
    _, err = process.communicate(timeout=PATIENCE / 1000)
    return process.returncode, err


def test_without_gradio_one_line_says_what_to_install():
    code, err = ended(command(without="gradio torch"))
    assert (code, err) == (2, "colourgan: the page needs gradio: pip install 'colourgan[page]'\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--auth", "ann"], "--auth is USER:PASSWORD"),
        (["--auth", ":secret"], "--auth is USER:PASSWORD"),
        (["--max-mb", "0"], "--max-mb 0 is not above 0"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, line):
    from typer.testing import CliRunner

    from colourgan import cli

    result = CliRunner().invoke(cli.app, ["serve", *arguments])
    assert isinstance(result.exception, UsageError) and str(result.exception).startswith(line)


def test_an_address_that_cannot_be_had_is_one_line():
    from colourgan.page.server import is_loopback, listening

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(UsageError, match=rf"port {port} \(.*\): choose another --port"),
            listening("127.0.0.1", port),
        ):
            pass
    for host, port in (("no.such.host.invalid", 1), ("127.0.0.1", 70000), ("127.0.0.1", -1)):
        with pytest.raises(UsageError, match=f"--port {port} is no"), listening(host, port):
            pass
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.3.4.5")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.com")))


def test_several_models_are_called_by_their_files():
    from colourgan.cli.page import _named

    paths = [Path("runs/a.onnx"), Path("other/a.onnx")]
    assert _named(paths) == {**PACKAGED, "a": paths[0], "other/a.onnx": paths[1]}


# In a process of its own, for a browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the page is."""
    place = tmp_path_factory.mktemp("place")
    process = command(
        "--port", "0", "--max-mb", "1", "--max-megapixels", "3", "--queue", "30",
        TMPDIR=str(place),
    )  # fmt: skip
    try:
        yield address_of(process)
        assert len(list(place.iterdir())) == 1  # all that it keeps is in one folder
        process.send_signal(signal.SIGINT)
        code, err = ended(process)
        assert (code, err) == (0, "the page is closed, and its files are removed\n")
        assert not list(place.iterdir())
    finally:
        process.kill()
        process.wait()


def test_twenty_clients_at_once_get_their_own_picture(address):
    from gradio_client import Client, handle_file

    pictures = [drawn(40 + i, 60, seed=i) for i in range(20)]

    def plain(i: int) -> bytes:
        answer = httpx.post(
            f"{address}api/color", content=as_bytes(pictures[i]), timeout=PATIENCE / 1000
        )
        return answer.raise_for_status().content

    def by_gradio(i: int, folder: str) -> bytes:
        file = put(Path(folder) / f"{i}.png", pictures[i])
        client = Client(address, verbose=False, download_files=folder)
        return Path(client.predict(handle_file(file), api_name="/color")).read_bytes()

    with TemporaryDirectory() as folder, ThreadPoolExecutor(20) as pool:
        tasks = [pool.submit(plain, i) if i % 4 else pool.submit(by_gradio, i, folder)
                 for i in range(20)]  # fmt: skip
        for i, task in enumerate(tasks):
            assert is_of(task.result(), pictures[i]), i


def test_closing_the_page_ends_what_waits_in_one_line():
    process = command("--port", "0")
    try:
        address, content = address_of(process), as_bytes(drawn(2000, 3000))
        with ThreadPoolExecutor(18) as pool:
            asked = [
                pool.submit(
                    httpx.post, f"{address}api/color?quality=best", content=content, timeout=60
                )
                for _ in range(18)
            ]
            while not any(each.running() for each in asked):
                time.sleep(0.01)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            assert ended(process) == (0, "the page is closed, and its files are removed\n")
            assert any(each.exception() or each.result().status_code != 200 for each in asked)
    finally:
        process.kill()
        process.wait()


def test_a_client_that_goes_away_holds_nobody_up(address):
    with httpx.Client(base_url=address, timeout=PATIENCE / 1000) as client:
        large = sent(client, as_bytes(drawn(1500, 1500)))
        call = {"data": [large, "best", 1, 0, [], "packaged"]}
        for i in range(8):  # they wait in the queue, and hang up
            joined = client.post(
                "/gradio_api/call/color", json={**call, "session_hash": f"gone{i}"}
            )
            event = joined.json()["event_id"]
            with client.stream("GET", f"/gradio_api/call/color/{event}"):
                pass
        with socket.create_connection(("127.0.0.1", urlsplit(address).port)) as away:
            away.sendall(b"POST /api/color HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n...")
        started = time.monotonic()
        event, data = called(client, sent(client, as_bytes(drawn())))
        assert event == "complete" and time.monotonic() - started < PATIENCE / 1000
        assert is_of(client.get(f"/gradio_api/file={data[0]['path']}").content, drawn())


class Visit:
    """A browser's window with the page; `requests` lists all that it asked for."""

    def __init__(self, window, address: str):
        self.window, self.requests, self.errors = window, [], []
        window.on("request", lambda request: self.requests.append(request.url))
        window.on("pageerror", lambda error: self.errors.append(str(error)))
        window.set_default_timeout(PATIENCE)
        window.goto(address)
        self.wait("#upload input[type=file]")

    def wait(self, selector: str, state: str = "attached"):
        return self.window.wait_for_selector(selector, state=state, timeout=PATIENCE)

    def upload(self, path: Path, place: str = "#upload") -> None:
        self.window.set_input_files(f"{place} input[type=file]", path)

    def color(self, path: Path) -> None:
        self.upload(path)
        self.until(f"document.querySelector('#state').innerText.includes('{path.name}')")
        self.wait("#compared img")

    def until(self, expression: str) -> None:
        self.window.wait_for_function(expression, timeout=PATIENCE)

    def message(self) -> str:
        """The newest message, which is then closed."""
        said = self.wait(".toast-body").inner_text().replace("\n", " ")
        self.window.locator(".toast-close").first.click()
        self.wait(".toast-body", "detached")
        return said

    def shown(self, selector: str = "#clickable img") -> Image.Image:
        """A picture that the window shows, as the server gave it."""
        source = self.window.locator(selector).last.get_attribute("src")
        return Image.open(BytesIO(httpx.get(source).content))

    def saved(self, selector: str) -> tuple[str, bytes]:
        """The name and content of what a click downloads."""
        with self.window.expect_download(timeout=PATIENCE) as download:
            self.window.click(selector)
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def hints(self) -> list[str]:
        return self.window.locator("#hints .token").all_inner_texts()

    def hosts(self) -> set[str]:
        parts = map(urlsplit, self.requests)
        return {each.hostname for each in parts if each.scheme not in ("data", "blob")}


@pytest.fixture(scope="module")
def chromium():
    path = browser()
    if path is None:
        pytest.skip("there is no playwright, or no chromium, google-chrome or chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(chromium, address):
    """A function that opens the page in a window of a size, and asserts in the end that nothing
    was asked of another host.
    """
    visits = []

    def opened(width: int = 1280, height: int = 900, **options) -> Visit:
        window = chromium.new_page(viewport={"width": width, "height": height}, **options)
        visits.append(Visit(window, address))
        return visits[-1]

    yield opened
    for each in visits:
        each.window.close()
        assert each.hosts() == {"127.0.0.1"}
        assert not each.errors


def test_a_photograph_is_uploaded_compared_and_downloaded(visit, tmp_path):
    exif = Image.Exif()
    exif[315] = "Ann"
    path = put(tmp_path / "scan.tif", drawn(700, 1300), exif=exif)
    page = visit()
    assert page.window.locator("#save").is_disabled()
    page.color(path)
    assert page.window.inner_text("#state") == "scan.tif · 1300 × 700 pixels"
    assert page.shown("#compared img").width <= PREVIEW
    line = page.window.locator("#compared .outer, #compared [role=slider]").first
    box = line.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.window.mouse.move(x, y)
    page.window.mouse.down()
    page.window.mouse.move(x - 200, y, steps=4)
    page.window.mouse.up()
    assert line.bounding_box()["x"] == pytest.approx(box["x"] - 200, abs=10)
    name, content = page.saved("#save")
    assert name == "scan-color.tif"
    with Image.open(BytesIO(content)) as image:
        assert (image.format, image.size, image.getexif()[315]) == ("TIFF", (1300, 700), "Ann")
        assert np.array_equal(np.asarray(image), np.asarray(Colorizer()(path)))
    before = page.shown("#compared img")
    page.window.locator("#settings input[type=range]").fill("0")
    source = page.window.locator("#compared img").last.get_attribute("src")
    page.window.locator("#settings input[type=range]").dispatch_event("pointerup")
    page.until(f"[...document.querySelectorAll('#compared img')].pop().src != '{source}'")
    grey = page.shown("#compared img")
    assert np.ptp(np.asarray(grey, int), axis=2).mean() < 3
    assert np.ptp(np.asarray(before, int), axis=2).mean() > 5
    assert grey_of(before) == pytest.approx(grey_of(grey), abs=0.1)


def test_the_gallery_is_seen_first_and_a_click_takes_a_photograph(visit):
    page = visit()
    page.wait("#gallery .thumbnail-item img")
    places = page.window.locator("#gallery .thumbnail-item")
    assert places.count() == 12
    assert page.shown("#gallery .thumbnail-item:last-child img").size == (
        Image.open(examples()[-1].halves).size
    )
    assert places.first.bounding_box()["y"] < page.window.locator("#upload").bounding_box()["y"]
    places.nth(2).click()
    page.until("document.querySelector('#state').innerText.includes('coffee.jpg')")
    assert page.shown("#compared img").size == Image.open(examples()[2].file).size


def test_hints_are_placed_by_clicking_and_removed(visit, tmp_path):
    path = put(tmp_path / "a.png", np.full((600, 2400), 110, np.uint8))
    page = visit()
    page.color(path)
    page.window.click("role=tab[name='Hints']")
    picture = page.window.locator("#clickable img")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.5})
    page.wait("#hints .token")
    x, y, color = page.hints()[0].split(",")
    assert abs(int(x) - 1800) < 8 and abs(int(y) - 300) < 8 and color == "#c03020"
    _, content = page.saved("#save")
    a, _ = lab.ab(np.asarray(Image.open(BytesIO(content)).convert("RGB")))
    assert a[int(y), int(x)] > 0.2
    page.window.get_by_label("Keep the color here").check()
    picture.click(position={"x": box["width"] * 0.1, "y": box["height"] * 0.5})
    page.until("document.querySelectorAll('#hints .token').length == 2")
    assert page.hints()[1].endswith(",keep")
    page.window.fill("#hints input", "5,5,nonsense")
    page.window.keyboard.press("Enter")
    assert "hint '5,5,nonsense' is not x,y,color" in page.message()
    page.window.click("#undo")
    page.until("document.querySelectorAll('#hints .token').length == 2")
    page.window.locator("#hints .token-remove").first.click()
    page.until("document.querySelectorAll('#hints .token').length == 1")
    page.window.click("#clear")
    page.until("document.querySelectorAll('#hints .token').length == 0")


def test_a_file_that_cannot_be_taken_is_told_of(visit, tmp_path):
    page = visit()
    (tmp_path / "broken<b>.jpg").write_bytes(b"no picture")
    page.upload(tmp_path / "broken<b>.jpg")
    assert "cannot read broken" in page.message()
    page.window.click("#upload [aria-label=Clear]")
    page.wait("#upload input[type=file]")
    page.upload(put(tmp_path / "large.png", drawn(2000, 2000)))
    assert "large.png has 4.0 megapixels: at most 3 are colored here" in page.message()
    page.window.click("#upload [aria-label=Clear]")
    page.wait("#upload input[type=file]")
    (tmp_path / "huge.jpg").write_bytes(bytes(2 * 10**6))
    page.upload(tmp_path / "huge.jpg")
    assert "exceed the maximum allowed size" in page.message()
    assert page.window.locator("#save").is_disabled()


def test_many_files_on_a_phone(visit, tmp_path):
    page = visit(390, 844, is_mobile=True, has_touch=True)
    page.color(put(tmp_path / "a.png"))
    widths = page.window.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths == [390, 390]
    result, settings = (
        page.window.locator(each).bounding_box() for each in ("#result", "#settings")
    )
    assert result["y"] < settings["y"]  # the picture comes first
    page.window.click("role=tab[name='Many files']")
    page.window.click("#start")
    assert "there is no file yet" in page.message()
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("b.png", as_bytes(drawn(seed=2)))
    page.window.set_input_files(
        "#uploads input[type=file]", [tmp_path / "a.png", tmp_path / "b.zip"]
    )
    page.wait("#uploads a")
    page.window.click("#start")
    page.until("document.querySelector('#said').innerText == '2 colored'")
    name, content = page.saved("#batch a")
    assert name == "colored.zip"
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert set(archive.namelist()) == {"a.png", "b.png", REPORT}
        assert is_of(archive.read("b.png"), drawn(seed=2))
