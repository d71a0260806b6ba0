"""What the paper says of a study in numbers: its headlines, one function each (see `fsrl.numbers.headlines`).

Layers are called as figures call them ("5 post").
"""

import json

import pandas as pd

from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.names import BOUNDING, SHARED, TYPES, type_label
from fsrl.numbers.headlines import StudyTables, extremes, headline, listed
from fsrl.stats import quantiles
from fsrl.types.dictionaries import ALL_LAYERS, TYPED
from fsrl.types.select import chance_by_kind
from fsrl.types.summary import TAIL


def layer_name(sae: str) -> str:
    """The SAE's short name, escaped."""
    return tex.escape(hook_label(sae))


def key_of(label: str) -> str:
    """A type or kind as part of a key."""
    return label.replace("_", "-")


def words_of(label: str) -> str:
    """A type, kind or verdict as words."""
    return tex.escape(type_label(label))


def _range(values: "pd.Series[int]") -> str:
    low, high = int(values.min()), int(values.max())
    return tex.count(low) if low == high else f"{tex.count(low)} to {tex.count(high)}"


@headline("name", "metadata")
def names(tables: StudyTables) -> dict[str, str]:
    """The study's title and view, and its first, middle and last layer (those whose figures the paper
    shows).
    """
    first, *_ = tables.metadata.values()
    saes = tables.saes
    chosen = {"first": saes[0], "middle": saes[len(saes) // 2], "last": saes[-1]}
    text = {"title": tables.title, "view": tables.view, "model": first["model"], "release": first["release"]}
    text |= {"other-view": tables.other_view or "", "scheme": tables.scheme}
    values = {name: tex.escape(value) for name, value in text.items() if value}
    return values | {name: layer_name(sae) for name, sae in chosen.items()}


@headline("layers", "metadata")
def layers(tables: StudyTables) -> str:
    """How many SAEs (or layers of neurons) the study has."""
    return tex.count(len(tables.metadata))


@headline("features", "summary")
def features(tables: StudyTables) -> dict[str, str]:
    """Features in all, and of a layer (a range where layers differ)."""
    number = tables.summary["features"]
    return {"total": tex.count(int(number.sum())), "each": _range(number)}


@headline("size", "metadata")
def size(tables: StudyTables) -> dict[str, str]:
    """Width of the residual stream and size of the vocabulary."""
    first, *_ = tables.metadata.values()
    return {key: tex.count(int(first[key.replace("-", "_")])) for key in ("d-model", "d-vocab")}


@headline("tokens", "tokens", "metadata")
def tokens(tables: StudyTables) -> dict[str, str]:
    """Tokens that the view `trained` keeps and leaves out, by which rule."""
    kept = tables.tokens["trained"].fillna(True).astype(bool)
    first, *_ = tables.metadata.values()
    return {
        "kept": tex.count(int(kept.sum())),
        "left-out": tex.count(int((~kept).sum())),
        "left-out.share": tex.percent(float((~kept).mean())),
        "rule": tex.escape(first["trained_tokens"].split(":")[0]),
    }


@headline("right-skewed", "moments")
def right_skewed(tables: StudyTables) -> dict[str, str]:
    """Share of a layer's features with positive skewness."""
    shares = pd.Series({sae: (frame["skewness"] > 0).mean() for sae, frame in tables.moments.items()})
    return extremes(shares, tex.percent, layer_name)


@headline("median-kurtosis", "moments")
def median_kurtosis(tables: StudyTables) -> dict[str, str]:
    """A layer's median kurtosis."""
    medians = pd.Series({sae: frame["kurtosis"].median() for sae, frame in tables.moments.items()})
    return extremes(medians, lambda value: tex.number(value, digits=2), layer_name)


def _beyond(tables: StudyTables, column: str) -> dict[str, str]:
    return extremes(tables.summary.set_index("sae")[column], tex.percent, layer_name)


@headline("kurtosis-isotropic", "summary")
def kurtosis_isotropic(tables: StudyTables) -> dict[str, str]:
    """Share of a layer's features with kurtosis above the 0.999 quantile of isotropic directions."""
    return _beyond(tables, "kurtosis_above")


@headline("kurtosis-every", "summary")
def kurtosis_every(tables: StudyTables) -> dict[str, str]:
    """The same above that quantile of every null that bounds the types."""
    return _beyond(tables, "kurtosis_above_every_null")


@headline("skewness-isotropic", "summary")
def skewness_isotropic(tables: StudyTables) -> dict[str, str]:
    """Share of a layer's features with skewness above the 0.999 quantile of isotropic directions."""
    return _beyond(tables, "skewness_above")


@headline("skewness-every", "summary")
def skewness_every(tables: StudyTables) -> dict[str, str]:
    """The same above that quantile of every null that bounds the types."""
    return _beyond(tables, "skewness_above_every_null")


@headline("shape", "summary")
def shape(tables: StudyTables) -> dict[str, str]:
    """Features whose kurtosis exceeds that quantile of isotropic directions, over all hooks; of these, those
    beyond every null that bounds the types; at how many hooks (of those measured) these are fewer (lost), and
    at how many beside the one with the largest share beyond isotropic directions (lost-elsewhere).
    """
    frame = tables.summary.set_index("sae")
    columns = {"isotropic": "kurtosis_above", "every": "kurtosis_above_every_null"}
    counts = {name: (frame[column] * frame["features"]).round() for name, column in columns.items()}
    lost = counts["every"] < counts["isotropic"]
    elsewhere = lost.drop(index=frame["kurtosis_above"].idxmax())
    parts = {name: of.sum() for name, of in counts.items()}
    parts |= {"measured": len(frame), "lost": lost.sum(), "lost-elsewhere": elsewhere.sum()}
    return {name: tex.count(int(number)) for name, number in parts.items()}


def typed_features(summary: pd.DataFrame) -> "pd.Series[int]":
    """How many features have a type, by SAE id; summary: as of `StudyTables`, a row a layer."""
    known = [name for name in TYPES if name in summary]
    return summary.set_index("sae")[known].sum(axis=1)


def typed_shares(summary: pd.DataFrame) -> "pd.Series[float]":
    """Which share of a layer's features has a type, by SAE id."""
    return typed_features(summary) / summary.set_index("sae")["features"]


def _typed(summary: pd.DataFrame) -> dict[str, str]:
    total, everything = typed_features(summary), summary["features"]
    return {"total": tex.count(int(total.sum())), "share": tex.percent(total.sum() / everything.sum())}


def _by_chance(tables: StudyTables) -> pd.DataFrame:
    """A row a type, a column a bounding kind of null: `chance_by_kind` over all hooks."""
    return chance_by_kind(list(tables.null_counts.values()), tables.scheme)


@headline("typed", "summary", "null_counts")
def typed(tables: StudyTables) -> dict[str, str]:
    """Features with a type under the default scheme, in all and by hook; how many fresh null directions get
    one by the hooks' bounds: summed over types and hooks for each bounding kind, of which the most; and which
    share of all of them lies in the hook with the largest share (most.of-all).
    """
    known = [name for name in TYPES if name in tables.summary]
    shares, counts = typed_shares(tables.summary), typed_features(tables.summary)
    chance = _by_chance(tables).loc[known].sum()
    found = _typed(tables.summary) | {"expected": tex.number(float(chance.max()), digits=1)}
    whole = counts.sum()
    found["most.of-all"] = tex.percent(counts[shares.idxmax()] / whole) if whole else tex.MISSING
    return found | extremes(shares, tex.percent, layer_name)


@headline("typed-other", "other_summary")
def typed_other(tables: StudyTables) -> dict[str, str]:
    """How many have one in the other view that is drawn."""
    return _typed(tables.frame("other_summary"))


@headline("type", "summary", "null_counts")
def types(tables: StudyTables) -> dict[str, str]:
    """Features of each type over all hooks, what chance gives as for `typed`, and the hook with most."""
    values: dict[str, str] = {}
    summary, chance = tables.summary.set_index("sae"), _by_chance(tables)
    for name in TYPES:
        key = key_of(name)
        if name not in summary:
            parts = ("total", "expected", "most", "most.layer")
            values |= dict.fromkeys((f"{key}.{part}" for part in parts), tex.MISSING)
            continue
        values[f"{key}.total"] = tex.count(int(summary[name].sum()))
        values[f"{key}.expected"] = tex.number(float(chance.loc[name].max()), digits=1)
        most = extremes(summary[name], tex.count, layer_name)
        values |= {f"{key}.{part}": most[part] for part in ("most", "most.layer")}
    return values


@headline("dictionaries", "dictionaries")
def dictionaries(tables: StudyTables) -> dict[str, str]:
    """The model's other dictionaries in a sentence: of each its features of any type and of each type over
    its layers, with what chance gives, of the bounding null that gives most of it, in brackets.
    """
    frame = tables.frame("dictionaries")
    others = frame[(frame["sae"] == ALL_LAYERS) & (frame["study"] != tables.study)]
    told = []
    for study, rows in others.groupby("study", sort=False):
        of = rows.set_index("type")

        def counted(name: str, of: pd.DataFrame = of) -> str:
            given = tex.number(of.at[name, "expected"], digits=1)
            return f"{tex.count(of.at[name, 'features'])} {words_of(name)} ({given})"

        title = tex.escape(tables.titles.get(str(study), str(study)))
        share = tex.percent(of.at[TYPED, "share"])
        whole = f"{counted(TYPED)} of {tex.count(of.at[TYPED, 'size'])} features ({share})"
        types = listed([counted(name) for name in TYPES if name in of.index])
        told.append(rf"\emph{{{title}}} has {whole}: {types}")
    return {"told": "; ".join(told)}


@headline("above-chance", "stability")
def above_chance(tables: StudyTables) -> dict[str, str]:
    """Layers with more features of a type than the 0.999 quantile of what chance gives at its bounds;
    which types have such layers, and which have none.
    """
    rows = tables.frame("stability")[tables.frame("stability")["scheme"] == tables.scheme]
    counted = rows.set_index("type")["layers_above_chance"].reindex(list(TYPES))
    some, none = counted[counted > 0], counted[counted == 0]
    found = [f"{words_of(str(name))} {tex.count(value)}" for name, value in some.items()]
    return {key_of(str(name)): tex.count(value) for name, value in counted.items()} | {
        "found": listed(found),
        "not-found": listed([words_of(str(name)) for name in none.index]),
    }


@headline("decided", "thresholds")
def decided(tables: StudyTables) -> dict[str, str]:
    """How many tails' bounds of the default scheme, over layers and types, each bounding null decided (was
    the more extreme).
    """
    frame = pd.concat(list(tables.thresholds.values()))
    kinds = frame.loc[(frame["scheme"] == tables.scheme) & frame["kind"].notna(), "kind"]
    values = {key_of(kind): tex.count(int((kinds == kind).sum())) for kind in BOUNDING}
    most = kinds.mode().min() if len(kinds) else tex.MISSING
    return values | {"total": tex.count(len(kinds)), "most": words_of(str(most))}


def _tail_of_kurtosis(null: pd.DataFrame) -> float:
    return quantiles.quantile(null[null["kind"] == SHARED], "kurtosis", TAIL)


def _null_kurtosis(null: pd.DataFrame) -> dict[str, str]:
    shared = null[null["kind"] == SHARED]
    return {
        "value": tex.number(_tail_of_kurtosis(null), digits=2),
        "error": tex.number(quantiles.quantile_error(shared, "kurtosis", TAIL), digits=2),
    }


@headline("null-kurtosis", "null")
def null_kurtosis(tables: StudyTables) -> dict[str, str]:
    """The 0.999 quantile of the kurtosis of isotropic directions in the paper's view, and its Monte Carlo
    error.
    """
    return _null_kurtosis(tables.null)


@headline("null-kurtosis-other", "other_null", "null")
def null_kurtosis_other(tables: StudyTables) -> dict[str, str]:
    """The same in the other view that is drawn, and what the tokens do to it that the paper's view leaves out
    (verdict: by less than a tenth of the quantile is hardly).
    """
    other = tables.frame("other_null")
    here, there = (_tail_of_kurtosis(null) for null in (tables.null, other))
    verdict = "hardly change"
    if abs(there - here) > 0.1 * here:
        verdict = "raise" if there > here else "lower"
    return _null_kurtosis(other) | {"verdict": verdict}


@headline("provenance", "metadata")
def provenance(tables: StudyTables) -> dict[str, str]:
    """Versions and revisions, as the first layer's moments record them."""
    first, *_ = tables.metadata.values()
    view = json.loads(first["view"])
    versions = [
        f"{name} {first[name]}" for name in ("transformer-lens", "sae-lens", "torch") if name in first
    ]
    return {
        "revision": tex.escape(first["model_revision"]),
        "w-u": tex.escape(view["w_u"]),
        "precision": tex.escape(first["precision"]),
        "versions": tex.escape(listed(versions)),
    }


HEADLINES = (
    names,
    layers,
    features,
    size,
    tokens,
    right_skewed,
    median_kurtosis,
    kurtosis_isotropic,
    kurtosis_every,
    skewness_isotropic,
    skewness_every,
    shape,
    typed,
    typed_other,
    types,
    dictionaries,
    above_chance,
    decided,
    null_kurtosis,
    null_kurtosis_other,
    provenance,
)
