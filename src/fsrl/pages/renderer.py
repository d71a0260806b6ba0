"""What draws a feature's page in a browser: scripts and style, the same in a study's site and alone.

A site lies beside them as files (FILES). A page alone holds them inline, as one function that leaves no name
behind, and its Content-Security-Policy lets this very script run (POLICY_SOURCE, its hash) and no other.
Needs no Torch.
"""

import base64
import hashlib
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
# In the order in which they need each other: elements, numbers, the page.
FILES = tuple(ASSETS / name for name in ("element.js", "format.js", "page.js", "page.css"))
STYLE = (ASSETS / "page.css").read_text(encoding="utf-8")
_PARTS = [path.read_text("utf-8") for path in (*FILES, ASSETS / "single.js") if path.suffix == ".js"]
SCRIPT = "\n".join(['(() => {\n"use strict";', *_PARTS, "})();\n"])
POLICY_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
# The page alone, with a {{ name }} where something is put in.
DOCUMENT = (ASSETS / "single.html").read_text(encoding="utf-8")
