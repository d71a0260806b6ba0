"""What Bloom & Lin (2024) say of the four types, as tests that do not use the moments which define a type.

A claim compares the features of a type with those that no type of the scheme claims. What it looks at is a
number per feature: a yes or no (then the measure is an odds ratio) or a value to be ranked (an AUC). Where
the scheme's rule for the type already speaks of the column that a claim looks at, the claim is true or false
by definition and is not tested. What a feature promotes is asked twice: is a set significant, which few
features reach, and is its t larger, which says less and needs fewer features.
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
    """What the claims look at in one layer and view; `sets` names the columns of what has some.

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


def _flag(side: str, names: Sequence[str] | None) -> Value:
    """Is one of the sets (None: any) significant on this side ("either": on one of them)?"""

    def value(layer: ClaimInputs, labels: Labels) -> Values:
        columns = list(range(len(layer.sets))) if names is None else _columns(layer, names)
        if not columns:
            return np.full(len(labels), np.nan)
        both = layer.promoted | layer.suppressed if side == "either" else getattr(layer, side)
        return both[:, columns].any(axis=1).astype(float)

    return value


def _extreme(name: str, names: Sequence[str] | None, *, lowest: bool = False, size: bool = False) -> Value:
    """The largest (or lowest) value of a statistic, or of its size, among sets (None: all of them)."""

    def value(layer: ClaimInputs, labels: Labels) -> Values:
        columns = list(range(len(layer.sets))) if names is None else _columns(layer, names)
        if not columns:
            return np.full(len(labels), np.nan)
        values = getattr(layer, name)[:, columns].astype(float)
        values = np.abs(values) if size else values
        unknown = np.isnan(values).all(axis=1)
        worst = np.inf if lowest else -np.inf
        values = np.where(np.isnan(values), worst, values)
        return np.where(unknown, np.nan, values.min(axis=1) if lowest else values.max(axis=1))

    return value


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


def _often(name: str, kind: str, statement: str, what: str, value: Value, reads: str | None = None) -> Claim:
    return Claim(
        name, kind, statement, f"{what} more often than unclassified", "odds ratio", True, value, reads
    )


def _higher(name: str, kind: str, statement: str, what: str, value: Value, reads: str | None = None) -> Claim:
    return Claim(name, kind, statement, f"{what} is higher than for unclassified", "AUC", True, value, reads)


def _lower(name: str, kind: str, statement: str, what: str, value: Value, reads: str | None = None) -> Claim:
    return Claim(name, kind, statement, f"{what} is lower than for unclassified", "AUC", False, value, reads)


PARTITION, _, LOCAL, PREDICTION, SUPPRESSION = TYPES
_SPACING = "sets of spacing and case"
_CLAIMED = (
    (LOCAL, "brackets_quotes", "promotes brackets or quotes", "bracket and quote sets", BRACKETS_QUOTES),
    (PREDICTION, "digits", "promotes groups such as digits", "sets of digits and years", DIGITS),
    (PREDICTION, "verbs", "promotes groups such as verbs", "sets of verbs", VERBS),
    (PREDICTION, "any_group", "promotes groups of tokens", "all sets", None),
)
_PROMOTED = [
    claim
    for kind, name, statement, among, sets in _CLAIMED
    for claim in (
        _often(
            f"{kind}_{name}",
            kind,
            statement,
            f"promotes one of {among}, significantly (t, BH over the study),",
            _flag("promoted", sets),
        ),
        _higher(f"{kind}_{name}_t", kind, statement, f"the largest t among {among}", _extreme("t", sets)),
    )
]
_TIED = [
    claim
    for kind, name, statement in (
        (PARTITION, "spacing_capitals", "is tied to spacing or capitalisation"),
        (SUPPRESSION, "like_partition", "overlaps with partition (is tied to what partitions split by)"),
    )
    for claim in (
        _often(
            f"{kind}_{name}",
            kind,
            statement,
            f"promotes or suppresses one of the {_SPACING}, significantly (t, BH over the study),",
            _flag("either", SPACING_CAPITALS),
        ),
        _higher(
            f"{kind}_{name}_t",
            kind,
            statement,
            f"the largest |t| among {_SPACING}",
            _extreme("t", SPACING_CAPITALS, size=True),
        ),
    )
]
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
    _higher(
        f"{PARTITION}_eta2",
        PARTITION,
        "is a split by spacing or capitalisation",
        f"eta^2 of the best of the {_SPACING}",
        _extreme("eta2", SPACING_CAPITALS),
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
    _often(
        f"{SUPPRESSION}_specific_tokens",
        SUPPRESSION,
        "suppresses specific tokens",
        "suppresses any set, significantly (t, BH over the study),",
        _flag("suppressed", None),
    ),
    _lower(
        f"{SUPPRESSION}_specific_tokens_t",
        SUPPRESSION,
        "suppresses specific tokens",
        "the lowest t among all sets",
        _extreme("t", None, lowest=True),
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
    [*_PROMOTED, *_TIED, *_SHAPES],
    key=lambda claim: TYPES.index(claim.type),
)
# Columns of a rule that fix the moment a claim looks at.
FIXES = {
    "std": {"std", "variance_x_d_model"},
    "skewness": {"skewness", "bimodality"},
    "kurtosis": {"kurtosis", "tail_tokens", "bimodality"},
}
