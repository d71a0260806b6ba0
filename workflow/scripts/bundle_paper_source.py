"""The article's sources in one archive that compiles alone, as arXiv takes it."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.latex import bundle
from fsrl.latex import document as tex_document

given = snakemake.input
sources = [Path(path) for part in ("sources", "generated", "figures") for path in given[part]]
bundle.write(Path(snakemake.params.main), tex_document.expanded(sources), Path(snakemake.output[0]))
