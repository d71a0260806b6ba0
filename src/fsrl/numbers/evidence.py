"""The headlines about claims, measured effects and planted truth (see `fsrl.numbers.headlines`).

Importing this module registers them.
"""

from typing import Any

import pandas as pd

from fsrl.effects.names import CORRECTED, FEATURE, OWN_MEAN, TRANSPORTED
from fsrl.latex import text as tex
from fsrl.names import TYPES
from fsrl.numbers.headlines import StudyTables, Values, extremes, headline, listed
from fsrl.numbers.study import key_of, layer_name, typed_shares, words_of

# Verdict -> what is said of several tests with it, and of one.
VERDICTS = {
    "holds": ("hold", "holds"),
    "contradicted": ("are contradicted", "is contradicted"),
    "mixed": ("differ between hooks", "differs between hooks"),
    "undecided": ("are undecided", "is undecided"),
    "cannot speak": ("lack the features to be asked", "lacks the features to be asked"),
    "no null": ("have no null to stand beside", "has no null to stand beside"),
    "by definition": ("are fixed by the rules themselves", "is fixed by the rules themselves"),
}
ACTIVE, STEP, ALL = "active", "+1", "all"
# The tests of one statement, by how the claim's name ends (`fsrl.claims.claims_list`).
ASKED = {"": "by significance", "_t": "by $t$", "_eta2": r"by $\eta^2$"}


def _correlation(value: float) -> str:
    return tex.number(value, digits=2)


@headline("claim-tests", "claim_tests")
def claim_tests(tables: StudyTables) -> str:
    """Tests that Holm's correction runs over: every claim, scheme and layer that could speak."""
    return tex.count(int(tables.frame("claim_tests")["p"].notna().sum()))


def _asked(claim: str) -> tuple[str, str]:
    """What a claim is called without its test, and how it is tested."""
    end = next((end for end in ASKED if end and claim.endswith(end)), "")
    return claim.removesuffix(end), end


def _sentence(rows: pd.DataFrame, everything: pd.DataFrame) -> str:
    """The claims of some rows, each once: type and statement, and by which tests where others come to another
    verdict.
    """
    every = [_asked(claim) for claim in everything["claim"]]
    mine = [_asked(claim) for claim in rows["claim"]]
    said = {}
    for (base, _), kind, statement in zip(mine, rows["type"], rows["statement"], strict=True):
        tests = [end for name, end in mine if name == base]
        whole = len(tests) == sum(name == base for name, _ in every)
        note = "" if whole else f" ({listed([ASKED[end] for end in tests])})"
        said[base] = f"{words_of(kind)} \\emph{{{tex.escape(statement)}}}{note}"
    return listed(list(said.values()))


@headline("claims", "claims")
def claims(tables: StudyTables) -> dict[str, str]:
    """Verdicts on the published claims, under the default scheme and under `post`: how many of each, and
    which.
    """
    values: dict[str, str] = {}
    for name, scheme in (("default", tables.scheme), ("post", "post")):
        rows = tables.frame("claims")[tables.frame("claims")["scheme"] == scheme]
        values[f"{name}.all"] = tex.count(len(rows))
        said = []
        for verdict, (several, one) in VERDICTS.items():
            part = rows[rows["verdict"] == verdict]
            key = f"{name}.{verdict.replace(' ', '-')}"
            values[key] = tex.count(len(part))
            values[f"{key}.list"] = _sentence(part, rows)
            said += [f"{tex.count(len(part))} {one if len(part) == 1 else several}"] if len(part) else []
        values[f"{name}.verdicts"] = listed(said)
    return values


@headline("claim", "claims")
def claim(tables: StudyTables) -> dict[str, str]:
    """Each claim under the default scheme: verdict, layers that can speak, the effect over them (odds ratio,
    or AUC less that of null directions of the type) and its interval.
    """
    frame = tables.frame("claims")
    values: dict[str, str] = {}
    for row in frame[frame["scheme"] == tables.scheme].itertuples():
        key = key_of(str(row.claim))
        by_rank = row.measure == "AUC"
        shown: dict[str, Any] = {"digits": 2, "sign": True} if by_rank else {"sig": 2}
        low, high = (tex.number(end, **shown) for end in (row.low, row.high))
        values[f"{key}.verdict"] = str(row.verdict)
        values[f"{key}.layers"] = tex.count(row.layers)
        values[f"{key}.effect"] = tex.number(row.effect, **shown)
        values[f"{key}.interval"] = f"[{low}, {high}]"
    return values


def _effects(tables: StudyTables, label: str = ALL) -> pd.DataFrame:
    frame = tables.frame("effects")
    rows = frame[(frame["state"] == ACTIVE) & (frame["step"] == STEP) & (frame["type"] == label)]
    return rows.set_index("sae")


@headline("effect", "effects", "summary")
def effect(tables: StudyTables) -> Values:
    """Correlation of the measured change with the logit weights, by layer, at positions where the feature
    is active; and in the layer with the largest share of typed features (most-typed).
    """
    found = _effects(tables)["pearson"]
    most_typed = found.reindex([typed_shares(tables.summary).idxmax()]).iloc[0]
    return extremes(found, _correlation, layer_name) | {"most-typed": _correlation(most_typed)}


@headline("effect-random", "effects")
def effect_random(tables: StudyTables) -> Values:
    """The same of random directions of the same norm at the same positions."""
    return extremes(_effects(tables)["random"], _correlation, layer_name)


@headline("effect-matched", "effects")
def effect_matched(tables: StudyTables) -> Values:
    """The same of random directions that also have the feature's cosine with the stream there."""
    return extremes(_effects(tables)["matched"], _correlation, layer_name)


def _by_hook(tables: StudyTables, prediction: str) -> pd.DataFrame:
    frame = tables.frame("by_hook")
    rows = frame[(frame["state"] == ACTIVE) & (frame["step"] == STEP) & (frame["direction"] == FEATURE)]
    return rows[rows["prediction"] == prediction].set_index("sae")


@headline("effect-transported", "by_hook")
def effect_transported(tables: StudyTables) -> Values:
    """Correlation of the measured change with what T predicts, where the feature is active, by layer; and in
    how many layers it is above that of the logit weights, and below that of matched controls, by the 95 %
    interval of the difference, and above that of logit weights with the final LayerNorm's derivative in them,
    which T has in it too (over-corrected; the numbers as they are).
    """
    rows = _by_hook(tables, TRANSPORTED)
    corrected = _by_hook(tables, CORRECTED)["pearson"].reindex(rows.index)
    values = dict(extremes(rows["pearson"], _correlation, layer_name))
    counted = {"better": rows["over_direct_low"] > 0, "below-matched": rows["over_matched_high"] < 0}
    counted["over-corrected"] = rows["pearson"] > corrected
    values |= {name: tex.count(int(part.sum())) for name, part in counted.items()}
    nearer = int(counted["better"].sum())
    values["verdict"] = (
        "come nearer to the model" if 2 * nearer > len(rows) else "come no nearer to the model"
    )
    if 0 < 2 * nearer <= len(rows):
        values["verdict"] = "come nearer to the model at some hooks alone"
    slopes = extremes(rows["slope"], _correlation, layer_name)
    values |= {f"slope.{name}": value for name, value in slopes.items()}
    values |= {"first": tex.number(rows["pearson"].iloc[0], digits=2) if len(rows) else ""}
    return values | {"measured": tex.count(len(rows))}


@headline("effect-own", "by_hook")
def effect_own(tables: StudyTables) -> Values:
    """The same of the mean Jacobian of the feature's other positions."""
    return extremes(_by_hook(tables, OWN_MEAN)["pearson"], _correlation, layer_name)


@headline("effect-averaged", "effects")
def effect_averaged(tables: StudyTables) -> Values:
    """The same of the features when the change is averaged over positions before it is correlated."""
    return extremes(_effects(tables)["averaged_pearson"], _correlation, layer_name)


@headline("effect-difference", "effects")
def effect_difference(tables: StudyTables) -> dict[str, str]:
    """Layers in which features agree less, or more, with their weights than matched controls do (the 95 %
    interval of the difference leaves zero out), in which neither can be said, and in which not more.
    """
    rows = _effects(tables)
    less, more = rows["difference_high"] < 0, rows["difference_low"] > 0
    parts = {"less": less, "more": more, "neither": ~(less | more), "not-more": ~more}
    return {name: tex.count(int(part.sum())) for name, part in parts.items()} | {
        "measured": tex.count(len(rows))
    }


# A share over fewer features of a type and hook is that of single features, and is not told.
FEWEST = 5


@headline("kept", "effects")
def kept(tables: StudyTables) -> dict[str, str]:
    """Share of active positions at which the measured change gets the type of the logit weights, by type
    and layer, over the layers with `FEWEST` measured features of the type; of each type the features measured
    there, and both in words (said), with all that were measured where no layer has so many.
    """
    values = {"fewest": tex.count(FEWEST)}
    for name in TYPES:
        rows = _effects(tables, name)
        enough = rows[rows["features"] >= FEWEST]
        found = extremes(enough["kept"], lambda share: tex.percent(share, digits=0), layer_name)
        told = found | {"features": tex.count(int(enough["features"].sum()))}
        told["said"] = f"{told['range']}, {told['features']} features"
        if enough.empty:
            told["said"] = f"too few measured ({tex.count(int(rows['features'].sum()))})"
        values |= {f"{key_of(name)}.{part}": value for part, value in told.items()}
    return values


# Where both groups are forecast to this rank correlation nothing lies between: the forecast is the score.
THE_SCORE = 0.999


def _forecasts(tables: StudyTables, direction: str, weights: str = "direct") -> pd.DataFrame:
    frame = tables.frame("forecasts")
    return frame[(frame["direction"] == direction) & (frame["weights"] == weights)].set_index("sae")


def _better(at: "pd.Series[bool]", than: str) -> str:
    """What is said where something is better than another thing at these hooks."""
    if at.empty:
        return tex.MISSING
    if not at.any():
        return f"no better than {than} at any of {tex.count(len(at))} hooks"
    return f"better than {than} at {tex.count(int(at.sum()))} of {tex.count(len(at))} hooks"


@headline("forecast", "forecasts")
def forecast(tables: StudyTables) -> dict[str, str]:
    """Rank correlation of the output score with its forecast from direct weights, by hook: of features, and
    of random directions of the same norms. At how many hooks it is better over features, and transported
    weights forecast better and worse, by the 95 % interval of the difference; and that in words (verdict).
    Hooks whose direct forecast is the score itself are not counted.
    """
    feature, random = (_forecasts(tables, direction)["spearman"] for direction in ("feature", "random"))
    values = dict(extremes(feature, _correlation, layer_name))
    values |= {f"random.{name}": value for name, value in extremes(random, _correlation, layer_name).items()}
    counted = feature.notna() & ~((feature > THE_SCORE) & (random > THE_SCORE))
    over = _forecasts(tables, "feature")[counted]["spearman_over_random_low"] > 0
    moved = _forecasts(tables, "feature", "transported")[counted].dropna(subset="spearman_gain")
    gains, losses = moved["spearman_gain_low"] > 0, moved["spearman_gain_high"] < 0
    numbers = {
        "measured": len(over),
        "better": over.sum(),
        "no-better": (~over).sum(),
        "transported.measured": len(moved),
        "transported.better": gains.sum(),
        "transported.worse": losses.sum(),
    }
    values |= {name: tex.count(int(number)) for name, number in numbers.items()}
    verdicts = {"verdict": _better(over, "random directions")}
    return values | verdicts | {"transported.verdict": _better(gains, "direct ones")}


@headline("next-token", "next_token")
def next_token(tables: StudyTables) -> dict[str, str]:
    """Percentile of the next token where a feature fires, less its base rate: direct and transported."""
    frame = tables.frame("next_token").set_index("sae")
    values: dict[str, str] = {}
    for name in ("direct", "transported"):
        found = extremes(frame[f"{name}_gain"], _correlation, layer_name)
        values |= {f"{name}.{part}": value for part, value in found.items()}
    return values


@headline("planted", "recovery")
def planted(tables: StudyTables) -> dict[str, str]:
    """Planted types found again under the default scheme, of all plants: precision and recall of each type
    with their intervals, at the middle one of the strengths and of the planted shares (even: of partitions of
    a quarter of the vocabulary or more); the precision of local context over the strengths below that one
    (weaker); over all types and strengths, at the smallest and the largest share, and there what is found of
    clear plants; and how many plants of how many are labelled two_sided.
    """
    frame = tables.frame("recovery")
    mine = frame[frame["scheme"] == tables.scheme]
    strengths, shares = (sorted(mine[name].unique()) for name in ("strength", "planted_share"))
    strength, share = (values[len(values) // 2] for values in (strengths, shares))
    values = {"strength": rf"\num{{{strength:g}}}", "share": tex.percent(share, digits=0)}
    at = mine[(mine["strength"] == strength) & (mine["planted_share"] == share)]
    at = at.set_index(["population", "type"])
    asked = {key_of(name): ("all", name) for name in TYPES} | {"even": ("even", "partition")}
    for key, row in asked.items():
        for score in ("precision", "recall"):
            found = at.loc[row]
            values[f"{key}.{score}"] = tex.percent(found[score], digits=0)
            ends = (100 * found[f"{score}_{end}"] for end in ("low", "high"))
            values[f"{key}.{score}.interval"] = tex.interval(*ends, digits=0)
    weaker = mine[(mine["strength"] < strength) & (mine["planted_share"] == share)]
    weaker = weaker[(weaker["population"] == "all") & (weaker["type"] == "local_context")]
    precision = _ratio(weaker["correct"].sum(), weaker["labelled"].sum())
    values["weaker.local-context.precision"] = tex.percent(precision, digits=0)
    values |= _pooled_over_plants(mine, "few", shares[0]) | _pooled_over_plants(mine, "many", shares[-1])
    everything = mine[mine["population"] == "all"]
    values["two-sided"] = tex.count(int(everything["two_sided"].sum()))
    return values | {"plants": tex.count(int(everything["planted"].sum()))}


def _pooled_over_plants(recovery: pd.DataFrame, name: str, share: float) -> dict[str, str]:
    """Precision and recall over all types and strengths at one planted share, of all plants and of clear."""
    there = recovery[recovery["planted_share"] == share]
    values = {f"{name}.share": tex.percent(share, digits=0)}
    for population in ("all", "clear"):
        rows = there[(there["population"] == population) & (there["planted"] > 0)]
        prefix = name if population == "all" else f"{name}.clear"
        correct = rows["correct"].sum()
        values[f"{prefix}.precision.pooled"] = tex.percent(_ratio(correct, rows["labelled"].sum()))
        values[f"{prefix}.recall.pooled"] = tex.percent(_ratio(correct, rows["planted"].sum()))
    return values


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


HEADLINES = (
    claim_tests,
    claims,
    claim,
    effect,
    effect_random,
    effect_matched,
    effect_transported,
    effect_own,
    effect_averaged,
    effect_difference,
    kept,
    forecast,
    next_token,
    planted,
)
