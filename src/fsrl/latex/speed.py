"""LaTeX table of time and memory against other ways, from what benchmarks/*.py saved."""

from collections.abc import Mapping
from typing import Any

from fsrl.latex import text as tex
from fsrl.latex.table import Column, tabular

# Name in the saved output -> what the row says; the order of the table.
MOMENTS = {
    "ours, fp32, moments": r"this project, \texttt{fp32}: moments",
    "ours, fp32, all": r"this project, \texttt{fp32}: moments, extremes, histograms",
    "ours, bf16, moments": r"this project, \texttt{bf16}: moments",
    "ours, fp64, moments": r"this project, \texttt{fp64}: moments",
    "torch.mm product, tiled, fp32": r"the product alone, in tiles (\texttt{torch.mm})",
    "merged blocks": "blocks of the vocabulary, merged (plain torch)",
    "materialised (tutorial)": "whole matrix, then moments (SAELens tutorial)",
    "scipy.stats": "SciPy, float64",
}


def speed(moments: Mapping[str, Any], enrichment: Mapping[str, Any]) -> str:
    """Seconds, their ratio to the product alone, and memory above the inputs.

    moments, enrichment: what benchmarks/moments.py and benchmarks/enrichment.py saved. Memory is of the
    number of features given beside it: what a way needs may grow with that number. A row that was not timed
    is left out.
    """
    rows = [_moments_row(moments, name) for name in MOMENTS if name in moments["timings"]]
    shape = moments["shape"]
    size = f"{tex.count(shape['n'])} features, {tex.count(shape['d_vocab'])} tokens"
    headings = {0: rf"\emph{{Moments of logit weights}}: {size}, {_machine(moments['machine'])}"}
    scores = enrichment["scores"]
    size = f"{tex.count(scores['shape']['features'])} features, {tex.count(scores['shape']['sets'])} sets"
    headings[len(rows)] = rf"\emph{{Running-sum scores}}: {size}, {_machine(enrichment['machine'])}"
    rows += _score_rows(scores)
    names, seconds, ratios, mebibytes, features = zip(*rows, strict=True)
    columns = [
        Column("", [rf"\quad {name}" for name in names]),
        Column("seconds", seconds, "S"),
        Column("ratio", ratios, "S"),
        Column("MiB", mebibytes, "S"),
        Column("features", features, "S"),
    ]
    return tabular(columns, groups=[("", 1), ("time", 2), ("memory", 2)], headings=headings, tabcolsep=6)


def _machine(machine: Mapping[str, Any]) -> str:
    return f"{tex.escape(machine['cpu'])}, {tex.count(machine['threads'])} threads"


def _moments_row(saved: Mapping[str, Any], name: str) -> tuple[str, ...]:
    time, memory = saved["timings"][name], saved["memory"][name]
    return (
        MOMENTS[name],
        tex.number(time["seconds"], digits=1, bare=True),
        tex.number(time["ratio_to_torch_mm"], digits=2, bare=True),
        tex.number(memory["mib_above_inputs"], digits=0, bare=True),
        tex.count(memory["rows"], bare=True),
    )


def _score_rows(scores: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Ours with its product, and SAELens' function timed on a batch and scaled; the ratio is to that."""
    ours, theirs = scores["seconds_with_product"], scores["saelens_seconds_scaled_to_5000"]
    found = [
        (
            "this project, product included",
            ours,
            scores["peak_gib_with_product"],
            scores["shape"]["features"],
        ),
        ("SAELens", theirs, scores["saelens_peak_gib_of_that_batch"], scores["saelens_batch"]),
    ]
    return [
        (
            name,
            tex.number(seconds, digits=1, bare=True),
            tex.number(seconds / theirs, digits=2, bare=True),
            tex.number(1024 * gib, digits=0, bare=True),
            tex.count(features, bare=True),
        )
        for name, seconds, gib, features in found
    ]
