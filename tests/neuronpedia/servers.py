"""Neuronpedia on the loopback interface: its export bucket and its API over real HTTP, with faults on demand.

The bucket answers ListObjectsV2 as S3 does (XML, a few keys a page, continuation tokens, ETag and Size of
each key) and hands out objects; the API answers the routes that fsrl asks. Both keep every request with its
headers.
"""

import gzip
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.fixtures import loopback

# More than the buffers between two processes hold.
FLOOD = 2**27
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, content: object) -> "Answer":
        return cls(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


@dataclass
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def key(self) -> str | None:
        """The API key that came with it; the header's name has no case."""
        return {name.lower(): value for name, value in self.headers.items()}.get("x-api-key")


@dataclass
class Fault:
    """What becomes of answers to paths that match `pattern` (fnmatch), so many times; None: for ever.

    kind: stall (no answer), answer (`answer` in its place), cut (the connection ends after `after` bytes of
    the body), hold (it sends no more after them), short (a body of `after` bytes, announced as such), garble
    (the middle byte is inverted), flood (a body of unannounced length that goes on for FLOOD bytes; `floods`
    counts those that were taken whole).
    """

    kind: str
    pattern: str
    times: int | None
    answer: Answer = field(default_factory=lambda: Answer(500))
    after: int = 0


class Loopback:
    """A server at `url` while it is open; `requests` are those that it was sent, in order."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.floods = 0
        self.release = threading.Event()
        self._lock = threading.Lock()
        self._port = 0
        self._server: loopback.Server | None = None
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def open(self) -> None:
        self._server = loopback.Server(self._port, _Handler, self)
        self._port = self._server.server_port

    def close(self) -> None:
        """Connections are refused from now on, and open ones are dropped."""
        self.release.set()
        if self._server is not None:
            self._server.vanish()
        self._server = None

    def fault(
        self,
        kind: str,
        pattern: str,
        times: int | None = None,
        *,
        answer: Answer | None = None,
        after: int = 0,
    ) -> None:
        self.faults.append(Fault(kind, pattern, times, answer or Answer(500), after))

    def take_fault(self, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times != 0 and fnmatch(path, fault.pattern):
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None


class Bucket(Loopback):
    """An S3 bucket: `objects` by key; a listing shows `page` keys at a time, in S3's order (of bytes)."""

    def __init__(self, page: int = 1000) -> None:
        self.objects: dict[str, bytes] = {}
        self.page = page
        super().__init__()

    def put(self, model_id: str, source: str, name: str, rows: Sequence[object]) -> str:
        """Store rows as gzipped JSON lines; returns the key."""
        key = f"v1/{model_id}/{source}/{name}"
        self.objects[key] = packed(rows)
        return key

    def answer(self, request: Request) -> Answer:
        if request.path == "/":
            return self._list(request.query)
        body = self.objects.get(request.path[1:])
        if body is None:
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
        # As uploaders may store it: a client that decodes transfer encodings would unpack the batch.
        headers = {"Content-Type": "application/jsonlines", "Content-Encoding": "gzip", "ETag": _etag(body)}
        return Answer(200, body, headers)

    def _list(self, query: Mapping[str, str]) -> Answer:
        prefix, start = query["prefix"], query.get("continuation-token", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        first = 0 if not start else keys.index(start.removeprefix("after+/=")) + 1
        page = keys[first : first + self.page]
        more = first + self.page < len(keys)
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-04-{1 + len(key) % 28:02}T00:00:00.000Z"
            f"</LastModified><ETag>{escape(_etag(self.objects[key]))}</ETag>"
            f"<Size>{len(self.objects[key])}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in page
        )
        # A token with letters that a query has to escape, as S3's have.
        token = f"<NextContinuationToken>after+/={escape(page[-1])}</NextContinuationToken>" if more else ""
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="{NAMESPACE}">'
            f"<Name>neuronpedia-datasets</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        )
        return Answer(200, body.encode(), {"Content-Type": "application/xml"})


class Api(Loopback):
    """The API: `features` by (model, source, index as text)."""

    def __init__(self) -> None:
        self.features: dict[tuple[str, str, str], object] = {}
        super().__init__()

    def answer(self, request: Request) -> Answer:
        parts = tuple(request.path.removeprefix("/api/feature/").split("/"))
        if parts in self.features:
            return Answer.of(200, self.features[parts])
        return Answer.of(404, {"error": "Feature not found"})


def packed(rows: Sequence[object]) -> bytes:
    """Rows as gzipped JSON lines; bytes among them are lines as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


class _Handler(loopback.Handler):
    def do_GET(self) -> None:
        owner, parts = self.server.owner, urlsplit(self.path)
        request = Request(unquote(parts.path), dict(parse_qsl(parts.query)), dict(self.headers))
        owner.requests.append(request)
        fault = owner.take_fault(request.path)
        if fault and fault.kind == "stall":
            owner.release.wait()
            self.close_connection = True
            return None
        if fault and fault.kind == "flood":
            return self._flood()
        answer = fault.answer if fault and fault.kind == "answer" else owner.answer(request)
        body = answer.body
        if fault and fault.kind == "short":
            body = body[: fault.after]
        if fault and fault.kind == "garble":
            middle = len(body) // 2
            body = body[:middle] + bytes([255 - body[middle]]) + body[middle + 1 :]
        self.start(answer.status, len(body), dict(answer.headers))
        if fault and fault.kind in ("cut", "hold"):
            body = body[: fault.after]
            self.close_connection = True
        self.wfile.write(body)
        if fault and fault.kind == "hold":
            owner.release.wait()
        return None

    def _flood(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(FLOOD // 2**20):
            self.wfile.write(b"x" * 2**20)
        self.server.owner.floods += 1
