"""What Bloom & Lin (2024) say of the four types, as tests that do not use the moments which define a type.

A claim compares the features of a type with those that no type of the scheme claims. What it looks at is a
number per feature: a yes or no (then the measure is an odds ratio) or a value to be ranked (an AUC). Where
the scheme's rule for the type already speaks of the column that a claim looks at, the claim is true or false
by definition and is not tested. `two_sided` is our own type, and so is what is claimed of it.

What a feature promotes is asked three times. Is a set significant: few features reach that. Is its t larger
(the name ends in _t): this needs fewer features, but t discounts what the rows of a layer share, so that a
split which many of them make has a small t. Is its eta^2 larger (_eta2), the share of the variance of the
logit weights that the set explains, which discounts nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int, Shaped

from fsrl.names import TYPES, UNCLASSIFIED

BRACKETS_QUOTES = ("bracket_open", "bracket_close", "quote")
SPACING_CAPITALS = ("starts_with_space", "starts_with_capital", "all_caps", "lower_case")
DIGITS = ("digits", "digits_1", "digits_2", "digits_3", "digits_4_up", "year")
VERBS = (
    "verb",
    "verb_only",
    "verb_base",
    "verb_third_person",
    "verb_past",
    "verb_past_participle",
    "verb_gerund",
)
BIMODAL = "partition_bimodal"


@dataclass(frozen=True, eq=False)
class ClaimInputs:
    """What the claims look at in one layer and view, or in null directions; `sets` names columns.

    moments, types: the tables (types with every scheme); promoted, suppressed: significantly so; dip: of the
    feature its quantile among null directions, NaN where it was not measured; matched: the sample beside the
    partition features.
    """

    sae: str
    moments: pd.DataFrame
    types: pd.DataFrame
    clusters: Int[np.ndarray, "features"]
    sets: Sequence[str]
    promoted: Bool[np.ndarray, "features n_sets"]
    suppressed: Bool[np.ndarray, "features n_sets"]
    t: Float[np.ndarray, "features n_sets"]
    eta2: Float[np.ndarray, "features n_sets"]
    dip: Float64[np.ndarray, "features"]
    matched: Bool[np.ndarray, "features"]


# Of each feature its label under the scheme, and what a claim looks at (NaN: unknown), read from both.
Labels = Shaped[np.ndarray, "features"]
Values = Float64[np.ndarray, "features"]
Value = Callable[[ClaimInputs, Labels], Values]


@dataclass(frozen=True)
class Claim:
    """higher: the claim says that the type has more of it; reads: the moment it looks at, if any."""

    name: str
    type: str
    statement: str
    test: str
    measure: str  # odds ratio or AUC
    higher: bool
    value: Value
    reads: str | None = None


def _columns(layer: ClaimInputs, names: Sequence[str]) -> list[int]:
    return [number for number, name in enumerate(layer.sets) if name in names]


def _of_sets(names: Sequence[str] | None, read: Callable[[ClaimInputs, list[int]], Values]) -> Value:
    """What is read of the sets (None: of all); unknown where the vocabulary has none of them."""

    def value(layer: ClaimInputs, labels: Labels) -> Values:
        columns = list(range(len(layer.sets))) if names is None else _columns(layer, names)
        return read(layer, columns) if columns else np.full(len(labels), np.nan)

    return value


def _flag(side: str, names: Sequence[str] | None) -> Value:
    """Is one of the sets significant on this side ("either": on one of them; "both": on each of them)?"""

    def read(layer: ClaimInputs, columns: list[int]) -> Values:
        """1 or 0 of each feature."""
        up, down = (one[:, columns].any(axis=1) for one in (layer.promoted, layer.suppressed))
        return {"promoted": up, "suppressed": down, "either": up | down, "both": up & down}[side].astype(
            float
        )

    return _of_sets(names, read)


def _extreme(name: str, side: str, names: Sequence[str] | None) -> Value:
    """The largest t or eta^2 among sets: of promoted ones (t > 0), of suppressed ones, of either, or the
    smaller of the largest of both. Of the wrong side values are negative.
    """

    def read(layer: ClaimInputs, columns: list[int]) -> Values:
        """Of each feature the largest; NaN where none is known."""
        t = layer.t[:, columns]
        signed = t if name == "t" else np.sign(t) * layer.eta2[:, columns]
        # Of no set: unknown, and no largest value.
        known = ~np.isnan(signed)
        up, down = (np.where(known, sign * signed, -np.inf).max(axis=1) for sign in (1, -1))
        sides = {"promoted": up, "suppressed": down, "either": np.maximum(up, down)}
        found = sides.get(side, np.minimum(up, down)).astype(float)
        return np.where(known.any(axis=1), found, np.nan)

    return _of_sets(names, read)


def _column(name: str) -> Value:
    return lambda layer, labels: layer.moments[name].to_numpy(dtype=float)


def _relative_std(layer: ClaimInputs, labels: Labels) -> Values:
    norm = layer.moments["norm"].to_numpy(dtype=float)
    return layer.moments["std"].to_numpy(dtype=float) / np.where(norm == 0, np.nan, norm)


def _moderate_std(layer: ClaimInputs, labels: Labels) -> Values:
    values = _relative_std(layer, labels)
    reference = values[(labels == UNCLASSIFIED) & ~np.isnan(values)]
    if not len(reference):
        return np.full(len(labels), np.nan)
    low, high = np.quantile(reference, [0.25, 0.75])
    return np.where(np.isnan(values), np.nan, ((values >= low) & (values <= high)).astype(float))


def _dip(layer: ClaimInputs, labels: Labels) -> Values:
    return layer.dip


# How a test's description ends: what the type is compared with.
COMPARED = (
    " more often than unclassified",
    " is higher than for unclassified",
    " is lower than for unclassified",
)
_OFTEN, _HIGHER, _LOWER = COMPARED


def _often(name: str, kind: str, statement: str, what: str, value: Value, reads: str | None = None) -> Claim:
    return Claim(name, kind, statement, f"{what}{_OFTEN}", "odds ratio", True, value, reads)


def _higher(name: str, kind: str, statement: str, what: str, value: Value, reads: str | None = None) -> Claim:
    return Claim(name, kind, statement, f"{what}{_HIGHER}", "AUC", True, value, reads)


def _lower(name: str, kind: str, statement: str, what: str, value: Value, reads: str | None = None) -> Claim:
    return Claim(name, kind, statement, f"{what}{_LOWER}", "AUC", False, value, reads)


PARTITION, TWO_SIDED, LOCAL, PREDICTION, SUPPRESSION = TYPES
_SPACING = "sets of spacing and case"
# Type, name, statement, side of the sets, what they are called, the sets (None: all).
_ABOUT_SETS: tuple[tuple[str, str, str, str, str, Sequence[str] | None], ...] = (
    (
        PARTITION,
        "spacing_capitals",
        "splits by spacing or capitalisation",
        "either",
        _SPACING,
        SPACING_CAPITALS,
    ),
    (TWO_SIDED, "both", "promotes tokens of a kind, suppresses others", "both", "all sets", None),
    (
        LOCAL,
        "brackets_quotes",
        "promotes brackets or quotes",
        "promoted",
        "bracket and quote sets",
        BRACKETS_QUOTES,
    ),
    (PREDICTION, "digits", "promotes groups such as digits", "promoted", "sets of digits and years", DIGITS),
    (PREDICTION, "verbs", "promotes groups such as verbs", "promoted", "sets of verbs", VERBS),
    (PREDICTION, "any_group", "promotes groups of tokens", "promoted", "all sets", None),
    (SUPPRESSION, "specific_tokens", "suppresses specific tokens", "suppressed", "all sets", None),
    (
        SUPPRESSION,
        "like_partition",
        "overlaps with partition (is tied to what partitions split by)",
        "either",
        _SPACING,
        SPACING_CAPITALS,
    ),
)
_ASKED = {
    "promoted": ("promotes one of {}, significantly", "the largest {} among {}"),
    "suppressed": ("suppresses one of {}, significantly", "the largest {} of a suppressed one of {}"),
    "either": ("promotes or suppresses one of {}, significantly", "the largest {}, on either side, among {}"),
    "both": (
        "promotes one of {} and suppresses another, significantly",
        "the smaller of the largest {} of a promoted and of a suppressed one of {}",
    ),
}
# Of one statement the tests by rank end so.
BY_RANK = {"_t": "t", "_eta2": "eta^2"}


def _about_sets() -> list[Claim]:
    """Each statement about token sets, asked three times."""
    found = []
    for kind, name, statement, side, among, sets in _ABOUT_SETS:
        flag, rank = _ASKED[side]
        base = f"{kind}_{name}"
        asked = f"{flag.format(among)},"
        found.append(_often(base, kind, statement, asked, _flag(side, sets)))
        for suffix, shown in BY_RANK.items():
            value = _extreme(suffix.removeprefix("_"), side, sets)
            found.append(_higher(f"{base}{suffix}", kind, statement, rank.format(shown, among), value))
    return found


_SHAPES = [
    _lower(f"{LOCAL}_low_std", LOCAL, "has low std", "std / norm", _relative_std, "std"),
    _often(
        f"{PREDICTION}_moderate_std",
        PREDICTION,
        "has moderate std",
        "has std / norm in the middle half of unclassified features (which holds half of them)",
        _moderate_std,
        "std",
    ),
    Claim(
        BIMODAL,
        PARTITION,
        "is often bimodal",
        "the dip's quantile among null directions is higher than in a sample matched in std / norm",
        "AUC",
        True,
        _dip,
    ),
    _higher(f"{PARTITION}_high_std", PARTITION, "has high std", "std / norm", _relative_std, "std"),
    _higher(
        f"{PARTITION}_right_skew", PARTITION, "is right-skewed", "skewness", _column("skewness"), "skewness"
    ),
    _lower(
        f"{SUPPRESSION}_low_kurtosis",
        SUPPRESSION,
        "has low kurtosis",
        "kurtosis (which cannot be below 1 + skewness^2)",
        _column("kurtosis"),
        "kurtosis",
    ),
]
CLAIMS = sorted(
    [*_about_sets(), *_SHAPES],
    key=lambda claim: TYPES.index(claim.type),
)
# Columns of a rule that fix the moment a claim looks at.
FIXES = {
    "std": {"std", "variance_x_d_model"},
    "skewness": {"skewness", "bimodality"},
    "kurtosis": {"kurtosis", "right_kurtosis", "left_kurtosis", "tail_tokens", "bimodality"},
}
