"""The article, from its sources and what was generated for it."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.latex import document as tex_document

given = snakemake.input
sources = [Path(path) for part in ("sources", "generated", "figures") for path in given[part]]
tex_document.compile_pdf(
    Path(snakemake.params.main), tex_document.expanded(sources), Path(snakemake.output[0])
)
