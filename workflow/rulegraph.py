"""Snakemake's own graph of the rules, as docs/reference/figures.md shows it: `make rulegraph` writes it there
(studies of the embedded model).

Of what `snakemake --rulegraph mermaid-js` prints, the colours, the target `all` (every rule leads there), the
studies' and the model's names in the names of rules, and arrows that others imply (a transitive reduction)
are left out.
"""

import re
import sys
from pathlib import Path

import networkx

# Studies and their model, of which some rules have the name in theirs.
OWNERS = ("mini", "mini-neurons", "mini-model")
BLOCK = re.compile(r"```mermaid\n.*?```", re.S)


def block(printed: str) -> str:
    """The mermaid block from what Snakemake printed."""
    suffix = re.compile(rf"_({'|'.join(OWNERS)})$")
    printed_names = re.findall(r"^\t(id\d+)\[([^\]]+)\]$", printed, re.M)
    names = {node: suffix.sub("", name) for node, name in printed_names}
    arrows = re.findall(r"^\t(id\d+) --> (id\d+)$", printed, re.M)
    graph = networkx.DiGraph((names[start], names[end]) for start, end in arrows)
    graph.remove_nodes_from(["all"])
    lines = sorted("  " + " --> ".join(edge) for edge in networkx.transitive_reduction(graph).edges)
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


if __name__ == "__main__":
    page = Path("docs/reference/figures.md")
    text = page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(block(sys.stdin.read()), text, count=1), encoding="utf-8")
