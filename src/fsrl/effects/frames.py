"""The tables of measured effects: their columns, and how readings become rows of them."""

import numpy as np
import pandas as pd

from fsrl.effects.measure import Measured
from fsrl.effects.names import DIRECTIONS, FEATURE, PREDICTIONS, STATES, STEPS
from fsrl.effects.read import MOMENTS
from fsrl.errors import FsrlError
from fsrl.moments.tails import with_tails
from fsrl.names import LABELS, TYPES
from fsrl.nulls.quantiles import Bounds
from fsrl.nulls.typical import of_quantiles
from fsrl.tables.core import Table
from fsrl.tables.effects import AGREEMENT, AVERAGED, EFFECTS, FIGURES, SHAPE, TYPE_SHARES
from fsrl.types import classify
from fsrl.types.rules import Scheme, TailScheme

KEYS = ["feature", "direction", "state", "step"]
BY_PREDICTION = ["feature", "direction", "prediction", "state", "step"]
OF_DIRECTION = ["direct_std", "direct_skewness", "direct_kurtosis"]
WORDS = {"direction": DIRECTIONS, "prediction": PREDICTIONS, "state": STATES, "step": STEPS}


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
    features, whose thresholds the changes are typed by; known: the quantiles of its nulls. Raises FsrlError
    for a scheme that reads another view.
    """
    if scheme.view is not None:
        raise FsrlError(
            f"effects: scheme {scheme.name} reads the view {scheme.view}, in which a measured change has no "
            "moments; choose a scheme of the view that is typed"
        )
    changes = measured.changes
    moments = changes[[*MOMENTS, "norm"]]
    bimodality = (moments["skewness"] ** 2 + 1) / moments["kurtosis"]
    moments = with_tails(moments, n_tokens, of_quantiles(known)).assign(bimodality=bimodality)
    types = classify.typing_of(scheme, features, known).others(moments).primary
    shares = {f"share_{label}": types == label for label in LABELS}
    groups = changes.assign(**shares).groupby(KEYS, sort=True)
    found = groups[[*SHAPE, "odd_share", "relative_step", *OF_DIRECTION, *TYPE_SHARES]].mean()
    frame = found.join(groups[list(SHAPE)].sem().add_suffix("_se")).join(groups[["alpha"]].first())
    frame["positions"] = groups.size()
    # Of equally frequent types the first in the order of precedence, as LABELS has them.
    frame["measured_type"] = np.array(LABELS)[frame[TYPE_SHARES].to_numpy().argmax(axis=1)]
    frame = frame.reset_index().merge(sample, on="feature", how="left", validate="m:1")
    return _in_order(frame.assign(kept=_kept(frame)), KEYS, EFFECTS)


def _kept(frame: pd.DataFrame) -> pd.Series:
    """Share of positions where the change has the feature's type; of a control, and without a type, none."""
    kept = pd.Series(np.nan, index=frame.index)
    for name in TYPES:
        mine = (frame["type"] == name) & (frame["direction"] == FEATURE)
        kept[mine] = frame.loc[mine, f"share_{name}"]
    return kept


def agreement_frame(measured: Measured, sample: pd.DataFrame) -> pd.DataFrame:
    """The table `effect_agreement` of one layer; sample as in `effects_frame`."""
    groups = measured.readings.groupby(BY_PREDICTION, sort=True)
    frame = groups[list(FIGURES)].mean().join(groups[list(FIGURES)].sem().add_suffix("_se"))
    frame["positions"] = groups.size()
    averaged = measured.averaged.set_index(BY_PREDICTION)[list(AVERAGED)].add_prefix("averaged_")
    frame = frame.join(averaged).reset_index().merge(sample, on="feature", how="left", validate="m:1")
    return _in_order(frame, BY_PREDICTION, AGREEMENT)


def _in_order(frame: pd.DataFrame, keys: list[str], table: Table) -> pd.DataFrame:
    """The table's columns and dtypes, sorted."""
    order = {key: {name: i for i, name in enumerate(names)} for key, names in WORDS.items()}
    frame = frame.sort_values(
        keys, key=lambda column: column.map(order[column.name]) if column.name in order else column
    )
    dtypes = {
        name: "str" if column.dtype == "string" else column.dtype for name, column in table.columns.items()
    }
    return frame[list(table.columns)].astype(dtypes).reset_index(drop=True)
