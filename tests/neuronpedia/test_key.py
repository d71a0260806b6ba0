"""The API key goes to the API and nowhere else: no other host, and nothing that is kept or shown."""

import base64
import logging
import traceback
from contextlib import closing
from urllib.parse import quote

import pytest

from fsrl import neuronpedia
from fsrl.errors import FsrlError
from fsrl.neuronpedia import http as neuronpedia_http
from fsrl.neuronpedia.http import Client
from tests.neuronpedia.rows import MODEL, SOURCE, explanation, feature, fill
from tests.neuronpedia.servers import Answer, Api

PLACE = f"/api/feature/{MODEL}/{SOURCE}/5"
ELSEWHERE = "/there"


@pytest.fixture
def other():
    """A second host, which answers feature 5 to whoever comes."""
    with closing(Api()) as server:
        server.fault("answer", "*", answer=Answer.of(200, feature(5)))
        yield server


def ask():
    return neuronpedia.feature(MODEL, SOURCE, 5)


def sent(server):
    """All that the requests to a server said, as one text."""
    return repr(server.requests)


def everything_about(error):
    """What a debugger, a notebook or a log could show of an exception and of those behind it: locals too, but
    not those of the tests.
    """
    shown, pending = [], [error]
    while pending:
        inner = pending.pop()
        trace = inner.__traceback__
        while trace is not None and "/tests/" in trace.tb_frame.f_code.co_filename:
            trace = trace.tb_next
        assert trace is not None
        whole = traceback.TracebackException(type(inner), inner, trace, capture_locals=True)
        shown += [*whole.format(), repr(inner), str(inner.args), repr(vars(inner))]
        for name in ("request", "response"):
            shown.append(repr(getattr(getattr(inner, name, None), "headers", None)))
        pending += [cause for cause in (inner.__cause__, inner.__context__) if cause is not None]
    return "\n".join(shown)


def test_the_api_is_sent_the_key_of_the_environment(api, key, monkeypatch):
    api.features[MODEL, SOURCE, "5"] = feature(5)
    ask()
    monkeypatch.setenv("NEURONPEDIA_API_KEY", "")
    ask()
    monkeypatch.delenv("NEURONPEDIA_API_KEY")
    ask()
    assert [request.key for request in api.requests] == [key, None, None]
    assert all(key not in request.path and not request.query for request in api.requests)


def test_retries_and_redirects_within_the_api_keep_the_key(api, key):
    api.features[MODEL, SOURCE, "5"] = feature(5)
    api.fault("answer", PLACE, times=1, answer=Answer(500))
    api.fault("answer", PLACE, times=1, answer=Answer(307, b"", {"Location": PLACE}))
    ask()
    assert [request.key for request in api.requests] == [key] * 3


def test_the_bucket_never_sees_the_key(bucket, api, key, tmp_path):
    bucket.page = 1
    for kind, row in (("explanations", explanation), ("features", feature)):
        fill(bucket, kind, [row(1), row(2)], 1)
    bucket.fault("cut", "*batch-1*", times=1, after=5)
    neuronpedia.explanations(MODEL, SOURCE, cache=tmp_path)
    neuronpedia.features(MODEL, SOURCE, cache=tmp_path)
    api.features[MODEL, SOURCE, "5"] = feature(5)
    ask()
    assert len(bucket.requests) == 9 and key not in sent(bucket) and "x-api-key" not in sent(bucket).lower()
    assert [request.key for request in api.requests] == [key]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_loses_the_key_and_does_not_find_it_again(api, other, key, status):
    # Another port is another host; from there, back to the API.
    api.features[MODEL, SOURCE, "5"] = feature(5)
    other.faults.clear()
    api.fault("answer", PLACE, times=1, answer=Answer(status, b"", {"Location": other.url + ELSEWHERE}))
    other.fault("answer", ELSEWHERE, answer=Answer(status, b"", {"Location": api.url + PLACE}))
    assert ask()["index"] == "5"
    assert [request.key for request in api.requests] == [key, None]
    assert [request.key for request in other.requests] == [None] and key not in sent(other)


def test_a_bucket_that_redirects_to_the_api_does_not_bring_the_key_there(bucket, api, key, tmp_path):
    bucket.fault("answer", "/", answer=Answer(307, b"", {"Location": api.url + "/"}))
    with pytest.raises(FsrlError):
        neuronpedia.explanations(MODEL, SOURCE, cache=tmp_path)
    assert [request.key for request in api.requests] == [None]


def test_a_host_that_is_asked_without_encryption_has_no_key(api, key, monkeypatch):
    """The machine's own address is let off; api.url is that, under a name that only says so."""
    request = type("Request", (), {"headers": {}, "url": ""})
    for url, goes in (
        ("https://www.neuronpedia.org/api", True),
        ("http://www.neuronpedia.org/api", False),
        ("http://localhost:3000/api", True),
        ("http://[::1]:3000/api", True),
        ("http://127.0.0.1.example/api", False),
    ):
        request.headers, request.url = {}, url
        neuronpedia_http._with_key(request)
        assert (request.headers.get("x-api-key") == key) is goes, url


@pytest.mark.parametrize("machine", ["netrc", "default"])
def test_no_password_of_netrc_goes_anywhere(api, bucket, tmp_path, monkeypatch, machine):
    start = "machine 127.0.0.1" if machine == "netrc" else "default"
    (tmp_path / "netrc").write_text(f"{start} login me password hidden\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fill(bucket, "explanations", [explanation(1)])
    api.features[MODEL, SOURCE, "5"] = feature(5)
    api.fault("answer", PLACE, times=1, answer=Answer(307, b"", {"Location": api.url + PLACE}))
    ask()
    neuronpedia.explanations(MODEL, SOURCE, cache=tmp_path / "cache")
    for request in api.requests + bucket.requests:
        assert "Authorization" not in request.headers
    assert base64.b64encode(b"me:hidden").decode() not in sent(api) + sent(bucket)


def fail(api, how):
    """Make one call fail; returns nothing."""
    if how == "closed":
        api.close()
    elif how == "stall":
        api.fault("stall", "*")
    elif how == "cut":
        api.fault("cut", "*", after=3)
    elif how == "circle":
        api.fault("answer", "*", answer=Answer(307, b"", {"Location": PLACE}))
    elif how == "nowhere":
        api.fault("answer", "*", answer=Answer(307, b"", {"Location": "ftp://[x"}))
    elif how == "not json":
        api.fault("answer", "*", answer=Answer(200, b"<html>"))
    else:
        api.fault("answer", "*", answer=Answer.of(int(how), {"error": "no"}))
    ask()


@pytest.mark.parametrize(
    "how", ["closed", "stall", "cut", "circle", "nowhere", "not json", "400", "404", "429", "500"]
)
def test_no_exception_and_no_log_shows_the_key(api, key, impatient, caplog, capfd, how):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(FsrlError) as caught:
        fail(api, how)
    assert how == "closed" or key in sent(api), "the key was in use"
    assert key not in everything_about(caught.value)
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, FsrlError)
    assert key not in caplog.text and "127.0.0.1" in caplog.text
    shown = capfd.readouterr()
    assert key not in shown.out + shown.err


@pytest.mark.parametrize("body", ["Invalid API key: {0}", '{{"error": "Invalid key {0}", "message": "{1}"}}'])
def test_a_server_that_repeats_the_key_is_not_quoted_in_full(api, monkeypatch, body):
    key = "sk/np+0123456789="
    monkeypatch.setenv("NEURONPEDIA_API_KEY", key)
    api.fault("answer", PLACE, answer=Answer(401, body.format(key, quote(key, safe="")).encode()))
    with pytest.raises(FsrlError, match="answered 401") as caught:
        ask()
    shown = everything_about(caught.value)
    assert key not in shown and quote(key, safe="") not in shown
    assert "error" not in body or "Invalid key [NEURONPEDIA_API_KEY]; [NEURONPEDIA_API_KEY]" in shown


@pytest.mark.parametrize("wrong", ["sk-a\nb-secret", "sk-secret\x00", "sk-sécret-secret", "two secret words"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(api, monkeypatch, wrong):
    monkeypatch.setattr(
        neuronpedia_http.os, "environ", {**neuronpedia_http.os.environ, "NEURONPEDIA_API_KEY": wrong}
    )
    with pytest.raises(FsrlError, match="NEURONPEDIA_API_KEY holds characters that no key has") as caught:
        ask()
    assert "secret" not in str(caught.value) and "secret" not in repr(caught.value.__context__)
    assert api.requests == []


def test_a_key_that_was_read_with_its_line_end_is_used_without(api, monkeypatch):
    api.features[MODEL, SOURCE, "5"] = feature(5)
    monkeypatch.setenv("NEURONPEDIA_API_KEY", "sk-abc\n")
    ask()
    assert api.requests[0].key == "sk-abc"


def test_nothing_that_is_kept_or_shown_holds_the_key(api, bucket, key, tmp_path, capfd):
    fill(bucket, "explanations", [explanation(1)])
    fill(bucket, "features", [feature(1)])
    api.features[MODEL, SOURCE, "5"] = feature(5)
    found = neuronpedia.explanations(MODEL, SOURCE, cache=tmp_path, progress=True)
    rows = neuronpedia.features(MODEL, SOURCE, cache=tmp_path, progress=True)
    single = ask()
    with Client(api.url, keyed=True) as client:
        answer = client.get(PLACE)
        held = [
            client,
            vars(client),
            vars(client._session),
            dict(client._session.headers),
            answer,
            vars(answer),
        ]
    links = [
        neuronpedia.embed_url(MODEL, SOURCE, 5),
        neuronpedia.quick_list_url("name", [(MODEL, SOURCE, 5)]),
    ]
    for thing in (found, vars(found), rows, vars(rows), single, held, links):
        assert key not in repr(thing)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in files:
        assert key.encode() not in path.read_bytes() and key not in str(path)
    shown = capfd.readouterr()
    assert key not in shown.out + shown.err and key in sent(api)
