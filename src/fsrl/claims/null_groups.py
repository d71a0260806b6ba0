"""Null directions in the same groups as a layer's features: what a claim's AUC is by construction.

A type is defined by the shape of logit weights, and shape follows what the claims look at even where nothing
means anything: of isotropic directions the most skewed 1.5 % have an AUC of .64 for the largest t. So fresh
directions of each bounding null, which set no bound, are typed by the thresholds of the layer, and their AUC
is what the features' must exceed (`fsrl.stats.two_groups.excess`).

Few directions reach the thresholds of a layer with few discoveries. Then those of p are loosened, by factors
of 2 and at most to 5 %, until `wanted` directions have the type: these are less extreme than the features,
and their AUC is nearer to one half than it should be. How far is said (`Grouped.loosened`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from fsrl.claims.claims_list import ClaimInputs
from fsrl.claims.dips import MATCHED, of_rows, sample
from fsrl.enrichment.covariance import LayerCovariance
from fsrl.enrichment.effect_sizes import t_and_eta2
from fsrl.types import classify
from fsrl.types.classify import TailTyping, Typing

WIDEST = 0.05


@dataclass(frozen=True, eq=False)
class Grouped:
    """Primary labels of null directions; the factor that the thresholds of p were loosened by, the largest
    over the tails that speak for the type.
    """

    labels: Shaped[np.ndarray, "directions"]
    loosened: float


# Scheme and type -> the labels of directions among which enough have the type.
Groups = Mapping[tuple[str, str], Grouped]


@dataclass(frozen=True, eq=False)
class NullInputs:
    """Directions of one kind: what the claims look at (nothing of them is significant), and their types."""

    kind: str
    inputs: ClaimInputs
    groups: Groups


def equally_typed(
    typing: Typing, fresh: pd.DataFrame, labels: Sequence[str], *, wanted: int
) -> dict[str, Grouped]:
    """Of each label, types of null directions by the thresholds of a layer, loosened until `wanted` have it.

    fresh: table `null` of one kind, of directions that set no bound. Nothing is loosened in a scheme of
    rules: its thresholds are no p.
    """
    if not isinstance(typing, TailTyping):
        return dict.fromkeys(labels, Grouped(typing.others(fresh).primary, 1.0))
    read, least = classify.TailRows.of(fresh, typing.known), typing.critical()

    @cache
    def typed(factor: float) -> tuple[dict[str, float], Shaped[np.ndarray, "directions"]]:
        at = {tail: _loosened(one, factor) for tail, one in least.items()}
        return at, read.by(at, typing.scheme).primary

    found = {}
    for label in labels:
        factor = 1.0
        while label not in found:
            at, primary = typed(factor)
            widest = all(one >= np.log10(WIDEST) for one in at.values())
            if widest or (primary == label).sum() >= wanted:
                moved = max(at[tail] - least[tail] for tail in classify.speaking(label, typing.scheme))
                found[label] = Grouped(primary, 10**moved)
            factor *= 2
    return found


def _loosened(log10_p: float, factor: float) -> float:
    return min(log10_p + np.log10(factor), max(log10_p, np.log10(WIDEST)))


def null_inputs(
    kind: str,
    directions: Float[Tensor, "directions d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    sets: tuple[list[str], Bool[Tensor, "n_sets n_tokens"]],
    covariance: LayerCovariance,
    fresh: pd.DataFrame,
    groups: Groups,
    *,
    null_dips: Float[np.ndarray, "draws"],
    dip_features: int,
    seed: int,
) -> NullInputs:
    """What the claims look at of null directions.

    fresh: the rows of table `null` of these directions, in the claims' view; null_dips: sorted, as for
    `fsrl.claims.dips.measure`; dip_features: partitions of each scheme whose dip is measured.
    """
    names, members = sets
    t, eta2 = t_and_eta2(directions, W_U, members, covariance)
    features = np.arange(len(fresh))
    parts = [
        pd.DataFrame({"feature": features, "scheme": scheme, "type": grouped.labels})
        for (scheme, label), grouped in groups.items()
        if label == "partition"
    ]
    dip, matched = np.full(len(fresh), np.nan), np.zeros(len(fresh), dtype=bool)
    if parts:
        chosen = sample(pd.concat(parts, ignore_index=True), fresh, count=dip_features, seed=seed)
        rows = chosen["feature"].to_numpy(dtype=np.int64)
        dip[rows] = of_rows(directions[rows], W_U, null_dips)
        matched[rows[(chosen["sample"] == MATCHED).to_numpy()]] = True
    nothing = np.zeros(t.shape, dtype=bool)
    inputs = ClaimInputs(
        kind, fresh, pd.DataFrame(), features, names, nothing, nothing, t, eta2, dip, matched
    )
    return NullInputs(kind, inputs, groups)
