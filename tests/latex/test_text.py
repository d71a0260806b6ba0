"""Text, tokens and numbers as LaTeX: worked examples, and a reader of LaTeX that gets back what went in."""

import math
import re
import unicodedata
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.latex import text as tex
from fsrl.tokens.text import ALPHABET, decode

# Written out again, so that a wrong macro in the library is not its own proof.
MACROS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textquotedbl": '"',
    "textquotesingle": "'",
    "textasciigrave": "`",
    "textvisiblespace": " ",
    "hookleftarrow": "\n",
    "rightarrow": "\t",
}
LATEX = re.compile(
    r"\{\\scriptsize\\texttt\{\\textless\{\}(?P<code>(?:U\+)?[0-9A-F]+|empty)\\textgreater\{\}\}\}"
    r"|\\ensuremath\{\\(?P<math>[a-z]+)\}"
    r"|\\(?P<macro>[a-z]+)\{\}"
    r"|\\(?P<symbol>[{}$&#_%])"
    r"|(?P<apart>\{\})"
    r"|(?P<char>[^\\{}$&#_%~^<>|\"`])"
)
# Lone surrogates among them, as bytes of no whole character become; and runs of what LaTeX treats as special.
TEXT = st.text(
    st.one_of(st.characters(), st.characters(categories=["Cs"]), st.sampled_from(sorted(tex.PLAIN)))
)


def read(latex: str) -> str:
    """The text that LaTeX of these few forms prints; an error for anything else in it."""
    text, at = "", 0
    while at < len(latex):
        found = LATEX.match(latex, at)
        assert found, f"not understood: {latex[at : at + 40]!r}"
        at = found.end()
        if code := found["code"]:
            value = 0 if code == "empty" else int(code.removeprefix("U+"), 16)
            byte = not code.startswith("U+") and value >= 0x80
            text += "" if code == "empty" else chr(0xDC00 + value if byte else value)
        elif macro := found["macro"] or found["math"]:
            text += MACROS[macro]
        elif char := found["char"]:
            assert 0x20 <= ord(char) < 0x7F or char in tex.GLYPHS
            text += char
        else:
            text += found["symbol"] or ""
    return text


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("5% of {a_b}", r"5\% of \{a\_b\}"),
        (r"\frac{a}{b}", r"\textbackslash{}frac\{a\}\{b\}"),
        ("$x_1^2$ & #3 ~", r"\$x\_1\textasciicircum{}2\$ \& \#3 \textasciitilde{}"),
        ("a<b>|c|", r"a\textless{}b\textgreater{}\textbar{}c\textbar{}"),
        ("--- ,, ''", "-{}-{}- ,{}, '{}'"),
        ("naïve “q”…", "naïve “q”…"),
        ("e\u0301", "é"),
        ("a\nb\tc\u00a0d", "a b c d"),
        ("α", r"{\scriptsize\texttt{\textless{}U+03B1\textgreater{}}}"),
        ("\x07", r"{\scriptsize\texttt{\textless{}07\textgreater{}}}"),
        ("\u202e", r"{\scriptsize\texttt{\textless{}U+202E\textgreater{}}}"),
    ],
)  # fmt: skip
def test_escape_examples(text, latex):
    assert tex.escape(text) == latex


@given(TEXT)
@example("\\end{document}")
@example("^^M^^41")
@example("%\n%")
@example("␣the⏎⇥")
@example("\ud800\udce2\udfff")
@example("\u2028\x85\x0b\x1c")
def test_escape_prints_what_went_in(text):
    expected = " ".join(text.splitlines()).replace("\t", " ").replace("\u00a0", " ")
    # The marks of legible text are drawn as what they stand for is drawn in a token.
    expected = expected.translate({0x2423: " ", 0x23CE: "\n", 0x21E5: "\t"})
    assert read(tex.escape(text)) == unicodedata.normalize("NFC", expected)


@given(TEXT)
def test_no_ligature_is_left(text):
    latex = tex.escape(text)
    assert not re.search(r"--|,,|''|[?!]`", latex)


@pytest.mark.parametrize(
    ("stored", "latex"),
    [
        ("Ġthe", r"\textvisiblespace{}the"),
        ("Ċ", r"\ensuremath{\hookleftarrow}"),
        ("ĉ", r"\ensuremath{\rightarrow}"),
        ("Ã©", "é"),
        ("âĲ£", r"{\scriptsize\texttt{\textless{}U+2423\textgreater{}}}"),
        ("'s", r"\textquotesingle{}s"),
        ("â", r"{\scriptsize\texttt{\textless{}E2\textgreater{}}}"),
        ("ðŁĺĢ", r"{\scriptsize\texttt{\textless{}U+1F600\textgreater{}}}"),
        ("", r"{\scriptsize\texttt{\textless{}empty\textgreater{}}}"),
        ("not a byte-level 中", r"not\textvisiblespace{}a\textvisiblespace{}byte-level\textvisiblespace{}"
         r"{\scriptsize\texttt{\textless{}U+4E2D\textgreater{}}}"),
    ],
)  # fmt: skip
def test_token_examples(stored, latex):
    assert tex.token(stored) == rf"\texttt{{{latex}}}"


@given(st.one_of(TEXT, st.text(st.sampled_from(sorted(ALPHABET)))))
def test_a_token_prints_what_it_stands_for(stored):
    latex = tex.token(stored)
    assert latex.startswith(r"\texttt{") and latex.endswith("}")
    assert read(latex.removeprefix(r"\texttt{").removesuffix("}")) == decode(stored)


def test_every_byte_has_its_own_look():
    shown = [tex.token(char) for char in ALPHABET]
    assert len(set(shown)) == 256


@given(st.text(st.sampled_from(sorted(ALPHABET)), min_size=1, max_size=30), st.integers(1, 20))
def test_a_cut_token_keeps_its_ends_and_the_limit(stored, limit):
    whole, cut = (tex.token(stored, limit=at)[8:-1] for at in (None, limit))
    if cut == whole:
        return
    head, tail = cut.split(tex.ELLIPSIS)
    assert whole.startswith(head) and whole.endswith(tail)
    # Rebuilt from what is read: a code is as wide as it prints.
    width = sum(_width(char) for char in read(head) + read(tail)) + 1
    assert width <= limit
    assert sum(_width(char) for char in decode(stored)) > limit


def _width(char: str) -> int:
    if char in " \n\t" or 0x20 < ord(char) < 0x7F or char in tex.GLYPHS:
        return 1
    return 4 if ord(char) < 0x80 or 0xDC80 <= ord(char) <= 0xDCFF else len(f"<U+{ord(char):04X}>")


def test_long_text_is_cut_after_a_word():
    assert tex.shortened("one two  three", 14) == "one two three"
    assert tex.shortened("one two, three", 11) == r"one two\textellipsis{}"
    assert tex.shortened("x" * 30, 5) == r"xxxx\textellipsis{}"


@pytest.mark.parametrize(
    ("value", "options", "latex"),
    [
        (3.14159, {"digits": 2}, r"\num{3.14}"),
        (-0.0004, {"digits": 2}, r"\num{0.00}"),
        (-0.0, {}, r"\num{0}"),
        (0.125, {"digits": 2}, r"\num{0.12}"),
        (0.00999999, {}, r"\num{0.0100}"),
        (9.9996, {"sig": 4}, r"\num{10.00}"),
        (123456.0, {}, r"\num{123000}"),
        (999999.7, {}, r"\num{1.00e6}"),
        (0.00012345, {}, r"\num{1.23e-4}"),
        (-2.5e-9, {"sig": 2}, r"\num{-2.5e-9}"),
        (0.5, {"digits": 1, "sign": True}, r"\num{+0.5}"),
        (0.0001, {"digits": 1, "sign": True}, r"\num{0.0}"),
        (np.float32(0.1), {"digits": 3}, r"\num{0.100}"),
        (1.5, {"bare": True}, "1.50"),
        (None, {}, "--"),
        (math.nan, {"bare": True}, "{--}"),
        (pd.NA, {}, "--"),
        (-math.inf, {}, r"\ensuremath{-\infty}"),
    ],
)
def test_numbers(value, options, latex):
    assert tex.number(value, **options) == latex


@given(st.floats(-1e12, 1e12), st.integers(0, 6))
def test_decimals_are_rounded_as_decimals_are(value, digits):
    exact = Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)
    figure = tex.number(value, digits=digits, bare=True)
    assert Decimal(figure) == exact
    assert not figure.startswith("-") or exact < 0


@given(st.floats(-1e12, 1e12, allow_subnormal=False), st.integers(1, 6))
def test_significant_figures_are_that_many(value, sig):
    figure = tex.number(value, sig=sig, bare=True)
    assert float(figure) == float(f"{value:.{sig - 1}e}")


def test_counts_and_percents():
    assert tex.count(12345) == r"\num{12345}"
    assert tex.count(np.int64(7), bare=True) == "7"
    assert tex.count(None, bare=True) == "{--}"
    with pytest.raises(FsrlError, match="whole number"):
        tex.count(1.5)
    assert tex.percent(0.1234) == r"\num{12.3}\%"
    assert tex.percent(0.001, digits=2, bare=True) == "0.10"
    assert tex.percent(None) == "--"


def test_intervals():
    assert tex.interval(-0.1, 0.2, digits=2) == r"\ensuremath{[\num{-0.10}, \num{0.20}]}"
    assert tex.interval(math.nan, 0.2) == "--"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GPT-2 small, 5 % & more", "GPT-2 small, 5 % & more"),
        ("naïve café", "naïve café"),
        ("two\nlines\tand", "two lines and"),
        ("中 and Ω", "<U+4E2D> and <U+03A9>"),
    ],
)
def test_printed_is_what_a_reader_sees(text, shown):
    assert tex.printed(text) == shown
