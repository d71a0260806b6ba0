"""Chunks of a site's data: scripts, since a page that is opened as a file may load scripts and nothing else.

A chunk is one call, `fsrl.chunk(name, text)`, whose text is JSON, compressed (gzip) and spelled in base64.
What it holds is made by `fsrl.pages.record`.
"""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

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
