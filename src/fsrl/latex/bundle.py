"""LaTeX sources -> a tar.gz that compiles alone by pdflatex, as arXiv takes it; the same bytes each time.

The main document and what lies beside it come to the top, figures keep their folder: `../figures/` in a
source becomes `figures/`. The bibliography is in as BibTeX made it (main.bbl), since arXiv runs no BibTeX.
The sources are compiled once, so that no archive is written of a document that does not compile.
"""

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.latex.document import typeset

LEFT_OUT = (".bib",)


def write(main: Path, sources: Sequence[Path], output: Path) -> None:
    """Write the archive `output` of `main` and `sources`, paths relative to the working directory.

    Raises FsrlError as `typeset` does, for a source that lies neither beside `main` nor in a folder of the
    project, and for a document without a bibliography.
    """
    with files.temporary_folder("arxiv") as place:
        placed = {_placed(source, main): source for source in sources}
        for name, source in placed.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            content = source.read_bytes()
            (place / name).write_bytes(
                content.replace(b"../figures/", b"figures/") if source.suffix == ".tex" else content
            )
        typeset(place / main.name, output)
        bibliography = main.with_suffix(".bbl").name
        if not (place / bibliography).is_file():
            raise FsrlError(f"{output}: {main} has no bibliography; cite something, or take the PDF")
        names = sorted([*(name for name in placed if not name.endswith(LEFT_OUT)), bibliography])
        packed = _tar({name: (place / name).read_bytes() for name in names})
    with files.atomic_write(output) as temporary:
        temporary.write_bytes(gzip.compress(packed, mtime=0))


def _placed(source: Path, main: Path) -> str:
    if source.is_absolute() or ".." in source.parts:
        raise FsrlError(f"{source} lies outside the project; copy it into the project first")
    beside = source.is_relative_to(main.parent)
    return str(source.relative_to(main.parent) if beside else source)


def _tar(contents: dict[str, bytes]) -> bytes:
    """An archive of these files in this order, which says nothing of when and by whom it was made."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
