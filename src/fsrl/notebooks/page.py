"""An executed notebook as one HTML page that asks nothing from the network: no script, no font, no style.

A feature's page in it (`fsrl.pages.page`) lies in a frame of its own, whose one script the policy lets run.

Formulas are written in LaTeX, which Jupyter sets with MathJax. MathJax would have to be fetched, so here they
become MathML (`latex2mathml`), which browsers set themselves: Firefox, Safari, and Chromium from version 109.
"""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fsrl.errors import FsrlError
from fsrl.pages import renderer

TEMPLATE = Path(__file__).with_name("templates") / "notebook.html.j2"
# Frames hold a feature's page, as text of their own; they inherit this policy and have a stricter one
# besides.
POLICY = (
    f"default-src 'none'; script-src {renderer.POLICY_SOURCE}; img-src data:; style-src 'unsafe-inline'; "
    "frame-src 'self' data:"
)
NOTEBOOK = re.compile(r"^([\w-]+)\.ipynb(?=#|$)")
HEADING = re.compile(r"^# +(.+?) *$", re.MULTILINE)


def html(notebook: Any, *, note: str) -> str:
    """The page; its title is the notebook's first heading. note: a plain line at its foot.

    FsrlError for a formula that cannot be set, an output that needs a script, and a notebook without a title.
    """
    import jinja2
    from pygments.formatters import HtmlFormatter

    page = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(TEMPLATE.read_text("utf-8"))
    return page.render(
        policy=POLICY,
        title=_escape(_title(notebook)),
        code_style=HtmlFormatter(style="default").get_style_defs(".highlight"),
        body=_body(notebook),
        note=_escape(note),
    )


def mathml(formula: str, *, display: bool) -> str:
    """A LaTeX formula, without its dollar signs, as MathML; FsrlError for a command that is not known."""
    from latex2mathml.converter import convert

    try:
        found = convert(formula.strip(), display="block" if display else "inline")
        left = "".join(ElementTree.fromstring(found).itertext())
    except Exception as error:  # the converter's own errors have no base of their own
        raise FsrlError(f"formula {formula!r}: cannot be set ({type(error).__name__}: {error})") from error
    # The converter keeps what it does not know as text, and closes by itself what is left open.
    braces = re.sub(r"\\[{}]", "", formula)
    if "\\" in left or "&" in left or braces.count("{") != braces.count("}"):
        raise FsrlError(
            f"formula {formula!r}: unbalanced, or with a command that latex2mathml does not know; rewrite it"
        )
    return found


def _title(notebook: Any) -> str:
    for cell in notebook.cells:
        found = HEADING.search(cell.source) if cell.cell_type == "markdown" else None
        if found:
            return found[1]
    raise FsrlError("notebook: no heading (# ...) in its text; the page needs a title")


def _body(notebook: Any) -> str:
    """The cells and their outputs, without prompts."""
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        """nbconvert's, with formulas as MathML instead of text for MathJax."""

        def block_math(self, body: str) -> str:
            return mathml(body, display=True)

        def inline_math(self, body: str) -> str:
            return mathml(body, display=False)

        def heading(self, text: str, level: int, **attributes: Any) -> str:
            """Named as Jupyter names it, so that a link works there and here."""
            name = re.sub(r"<[^>]+>", "", text).replace(" ", "-")
            return f'<h{level} id="{name}">{text}</h{level}>\n'

        def link(self, text: str, url: str, title: str | None = None) -> str:
            # Beside a notebook lies its page.
            return str(super().link(text, NOTEBOOK.sub(r"\1.html", url), title))

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", display=True)

    def markdown(source: str) -> str:
        """HTML of a text with formulas in it."""
        return str(
            MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True)).render(source)
        )

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if scripted := [
                kind for kind in output.get("data", {}) if "javascript" in kind or "widget" in kind
            ]:
                raise FsrlError(
                    f"notebook: cell {cell.id} shows {scripted[0]}, which needs scripts; show HTML"
                )
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        filters={"markdown2html": markdown},
    )
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)


def _escape(text: str) -> str:
    import html as entities

    return entities.escape(text, quote=True)
