"""The published claims about the types, put to the test layer by layer: a table of verdicts.

Each claim of `fsrl.claims.claims_list` compares a type's features with the unclassified ones of the same
scheme, layer and view, by the tests of `fsrl.stats.two_groups`; p is adjusted after Holm over every test of
the study and view.

    holds          significant, in the claimed direction
    contradicted   significant, in the other direction
    undecided      enough features, no significant difference
    cannot speak   fewer than `min_features` clusters of features on one side, nothing to look at, or so few
                   features with a significant set that p < .05 is out of reach
    by definition  the scheme's rule for the type already fixes what the claim looks at

Of all layers together (`verdicts`): holds, or is contradicted, in more than half of the layers that can
speak, and not the other way round in any of them; mixed where there are layers of both kinds; else undecided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from fsrl.claims.claims_list import BIMODAL, CLAIMS, FIXES, Claim, Layer
from fsrl.claims.dips import MATCHED
from fsrl.enrichment import best_sets as best_sets_of_enrichment
from fsrl.names import UNCLASSIFIED
from fsrl.stats import odds as enrichment_odds
from fsrl.stats import two_groups
from fsrl.stats.two_groups import Comparison
from fsrl.tables.claims import CLAIMS_TABLE

HOLDS, CONTRADICTED, UNDECIDED = "holds", "contradicted", "undecided"
CANNOT_SPEAK, BY_DEFINITION, MIXED = "cannot speak", "by definition", "mixed"


def test_layer(
    layer: Layer, schemes: Mapping[str, Any], *, min_features: int, draws: int, seed: int
) -> pd.DataFrame:
    """One row per scheme and claim about a type that the scheme has: the columns of the table `claims` but
    p_holm and verdict, and `higher`. schemes: as in the config; draws: of the bootstrap.
    """
    rows = []
    for scheme, settings in schemes.items():
        labels = layer.types.loc[layer.types["scheme"] == scheme, "type"].to_numpy(dtype=str)
        for claim in CLAIMS:
            rule = settings["types"].get(claim.type)
            if rule is None:
                continue
            circular = claim.reads is not None and bool(FIXES[claim.reads] & set(rule))
            mine, others = _groups(claim, layer, labels)
            found = _compare(claim, layer, labels, mine, others, circular, min_features, draws, seed)
            rows.append(
                {
                    "scheme": scheme,
                    "claim": claim.name,
                    "type": claim.type,
                    "statement": claim.statement,
                    "test": claim.test,
                    "sae": layer.sae,
                    "n_type": int(mine.sum()),
                    "n_other": int(others.sum()),
                    "measure": claim.measure,
                    **vars(found),
                    "higher": claim.higher,
                    "circular": circular,
                }
            )
    return pd.DataFrame(rows)


def judge(layers: Sequence[pd.DataFrame], *, level: float) -> pd.DataFrame:
    """The table `claims` of a study and view from what `test_layer` found in each layer."""
    frame = pd.concat(layers, ignore_index=True)
    frame["p_holm"] = two_groups.holm(frame["p"].to_numpy(dtype=float))
    called = (frame["p_holm"] <= level).to_numpy()
    agrees = ((frame["value_type"] > frame["value_other"]) == frame["higher"]).to_numpy()
    # Medians may be equal where ranks differ, so an AUC has its own direction.
    by_rank = (frame["measure"] == "AUC").to_numpy()
    agrees = np.where(by_rank, (frame["effect"] > 0.5) == frame["higher"], agrees)
    verdict = np.where(called, np.where(agrees, HOLDS, CONTRADICTED), UNDECIDED)
    verdict = np.where(frame["p"].isna(), CANNOT_SPEAK, verdict)
    frame["verdict"] = np.where(frame["circular"], BY_DEFINITION, verdict)
    text = [name for name, column in CLAIMS_TABLE.columns.items() if column.dtype == "string"]
    return frame[list(CLAIMS_TABLE.columns)].astype(dict.fromkeys(text, "str"))


def verdicts(claims: pd.DataFrame) -> pd.DataFrame:
    """One row per scheme and claim: statement, test, the verdict over all layers, then a column per layer."""
    rows = []
    for (scheme, claim), part in claims.groupby(["scheme", "claim"], sort=False):
        found = part["verdict"].tolist()
        rows.append(
            {
                "scheme": scheme,
                "claim": claim,
                "type": part["type"].iloc[0],
                "statement": part["statement"].iloc[0],
                "verdict": _overall(found),
                "holds": found.count(HOLDS),
                "contradicted": found.count(CONTRADICTED),
                "undecided": found.count(UNDECIDED),
                "cannot_speak": found.count(CANNOT_SPEAK),
                "test": part["test"].iloc[0],
                "measure": part["measure"].iloc[0],
                **{row.sae: _cell(row) for row in part.itertuples()},
            }
        )
    return pd.DataFrame(rows)


def _groups(claim: Claim, layer: Layer, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mine = labels == claim.type
    if claim.name == BIMODAL:
        measured = ~np.isnan(layer.dip)
        return mine & measured, layer.matched & measured & ~mine
    return mine, labels == UNCLASSIFIED


def _compare(
    claim: Claim,
    layer: Layer,
    labels: np.ndarray,
    mine: np.ndarray,
    others: np.ndarray,
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


def _overall(found: list[str]) -> str:
    speaking = [verdict for verdict in found if verdict in (HOLDS, CONTRADICTED, UNDECIDED)]
    if not speaking:
        return BY_DEFINITION if BY_DEFINITION in found else CANNOT_SPEAK
    sides = [verdict for verdict in (HOLDS, CONTRADICTED) if verdict in speaking]
    if len(sides) == 2:
        return MIXED
    if sides and 2 * speaking.count(sides[0]) > len(speaking):
        return sides[0]
    return UNDECIDED


def _cell(row: Any) -> str:
    """A layer's result in a few characters."""
    if row.verdict in (CANNOT_SPEAK, BY_DEFINITION):
        return f"{row.verdict} ({row.n_type})"
    interval = f"{row.effect:.3g} [{row.low:.3g}, {row.high:.3g}]"
    return f"{row.verdict}: {interval}, {row.value_type:.3g} vs {row.value_other:.3g}, n {row.n_type}"


def layer(
    sae: str,
    moments: pd.DataFrame,
    types: pd.DataFrame,
    best_sets: pd.DataFrame,
    dips: pd.DataFrame,
    *,
    enrichment: tuple[Sequence[str], np.ndarray, np.ndarray, np.ndarray],
    cut: float,
) -> Layer:
    """moments, types, best_sets, dips: tables of one layer; enrichment: sets, then t, log10 p and eta^2
    (float32 [features, sets]); cut: the largest log10 p that is significant (NaN: none is).
    """
    sets, t, log10_p, eta2 = enrichment
    promoted, suppressed = best_sets_of_enrichment.significant(t, log10_p, cut)
    rows = dips["feature"].to_numpy()
    dip = np.full(len(moments), np.nan)
    dip[rows] = dips["null_quantile"].to_numpy()
    matched = np.zeros(len(moments), dtype=bool)
    matched[rows[(dips["sample"] == MATCHED).to_numpy()]] = True
    clusters = best_sets["cluster"].to_numpy()
    return Layer(sae, moments, types, clusters, sets, promoted, suppressed, t, eta2, dip, matched)
