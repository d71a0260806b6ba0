"""The schemes on worked examples: types, precedence, rows without shape, refusals."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from fsrl.errors import FsrlError
from fsrl.moments.formulas import tail_tokens
from fsrl.names import TYPES
from fsrl.types import classify, tails
from fsrl.types.rules import ORDER
from tests.fixtures.type_examples import NULL, SCHEMES, WHOLE, random_tables, table, typings, under


def types_of(moments, name, null=None, **settings):
    return under("types", moments, {name: SCHEMES[name]}, null, **settings)


def test_calibrated_worked_example():
    rows = [
        # skewness, kurtosis, right_kurtosis, left_kurtosis, right_share, tail_tokens -> label
        (50.0, 3.0, 1.5, 1.5, np.nan, 20.0, "local_context"),
        (50.0, 3.0, 1.5, 1.5, np.nan, 20.1, "prediction"),
        (50.0, 3.0, 1.5, 1.5, np.nan, np.inf, "prediction"),
        (0.0, 3.0, 900.0, 1.5, np.nan, 5.0, "local_context"),
        (-50.0, 3.0, 1.5, 1.5, np.nan, 5.0, "suppression"),
        (0.0, 3.0, 1.5, 900.0, np.nan, np.inf, "suppression"),
        (0.0, 2000.0, 1.5, 1.5, 0.25, np.inf, "two_sided"),
        (0.0, 2000.0, 1.5, 1.5, 0.24, np.inf, "unclassified"),
        (0.0, 2000.0, 1.5, 1.5, 0.76, np.inf, "unclassified"),
        (50.0, 2000.0, 1.5, 1.5, 0.9, 3.0, "local_context"),
        (50.0, 3.0, 1.5, 900.0, np.nan, 3.0, "two_sided"),
        (50.0, -2000.0, 1.5, 1.5, np.nan, 3.0, "partition"),
        (0.9, 4.9, 2.9, 2.9, 0.5, 3.0, "unclassified"),
        (np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, "degenerate"),
    ]
    names = ["skewness", "kurtosis", "right_kurtosis", "left_kurtosis", "right_share", "tail_tokens"]
    columns = dict(zip(names, np.array([row[:-1] for row in rows]).T, strict=True))
    found = types_of(table(**columns), "calibrated", NULL)
    assert found["type"].tolist() == [row[-1] for row in rows]
    # Memberships are all that hold, whatever goes before.
    assert found.index[found["prediction"]].tolist() == [0, 1, 2, 3, 9, 10, 11]
    assert found.index[found["local_context"]].tolist() == [0, 3, 9, 10, 11]
    assert found.index[found["suppression"]].tolist() == [4, 5, 10]
    assert found.index[found["two_sided"]].tolist() == [6, 10]
    assert found.index[found["partition"]].tolist() == [11]


def test_spike_says_whether_few_tokens_are_suppressed():
    moments = table(skewness=[-50.0, -50.0, 50.0], left_tail_tokens=[20.0, 21.0, 1.0])
    found = types_of(moments, "calibrated", NULL)
    assert found["spike"].tolist() == [True, False, pd.NA]
    assert found["spike"].dtype == "boolean"
    assert types_of(moments, "post", NULL)["spike"].isna().all()


def test_evidence_is_the_largest_over_the_labels_tails():
    # 0.999 quantiles: skewness .998; one side's kurtosis 2.998, its median 2; flat 2.5025, its median 3.75.
    moments = table(skewness=[50.0, -50.0, 0.499], right_kurtosis=[1.5, 900.0, 1.5])
    found = types_of(moments, "calibrated", NULL)
    assert found["type"].tolist() == ["prediction", "two_sided", "unclassified"]
    assert found["evidence"].tolist() == pytest.approx([50 / 0.998, 898 / 0.998, 0.75 / 1.2475], rel=2e-3)
    assert types_of(moments, "post", NULL)["evidence"].isna().all()


@pytest.mark.parametrize("seed", range(3))
def test_calibrated_against_loops(seed):
    moments, null = random_tables(seed, n=500)
    (typing,) = typings(moments, {"calibrated": SCHEMES["calibrated"]}, null)
    q = {
        tail: stats.false_discovery_control(10.0 ** one[~np.isnan(one)])
        for tail, one in tails.log10_p(moments, typing.known).items()
    }
    found = classify.types(typing)
    shaped = moments["skewness"].notna().to_numpy()
    for place, row in enumerate(moments[shaped].itertuples()):
        met = {tail for tail, values in q.items() if values[place] <= 0.05}
        right, left = met & {"right", "right_kurtosis"}, met & {"left", "left_kurtosis"}
        holds = {
            "partition": "flat" in met,
            "two_sided": ("heavy" in met and 0.25 <= row.right_share <= 0.75) or bool(right and left),
            "local_context": bool(right) and row.tail_tokens <= 20,
            "prediction": bool(right),
            "suppression": bool(left),
        }
        mine = found.loc[row.feature]
        assert {name: mine[name] for name in holds} == holds
        assert mine["type"] == next((name for name, one in holds.items() if one), "unclassified")
    assert (found["type"][~shaped] == "degenerate").all()
    # Other rows by the layer's thresholds: its own are typed as they are.
    assert (typing.others(moments).primary == found["type"]).all()
    assert found["type"].nunique() > 3


def test_wide_tails_and_spikes_worked_example():
    # The null's medians are R0 = 2 and E0 = 50; 10,000 lies beyond every eighth moment, 9 / 100 and so on are
    # the shares of the vocabulary (R - R0)^2 / (E - E0).
    rows = [
        # skewness, right_kurtosis, right_eighth, tail_tokens -> label without and with the two settings
        (50.0, 5.0, 50 + 100.0, 900.0, "prediction", "unclassified"),  # 9 / 100
        (50.0, 5.0, 50 + 300.0, 300.0, "prediction", "prediction"),  # 9 / 300
        (50.0, 1.5, 52.5, np.inf, "prediction", "unclassified"),  # no tail
        (0.1, 2.5, 10_000.0, 3.0, "unclassified", "local_context"),
        (0.1, 2.5, 10_000.0, 21.0, "unclassified", "unclassified"),
        (50.0, 5.0, 10_000.0, 3.0, "local_context", "local_context"),
        # As wide a group as the first, and a spike all the same.
        (50.0, 24.0, 10_000.0, 3.0, "local_context", "local_context"),
    ]
    names = ["skewness", "right_kurtosis", "right_eighth", "tail_tokens"]
    columns = dict(zip(names, np.array([row[:4] for row in rows]).T, strict=True))
    moments = table(**columns, kurtosis=4.0)
    schemes = {"plain": SCHEMES["calibrated"], "whole": WHOLE}
    plain, whole = (under("types", moments, {name: one}, NULL) for name, one in schemes.items())
    assert plain["type"].tolist() == [row[4] for row in rows]
    assert whole["type"].tolist() == [row[5] for row in rows]
    # The mirror image is a suppression, as a group and as a spike.
    left = {"skewness": -moments["skewness"], "right_kurtosis": 4 - moments["right_kurtosis"]}
    left |= {"left_eighth": moments["right_eighth"], "right_eighth": 52.5}
    left |= {"left_tail_tokens": moments["tail_tokens"], "tail_tokens": np.inf}
    mirrored = under("types", moments.assign(**left), {"whole": WHOLE}, NULL)
    promotes = ("local_context", "prediction")
    assert mirrored["type"].tolist() == ["suppression" if row[5] in promotes else row[5] for row in rows]
    assert mirrored["spike"].tolist()[3:4] == [True]
    # Evidence of an eighth moment is that of its root: the null's median is 50, its 0.999 quantile 89.96.
    root = (100 - 50**0.5) / (89.96**0.5 - 50**0.5)
    assert whole["evidence"][3] == pytest.approx(root, rel=1e-2)
    cuts = under("thresholds", moments, {"whole": WHOLE}, NULL)
    of = cuts.set_index(["type", "column"])["bound"]
    assert of["local_context", "right_eighth"] == of["suppression", "left_eighth"] == "q<=0.01"
    assert of["prediction", "tail_share"] == "0.05" and ("prediction", "right_eighth") not in of


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_scheme_against_loops(seed):
    moments, null = random_tables(seed, n=500)
    for every, name in ((7, "right_eighth"), (11, "left_eighth")):
        moments.loc[::every, name] *= 10
    (typing,) = typings(moments, {"calibrated": WHOLE | {"spike_level": 0.2, "tail_share": 0.3}}, null)
    levels = dict.fromkeys(tails.COLUMNS, 0.05) | {"right_eighth": 0.2, "left_eighth": 0.2}
    q = {
        tail: stats.false_discovery_control(10.0 ** one[~np.isnan(one)])
        for tail, one in tails.log10_p(moments, typing.known).items()
    }
    typical = {name: typing.known["isotropic"][name].median for name in ("right_kurtosis", "right_eighth")}
    found = classify.types(typing)
    met_by_spikes = 0
    for place, row in enumerate(moments[moments["skewness"].notna()].itertuples()):
        met = {tail for tail, values in q.items() if values[place] <= levels[tail]}
        sides = {}
        for side, fourth, eighth, tokens in (
            ("right", row.right_kurtosis, row.right_eighth, row.tail_tokens),
            ("left", row.kurtosis - row.right_kurtosis, row.left_eighth, row.left_tail_tokens),
        ):
            moments_of = (torch.tensor([one], dtype=torch.float64) for one in (fourth, eighth))
            share = tail_tokens(*moments_of, 1, *typical.values()).item()
            group = bool(met & {side, f"{side}_kurtosis"}) and share <= 0.3
            spike = (group or f"{side}_eighth" in met) and tokens <= 20
            met_by_spikes += spike and not group
            sides[side] = group, spike
        holds = {
            "partition": "flat" in met,
            "two_sided": ("heavy" in met and 0.25 <= row.right_share <= 0.75)
            or (any(sides["right"]) and any(sides["left"])),
            "local_context": sides["right"][1],
            "prediction": sides["right"][0],
            "suppression": any(sides["left"]),
        }
        mine = found.loc[row.feature]
        assert {name: mine[name] for name in holds} == holds
    assert met_by_spikes
    assert (typing.others(moments).primary == found["type"]).all()


def test_the_rate_is_that_of_the_rows_taken_together():
    # p of the one far row is 1e-4; among 1,000 rows q is .1, alone .0001.
    moments = table(skewness=[50.0, *np.zeros(999)])
    (typing,) = typings(moments, {"calibrated": SCHEMES["calibrated"]}, NULL)
    assert typing.own().primary[0] == "unclassified"
    assert typing.as_layer(moments.iloc[:1]).primary.tolist() == ["prediction"]
    assert typing.others(moments.iloc[:1]).primary.tolist() == ["unclassified"]


@pytest.mark.parametrize("scheme", ["calibrated", "post"])
def test_sets_that_are_read_at_once_are_labelled_as_layers_of_their_own(scheme):
    moments, null = random_tables(0)
    fresh = random_tables(7, 4000)[1]
    (typing,) = typings(moments, {scheme: SCHEMES[scheme]}, null)
    sets = [slice(start, start + 150) for start in range(0, 3900, 150)]
    found, at_bounds = typing.in_sets(fresh, sets)
    for chosen, labels in zip(sets, found, strict=True):
        alone = typing.as_layer(fresh.iloc[chosen])
        np.testing.assert_array_equal(labels.primary, alone.primary)
        for name, members in alone.members.items():
            np.testing.assert_array_equal(labels.members[name], members)
    np.testing.assert_array_equal(at_bounds.primary, typing.others(fresh).primary)
    assert len({label for labels in found for label in labels.primary}) > 1


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
    found = under("types", table(std=[1.0, 1.0, 4.0], norm=[2.0, 4.0, 8.0]), scheme)
    assert found["partition"].tolist() == [True, False, True]


def test_precedence_of_the_primary_label():
    everything = {"s": {"types": {name: {"kurtosis": {"min": 0}} for name in reversed(ORDER)}}}
    remaining = dict(everything["s"]["types"])
    for expected in ("local_context", "prediction", "suppression", "partition"):
        found = under("types", table(kurtosis=[3.0]), {"s": {"types": remaining}})
        assert found["type"].tolist() == [expected]
        assert found[list(remaining)].to_numpy().all()
        del remaining[expected]


def test_rows_without_shape_are_degenerate_and_leave_the_quantiles_alone():
    moments = table(kurtosis=[np.nan, 1.0, 2.0, 3.0], skewness=[np.nan, 0, 0, 0], std=[0.0, 1, 1, 1])
    moments.loc[0, "norm"] = 0.0
    found = under("types", moments, {"s": {"types": {"partition": {"std": {"min": 0}}}}})
    assert found["type"].tolist() == ["degenerate", "partition", "partition", "partition"]
    assert not found.loc[0, list(TYPES)].any()
    assert np.isnan(found.loc[0, "evidence"])
    median = under("types", moments, {"s": {"types": {"partition": {"std": {"min": "q0"}}}}})
    assert median["partition"].tolist() == [False, True, True, True]


def test_a_constant_row_is_no_member_of_a_type_whose_bounds_it_meets():
    moments = table(kurtosis=[np.nan, 3.0], skewness=[np.nan, 0.0], std=[0.0, 0.1])
    found = under("types", moments, {"s": {"types": {"partition": {"std": {"max": 0.5}}}}})
    assert found["partition"].tolist() == [False, True]
    assert found["type"].tolist() == ["degenerate", "partition"]


def test_a_layer_of_nothing_but_constant_rows():
    moments = table(kurtosis=[np.nan, np.nan], skewness=[np.nan, np.nan])
    assert set(types_of(moments, "post")["type"]) == {"degenerate"}


def test_a_feature_must_be_beyond_both_nulls():
    wide = NULL.assign(kind="spectrum", skewness=60 * NULL["skewness"])
    both = pd.concat([NULL, wide])
    moments = table(skewness=[50.0, 5000.0, -50.0, -5000.0])
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
    under("type_counts", moments, SCHEMES, null, d_model=50)
    under("types", moments, SCHEMES, null, d_model=50)
    pd.testing.assert_frame_equal(moments, before[0])
    pd.testing.assert_frame_equal(null, before[1])


def test_tails_need_the_nulls_quantiles():
    with pytest.raises(FsrlError, match="scheme calibrated: needs the null quantiles of the view"):
        types_of(table(kurtosis=[3.0]), "calibrated")
    with pytest.raises(FsrlError, match="no null of kind isotropic; there are spectrum"):
        types_of(table(kurtosis=[3.0]), "calibrated", NULL.assign(kind="spectrum"))


def test_variance_x_d_model_without_d_model_is_refused_with_its_place():
    place = "scheme universal_neurons, type partition, column variance_x_d_model, above"
    with pytest.raises(FsrlError, match=f"{place}: variance_x_d_model is unknown; give d_model"):
        types_of(table(kurtosis=[3.0]), "universal_neurons")
