"""The article, from its sources and what was generated for it."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from pathlib import Path

from fsrl.latex import document as tex_document

given = snakemake.input
sources = [Path(path) for part in ("sources", "generated", "figures") for path in given[part]]
# A folder of figures stands for its files.
sources = [file for path in sources for file in (sorted(path.glob("*.pdf")) if path.is_dir() else [path])]
tex_document.compile_pdf(Path(snakemake.params.main), sources, Path(snakemake.output[0]))
