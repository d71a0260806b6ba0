"""LaTeX table of two dictionaries of one place: which types outlive the change of seed or width."""

from collections.abc import Mapping

import pandas as pd

from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, count_column, tabular
from fsrl.names import TYPES, type_label
from fsrl.types.dictionaries import TYPED, UNTYPED

PAIR = ["study", "sae", "other_study", "other_sae"]
LABELS = {TYPED: "any type", UNTYPED: "none"} | {name: type_label(name) for name in TYPES}


def counterparts(frame: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """For each other dictionary of its place, what became of the types of the first study's.

    For each type its features, those found again, and those typed alike. frame: as `fsrl.types.counterparts`
    gives it; titles: study -> what it is called, the first study first.
    """
    first = next(iter(titles))
    if (frame["study"] == first).any():
        frame = frame[frame["study"] == first]
    if frame.empty:
        return "No two of these dictionaries are of one place of the model.\n"
    frame = frame.reset_index(drop=True)
    columns = [
        Column("Type", [rf"\quad {LABELS[name]}" for name in frame["type"]]),
        *(count_column(head, frame[name]) for head, name in (("$n$", "features"), ("found", "counterparts"))),
        Column("cosine", [tex.number(value, digits=2, bare=True) for value in frame["cosine"]], "S"),
        count_column("alike", frame["alike"]),
        Column("chance", [tex.number(value, digits=1, bare=True) for value in frame["alike_by_chance"]], "S"),
    ]
    firsts = frame.drop_duplicates(PAIR)
    headings = {int(row): _heading(pair, titles) for row, pair in firsts.iterrows()}
    return tabular(columns, headings=headings)


def _heading(pair: pd.Series, titles: Mapping[str, str]) -> str:
    own = f"{hook_label(pair['sae'])} ({pair['size']:,})"
    other = f"{hook_label(pair['other_sae'])} ({pair['other_size']:,}) of {titles[pair['other_study']]}"
    return rf"\emph{{{tex.escape(own)} in {tex.escape(other)}}}"
