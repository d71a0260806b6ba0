"""What reaches a screen or a log: shown escaped, and without secrets."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsrl import plain
from fsrl.errors import FsrlError
from fsrl.neuronpedia.rows import MissingExplanation


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layer \x1b[31mred\x1b[0m", "layer \\x1b[31mred\\x1b[0m"),
        ("a\rb\x08\x7f\x9b", "a\\rb\\x08\\x7f\\x9b"),
        ("abc\u202ecba\u2066\u200b", "abc\\u202ecba\\u2066\\u200b"),
        ("half \ud83d of a face", "half \\ud83d of a face"),
        ("café 中 😀 one\ntwo\tthree", "café 中 😀 one\ntwo\tthree"),
    ],
)
def test_control_characters_are_shown_escaped(text: str, shown: str) -> None:
    assert plain.text(text) == shown
    assert str(FsrlError(text)) == shown.replace("\n", " ")


@given(st.text(st.characters()))
def test_a_line_is_one_printable_line(text: str) -> None:
    line = plain.line(text)
    assert line.isprintable() and plain.line(line) == line


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://huggingface.co", "https://huggingface.co"),
        ("https://user:letmein@host:8080/a/b?sig=letmein#letmein", "https://host:8080/a/b"),
        ("http://let:me@in@host/x", "http://host/x"),
        ("socks5h://letmein@host", "socks5h://host"),
        ("HTTPS://user:letmein@[::1]:80/", "HTTPS://[::1]:80/"),
    ],
)
def test_an_address_is_shown_without_user_and_query(url: str, shown: str) -> None:
    assert plain.address(url) == shown
    assert plain.text(f"asked '{url}' twice") == f"asked '{shown}' twice"


@pytest.mark.parametrize("variable", plain.TOKENS)
def test_a_token_is_shown_by_its_variable(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "hf_letmein")
    assert plain.text("Bearer hf_letmein!") == f"Bearer [{variable}]!"


@pytest.mark.parametrize("variable", [*plain.ADDRESSES, *(name.lower() for name in plain.PROXIES)])
def test_a_password_is_cut_wherever_it_stands(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "https://user:let/me@in%@host/x?signature=abcdef")
    for text in ("let/me@in%", "let%2Fme%40in%25", "abcdef", "user:let/me@in%"):
        assert plain.text(f"no {text} here") == f"no [{variable}] here"


def test_a_log_holds_neither(
    tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from fsrl import joblog

    monkeypatch.setenv("HF_ENDPOINT", "https://user:letmein@host")
    formatter = joblog._Plain("%(levelname)s %(message)s")
    try:
        raise OSError("for url https://user:letmein@host/x \x1b[2J")
    except OSError:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "failed \x1b[31m", (), None)
        import sys

        record.exc_info = sys.exc_info()
    text = formatter.format(record)
    assert "letmein" not in text and "\x1b" not in text
    assert "OSError: for url https://host/x \\x1b[2J" in text


@pytest.mark.parametrize("kind", [FsrlError, MissingExplanation])
def test_an_error_is_one_printable_line_whatever_it_names(kind: type[FsrlError]) -> None:
    assert str(kind("a\nfolder\x1b[31m: it's gone")) == "a folder\\x1b[31m: it's gone"
