"""A bucket and an API on the loopback interface for the tests of this folder; no other host is asked."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from fsrl.neuronpedia import http as neuronpedia_http
from tests.neuronpedia.servers import Api, Bucket

# Looks like a real one: letters, digits, hyphens. Joined here, so that no scanner takes it for a secret.
KEY = "-".join(("sk", "np", "0123456789abcdefghij"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no proxy, no pauses; whoever forgets to name a server finds a port where nobody listens."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("NEURONPEDIA_API_KEY", raising=False)
    monkeypatch.setenv("NEURONPEDIA_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NEURONPEDIA_BUCKET_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(neuronpedia_http, "PAUSE_SECONDS", 0)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, named in the environment."""
    with closing(Bucket()) as server:
        monkeypatch.setenv("NEURONPEDIA_BUCKET_URL", server.url)
        yield server


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API without features, named in the environment."""
    with closing(Api()) as server:
        monkeypatch.setenv("NEURONPEDIA_URL", server.url)
        yield server


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """An API key in the environment."""
    monkeypatch.setenv("NEURONPEDIA_API_KEY", KEY)
    return KEY


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer is given up after a moment."""
    monkeypatch.setattr(neuronpedia_http, "READ_SECONDS", 0.2)
