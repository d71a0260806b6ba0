"""Recovery of planted types: the scores by hand, the clear ones at .95, the rest shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fsrl.claims import planted, recovery
from fsrl.errors import FsrlError
from fsrl.mini.tokens import vocabulary
from fsrl.names import TYPES
from fsrl.tables import core as tables
from fsrl.tables.planted import RECOVERY, RECOVERY_BY_SET
from fsrl.types.rules import parse_scheme, parse_schemes
from tests.fixtures.type_examples import CALIBRATED, SCHEMES

MINI = Path(__file__).parents[2] / "data" / "mini"


def cuts(**rules):
    rows = [(name, *bound) for name, bounds in rules.items() for bound in bounds]
    return pd.DataFrame(rows, columns=["type", "column", "word", "threshold"])


def truth_of(kind, skewness, kurtosis, implied=np.nan):
    frame = pd.DataFrame({"type": kind, "perfect_skewness": skewness, "perfect_kurtosis": kurtosis})
    return frame.assign(perfect_tail_tokens=implied, std=0.2, norm=1.0)


def test_clear_by_hand():
    rules = cuts(
        prediction=[("skewness", "above", 0.5)],
        suppression=[("skewness", "below", -0.5)],
        partition=[("kurtosis", "below", 2.5)],
    )
    truth = truth_of(
        [
            "prediction",
            "prediction",
            "suppression",
            "suppression",
            "partition",
            "partition",
            "partition",
            "none",
        ],
        [0.61, 0.59, -0.61, -0.59, 0.0, 0.0, 0.41, 9.0],
        [3.0, 3.0, 3.0, 3.0, 1.99, 2.01, 1.99, 1.0],
    )
    # The last partition would be a prediction if that type's bound lay 20 % lower, at 0.4.
    assert recovery.clear(truth, rules).tolist() == [True, False, True, False, True, False, False, False]
    assert recovery.clear(truth, rules, slack=0.0).tolist() == [True] * 7 + [False]


def test_nothing_is_clear_of_a_type_that_the_scheme_lacks_or_that_has_no_closed_form():
    truth = truth_of(["partition", "prediction"], [0.0, 5.0], [1.5, 30.0])
    rules = cuts(partition=[("variance_x_d_model", "above", 1.0), ("kurtosis", "below", 3.0)])
    assert recovery.clear(truth, rules).tolist() == [False, False]


def test_a_quantity_that_is_not_known_meets_no_bound():
    rules = cuts(local_context=[("tail_tokens", "max", 20.0)], prediction=[("skewness", "above", 0.5)])
    truth = truth_of(["local_context", "local_context", "prediction"], 2.0, 9.0, [np.nan, 15.0, np.nan])
    assert recovery.clear(truth, rules).tolist() == [False, True, True]


def small_study():
    truth = pd.DataFrame(
        {
            "type": ["prediction", "prediction", "prediction", "partition", "none", "none"],
            "tokens": [30, 30, 60, 500, 0, 0],
            "share": [0.01, 0.01, 0.02, 0.2, 0.0, 0.0],
            "strength": [2.0, 2.0, 2.0, 2.0, np.nan, np.nan],
            "perfect_skewness": [1.0, 1.0, 1.0, -0.5, 0, 0],
            "perfect_kurtosis": [4.0, 4.0, 4.0, 2.5, 3, 3],
            "skewness": [1.2, 0.8, 1.0, -0.4, 0, 0],
            "kurtosis": 3.0,
        }
    )
    label = ["prediction", "unclassified", "local_context", "prediction", "prediction", "unclassified"]
    types = pd.DataFrame({"scheme": "s", "type": label})
    for name in TYPES:
        types[name] = [kind == name for kind in label]
    types.loc[2, "prediction"] = True
    return truth, types, np.array([True, True, False, False, False, False])


def test_scores_by_hand(tmp_path):
    found = recovery.recovery(*small_study(), planted_share=0.5, strength=2.0)
    at = found.set_index(["population", "type"])
    everything, clear = at.loc[("all", "prediction")], at.loc[("clear", "prediction")]
    assert everything[["planted", "labelled", "correct", "by_chance"]].tolist() == [3, 3, 1, 1]
    assert (everything["precision"], everything["recall"]) == pytest.approx((1 / 3, 1 / 3))
    assert everything["member_recall"] == pytest.approx(2 / 3)
    # Without the third (not clear) and the partition (not clear) that was taken for a prediction.
    assert clear[["planted", "labelled", "correct", "by_chance"]].tolist() == [2, 2, 1, 1]
    assert (clear["precision"], clear["recall"]) == (0.5, 0.5)
    assert at.loc[("all", "partition"), "recall"] == 0 and np.isnan(at.loc[("all", "partition"), "precision"])
    assert np.isnan(at.loc[("clear", "partition"), "recall"])
    tables.write(found, tmp_path / "t", RECOVERY, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", RECOVERY), found)


def test_scores_by_set_by_hand(tmp_path):
    found = recovery.recovery_by_set(*small_study())
    at = found.set_index(["type", "tokens"])
    assert at.loc[("prediction", 30), ["planted", "clear", "recall", "member_recall"]].tolist() == [
        2,
        True,
        0.5,
        0.5,
    ]
    assert at.loc[("prediction", 60), ["clear", "recall", "member_recall"]].tolist() == [False, 0.0, 1.0]
    assert at.loc[("partition", 500), ["perfect_skewness", "skewness"]].tolist() == [0.5, 0.4]
    assert len(found) == 3
    tables.write(found, tmp_path / "t", RECOVERY_BY_SET, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", RECOVERY_BY_SET), found)


@pytest.fixture(scope="module")
def where():
    return planted.world(vocabulary(MINI / "model")[:4000], d_model=120, seed=0)


@pytest.fixture(scope="module")
def swept(where):
    settings = {"strengths": [2.0, 6.0, 12.0], "planted_shares": [0.01, 0.05, 0.15], "features": 3000}
    return recovery.sweep(where, [parse_scheme("calibrated", CALIBRATED)], **settings, draws=8000, seed=0)


def test_clear_plants_are_found_and_little_else_is_taken_for_them(swept):
    curves = swept[0]
    common = curves["planted_share"] > 0.01
    clear = curves[common & (curves["population"] == "clear") & (curves["planted"] >= 30)]
    assert set(clear["type"]) == set(TYPES)
    assert (clear["recall"] >= 0.95).all()
    assert (clear["precision"] >= 0.95).all()


@pytest.mark.parametrize("share", [0.01, 0.05, 0.15])
def test_among_clear_plants_themselves_labels_are_right_at_every_share(swept, share):
    """What chance labels among features without a plant is in `by_chance`: at 1 % it caps the precision."""
    curves = swept[0]
    clear = curves[(curves["population"] == "clear") & (curves["planted_share"] == share)]
    pooled = clear[["planted", "labelled", "correct", "by_chance"]].sum()
    assert pooled["planted"] >= 40
    assert pooled["correct"] / pooled["planted"] >= 0.95
    assert pooled["correct"] / (pooled["labelled"] - pooled["by_chance"]) >= 0.95


def test_what_is_not_clear_is_shown(swept):
    curves, by_set = swept
    weak = curves[(curves["strength"] == 2.0) & (curves["population"] == "all")].set_index("type")
    assert (weak.loc[["local_context", "suppression"], "recall"] < 0.5).all()
    tenth = by_set[(by_set["type"] == "partition") & (by_set["share"] == 0.1)]
    assert len(tenth) == 3 and (tenth["recall"] == 0).all() and not tenth["clear"].any()
    half = by_set[(by_set["type"] == "partition") & (by_set["share"] == 0.5) & (by_set["strength"] == 12.0)]
    assert half["recall"].item() == 1


def test_schemes_read_their_views(where):
    settings = {"strengths": [6.0], "planted_shares": [0.05], "features": 400, "draws": 1000, "seed": 0}
    schemes = parse_schemes(SCHEMES)
    together, _ = recovery.sweep(where, schemes, **settings)
    assert set(together["scheme"]) == set(SCHEMES)
    cosine, _ = recovery.sweep(where, schemes[-1:], **settings)
    mine = together[together["scheme"] == "universal_neurons"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, cosine)
    as_products = replace(schemes[-1], view=None)
    products, _ = recovery.sweep(where, [as_products], **settings)
    assert not products.equals(cosine)


def test_other_views_are_refused(where):
    scheme = parse_scheme("mine", CALIBRATED | {"view": "raw"})
    with pytest.raises(FsrlError, match="scheme mine reads view 'raw'; planted studies have null and cosine"):
        recovery.sweep(
            where, [scheme], strengths=[2.0], planted_shares=[0.1], features=100, draws=100, seed=0
        )
