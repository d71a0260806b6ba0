"""The schemes on worked examples: types, precedence, rows without shape, refusals."""

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.names import TYPES
from fsrl.types import classify
from tests.fixtures.type_examples import CALIBRATED, NULL, SCHEMES, null_table, random_tables, table, under


def types_of(moments, name, null=None, **settings):
    return under(classify.types, moments, {name: SCHEMES[name]}, null, **settings)


def test_calibrated_worked_example():
    # The cuts: skewness .998 and -.998; kurtosis 4.9975 and 2.5025.
    moments = table(
        skewness=[2.0, 2.0, 2.0, -2.0, -0.9, 0.5, -0.5, 1.5],
        kurtosis=[9.0, 9.0, 9.0, 9.0, 2.0, 9.0, 9.0, 2.5],
        tail_tokens=[20.0, 20.1, np.nan, np.nan, np.nan, 5.0, np.nan, np.nan],
    )
    found = types_of(moments, "calibrated", NULL)
    assert found["type"].tolist() == [
        "local_context",
        "prediction",
        "prediction",
        "suppression",
        "partition",
        "local_context",
        "unclassified",
        "prediction",
    ]
    assert found["local_context"].tolist() == [True, False, False, False, False, True, False, False]
    assert found["prediction"].tolist() == [True, True, True, False, False, False, False, True]
    assert found["suppression"].tolist() == [False, False, False, True, False, False, False, False]
    assert found["partition"].tolist() == [False, False, False, False, True, False, False, True]


def test_a_null_cut_is_strict_where_it_says_above():
    cut = np.quantile(NULL["skewness"], 0.999)
    found = types_of(table(skewness=[cut, np.nextafter(cut, 2)]), "calibrated", NULL)
    assert found["prediction"].tolist() == [False, True]


def test_post_worked_example():
    # 21 features: the quantiles are the sorted values themselves, q0.05 the second and so on.
    rank = np.arange(21.0)
    moments = table(std=rank + 1, skewness=rank - 10, kurtosis=20 - rank + 2)
    found = types_of(moments, "post").set_index("feature")
    # std >= q0.75 (16), skewness >= 0 and kurtosis <= q0.25 (7): features 15 to 20.
    assert found.index[found["partition"]].tolist() == [15, 16, 17, 18, 19, 20]
    # skewness >= q0.90 (8): 18 to 20; std below q0.95 (20), strictly: not 19 and 20.
    assert found.index[found["prediction"]].tolist() == [18]
    assert found["type"][18] == "prediction"
    # kurtosis >= q0.90 (20) and std <= q0.50 (11): features 0 to 2.
    assert found.index[found["type"] == "local_context"].tolist() == [0, 1, 2]
    # skewness below 0 (features 0 to 9), kurtosis <= q0.50 (12, features 10 on): none.
    assert not found["suppression"].any()
    assert found["type"][10] == "unclassified"


def test_post_suppression_worked_example():
    found = types_of(table(skewness=[-1, -1, 0, 1], kurtosis=[1.0, 9, 2, 8]), "post")
    assert found["suppression"].tolist() == [True, False, False, False]


def test_universal_neurons_worked_example():
    # Rows of their table (published-numbers.md): d_model 768, moments of cosines.
    moments = table(
        skewness=[-7.2245, 5.8870, 0.5523, 0.0, 0.0],
        kurtosis=[110.13, 93.05, 3.6907, 1.56, 2.14],
        std=np.sqrt([6.647e-4, 7.603e-4, 2.007e-3, 7.69e-3, 6.6e-3]),
    )
    found = types_of(moments, "universal_neurons", d_model=768)
    assert found["type"].tolist() == [
        "suppression",
        "prediction",
        "unclassified",
        "partition",
        "unclassified",
    ]
    # At d_model 1024 the bound is their 0.005 exactly, so the last one (0.0066) is in.
    wide = types_of(moments, "universal_neurons", d_model=1024)
    assert wide["type"].tolist()[-1] == "partition"
    assert not found["local_context"].any()


def test_std_is_compared_relative_to_the_norm():
    scheme = {"s": {"types": {"partition": {"std": {"min": 0.5}}}}}
    found = under(classify.types, table(std=[1.0, 1.0, 4.0], norm=[2.0, 4.0, 8.0]), scheme)
    assert found["partition"].tolist() == [True, False, True]


def test_precedence_of_the_primary_label():
    everything = {"s": {"types": {name: {"kurtosis": {"min": 0}} for name in reversed(TYPES)}}}
    remaining = dict(everything["s"]["types"])
    for expected in ("local_context", "prediction", "suppression", "partition"):
        found = under(classify.types, table(kurtosis=[3.0]), {"s": {"types": remaining}})
        assert found["type"].tolist() == [expected]
        assert found[list(remaining)].to_numpy().all()
        del remaining[expected]


def test_rows_without_shape_are_degenerate_and_leave_the_quantiles_alone():
    moments = table(kurtosis=[np.nan, 1.0, 2.0, 3.0], skewness=[np.nan, 0, 0, 0], std=[0.0, 1, 1, 1])
    moments.loc[0, "norm"] = 0.0
    found = under(classify.types, moments, {"s": {"types": {"partition": {"std": {"min": 0}}}}})
    assert found["type"].tolist() == ["degenerate", "partition", "partition", "partition"]
    assert not found.loc[0, list(TYPES)].any()
    assert np.isnan(found.loc[0, "margin"])
    median = under(classify.types, moments, {"s": {"types": {"partition": {"std": {"min": "q0"}}}}})
    assert median["partition"].tolist() == [False, True, True, True]


def test_a_constant_row_is_no_member_of_a_type_whose_bounds_it_meets():
    moments = table(kurtosis=[np.nan, 3.0], skewness=[np.nan, 0.0], std=[0.0, 0.1])
    found = under(classify.types, moments, {"s": {"types": {"partition": {"std": {"max": 0.5}}}}})
    assert found["partition"].tolist() == [False, True]
    assert found["type"].tolist() == ["degenerate", "partition"]


def test_a_layer_of_nothing_but_constant_rows():
    moments = table(kurtosis=[np.nan, np.nan], skewness=[np.nan, np.nan])
    assert set(types_of(moments, "post")["type"]) == {"degenerate"}


def test_several_nulls_give_the_most_extreme_cut():
    wide = null_table(np.linspace(-3, 3, 1001), np.linspace(2, 5, 1001), kind="sign_flips")
    both = pd.concat([NULL, wide])
    moments = table(skewness=[2.0, 2.999, -2.0, -2.999])
    found = types_of(moments, "calibrated", both)
    assert found["type"].tolist() == ["unclassified", "prediction", "unclassified", "suppression"]


def test_classification_is_stable_under_reordering_of_the_features():
    moments, null = random_tables(0)
    order = np.random.default_rng(1).permutation(len(moments))
    plain = types_of(moments, "post", null)
    shuffled = types_of(moments.iloc[order], "post", null).sort_values("feature", ignore_index=True)
    pd.testing.assert_frame_equal(shuffled, plain)


def test_inputs_are_left_as_they_were():
    moments, null = random_tables(0)
    before = moments.copy(), null.copy()
    under(classify.type_counts, moments, SCHEMES, null, d_model=50)
    under(classify.types, moments, SCHEMES, null, d_model=50)
    pd.testing.assert_frame_equal(moments, before[0])
    pd.testing.assert_frame_equal(null, before[1])


PREDICTION = "scheme calibrated, type prediction, column skewness, above: "


def test_a_null_bound_without_a_null_is_refused_with_its_place():
    for null in (None, NULL[:0]):
        with pytest.raises(
            FsrlError, match="type local_context, column kurtosis, above: null0.999 needs null"
        ):
            types_of(table(kurtosis=[3.0]), "calibrated", null)
    scheme = {"calibrated": {"types": {"prediction": CALIBRATED["types"]["prediction"]}}}
    with pytest.raises(FsrlError, match=PREDICTION + "quantile 0.999 of skewness: the column holds no value"):
        under(classify.types, table(kurtosis=[3.0]), scheme, NULL.assign(skewness=np.nan))


def test_variance_x_d_model_without_d_model_is_refused_with_its_place():
    place = "scheme universal_neurons, type partition, column variance_x_d_model, above"
    with pytest.raises(FsrlError, match=f"{place}: variance_x_d_model is unknown; give d_model"):
        types_of(table(kurtosis=[3.0]), "universal_neurons")
