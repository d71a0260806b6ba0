"""Margins on worked examples; types and their counts against loops written out by hand."""

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.names import TYPES
from fsrl.tables import core as tables
from fsrl.tables import types as type_tables
from fsrl.tables.types import TYPE_COUNTS
from fsrl.types import classify
from tests.fixtures.type_examples import NULL, SCHEMES, random_tables, table, under


def test_margin_worked_example():
    # Ten features, skewness 0 to 9; prediction from 6.5 up: 7, 8 and 9 are in.
    scheme = {"s": {"types": {"prediction": {"skewness": {"min": 6.5}}}}}
    found = under(classify.types, table(skewness=np.arange(10.0)), scheme)
    # A value stands in the middle of its own tenth; the bound lies between the seventh and the eighth.
    expected = [-0.65, -0.55, -0.45, -0.35, -0.25, -0.15, -0.05, 0.05, 0.15, 0.25]
    assert found["margin"].tolist() == pytest.approx(expected)


def test_margin_takes_the_nearest_bound_inside_and_the_nearest_type_outside():
    scheme = {
        "s": {
            "types": {
                "prediction": {"skewness": {"min": 6.5, "max": 8.5}, "kurtosis": {"min": 3}},
                "suppression": {"skewness": {"max": 1.5}},
            }
        }
    }
    kurtosis = np.array([5, 5, 5, 5, 5, 5, 5, 5, 1, 5.0])
    found = under(classify.types, table(skewness=np.arange(10.0), kurtosis=kurtosis), scheme)[
        "margin"
    ].tolist()
    assert found[7] == pytest.approx(0.05)  # .05 above the lower bound, .15 below the upper one
    assert found[2] == pytest.approx(-0.05)  # .05 from suppression, .45 from prediction
    # In skewness, but kurtosis 1 is the one value below the bound: half of its own tenth is lacking.
    assert found[8] == pytest.approx(-0.05)


def test_margin_of_a_missing_value_is_the_whole_scale():
    scheme = {"s": {"types": {"local_context": {"tail_tokens": {"max": 20}}}}}
    found = under(classify.types, table(tail_tokens=[10.0, 30.0, np.nan]), scheme)
    assert found["margin"].tolist() == pytest.approx([0.25, -0.25, -1.0])


@pytest.mark.parametrize("seed", range(5))
def test_margin_has_the_sign_of_the_label(seed):
    moments, null = random_tables(seed)
    found = under(classify.types, moments, SCHEMES, null, d_model=50)
    unclassified = found["type"] == "unclassified"
    assert (found.loc[unclassified, "margin"] <= 0).all()
    assert (found.loc[unclassified, "margin"] >= -1).all()
    typed = found["type"].isin(TYPES)
    assert (found.loc[typed, "margin"] >= 0).all()
    assert (found["margin"].isna() == (found["type"] == "degenerate")).all()
    assert typed.any()


def by_hand(rows, features, null, d_model):
    """Schemes `post`, `calibrated` and `universal_neurons` once more, as plain comparisons."""
    known = features.dropna(subset=["skewness"])
    w = (known["std"] / known["norm"]).quantile([0.25, 0.5, 0.75, 0.95])
    k = known["kurtosis"].quantile([0.25, 0.5, 0.9])
    skewed = known["skewness"].quantile(0.9)
    high, low = null["skewness"].quantile([0.999, 0.001])
    peaked, flat = null["kurtosis"].quantile([0.999, 0.001])
    for row in rows.itertuples():
        width, skew, kurt, tokens = row.std / row.norm, row.skewness, row.kurtosis, row.tail_tokens
        yield (
            {
                "post": {
                    "local_context": kurt >= k[0.9] and width <= w[0.5],
                    "prediction": skew >= skewed and w[0.25] < width < w[0.95],
                    "suppression": skew < 0 and kurt <= k[0.5],
                    "partition": width >= w[0.75] and skew >= 0 and kurt <= k[0.25],
                },
                "calibrated": {
                    "local_context": kurt > peaked and skew > 0 and tokens <= 20,
                    "prediction": skew > high,
                    "suppression": skew < low,
                    "partition": kurt < flat,
                },
                "universal_neurons": {
                    "prediction": kurt > 10 and skew > 0,
                    "suppression": kurt > 10 and skew < 0,
                    "partition": width**2 * d_model > 5.12 and kurt < 3,
                },
            },
            np.isnan(skew),
        )


def tally(rows, features, null, d_model, scheme):
    primary, members = {}, {}
    for rules, degenerate in by_hand(rows, features, null, d_model):
        met = [name for name, holds in rules[scheme].items() if holds]
        label = "degenerate" if degenerate else met[0] if met else "unclassified"
        primary[label] = primary.get(label, 0) + 1
        for name in met or [label]:
            members[name] = members.get(name, 0) + 1
    return primary, members


@pytest.mark.parametrize("seed", range(3))
def test_types_and_counts_against_brute_force(seed, tmp_path):
    moments, null = random_tables(seed)
    found = under(classify.type_counts, moments, SCHEMES, null, d_model=50)
    types = under(classify.types, moments, SCHEMES, null, d_model=50)
    for scheme, rows in found.groupby("scheme"):
        primary, members = tally(moments, moments, null, 50, scheme)
        null_primary, null_members = tally(null, moments, null, 50, scheme)
        labelled = types.loc[types["scheme"] == scheme, "type"].value_counts()
        for row in rows.itertuples():
            assert row.features == primary.get(row.type, 0) == labelled.get(row.type, 0)
            assert row.members == members.get(row.type, 0)
            assert row.share == pytest.approx(row.features / 300)
            assert row.null_share == pytest.approx(null_primary.get(row.type, 0) / 600)
            assert row.expected == pytest.approx(row.null_share * 300)
            assert row.member_null_share == pytest.approx(null_members.get(row.type, 0) / 600)
    assert found.groupby("scheme")["features"].sum().tolist() == [300] * 3
    assert found.groupby("scheme")["null_share"].sum().tolist() == pytest.approx([1.0] * 3)
    for frame, spec in ((found, TYPE_COUNTS), (types, type_tables.TYPES)):
        tables.write(frame, tmp_path / spec.name, spec, {})
        pd.testing.assert_frame_equal(tables.read(tmp_path / spec.name, spec), frame)


def test_counts_have_a_row_for_each_type_of_the_scheme_even_if_empty():
    found = under(classify.type_counts, table(kurtosis=[3.0]), SCHEMES, NULL, d_model=50)
    assert found.loc[found["scheme"] == "universal_neurons", "type"].tolist() == [
        "prediction",
        "suppression",
        "partition",
        "unclassified",
        "degenerate",
    ]
    assert found["features"].sum() == 3


def test_counts_by_chance_need_a_null():
    for make in (classify.type_counts, classify.type_null_counts):
        with pytest.raises(FsrlError, match="scheme post: counts by chance need null draws, and there are"):
            under(make, table(kurtosis=[3.0]), {"post": SCHEMES["post"]})
