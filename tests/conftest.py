"""A web server of one's own: downloads are tested without the network."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@pytest.fixture(scope="module", params=DEVICES)
def device(request) -> str:
    """Each device that is there in turn."""
    return request.param


class WebServer:
    """Serves bytes at http://127.0.0.1; `requests` lists the names asked for, in order."""

    def __init__(self):
        self.files = {}
        self.requests = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, name: str, body: bytes, length: int | None = None) -> str:
        """The URL of a file that is now served; `length`: what the header claims, if not true."""
        self.files[name] = body, len(body) if length is None else length
        return f"{self.address}/{name}"

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.lstrip("/")
                web.requests.append(name)
                if name not in web.files:
                    return self.send_error(404)
                body, length = web.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        return Handler


@pytest.fixture
def web(monkeypatch):
    """A running WebServer, reached past any proxy of the environment."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = WebServer()
    yield server
    server.stop()


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory):
    """Decoded images of tests do not stay in the user's cache."""
    os.environ["COLOURGAN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
