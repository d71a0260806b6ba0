"""Null directions in the groups of a layer's features."""

import numpy as np
import pytest
import torch

from fsrl.claims import dips, null_groups
from fsrl.enrichment.covariance import layer_covariance
from fsrl.names import BOUNDING
from fsrl.nulls import frames as null_frames
from fsrl.types import tails
from tests.fixtures.type_examples import CALIBRATED, POST, random_tables, typings


def calibrated(seed=0, n=300):
    """A layer's typing, and fresh directions of the distribution that set its bounds."""
    moments, null = random_tables(seed, n)
    fresh = random_tables(seed + 100, 4000)[1]
    return typings(moments, {"calibrated": CALIBRATED}, null)[0], fresh


@pytest.mark.parametrize("label", ["prediction", "suppression", "partition"])
def test_thresholds_are_the_layers_until_too_few_have_the_type(label):
    typing, fresh = calibrated()
    found = null_groups.equally_typed(typing, fresh, [label], wanted=1)[label]
    as_they_are = typing.others(fresh).primary
    if found.loosened == 1:
        np.testing.assert_array_equal(found.labels, as_they_are)
    assert (found.labels == label).sum() >= 1
    enough = 2 + int((as_they_are == label).sum())
    more = null_groups.equally_typed(typing, fresh, [label], wanted=enough)[label]
    assert more.loosened >= 2 and (more.labels == label).sum() > (as_they_are == label).sum()
    # Half as far there are too few.
    p, least = tails.log10_p(fresh, typing.known), typing.critical()
    wanted, before = 2 + int((as_they_are == label).sum()), more.loosened / 2
    called = {tail: p[tail] <= min(least[tail] + np.log10(before), np.log10(0.05)) for tail in least}
    shapes = null_groups.classify.Shapes.of(fresh, typing.known)
    fewer = null_groups.classify.tail_labels(shapes, called, typing.scheme).primary
    assert (fewer == label).sum() < wanted


def test_thresholds_are_loosened_to_one_in_twenty_and_no_further():
    typing, fresh = calibrated()
    found = null_groups.equally_typed(typing, fresh, ["prediction"], wanted=10**9)["prediction"]
    p = tails.log10_p(fresh, typing.known)
    beyond = (p["right"] <= np.log10(0.05)) | (p["right_kurtosis"] <= np.log10(0.05))
    assert not (found.labels == "prediction")[~beyond].any()
    assert found.loosened == pytest.approx(
        0.05 / 10 ** min(typing.critical()[tail] for tail in ("right", "right_kurtosis"))
    )
    flat = p["flat"] <= np.log10(0.05)
    assert ((found.labels == "partition") == flat).all()


def test_rules_are_not_loosened():
    moments, _ = random_tables(1)
    [typing] = typings(moments, {"post": POST})
    fresh = random_tables(2)[1]
    found = null_groups.equally_typed(typing, fresh, ["partition"], wanted=10**9)["partition"]
    np.testing.assert_array_equal(found.labels, typing.others(fresh).primary)
    assert found.loosened == 1


def test_directions_are_those_of_the_table_of_fresh_ones_and_their_dips_are_measured():
    generator = torch.Generator().manual_seed(0)
    W_U, W_dec = torch.randn(8, 400, generator=generator), torch.randn(60, 8, generator=generator)
    fresh = null_frames.isotropic(W_U, draws=30, seed=7)
    directions = torch.cat(list(null_frames.draw("isotropic", W_dec, W_U, draws=30, seed=7)))
    weights = (directions @ W_U).double()
    np.testing.assert_allclose(weights.std(dim=1, correction=0), fresh["std"], rtol=1e-5)
    labels = np.array(["partition"] * 6 + ["unclassified"] * 24, dtype=object)
    groups = {("calibrated", "partition"): null_groups.Grouped(labels, 1.0)}
    sets = torch.zeros(1, 400, dtype=torch.bool)
    sets[0, :30] = True
    null_dips = dips.null_dips(W_dec, W_U, draws=50, seed=0)
    arguments = (directions, W_U, (["some"], sets), layer_covariance(W_dec), fresh, groups)
    found = null_groups.null_inputs(
        "isotropic", *arguments, null_dips=null_dips, dip_features=4, seed=0
    ).inputs
    measured = np.flatnonzero(~np.isnan(found.dip))
    assert len(measured) == 8 and (measured < 6).sum() == 4 and found.matched.sum() == 4
    np.testing.assert_array_equal(
        found.dip[measured], dips.of_rows(directions[torch.from_numpy(measured)], W_U, null_dips)
    )
    assert found.t.shape == (30, 1) and not found.promoted.any() and len(set(found.clusters)) == 30


@pytest.mark.parametrize("kind", ["second_moment", *BOUNDING[1:]])
def test_draws_of_a_layers_kind_are_those_of_its_table(kind):
    generator = torch.Generator().manual_seed(1)
    W_U, W_dec = torch.randn(8, 400, generator=generator), torch.randn(20, 8, generator=generator)
    isotropic = null_frames.isotropic(W_U, draws=50, seed=0)
    known = null_frames.typical_of(isotropic)
    made = null_frames.of_layer(W_dec, W_U, kinds=[kind], draws=25, seed=3, typical=known)
    directions = torch.cat(list(null_frames.draw(kind, W_dec, W_U, draws=25, seed=3)))
    np.testing.assert_allclose((directions @ W_U).mean(dim=1), made["mean"], rtol=1e-4, atol=1e-5)
