"""Plain text from the files of Debian packages: dictionaries, HTML manuals, POD, fortunes, the Bible.

Each reader takes a file and gives paragraphs separated by one blank line. Prose that was hard-wrapped is put
back on one line, so that a line break is not a habit the language model has to learn; code blocks keep
theirs.
"""

import gzip
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

SKIPPED_TAGS = {"script", "style", "head", "nav", "header", "footer", "button", "form", "svg", "noscript"}
# Navigation of Sphinx, DocBook, makeinfo and rustdoc pages: the same words on every page.
SKIPPED_CLASS = re.compile(
    r"sphinxsidebar|related|navheader|navfooter|nav-|sidebar|headerlink|toctree|footer|footnav|\btoc\b"
)
BLOCK_TAGS = {
    "p", "div", "section", "li", "item", "dt", "dd", "td", "th", "tr", "table", "title", "pre", "blockquote",
    "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "body", "screen", "steps", "list", "note",
}  # fmt: skip


def _read(path: Path) -> str:
    opener = gzip.open if path.suffix in {".gz", ".dz"} else open
    with opener(path, "rb") as file:
        data = file.read()
    return data.decode("utf-8", errors="replace")


# Markup that one source repeats thousands of times, and that would own common tokens of the vocabulary.
GCIDE_MARKUP = re.compile(
    r"\s*\[(?:1913 Webster|PJC|WordNet 1\.5|Webster 1913 Suppl\.|wikipedia|RDH|AS|Obs\.?|R\.)\]"
    r"|\\[^\\\n]{1,60}\\,?"  # pronunciation
    # etymology
    r"|\s*\[[^\]\[]*?\b(?:fr\.|cf\.|Cf\.|See|akin|L\.|Gr\.|F\.|OE\.|AS\.|NL\.|LL\.|It\.|Sp\.)[^\]\[]*\]"
    r"|\s*--[A-Z][\w. ]{1,40}\.?(?=\s*\n)"  # attribution of a quotation
    r"|\s*\((?:Zool|Bot|Med|Law|Chem|Naut|Mus|Anat|Mil|Physiol|Arch|Math|Min|"
    r"Mech|Theol|Geol|Eccl|Her|Print|Geom|Elec|Paleon)\.\)"
)
WORDNET_SYNONYMS = re.compile(r"\s*\[(?:syn|ant):[^\]]*\]")
RULER = re.compile(r"^[ \t]*[-=~^#*_+.'\"`|]{4,}[ \t]*$", flags=re.M)
REST_MARKUP = re.compile(r"(?::[\w:+-]+:)?`{1,2}([^`\n]+)`{1,2}_{0,2}")


def unwrap(text: str) -> str:
    """One line per paragraph of prose; a paragraph that looks like code or a table keeps its lines."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        # Indented deeper than the paragraph's own start, or short lines throughout: laid out on purpose.
        shapes = [len(line) for line in lines[:-1]]
        prose = not shapes or sum(shapes) / len(shapes) > 45
        stripped = [line.strip() for line in lines]
        paragraphs.append(" ".join(stripped) if prose else "\n".join(lines))
    return "\n\n".join(re.sub(r"(?<=\S) {2,}", " ", p) for p in paragraphs)


def read_html(path: Path) -> Iterator[str]:
    """The readable text of an HTML or Mallard page: a paragraph a block element; `pre` keeps its lines."""
    import lxml.html

    source = _read(path)
    if not source.strip():
        return
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    root = lxml.html.document_fromstring(source.encode(), parser=parser)
    parts: list[str] = []
    _walk(root, parts, keep=False)
    text = re.sub(r"[ \t]*\n[ \t]*\n\s*", "\n\n", "".join(parts))
    yield text.replace("\u00b6", "").strip()


def _walk(node, parts: list[str], keep: bool) -> None:  # type: ignore[no-untyped-def]
    tag = node.tag
    attributes = f"{node.get('class') or ''} {node.get('id') or ''} {node.get('role') or ''}"
    named = tag not in {"html", "body", "main"} and attributes.strip()
    if tag not in SKIPPED_TAGS and not (named and SKIPPED_CLASS.search(attributes)):
        block = tag in BLOCK_TAGS
        inside = keep or tag in {"pre", "screen"}
        if block:
            parts.append("\n\n")
        if tag == "br":
            parts.append("\n")
        if node.text:
            parts.append(node.text if inside else re.sub(r"\s+", " ", node.text))
        for child in node:
            _walk(child, parts, inside)
        if block:
            parts.append("\n\n")
    if node.tail:
        parts.append(node.tail if keep else re.sub(r"\s+", " ", node.tail))


def read_dictionary(path: Path) -> Iterator[str]:
    """Entries of a dictd file: one line per sense, without the markup that closes every sense.

    WordNet's file prints a synset under each of its words; a sense printed before is left out, else the
    held-out passages would mostly repeat the training text.
    """
    text = re.sub(r"^00-database.*?(?=\n\S)", "", _read(path), flags=re.S)
    text = re.sub(
        r"\[[=^'`\".*,]?([A-Za-z]{1,2})[=^'`\".*,]?\]", r"\1", text
    )  # [=e] is a letter with its accent
    for _ in range(2):  # an etymology may hold a bracket
        text = GCIDE_MARKUP.sub("", WORDNET_SYNONYMS.sub("", text))
    text = re.sub(r"[{}]", "", text)
    seen: set[str] = set()
    for entry in re.split(r"\n(?=\S)", text):
        head, _, body = entry.partition("\n")
        senses = []
        for sense in re.split(r"\n\s*\n|\n(?=\s+(?:(?:n|v|adj|adv) )?(?:\d+: |\([a-z]\) |\d+\. ))", body):
            line = " ".join(sense.split())
            key = re.sub(r"^(?:(?:n|v|adj|adv) )?\d+: ", "", line)
            if line and (len(key) < 30 or key not in seen):
                seen.add(key)
                senses.append(line)
        if senses:
            yield "\n".join([" ".join(head.split()), *senses])


def read_fortunes(path: Path) -> Iterator[str]:
    """The sayings of one fortune file (index files, which are binary, are left out)."""
    if path.suffix in {".dat", ".u8"} or path.is_symlink():
        return
    for saying in _read(path).split("\n%\n"):
        yield saying.strip("\n").replace("\t", "    ")


def read_pod(path: Path) -> Iterator[str]:
    """Perl's documentation: commands and inline codes dropped, prose unwrapped."""
    text = re.sub(r"^=(?:encoding|over|back|for|begin|end|cut|pod).*$", "", _read(path), flags=re.M)
    text = re.sub(r"^=(?:head\d|item)\s*", "", text, flags=re.M)
    for _ in range(3):
        text = re.sub(r"[BCFILSXZE]<+\s?([^<>]*?)\s?>+", r"\1", text)
    yield unwrap(text)


def read_text(path: Path) -> Iterator[str]:
    """A plain text or reStructuredText file: prose unwrapped, rulers and inline markup dropped."""
    yield unwrap(REST_MARKUP.sub(r"\1", RULER.sub("", _read(path))))


def read_bible(folder: Path) -> Iterator[str]:
    """The King James text, one chapter at a time, by the program of the package bible-kjv.

    The packed text of bible-kjv-text has no other public reader; the program is unpacked beside it.
    """
    program = folder.parents[2] / "bible-kjv/usr/bin/bible"
    command = [os.fspath(program), "-f", "-p", os.fspath(folder), "gen1:1-rev22:21"]
    printed = subprocess.run(command, input="", capture_output=True, text=True, check=True).stdout
    chapters: dict[str, list[str]] = {}
    for line in printed.splitlines():
        if match := re.match(r"(\w+?)(\d+):(\d+) (.*)", line):
            book, chapter, verse, words = match.groups()
            chapters.setdefault(f"{book} {chapter}", []).append(f"{verse} {words}")
    for name, verses in chapters.items():
        yield f"{name}\n\n" + "\n".join(verses)


READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "html": read_html,
    "dictionary": read_dictionary,
    "fortunes": read_fortunes,
    "pod": read_pod,
    "text": read_text,
    "bible": read_bible,
}
