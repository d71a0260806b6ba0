"""Snakemake's report writes other people's text into its page as it stands; here it is made harmless.

What the page shows lies in it as JSON inside <script>, where a title with </script> would end that and be
run, and captions, in reStructuredText, may link to javascript: or hold raw HTML.
"""

import json
import re
import sys
from typing import Any

# Links of a caption that are no addresses of pages.
_LINK = re.compile(r'\bhref="(?!https?://|#)[^"]*"', re.IGNORECASE)


class Json:
    """The part of the module json that the report uses."""

    @staticmethod
    def dumps(content: Any, **options: Any) -> str:
        """As json.dumps, and nothing in it ends or begins a tag or a comment."""
        return json.dumps(content, **options).replace("<", "\\u003c")


def make_harmless() -> None:
    """Have this process' reports made so. Does nothing where the report's modules are not loaded."""
    for name, module in list(sys.modules.items()):
        if name.startswith("snakemake.report.html_reporter") and hasattr(module, "json"):
            vars(module)["json"] = Json
    captions = sys.modules.get("snakemake.report")
    if captions is not None:
        vars(captions)["publish_parts"] = publish_parts


def publish_parts(source: str, **options: Any) -> dict[str, str]:
    """As docutils' own, without raw HTML, files of this machine, and links that run something."""
    import docutils.core

    safe = {"raw_enabled": False, "file_insertion_enabled": False}
    parts = docutils.core.publish_parts(source, settings_overrides=safe, **options)
    return {name: _LINK.sub("", text) if isinstance(text, str) else text for name, text in parts.items()}
