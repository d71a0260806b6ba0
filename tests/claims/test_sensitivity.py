"""Sweeps of thresholds against typing anew with another config; agreement; stability over layers."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.claims import sensitivity
from fsrl.claims import stability as sensitivity_layers
from fsrl.names import BOUNDING, TYPES
from fsrl.tables import core as tables
from fsrl.tables.sensitivity import AGREEMENT, DRAWS, SENSITIVITY, SPIKE_Q, STABILITY
from fsrl.types import chance
from fsrl.types.rules import parse_scheme, parse_schemes
from tests.fixtures.type_examples import CALIBRATED, SCHEMES, WHOLE, random_tables, typings, under

FACTORS = {"level": [4, 1, 0.2], "draws": [1, 0.5], "layer_share": [2, 1, 0.5], "number": [2, 1, 0.5]}
D_MODEL = 16


def example(seed=0, n=300):
    """Features and two kinds of null whose tails overlap, so that every threshold matters; fresh ones too."""
    moments, isotropic = random_tables(seed, n)
    _, flipped = random_tables(seed + 10, 1000, kind=BOUNDING[1])
    fresh = [random_tables(seed + 20 + i, 500, kind=kind)[1] for i, kind in enumerate(BOUNDING)]
    null = pd.concat([isotropic, flipped], ignore_index=True)
    significant = np.random.default_rng(seed).random(n) < 0.3
    fresh = pd.concat(fresh, ignore_index=True)
    return sensitivity.SweepInputs("layer", moments, null, fresh, significant, D_MODEL)


def typed(layer, name, scheme, null=None):
    """A scheme's typing of the features, which it types, and how many of each type."""
    [typing] = typings(layer.moments, {name: scheme}, layer.null if null is None else null, d_model=D_MODEL)
    own, by_chance = typing.own(), chance.chance(typing, layer.fresh)
    counts = chance.type_counts(typing, by_chance, np.arange(len(layer.moments)), seed=0).set_index("type")
    for kind in BOUNDING:
        found = by_chance[kind]
        counts[f"by_{kind}"] = [found.at_bounds[label][1] / found.draws for label in counts.index]
    return typing, own, counts


def check(row, layer, found, default):
    """The row's counts are those of the tables that the changed scheme gives."""
    typing, own, counts = found
    counts = counts.loc[row.type]
    assert (row.features, row.members) == (counts["features"], counts["members"])
    for kind in BOUNDING:
        given = getattr(row, f"expected_{kind}")
        assert given == pytest.approx(counts[f"by_{kind}"] * len(layer.moments))
    now, before = own.members[row.type], default[row.type].to_numpy()
    either = (now | before).sum()
    assert (np.isnan(row.jaccard) and not either) or row.jaccard == (now & before).sum() / either
    if now.any():
        assert row.significant_share == layer.significant[now].mean()
    if row.factor == 1 and either:
        assert row.jaccard == 1
    return typing


@pytest.mark.parametrize("name", ["post", "universal_neurons"])
def test_a_sweep_types_anew_with_each_bound(name):
    layer, scheme = example(), SCHEMES[name]
    swept = sensitivity.sweep(layer, [parse_scheme(name, scheme)], **FACTORS)
    default = under("types", layer.moments, {name: scheme}, d_model=D_MODEL)
    assert len(swept) > 10
    for row in swept.itertuples():
        changed = copy.deepcopy(scheme)
        written = changed["types"][row.type][row.column]
        prefix = "q" if str(row.bound)[0] == "q" else ""
        written[row.word] = f"{prefix}{row.value:.12f}" if prefix else row.value
        cuts = check(row, layer, typed(layer, name, changed), default).thresholds()
        same = (cuts["type"] == row.type) & (cuts["column"] == row.column) & (cuts["word"] == row.word)
        assert cuts.loc[same, "threshold"].item() == pytest.approx(row.threshold, rel=1e-9)


def test_a_sweep_types_anew_with_each_setting(tmp_path):
    layer = example()
    swept = sensitivity.sweep(layer, [parse_scheme("calibrated", WHOLE)], **FACTORS)
    default = under("types", layer.moments, {"calibrated": WHOLE}, layer.null)
    keys = {"q": "level", "tail_tokens": "tail_tokens", "right_share": "share"}
    keys |= {"tail_share": "tail_share", SPIKE_Q: "spike_level"}
    settings_moved = swept[swept["column"] != DRAWS]
    assert set(settings_moved.loc[settings_moved["column"] == "q", "type"]) == set(TYPES)
    # A setting that is moved has a row for every type that it decides.
    for (column, value), rows in settings_moved.groupby(["column", "value"]):
        found = typed(layer, "calibrated", WHOLE | {keys[column]: value})
        for row in rows.itertuples():
            check(row, layer, found, default)
            assert value == pytest.approx(row.factor * WHOLE[keys[column]])
    moved = {(row.column, row.factor) for row in settings_moved.itertuples()}
    assert moved == {
        *(("q", factor) for factor in (4, 1, 0.2)),
        *(("tail_tokens", factor) for factor in (2, 1, 0.5)),
        *(("right_share", factor) for factor in (2, 1, 0.5)),
        *(("tail_share", factor) for factor in (2, 1, 0.5)),
        *((SPIKE_Q, factor) for factor in (4, 1, 0.2)),
    }
    # A larger level only adds members.
    levels = swept[(swept["column"] == "q") & (swept["type"] == "prediction")].sort_values("factor")
    assert levels["members"].is_monotonic_increasing and levels["members"].nunique() > 1
    tables.write(swept, tmp_path / "s.parquet", SENSITIVITY, {})


def test_fewer_draws_are_the_first_of_each_kind():
    layer = example()
    swept = sensitivity.sweep(layer, [parse_scheme("calibrated", CALIBRATED)], **FACTORS)
    default = under("types", layer.moments, {"calibrated": CALIBRATED}, layer.null)
    fewer = swept[(swept["column"] == DRAWS) & (swept["factor"] == 0.5)]
    assert set(fewer["type"]) == set(TYPES) and set(fewer["value"]) == {1000.0}
    half = pd.concat([part.iloc[: len(part) // 2] for _, part in layer.null.groupby("kind")])
    found = typed(layer, "calibrated", CALIBRATED, null=half)
    for row in fewer.itertuples():
        check(row, layer, found, default)


def test_a_kind_that_was_not_drawn_gives_nothing_known(tmp_path):
    whole = example()
    null, fresh = (part[part["kind"] == BOUNDING[0]] for part in (whole.null, whole.fresh))
    layer = replace(whole, null=null, fresh=fresh)
    swept = sensitivity.sweep(layer, parse_schemes(SCHEMES), **FACTORS)
    assert swept[f"expected_{BOUNDING[1]}"].isna().all() and swept[f"expected_{BOUNDING[0]}"].notna().all()
    tables.write(swept, tmp_path / "s.parquet", SENSITIVITY, {})


def test_settings_beyond_their_range_are_left_out():
    scheme = parse_scheme("calibrated", CALIBRATED)
    factors = {"level": [11, 1], "draws": [1], "layer_share": [1], "number": [2.5, 1]}
    swept = sensitivity.sweep(example(), [scheme], **factors)
    assert set(swept.loc[swept["column"] == "q", "factor"]) == {1}
    assert set(swept.loc[swept["column"] == "right_share", "factor"]) == {1}
    assert set(swept.loc[swept["column"] == "tail_tokens", "factor"]) == {2.5, 1}


@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.sampled_from(["min", "above", "max", "below"]), st.floats(0.05, 5))
def test_a_moved_quantile_keeps_that_many_times_the_share(q, word, factor):
    rule = {"kurtosis": {word: f"q{q:.4f}"}}
    scheme = parse_scheme("s", {"types": {"partition": rule}})
    [condition] = scheme.rules["partition"]
    found = list(sensitivity.moved(condition, [factor]))
    lower = word in ("min", "above")
    kept = 1 - round(q, 4) if lower else round(q, 4)
    if kept * factor >= 1:
        assert found == []
    else:
        [(_, value)] = found
        assert (1 - value if lower else value) == pytest.approx(kept * factor)


def test_a_bound_of_zero_stays():
    scheme = parse_scheme("s", {"types": {"partition": {"skewness": {"min": 0}}}})
    assert list(sensitivity.moved(scheme.rules["partition"][0], [2, 1])) == []


def labelled(schemes, moments, null):
    return under("types", moments, schemes, null, d_model=D_MODEL)


def test_agreement_counts_members_and_labels(tmp_path):
    one, other = example(0), example(1)
    types = labelled(SCHEMES, one.moments, one.null)
    elsewhere = labelled(SCHEMES, other.moments, other.null)
    found = sensitivity.agreement("layer", types, {"main": elsewhere}, "trained", parse_schemes(SCHEMES))
    tables.write(found, tmp_path / "a.parquet", AGREEMENT, {})
    by = {scheme: part.reset_index(drop=True) for scheme, part in types.groupby("scheme")}
    row = found[(found["second"] == "calibrated") & (found["type"] == "prediction")].iloc[0]
    first, second = by["post"]["prediction"], by["calibrated"]["prediction"]
    assert (row["n_first"], row["n_second"], row["both"]) == (
        first.sum(),
        second.sum(),
        (first & second).sum(),
    )
    assert row["jaccard"] == (first & second).sum() / (first | second).sum()
    labels = found[
        (found["compared"] == "views") & (found["scheme"] == "post") & (found["type"] == "any")
    ].iloc[0]
    there = elsewhere[elsewhere["scheme"] == "post"]["type"].to_numpy()
    mine = by["post"]["type"].to_numpy()
    assert labels["both"] == ((mine == there) & np.isin(mine, TYPES)).sum()
    # A type that one of two schemes lacks is not compared.
    lacking = found[found["second"] == "universal_neurons"]
    assert "local_context" not in set(lacking["type"]) and "prediction" in set(lacking["type"])
    same = sensitivity.agreement("layer", types, {"main": types}, "trained", parse_schemes(SCHEMES))
    same = same[same["compared"] == "views"]
    assert (same["jaccard"].dropna() == 1).all() and np.allclose(same["kappa"].dropna(), 1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappa_from_the_table_of_counts(pairs):
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    counts = np.array([[sum(pair == (a, b) for pair in pairs) for b in "abc"] for a in "abc"]) / len(pairs)
    chance = (counts.sum(0) * counts.sum(1)).sum()
    found = sensitivity.kappa(first, second)
    if np.isclose(chance, 1):
        assert np.isnan(found)
    else:
        assert found == pytest.approx((np.trace(counts) - chance) / (1 - chance))


def test_stability_says_in_how_many_layers_a_type_exceeds_chance(tmp_path):
    layers = [
        pd.DataFrame(
            {
                "scheme": "s",
                "type": ["prediction", "partition", "local_context", "unclassified"],
                "features": [members, 0, 1, 999 - members],
                "share": [members / 1000, 0.0, 0.001, 0.999 - members / 1000],
                "members": [members, 0, 1, 999 - members],
                # No null direction has been seen to give a local context.
                "expected_at_bounds": [1.0, 0.0, 0.0, 999.0],
            }
        )
        for members in (1, 3, 20)
    ]
    found = sensitivity_layers.stability(layers)
    tables.write(found, tmp_path / "s.parquet", STABILITY, {})
    row = found.set_index("type").loc["prediction"]
    assert (row["layers"], row["layers_above_chance"]) == (3, 1)
    assert row["mean_share"] == pytest.approx(0.008) and row["max_share"] == 0.02
    assert row["sd_share"] == pytest.approx(np.std([0.001, 0.003, 0.02], ddof=1))
    assert (found.set_index("type").loc[["partition", "local_context"], "layers_above_chance"] == 0).all()
    assert np.isnan(sensitivity_layers.stability(layers[:1])["sd_share"][0])
