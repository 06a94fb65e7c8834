"""The page and a plain HTTP endpoint, at an address. Nothing is asked of any other."""

import base64
import contextlib
import hmac
import json
import logging
import socket
import sys
import traceback
import webbrowser
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from threading import Timer
from types import ModuleType
from urllib.parse import quote, urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from gradio import queueing
from starlette.requests import ClientDisconnect

from colourgan.colorize.formats import FORMATS
from colourgan.errors import RunError, UsageError
from colourgan.hints import parse_hint
from colourgan.page.coloring import Coloring, Settings
from colourgan.page.examples import FOLDER
from colourgan.page.layout import CSS, HEAD, THEME, layout, told
from colourgan.page.limits import Janitor, Limits
from colourgan.page.turns import BUSY, TooMany, Turns

ENDPOINT = "/api/color"
_API = "/gradio_api/"
_UPLOAD = _API + "upload"
# All that the page and gradio's clients ask for. The rest of what gradio answers, such as changing
# the program from the browser, is not there.
_PATHS = {
    "/", "/config", "/favicon.ico", "/login", "/logout", "/manifest.json", "/theme.css", ENDPOINT,
    *(_API + name for name in (
        "app_id", "cancel", "info", "login_check", "queue/data", "queue/join", "reset",
        "startup-events", "upload", "upload_progress", "user",
    )),
}  # fmt: skip
_BELOW = (
    "/assets/", "/static/", "/svelte/",
    *(_API + name for name in ("call/color", "file=", "heartbeat/")),
)  # fmt: skip
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_TEXT = 10**6  # bytes of a request that sends no file
_log = logging.getLogger(__name__)


def run(
    models: Mapping[str, Path | str],
    host: str,
    port: int,
    auth: tuple[str, str] | None,
    limits: Limits,
    show: bool,
    folder: Path,
) -> None:
    """See `colourgan.page.serve`; folder: where Gradio puts its files, too."""
    with listening(host, port) as bound:
        app = application(models, auth, limits, folder)
        if auth is None and not is_loopback(host):
            _log.warning(f"whoever reaches {host} can use this page: --auth asks for a password")
        address = f"http://{_in_url(host)}:{bound.getsockname()[1]}/"
        with contextlib.suppress(KeyboardInterrupt), Janitor.of(folder, limits):
            try:
                _serve(app, bound, address, show)
            finally:
                app.close()


def application(
    models: Mapping[str, Path | str], auth: tuple[str, str] | None, limits: Limits, folder: Path
) -> Callable:
    """The ASGI application; folder: where everything is that is sent or given out, named by
    GRADIO_TEMP_DIR, too.
    """
    _quiet()
    coloring, turns = Coloring(models, limits, (folder, FOLDER)), Turns(limits.jobs, limits.queue)
    app = FastAPI(title="colourgan", docs_url=None, redoc_url=None, openapi_url=None)
    _add_endpoint(app, coloring, turns, auth, folder)
    blocks = layout(coloring, turns, limits, folder)
    gr.mount_gradio_app(
        app, blocks, "/", auth=auth, max_file_size=limits.file_bytes, show_error=True,
        footer_links=[], run_history=False, ssr_mode=False, mcp_server=False, pwa=False,
        enable_monitoring=False, theme=THEME, css=CSS, head=HEAD,
    )  # fmt: skip
    # Only then Gradio checks that a file which a client names is one that was sent.
    blocks.has_launched = True
    return Guard(app, limits, folder, coloring.close)


@contextlib.contextmanager
def listening(host: str, port: int):
    """A socket bound to an address; UsageError if that cannot be had."""
    if not 0 <= port < 2**16:  # which would be cut to 16 bits
        raise UsageError(f"--port {port} is not between 0 and 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host} --port {port} is no address here ({error})") from None
    with bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            said = f"cannot serve at {host} port {port} ({error.strerror})"
            raise UsageError(f"{said}: choose another --port") from None
        bound.listen(128)
        yield bound


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches an address."""
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


class Guard:
    """An ASGI application around another: answers what the page needs only, cuts off requests that
    are too large, and forbids browsers to ask other hosts for anything, and other hosts' pages to
    ask for anything here. folder: where files are put that are sent; close: ends what is running.
    """

    def __init__(self, app: Callable, limits: Limits, folder: Path, close: Callable):
        self.app, self.limits, self.folder, self.close = app, limits, folder, close
        self._coming = 0

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"]
        if not _is_ours(path):
            return await _refuse(send, 404, "there is no such page")
        headers = dict(scope["headers"])
        if _is_foreign(headers):
            return await _refuse(send, 403, "pages of other hosts may not ask for anything here")
        most = self._most(path)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            return await _refuse(send, 413, f"too large: at most {most / 10**6:g} MB are taken")
        coming = 0
        if scope["method"] == "POST" and (path == ENDPOINT or path.startswith(_UPLOAD)):
            coming = int(length) or most  # what does not say its length may have as much
            if _size(self.folder) + self._coming + coming > self.limits.disk_bytes:
                return await _refuse(send, 507, "too many files are kept here: try again later")
        self._coming += coming
        try:
            await self.app(scope, _counted(receive, most), _with_headers(send))
        finally:
            self._coming -= coming

    def _most(self, path: str) -> int:
        """Bytes of a request."""
        if path.startswith(_UPLOAD):
            return self.limits.batch_bytes
        return self.limits.file_bytes if path == ENDPOINT else _TEXT


def _is_ours(path: str) -> bool:
    """Whether the page needs a path. Gradio would fetch an address that is named as a file."""
    known = path == "/" or path.rstrip("/") in _PATHS or path.startswith(_BELOW)
    return known and "://" not in path


def _is_foreign(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser asks for a page of another host."""
    if site := headers.get(b"sec-fetch-site"):  # right behind a proxy, too
        return site == b"cross-site"
    origin = headers.get(b"origin")
    return origin is not None and urlsplit(origin).netloc != headers.get(b"host")


def _size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def _counted(receive: Callable, most: int) -> Callable:
    """As if the client had gone away, once it has sent more than `most` bytes."""
    got = 0

    async def counted() -> dict:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        return message if got <= most else {"type": "http.disconnect"}

    return counted


def _with_headers(send: Callable) -> Callable:
    async def sent(message: dict) -> None:
        if message["type"] == "http.response.start":
            found = [
                (name, value)
                for name, value in message.get("headers", ())
                if name.decode() not in _HEADERS and not name.startswith(b"access-control-")
            ]
            added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*found, *added]}
        await send(message)

    return sent


async def _refuse(send: Callable, code: int, line: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    body = json.dumps({"error": line}).encode()
    sent = _with_headers(send)
    await sent({"type": "http.response.start", "status": code, "headers": headers})
    await sent({"type": "http.response.body", "body": body})


def _quiet() -> None:
    """Has Gradio log what is wrong with a request, of which it tells its sender, not print it."""
    quiet = ModuleType("traceback")
    vars(quiet).update(vars(traceback))
    quiet.print_exc = lambda *args, **options: _log.debug("a request failed", exc_info=True)
    queueing.traceback = quiet


def _add_endpoint(
    app: FastAPI, coloring: Coloring, turns: Turns, auth: tuple[str, str] | None, folder: Path
) -> None:
    """Adds: a picture's bytes are sent, those of the colored one come back."""

    @app.post(ENDPOINT)
    async def color(request: Request) -> Response:
        if auth is not None and not _is_known(request, auth):
            asks = {"WWW-Authenticate": 'Basic realm="colourgan"'}
            return JSONResponse({"error": "user and password are needed"}, 401, asks)
        path = folder / f"{token_hex(16)}.sent"
        if request.headers.get("content-type", "").startswith("multipart/"):
            said = "send the bytes of the picture alone, as `curl --data-binary @FILE` does"
            return JSONResponse({"error": said}, 400)
        try:
            settings = _asked(request, coloring)
            if turns.is_full:
                raise TooMany(BUSY)
            with open(path, "wb") as file:
                async for part in request.stream():
                    file.write(part)
            content, suffix, notes = await turns.take(coloring.file, path, settings, waited=False)
        except ClientDisconnect:  # or cut off by Guard
            return JSONResponse({"error": "too large, or broken off"}, 413)
        except Exception as error:
            return _failed(error, path)
        finally:
            path.unlink(missing_ok=True)
        name = {"Content-Disposition": f'inline; filename="colored{suffix}"'}
        told = {"Colourgan-Notes": quote("; ".join(notes), safe=" ;,.:")} if notes else {}
        return Response(content, media_type=_TYPES[suffix], headers=name | told)


_TYPES = {
    each.suffixes[0]: "image/x-portable-pixmap" if name == "ppm" else f"image/{name}"
    for name, each in FORMATS.items()
}


def _failed(error: Exception, path: Path) -> Response:
    """The answer to a request that could not be fulfilled."""
    code = 503 if isinstance(error, TooMany) else 400
    if not isinstance(error, RunError | UsageError):
        code = 500
    line = told(error).replace(path.name, "the picture")
    return JSONResponse({"error": line}, code)


def _asked(request: Request, coloring: Coloring) -> Settings:
    """The settings that a query names; raises UsageError for what is no setting or no number."""
    query = dict(request.query_params)
    found = {"model": query.pop("model", next(iter(coloring.models)))}
    if "quality" in query:
        found["quality"] = query.pop("quality")
    for name in ("saturation", "temperature"):
        if name in query:
            try:
                found[name] = float(query.pop(name))
            except ValueError:
                raise UsageError(f"{name} is no number") from None
    query.pop("hint", None)
    found["hints"] = tuple(map(parse_hint, request.query_params.getlist("hint")))
    if query:
        choices = "quality, saturation, temperature, hint, model"
        raise UsageError(f"unknown '{min(query)}': choices: {choices}")
    return Settings(**found)


def _is_known(request: Request, auth: tuple[str, str]) -> bool:
    """Whether a request has the user and password, as `curl -u` sends them."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        sent = base64.b64decode(given, validate=True)
    except ValueError:
        return False
    return kind.lower() == "basic" and hmac.compare_digest(sent, ":".join(auth).encode())


def _serve(app: Callable, bound: socket.socket, address: str, show: bool) -> None:
    # Its errors are those of requests that closing breaks off: the others are answered.
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, timeout_graceful_shutdown=2,
        server_header=False, lifespan="on",
    )  # fmt: skip
    print(f"the page is at {address} (Ctrl-C closes it)", file=sys.stderr, flush=True)
    if show:
        opener = Timer(1, webbrowser.open, [address])
        opener.daemon = True
        opener.start()
    uvicorn.Server(config).run(sockets=[bound])


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
