"""A small Hub on the loopback interface: repositories, commits, pull requests, large files, permissions and faults.

It speaks as much of the Hugging Face Hub's HTTP API as its client needs to publish and to load. Large files go the LFS
way: the newer Xet storage is a protocol of its own inside a compiled library, which the client does without when
``HF_HUB_DISABLE_XET=1`` is set. ``python tests/support/fake_hub.py`` runs it by hand.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".onnx", ".safetensors", ".png")  # kept by SHA-256 outside git, as the Hub's .gitattributes has it
POINTER = 134  # bytes of a pointer file; any number will do
CUT = -1  # a fault: the connection ends in the middle
LOST = -2  # another: all is done as asked, and the answer does not arrive

Tree = dict[str, tuple[str, bool]]  # path -> (digest of the content, large)


@dataclass
class Repository:
    """Commits and what branches and pull requests point at."""

    private: bool
    trees: dict[str, Tree] = field(default_factory=dict)  # by commit
    refs: dict[str, str] = field(default_factory=dict)  # "main", "refs/pr/1" -> commit
    requests: list[dict[str, Any]] = field(default_factory=list)  # pull requests

    def commit(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.trees else None)

    def add(self, tree: Tree, parent: str) -> str:
        """A new commit; its name depends on all that went before, as git's does."""
        commit = hashlib.sha1((parent + json.dumps(sorted(tree.items()))).encode()).hexdigest()
        self.trees[commit] = tree
        return commit


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose method and path fit, after ``after`` that go well."""

    method: str
    path: str  # a regular expression
    status: int
    times: int
    after: int = 0


class FakeHub:
    """The server's state; tests read and change it."""

    def __init__(self) -> None:
        self.users = {"hf_right": "acme", "hf_other": "guest"}  # token -> name
        self.repositories: dict[str, Repository] = {}
        self.taken: set[str] = set()  # names that are in use, but that nobody here may see
        self.contents: dict[str, bytes] = {}  # digest -> content
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []  # method and path, in order
        self.tokens: set[str] = set()  # that were ever sent
        self.lock = threading.RLock()
        self.endpoint = ""

    def fail(self, method: str, path: str, status: int, times: int = 1, after: int = 0) -> None:
        self.faults.append(Fault(method, path, status, times, after))

    def fault(self, method: str, path: str) -> int | None:
        with self.lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.method == method and re.search(fault.path, path) and fault.times:
                    if fault.after:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault.status
        return None

    def count(self, method: str, path: str) -> int:
        return sum(one == method and re.search(path, other) is not None for one, other in self.requests)

    def content(self, repository: str, path: str, revision: str = "main") -> bytes:
        found = self.repositories[repository]
        return self.contents[found.trees[found.refs[revision]][path][0]]

    def paths(self, repository: str, revision: str = "main") -> set[str]:
        found = self.repositories[repository]
        return set(found.trees[found.refs[revision]])

    def store(self, content: bytes, *, large: bool) -> str:
        digest = hashlib.sha256(content) if large else hashlib.sha1(b"blob %d\0" % len(content) + content)
        self.contents[digest.hexdigest()] = content
        return digest.hexdigest()

    def put(self, repository: str, path: str, content: bytes) -> None:
        """Change a file on the main branch behind everybody's back."""
        found = self.repositories.setdefault(repository, Repository(private=False))
        large = path.endswith(LARGE)
        head = found.refs.get("main", "")
        tree = {**found.trees.get(head, {}), path: (self.store(content, large=large), large)}
        found.refs["main"] = found.add(tree, head)


class Refused(Exception):
    """A request that ends with a status and the Hub's words for it."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(status)
        self.status, self.code, self.message = status, code, message or code


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together, or the client waits 40 ms for the second
    hub: FakeHub  # of the class made by :func:`serving`

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    # -- the frame

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = url.path
        fault = self.hub.fault(method, path)
        self.cut, self.lost = fault == CUT, fault == LOST
        if self.cut and method in ("POST", "PUT"):
            self.rfile.read(min(1000, int(self.headers.get("Content-Length", 0))))
            return self._hang_up()
        self.body = self._read()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token:
            self.hub.tokens.add(token)
        self.user = self.hub.users.get(token)
        try:
            with self.hub.lock:
                if fault is not None and fault > 0:
                    raise Refused(fault, message=f"not with {token}")  # a careless server
                if token and self.user is None:
                    raise Refused(401, message="Invalid credentials in Authorization header")
                self._route(method, path)
        except Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            words = {"error": refused.message, "errors": [{"message": refused.message}]}
            self._send(refused.status, words, {key: text for key, text in headers.items() if text})

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        if self.lost:
            return self._hang_up()
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if self.cut else data)
        if self.cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _route(self, method: str, path: str) -> None:
        for pattern, handler in ROUTES:
            match = re.fullmatch(pattern, f"{method} {path}")
            if match:
                return handler(self, *(unquote(part) for part in match.groups()))
        raise Refused(404, "NotFound", f"no such route: {method} {path}")

    # -- what is there

    def repository(self, name: str) -> Repository:
        found = self.hub.repositories.get(name)
        if found is None or (found.private and self.user != name.split("/")[0]):
            raise Refused(404 if self.user else 401, "RepoNotFound", "Repository not found")
        return found

    def revision(self, name: str, revision: str) -> tuple[Repository, str]:
        found = self.repository(name)
        commit = found.commit(revision)
        if commit is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found, commit

    def writer(self, name: str, *, request: bool = False) -> None:
        """Refuse whoever may not write: anybody may propose a pull request, the owner may do the rest."""
        if self.user is None:
            raise Refused(401, message="Invalid username or password.")
        if not request and self.user != name.split("/")[0]:
            raise Refused(403, message="You don't have the rights to write to it")

    def whoami(self) -> None:
        if self.user is None:
            raise Refused(401, message="Invalid username or password.")
        self._send(200, {"type": "user", "name": self.user, "orgs": []})

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        if not content.startswith("---\n"):
            return self._send(200, {"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]})
        self._send(200, {"errors": [], "warnings": []})

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        self.writer(name)
        if name in self.hub.repositories or name in self.hub.taken:
            raise Refused(409, message="You already created this model repo")
        # as on the Hub, a new repository holds one file
        self.hub.put(name, ".gitattributes", b"*.onnx filter=lfs diff=lfs merge=lfs -text\n")
        self.hub.repositories[name].private = asked.get("visibility") == "private"
        self._send(200, {"url": f"{self.hub.endpoint}/{name}", "name": name})

    def info(self, name: str, revision: str = "main") -> None:
        found, commit = self.revision(name, revision)
        files = [{"rfilename": path} for path in found.trees[commit]]
        self._send(200, {"id": name, "sha": commit, "private": found.private, "siblings": files, "tags": []})

    def tree(self, name: str, revision: str) -> None:
        found, commit = self.revision(name, revision)
        entries: list[dict[str, Any]] = []
        for path, (digest, large) in sorted(found.trees[commit].items()):
            size = len(self.hub.contents[digest])
            entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": digest}
            if large:
                entry["lfs"] = {"oid": digest, "size": size, "pointerSize": POINTER}
                entry["oid"] = hashlib.sha1(digest.encode()).hexdigest()
            entries.append(entry)
        self._send(200, entries)

    def discussions(self, name: str) -> None:
        found = self.repository(name)
        wanted = [one for one in found.requests if self.query.get("author") in (None, one["author"]["name"])]
        self._send(200, {"discussions": wanted, "count": len(wanted), "start": 0})

    # -- writing

    def preupload(self, name: str, revision: str) -> None:
        found, commit = self.revision(name, revision)
        self.writer(name, request="create_pr" in self.query)
        there = found.trees[commit]
        answer = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": there[file["path"]][0] if file["path"] in there else None,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._send(200, {"files": answer})

    def batch(self, name: str) -> None:
        asked = json.loads(self.body)
        self.writer(name, request="ref" not in asked)
        self.repository(name)
        objects = []
        for one in asked["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.contents:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.endpoint}/storage/{one['oid']}"},
                    "verify": {"href": f"{self.hub.endpoint}/verify"},
                }
            objects.append(answer)
        self._send(200, {"transfer": "basic", "objects": objects})

    def keep(self, digest: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != digest:
            raise Refused(400, message="not the content that was announced")
        self.hub.store(self.body, large=True)
        self._send(200, b"")

    def verify(self) -> None:
        asked = json.loads(self.body)
        if len(self.hub.contents.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(404, message="no such object")
        self._send(200, b"")

    def add_commit(self, name: str, revision: str) -> None:
        found, commit = self.revision(name, revision)
        request = "create_pr" in self.query
        self.writer(name, request=request)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines[0]["value"]
        parent = header.get("parentCommit", commit)
        if parent != commit and not request:
            raise Refused(412, message="A commit has happened since. Please refresh and try again.")
        tree = dict(found.trees[parent])
        for line in lines[1:]:
            key, value = line["key"], line["value"]
            if key == "file":
                tree[value["path"]] = (self.hub.store(base64.b64decode(value["content"]), large=False), False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.contents:
                    raise Refused(400, message=f"{value['path']}: its content was never uploaded")
                tree[value["path"]] = (value["oid"], True)
            elif key == "deletedFile":
                del tree[value["path"]]
            else:
                raise Refused(400, message=f"unknown operation {key}")
        made = found.add(tree, parent)
        answer = {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{made}", "commitOid": made}
        if request:
            number = len(found.requests) + 1
            found.refs[f"refs/pr/{number}"] = made
            found.requests.append(
                {
                    "num": number,
                    "title": header["summary"],
                    "author": {"name": self.user},
                    "status": "open",
                    "isPullRequest": True,
                    "createdAt": "2026-01-01T00:00:00.000Z",
                    "repo": {"name": name, "type": "model"},
                }
            )
            answer["pullRequestUrl"] = f"{self.hub.endpoint}/{name}/discussions/{number}"
        else:
            found.refs[revision] = made
        self._send(200, answer)

    # -- reading

    def resolve(self, name: str, revision: str, path: str) -> None:
        found, commit = self.revision(name, revision)
        if path not in found.trees[commit]:
            raise Refused(404, "EntryNotFound", "Entry not found")
        digest, _ = found.trees[commit][path]
        content = self.hub.contents[digest]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start is None:
            return self._send(200, content, headers)
        begin = int(start[1])
        headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(206, content[begin:], headers)


NAME = r"([^/]+/[^/]+)"
ROUTES = [
    (r"GET /api/whoami-v2", Handler.whoami),
    (r"POST /api/validate-yaml", Handler.validate),
    (r"POST /api/repos/create", Handler.create),
    (rf"GET /api/models/{NAME}", Handler.info),
    (rf"GET /api/models/{NAME}/revision/([^/]+)", Handler.info),
    (rf"GET /api/models/{NAME}/tree/([^/]+)", Handler.tree),
    (rf"GET /api/models/{NAME}/discussions", Handler.discussions),
    (rf"POST /api/models/{NAME}/preupload/([^/]+)", Handler.preupload),
    (rf"POST /api/models/{NAME}/commit/([^/]+)", Handler.add_commit),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /storage/(\w+)", Handler.keep),
    (r"POST /verify", Handler.verify),
    (rf"GET /{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    (rf"HEAD /{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
]


@contextmanager
def serving(port: int = 0) -> Iterator[FakeHub]:
    """A Hub for as long as the context lasts, on a free port of the loopback interface."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", port), type("OneHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    with serving(8765) as running:
        print(f"HF_ENDPOINT={running.endpoint} HF_HUB_DISABLE_XET=1 HF_TOKEN=hf_right", flush=True)
        threading.Event().wait()
