"""Chunks of a site's data: scripts, since a page that is opened as a file may load scripts and nothing else.

A chunk is one call, `fsrl.chunk(name, text)`, whose text is JSON, compressed (gzip) and spelled in base64.
Numbers have six significant digits, or as many more as it takes to print the same three as the table's own.
"""

import base64
import gzip
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

DIGITS = 6
# Of gzip: 6 takes a third of the time for 1 % more, with which 13 layers as wide as GPT-2's passed 250 MB.
LEVEL = 9


def script(name: str, value: Any) -> str:
    """The chunk's text; the same value gives the same text. ValueError for NaN and infinity."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    packed = gzip.compress(text.encode("utf-8", "surrogatepass"), LEVEL, mtime=0)
    return f'fsrl.chunk("{name}", "{base64.b64encode(packed).decode()}");\n'


def content(text: str) -> tuple[str, Any]:
    """Name and value of a chunk that `script` made."""
    name, packed = text.removeprefix('fsrl.chunk("').removesuffix('");\n').split('", "')
    return name, json.loads(gzip.decompress(base64.b64decode(packed)).decode("utf-8", "surrogatepass"))


def write(folder: Path, name: str, value: Any) -> None:
    """Write a chunk as `{folder}/data/{name}.js`; the folder is one that is being made."""
    path = folder / f"data/{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script(name, value), encoding="utf-8", newline="\n")


def short(value: float | None, digits: int = DIGITS) -> float | int | None:
    """The number with few digits, printed as the number itself would be; None for NaN and infinity."""
    if value is None or not math.isfinite(value):
        return None
    text = f"{value:.{digits - 1}e}"
    mantissa, exponent = text.split("e")
    rounded, places = float(text), digits - 1 - int(exponent)
    # Rounding twice, to these digits and then for print, may end elsewhere than rounding once: after a 5.
    forms = (".2e", ".1e", *(f".{decimals}f" for decimals in range(places)))
    if places < 0 or (
        mantissa.rstrip("0").endswith("5") and any(f"{rounded:{form}}" != f"{value:{form}}" for form in forms)
    ):
        rounded = float(value)
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def numbers(values: Iterable[Any], digits: int = DIGITS) -> list[float | int | None]:
    """`short` of each value of a column; nulls and infinity are None."""
    column = np.asarray(values, dtype=np.float64)
    return [short(value, digits) for value in column.tolist()]
