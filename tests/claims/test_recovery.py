"""Recovery of planted types: the scores by hand, and what must be found of everything planted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.claims import planted, recovery
from fsrl.errors import FsrlError
from fsrl.mini.tokens import vocabulary
from fsrl.names import TYPES
from fsrl.nulls.quantiles import of_draws
from fsrl.stats.rates import wilson
from fsrl.tables import core as tables
from fsrl.tables.planted import RECOVERY, RECOVERY_BY_SET
from fsrl.types.classify import typing_of
from fsrl.types.rules import parse_scheme, parse_schemes
from tests.fixtures.type_examples import CALIBRATED, DEFAULTS, SCHEMES

MINI = Path(__file__).parents[2] / "data" / "mini"


def shapes(**columns):
    """Rows of table `moments`, ordinary but for the given columns."""
    rows = pd.DataFrame(columns)
    return rows.assign(**{name: value for name, value in DEFAULTS.items() if name not in rows})


def study_of(kinds, perfect, shares=0.0):
    """A planted study of which only the answer and the perfect plants are known."""
    truth = pd.DataFrame({"type": kinds}).assign(share=shares, tokens=30)
    return planted.Planted(torch.ones(len(truth), 1), truth, perfect, perfect)


def test_clear_is_what_a_perfect_plant_would_be_labelled_by_hand():
    rules = {"prediction": {"skewness": {"above": 0.5}}, "partition": {"kurtosis": {"below": 2.5}}}
    scheme = parse_scheme("mine", {"view": None, "types": rules})
    kinds = ["prediction", "prediction", "partition", "partition", "suppression", "none"]
    perfect = shapes(skewness=[0.6, 0.4, 0.0, 0.6, -9.0, 9.0], kurtosis=[3.0, 3.0, 2.4, 2.4, 9.0, 9.0])
    found = study_of(kinds, perfect)
    # The second partition is a prediction first; the scheme has no suppression; the last is no plant.
    typing = typing_of(scheme, shapes(skewness=[0.0], kurtosis=[3.0]))
    assert recovery.clear(found, typing).tolist() == [True, False, True, False, False, False]


def test_clear_of_a_scheme_of_tails_goes_by_the_values_that_are_significant():
    rng = np.random.default_rng(0)
    draws = {"skewness": rng.normal(0, 0.1, 4000), "kurtosis": rng.normal(3, 0.1, 4000)}
    draws |= {name: DEFAULTS[name] * rng.lognormal(0, 0.05, 4000) for name in ("right_eighth", "left_eighth")}
    null = shapes(**draws, right_kurtosis=draws["kurtosis"] / 2 + rng.normal(0, 0.05, 4000))
    null["left_kurtosis"] = null["kurtosis"] - null["right_kurtosis"]
    null = null.assign(kind="isotropic", draw=range(4000))
    scheme = parse_scheme("calibrated", CALIBRATED)
    layer = shapes(skewness=[2.0] + 9 * [0.0], kurtosis=3.0)
    typing = typing_of(scheme, layer, of_draws(null))
    perfect = shapes(skewness=[2.0, 2.0, 0.1, -2.0, 0.0], tail_tokens=[30.0, 9.0, 30.0, np.inf, np.inf])
    kinds = ["prediction", "prediction", "prediction", "suppression", "partition"]
    perfect["kurtosis"] = [3.0, 3.0, 3.0, 3.0, 1.5]
    assert recovery.clear(study_of(kinds, perfect), typing).tolist() == [True, False, False, True, True]


def small_study():
    kinds = ["prediction", "prediction", "prediction", "partition", "none", "none"]
    moments = shapes(skewness=[1.2, 0.8, 1.0, -0.4, 0.0, 0.0], kurtosis=3.0)
    perfect = shapes(skewness=[1.0, 1.0, 1.0, -0.5, 0.0, 0.0], kurtosis=[4.0, 4.0, 4.0, 2.5, 3.0, 3.0])
    truth = pd.DataFrame(
        {
            "type": kinds,
            "tokens": [30, 30, 60, 500, 0, 0],
            "share": [0.01, 0.01, 0.02, 0.2, 0.0, 0.0],
            "strength": [2.0, 2.0, 2.0, 2.0, np.nan, np.nan],
        }
    )
    label = ["prediction", "two_sided", "local_context", "prediction", "prediction", "unclassified"]
    types = pd.DataFrame({"scheme": "s", "type": label})
    for name in TYPES:
        types[name] = [kind == name for kind in label]
    types.loc[2, "prediction"] = True
    found = planted.Planted(torch.ones(6, 1), truth, moments, perfect)
    return found, types, np.array([True, True, False, False, False, False])


AT = {"planted_share": 0.5, "strength": 2.0}


def test_scores_by_hand(tmp_path):
    study, types, is_clear = small_study()
    found = recovery.recovery(study.truth, types, is_clear, **AT)
    at = found.set_index(["population", "type"])
    counts = ["planted", "labelled", "correct", "by_chance", "two_sided"]
    everything, clear = at.loc[("all", "prediction")], at.loc[("clear", "prediction")]
    assert everything[counts].tolist() == [3, 3, 1, 1, 1]
    assert (everything["precision"], everything["recall"]) == pytest.approx((1 / 3, 1 / 3))
    assert (everything["recall_low"], everything["recall_high"]) == wilson(1, 3)
    assert everything["member_recall"] == pytest.approx(2 / 3)
    # Without the third (not clear) and the partition (not clear) that was taken for a prediction.
    assert clear[counts].tolist() == [2, 2, 1, 1, 1]
    assert (clear["precision"], clear["recall"]) == (0.5, 0.5)
    # Without the partition of a fifth, which counts against the predictions in `all`.
    assert at.loc[("even", "prediction"), counts].tolist() == [3, 2, 1, 1, 1]
    assert at.loc[("all", "partition"), "recall"] == 0 and np.isnan(at.loc[("all", "partition"), "precision"])
    assert np.isnan(at.loc[("even", "partition"), "recall"])
    assert at.loc[("all", "two_sided"), counts].tolist() == [0, 1, 0, 0, 0]
    tables.write(found, tmp_path / "t", RECOVERY, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", RECOVERY), found)


def test_scores_by_set_by_hand(tmp_path):
    found = recovery.recovery_by_set(*small_study(), **AT)
    at = found.set_index(["type", "tokens"])
    names = ["planted", "clear", "two_sided", "recall", "member_recall"]
    assert at.loc[("prediction", 30), names].tolist() == [2, True, 1, 0.5, 0.5]
    assert at.loc[("prediction", 30), ["recall_low", "recall_high"]].tolist() == list(wilson(1, 2))
    assert at.loc[("prediction", 60), ["clear", "recall", "member_recall"]].tolist() == [False, 0.0, 1.0]
    assert at.loc[("partition", 500), ["perfect_skewness", "skewness"]].tolist() == [0.5, 0.4]
    assert len(found) == 3
    tables.write(found, tmp_path / "t", RECOVERY_BY_SET, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", RECOVERY_BY_SET), found)


# Least recall and precision of everything planted, at 6 standard deviations among 8192 tokens.
LEAST = {
    "local_context": (0.60, 0.75),
    "prediction": (0.90, 0.80),
    "suppression": (0.80, 0.75),
    "partition": (0.60, 0.90),
}


@pytest.fixture(scope="module")
def where():
    return planted.world(vocabulary(MINI / "model")[:4000], d_model=120, seed=0)


@pytest.fixture(scope="module")
def swept(where):
    settings = {"strengths": [2.0, 6.0, 12.0], "planted_shares": [0.01, 0.05, 0.15], "features": 3000}
    return recovery.sweep(where, [parse_scheme("calibrated", CALIBRATED)], **settings, draws=8000, seed=0)


@pytest.fixture(scope="module")
def whole():
    """Everything planted in four worlds over the whole vocabulary, the config's and three others."""
    settings = {"strengths": [6.0], "planted_shares": [0.05], "features": 2000, "draws": 4000}
    scheme, tokens = parse_scheme("calibrated", CALIBRATED), vocabulary(MINI / "model")
    parts = [
        recovery.sweep(planted.world(tokens, d_model=192, seed=seed), [scheme], **settings, seed=seed)[0]
        for seed in (0, 1, 2, 3)
    ]
    counts = pd.concat(parts).groupby(["population", "type"])[["planted", "labelled", "correct"]].sum()
    return counts.assign(
        recall=counts["correct"] / counts["planted"], precision=counts["correct"] / counts["labelled"]
    )


@pytest.mark.parametrize("name", list(LEAST))
def test_planted_types_are_found_again(whole, name):
    recall, precision = LEAST[name]
    row = whole.loc["even" if name == "partition" else "all", :].loc[name]
    assert row["planted"] >= 250
    assert row["recall"] >= recall and row["precision"] >= precision


def test_where_nothing_is_planted_few_have_a_type(swept):
    curves = swept[0]
    for share, most in ((0.01, 0.01), (0.05, 0.02), (0.15, 0.06)):
        part = curves[(curves["population"] == "all") & (curves["planted_share"] == share)]
        by_chance = part.groupby("strength")["by_chance"].sum()
        nothing = 3000 - part.groupby("strength")["planted"].sum()
        # The false discovery rate lets chance grow with the discoveries.
        assert (by_chance / nothing <= most).all()


def test_weak_plants_and_small_partitions_are_missed(swept):
    curves, by_set = swept
    weak = curves[(curves["strength"] == 2.0) & (curves["population"] == "all")].set_index("type")
    assert (weak.loc[["local_context", "suppression"], "recall"] < 0.5).all()
    by_share = by_set[by_set["type"] == "partition"].set_index(["planted_share", "share", "strength"])
    tenth = by_share.xs(0.1, level="share")
    assert len(tenth) == 9 and (tenth["recall"] == 0).all() and not tenth["clear"].any()
    assert (by_share.xs((0.5, 12.0), level=("share", "strength"))["recall"] == 1).all()


def test_of_strong_clear_plants_nearly_all_are_found(swept):
    curves = swept[0]
    clear = curves[(curves["population"] == "clear") & (curves["strength"] == 12.0)]
    pooled = clear[["planted", "correct"]].sum()
    assert pooled["planted"] >= 1000 and pooled["correct"] / pooled["planted"] >= 0.95


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
    scheme = parse_scheme("mine", SCHEMES["post"] | {"view": "raw"})
    with pytest.raises(FsrlError, match="scheme mine reads view 'raw'; planted studies have null and cosine"):
        recovery.sweep(
            where, [scheme], strengths=[2.0], planted_shares=[0.1], features=100, draws=100, seed=0
        )
