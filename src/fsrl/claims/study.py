"""What the claims look at in one layer of a study, and in its null directions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from fsrl.claims import claims, dips, null_groups
from fsrl.claims.claims_list import CLAIMS, ClaimInputs
from fsrl.claims.null_groups import Grouped, NullInputs
from fsrl.enrichment.covariance import layer_covariance
from fsrl.names import BOUNDING, SHARED
from fsrl.nulls import frames as null_frames
from fsrl.nulls import quantiles
from fsrl.types import classify
from fsrl.types.classify import Typing
from fsrl.types.rules import Scheme, TailScheme
from fsrl.weights.matrices import View

# A statistic, as `fsrl.enrichment.store.statistic` reads it.
Statistic = Float32[np.ndarray, "features n_sets"]


@dataclass(frozen=True, eq=False)
class Nulls:
    """Null directions that set no bound, and what is kept of those that do.

    fresh: view -> table `null`, the view of the claims first, then those that schemes read: of isotropic
    directions, and in the first of the layer's kinds too; quantiles: table `null_quantiles` of the first
    view; seed: of the directions that set the bounds.
    """

    fresh: Mapping[str, pd.DataFrame]
    quantiles: pd.DataFrame
    seed: int


@dataclass(frozen=True, eq=False)
class Layer:
    """What the claims look at, of features and of the null directions, and the layer's table `dips`."""

    inputs: ClaimInputs
    nulls: list[NullInputs]
    dips: pd.DataFrame


def layer(
    sae: str,
    view: View,
    moments: Mapping[str, pd.DataFrame],
    types: pd.DataFrame,
    best_sets: pd.DataFrame,
    enrichment: tuple[pd.DataFrame, Statistic, Statistic, Statistic],
    nulls: Nulls,
    schemes: Sequence[Scheme | TailScheme],
    *,
    cut: float,
    settings: Mapping[str, Any],
) -> Layer:
    """Everything about one layer that `fsrl.claims.claims.compare_layer` asks for.

    moments: by view, as `Nulls.fresh`; types, best_sets: the tables in the view of the claims; enrichment:
    members (a row a token id, a column a set), then t, log10 p and eta^2 of these sets; cut: the largest
    log10 p that is significant (NaN: none is); settings: `claims` of the config. A scheme that reads another
    view is compared with isotropic directions alone, which are the same in every view.
    """
    here = next(iter(moments))
    members, t, log10_p, eta2 = enrichment
    sets = list(members.columns)
    seed, count = settings["seed"], settings["dip_features"]
    chosen = dips.sample(types, moments[here], count=count, seed=seed)
    null_dips = dips.null_dips(view.W_dec, view.W_U, draws=settings["dip_draws"], seed=seed)
    measured = dips.measure(view.W_dec, view.W_U, chosen, null_dips, sae=sae)
    own = claims.layer(
        sae, moments[here], types, best_sets, measured, enrichment=(sets, t, log10_p, eta2), cut=cut
    )
    typings = _typings(schemes, moments, nulls, here, view.W_dec.shape[1])
    columns = torch.from_numpy(members.to_numpy()[view.token_ids.numpy()].T.copy())
    chosen_dips = {"null_dips": null_dips, "dip_features": count, "seed": seed}
    found = _null_inputs(view, (sets, columns), nulls, typings, here, settings["null_features"], chosen_dips)
    return Layer(own, found, measured)


def _null_inputs(
    view: View,
    sets: tuple[list[str], Bool[Tensor, "n_sets n_tokens"]],
    nulls: Nulls,
    typings: Sequence[tuple[str, Typing]],
    here: str,
    wanted: int,
    chosen_dips: Mapping[str, Any],
) -> list[NullInputs]:
    """Of each bounding kind; chosen_dips: keyword arguments of `fsrl.claims.null_groups.null_inputs`."""
    covariance, found = layer_covariance(view.W_dec), []
    seed = null_frames.fresh_seed(nulls.seed)
    for kind, frame in _kinds(nulls.fresh[here]):
        blocks = null_frames.draw(kind, view.W_dec, view.W_U, draws=len(frame), seed=seed)
        groups = _groups(kind, frame, typings, nulls, here, wanted)
        known = (kind, torch.cat(list(blocks)), view.W_U, sets, covariance, frame, groups)
        found.append(null_groups.null_inputs(*known, **chosen_dips))
    return found


def _typings(
    schemes: Sequence[Scheme | TailScheme],
    moments: Mapping[str, pd.DataFrame],
    nulls: Nulls,
    here: str,
    d_model: int,
) -> list[tuple[str, Typing]]:
    """The view that each scheme reads, and the scheme in this layer."""
    known = quantiles.bounds(nulls.quantiles)
    return [
        (view, classify.typing_of(scheme, moments[view], known, d_model=d_model))
        for scheme in schemes
        for view in [scheme.view or here]
    ]


def _kinds(fresh: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each bounding kind with its directions."""
    for kind in BOUNDING:
        own = fresh[fresh["kind"] == kind]
        if len(own):
            yield kind, own.reset_index(drop=True)


def _groups(
    kind: str,
    frame: pd.DataFrame,
    typings: Sequence[tuple[str, Typing]],
    nulls: Nulls,
    here: str,
    wanted: int,
) -> dict[tuple[str, str], Grouped]:
    """Labels of one kind's directions under every scheme, for each type that claims are about."""
    found: dict[tuple[str, str], Grouped] = {}
    for view, typing in typings:
        if view != here and kind != SHARED:
            continue
        seen = frame if view == here else nulls.fresh[view]
        labels = [label for label in dict.fromkeys(claim.type for claim in CLAIMS) if label in typing.order]
        grouped = null_groups.equally_typed(typing, seen, labels, wanted=wanted)
        found |= {(typing.name, label): one for label, one in grouped.items()}
    return found
