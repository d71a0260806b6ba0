"""LaTeX tables of the published claims: what was tested, what came out, and what each scheme says."""

import re

import pandas as pd

from fsrl.claims import verdicts as judged
from fsrl.latex import text as tex
from fsrl.latex.table import Column, tabular
from fsrl.names import TYPES, type_label
from fsrl.types.select import of_scheme

SPEAKING = (judged.HOLDS, judged.CONTRADICTED, judged.UNDECIDED)
SHORT = {"odds ratio": "OR", "AUC": "AUC"}


def claims(frame: pd.DataFrame, scheme: str) -> str:
    """Each claim under one scheme: its test, median and range of the effect over the layers, the verdicts.

    frame: table `claims`. The effect (odds ratio, 1 for none; area under the curve, 0.5 for none) is over the
    layers that can speak; the counts are of layers where the claim holds, is contradicted, is undecided, and
    where too few features have the type.
    """
    rows = of_scheme(frame, scheme, "claims")
    verdicts = _by_type(judged.verdicts(rows))
    effects = [_effect(rows[rows["claim"] == claim]) for claim in verdicts["claim"]]
    columns = [
        Column("Claim", _indented(verdicts["statement"]), "32mm"),
        Column("Test", list(map(_mathematical, verdicts["test"])), "53mm"),
        Column("Effect (range)", effects, "l"),
        *(
            Column(head, [tex.count(count, bare=True) for count in verdicts[name]], "S")
            for head, name in (
                ("$+$", "holds"),
                ("$-$", "contradicted"),
                ("?", "undecided"),
                ("few", "cannot_speak"),
            )
        ),
        Column("Verdict", list(verdicts["verdict"])),
    ]
    groups = [("", 3), ("layers", 4), ("", 1)]
    return tabular(
        columns,
        groups=groups,
        headings=_headings(verdicts),
        spaces=range(1, len(verdicts)),
        space=1.5,
        size="scriptsize",
    )


def claims_by_scheme(frame: pd.DataFrame) -> str:
    """Each claim's verdict under every scheme, with the layers of that verdict among those that can speak."""
    verdicts = judged.verdicts(frame)
    schemes = list(dict.fromkeys(verdicts["scheme"]))
    # A claim may be missing under a scheme that lacks its type, so the rows are those of all schemes.
    rows = _by_type(verdicts.drop_duplicates("claim"))
    columns = [
        Column("Claim", _indented(rows["statement"]), "48mm"),
        Column("Measure", [tex.escape(name) for name in rows["measure"]]),
    ]
    for scheme in schemes:
        of = verdicts[verdicts["scheme"] == scheme].set_index("claim")
        cells = [_verdict(of.loc[claim]) if claim in of.index else tex.MISSING for claim in rows["claim"]]
        columns.append(Column(rf"\texttt{{{tex.escape(scheme)}}}", cells, "l"))
    return tabular(columns, headings=_headings(rows), tabcolsep=4)


def _by_type(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of the types; within a type as the claims are listed."""
    order = verdicts["type"].map({name: i for i, name in enumerate(TYPES)})
    return verdicts.assign(order=order).sort_values("order", kind="stable").reset_index(drop=True)


def _headings(verdicts: pd.DataFrame) -> dict[int, str]:
    first = verdicts.drop_duplicates("type")
    return {int(row): rf"\emph{{{type_label(name)}}}" for row, name in first["type"].items()}


def _indented(statements: pd.Series) -> list[str]:
    return [rf"\hangindent=1em\hangafter=0 {tex.escape(text)}" for text in statements]


def _mathematical(text: str) -> str:
    """A test's description with its t, |t|, eta^2 and other squares set as mathematics."""
    shown = (
        tex.escape(text)
        .replace("eta" + tex.PLAIN["^"] + "2", r"$\eta^2$")
        .replace(tex.PLAIN["^"] + "2", "$^2$")
    )
    bar = tex.PLAIN["|"]
    return re.sub(r"(?<=[ (])t(?=[ ,])", "$t$", shown.replace(f"{bar}t{bar}", "$|t|$"))


def _effect(rows: pd.DataFrame) -> str:
    """Median and range of the effect over the layers that can speak."""
    found = rows.loc[rows["verdict"].isin(SPEAKING), "effect"].dropna()
    if found.empty:
        return tex.MISSING
    measure = SHORT[rows["measure"].iloc[0]]
    # Odds ratios range over powers of ten, an AUC from 0 to 1.
    digits = 2 if measure == "AUC" else None
    middle, low, high = (
        tex.number(value, digits=digits, sig=2) for value in (found.median(), found.min(), found.max())
    )
    return f"{measure} {middle}" + (f" ({low}--{high})" if len(found) > 1 else "")


def _verdict(row: pd.Series) -> str:
    speaking = int(row[["holds", "contradicted", "undecided"]].sum())
    if not speaking:
        return str(row["verdict"])
    # A mixed verdict has layers of both kinds; it is said how many hold.
    counted = {judged.MIXED: "holds"}.get(row["verdict"], row["verdict"])
    return f"{row['verdict']} ({int(row[counted])}/{speaking})"
