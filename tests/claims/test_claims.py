"""Verdicts on the published claims, in layers where the answer is known."""

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.claims import claims, verdicts
from fsrl.claims import dips as claims_dips
from fsrl.claims.claims_list import BIMODAL, CLAIMS, FIXES, ClaimInputs
from fsrl.claims.null_groups import Grouped, NullInputs
from fsrl.names import TYPES
from fsrl.stats import two_groups
from fsrl.tables import core as tables
from fsrl.tables.claims import CLAIMS_SUMMARY, CLAIMS_TABLE, DIPS
from fsrl.types.rules import parse_scheme, parse_schemes
from tests.fixtures.type_examples import SCHEMES as CONFIG
from tests.fixtures.type_examples import table

SETS = ["starts_with_space", "quote", "digits", "verb"]
# Besides the config's a scheme that fixes no kurtosis of suppression.
SCHEMES = CONFIG | {"left": {"types": {"suppression": {"skewness": {"max": -0.2}}}}}
ALL_SCHEMES = parse_schemes(SCHEMES)
SETTINGS = {"min_features": 5, "draws": 20, "seed": 0}


def layer(n=400, n_type=40, seed=0, clusters=None, **effects):
    """Features of every type and unclassified ones, alike but for `effects`: (column, type) -> shift."""
    generator = np.random.default_rng(seed)
    labels = np.array(["unclassified"] * n, dtype=object)
    for number, kind in enumerate(TYPES):
        labels[number * n_type : (number + 1) * n_type] = kind
    columns = {
        "std": generator.uniform(0.1, 0.2, n),
        "skewness": generator.normal(0, 0.1, n),
        "kurtosis": generator.normal(3, 0.1, n),
    }
    t = generator.normal(0, 1, (n, len(SETS)))
    dip = np.where((labels == "partition") | (np.arange(n) >= n - n_type), generator.uniform(0, 1, n), np.nan)
    for (column, kind), shift in effects.get("shift", {}).items():
        if column in columns:
            columns[column] = columns[column] + shift * (labels == kind)
        elif column == "dip":
            dip = dip + shift * (labels == kind)
        else:
            t[:, SETS.index(column)] += shift * (labels == kind)
    types = pd.concat([pd.DataFrame({"scheme": scheme, "type": labels}) for scheme in SCHEMES])
    own = np.arange(n) if clusters is None else clusters
    matched = np.arange(n) >= n - n_type
    found = t > 3, t < -3
    return ClaimInputs("layer", table(**columns), types, own, SETS, *found, t, t**2 / 1000, dip, matched)


def null(kind="isotropic", n=2000, seed=100, **effects):
    """Null directions with types of their own, alike but for `effects`."""
    inputs = layer(n, n // 20, seed, **effects)
    labels = inputs.types.loc[inputs.types["scheme"] == "post", "type"].to_numpy(dtype=str)
    groups = {(scheme, label): Grouped(labels, 2.0) for scheme in SCHEMES for label in TYPES}
    return NullInputs(kind, inputs, groups)


NULLS = [null(), null("spectrum", seed=101)]


def judged(layers, scheme="calibrated", nulls=NULLS):
    schemes = [parse_scheme(scheme, SCHEMES[scheme])]
    return verdicts.judge(
        [claims.compare_layer(one, schemes, nulls, **SETTINGS) for one in layers], level=0.05
    )


def verdict(layers, name, scheme="calibrated", nulls=NULLS):
    found = judged(layers, scheme, nulls)
    return found[(found["claim"] == name) & (found["scheme"] == scheme)]


@cache
def on_each_claim(shifted=None, null_shifted=None, beside=True, scheme="calibrated"):
    """Verdicts by claim on a layer with one type shifted; the same of a null, beside another one or alone."""
    nulls = NULLS
    if null_shifted:
        nulls = [*NULLS[:beside], null("spectrum", shift=dict([null_shifted]))]
    found = judged([layer(shift=dict([shifted] if shifted else []))], scheme, nulls)
    return found.set_index("claim", drop=False)


# Claim -> a set or column, type, and how far it is shifted so that the claim holds.
SHIFTS = {
    "local_context_brackets_quotes": ("quote", "local_context", 4),
    "local_context_low_std": ("std", "local_context", -0.05),
    "prediction_digits": ("digits", "prediction", 4),
    "prediction_verbs": ("verb", "prediction", 4),
    "prediction_any_group": ("quote", "prediction", 4),
    "partition_spacing_capitals": ("starts_with_space", "partition", -4),
    "partition_bimodal": ("dip", "partition", 0.5),
    "partition_high_std": ("std", "partition", 0.05),
    "partition_right_skew": ("skewness", "partition", 0.2),
    "suppression_specific_tokens": ("quote", "suppression", -4),
    "suppression_low_kurtosis": ("kurtosis", "suppression", -0.2),
    "suppression_like_partition": ("starts_with_space", "suppression", 4),
}
ABOUT_SETS = [name for name, (column, *_) in SHIFTS.items() if column in SETS]
SHIFTS |= {name + end: SHIFTS[name] for name in ABOUT_SETS for end in ("_t", "_eta2")}
# Which scheme tests a claim that the rules of `calibrated` fix.
ELSEWHERE = {"suppression_low_kurtosis": "left"}


def test_every_claim_but_one_has_a_case():
    two_sided = {f"two_sided_both{end}" for end in ("", "_t", "_eta2")}
    assert {claim.name for claim in CLAIMS} == {*SHIFTS, *two_sided, "prediction_moderate_std"}
    assert set(FIXES) >= {claim.reads for claim in CLAIMS if claim.reads}


@pytest.mark.parametrize("name", SHIFTS)
def test_a_claim_holds_where_it_was_planted_and_nowhere_else(name):
    (column, kind, size), scheme = SHIFTS[name], ELSEWHERE.get(name, "calibrated")
    planted = on_each_claim(((column, kind), size), scheme=scheme).loc[name]
    assert planted["verdict"] == "holds" and planted["p_holm"] <= 0.05 and planted["type"] == kind
    if not np.isnan(planted["low"]):
        assert planted["low"] <= planted["effect"] <= planted["high"]
    plain = on_each_claim(scheme=scheme).loc[name]
    assert plain["verdict"] in ("undecided", "cannot speak")


@pytest.mark.parametrize("end", ["", "_t", "_eta2"])
def test_a_two_sided_feature_promotes_and_suppresses(end):
    name, one = f"two_sided_both{end}", layer()
    mine = (one.types["type"] == "two_sided").to_numpy()[:400]
    t = one.t + 4.0 * np.outer(mine, [1, 0, 0, -1])
    both = replace(one, t=t, eta2=t**2 / 1000, promoted=t > 3, suppressed=t < -3)
    assert verdict([both], name).iloc[0]["verdict"] == "holds"
    up = one.t + 4.0 * np.outer(mine, [1, 0, 0, 1])
    alone = replace(one, t=up, eta2=up**2 / 1000, promoted=up > 3, suppressed=up < -3)
    assert verdict([alone], name).iloc[0]["verdict"] != "holds"


@pytest.mark.parametrize("name", [name for name in SHIFTS if name.endswith(("_t", "_eta2", "right_skew"))])
def test_what_null_directions_of_the_type_have_as_well_is_nothing(name):
    column, kind, size = SHIFTS[name]
    shift = ((column, kind), size)
    row = on_each_claim(shift, shift).loc[name]
    assert row["verdict"] == "undecided" and row["p"] > 0.05 and row["effect"] > 0.6
    assert row["null_kind"] == "spectrum" and row["excess"] == row["effect"] - row["reference"]
    assert row["units_null"] == 100 and row["loosened"] == 2.0
    # A null that has more of it contradicts the claim only if every null does.
    assert on_each_claim(None, shift).loc[name, "verdict"] == "undecided"
    assert on_each_claim(None, shift, beside=False).loc[name, "verdict"] == "contradicted"


def test_without_null_directions_of_the_type_an_auc_says_nothing():
    planted = layer(shift={("std", "partition"): 0.05})
    row = verdict([planted], "partition_high_std", nulls=[]).iloc[0]
    assert row["verdict"] == "no null" and np.isnan(row["p"]) and row["effect"] > 0.6
    few = null(n=80)  # 4 of each type
    assert verdict([planted], "partition_high_std", nulls=[few]).iloc[0]["verdict"] == "no null"
    # An odds ratio needs none.
    promoted = layer(shift={("digits", "prediction"): 4})
    assert verdict([promoted], "prediction_digits", nulls=[]).iloc[0]["verdict"] == "holds"


@pytest.mark.parametrize(
    "name", [name for name in SHIFTS if SHIFTS[name][0] in ("std", "skewness", "kurtosis")]
)
def test_the_opposite_contradicts_a_claim(name):
    (column, kind, size), scheme = SHIFTS[name], ELSEWHERE.get(name, "calibrated")
    opposite = layer(shift={(column, kind): -size})
    assert verdict([opposite], name, scheme).iloc[0]["verdict"] == "contradicted"


def test_moderate_std_may_fail_on_either_side():
    spread = layer()
    spread.moments.loc[spread.types["type"].to_numpy()[:400] == "prediction", "std"] = 0.15
    assert verdict([spread], "prediction_moderate_std").iloc[0]["verdict"] == "holds"
    for shift in (-0.2, 0.2):
        far = layer(shift={("std", "prediction"): shift})
        assert verdict([far], "prediction_moderate_std").iloc[0]["verdict"] == "contradicted"


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("post", "local_context_low_std"),
        ("post", "prediction_moderate_std"),
        ("post", "partition_right_skew"),
        ("post", "suppression_low_kurtosis"),
        ("calibrated", "suppression_low_kurtosis"),
        ("universal_neurons", "partition_high_std"),
    ],
)
def test_what_the_rule_says_is_not_tested(scheme, name):
    row = verdict([layer(shift={("std", "partition"): 0.05})], name, scheme).iloc[0]
    assert row["verdict"] == "by definition" and np.isnan(row["p"])


def test_a_type_that_a_scheme_lacks_has_no_row():
    assert verdict([layer()], "local_context_low_std", "universal_neurons").empty


def test_few_features_or_many_copies_of_one_cannot_speak():
    few = verdict([layer(n_type=4, shift={("std", "partition"): 0.05})], "partition_high_std").iloc[0]
    clusters = np.where(np.arange(400) < 160, np.arange(400) // 40, np.arange(400))
    copies = layer(clusters=clusters, shift={("std", "partition"): 0.05})
    same = verdict([copies], "partition_high_std").iloc[0]
    assert few["verdict"] == same["verdict"] == "cannot speak"
    assert (same["n_type"], same["units_type"]) == (40, 1)


def test_an_odds_ratio_counts_clusters_as_its_p_does():
    clusters = np.random.default_rng(1).integers(0, 150, 400)
    found = pd.concat(
        [
            claims.compare_layer(layer(seed=seed, clusters=clusters), ALL_SCHEMES, NULLS, **SETTINGS)
            for seed in range(3)
        ]
    )
    known = found[(found["measure"] == "odds ratio") & found["value_type"].notna()]
    odds = known[known["value_type"] != known["value_other"]]
    assert len(odds) > 10 and odds["effect"].notna().all()
    assert ((odds["effect"] > 1) == (odds["value_type"] > odds["value_other"])).all()
    yes, others = odds["value_type"] * odds["units_type"], odds["value_other"] * odds["units_other"]
    by_hand = two_groups.odds_ratio(yes, odds["units_type"], others, odds["units_other"])
    np.testing.assert_allclose(odds["effect"], by_hand)


def test_sets_that_a_vocabulary_lacks_cannot_speak():
    one = layer(shift={("verb", "prediction"): 4})
    lacking = replace(one, sets=["starts_with_space", "quote", "digits", "other"])
    assert verdict([lacking], "prediction_verbs").iloc[0]["verdict"] == "cannot speak"
    assert verdict([lacking], "prediction_verbs_t").iloc[0]["verdict"] == "cannot speak"


@pytest.mark.slow
def test_without_effects_at_most_the_promised_share_is_called():
    called = 0
    for seed in range(20):
        tested = claims.compare_layer(layer(seed=seed), ALL_SCHEMES, NULLS, **SETTINGS)
        judged = verdicts.judge([tested], level=0.05)
        called += judged["verdict"].isin(("holds", "contradicted")).any()
    assert called <= 4  # of 20, where at most 1 is expected


@pytest.mark.parametrize(
    ("found", "overall"),
    [
        (["holds", "holds", "undecided", "cannot speak"], "holds"),
        (["holds", "undecided"], "undecided"),
        (["contradicted", "contradicted", "undecided"], "contradicted"),
        (["holds", "holds", "contradicted"], "mixed"),
        (["cannot speak", "cannot speak"], "cannot speak"),
        (["cannot speak", "no null"], "no null"),
        (["by definition", "by definition"], "by definition"),
        (["undecided"], "undecided"),
    ],
)
def test_the_verdict_over_all_layers(found, overall, tmp_path):
    one = on_each_claim().loc[["partition_spacing_capitals_eta2"]]
    layers = [one.assign(sae=f"layer {number}", verdict=text) for number, text in enumerate(found)]
    every = pd.concat(layers, ignore_index=True).astype({"sae": "str", "verdict": "str"})
    row = verdicts.verdicts(every).iloc[0]
    assert row["verdict"] == overall and row["holds"] == found.count("holds")
    assert row["no_null"] == found.count("no null") and row["cannot_speak"] == found.count("cannot speak")
    speaking = [text for text in found if text in ("holds", "contradicted", "undecided")]
    assert row["layers"] == len(speaking) and np.isnan(row["effect"]) == (not speaking)
    assert found[0] in row["layer 0"]
    tables.write(every, tmp_path / "claims.parquet", CLAIMS_TABLE, {})
    tables.write(verdicts.summary(every), tmp_path / "summary.parquet", CLAIMS_SUMMARY, {})


def test_the_effect_over_all_layers_is_pooled_over_those_that_speak():
    shift = {("digits", "prediction"): 2.5}
    tested = [
        claims.compare_layer(layer(seed=seed, shift=shift), ALL_SCHEMES, NULLS, **SETTINGS)
        for seed in range(3)
    ]
    found = verdicts.judge(tested, level=0.05)
    whole = verdicts.summary(found).set_index(["scheme", "claim"])
    mine = found[(found["scheme"] == "post")].groupby("claim")
    rank, ratio = mine.get_group("prediction_digits_t"), mine.get_group("prediction_digits")
    by_rank, by_ratio = whole.loc[("post", "prediction_digits_t")], whole.loc[("post", "prediction_digits")]
    assert rank["excess"].min() < by_rank["effect"] < rank["excess"].max()
    assert by_rank["low"] < by_rank["effect"] < by_rank["high"]
    assert (ratio["verdict"] != "cannot speak").all() and by_ratio["layers"] == 3
    # Woolf's weights; DerSimonian and Laird's spread.
    logs, w = np.log(ratio["effect"].to_numpy()), ratio["error"].to_numpy() ** -2.0
    spread = (w * (logs - (w * logs).sum() / w.sum()) ** 2).sum() - 2
    tau2 = max(0, spread / (w.sum() - (w**2).sum() / w.sum()))
    weights = 1 / (1 / w + tau2)
    assert by_ratio["effect"] == pytest.approx(np.exp((weights * logs).sum() / weights.sum()))
    assert 0 < by_ratio["low"] < by_ratio["effect"] < by_ratio["high"]


def test_arguments_are_left_alone():
    one = layer()
    before = copy.deepcopy(one.moments)
    claims.compare_layer(one, ALL_SCHEMES, NULLS, **SETTINGS)
    pd.testing.assert_frame_equal(one.moments, before)


def test_a_split_has_a_dip_that_null_directions_lack(tmp_path):
    generator = torch.Generator().manual_seed(0)
    W_U = torch.randn(8, 2000, generator=generator)
    W_U[0] = 4.0 * torch.where(torch.arange(2000) < 900, -1.0, 1.0) + 0.1 * W_U[0]
    W_dec = torch.randn(60, 8, generator=generator)
    W_dec[:, 0] *= 0.05
    W_dec[3] = torch.eye(8)[0]
    features = pd.DataFrame(
        {"feature": np.array([3, 10], dtype=np.int32), "sample": ["partition", "matched"]}
    )
    null_dips = claims_dips.null_dips(W_dec, W_U, draws=200, seed=0)
    found = claims_dips.measure(W_dec, W_U, features.astype({"sample": "str"}), null_dips, sae="x")
    tables.write(found, tmp_path / "dips.parquet", DIPS, {})
    assert found["dip"][0] > 0.1 > found["dip"][1]
    assert found["null_quantile"][0] > 0.99 and 0 <= found["null_quantile"][1] < 0.99
    np.testing.assert_array_equal(claims_dips.of_rows(W_dec[[3, 10]], W_U, null_dips), found["null_quantile"])
    none = claims_dips.measure(W_dec, W_U, features[:0].astype({"sample": "str"}), null_dips, sae="x")
    tables.write(none, tmp_path / "none.parquet", DIPS, {})


def test_the_sample_is_matched_in_std_and_holds_nothing_twice():
    generator = np.random.default_rng(0)
    moments = table(std=generator.uniform(0.1, 1, 100), norm=generator.uniform(0.5, 2, 100))
    moments.loc[50, ["skewness", "kurtosis"]] = np.nan
    labels = np.array(["unclassified"] * 100, dtype=object)
    labels[:20] = "partition"
    types = pd.DataFrame({"feature": np.arange(100), "scheme": "calibrated", "type": labels})
    found = claims_dips.sample(types, moments, count=10, seed=0)
    chosen = found.loc[found["sample"] == "partition", "feature"].to_numpy()
    matched = found.loc[found["sample"] == "matched", "feature"].to_numpy()
    assert len(chosen) == len(matched) == 10 and set(chosen) <= set(range(20))
    assert len({*chosen, *matched}) == 20 and min(matched) >= 20 and 50 not in matched
    std = (moments["std"] / moments["norm"]).to_numpy()
    free = np.setdiff1d(np.arange(20, 100), [50])
    first = free[np.abs(std[free] - std[chosen[0]]).argmin()]
    assert matched[0] == first
    pd.testing.assert_frame_equal(found, claims_dips.sample(types, moments, count=10, seed=0))
    # Of another scheme there are few, and all of them are measured.
    rare = types.assign(scheme="rare", type=np.where(np.arange(100) == 99, "partition", "unclassified"))
    more = claims_dips.sample(pd.concat([types, rare]), moments, count=10, seed=0)
    both = more.loc[more["sample"] == "partition", "feature"]
    assert set(both) == {*chosen, 99} and not more["feature"].duplicated().any()
    everything = claims_dips.sample(types.assign(type="partition"), moments, count=300, seed=0)
    assert (everything["sample"] == "partition").all()  # nobody is left to match


def test_evidence_is_put_in_its_place():
    n = 4
    dips = pd.DataFrame({"feature": [2, 0], "sample": ["partition", "matched"], "null_quantile": [0.9, 0.1]})
    t = np.array([[5.0], [-5.0], [0.0], [np.nan]], dtype=np.float32)
    p = np.array([[-9.0], [-9.0], [0.0], [np.nan]], dtype=np.float32)
    best = pd.DataFrame({"cluster": np.arange(n)})
    arguments = ("x", table(std=np.full(n, 0.1)), pd.DataFrame(), best, dips)
    one = claims.layer(*arguments, enrichment=(["a"], t, p, t**2), cut=-4.0)
    assert one.promoted[:, 0].tolist() == [True, False, False, False]
    assert one.suppressed[:, 0].tolist() == [False, True, False, False]
    np.testing.assert_array_equal(one.dip, [0.1, np.nan, 0.9, np.nan])
    assert one.matched.tolist() == [True, False, False, False]
    assert not claims.layer(*arguments, enrichment=(["a"], t, p, t**2), cut=np.nan).promoted.any()
    assert BIMODAL in {claim.name for claim in CLAIMS}
