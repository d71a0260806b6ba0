"""LaTeX tables of the published claims: what was tested, what came out, and what each scheme says."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from fsrl.claims import verdicts as judged
from fsrl.claims.claims_list import BY_RANK, COMPARED
from fsrl.latex import text as tex
from fsrl.latex.table import Column, tabular
from fsrl.names import TYPES, type_label
from fsrl.types.select import of_scheme

# Measure -> how an effect is written.
SHORT = {"odds ratio": "OR", "AUC": r"$\Delta$AUC"}
# Verdict on claims for which no layer speaks -> how the reader is told.
SILENT = {
    judged.CANNOT_SPEAK: "Too few features at every hook",
    judged.NO_NULL: "Too few null directions of the type at every hook that has the features",
    judged.BY_DEFINITION: "True or false by the rule of the type",
}
# An odds ratio whose interval spans more than this factor has no size that could be told.
WIDEST = 1e6
UNSPOKEN = "Under no scheme can a hook speak of"


def claims(summary: pd.DataFrame, scheme: str) -> str:
    """Each claim under one scheme: verdict, test, the effect over all layers with its interval, the layers.

    summary: table `claims_summary`. An effect is an odds ratio (1 for none), or an AUC less that of null
    directions of the type (0 for none). Claims for which no layer can speak are named below.
    """
    rows = _by_type(of_scheme(summary, scheme, "claims_summary"))
    found = rows[rows["layers"] > 0].reset_index(drop=True)
    effects, intervals = zip(*map(_effect, found.to_dict("records")), strict=True) if len(found) else ((), ())
    silent = found["cannot_speak"] + found["no_null"]
    counts = (("$+$", found["holds"]), ("$-$", found["contradicted"]), ("?", found["undecided"]))
    columns = [
        Column("Claim", _once(found), "44mm"),
        Column("Test", list(map(_tested, found["test"])), "65mm"),
        Column("Verdict", list(found["verdict"])),
        Column("Effect", effects, "l"),
        Column("", intervals, "l", near=True),
        *(
            Column(head, [tex.count(count, bare=True) for count in cells], "S")
            for head, cells in (*counts, ("few", silent))
        ),
    ]
    groups = [("", 5), ("hooks", 4)]
    return tabular(
        columns,
        groups=groups,
        headings=_headings(found),
        size="scriptsize",
        notes=_silent(rows),
        notes_width="168mm",
    )


def _silent(rows: pd.DataFrame) -> list[str]:
    """A paragraph for each reason why no layer speaks of some claims, and these."""
    notes = []
    for verdict, told in SILENT.items():
        if said := _named(rows[rows["verdict"] == verdict]):
            notes.append(f"{told}: {said}.")
    return notes


def _named(rows: pd.DataFrame) -> str:
    """The claims of some rows, each once, with the number of its tests."""
    said = []
    for (kind, statement), of in rows.groupby(["type", "statement"], sort=False):
        tests = f" ({len(of)} tests)" if len(of) > 1 else ""
        said.append(rf"{type_label(str(kind))} \emph{{{tex.escape(str(statement))}}}{tests}")
    return "; ".join(said)


def claims_by_scheme(summary: pd.DataFrame) -> str:
    """Each claim's verdict under every scheme, with the layers of that verdict among those that can speak.

    summary: table `claims_summary`.
    """
    schemes = list(dict.fromkeys(summary["scheme"]))
    # A claim may be missing under a scheme that lacks its type, so the rows are those of all schemes.
    spoken = summary.groupby("claim")["layers"].transform("sum") > 0
    rows = _by_type(summary[spoken].drop_duplicates("claim"))
    columns = [
        Column("Claim", _once(rows), "76mm"),
        Column("Measure", list(map(_measure, rows["claim"], rows["measure"]))),
    ]
    for scheme in schemes:
        of = summary[summary["scheme"] == scheme].set_index("claim")
        cells = [_verdict(of.loc[claim]) if claim in of.index else tex.MISSING for claim in rows["claim"]]
        columns.append(Column(rf"\texttt{{{tex.escape(scheme)}}}", cells, "l"))
    unspoken = _by_type(summary[~spoken].drop_duplicates("claim"))
    notes = [f"{UNSPOKEN}: {said}."] if (said := _named(unspoken)) else []
    return tabular(
        columns, headings=_headings(rows), tabcolsep=4, size="scriptsize", notes=notes, notes_width="150mm"
    )


def _measure(claim: str, measure: str) -> str:
    """A measure, and for one of several tests by rank of what."""
    of = next((f" of {shown}" for end, shown in BY_RANK.items() if claim.endswith(end)), "")
    return _mathematical(f"{measure}{of}")


def _by_type(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of the types; within a type as the claims are listed."""
    order = verdicts["type"].map({name: i for i, name in enumerate(TYPES)})
    return verdicts.assign(order=order).sort_values("order", kind="stable").reset_index(drop=True)


def _headings(verdicts: pd.DataFrame) -> dict[int, str]:
    first = verdicts.drop_duplicates("type")
    return {int(row): rf"\emph{{{type_label(name)}}}" for row, name in first["type"].items()}


def _once(rows: pd.DataFrame) -> list[str]:
    """Each row's statement, indented; nothing where the row before has the same one of the same type."""
    same = rows[["type", "statement"]].eq(rows[["type", "statement"]].shift()).all(axis=1)
    return [
        "" if again else rf"\hangindent=1em\hangafter=0 {tex.escape(text)}"
        for text, again in zip(rows["statement"], same, strict=True)
    ]


def _tested(test: str) -> str:
    """What a test compares, without the words that stand in the caption for all of them."""
    for told in COMPARED:
        test = test.removesuffix(told)
    return _mathematical(test.rstrip(","))


def _mathematical(text: str) -> str:
    """A test's description with its t, eta^2 and other squares set as mathematics."""
    shown = (
        tex.escape(text)
        .replace("eta" + tex.PLAIN["^"] + "2", r"$\eta^2$")
        .replace(tex.PLAIN["^"] + "2", "$^2$")
    )
    return re.sub(r"(?<= )t(?=[ ,]|$)", "$t$", shown)


def _effect(row: Mapping[Hashable, Any]) -> tuple[str, str]:
    """The effect over all layers, and its interval."""
    # Odds ratios range over powers of ten, an AUC from 0 to 1.
    by_rank = row["measure"] == "AUC"
    shown: dict[str, Any] = {"digits": 2, "sign": True} if by_rank else {"sig": 2}
    effect, low, high = (tex.number(row[name], **shown) for name in ("effect", "low", "high"))
    unsized = not by_rank and row["high"] > WIDEST * row["low"]
    return f"{SHORT[row['measure']]} {effect}", tex.MISSING if unsized else f"[{low}, {high}]"


def _verdict(row: pd.Series) -> str:
    if not row["layers"]:
        return str(row["verdict"])
    # A mixed verdict has layers of both kinds; it is said how many hold.
    counted = {judged.MIXED: "holds"}.get(row["verdict"], row["verdict"])
    return f"{row['verdict']} ({int(row[counted])}/{int(row['layers'])})"
