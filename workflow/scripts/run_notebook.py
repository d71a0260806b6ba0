"""Run a notebook and write it with its outputs, as a page and as .ipynb."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.notebooks import page as notebook_page
from fsrl.notebooks import run as notebook_run

source, output, params = snakemake.input.notebook, snakemake.output, snakemake.params
notebook = notebook_run.execute(source, parameters=params.parameters, beside=params.beside)
found = {
    output.html: notebook_page.html(notebook, note=f"Made from {source} by the workflow."),
    output.ipynb: notebook_run.text(notebook),
}
for path, content in found.items():
    with files.atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
