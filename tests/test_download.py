import errno
import hashlib
import io

import pytest

from colourgan import download as module
from colourgan.download import download
from colourgan.errors import RunError

BODY = bytes(range(256)) * 1000
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()


def refused(url, path, checksum=None):
    with pytest.raises(RunError) as caught:
        download(url, path, checksum)
    message = str(caught.value)
    assert "\n" not in message and url in message and str(path) in message
    return message


def test_a_file_arrives_whole_with_a_progress_bar(web, tmp_path, capsys):
    path = tmp_path / "new" / "file.bin"
    assert download(web.add("file.bin", BODY), path, SHA256) == path
    assert path.read_bytes() == BODY
    assert [file.name for file in path.parent.iterdir()] == ["file.bin"]
    shown = capsys.readouterr()
    assert "downloading file.bin: 100%" in shown.err and not shown.out


def test_what_is_there_is_not_fetched_again(web, tmp_path):
    path = tmp_path / "file.bin"
    url = web.add("file.bin", BODY)
    for checksum in (SHA256, None, SHA256):
        download(url, path, checksum)
    assert web.requests == ["file.bin"]


def test_the_beginning_of_a_hash_and_md5_serve_as_well(web, tmp_path):
    url = web.add("file.bin", BODY)
    for number, checksum in enumerate((SHA256[:15], "md5:" + hashlib.md5(BODY).hexdigest())):
        assert download(url, tmp_path / str(number), checksum).read_bytes() == BODY


def test_a_wrong_file_from_the_server_is_not_kept(web, tmp_path):
    message = refused(web.add("file.bin", b"other"), tmp_path / "file.bin", SHA256)
    assert SHA256 in message and "another way" in message
    assert not list(tmp_path.iterdir())


def test_a_wrong_file_put_there_by_hand_is_kept_and_named(web, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"other")
    assert "delete it" in refused(web.add("file.bin", BODY), path, SHA256)
    assert path.read_bytes() == b"other" and not web.requests


def test_what_the_server_does_not_have(web, tmp_path):
    assert "404" in refused(web.address + "/none", tmp_path / "file.bin")
    assert not list(tmp_path.iterdir())


def test_a_download_cut_off_is_no_file(web, tmp_path):
    url = web.add("file.bin", BODY, length=len(BODY) + 1)
    assert "cut off after 256000 of 256001 bytes" in refused(url, tmp_path / "file.bin")
    assert not list(tmp_path.iterdir())


def test_no_network(web, tmp_path):
    url = web.add("file.bin", BODY)
    web.stop()
    assert "refused" in refused(url, tmp_path / "file.bin")
    assert not list(tmp_path.iterdir())


def test_a_server_that_falls_silent(web, tmp_path, monkeypatch):
    def silent(self, *args):
        raise TimeoutError("timed out")

    monkeypatch.setattr(module.shutil, "copyfileobj", silent)
    assert "timed out" in refused(web.add("file.bin", BODY), tmp_path / "file.bin")


def test_every_connection_has_a_timeout(tmp_path, monkeypatch):
    asked = []

    def never(request, timeout):
        asked.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(module, "urlopen", never)
    refused("http://127.0.0.1/file.bin", tmp_path / "file.bin")
    assert asked == [module.TIMEOUT] and 0 < module.TIMEOUT < 120


def test_a_full_disk_is_called_that(web, tmp_path, monkeypatch):
    class FullDisk(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "open", lambda *_: FullDisk(), raising=False)
    with pytest.raises(RunError, match="no space left"):
        download(web.add("file.bin", BODY), tmp_path / "file.bin")


def test_an_interrupted_download_leaves_nothing(web, tmp_path, monkeypatch):
    def interrupt(body, file):
        file.write(body.read(10))
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        download(web.add("file.bin", BODY), tmp_path / "file.bin")
    assert not list(tmp_path.iterdir())
