"""Snakemake's own graph of the rules, as README.md shows it: `make rulegraph` writes it there (study mini).

Of what `snakemake --rulegraph mermaid-js` prints, the colours, the target `all` (every rule leads there), the
study's name in the names of rules, and arrows that others imply (a transitive reduction) are left out.
"""

import re
import sys
from pathlib import Path

import networkx

BLOCK = re.compile(r"```mermaid\n.*?```", re.S)


def block(printed: str, study: str) -> str:
    """The mermaid block from what Snakemake printed."""
    names = dict(re.findall(r"^\t(id\d+)\[([^\]]+)\]$", printed, re.M))
    graph = networkx.DiGraph(re.findall(r"^\t(id\d+) --> (id\d+)$", printed, re.M))
    graph.remove_nodes_from([node for node, name in names.items() if name == "all"])
    edges = networkx.transitive_reduction(graph).edges
    lines = sorted(
        "  " + " --> ".join(names[node].removesuffix(f"_{study}") for node in edge) for edge in edges
    )
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


if __name__ == "__main__":
    readme = Path("README.md")
    text = readme.read_text(encoding="utf-8")
    readme.write_text(BLOCK.sub(block(sys.stdin.read(), "mini"), text, count=1), encoding="utf-8")
