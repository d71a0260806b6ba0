"""Which rule needs which, as a figure: the graph is Snakemake's own, of this Snakefile and config."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json
import subprocess
import sys
import tempfile

from fsrl.errors import FsrlError
from fsrl.figures import files as figure_files
from fsrl.figures import rulegraph as plot_graph

study = snakemake.wildcards.study
with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
    json.dump({**snakemake.config, "study": study}, config)
    config.flush()
    command = ["-m", "snakemake", "--cores", "1", "--rulegraph", "dot", "--configfile", config.name]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
if done.returncode:
    raise FsrlError(f"snakemake --rulegraph dot failed for study {study}; it says: {done.stderr.strip()}")
edges = plot_graph.dot_edges(done.stdout)
names = {name for edge in edges for name in edge}
# A rule that is made for each study ends in its name.
short = {name: name.removesuffix(f"_{study}") for name in names}
short |= {name: f"{cut}_study" for name, cut in short.items() if name != cut and cut in names}
edges = [(short[start], short[end]) for start, end in edges if end not in ("all", snakemake.rule)]
figure = plot_graph.rules(edges, title=f"{snakemake.params.title} · rules of the workflow")
for path in snakemake.output:
    figure_files.save(figure, path)
