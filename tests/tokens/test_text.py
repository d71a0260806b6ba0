"""Stored tokens as text that can be read in print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsrl.figures.style import glyphs
from fsrl.tokens.text import ALPHABET, ELLIPSIS, decode, legible

STORED = {byte: char for char, byte in ALPHABET.items()}


def stored(text: str) -> str:
    """A text as a byte-level tokenizer would store it."""
    return "".join(STORED[byte] for byte in text.encode())


def test_alphabet_is_that_of_gpt2() -> None:
    assert len(ALPHABET) == 256 and set(ALPHABET.values()) == set(range(256))
    known = {" ": "Ġ", "\n": "Ċ", "\t": "ĉ", "\r": "č", "\x00": "Ā", "\x7f": "ġ", "A": "A", "~": "~"}
    assert {char: STORED[ord(char)] for char in known} == known
    assert STORED[0xAD] == "Ń" and STORED[0xC3] == "Ã" and STORED[0xA0] == "ł"


@given(st.text())
def test_decode_undoes_the_byte_alphabet(text: str) -> None:
    assert decode(stored(text)) == text


@given(st.binary(min_size=1))
def test_every_byte_survives_decoding(data: bytes) -> None:
    token = "".join(STORED[byte] for byte in data)
    assert decode(token).encode("utf-8", "surrogateescape") == data


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("Ġthe", "␣the"),
        ("the", "the"),
        ("ĠĠ", "␣␣"),
        ("Ċ", "⏎"),
        ("Ċĉ", "⏎⇥"),
        ("č", "<0D>"),
        ("Ā", "<00>"),
        ("Ã", "<C3>"),
        ("Ã©", "é"),
        ("âĢ", "<E2><80>"),
        ("âĢľ", "“"),
        ("$x_1$", "$x_1$"),
        ("\\{}_^%", "\\{}_^%"),
        ("<|endoftext|>", "<|endoftext|>"),
        ("ÂŃ", "<U+00AD>"),  # a soft hyphen is invisible
        ("Âł", "<U+00A0>"),  # a no-break space looks like a space
        ("ÌĢ", "<U+0300>"),  # a combining accent would sit on its neighbour
        ("", "<empty>"),
    ],
)
def test_known_tokens(token: str, shown: str) -> None:
    assert legible(token) == shown


def test_a_token_that_is_not_byte_level_is_kept() -> None:
    assert legible("\u2581caf\xe9") == "\u2581caf\xe9"


def test_characters_without_a_glyph_are_escaped() -> None:
    assert legible(stored("中a"), glyphs=glyphs()) == "<U+4E2D>a"
    assert legible(stored("中a")) == "中a"
    assert legible(stored("αя"), glyphs=glyphs()) == "αя"


def test_the_marks_have_glyphs() -> None:
    assert all(ord(char) in glyphs() for char in "␣⏎⇥" + ELLIPSIS)


def test_a_long_token_is_cut_in_its_middle() -> None:
    assert legible("Ġinternationalization", limit=9) == "␣int…tion"
    assert legible("Ġinter", limit=6) == "␣inter"
    assert legible("abc", limit=1) == "…"


def test_an_escape_is_never_cut() -> None:
    assert legible("ÃÃÃÃ", limit=9) == "<C3>…<C3>"
    assert legible("ÃÃÃÃ", limit=8) == "<C3>…"


def test_length_is_measured_in_the_given_unit() -> None:
    assert legible("WWWWiiii", limit=9, measure=lambda text: len(text) + 2 * text.count("W")) == "WW…ii"


@given(st.text(max_size=30), st.integers(1, 40))
def test_shown_text_is_short_printable_and_has_glyphs(text: str, limit: int) -> None:
    shown = legible(stored(text), limit=limit, glyphs=glyphs())
    assert len(shown) <= limit or shown == ELLIPSIS
    assert shown.isprintable() and " " not in shown
    assert all(ord(char) in glyphs() for char in shown)
