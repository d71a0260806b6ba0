"""The LaTeX table of ablations: other draws of the nulls, each null alone, other readings of W_U."""

import numpy as np
import pandas as pd

from fsrl.claims.ablation_sums import AS_IS, DRAWS, EVIDENT, NULLS, READING, TYPED, over_layers
from fsrl.latex import text as tex
from fsrl.latex.sensitivity import SHORT
from fsrl.latex.table import Column, tabular
from fsrl.names import BOUNDING, TYPES

HEADINGS = {
    DRAWS: "Draws of the nulls",
    NULLS: "One null alone",
    READING: r"Reading of $W_U$, and of which tokens",
}
# Heads of narrow columns.
HEADS = {"isotropic": "isotr.", "spectrum": "spectr."}


def ablations(frame: pd.DataFrame) -> str:
    """Features of each type under each choice, sums over the layers; of several parts the least and the most.

    frame: table `ablations`. Beside them the directions that bound the types, what chance gives of any type,
    the features with evidence above 1, and the Jaccard index of the typed features, with the same type or
    any, of two parts, with those by all nulls, or with the view's own reading.
    """
    found = over_layers(frame)
    cases = list(dict.fromkeys(zip(found["ablation"], found["case"], strict=True)))
    of = {key: part.set_index("part") for key, part in found.groupby(["ablation", "case", "label"])}
    columns = [Column("", [rf"\quad {_case(*case)}" for case in cases])]
    for kind in BOUNDING:
        drawn = [of[(*case, TYPED)][f"draws_{kind}"].iloc[0] for case in cases]
        columns.append(Column(HEADS[kind], [tex.count(int(n), bare=True) for n in drawn], "S"))
    for name, head in [*((name, SHORT[name]) for name in TYPES), (TYPED, "any"), (EVIDENT, "$e > 1$")]:
        cells = [_span(of[(*case, name)]["features"]) for case in cases]
        columns.append(Column(head, cells, "r"))
    chance = [_mean(of[(*case, TYPED)]["expected"], digits=1) for case in cases]
    columns.insert(-1, Column("chance", chance, "S"))
    jaccards = [of[(*case, TYPED)]["jaccard"] for case in cases]
    # As they are the draws are compared with nothing.
    jaccards = [one * np.nan if case[1] == AS_IS else one for case, one in zip(cases, jaccards, strict=True)]
    alike = [_mean(one, digits=2) for one in jaccards]
    columns.append(Column("Jaccard", alike, "S"))
    groups = [("", 1), ("directions", len(BOUNDING)), ("features", len(TYPES) + 3), ("", 1)]
    firsts = {name: next(row for row, case in enumerate(cases) if case[0] == name) for name, _ in cases}
    headings = {row: rf"\emph{{{HEADINGS[name]}}}" for name, row in firsts.items()}
    return tabular(columns, groups=groups, headings=headings, tabcolsep=2.2, size="scriptsize")


def _case(ablation: str, case: str) -> str:
    return f"in {case}" if ablation == DRAWS and case != AS_IS else case


def _span(values: pd.Series) -> str:
    """The least and the most of a count over parts; one number where they are the same."""
    low, high = int(values.min()), int(values.max())
    return tex.count(low) if low == high else f"{tex.count(low)}--{tex.count(high)}"


def _mean(values: pd.Series, *, digits: int) -> str:
    return tex.number(float(values.mean()), digits=digits, bare=True)
