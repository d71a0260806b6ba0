"""What the claims look at in a layer: its features and its null directions, under every scheme."""

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.claims import claims, study, verdicts
from fsrl.claims.claims_list import SPACING_CAPITALS
from fsrl.enrichment import statistics
from fsrl.names import BOUNDING
from fsrl.nulls import directions as null_directions
from fsrl.nulls import frames, quantiles
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables import core as tables
from fsrl.tables.claims import CLAIMS_TABLE, DIPS
from fsrl.types import classify
from fsrl.types.rules import parse_schemes
from fsrl.weights.matrices import View
from tests.fixtures.type_examples import CALIBRATED, POST, UNIVERSAL_NEURONS

SCHEMES = {"post": POST, "calibrated": CALIBRATED, "universal_neurons": UNIVERSAL_NEURONS}
SETTINGS = {"dip_features": 5, "dip_draws": 30, "null_features": 20, "seed": 0}
SETS = [SPACING_CAPITALS[0], "digits"]


@pytest.fixture(scope="module")
def made():
    """A layer in which 20 features of 200 write along an axis that promotes a set."""
    generator = torch.Generator().manual_seed(0)
    W_U = torch.randn(12, 600, generator=generator)
    W_U[0, :30] += 8
    W_dec = torch.randn(200, 12, generator=generator)
    W_dec[:20, 0] += 12
    members = torch.zeros(2, 600, dtype=torch.bool)
    members[0, 100:300], members[1, :30] = True, True
    bounds = frames.isotropic(W_U, draws=4000, seed=0)
    known = typical_of(bounds)
    blocks = null_directions.isotropic(12, draws=1000, seed=frames.fresh_seed(0))
    fresh = frames.of_directions("isotropic", blocks, W_U, typical=known)
    kinds = {"kinds": BOUNDING[1:], "typical": known}
    own = frames.of_layer(W_dec, W_U, draws=2000, seed=0, **kinds)
    own_fresh = frames.of_layer(W_dec, W_U, draws=700, seed=frames.fresh_seed(0), **kinds)
    features = frames.of_directions("isotropic", [W_dec], W_U, typical=known)
    moments = features.drop(columns=["kind", "draw"]).assign(feature=np.arange(200, dtype=np.int32))
    stored = quantiles.quantile_frame(pd.concat([bounds, own]))
    views = {"trained": pd.concat([fresh, own_fresh]), "cosine": fresh}
    nulls = study.Nulls(views, stored, 0)
    schemes = parse_schemes(SCHEMES)
    typings = [
        classify.typing_of(scheme, moments, quantiles.bounds(stored), d_model=12) for scheme in schemes
    ]
    types = pd.concat([classify.types(one) for one in typings], ignore_index=True)
    tested = statistics.set_statistics(W_dec, W_U, members)
    found = [getattr(tested, name).numpy() for name in ("t", "log10_p", "eta2")]
    best = pd.DataFrame({"cluster": np.arange(200)})
    sets = pd.DataFrame(members.numpy().T, columns=SETS)
    seen = View(W_dec, W_U, torch.arange(600))
    layer = study.layer(
        "x",
        seen,
        {"trained": moments, "cosine": moments},
        types,
        best,
        (sets, *found),
        nulls,
        schemes,
        cut=-5.0,
        settings=SETTINGS,
    )
    return layer, typings, nulls, schemes


def test_null_directions_are_typed_by_the_layers_own_thresholds(made):
    layer, typings, nulls, _ = made
    assert [one.kind for one in layer.nulls] == list(BOUNDING)
    for null in layer.nulls:
        frame = nulls.fresh["trained"]
        frame = frame[frame["kind"] == null.kind]
        assert len(null.inputs.moments) == len(frame) == len(null.inputs.t)
        for typing in typings[:2]:
            for label in ("prediction", "partition"):
                grouped = null.groups[typing.name, label]
                if grouped.loosened == 1:
                    np.testing.assert_array_equal(grouped.labels, typing.others(frame).primary)
    # Another view's directions are the same where they are isotropic.
    of_cosine = [("universal_neurons", "prediction") in one.groups for one in layer.nulls]
    assert of_cosine == [True, False]
    assert ("universal_neurons", "local_context") not in layer.nulls[0].groups


def test_what_is_compared_belongs_to_the_directions_of_the_table(made):
    layer, *_ = made
    for null in layer.nulls:
        assert np.isfinite(null.inputs.t).all() and (null.inputs.eta2 <= 1 + 1e-5).all()
        skewed = null.inputs.moments["skewness"].to_numpy()
        # The set of 30 tokens, far out on one axis, makes most of the skewness.
        assert np.corrcoef(skewed, np.sign(null.inputs.t[:, 1]) * null.inputs.eta2[:, 1])[0, 1] > 0.8


def test_an_auc_of_skewed_directions_is_large_by_construction_and_said_to_be(made, tmp_path):
    layer, _, _, schemes = made
    found = claims.compare_layer(layer.inputs, schemes, layer.nulls, min_features=5, draws=20, seed=0)
    judged = verdicts.judge([found], level=0.05)
    tables.write(judged, tmp_path / "claims.parquet", CLAIMS_TABLE, {})
    tables.write(layer.dips, tmp_path / "dips.parquet", DIPS, {})
    row = judged[(judged["scheme"] == "post") & (judged["claim"] == "prediction_digits_eta2")].iloc[0]
    assert row["reference"] > 0.7 and row["units_null"] >= 5
