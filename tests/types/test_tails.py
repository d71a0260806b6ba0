"""Tails beyond chance: p and q against counting and scipy, evidence by hand, both nulls, critical values."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fsrl.errors import FsrlError
from fsrl.names import TAILS
from fsrl.nulls import quantiles
from fsrl.tables import core as tables
from fsrl.tables.types import TAIL_CALIBRATION, TAIL_TABLE
from fsrl.types import tails
from tests.fixtures.type_examples import NULL, random_tables, table

# What each tail reads, and the null values it is compared with, written out once more.
READS = {
    "right": (lambda frame: frame["skewness"], lambda null: [*null["skewness"], *-null["skewness"]]),
    "left": (lambda frame: -frame["skewness"], lambda null: [*null["skewness"], *-null["skewness"]]),
    "right_kurtosis": (
        lambda frame: frame["right_kurtosis"],
        lambda null: [*null["right_kurtosis"], *null["left_kurtosis"]],
    ),
    "left_kurtosis": (
        lambda frame: frame["left_kurtosis"],
        lambda null: [*null["right_kurtosis"], *null["left_kurtosis"]],
    ),
    "heavy": (lambda frame: frame["kurtosis"], lambda null: [*null["kurtosis"]]),
    "flat": (lambda frame: -frame["kurtosis"], lambda null: [*-null["kurtosis"]]),
    "right_eighth": (
        lambda frame: frame["right_eighth"],
        lambda null: [*null["right_eighth"], *null["left_eighth"]],
    ),
    "left_eighth": (
        lambda frame: frame["left_eighth"],
        lambda null: [*null["right_eighth"], *null["left_eighth"]],
    ),
}


def by_counting(frame, null, tail):
    read, pooled = READS[tail]
    values = np.array(pooled(null), dtype=float)
    values = values[~np.isnan(values)]
    x = read(frame).to_numpy()
    p = (1 + (values[None, :] >= x[:, None]).sum(axis=1)) / (1 + len(values))
    return np.where(np.isnan(x) | (x > values.max()), np.nan, p)


@pytest.mark.parametrize("seed", range(3))
def test_p_is_the_larger_of_both_nulls_by_counting(seed):
    moments, isotropic = random_tables(seed, n=400)
    flip = random_tables(seed + 10, n=300, kind="spectrum")[1]
    found = tails.tails_frame(moments, quantiles.of_draws(pd.concat([isotropic, flip])))
    for tail in TAILS:
        of_kinds = {"isotropic": isotropic, "spectrum": flip}
        slow = {kind: by_counting(moments, null, tail) for kind, null in of_kinds.items()}
        for kind, p in slow.items():
            known = ~np.isnan(p)
            np.testing.assert_allclose(found[f"p_{tail}_{kind}"][known], p[known], rtol=0.05)
        assert (found[f"p_{tail}"] == found[[f"p_{tail}_{kind}" for kind in of_kinds]].max(axis=1))[
            found[f"p_{tail}"].notna()
        ].all()
        p = found[f"p_{tail}"].dropna()
        np.testing.assert_allclose(found.loc[p.index, f"q_{tail}"], stats.false_discovery_control(p))
        assert found[f"q_{tail}"].isna().tolist() == moments["skewness"].isna().tolist()


def test_evidence_is_the_smaller_over_both_nulls():
    # Heavy: of NULL the median is 3.75 and the 0.999 quantile 4.9975, of the wide null 4.5 and 6.995; so
    # kurtosis 6 has 2.25 / 1.2475 against the first and 1.5 / 2.495 against the second.
    wide = NULL.assign(kurtosis=np.linspace(2, 7, 1001), kind="spectrum")
    known = quantiles.of_draws(pd.concat([NULL, wide]))
    found = tails.tails_frame(table(kurtosis=[6.0]), known)
    assert found["evidence_heavy"].item() == pytest.approx(1.5 / 2.495)
    # Right: pooled with its mirror image the median is 0 and the 0.999 quantile 0.998.
    found = tails.tails_frame(table(skewness=[0.998, -0.998]), quantiles.of_draws(NULL))
    assert found["evidence_right"].tolist() == pytest.approx([1, -1], abs=2e-3)
    assert found["evidence_left"].tolist() == pytest.approx([-1, 1], abs=2e-3)


def test_a_kind_that_was_not_run_is_null_and_other_kinds_do_not_count(tmp_path):
    other = NULL.assign(kind="second_moment", kurtosis=NULL["kurtosis"] * 10)
    moments = table(kurtosis=[3.0, np.nan, 9.0], skewness=[0.5, np.nan, -2])
    found = tails.tails_frame(moments, quantiles.of_draws(pd.concat([NULL, other])))
    assert found.filter(like="spectrum").isna().all(axis=None)
    pd.testing.assert_frame_equal(found, tails.tails_frame(moments, quantiles.of_draws(NULL)))
    tables.write(found, tmp_path / "tails", TAIL_TABLE, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "tails", TAIL_TABLE), found)
    with pytest.raises(FsrlError, match="no null of kind isotropic; there are second_moment"):
        tails.tails_frame(moments, quantiles.of_draws(other))


@given(st.integers(0, 200))
def test_turning_every_direction_round_exchanges_the_sides(seed):
    moments, null = random_tables(seed, n=30)
    known = quantiles.of_draws(null)
    turned = moments.assign(
        skewness=-moments["skewness"],
        right_kurtosis=moments["left_kurtosis"],
        left_kurtosis=moments["right_kurtosis"],
        right_eighth=moments["left_eighth"],
        left_eighth=moments["right_eighth"],
    )
    here, there = tails.tails_frame(moments, known), tails.tails_frame(turned, known)
    mirror = {"right": "left", "right_kurtosis": "left_kurtosis", "heavy": "heavy", "flat": "flat"}
    mirror |= {"right_eighth": "left_eighth"}
    for one, other in mirror.items():
        for name in ("p", "q", "evidence"):
            np.testing.assert_array_equal(here[f"{name}_{one}"], there[f"{name}_{other}"])
    # The null has no side either.
    flipped = null.assign(
        skewness=-null["skewness"], right_kurtosis=null["left_kurtosis"], left_kurtosis=null["right_kurtosis"]
    )
    pd.testing.assert_frame_equal(tails.tails_frame(moments, quantiles.of_draws(flipped)), here)


@pytest.mark.parametrize("seed", range(5))
def test_significant_is_at_most_the_critical_p(seed):
    moments, null = random_tables(seed, n=400)
    p = tails.log10_p(moments, quantiles.of_draws(null))
    for level in (0.05, 0.3):
        levels = dict.fromkeys(p, level)
        called, least = tails.significant(p, levels), tails.critical(p, levels)
        for tail, one in p.items():
            assert called[tail].tolist() == (one <= least[tail]).tolist()
            if not called[tail].any():
                assert least[tail] == pytest.approx(np.log10(level / (~np.isnan(one)).sum()))


def test_the_critical_value_reaches_p_against_every_null():
    wide = NULL.assign(skewness=2 * NULL["skewness"], kurtosis=NULL["kurtosis"] + 0.1, kind="spectrum")
    known = quantiles.of_draws(pd.concat([NULL, wide]))
    value, kind = tails.critical_value(known, "right", np.log10(0.01))
    assert kind == "spectrum" and value == pytest.approx(2 * 0.98, abs=0.01)
    value, kind = tails.critical_value(known, "left", np.log10(0.01))
    assert value == pytest.approx(-2 * 0.98, abs=0.01)
    value, kind = tails.critical_value(known, "flat", np.log10(0.01))
    assert kind == "isotropic" and value == pytest.approx(2.525, abs=0.01)
    assert np.isnan(tails.critical_value(known, "heavy", -12.0)[0])


def test_calibration_counts_fresh_draws_of_each_kind_against_itself(tmp_path):
    narrow, wide = NULL, NULL.assign(kind="sign_flip", kurtosis=10 * NULL["kurtosis"])
    known = quantiles.of_draws(pd.concat([narrow, wide]))
    found = tails.calibration(pd.concat([narrow, wide]), known).set_index(["kind", "tail", "level"])
    # The draws themselves, evenly spread: a hundredth has p of .01, but for the 1 that is added.
    for kind in ("isotropic", "sign_flip"):
        row = found.loc[(kind, "heavy", 0.01)]
        assert (row["draws"], row["beyond"]) == (1001, 9)
        assert row["low"] < 0.01 < row["high"] and row["share"] == 9 / 1001
    # Draws of twice the spread have p that are far too small, and the interval says so.
    shifted = narrow.assign(kurtosis=2 * narrow["kurtosis"] - 3.75)
    off = tails.calibration(shifted, known).set_index(["kind", "tail", "level"])
    assert off.loc[("isotropic", "heavy", 0.01), "low"] > 0.2
    assert set(off.index.get_level_values("kind")) == {"isotropic"}
    tables.write(found.reset_index(), tmp_path / "c", TAIL_CALIBRATION, {})
