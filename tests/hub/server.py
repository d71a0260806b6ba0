"""A Hugging Face hub on the loopback interface: the real protocol over real HTTP, and its failures on demand.

It answers what huggingface_hub 2.4 and transformers 5.23 ask of a model repository (/api/models, /tree,
/refs, /resolve), with the real hub's headers: ETag, X-Repo-Commit, X-Error-Code, X-Linked-Etag and
X-Linked-Size. A large file is redirected to another origin (a second port), as the real hub does to its
content network; an alias is redirected with 307. No X-Xet-Hash is sent, so that clients take the plain HTTP
route even where hf_xet is installed.
"""

import json
import os
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.fixtures import loopback
from tests.hub import repositories
from tests.hub.repositories import HubFile, Missing

RESOLVE = re.compile(r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
API = re.compile(
    r"/api/models/(?P<repo>[^/]+(?:/(?!(?:tree|revision|refs)(?:/|$))[^/]+)?)"
    r"(?:/(?P<ask>tree|revision|refs)(?:/(?P<rev>[^/]+)(?:/(?P<path>.+))?)?)?"
)


@dataclass
class Fault:
    """What goes wrong with requests whose path matches `pattern` (fnmatch); `times` None: for ever."""

    kind: str
    pattern: str
    methods: tuple[str, ...]
    times: int | None = None
    status: int = 500
    after: int = 0
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes = b""


class LoopbackHub:
    """A hub that serves the folders of `tree` at `url` while it is open.

    `requests` holds (method, decoded path) of every request in order; the content network's begin with /cdn/.
    `authorized` holds those that came with a token.
    """

    def __init__(self, tree: Path):
        self.tree = tree
        self.requests: list[tuple[str, str]] = []
        self.authorized: list[tuple[str, str]] = []
        self.release = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._servers: list[loopback.Server] = []
        self._ports = (0, 0)
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self._ports[1]}"

    def open(self) -> None:
        """Serve; after close(), at the same address as before."""
        self._servers = [loopback.Server(port, _Handler, self) for port in self._ports]
        self._ports = (self._servers[0].server_port, self._servers[1].server_port)

    def close(self) -> None:
        """The hub is gone: connections are refused, and open ones are dropped."""
        self.heal()
        for server in self._servers:
            server.vanish()
        self._servers = []

    def reset(self) -> None:
        """As new: no faults, an empty log, open."""
        self.heal()
        self.requests.clear()
        self.authorized.clear()
        if not self._servers:
            self.open()

    def heal(self) -> None:
        """Take back every fault and let stalled requests go (their connections close without an answer)."""
        with self._lock:
            self._faults.clear()
            self.release.set()
            self.release = threading.Event()

    def stall(self, pattern: str) -> None:
        """Accept requests and never answer them, until heal() or close()."""
        self._add(Fault("stall", pattern, ("HEAD", "GET")))

    def fail(
        self,
        pattern: str,
        times: int | None,
        status: int = 500,
        methods: tuple[str, ...] = ("HEAD", "GET"),
        headers: dict[str, str | None] | None = None,
    ) -> None:
        """Answer `status` so many times, with these headers, then as usual."""
        self._add(Fault("fail", pattern, methods, times, status=status, headers=headers or {}))

    def say(self, pattern: str, body: bytes, times: int | None = None) -> None:
        """Answer 200 with this body instead of the right one."""
        self._add(Fault("say", pattern, ("GET",), times, body=body))

    def lie(
        self, pattern: str, headers: dict[str, str | None], methods: tuple[str, ...] = ("HEAD", "GET")
    ) -> None:
        """Put these headers in the place of the right ones; None leaves a header out."""
        self._add(Fault("lie", pattern, methods, headers=headers))

    def hold(self, pattern: str, after: int, times: int | None = None) -> None:
        """Send `after` bytes of a body and no more, until heal() or close()."""
        self._add(Fault("hold", pattern, ("GET",), times, after=after))

    def cut(self, pattern: str, after: int, times: int | None = 1, reset: bool = False) -> None:
        """Close the connection after `after` bytes of a body; `reset` sends RST, not FIN."""
        self._add(Fault("reset" if reset else "cut", pattern, ("GET",), times, after=after))

    def corrupt(self, pattern: str, times: int | None = None) -> None:
        """Send a body of the right length whose bytes don't match the ETag (the last 64 are inverted)."""
        self._add(Fault("corrupt", pattern, ("GET",), times))

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def take_fault(self, method: str, path: str, kinds: tuple[str, ...]) -> Fault | None:
        """The first fault of these kinds that this request meets, counted as used once."""
        with self._lock:
            for fault in self._faults:
                meets = fault.kind in kinds and method in fault.methods and fnmatch(path, fault.pattern)
                if meets and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None


class _Handler(loopback.Handler):
    def do_GET(self) -> None:
        hub, parts = self.server.owner, urlsplit(self.path)
        path = unquote(parts.path)
        hub.requests.append((self.command, path))
        if "Authorization" in self.headers:
            hub.authorized.append((self.command, path))
        fault = hub.take_fault(self.command, path, ("stall", "fail", "say"))
        if fault and fault.kind == "stall":
            hub.release.wait()
            self.close_connection = True
        elif fault and fault.kind == "say":
            self.start(200, len(fault.body), {"Content-Type": "text/html"})
            self.wfile.write(fault.body)
        elif fault:
            self.start(fault.status, 0, {name: text for name, text in fault.headers.items() if text})
        else:
            try:
                self._answer(parts.path, parse_qs(parts.query))
            except Missing as missing:
                self._refuse(missing)

    do_HEAD = do_GET

    def start(self, status: int, length: int, headers: dict[str, str]) -> None:
        """As every answer begins, with the headers that a fault puts in the place of the right ones."""
        fault = self.server.owner.take_fault(self.command, unquote(urlsplit(self.path).path), ("lie",))
        said = {**headers, **(fault.headers if fault else {})}
        super().start(status, length, {name: text for name, text in said.items() if text is not None})

    def _answer(self, path: str, query: dict[str, list[str]]) -> None:
        tree = self.server.owner.tree
        if path.startswith("/cdn/"):
            repo, commit, name = re.fullmatch(r"/cdn/([^/]+/[^/]+)/([^/]+)/(.+)", path).groups()  # type: ignore[union-attr]
            return self._send_file(repositories.find(tree, repo).file(commit, unquote(name)), {})
        match = RESOLVE.fullmatch(path) or API.fullmatch(path)
        if match is None:
            raise Missing("RepoNotFound")
        name = match["repo"]
        if name in (known := repositories.aliases(tree)):
            return self._send(307, None, {"Location": path.replace(f"/{name}", f"/{known[name]}", 1)})
        repo = repositories.find(tree, name)
        if match.re is API and match["ask"] == "refs":
            return self._send(200, _refs(repo))
        commit = repo.commit(unquote(match["rev"] or "main"))
        if match.re is RESOLVE:
            return self._resolve(repo, commit, unquote(match["path"]))
        if match["ask"] == "tree":
            deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            return self._send(200, repo.tree(commit, unquote(match["path"] or ""), deep))
        return self._send(200, repo.info(commit, blobs="blobs" in query))

    def _resolve(self, repo: repositories.Repository, commit: str, path: str) -> None:
        file = repo.file(commit, path)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if file.sha256 is None:
            return self._send_file(file, headers)
        linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        place = f"{self.server.owner.cdn}/cdn/{repo.name}/{commit}/{quote(path)}"
        return self._send(302, None, {**headers, **linked, "Location": place})

    def _send_file(self, file: HubFile, headers: dict[str, str]) -> None:
        """The file, or the part of it that a Range header asks for; with the fault that awaits it, if any."""
        body = file.on_disk.read_bytes()
        kinds = ("cut", "reset", "corrupt", "hold")
        fault = self.server.owner.take_fault(self.command, unquote(self.path), kinds)
        if fault and fault.kind == "corrupt":
            body = body[:-64] + bytes(255 - byte for byte in body[-64:])
        headers = {**headers, "ETag": f'"{file.oid}"', "Content-Type": "application/octet-stream"}
        status, wanted = 200, re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            first, last = int(wanted[1]), min(int(wanted[2] or file.size - 1), file.size - 1)
            if first > last:
                return self._send(416, None, {"Content-Range": f"bytes */{file.size}"})
            status, body = 206, body[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        self.start(status, len(body), headers)
        if self.command == "HEAD":
            return None
        if fault and fault.kind == "hold":
            self.wfile.write(body[: fault.after])
            self.wfile.flush()
            self.server.owner.release.wait()
            self.close_connection = True
            return None
        if fault and fault.kind in ("cut", "reset"):
            return self._cut(body[: fault.after], fault.kind == "reset")
        self.wfile.write(body)
        return None

    def _cut(self, body: bytes, reset: bool) -> None:
        self.wfile.write(body)
        self.wfile.flush()
        if reset:
            # Lingering for 0 seconds makes close send RST; detached, as socketserver would send FIN first.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        self.close_connection = True

    def _refuse(self, missing: Missing) -> None:
        # An anonymous client learns of a repository that is not there by 401, as of a private one.
        status = 401 if missing.code == "RepoNotFound" else 404
        headers = {"X-Error-Code": missing.code, "X-Error-Message": missing.code}
        if missing.commit:
            headers["X-Repo-Commit"] = missing.commit
        self._send(status, {"error": missing.code}, headers)

    def _send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.start(status, len(body), {"Content-Type": "application/json", **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)


def _refs(repo: repositories.Repository) -> dict[str, list[dict]]:
    """Branches and tags as /refs lists them; a name that begins with v and a digit is a tag."""
    listed: dict[str, list[dict]] = {"branches": [], "tags": [], "converts": []}
    for name, commit in repo.refs().items():
        kind = "tags" if re.match(r"v\d", name) else "branches"
        place = "tags" if kind == "tags" else "heads"
        listed[kind].append({"name": name, "ref": f"refs/{place}/{name}", "targetCommit": commit})
    return listed
