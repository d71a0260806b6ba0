"""Which null bounds the types: planted axes are lost by flips and found by the spectrum; counts by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.claims import null_comparison, planted
from fsrl.claims.null_comparison import ISOTROPIC_ALONE, Case
from fsrl.names import BOUNDING
from fsrl.nulls import directions, quantiles
from fsrl.nulls import frames as nulls
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables import core as tables
from fsrl.tables.planted import NULL_COMPARISON
from fsrl.types import classify
from fsrl.types.rules import TailScheme

SCHEME = TailScheme("calibrated", level=0.05, tail_tokens=20, share=0.25)
SETTINGS = {"draws": 1000, "seed": 3}


def by_criterion(frame):
    return frame.set_index(["null", "criterion"])


@pytest.fixture(scope="module")
def axis():
    case = null_comparison.one_axis(draws=8000, seed=0)
    return by_criterion(null_comparison.compare([case], SCHEME, draws=4000, seed=0))


def test_rows_along_an_axis_are_found_by_the_null_that_bounds_the_types(axis):
    assert axis.loc[(ISOTROPIC_ALONE, "planted"), ["found", "of"]].tolist() == [30, 30]
    assert axis.loc[(BOUNDING[1], "planted"), "share"] >= 0.9
    # The fault of a flip: the rows are in the null themselves.
    assert axis.loc[("sign_flip", "planted"), "share"] < 0.5


def test_rows_with_nothing_planted_are_left_alone(axis):
    rest = axis.xs("nothing planted", level="criterion")
    assert (rest["of"] == null_comparison.AXIS_ROWS - null_comparison.AXIS_PLANTED).all()
    assert (rest["share"] <= 0.01).all()


@pytest.fixture(scope="module")
def layer():
    """A layer with features of every size, under W_U with a heavy axis that all rows share."""
    generator = torch.Generator().manual_seed(1)
    W_U, W_dec = (torch.randn(*shape, generator=generator) for shape in ((16, 900), (400, 16)))
    W_U[0] = W_U[0].sign() * W_U[0].abs() ** 1.8
    W_dec[:, 0] *= 5
    null = nulls.isotropic(W_U, draws=4000, seed=0)
    typical = typical_of(null)
    moments = planted.measure(W_dec, W_U, typical)
    return Case("a layer", W_dec, W_U, moments, quantiles.of_draws(null)["isotropic"], typical)


def test_counts_of_a_layer_are_those_of_the_scheme_with_that_null(layer, tmp_path):
    frame = null_comparison.compare([layer], SCHEME, **SETTINGS)
    found = by_criterion(frame)
    assert (found["of"] == 400).all() and (frame["share"] == frame["found"] / 400).all()
    # The slow twin: the layer's table `null`, and the types as the workflow assigns them.
    isotropic = nulls.isotropic(layer.W_U, draws=4000, seed=0)
    own = nulls.of_layer(layer.W_dec, layer.W_U, kinds=["spectrum"], typical=layer.typical, **SETTINGS)
    known = quantiles.of_draws(pd.concat([isotropic, own]))
    typing = classify.typing_of(SCHEME, layer.moments, known)
    typed = (classify.types(typing)["type"] != "unclassified").sum()
    assert found.loc[("spectrum", "features"), "found"] == typed
    fresh = {"draws": 400, "seed": nulls.fresh_seed(3)}
    flips = nulls.of_layer(layer.W_dec, layer.W_U, kinds=["sign_flip"], typical=layer.typical, **fresh)
    labels = typing.as_layer(flips).primary
    assert found.loc[("spectrum", "fresh sign_flip"), "found"] == (labels != "unclassified").sum()
    # A trait that all rows share floods the layer where isotropic directions alone bound it.
    alone = found.loc[(ISOTROPIC_ALONE, "features"), "found"]
    assert alone > 200
    assert found.loc[("spectrum", "features"), "found"] < 20
    tables.write(frame, tmp_path / "table", NULL_COMPARISON, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "table", NULL_COMPARISON), frame)


def test_sets_along_axes_lie_along_axes():
    tokens = [f"token{number}" for number in range(1500)]
    along, turned = (planted.world(tokens, d_model=120, seed=0, along_axes=which) for which in (True, False))
    for where, concentrated in ((along, True), (turned, False)):
        centred = (where.W_U - where.W_U.mean(dim=1, keepdim=True)).double()
        axes = torch.linalg.eigh(centred @ centred.T).eigenvectors
        members = where.members.double()
        gaps = (members / members.sum(dim=1, keepdim=True)) @ centred.T
        signals = torch.linalg.solve(centred @ centred.T, gaps.T).T @ axes
        largest = (signals.square() / signals.square().sum(dim=1, keepdim=True)).amax(dim=1).numpy()
        assert (np.median(largest) > 0.5) == concentrated


def test_every_candidate_is_drawn_from_the_rows(layer):
    for draw in null_comparison.CANDIDATES.values():
        rows = torch.cat(list(draw(layer.W_dec, layer.W_U, draws=50, seed=0)))
        assert rows.shape == (50, 16)
    assert null_comparison.CANDIDATES[BOUNDING[1]] is directions.spectrum
