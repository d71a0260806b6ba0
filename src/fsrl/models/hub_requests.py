"""Requests to the Hugging Face hub: what is believed of an answer, how long it is waited for, how it failed.

huggingface_hub makes folders and files of what the hub says: blobs/{ETag}, snapshots/{X-Repo-Commit}. `guard`
looks at the headers of every answer, to whatever library of this process, before a path is made of them: a
commit has 40 hexadecimal digits, an ETag 40 (git's hash of a small file) or 64 (sha256 of a large one).

Inside `asked`, moreover: an answer that says when to come back (429, 503) is honoured; a body that breaks off
goes on from there, and is given up once no byte came twice in a row; every fault is one line.
"""

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

from fsrl import plain
from fsrl.errors import FsrlError

# The hub must answer the first request within this time, so that a machine without network knows soon.
ANSWER_SECONDS = 4.0
# Longest wait for the next byte, and how many requests in a row may end in it, or bring nothing at all; one
# that brought more than this before does not count.
STALL_SECONDS, TRIES, PROGRESS_BYTES = 8.0, 2, 2**20
# A server's own faults (5xx) and broken connections are worth asking again, this often and after this long.
ATTEMPTS, PAUSE_SECONDS = 5, 0.5
# Where the hub says when to come back it is waited for as long as it says, for one question up to this in all
# (its limits count requests in windows of five minutes).
LONGEST_WAIT_SECONDS = 300.0

_ETAG = re.compile(r'(?:W/)?"?(?:[0-9a-f]{40}|[0-9a-f]{64})"?')
_HASHES = {
    "X-Repo-Commit": re.compile(r"[0-9a-f]{40}"),
    "X-Xet-Hash": re.compile(r"[0-9a-f]{64}"),
    "X-Linked-Etag": _ETAG,
    "ETag": _ETAG,
}


class Busy(Exception):
    """The hub answered 429, or 503 with a time. seconds: after which it wants to be asked again, or None."""

    def __init__(self, status: int, seconds: float | None):
        super().__init__(status)
        self.status, self.seconds = status, seconds


class Stalled(Exception):
    """The hub stood still, or broke off before the first byte, TRIES times in a row."""


# {method and address: requests since the last byte} of the question that is being asked; None outside of one.
_waiting: ContextVar[dict[str, int] | None] = ContextVar("_waiting", default=None)


def guard() -> None:
    """Have every client that huggingface_hub makes in this process look at what the hub says."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    # Public is how to set a factory, not how to ask for it: one that the user set goes on making the clients.
    make = _http._GLOBAL_CLIENT_FACTORY
    if not isinstance(make, _Guarded):
        set_client_factory(_Guarded(make))


@dataclass(frozen=True)
class _Guarded:
    """A factory of clients whose answers are looked at."""

    make: Callable[[], Any]

    def __call__(self) -> Any:
        try:
            client = self.make()
        except Exception as error:
            raise FsrlError(_no_client(error)) from None
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks.get("request", []), _count],
            "response": [_check, *hooks.get("response", []), _watch],
        }
        return client


def asked(question: Callable[[], Any], repo: str, revision: str | None) -> Any:
    """What `question` returns; it is asked again where the hub is at fault, busy, or the connection breaks.

    Raises FsrlError, in one line, where that does not help, and for whatever else the hub does.
    """
    guard()
    waited = 0.0
    for attempt in range(1, ATTEMPTS + 1):
        pause = PAUSE_SECONDS * 2 ** (attempt - 1)
        try:
            with _question():
                return question()
        except FsrlError:
            raise
        except Busy as busy:
            told = pause if busy.seconds is None else busy.seconds
            waited += told
            if attempt == ATTEMPTS or waited > LONGEST_WAIT_SECONDS:
                raise FsrlError(_busy(repo, busy)) from None
            line = f"{endpoint()} answered {busy.status} for {repo}; asking again in {told:g} s"
            print(plain.line(line), file=sys.stderr, flush=True)
            pause = told
        except Exception as raised:
            error = _cause(raised)
            if attempt == ATTEMPTS or not _passes(error):
                raise FsrlError(_fault(error, repo, revision)) from None
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def endpoint() -> str:
    """The hub's address as it may be shown."""
    from huggingface_hub import constants

    return plain.address(constants.ENDPOINT)


@contextmanager
def _question() -> Iterator[None]:
    """A question to the hub: its requests are counted, and huggingface_hub does not print what it retries."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(max(verbosity, logging.ERROR))
    token = _waiting.set({})
    try:
        yield
    finally:
        _waiting.reset(token)
        logging.set_verbosity(verbosity)


def _count(request: Any) -> None:
    """Hook before a request: how long it may take, and that it is not the third that brings nothing."""
    waiting = _waiting.get()
    if waiting is None:
        return
    key = f"{request.method} {request.url}"
    waiting[key] = waiting.get(key, 0) + 1
    if waiting[key] > TRIES:
        raise Stalled(key)
    limits = dict(request.extensions.get("timeout") or {})
    for name, longest in (("connect", ANSWER_SECONDS), ("read", _stall_seconds())):
        limits[name] = min(limits.get(name) or longest, longest)
    request.extensions["timeout"] = limits


def _stall_seconds() -> float:
    """Longest wait for the next byte: huggingface_hub's own setting where there is one."""
    from huggingface_hub import constants

    return constants.HF_HUB_DOWNLOAD_TIMEOUT if "HF_HUB_DOWNLOAD_TIMEOUT" in os.environ else STALL_SECONDS


def _check(response: Any) -> None:
    """Hook after an answer's headers: those that huggingface_hub makes paths of are hashes.

    It takes them from answers to HEAD alone: the commit of any, the ETag of the last of a chain of redirects.
    """
    if response.request.method != "HEAD":
        return
    headers, said = response.headers, {}
    for name in ("X-Repo-Commit", "X-Linked-Etag", "X-Xet-Hash"):
        said[name] = headers.get(name)
    if response.status_code < 400 and not _leads_on(response):
        said["ETag"] = said["X-Linked-Etag"] or headers.get("ETag")
    for name, value in said.items():
        if value is not None and not _HASHES[name].fullmatch(value):
            raise FsrlError(
                f"{plain.address(str(response.url))}: its {name} is {value[:80]!r} and no hash of "
                "hexadecimal digits: what answers is no hub, or one that is not to be trusted; see to "
                "HF_ENDPOINT and the proxy (nothing was written)"
            )


def _leads_on(response: Any) -> bool:
    """Whether this redirect is one that huggingface_hub follows when it asks for a file's commit and ETag."""
    from huggingface_hub.utils import _http

    url = str(response.request.url)
    return response.has_redirect_location and _http._is_same_or_hub_host(
        url, urljoin(url, response.headers["Location"])
    )


def _watch(response: Any) -> None:
    """Hook after an answer's headers: is the hub busy; and the body's bytes are counted as they come."""
    waiting = _waiting.get()
    if waiting is None:
        return
    seconds = _told(response.headers)
    if response.status_code == 429 or (response.status_code == 503 and seconds is not None):
        raise Busy(response.status_code, seconds)
    key = f"{response.request.method} {response.request.url}"
    if response.request.method == "HEAD" or response.status_code >= 300:
        waiting[key] = 0
    else:
        response.stream = _body(response.stream, waiting, key)


def _body(stream: Any, waiting: dict[str, int], key: str) -> Any:
    """The stream, which counts for something once bytes arrive; it breaks off in the way that is resumed."""
    import httpx2

    class Body(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            before, size = waiting[key], 0
            try:
                for part in stream:
                    size += len(part)
                    waiting[key] = 0
                    yield part
            except httpx2.ReadTimeout:
                # A hub that sends a little and stands still, again and again, is one that stands still.
                waiting[key] = before if size < PROGRESS_BYTES else 0
                raise
            except httpx2.ReadError as error:
                raise httpx2.RemoteProtocolError(str(error)) from error

        def close(self) -> None:
            stream.close()

    return Body()


def _told(headers: Any) -> float | None:
    """Seconds after which to come back: Retry-After's, which may be a date, or the hub's own RateLimit's."""
    from huggingface_hub.utils import parse_ratelimit_headers

    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        return float(max(0, math.ceil(seconds)))
    except (ValueError, OverflowError):
        limit = parse_ratelimit_headers(headers)
        return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


def _cause(error: Exception) -> BaseException:
    """What lies behind huggingface_hub's "cannot find the file in the cache": why it was not fetched."""
    behind = error.__cause__ if "LocalEntryNotFoundError" in _kinds(error) else None
    return error if behind is None else behind


def _kinds(error: BaseException) -> set[str]:
    """Names of the exception's classes: the HTTP library is huggingface_hub's affair."""
    return {kind.__name__ for kind in type(error).__mro__}


def _status(error: BaseException) -> int:
    """The status of an answer that is an error; 0 for any other error."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def _passes(error: BaseException) -> bool:
    """Whether it is worth asking again. Where nobody listens or answers, that only costs time."""
    if _status(error):
        return _status(error) >= 500
    if isinstance(error, OSError) and error.errno is not None:
        return False
    kinds = _kinds(error)
    final = {"ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError", "UnsupportedProtocol"}
    return bool(kinds & {"OSError", "TransportError"}) and not kinds & {*final, "FileMetadataError"}


def _fault(error: BaseException, repo: str, revision: str | None) -> str:
    """What went wrong, and what to do, in one line."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}; check the study's setting"
    if _status(error) in (401, 403) or isinstance(error, RepositoryNotFoundError | GatedRepoError):
        return _refusal(error, repo)
    if _status(error):
        remedy = "try again later" if _status(error) >= 500 else "see to HF_ENDPOINT"
        return f"{endpoint()} answered {_status(error)} for {repo}; {remedy}"
    if isinstance(error, Stalled):
        return (
            f"{repo}: {endpoint()} sent nothing for {_stall_seconds():g} s or broke off, {TRIES} times in a "
            "row; run the command again, what was fetched stays"
        )
    if _kinds(error) & {"UnicodeEncodeError", "LocalProtocolError"} and _token():
        return f"the token in {_token()} holds characters that no token has; set it again, or unset it"
    if isinstance(error, OSError) and error.errno is not None:
        place = os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or "~/.cache/huggingface"
        return (
            f"{repo}: the Hugging Face cache {place} cannot be written ({os.strerror(error.errno)}); see to "
            "it, or set HF_HOME to a folder that can, then run again"
        )
    if _kinds(error) & {"TransportError", "OSError"} and "FileMetadataError" not in _kinds(error):
        return (
            f"{repo} cannot be fetched from {endpoint()} ({type(error).__name__}); connect this machine to "
            "the network, or set HF_ENDPOINT to a mirror or HF_HOME to a cache that holds the files, then "
            "run again"
        )
    return (
        f"{endpoint()} answered for {repo} what no hub does ({type(error).__name__}): a proxy, a login page? "
        "See to HF_ENDPOINT and the proxy"
    )


def _refusal(error: BaseException, repo: str) -> str:
    """401, 403, and what is not there for those who may not see it."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    token, hub = _token(), endpoint()
    headers = getattr(getattr(error, "response", None), "headers", {})
    if isinstance(error, GatedRepoError):
        account = f"the account of the token in {token}" if token else "your account, then set HF_TOKEN"
        return f"{repo} is gated: ask for access on its page with {account}"
    if isinstance(error, RepositoryNotFoundError) and headers.get("X-Error-Code") == "RepoNotFound":
        who = f"or the token in {token} may not see it" if token else "or it is private: set HF_TOKEN"
        return f"{hub} has no repository {repo}, {who}; check the name"
    if _status(error) == 403:
        who = f"the token in {token} may not read it" if token else "it may want a token: set HF_TOKEN"
        return f"{hub} refuses {repo} (403): {who}; see to the rights of the account"
    if token:
        return (
            f"{hub} refused the token in {token} (401, for {repo}): it may have expired; put a valid one "
            f"there, or unset it: public files need none"
        )
    return f"{hub} has no repository {repo}, or wants a token for it (401); check the name, or set HF_TOKEN"


def _token() -> str | None:
    """Where the token that was sent comes from; None where none was."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(variable, "").strip():
            return variable
    return "the file that `hf auth login` wrote" if get_token() else None


def _busy(repo: str, busy: Busy) -> str:
    when = "try again later" if busy.seconds is None else f"run the command again in {busy.seconds:.0f} s"
    return f"{endpoint()} answered {busy.status} (busy) for {repo}; {when}, what was fetched stays"


def _no_client(error: Exception) -> str:
    """Why no client can be made: by what the environment says of proxies and certificates."""
    names = [name for upper in plain.PROXIES for name in (upper, upper.lower()) if os.environ.get(name)]
    socks = [name for name in names if os.environ[name].lower().startswith("socks")]
    if isinstance(error, ImportError) and socks:
        return (
            f"{socks[0]} names a SOCKS proxy, for which the package socksio is missing; install it "
            "(pip install socksio), or name an http:// proxy"
        )
    if isinstance(error, OSError):
        return f"no certificates can be read ({type(error).__name__}); see to SSL_CERT_FILE and SSL_CERT_DIR"
    return (
        f"{' or '.join(names) or 'a proxy'} is no address of a proxy ({type(error).__name__}); give it like "
        "http://host:8080, or unset it"
    )
