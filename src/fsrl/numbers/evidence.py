"""The headlines about token sets, claims, thresholds, measured effects and planted truth (see
`fsrl.numbers.headlines`).

Importing this module registers them.
"""

import pandas as pd

from fsrl.enrichment.coverage import ANY, by_label
from fsrl.latex import text as tex
from fsrl.names import TYPES
from fsrl.numbers.headlines import StudyTables, Values, extremes, headline, listed
from fsrl.numbers.study import key_of, layer_name, words_of
from fsrl.tables.sensitivity import EVERY_NULL

VERDICTS = ("holds", "contradicted", "mixed", "undecided", "cannot speak", "by definition")
ACTIVE, STEP, ALL = "active", "+1", "all"
# Of the two tests of one claim the name of that by ranks ends so (`fsrl.claims.claims_list`).
BY_RANK = "_t"


def _correlation(value: float) -> str:
    return tex.number(value, digits=2)


@headline("pairs", "discoveries")
def pairs(tables: StudyTables) -> dict[str, str]:
    """Tests of a feature against a token set, and how many are significant (BH over the study), by sign and
    layer.
    """
    frame = tables.frame("discoveries")
    found = (frame["promoted"] + frame["suppressed"]).set_axis(frame["sae"])
    total = int(frame["tests"].sum())
    return extremes(found, tex.count, layer_name) | {
        "sets": tex.count(int(frame["sets"].max())),
        "tests": tex.count(total),
        "promoted": tex.count(int(frame["promoted"].sum())),
        "suppressed": tex.count(int(frame["suppressed"].sum())),
        "shuffled": tex.number(frame["shuffled"].sum(), digits=1),
        "turned": tex.number(frame["turned"].sum(), digits=1),
        "share": tex.percent(found.sum() / total, digits=2),
        "features": tex.count(int(frame["features"].sum())),
    }


@headline("coverage", "set_coverage")
def coverage(tables: StudyTables) -> dict[str, str]:
    """Features with a significant set, and how many of them have a type; the set of most features without."""
    found = by_label(tables.frame("set_coverage"))
    whole, sets = found.loc[ANY], found.drop(index=ANY)
    missed = sets.loc[sets["untyped"].idxmax()]
    return {
        "features": tex.count(int(whole["significant"])),
        "typed": tex.count(int(whole["typed"])),
        "share": tex.percent(whole["share"]) if whole["significant"] else tex.MISSING,
        "missed.set": tex.escape(str(missed.name)),
        "missed.untyped": tex.count(int(missed["untyped"])),
        "missed.features": tex.count(int(missed["significant"])),
    }


@headline("claim-tests", "claim_tests")
def claim_tests(tables: StudyTables) -> str:
    """Tests that Holm's correction runs over: every claim, scheme and layer that could speak."""
    return tex.count(int(tables.frame("claim_tests")["p"].notna().sum()))


def _sentence(rows: pd.DataFrame, everything: pd.DataFrame) -> str:
    """The claims of some rows, each once: type and statement, and by which test where its two tests
    disagree.
    """
    said = []
    for row in rows.itertuples():
        base = row.claim.removesuffix(BY_RANK)
        pair = everything[everything["claim"].isin([base, base + BY_RANK])]
        note = ""
        if pair["verdict"].nunique() > 1:
            note = " (by rank)" if row.claim.endswith(BY_RANK) else " (by significance)"
        said.append(f"{words_of(row.type)} \\emph{{{tex.escape(row.statement)}}}{note}")
    return listed(list(dict.fromkeys(said)))


@headline("claims", "claims")
def claims(tables: StudyTables) -> dict[str, str]:
    """Verdicts on the published claims, under the default scheme and under `post`: how many of each, and
    which.
    """
    values: dict[str, str] = {}
    for name, scheme in (("default", tables.scheme), ("post", "post")):
        rows = tables.frame("claims")[tables.frame("claims")["scheme"] == scheme]
        values[f"{name}.all"] = tex.count(len(rows))
        for verdict in VERDICTS:
            part = rows[rows["verdict"] == verdict]
            key = f"{name}.{verdict.replace(' ', '-')}"
            values[key] = tex.count(len(part))
            values[f"{key}.list"] = _sentence(part, rows)
    return values


@headline("tail", "sensitivity")
def tail(tables: StudyTables) -> dict[str, str]:
    """Members of each type over all layers as every null quantile of the scheme moves together: loosest, as
    in the config, strictest; and what the null that gives most would give.
    """
    frame = tables.frame("sensitivity")
    moved = frame[(frame["scheme"] == tables.scheme) & (frame["column"] == EVERY_NULL)]
    places = {"loosest": moved["factor"].max(), "config": 1.0, "strictest": moved["factor"].min()}
    values: dict[str, str] = {}
    for name, factor in places.items():
        sums = moved[moved["factor"] == factor].groupby("type")[["members", "expected"]].sum()
        for label, row in sums.reindex(list(TYPES)).iterrows():
            key = f"{name}.{key_of(str(label))}"
            values[key] = tex.count(row["members"])
            values[f"{key}.expected"] = tex.number(row["expected"], digits=1)
    return values


@headline("agreement", "agreement")
def agreement(tables: StudyTables) -> dict[str, str]:
    """Cohen's kappa of the primary labels, by layer: between the default scheme and `post`, and of the
    default scheme between the paper's view and the other one that is drawn.
    """
    frame = tables.frame("agreement")
    labels = frame[frame["type"] == "any"]
    ends = labels[["first", "second"]].apply(frozenset, axis=1)
    between = {
        "schemes": labels[(labels["compared"] == "schemes") & (ends == frozenset({"post", tables.scheme}))],
        "views": labels[
            (labels["compared"] == "views")
            & (labels["scheme"] == tables.scheme)
            & (ends == frozenset({tables.view, tables.other_view}))
        ],
    }
    values: dict[str, str] = {}
    for name, part in between.items():
        found = extremes(part.set_index("sae")["kappa"], _correlation, layer_name)
        values |= {f"{name}.{key}": value for key, value in found.items()}
    return values


def _effects(tables: StudyTables, label: str = ALL) -> pd.DataFrame:
    frame = tables.frame("effects")
    rows = frame[(frame["state"] == ACTIVE) & (frame["step"] == STEP) & (frame["type"] == label)]
    return rows.set_index("sae")


@headline("effect", "effects")
def effect(tables: StudyTables) -> Values:
    """Correlation of the measured change with the logit weights, by layer, at positions where the feature
    is active.
    """
    return extremes(_effects(tables)["pearson"], _correlation, layer_name)


@headline("effect-random", "effects")
def effect_random(tables: StudyTables) -> Values:
    """The same of random directions of the same norm at the same positions."""
    return extremes(_effects(tables)["random"], _correlation, layer_name)


@headline("effect-averaged", "effects")
def effect_averaged(tables: StudyTables) -> Values:
    """The same of the features when the change is averaged over positions before it is correlated."""
    return extremes(_effects(tables)["averaged_pearson"], _correlation, layer_name)


@headline("effect-difference", "effects")
def effect_difference(tables: StudyTables) -> dict[str, str]:
    """Layers in which features agree less, or more, with their weights than random directions do (the 95 %
    interval of the difference leaves zero out), and in which neither can be said.
    """
    rows = _effects(tables)
    less, more = rows["difference_high"] < 0, rows["difference_low"] > 0
    parts = {"less": less, "more": more, "neither": ~(less | more)}
    return {name: tex.count(int(part.sum())) for name, part in parts.items()} | {
        "measured": tex.count(len(rows))
    }


@headline("kept", "effects")
def kept(tables: StudyTables) -> dict[str, str]:
    """Share of active positions at which the measured change gets the type of the logit weights, by type
    and layer.
    """
    values: dict[str, str] = {}
    for name in TYPES:
        rows = _effects(tables, name)
        values[f"{key_of(name)}.features"] = tex.count(int(rows["features"].sum()))
        found = extremes(rows["kept"], lambda share: tex.percent(share, digits=0), layer_name)
        values |= {f"{key_of(name)}.{part}": value for part, value in found.items()}
    return values


@headline("planted", "recovery")
def planted(tables: StudyTables) -> dict[str, str]:
    """Planted types found again under the default scheme, of plants that clear the bounds at the greatest
    strength: worst precision and recall of a type at the smallest and at the largest planted share; and
    over all strengths, types together.
    """
    frame = tables.frame("recovery")
    clear = frame[(frame["scheme"] == tables.scheme) & (frame["population"] == "clear")]
    values: dict[str, str] = {}
    for name, share in (("few", clear["planted_share"].min()), ("many", clear["planted_share"].max())):
        part = clear[clear["planted_share"] == share]
        strongest = part[part["strength"] == part["strength"].max()]
        values[f"{name}.share"] = tex.percent(share, digits=0)
        for score in ("precision", "recall"):
            rows = strongest.set_index("type")[score]
            values |= {
                f"{name}.{score}.{end}": value for end, value in extremes(rows, tex.percent, words_of).items()
            }
        found = part[part["planted"] > 0]
        correct = found["correct"].sum()
        values[f"{name}.precision.pooled"] = tex.percent(correct / found["labelled"].sum())
        values[f"{name}.recall.pooled"] = tex.percent(correct / found["planted"].sum())
    return values


HEADLINES = (
    pairs,
    coverage,
    claim_tests,
    claims,
    tail,
    agreement,
    effect,
    effect_random,
    effect_averaged,
    effect_difference,
    kept,
    planted,
)
