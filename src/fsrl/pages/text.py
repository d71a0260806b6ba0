"""Numbers and foreign text as a dashboard prints them: nothing invisible, nothing that breaks the page.

Escaping for HTML is the part of whoever makes it; here characters are dealt with that are legal in no HTML
file (NUL, lone surrogates) or that change how their neighbours are shown (right-to-left override).
"""

import math
from typing import Any

ABSENT = "-"
MINUS = "\N{MINUS SIGN}"
TOKEN_LIMIT = 48  # characters; GPT-2 has tokens of 128
JOINERS = "\u200c\u200d"  # of emoji, and of letters in Persian and Indian scripts


def plain(text: Any) -> str:
    """Text with line breaks as spaces, and characters that cannot be seen or stored as <U+XXXX>."""
    return "".join(_plain(char) for char in str(text)).strip()


def _plain(char: str) -> str:
    if char.isspace():
        return " "
    return char if char.isprintable() or char in JOINERS else f"<U+{ord(char):04X}>"


def is_number(value: Any) -> bool:
    """A number that can be printed: not None, NaN or infinite."""
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 3) -> str:
    """Rounded to `digits` digits ("1,234", "0.0123", "1.2e-7"), or to whole numbers; "-" if there is none."""
    if value is None or not math.isfinite(value):
        return ABSENT
    rounded = float(f"{value:.{digits - 1}e}")
    size = abs(rounded)
    if size and (size < 1e-3 or size >= 1e6):
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    else:
        decimals = digits - 1 - math.floor(math.log10(size)) if size else 0
        text = f"{value:,.{max(0, decimals)}f}"
    return text.replace("-", MINUS)


def column(values: list[float]) -> list[str]:
    """Signed numbers with the same decimals: three digits of the largest one."""
    finite = [abs(value) for value in values if is_number(value) and value]
    largest = max(finite, default=1.0)
    if not 1e-3 <= largest < 1e6:
        return [number(value) for value in values]
    decimals = max(0, 2 - math.floor(math.log10(largest)))
    return [f"{value:+,.{decimals}f}".replace("-", MINUS) if is_number(value) else ABSENT for value in values]


def power(log10: float | None) -> str:
    """10 ** log10 to two digits, however small: "3.2e-1234"; "-" if there is none."""
    if log10 is None or not math.isfinite(log10):
        return ABSENT
    if log10 > -3:
        return number(10**log10, 2)
    exponent = math.floor(log10)
    mantissa = f"{10 ** (log10 - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa}e{exponent}".replace("-", MINUS)
