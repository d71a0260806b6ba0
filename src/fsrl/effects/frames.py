"""The tables of measured effects: their columns, and how readings become rows of them."""

from functools import partial

import numpy as np
import pandas as pd

from fsrl.effects.measure import MOMENTS, READINGS, Measured
from fsrl.errors import FsrlError
from fsrl.moments.formulas import Typical
from fsrl.moments.tails import with_tails
from fsrl.names import LABELS
from fsrl.nulls.quantiles import Bounds
from fsrl.nulls.typical import of_quantiles
from fsrl.tables.effects import AVERAGED, EFFECTS, FIGURES, TYPE_SHARES
from fsrl.types import classify
from fsrl.types.rules import Scheme, TailScheme

KEYS = ["feature", "direction", "state", "step"]


def effects_frame(
    measured: Measured,
    sample: pd.DataFrame,
    scheme: Scheme | TailScheme,
    features: pd.DataFrame,
    known: Bounds,
    *,
    n_tokens: int,
) -> pd.DataFrame:
    """The table `effects` of one layer.

    sample: from `fsrl.effects.sample.choose_features`; features: table `moments` of all of the layer's
    features, whose thresholds the readings are typed by; known: the quantiles of its nulls. Raises FsrlError
    for a scheme that reads another view.
    """
    if scheme.view is not None:
        raise FsrlError(
            f"effects: scheme {scheme.name} reads the view {scheme.view}, in which a measured change has no "
            "moments; choose a scheme of the view that is typed"
        )
    moments = partial(_moments, typical=of_quantiles(known), n_tokens=n_tokens)
    typing = classify.typing_of(scheme, features, known)
    weights = measured.weights.assign(direct_type=typing.others(moments(measured.weights)).primary)
    vector = {(direction, step): which for direction, step, _, which in READINGS}
    readings = measured.readings.copy()
    readings["vector"] = [vector[pair] for pair in zip(readings["direction"], readings["step"], strict=True)]
    renamed = {name: f"direct_{name}" for name in ("std", "skewness", "kurtosis")}
    own = weights.rename(columns=renamed)[["feature", "vector", "norm", "direct_type", *renamed.values()]]
    readings = readings.merge(own, on=["feature", "vector"], how="left", validate="m:1")
    readings["measured_type"] = typing.others(moments(readings)).primary
    single, averaged = readings[~readings["averaged"]], readings[readings["averaged"]]
    frame = _aggregate(single).join(_averaged(averaged)).reset_index()
    frame = frame.merge(sample, on="feature", how="left", validate="m:1")
    order = {name: i for i, name in enumerate(("feature", "random", "other"))}
    steps = {reading[1]: i for i, reading in enumerate(READINGS[:4])}
    frame = frame.sort_values(
        KEYS, key=lambda column: column.map(order | steps) if column.name in ("direction", "step") else column
    )
    text = {name: "str" for name, column in EFFECTS.columns.items() if column.dtype == "string"}
    frame = frame.astype({**text, "feature": "int32", "log10_density": "float32", "positions": "int64"})
    return frame[list(EFFECTS.columns)].reset_index(drop=True)


def _moments(frame: pd.DataFrame, *, typical: Typical, n_tokens: int) -> pd.DataFrame:
    """Each row's moments, with all columns that a rule may read."""
    bimodality = (frame["skewness"] ** 2 + 1) / frame["kurtosis"]
    return with_tails(frame[[*MOMENTS, "norm"]], n_tokens, typical).assign(bimodality=bimodality)


def _aggregate(single: pd.DataFrame) -> pd.DataFrame:
    """A row for each of KEYS: means and standard errors over positions, shares of the measured types."""
    kept = single["measured_type"] == single["direct_type"]
    shares = {f"share_{label}": single["measured_type"] == label for label in LABELS}
    groups = single.assign(kept=kept, **shares).groupby(KEYS, sort=True)
    found = groups[[*FIGURES, "odd_share", "relative_step", "kept", *TYPE_SHARES]].mean()
    errors = groups[list(FIGURES)].sem().add_suffix("_se")
    constant = groups[["alpha", "direct_std", "direct_skewness", "direct_kurtosis", "direct_type"]].first()
    frame = found.join(errors).join(constant)
    frame["positions"] = groups.size()
    # Of equally frequent types the first in the order of precedence, as LABELS has them.
    frame["measured_type"] = np.array(LABELS)[frame[TYPE_SHARES].to_numpy().argmax(axis=1)]
    return frame


def _averaged(averaged: pd.DataFrame) -> pd.DataFrame:
    names = {name: f"averaged_{name}" for name in AVERAGED} | {"measured_type": "averaged_type"}
    return averaged.set_index(KEYS)[list(names)].rename(columns=names)
