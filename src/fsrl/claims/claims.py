"""The published claims about the types, put to the test layer by layer.

Each claim of `fsrl.claims.claims_list` compares a type's features with the unclassified ones of the same
scheme, layer and view, by the tests of `fsrl.stats.two_groups`. Is a set significant: the odds ratio is held
against 1, since p has a null of its own. How large is a value: the AUC is held against that of null
directions of the same type (`fsrl.claims.null_groups`), whichever bounding null says least. What the tests
come to: `fsrl.claims.verdicts`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Shaped

from fsrl.claims.claims_list import BIMODAL, CLAIMS, FIXES, Claim, ClaimInputs, Values
from fsrl.claims.dips import MATCHED
from fsrl.claims.null_groups import NullInputs
from fsrl.enrichment import best_sets as best_sets_of_enrichment
from fsrl.names import UNCLASSIFIED
from fsrl.stats import odds as enrichment_odds
from fsrl.stats import two_groups
from fsrl.stats.two_groups import Comparison, Excess
from fsrl.types import tails
from fsrl.types.classify import speaking
from fsrl.types.rules import Scheme, TailScheme

# A statistic, as `fsrl.enrichment.store.statistic` reads it.
Statistic = Float32[np.ndarray, "features n_sets"]


def compare_layer(
    layer: ClaimInputs,
    schemes: Sequence[Scheme | TailScheme],
    nulls: Sequence[NullInputs],
    *,
    min_features: int,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """One row per scheme and claim about a type that the scheme has: the columns of the table `claims` but
    p_holm and verdict, and `higher`.

    nulls: of each bounding kind, typed under the schemes; draws: of the bootstrap.
    """
    rows, read = [], _Read()
    for scheme in schemes:
        labels = layer.types.loc[layer.types["scheme"] == scheme.name, "type"].to_numpy(dtype=str)
        for claim in CLAIMS:
            columns = rule_columns(scheme, claim.type)
            if columns is None:
                continue
            circular = claim.reads is not None and bool(FIXES[claim.reads] & columns)
            mine, others = _groups(claim, layer, labels)
            found = _compare(claim, layer, labels, mine, others, circular, min_features, draws, seed)
            by_chance = None
            if claim.measure == "AUC" and not np.isnan(found.p):
                by_chance = _beside_nulls(claim, found, nulls, scheme.name, min_features, read)
                # An AUC says nothing alone.
                found = replace(found, p=np.nan if by_chance is None else by_chance[0].p)
            rows.append(
                {
                    "scheme": scheme.name,
                    "claim": claim.name,
                    "type": claim.type,
                    "statement": claim.statement,
                    "test": claim.test,
                    "sae": layer.sae,
                    "n_type": int(mine.sum()),
                    "n_other": int(others.sum()),
                    "measure": claim.measure,
                    **vars(found),
                    **_columns_of(by_chance),
                    "higher": claim.higher,
                    "circular": circular,
                }
            )
    return pd.DataFrame(rows)


def rule_columns(scheme: Scheme | TailScheme, label: str) -> set[str] | None:
    """The columns that a scheme's rule for a type speaks of; None where it has none."""
    if isinstance(scheme, Scheme):
        rule = scheme.rules.get(label)
        return None if rule is None else {condition.column for condition in rule}
    own = {"local_context": {"tail_tokens"}, "two_sided": {"right_share"}}.get(label, set())
    return own | {tails.COLUMNS[tail][0] for tail in speaking(label, scheme)}


def _beside_nulls(
    claim: Claim,
    found: Comparison,
    nulls: Sequence[NullInputs],
    scheme: str,
    min_features: int,
    read: "_Read",
) -> tuple[Excess, float] | None:
    """The excess over the null that says least, and how far its thresholds were loosened; None where no null
    has enough directions of the type.
    """
    beside: list[tuple[Excess, float]] = []
    for null in nulls:
        grouped = null.groups.get((scheme, claim.type))
        if grouped is None:
            continue
        values = read.values(claim, null, grouped.labels)
        groups = _groups(claim, null.inputs, grouped.labels)
        parts = [two_groups.units(values, group, null.inputs.clusters) for group in groups]
        if min(map(len, parts)) >= min_features:
            beside.append((two_groups.excess(found, two_groups.ranks(*parts), null.kind), grouped.loosened))
    if not beside:
        return None
    hardest = two_groups.hardest([one for one, _ in beside])
    return hardest, next(loosened for one, loosened in beside if one.kind == hardest.kind)


def _columns_of(by_chance: tuple[Excess, float] | None) -> dict[str, object]:
    if by_chance is None:
        empty = dict.fromkeys(("reference", "excess", "excess_low", "excess_high", "excess_error"), np.nan)
        return empty | {"null_kind": None, "units_null": 0, "loosened": np.nan}
    beside, loosened = by_chance
    numbers = {"excess": beside.excess, "excess_low": beside.excess_low, "excess_high": beside.excess_high}
    numbers |= {"reference": beside.reference, "excess_error": beside.error, "loosened": loosened}
    return numbers | {"null_kind": beside.kind, "units_null": beside.units_null}


class _Read:
    """What claims look at of null directions, read once: a ranked value does not depend on the scheme."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Values] = {}

    def values(self, claim: Claim, null: NullInputs, labels: Shaped[np.ndarray, "directions"]) -> Values:
        """Of a claim by rank."""
        key = (claim.name, null.kind)
        if key not in self.known:
            self.known[key] = claim.value(null.inputs, labels)
        return self.known[key]


def _groups(
    claim: Claim, layer: ClaimInputs, labels: Shaped[np.ndarray, "features"]
) -> tuple[Bool[np.ndarray, "features"], Bool[np.ndarray, "features"]]:
    mine = labels == claim.type
    if claim.name == BIMODAL:
        measured = ~np.isnan(layer.dip)
        return mine & measured, layer.matched & measured & ~mine
    return mine, labels == UNCLASSIFIED


def _compare(
    claim: Claim,
    layer: ClaimInputs,
    labels: Shaped[np.ndarray, "features"],
    mine: Bool[np.ndarray, "features"],
    others: Bool[np.ndarray, "features"],
    circular: bool,
    min_features: int,
    draws: int,
    seed: int,
) -> Comparison:
    values = claim.value(layer, labels)
    parts = [two_groups.units(values, group, layer.clusters) for group in (mine, others)]
    if circular or min(map(len, parts)) < min_features:
        return Comparison(len(parts[0]), len(parts[1]))
    if claim.measure == "AUC":
        return two_groups.ranks(*parts)
    found = two_groups.shares(*parts)
    # Of the very features that p is about.
    rows = np.concatenate(
        [two_groups.speakers(group & ~np.isnan(values), layer.clusters) for group in (mine, others)]
    )
    group = np.where(mine, claim.type, UNCLASSIFIED)[rows]
    flags = (values[rows] > 0)[:, None]
    odds = enrichment_odds.odds_ratios(flags, group, layer.clusters[rows], draws=draws, seed=seed)
    effect, low, high = odds.iloc[0][["odds_ratio", "low", "high"]].astype(float)
    return replace(found, effect=effect, low=low, high=high)


def layer(
    sae: str,
    moments: pd.DataFrame,
    types: pd.DataFrame,
    best_sets: pd.DataFrame,
    dips: pd.DataFrame,
    *,
    enrichment: tuple[Sequence[str], Statistic, Statistic, Statistic],
    cut: float,
) -> ClaimInputs:
    """What the claims look at, from moments, types, best_sets and dips, the tables of one layer.

    enrichment: sets, then t, log10 p and eta^2; cut: the largest log10 p that is significant (NaN: none is).
    """
    sets, t, log10_p, eta2 = enrichment
    promoted, suppressed = best_sets_of_enrichment.significant(t, log10_p, cut)
    rows = dips["feature"].to_numpy()
    dip = np.full(len(moments), np.nan)
    dip[rows] = dips["null_quantile"].to_numpy()
    matched = np.zeros(len(moments), dtype=bool)
    matched[rows[(dips["sample"] == MATCHED).to_numpy()]] = True
    clusters = best_sets["cluster"].to_numpy()
    return ClaimInputs(sae, moments, types, clusters, sets, promoted, suppressed, t, eta2, dip, matched)
