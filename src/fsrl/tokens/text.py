"""Tokens as text that a reader can tell apart, from one spelling for the tokens of all tokenizers.

The spelling is GPT-2's byte-level alphabet: each of the 256 bytes is one printable character, printable bytes
of Latin-1 themselves, the others U+0100 and up (so a space is Ġ, a newline Ċ). Byte-level tokenizers store
their tokens so; those of other tokenizers are brought to it (`fsrl.tokens.vocabulary`). A token is turned
back into its bytes, and these are shown so that nothing is invisible in print:

    " the"             ␣the      (stored as Ġthe)
    newline, tab       ⏎  ⇥
    half a character   <C3>      (bytes that are no whole UTF-8 character; control characters likewise)
    no glyph           <U+4E2D>  (also combining marks, zero-width and other blank characters)

Source of the alphabet: `bytes_to_unicode` in https://github.com/openai/gpt-2/blob/master/src/encoder.py
"""

import unicodedata
from collections.abc import Callable, Container

MARKS = {" ": "\u2423", "\n": "\u23ce", "\t": "\u21e5"}
ELLIPSIS = "\u2026"
# GPT-2's end of a text: between the passages of an evaluation text too, whatever the model.
END_OF_TEXT = "<|endoftext|>"


def _alphabet() -> dict[str, int]:
    """The byte that each character of the byte-level alphabet stands for."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(moved)}


ALPHABET = _alphabet()
SPELLING = {byte: char for char, byte in ALPHABET.items()}


def spell(data: bytes) -> str:
    """The bytes of a token in the alphabet; `decode` undoes it."""
    return data.decode("latin-1").translate(SPELLING)


def decode(token: str) -> str:
    """The text of a token; a byte of no whole character becomes U+DC00 + byte (surrogateescape).

    A token with a character from outside the alphabet is not spelled in it: it is returned as it is.
    """
    if any(char not in ALPHABET for char in token):
        return token
    return bytes(ALPHABET[char] for char in token).decode("utf-8", errors="surrogateescape")


def code(char: str) -> str:
    """What stands for a character that cannot be drawn or seen: U+4E2D, of a byte or control character C3."""
    point = ord(char)
    if point < 0x20 or point == 0x7F:
        return f"{point:02X}"
    return f"{point - 0xDC00:02X}" if 0xDC80 <= point <= 0xDCFF else f"U+{point:04X}"


def _show(char: str, glyphs: Container[int] | None) -> str:
    if char in MARKS:
        return MARKS[char]
    combining = unicodedata.category(char).startswith("M")
    if combining or not char.isprintable() or (glyphs is not None and ord(char) not in glyphs):
        return f"<{code(char)}>"
    return char


def legible(
    token: str,
    *,
    limit: float | None = None,
    measure: Callable[[str], float] = len,
    glyphs: Container[int] | None = None,
) -> str:
    """The token as printable text, at most `limit` long, with an ellipsis in the middle where it is cut.

    token: as the alphabet spells it, e.g. "Ġthe"; limit: greatest length in the unit of `measure`, None
    for the whole token; measure: length of a text (`len` counts characters, a font's measure gives points);
    glyphs: code points that the font can draw, others are shown as <U+XXXX>, None for all.
    """
    pieces = [_show(char, glyphs) for char in decode(token)] or ["<empty>"]
    whole = "".join(pieces)
    if limit is None or measure(whole) <= limit:
        return whole
    shown = ELLIPSIS
    # An escape is one piece, so that a cut never leaves half of it.
    for kept in range(1, len(pieces)):
        head, tail = pieces[: (kept + 1) // 2], pieces[len(pieces) - kept // 2 :]
        longer = "".join([*head, ELLIPSIS, *tail])
        if measure(longer) > limit:
            break
        shown = longer
    return shown
