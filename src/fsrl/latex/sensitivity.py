"""LaTeX tables of robustness: thresholds moved, schemes, views, nulls compared, planted types found."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from fsrl.errors import FsrlError
from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, tabular
from fsrl.latex.table import interval as latex_interval
from fsrl.names import TYPES, type_label
from fsrl.tables.sensitivity import BY_CHANCE
from fsrl.types.select import of_scheme

COLUMNS = {
    "std": "std / norm",
    "tail_tokens": "tail tokens",
    "right_share": "right share",
    "tail_share": "tail share",
    "q": "$q$",
    "q of spikes": "$q$ of spikes",
    "variance_x_d_model": r"variance $\times\,d$",
}
# Heads of narrow columns.
SHORT = {"local_context": "loc.", "prediction": "pred.", "suppression": "supp.", "partition": "part."}
SHORT |= {"two_sided": "two", "any": "any"}
AS_IS = 1.0


def sensitivity(frame: pd.DataFrame) -> str:
    """Each bound loosened and tightened as far as the config says: members, chance, overlap with the rule.

    frame: table `sensitivity`. Members are sums over the layers; so is what each kind of null gives, of which
    the most stands; the Jaccard index with the members of the rule as it is, a mean over the layers that have
    any.
    """
    rows: list[tuple[str, ...]] = []
    headings = {}
    for scheme, of in frame.groupby("scheme", sort=False):
        headings[len(rows)] = rf"\emph{{Scheme}} \texttt{{{tex.escape(str(scheme))}}}"
        keys = ["type", "column", "word", "bound"]
        for (kind, column, word, bound), part in of.groupby(keys, sort=False, dropna=False):
            rows.append((rf"\quad {type_label(kind)}", _bound(column, word, bound), *_moved(part)))
    kinds, bounds, *figures = zip(*rows, strict=True)
    heads = ["loose", "strict", "loose", "as is", "strict", "loose", "as is", "strict", "loose", "strict"]
    columns = [Column("Type", kinds), Column("Bound moved", bounds)]
    columns += [Column(head, cells, "S") for head, cells in zip(heads, figures, strict=True)]
    groups = [("", 2), ("factor", 2), ("members", 3), ("by chance", 3), ("Jaccard", 2)]
    return tabular(columns, groups=groups, headings=headings, tabcolsep=3.5)


def _bound(column: str, word: str | None, bound: str | None) -> str:
    if pd.isna(word) or pd.isna(bound):
        return "null draws"
    return f"{COLUMNS.get(column, tex.escape(column))} ${tex.SIGNS[str(word)]}$ {tex.escape(str(bound))}"


def _grows_stricter(word: str | None, bound: str | None) -> bool:
    """Whether a larger factor asks for more: it multiplies a number to exceed, or else a tail's share."""
    try:
        float(str(bound))
    except ValueError:
        return False
    return word in ("min", "above")


def _moved(part: pd.DataFrame) -> list[str]:
    """The figures of one bound: at its loosest, as it is, and at its strictest."""
    sums = dict.fromkeys(["members", *BY_CHANCE], "sum")
    totals = part.groupby("factor").agg(sums | {"jaccard": "mean"})
    by_chance = totals[BY_CHANCE].max(axis=1)
    if AS_IS not in totals.index:
        raise FsrlError("table sensitivity: no factor 1; it must be among the config's sensitivity factors")
    loose, strict = totals.index.max(), totals.index.min()
    if _grows_stricter(part["word"].iloc[0], part["bound"].iloc[0]):
        loose, strict = strict, loose
    factors = [f"{factor:g}" for factor in (loose, strict)]
    members = [tex.count(int(totals.at[at, "members"]), bare=True) for at in (loose, AS_IS, strict)]
    expected = [tex.number(by_chance[at], digits=1, bare=True) for at in (loose, AS_IS, strict)]
    jaccard = [tex.number(totals.at[at, "jaccard"], digits=2, bare=True) for at in (loose, strict)]
    return [*factors, *members, *expected, *jaccard]


def agreement(frame: pd.DataFrame) -> str:
    """How far two schemes, or two views, label the same features alike: medians over the layers.

    frame: table `agreement`. For each type and for the primary labels ("any"): the Jaccard index of the
    members, and Cohen's kappa.
    """
    keys = ["compared", "first", "second", "scheme"]
    medians = frame.groupby([*keys, "type"], sort=False, dropna=False)[["jaccard", "kappa"]].median()
    pairs = frame.drop_duplicates(keys)[keys].reset_index(drop=True)
    names = [*TYPES, "any"]
    columns = [Column("", [_compared(row) for row in pairs.to_dict("records")])]
    for measure in ("jaccard", "kappa"):
        for name in names:
            found = [_median(medians, (*pair, name), measure) for pair in pairs.itertuples(index=False)]
            cells = [tex.number(value, digits=2, bare=True) for value in found]
            columns.append(Column(SHORT[name], cells, "S"))
    groups = [("", 1), ("Jaccard index", len(names)), (r"Cohen's $\kappa$", len(names))]
    blocks = [_block(row) for row in pairs.to_dict("records")]
    headings = {blocks.index(block): block for block in dict.fromkeys(blocks)}
    return tabular(columns, groups=groups, headings=headings, tabcolsep=4)


def _code(name: str) -> str:
    return rf"\texttt{{{tex.escape(name)}}}"


def _block(row: Mapping[str, Any]) -> str:
    """The line above the comparisons of one kind: schemes, or two views under each scheme."""
    if row["compared"] == "schemes":
        return r"\emph{Schemes}"
    return rf"\emph{{Views}} {_code(row['first'])} \emph{{and}} {_code(row['second'])}"


def _compared(row: Mapping[str, Any]) -> str:
    if row["compared"] == "schemes":
        return rf"\quad {_code(row['first'])}, {_code(row['second'])}"
    return rf"\quad {_code(row['scheme'])}"


def _median(medians: pd.DataFrame, key: tuple, measure: str) -> float:
    # Looked up by comparison, since a null scheme in the key equals nothing.
    frame = medians.reset_index()
    alike = pd.Series(True, index=frame.index)
    for name, value in zip(("compared", "first", "second", "scheme", "type"), key, strict=True):
        alike &= frame[name].isna() if pd.isna(value) else frame[name] == value
    found = frame.loc[alike, measure]
    return float(found.iloc[0]) if len(found) else float("nan")


EVEN_LABEL = r"partition $\geq 1/4$"


def planted(recovery: pd.DataFrame, scheme: str) -> str:
    """Precision and recall of planted types by type and strength: one scheme in full, the others beside it.

    recovery: table `recovery`, of which the middle one of the planted shares is shown. All that was planted
    counts; partitions of a quarter of the vocabulary or more have rows of their own. The last two columns
    say what a scheme cannot be blamed for, and what its label two_sided costs.
    """
    of_scheme(recovery, scheme, "recovery")
    shares = sorted(recovery["planted_share"].unique())
    rows = recovery[recovery["planted_share"] == shares[len(shares) // 2]]
    tables = {key: part.set_index("strength") for key, part in rows.groupby(["scheme", "population", "type"])}
    mine = rows[(rows["scheme"] == scheme) & (rows["planted"] > 0)]
    asked = [(type_label(name), "all", name) for name in TYPES if (mine["type"] == name).any()]
    asked += [(EVEN_LABEL, "even", "partition")]
    strengths = sorted(mine["strength"].unique())
    index = [(label, *key, strength) for label, *key in asked for strength in strengths]

    def cells(column: str, of: str = scheme, population: str | None = None) -> list[float]:
        return [tables[of, population or own, name].at[at, column] for _, own, name, at in index]

    def shown(column: str, of: str = scheme, population: str | None = None) -> Column:
        values = cells(column, of, population)
        return Column(column, [tex.number(value, digits=2, bare=True) for value in values], "S")

    def counted(head: str, column: str) -> Column:
        return Column(head, [tex.count(int(value), bare=True) for value in cells(column)], "S")

    def interval(column: str) -> Column:
        ends = zip(cells(f"{column}_low"), cells(f"{column}_high"), strict=True)
        return Column("", [latex_interval(low, high) for low, high in ends])

    labels = [label if at == strengths[0] else "" for label, _, _, at in index]
    columns = [Column("Type", labels), Column("Strength", [f"{at:g}" for *_, at in index], "S")]
    columns += [counted("planted", "planted"), counted("labelled", "labelled")]
    columns += [shown("precision"), interval("precision"), shown("recall"), interval("recall")]
    groups = [("", 2), (_code(scheme), 6)]
    for other in dict.fromkeys(recovery["scheme"]):
        if other != scheme:
            columns += [
                replace(shown(name, other), head=head)
                for name, head in (("precision", "prec."), ("recall", "rec."))
            ]
            groups.append((_code(str(other)), 2))
    columns += [replace(shown("recall", population="clear"), head="clear"), counted("two-s.", "two_sided")]
    groups.append(("of them", 2))
    spaces = [row for row, label in enumerate(labels) if label and row]
    return tabular(columns, groups=groups, spaces=spaces, tabcolsep=3)


# Criterion of table `null_comparison` -> head of its column, in percent but for the count of features.
PLANTED_AXES = {"planted": "found", "nothing planted": "others"}
OF_LAYER = {
    "features": "typed",
    "fresh isotropic": "isotr.",
    "fresh sign_flip": "flips",
    "fresh second_moment": "2nd m.",
}


def null_comparison(frame: pd.DataFrame) -> str:
    """What each null that could bound the types finds and lets through, a null a row, in percent.

    frame: table `null_comparison`, with planted cases first; of a layer the features that get a type are
    counted, and the rest are shares of fresh null directions.
    """
    nulls = list(dict.fromkeys(frame["null"]))
    asked = {key: part.set_index("null").loc[nulls] for key, part in frame.groupby(["case", "criterion"])}
    columns, groups = [Column("Beside isotropic", [_code(name) for name in nulls])], [("", 1)]
    for case in dict.fromkeys(frame["case"]):
        heads = PLANTED_AXES if (case, "planted") in asked else OF_LAYER
        for criterion, head in heads.items():
            cells = asked[case, criterion]
            if criterion == "features":
                columns.append(Column(head, [tex.count(int(n), bare=True) for n in cells["found"]], "S"))
            else:
                shown = [tex.percent(share, bare=True) for share in cells["share"]]
                columns.append(Column(head, shown, "S"))
        groups.append((tex.escape(hook_label(case) if heads is OF_LAYER else case), len(heads)))
    return tabular(columns, groups=groups, tabcolsep=3.5)
