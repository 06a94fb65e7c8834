"""A Hub of one's own: what huggingface_hub asks of huggingface.co, answered at 127.0.0.1."""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_SecretOfAnnaThatNobodyMaySee123456"
LARGE = (".safetensors", ".onnx", ".png")  # what the Hub keeps outside git


@dataclass
class Commit:
    """What one commit left: name → content; its own name is made of all that."""

    files: dict[str, bytes]
    message: str = "initial commit"
    number: int = 0

    @property
    def sha(self) -> str:
        parts = [f"{self.number} {self.message}".encode(), *sorted(map(str.encode, self.files))]
        return hashlib.sha1(b"\0".join([*parts, *self.files.values()])).hexdigest()


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    commits: list[Commit] = field(default_factory=lambda: [Commit({".gitattributes": b""})])

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1].files

    def add(self, files: dict[str, bytes | None], message: str = "by hand") -> None:
        """Commits files; None stands for one that goes."""
        kept = {k: v for k, v in (self.files | files).items() if v is not None}
        self.commits.append(Commit(kept, message, len(self.commits)))

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        return next((each for each in self.commits if each.sha == revision), None)


class Hub:
    """The stand-in. repositories: USER/NAME → Repository; TOKEN may write to those of "anna".

    requests: (method, path) in order; failing: an HTTP status that every request gets, with an
    answer that repeats its headers; meanwhile: called before a commit is looked at; leaked: whether
    the token was sent to the host that large files are fetched from.
    """

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.failing: int | None = None
        self.meanwhile = None
        self.leaked = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        # Another name of this machine, as large files of the real Hub are on other hosts.
        self.elsewhere = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()


class Refused(Exception):
    """An answer that is no success. code: of X-Error-Code, which huggingface_hub reads."""

    def __init__(self, status: int, code: str = "", said: str = "", **body: object):
        self.status, self.code, self.said, self.body = status, code, said, body


def _handler(hub: Hub) -> type:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._answered(self._get)

        do_HEAD = do_GET

        def do_POST(self):
            self._answered(self._post)

        def do_PUT(self):
            self._answered(self._put)

        def log_message(self, *args):
            pass

        # What is asked

        def _get(self, path: str, body: bytes) -> None:
            if path.startswith("/large/"):
                hub.leaked |= "Authorization" in self.headers
                return self._send(200, hub.large[path.rpartition("/")[2]])
            if path.startswith("/api/models/"):
                name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
                return self._info(name, revision or "main")
            name, resolve, rest = path[1:].partition("/resolve/")
            if not resolve:
                raise Refused(404)
            revision, _, file = rest.partition("/")
            return self._file(name, unquote(revision), unquote(file))

        def _post(self, path: str, body: bytes) -> None:
            if path == "/api/repos/create":
                return self._create(json.loads(body))
            if path == "/api/validate-yaml":
                return self._validate(json.loads(body)["content"])
            if path.endswith("/objects/batch"):
                return self._batch(json.loads(body)["objects"])
            if path == "/verify":
                asked = json.loads(body)
                return self._json({} if len(hub.large[asked["oid"]]) == asked["size"] else None)
            name, _, action = (
                path.removeprefix("/api/models/").rpartition("/main")[0].rpartition("/")
            )
            found = self._repository(name, writing=True)
            if action == "preupload":
                return self._preupload(found, json.loads(body)["files"])
            if action == "commit":
                return self._commit(name, found, [json.loads(line) for line in body.splitlines()])
            raise Refused(404)

        def _put(self, path: str, body: bytes) -> None:
            oid = path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != oid:
                raise Refused(400, said="another hash")
            hub.large[oid] = body
            self._json({})

        # The answers

        def _create(self, asked: dict) -> None:
            name = f"{asked['organization']}/{asked['name']}"
            self._may_write(name)
            address = {"url": f"{hub.address}/{name}"}
            if name in hub.repositories:
                raise Refused(409, said="You already created this model repo", **address)
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            hub.repositories[name] = Repository(private)
            self._json(address)

        def _validate(self, card: str) -> None:
            if "license: bogus" in card:
                errors = [{"message": '"license" must be one of [apache-2.0, mit]'}]
                raise Refused(400, errors=errors, warnings=[])
            self._json({"errors": [], "warnings": []})

        def _info(self, name: str, revision: str) -> None:
            found = self._repository(name)
            commit = self._at(found, revision)
            siblings = [{"rfilename": file} for file in commit.files]
            about = {"id": name, "sha": commit.sha, "private": found.private}
            self._json({**about, "siblings": siblings})

        def _file(self, name: str, revision: str, file: str) -> None:
            commit = self._at(self._repository(name), revision)
            about = {"X-Repo-Commit": commit.sha}
            if file not in commit.files:
                raise Refused(404, "EntryNotFound", "Entry not found", headers=about)
            content = commit.files[file]
            oid = hashlib.sha256(content).hexdigest()
            if not file.endswith(LARGE):
                return self._send(200, content, {**about, "ETag": f'"{oid[:40]}"'})
            hub.large[oid] = content
            linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
            location = {"Location": f"{hub.elsewhere}/large/{oid}"}
            self._send(302, b"", about | linked | location)

        def _batch(self, objects: list[dict]) -> None:
            actions = {"verify": {"href": f"{hub.address}/verify"}}
            self._json({"transfer": "basic", "objects": [
                {**each, "actions": {"upload": {"href": f"{hub.address}/large/{each['oid']}"}}
                 | actions}
                for each in objects
            ]})  # fmt: skip

        def _preupload(self, found: Repository, files: list[dict]) -> None:
            self._json({"files": [
                {"path": each["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular"}
                for each in files
            ]})  # fmt: skip

        def _commit(self, name: str, found: Repository, lines: list[dict]) -> None:
            if hub.meanwhile:
                hub.meanwhile()
            (header, *operations) = lines
            parent = header["value"].get("parentCommit")
            if parent and parent != found.commits[-1].sha:
                raise Refused(
                    412, said="A commit has happened since. Please refresh and try again."
                )
            changed = {}
            for each in operations:
                value = each["value"]
                changed[value["path"]] = {
                    "file": lambda value=value: base64.b64decode(value["content"]),
                    "lfsFile": lambda value=value: hub.large[value["oid"]],
                    "deletedFile": lambda: None,
                }[each["key"]]()
            found.add(changed, header["value"]["summary"])
            sha = found.commits[-1].sha
            self._json({"commitUrl": f"{hub.address}/{name}/commit/{sha}", "commitOid": sha})

        # Rights

        def _knows(self) -> bool:
            given = self.headers.get("Authorization")
            if given not in (None, f"Bearer {TOKEN}"):
                raise Refused(401, said="Invalid credentials in Authorization header")
            return given is not None

        def _may_write(self, name: str) -> None:
            if not self._knows():
                raise Refused(401, said="Invalid username or password.")
            if not name.startswith("anna/"):
                said = "You don't have the rights to create a model under this namespace"
                raise Refused(403, said=said)

        def _repository(self, name: str, writing: bool = False) -> Repository:
            found, knows = hub.repositories.get(name), self._knows()
            if found is None or (found.private and not (knows and name.startswith("anna/"))):
                raise Refused(404 if knows else 401, "RepoNotFound", "Repository not found")
            if found.gated:
                raise Refused(403, "GatedRepo", "Access to this model is restricted")
            if writing:
                self._may_write(name)
            return found

        def _at(self, found: Repository, revision: str) -> Commit:
            if (commit := found.at(revision)) is None:
                raise Refused(404, "RevisionNotFound", "Invalid rev id")
            return commit

        # HTTP

        def _answered(self, answer) -> None:
            path, body = urlsplit(self.path).path, self._body()
            hub.requests.append((self.command, path))
            try:
                if hub.failing:
                    said = f"you sent {dict(self.headers)}".replace("\n", " ")
                    raise Refused(hub.failing, said=said)
                answer(path, body)
            except Refused as refused:
                headers = refused.body.pop("headers", {}) | {"X-Error-Message": refused.said}
                headers |= {"X-HF-Warning": f"topic; {refused.said}"} if hub.failing else {}
                headers |= {"X-Error-Code": refused.code} if refused.code else {}
                content = json.dumps({"error": refused.said, **refused.body}).encode()
                self._send(refused.status, content, headers)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _json(self, content: object) -> None:
            self._send(200, json.dumps(content).encode())

        def _send(self, status: int, content: bytes, headers: dict | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler
