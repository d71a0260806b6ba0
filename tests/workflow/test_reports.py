"""Text of the user's in the report's page: shown, never run."""

import json
import re
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.project import Project, environment
from workflow import reports

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "a `link <javascript:alert(1)>`_",
    "javascript:alert(1)",
    "x\n\n.. raw:: html\n\n   <img src=x onerror=alert(1)>\n",
    "x\n\n.. include:: /etc/passwd\n",
]
# What Snakemake renders as captions and embeds, with the modules that its command line loads.
RENDER = """
import json, sys
import snakemake.cli
from snakemake.report.html_reporter.data import metadata
if sys.argv[1] == "harmless":
    sys.path.insert(0, "workflow")
    import reports
    reports.make_harmless()
found = []
for text in json.load(sys.stdin):
    caption = sys.modules["snakemake.report"].publish_parts(text, writer_name="html")["body"]
    found.append([caption, metadata.render_metadata({"text": text, "caption": caption})])
print(json.dumps(found))
"""


def render(project: Project, how: str) -> list[tuple[str, str]]:
    """Of each hostile text the caption, and the JSON that stands in the page."""
    command = [sys.executable, "-c", RENDER, how]
    done = subprocess.run(
        command,
        cwd=project.folder,
        input=json.dumps(HOSTILE),
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def runs(caption: str, page: str) -> bool:
    """Whether a browser would run, or show, what is none of the caption's business."""
    tags = re.search(r"<(script|img|iframe)|href=\"javascript:", caption, re.IGNORECASE)
    return bool(tags) or "root:" in caption or bool(re.search(r"</script|<!--|<script", page, re.IGNORECASE))


def test_nothing_of_the_users_is_run(fresh: Project) -> None:
    for text, (caption, page) in zip(HOSTILE, render(fresh, "harmless"), strict=True):
        assert not runs(caption, page), text
        assert json.loads(page) == {"text": text, "caption": caption}


def test_snakemake_alone_would_run_it(fresh: Project) -> None:
    """Each of the cases is one: without this module a reader's browser runs or shows it."""
    for text, (caption, page) in zip(HOSTILE, render(fresh, "as it is"), strict=True):
        assert runs(caption, page), text


@given(
    st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_the_page_holds_what_was_given(content: object) -> None:
    shown = reports.Json.dumps(content)
    assert "<" not in shown and json.loads(shown) == content
