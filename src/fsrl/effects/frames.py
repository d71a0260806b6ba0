"""The tables of measured effects: their columns, and how readings become rows of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from fsrl.effects.measure import READINGS, Measured
from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.tables.core import FEATURE, KURTOSIS, SKEWNESS, STD, Column, Table
from fsrl.types import classify

KEYS = ["feature", "direction", "state", "step"]
# Figures of single positions that are averaged over them, with a standard error.
FIGURES = {
    "pearson": "correlation of the measured change with the logit weights over the view's tokens",
    "spearman": "the same of their ranks",
    "slope": "of the measured change on the weights / the final LayerNorm's scale; 1: direct path only",
    "explained": "share of the measured change's variance that the weights / scale predict, no free factor",
    "overlap": "share of the ten most raised tokens among the ten with the largest weights",
    "std": "standard deviation of the measured change per unit of activation, times the final scale",
    "skewness": "skewness of the measured change per unit of activation",
    "kurtosis": "Pearson kurtosis of the measured change",
}
AVERAGED = ("pearson", "spearman", "slope", "explained", "overlap", "skewness", "kurtosis")
UNITS = {"std": "logit per activation"}
TYPE_SHARES = [f"share_{label}" for label in classify.LABELS]


def _figures() -> dict[str, Column]:
    columns = {}
    for name, text in FIGURES.items():
        unit = UNITS.get(name, "1")
        text = f"mean over positions: {text}; null where nothing changed"
        columns[name] = Column("float64", unit, text, nullable=True)
        error = "its standard error over positions, each in another context; null for one position"
        columns[f"{name}_se"] = Column("float64", unit, error, nullable=True)
    return columns


EFFECTS = Table(
    "effects",
    {
        "feature": FEATURE,
        "type": Column("string", "1", "type of the feature by its logit weights, from which it was drawn"),
        "stratum": Column("int64", "features", "features of this type in the layer"),
        "log10_density": Column("float32", "log10", "log10 share of tokens on which it fires", nullable=True),
        "direction": Column(
            "string",
            "1",
            "feature; random: a random direction of the same norm in its place; other: the feature's change "
            "against the weights of another feature",
        ),
        "state": Column("string", "1", "active or inactive: the feature there; unknown: no encoder"),
        "step": Column("string", "1", "+1, -1, plus or minus the feature's own mean activation when active"),
        "alpha": Column("float64", "activation", "what was added, in units of the direction"),
        "relative_step": Column("float64", "1", "length of what was added / of the centred stream there"),
        "positions": Column("int64", "positions", "positions measured, each in another context"),
        **_figures(),
        "odd_share": Column(
            "float64", "1", "share of the change that turns its sign with alpha's; 1 if linear", nullable=True
        ),
        "direct_std": replace(STD, nullable=True),
        "direct_skewness": SKEWNESS,
        "direct_kurtosis": KURTOSIS,
        "direct_type": Column("string", "1", "type by the logit weights of the direction compared with"),
        "kept": Column("float64", "1", "share of positions where the measured change gets the direct type"),
        "measured_type": Column("string", "1", "most frequent type of the measured change over positions"),
        **{
            f"share_{label}": Column("float64", "1", f"share of positions where the change is {label}")
            for label in classify.LABELS
        },
        **{
            f"averaged_{name}": Column("float64", "1", f"{name} of the average over positions", nullable=True)
            for name in AVERAGED
        },
        "averaged_type": Column("string", "1", "type that the change averaged over positions would get"),
    },
)


def effects_frame(
    measured: Measured,
    sample: pd.DataFrame,
    scheme: Mapping[str, Any],
    null: pd.DataFrame,
    *,
    kappa0: float,
    n_tokens: int,
    d_model: int,
) -> pd.DataFrame:
    """The table `effects` of one layer.

    sample: from `effect_sample.choose_features`; scheme: {name: scheme} as in the config, its bounds numbers
    or null quantiles; null: table `null` of the view; kappa0: the isotropic null's median kurtosis. Raises
    FsrlError for a scheme whose bounds are quantiles of a layer's own features, or that reads another view.
    """
    _check_scheme(scheme)

    def types(frame: pd.DataFrame) -> np.ndarray:
        return _types(frame, scheme, null, kappa0=kappa0, n_tokens=n_tokens, d_model=d_model)

    weights = measured.weights.assign(direct_type=types(measured.weights))
    vector = {(direction, step): which for direction, step, _, which in READINGS}
    readings = measured.readings.copy()
    readings["vector"] = [vector[pair] for pair in zip(readings["direction"], readings["step"], strict=True)]
    renamed = {name: f"direct_{name}" for name in ("std", "skewness", "kurtosis")}
    direct = weights.rename(columns=renamed).drop(columns="mean")
    readings = readings.merge(direct, on=["feature", "vector"], how="left", validate="m:1")
    readings["measured_type"] = types(readings)
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


def _check_scheme(scheme: Mapping[str, Any]) -> None:
    for parsed in classify.parse_schemes(scheme):
        kinds = {condition.bound.kind for rule in parsed.rules.values() for condition in rule}
        if "q" in kinds or parsed.view is not None:
            raise FsrlError(
                f"effects: scheme {parsed.name} reads another view or quantiles of the layer's own features, "
                "which a measured change has none of; choose a scheme of numbers and null quantiles"
            )


def _types(
    frame: pd.DataFrame,
    scheme: Mapping[str, Any],
    null: pd.DataFrame,
    *,
    kappa0: float,
    n_tokens: int,
    d_model: int,
) -> np.ndarray:
    """The type that each row's moments get."""
    shape = {name: torch.tensor(frame[name].to_numpy()) for name in ("skewness", "kurtosis")}
    rows = frame[["mean", "std", "skewness", "kurtosis", "norm"]].assign(
        feature=np.arange(len(frame), dtype=np.int32),
        bimodality=(frame["skewness"] ** 2 + 1) / frame["kurtosis"],
        implied_tokens=engine.implied_tokens(**shape, d_vocab=n_tokens, kappa0=kappa0).numpy(),
    )
    return classify.classify(rows, scheme, null, d_model=d_model)["type"].to_numpy()


def _aggregate(single: pd.DataFrame) -> pd.DataFrame:
    """A row for each of KEYS: means and standard errors over positions, shares of the measured types."""
    kept = single["measured_type"] == single["direct_type"]
    shares = {f"share_{label}": single["measured_type"] == label for label in classify.LABELS}
    groups = single.assign(kept=kept, **shares).groupby(KEYS, sort=True)
    found = groups[[*FIGURES, "odd_share", "relative_step", "kept", *TYPE_SHARES]].mean()
    errors = groups[list(FIGURES)].sem().add_suffix("_se")
    constant = groups[["alpha", "direct_std", "direct_skewness", "direct_kurtosis", "direct_type"]].first()
    frame = found.join(errors).join(constant)
    frame["positions"] = groups.size()
    # Of equally frequent types the first in the order of precedence, as LABELS has them.
    frame["measured_type"] = np.array(classify.LABELS)[frame[TYPE_SHARES].to_numpy().argmax(axis=1)]
    return frame


def _averaged(averaged: pd.DataFrame) -> pd.DataFrame:
    names = {name: f"averaged_{name}" for name in AVERAGED} | {"measured_type": "averaged_type"}
    return averaged.set_index(KEYS)[list(names)].rename(columns=names)
