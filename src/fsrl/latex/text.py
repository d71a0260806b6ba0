r"""Text, tokens and numbers as LaTeX: the one place where they are escaped, rounded and given a sign.

What these functions return compiles with pdfLaTeX and

    \usepackage[T1]{fontenc}  \usepackage[utf8]{inputenc}  \usepackage{lmodern}  \usepackage{siunitx}

without a missing glyph: a character that Latin Modern does not have in all of its styles appears as its code
in a small typewriter face, <U+4E2D>, as does an invisible one; a byte of no whole character as <E2>. Figures
name them in the same way (`fsrl.tokens.text`). Worked examples:

    escape("5% of {a_b}")      5\% of \{a\_b\}
    token("Ġthe")              \texttt{\textvisiblespace{}the}
    number(-0.0004, digits=2)  \num{0.00}
    number(None)               --

In an S column siunitx wants the bare figure: `bare=True`, which puts braces round what is no number.
"""

import math
import unicodedata
from numbers import Integral

from fsrl.errors import FsrlError
from fsrl.tokens import text as token_text

MISSING = "--"
SIGNS = {"min": r"\geq", "above": ">", "max": r"\leq", "below": "<"}  # of the words of type rules, in math
PLAIN = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
}
# Each followed by itself is a ligature in T1 (an en dash, a low quote), so they are kept apart.
LIGATURES = "-,'"
# In a token, where a quote is a character and not a mark of prose.
MARKS = {
    "'": r"\textquotesingle{}",
    " ": r"\textvisiblespace{}",
    "\n": r"\ensuremath{\hookleftarrow}",
    "\t": r"\ensuremath{\rightarrow}",
}
# Text that was made legible has the marks of `fsrl.tokens.text` for spaces and breaks.
SEEN = {mark: MARKS[char] for char, mark in token_text.MARKS.items()}
ELLIPSIS = r"\textellipsis{}"
# Non-ASCII characters that pdfLaTeX draws in every style of Latin Modern (tests/paper compiles them all):
# Latin-1 but for its two invisible characters, Latin Extended-A as far as T1 goes, punctuation.
GLYPHS = frozenset(
    [chr(code) for code in range(0xA1, 0x100) if code != 0xAD]
    + list("ĂăĄąĆćČčĎďĐđĘęĚěĞğİıĹĺĽľŁłŃńŇňŐőŒœŔŕŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽž")
    + list("–—‘’‚“”„†‡•…‰‹›€")
)
LARGEST_PLAIN = 1e6
SMALLEST_PLAIN = 1e-3


def _code(char: str) -> str | None:
    """The code that stands for a character that cannot be drawn or seen; None where it can."""
    return None if 0x20 <= ord(char) < 0x7F or char in GLYPHS else token_text.code(char)


def _small(code: str) -> str:
    return rf"{{\scriptsize\texttt{{\textless{{}}{code}\textgreater{{}}}}}}"


def _drawn(char: str) -> str:
    code = _code(char)
    return PLAIN.get(char, char) if code is None else _small(code)


def _joined(pieces: list[str]) -> str:
    joined = ""
    for piece in pieces:
        apart = piece in LIGATURES and joined.endswith(piece)
        joined += "{}" + piece if apart else piece
    return joined


def escape(text: str) -> str:
    """Any text as LaTeX that prints it; letters with combining marks are composed, line breaks become spaces.

    Characters that Latin Modern cannot draw, control characters and lone surrogates appear as their codes.
    """
    return _joined([SEEN.get(char) or _drawn(char) for char in _flat(text)])


def printed(text: str) -> str:
    """What a reader sees of `escape`: the text on one line, with codes for what cannot be drawn."""
    codes = {char: _code(char) for char in _flat(text) if char not in SEEN}
    return "".join(f"<{code}>" if (code := codes.get(char)) else char for char in _flat(text))


def _flat(text: str) -> str:
    composed = unicodedata.normalize("NFC", " ".join(text.splitlines()))
    return composed.replace("\t", " ").replace("\u00a0", " ")


def token(text: str, *, limit: int | None = None) -> str:
    r"""A stored token of the vocabulary in typewriter, with spaces, line breaks and tabs made visible.

    text: as stored in the vocabulary, e.g. "Ġthe", and a byte-level token is decoded first; limit: the
    greatest number of characters shown, a code counting as many as it has, None for all: a longer token loses
    its middle to an ellipsis.
    """
    pieces = [
        (MARKS.get(char) or _drawn(char), len(code) + 2 if (code := _code(char)) and char not in MARKS else 1)
        for char in token_text.decode(text)
    ] or [(_small("empty"), len("<empty>"))]
    shown = [piece for piece, _ in pieces]
    if limit is not None and sum(width for _, width in pieces) > limit:
        shown = _cut(pieces, limit)
    return rf"\texttt{{{_joined(shown)}}}"


def _cut(pieces: list[tuple[str, int]], limit: int) -> list[str]:
    """The first and last pieces with an ellipsis between them, at most `limit` wide with it."""
    best = [ELLIPSIS]
    for kept in range(1, len(pieces)):
        head, tail = pieces[: (kept + 1) // 2], pieces[len(pieces) - kept // 2 :]
        if sum(width for _, width in [*head, *tail]) + 1 > limit:
            break
        best = [*(piece for piece, _ in head), ELLIPSIS, *(piece for piece, _ in tail)]
    return best


def shortened(text: str, limit: int) -> str:
    """`escape` of the text, cut after a word and given an ellipsis where it exceeds `limit` characters."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return escape(flat)
    head = flat[: limit - 1]
    cut = head.rsplit(" ", 1)[0] if " " in head else head
    return escape(cut.rstrip(" ,;:.")) + ELLIPSIS


def _is_missing(value: float | None) -> bool:
    # pandas' NA compares to neither true nor false, so it is asked for by name.
    return value is None or type(value).__name__ == "NAType" or math.isnan(value)


def _figure(value: float, digits: int | None, sig: int) -> str:
    """A finite number as siunitx reads it: `digits` decimals, or `sig` significant figures."""
    if digits is not None:
        text = f"{value:.{digits}f}"
    elif value == 0:
        return "0"
    else:
        scientific = f"{value:.{sig - 1}e}"
        mantissa, exponent = scientific.split("e")
        rounded = abs(float(scientific))
        if rounded and not SMALLEST_PLAIN <= rounded < LARGEST_PLAIN:
            return f"{mantissa}e{int(exponent)}"
        text = f"{float(scientific):.{max(0, sig - 1 - int(exponent))}f}"
    return text.removeprefix("-") if not float(text) else text


def number(
    value: float | None, *, digits: int | None = None, sig: int = 3, sign: bool = False, bare: bool = False
) -> str:
    r"""A number as \num{...}: `digits` decimals, else `sig` significant figures; None, NaN and NA are "--".

    Never a negative zero. Significant figures become powers of ten outside 0.001 to 1e6. sign: print a plus.
    """
    if _is_missing(value):
        return f"{{{MISSING}}}" if bare else MISSING
    assert value is not None
    if math.isinf(value):
        infinite = r"\ensuremath{-\infty}" if value < 0 else r"\ensuremath{\infty}"
        return f"{{{infinite}}}" if bare else infinite
    figure = _figure(float(value), digits, sig)
    if sign and float(figure) > 0:
        figure = f"+{figure}"
    return figure if bare else rf"\num{{{figure}}}"


def count(value: int | None, *, bare: bool = False) -> str:
    """A whole number, every digit of it. Raises FsrlError for a fraction."""
    if _is_missing(value):
        return number(None, bare=bare)
    assert value is not None
    if not isinstance(value, Integral) and not float(value).is_integer():
        raise FsrlError(f"tex.count: {value!r} is no whole number; round it first or use tex.number")
    return str(int(value)) if bare else rf"\num{{{int(value)}}}"


def percent(share: float | None, *, digits: int = 1, bare: bool = False) -> str:
    r"""A share (0 to 1) in per cent with its sign, \num{12.3}\%; bare: the figure alone."""
    if _is_missing(share):
        return number(None, bare=bare)
    assert share is not None
    figure = number(100 * share, digits=digits, bare=bare)
    return figure if bare else figure + r"\%"


def interval(low: float | None, high: float | None, *, digits: int | None = None, sig: int = 3) -> str:
    r"""An interval in square brackets, in math, so that it may begin a table's row; "--" if unknown."""
    if _is_missing(low) or _is_missing(high):
        return MISSING
    ends = [number(end, digits=digits, sig=sig) for end in (low, high)]
    return rf"\ensuremath{{[{ends[0]}, {ends[1]}]}}"
