"""The API and the network's faults over real HTTP: one line says what is wrong."""

import json
import socket

import pytest

from fsrl.errors import FsrlError
from fsrl.neuronpedia import api as neuronpedia
from fsrl.neuronpedia import http as neuronpedia_http
from fsrl.neuronpedia.http import Client
from tests.neuronpedia.rows import MODEL, SOURCE, explanation, feature, fill
from tests.neuronpedia.servers import Answer

PLACE = f"/api/feature/{MODEL}/{SOURCE}/5"
LIMIT = {
    "endpoint": "/api",
    "limitPerWindow": 25000,
    "requestWindow": "60 m",
    "remainingRequests": 0,
    "error": "Rate limit exceeded",
}


@pytest.fixture
def one(api):
    """The API with one feature, the fifth."""
    api.features[MODEL, SOURCE, "5"] = feature(5, explanations=[{"description": "x"}], newest={"a": 1})
    return api


def ask(index=5):
    return neuronpedia.feature(MODEL, SOURCE, index)


def message(caught):
    text = str(caught.value)
    assert "\n" not in text and text.isprintable()
    return text


def test_a_feature_is_what_the_api_answers(one):
    assert ask() == one.features[MODEL, SOURCE, "5"]
    assert one.paths == [PLACE] and one.requests[0].headers["User-Agent"].startswith("fsrl/")


def test_a_feature_that_is_not_there_is_refused(one):
    with pytest.raises(FsrlError) as caught:
        ask(6)
    expected = "/6 answered 404 (Feature not found); Neuronpedia has no such feature; check model, source"
    assert expected in message(caught)
    assert len(one.paths) == 1


@pytest.mark.parametrize("content", [None, [], "text", {}, feature(6), feature(5, layer="8-res-jb")])
def test_an_answer_that_is_not_this_feature_is_refused(one, content):
    one.features[MODEL, SOURCE, "5"] = content
    with pytest.raises(FsrlError) as caught:
        ask()
    assert PLACE in message(caught)


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"", b"\xff", b"[" * 10**5, b'{"index": "5"'])
def test_an_answer_that_is_not_json_is_refused(one, body):
    one.fault("answer", PLACE, answer=Answer(200, body))
    with pytest.raises(FsrlError, match="the answer is not JSON"):
        ask()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_temporary_refusal_is_asked_again(one, status):
    one.fault("answer", PLACE, times=4, answer=Answer.of(status, LIMIT))
    assert ask()["index"] == "5"
    assert len(one.paths) == 5


def test_a_rate_limit_that_lasts_is_told_in_the_servers_words(one):
    one.fault("answer", PLACE, answer=Answer.of(429, LIMIT))
    with pytest.raises(
        FsrlError, match=r"answered 429 \(Rate limit exceeded\); run again later; explanations and"
    ):
        ask()
    assert len(one.paths) == 5


def test_pauses_grow_where_a_429_says_nothing_and_are_bounded_where_it_does(one, monkeypatch):
    monkeypatch.setattr(neuronpedia_http, "PAUSE_SECONDS", 1.0)
    pauses = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    one.fault("answer", PLACE, times=4, answer=Answer.of(429, LIMIT))
    ask()
    assert [pause for pause in pauses if pause] == [1, 2, 4]
    pauses.clear()
    hour = Answer(429, b"{}", {"Retry-After": "3600"})
    one.faults.clear()
    one.fault("answer", PLACE, times=2, answer=hour)
    ask()
    assert [pause for pause in pauses if pause] == [20, 20]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "E", "message": "M"}', " (E; M)"),
        (b'{"message": "Unknown Error"}', " (Unknown Error)"),
        (b'{"error": {"deep": 1}}', ""),
        (b"Internal Server Error", ""),
        (b"", ""),
        (b"[1]", ""),
        (json.dumps({"error": "a\n\x1b[31mred\ud83d\u202e" + "x" * 500}).encode(), " (a [31mred "),
    ],
)
def test_an_error_of_any_form_makes_one_line(one, body, said):
    one.fault("answer", PLACE, answer=Answer(400, body))
    with pytest.raises(FsrlError) as caught:
        ask()
    assert f"answered 400{said}" in message(caught) and len(message(caught)) < 500
    assert said or "answered 400; run" in message(caught)


def test_a_broken_answer_is_asked_again_and_then_an_error(one):
    one.fault("cut", PLACE, times=1, after=10)
    assert ask()["index"] == "5"
    one.fault("cut", PLACE, after=10)
    with pytest.raises(FsrlError, match="the connection broke off, 3 times"):
        ask()
    assert len(one.paths) == 2 + 3


def test_a_server_that_never_answers_is_given_up(one, impatient):
    one.fault("stall", PLACE)
    with pytest.raises(FsrlError, match="cannot be read: no answer in time; connect this machine"):
        ask()
    assert len(one.paths) == 2


def test_a_body_that_stands_still_is_given_up_after_one_more_try(one, impatient):
    one.fault("hold", PLACE, after=10)
    with pytest.raises(FsrlError, match=r"no byte came for 0.2 s, 2 times; run the command again later"):
        ask()
    assert len(one.paths) == 2


def test_the_time_for_a_stall_is_what_is_promised():
    assert 10 <= neuronpedia_http.READ_SECONDS * neuronpedia_http.STALLS <= 20


def test_waiting_as_told_is_said(one, monkeypatch, capsys):
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: None)
    one.fault("answer", PLACE, times=1, answer=Answer(429, b"{}", {"Retry-After": "7"}))
    ask()
    assert capsys.readouterr().err == "Neuronpedia answered 429; asking again in 7 s\n"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_named_by_its_variable(one, key, status):
    one.fault("answer", PLACE, answer=Answer.of(status, {"error": f"bad key {key}"}))
    with pytest.raises(FsrlError) as caught:
        ask()
    assert f"answered {status} (bad key [NEURONPEDIA_API_KEY])" in message(caught)
    assert "it refuses the key in NEURONPEDIA_API_KEY" in message(caught) and key not in message(caught)


def test_a_socks_proxy_without_its_package_is_one_line(one, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://user:letmein@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(FsrlError, match="a SOCKS proxy needs the package PySocks") as caught:
        ask()
    assert "letmein" not in message(caught)


def test_redirects_are_followed_but_not_in_a_circle(one):
    one.fault("answer", PLACE, times=1, answer=Answer(307, b"", {"Location": PLACE}))
    assert ask()["index"] == "5"
    one.fault("answer", PLACE, answer=Answer(308, b"", {"Location": PLACE}))
    with pytest.raises(FsrlError, match="it redirects in a circle"):
        ask()


@pytest.mark.parametrize("place", ["file:///etc/passwd", "http://[", "http://\ud83d.example/", "//"])
def test_a_redirect_to_nowhere_is_an_error(one, place):
    one.fault(
        "answer", PLACE, answer=Answer(302, b"", {"Location": place.encode("utf-8", "replace").decode()})
    )
    with pytest.raises(FsrlError, match="cannot be read"):
        ask()


def test_without_a_network_one_line_says_so_and_nothing_is_written(api, bucket, tmp_path):
    fill(bucket, "explanations", [explanation(1)])
    api.close()
    bucket.close()
    for read in (
        lambda: ask(),
        lambda: neuronpedia.explanations(MODEL, SOURCE, cache=tmp_path / "cache"),
        lambda: neuronpedia.features(MODEL, SOURCE, cache=tmp_path / "cache"),
    ):
        with pytest.raises(FsrlError) as caught:
            read()
        assert "no connection can be made; connect this machine to the network" in message(caught)
    assert not (tmp_path / "cache").exists()


def test_a_name_that_cannot_be_resolved_is_said(monkeypatch):
    monkeypatch.setenv("NEURONPEDIA_URL", "http://neuronpedia.invalid")

    def unknown(*arguments, **more):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FsrlError, match="http://neuronpedia.invalid/.* its name cannot be resolved"):
        ask()


def test_a_network_that_swallows_packets_is_given_up_after_one_try(monkeypatch):
    tries = []

    def swallow(self, address):
        tries.append(self.gettimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", swallow)
    with pytest.raises(FsrlError, match="no connection in time"):
        ask()
    assert tries == [neuronpedia_http.CONNECT_SECONDS]


def test_an_answer_has_a_longest_length(one):
    with (
        Client(one.url) as client,
        pytest.raises(FsrlError, match="the answer is longer than 30 bytes, 3 times"),
    ):
        client.get(PLACE, longest=30)


def test_a_body_without_an_end_is_not_taken_to_its_end(one):
    one.fault("flood", PLACE)
    with Client(one.url) as client, pytest.raises(FsrlError, match="the answer is longer than 1000 bytes"):
        client.get(PLACE, longest=1000)
    one.close()
    assert len(one.paths) == 3 and one.floods == 0
