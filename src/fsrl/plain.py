"""Text as it may reach a screen or a log: no control character, no password, no token.

Names of SAEs, repositories and files, tokens, and what servers say are other people's text; addresses and
variables of the environment may hold secrets. Errors (`fsrl.errors`) and logs (`fsrl.joblog`) pass through
here, so that no message need think of it.
"""

import os
import re
from urllib.parse import quote, urlsplit

# Variables that hold a secret, and those that hold an address, perhaps with a password in it.
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "NEURONPEDIA_API_KEY")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
ADDRESSES = ("HF_ENDPOINT", "NEURONPEDIA_URL", "NEURONPEDIA_BUCKET_URL", *PROXIES)
# Shorter ones would be found in the middle of words; in an address they are cut out all the same.
SHORTEST_SECRET = 4

_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#'\"<>]*@", re.IGNORECASE)
_QUERY = re.compile(r"(\bhttps?://[^\s?#'\"<>]*)[?#][^\s'\"<>)\]]*", re.IGNORECASE)


def address(url: str) -> str:
    """An address without user, password, query and fragment."""
    return text(_QUERY.sub(r"\1", _USER.sub(r"\1", url)))


def text(message: str) -> str:
    """A message with control characters escaped (`\\x1b`) and secrets cut; lines stay lines."""
    message = _QUERY.sub(r"\1", _USER.sub(r"\1", message))
    for secret, variable in _secrets().items():
        message = message.replace(secret, f"[{variable}]")
    if message.isascii() and message.isprintable():
        return message
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else _escaped(letter) for letter in message
    )


def line(message: str) -> str:
    """The same in one line."""
    return text(" ".join(message.split()))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def _secrets() -> dict[str, str]:
    """{secret: the variable that holds it}, the longest first, as it stands and as addresses quote it."""
    found: dict[str, str] = {}
    for variable in (*TOKENS, *ADDRESSES, *(name.lower() for name in PROXIES)):
        value = os.environ.get(variable, "").strip()
        secrets = [value] if variable in TOKENS else _of_address(value)
        for secret in secrets:
            for form in (secret, quote(secret, safe="")):
                if len(form) >= SHORTEST_SECRET:
                    found.setdefault(form, variable)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _of_address(url: str) -> list[str]:
    """User with password, the password alone (or the user, which may be a token), values of the query."""
    before, at, _ = url.partition("://")[2].rpartition("@")
    user, colon, password = before.partition(":")
    found = [before, password if colon else user] if at else []
    try:
        query = urlsplit(url).query
    except ValueError:
        query = ""
    return found + [part.partition("=")[2] for part in query.split("&") if query]
