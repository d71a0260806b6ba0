"""HTTP for `fsrl.neuronpedia`: time-outs, retries, errors of one line, and where the API key may go.

Nothing that Neuronpedia serves to readers needs a key. One that is set in NEURONPEDIA_API_KEY goes to the
API's host alone, as the header x-api-key, over https (or to this machine); no object here keeps it. Clients
of the export bucket never have it, a redirect to another host drops it (requests does that only for the
header Authorization), and a server that repeats it in an error has it cut out of the message.

requests gives up a read only between two bytes, and urllib3's Retry ends where the body begins: a body that
breaks off, or that its `check` finds damaged, is asked for again here.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from fsrl._version import __version__
from fsrl.errors import FsrlError

API_URL = "https://www.neuronpedia.org"
BUCKET_URL = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
API_VARIABLE, BUCKET_VARIABLE, KEY_VARIABLE = (
    "NEURONPEDIA_URL",
    "NEURONPEDIA_BUCKET_URL",
    "NEURONPEDIA_API_KEY",
)
KEY_HEADER = "x-api-key"

# A machine without network is to know within seconds; a batch of features is some megabytes long.
CONNECT_SECONDS, READ_SECONDS = 3.0, 8.0
# How often a connection that broke before the answer and a temporary refusal are asked again, and how often a
# damaged body in all, or one that stands still. Where nobody takes the connection, that only costs time.
READ_RETRIES, STATUS_RETRIES, BODY_ATTEMPTS, STALLS = 1, 4, 3, 2
# Neuronpedia's 429 says nothing of when to come back: wait 1, 2, 4 times this; never longer than the second.
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 20
RETRIED = (429, 500, 502, 503, 504)
# Larger than any answer that is not a batch (whose size the listing tells).
LONGEST_BODY = 64 * 2**20

# What went wrong on the way, by urllib3's and requests' names for it.
REASONS = {
    "NameResolutionError": "its name cannot be resolved",
    "ConnectTimeoutError": "no connection in time",
    "NewConnectionError": "no connection can be made",
    "ReadTimeoutError": "no answer in time",
    "ProtocolError": "the connection broke off",
    "TooManyRedirects": "it redirects in a circle",
    "InvalidProxyURL": "its proxy's address is none",
}
NO_SOCKS = "a SOCKS proxy needs the package PySocks, which is missing (pip install PySocks)"


class Damaged(Exception):
    """What arrived is not what was announced; the text says why."""


class Stalled(Damaged):
    """No byte came for READ_SECONDS."""


@dataclass(frozen=True)
class Answer:
    """Status and body of an answer; url without its query; whether the key had been sent."""

    url: str
    status: int
    body: bytes = field(repr=False)
    keyed: bool = False

    def json(self) -> Any:
        """The body as JSON; FsrlError where it is something else, such as a proxy's or a login page."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            pass
        raise FsrlError(f"{self.url}: the answer is not JSON (a proxy, a login page?); open it in a browser")

    def error(self, remedy: str) -> FsrlError:
        """This answer as an error, with the server's own words where it has any."""
        if self.keyed and self.status in (401, 403):
            remedy = f"it refuses the key in {KEY_VARIABLE}: put a valid one there, or unset it"
        said = self._said()
        return FsrlError(f"{self.url} answered {self.status}{f' ({said})' if said else ''}; {remedy}")

    def _said(self) -> str:
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            code = re.search(rb"<Code>([^<]*)</Code>", self.body[:4096])
            return plain(code[1].decode("utf-8", "replace")) if code else ""
        words = [content.get(name) for name in ("error", "message")] if isinstance(content, dict) else []
        return plain("; ".join(word for word in words if isinstance(word, str)))


class Client:
    """One host over one session: the API (keyed) or the bucket. Use it in a `with`."""

    def __init__(self, base: str, *, keyed: bool = False):
        _key()  # a key that cannot be sent is refused before anything is
        self.base = base
        self._keyed = keyed
        self._session = _Session()

    def __repr__(self) -> str:
        return f"<Client of {self.base}>"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._session.close()

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        stored: bool = False,
        longest: int = LONGEST_BODY,
        check: Callable[[bytes], object] = len,
    ) -> Answer:
        """The answer to GET base + path, whatever its status (one of RETRIED only if it lasts).

        stored: the bytes as the bucket holds them, even where it calls gzip a transfer encoding. check: is
        given the body of a 200 and raises Damaged for one to ask for again. Raises FsrlError where the host
        cannot be reached, and for a body that stays damaged or is longer than `longest` bytes.
        """
        url, problems, stalls = self.base + path, list[str](), 0
        while len(problems) < BODY_ATTEMPTS and stalls < STALLS:
            time.sleep(PAUSE_SECONDS * len(problems))
            try:
                answer = self._ask(url, params, stored, longest)
                if answer.status == 200:
                    check(answer.body)
                return answer
            except Damaged as damage:
                problems.append(str(damage))
                stalls += isinstance(damage, Stalled)
        raise FsrlError(f"{url}: {problems[-1]}, {len(problems)} times; run the command again later")

    def _ask(self, url: str, params: Mapping[str, str] | None, stored: bool, longest: int) -> Answer:
        try:
            response = self._session.get(
                url,
                params=params,
                stream=True,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                auth=_with_key if self._keyed else _without_key,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            # requests has no exception of its own for it.
            problem = NO_SOCKS if "SOCKS support" in str(error) else _reason(error)
        else:
            return _read(response, url, stored, longest)
        # Outside of `except`: the exception above holds the request, and that the key.
        raise FsrlError(
            f"{url} cannot be read: {problem}; connect this machine to the network (or see to its proxy, or "
            f"to {API_VARIABLE} and {BUCKET_VARIABLE} if they are set), then run again"
        )


def base_url(given: str | None, variable: str, default: str) -> str:
    """The address of a host: the argument, else the environment's, else the public one; no / at its end.

    Raises FsrlError for what is no http(s) address, and for one with a password or a query: addresses are
    shown in messages.
    """
    url = given or os.environ.get(variable) or default
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc or parts.query or parts.fragment or not url.isprintable():
        raise FsrlError(f"{variable} (or the argument in its place) must be like {default}; correct it")
    return url.rstrip("/")


def plain(text: str) -> str:
    """A server's text for a message: one short line of printable characters, without the API key."""
    key = _key()
    for secret in (key, quote(key, safe="")) if key else ():
        text = text.replace(secret, f"[{KEY_VARIABLE}]")
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= 200 else line[:197] + "..."


class _Retry(Retry):
    def sleep_for_retry(self, response: urllib3.BaseHTTPResponse) -> bool:
        """Called where an answer may say when to come back."""
        seconds = self.get_retry_after(response)
        if seconds:
            line = f"Neuronpedia answered {response.status}; asking again in {seconds:g} s"
            print(line, file=sys.stderr, flush=True)
        return super().sleep_for_retry(response)


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        retry = _Retry(
            total=None,
            connect=0,
            read=READ_RETRIES,
            status=STATUS_RETRIES,
            allowed_methods=["GET"],
            status_forcelist=RETRIED,
            backoff_factor=PAUSE_SECONDS / 2,
            backoff_max=LONGEST_PAUSE_SECONDS,
            retry_after_max=LONGEST_PAUSE_SECONDS,
            raise_on_status=False,
        )
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))
        self.max_redirects = 5
        self.headers.update({"User-Agent": f"fsrl/{__version__}", "Accept-Encoding": "identity"})

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Called for every redirect."""
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            prepared_request.headers.pop(KEY_HEADER, None)


def _read(response: requests.Response, url: str, stored: bool, longest: int) -> Answer:
    """The whole body; Damaged where it breaks off or is longer than it may be."""
    parts, size = [], 0
    longest = longest if response.status_code == 200 else LONGEST_BODY
    with response:
        try:
            for part in response.raw.stream(2**16, decode_content=not stored):
                parts.append(part)
                size += len(part)
                if size > longest:
                    break
        except urllib3.exceptions.ReadTimeoutError:
            raise Stalled(f"no byte came for {READ_SECONDS:g} s") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            problem = _reason(error)
        else:
            problem = f"the answer is longer than {longest} bytes" if size > longest else ""
    if problem:
        raise Damaged(problem)
    return Answer(url, response.status_code, b"".join(parts), KEY_HEADER in response.request.headers)


def _key() -> str | None:
    """The API key; FsrlError, without it, for one that no header can carry."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise FsrlError(f"{KEY_VARIABLE} holds characters that no key has; set it again, or unset it")
    return key or None


def _with_key(request: requests.PreparedRequest) -> requests.PreparedRequest:
    key, parts = _key(), urlsplit(str(request.url))
    if key and (parts.scheme == "https" or _is_this_machine(parts.hostname or "")):
        request.headers[KEY_HEADER] = key
    return request


def _without_key(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Given as `auth`, so that requests does not look for a password in ~/.netrc: S3 refuses any."""
    return request


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: BaseException) -> str:
    """Why a request failed, in words: of the innermost exception that REASONS knows."""
    found, pending, seen = "", [error], 0
    while pending and seen < 20:
        inner = pending.pop()
        seen += 1
        for kind in type(inner).__mro__:
            if kind.__name__ in REASONS:
                found = REASONS[kind.__name__]
                break
        pending += [
            cause
            for cause in (getattr(inner, "reason", None), *inner.args)
            if isinstance(cause, BaseException)
        ]
    return found or type(error).__name__
