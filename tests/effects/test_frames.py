"""From measurements to tables: brute force as oracle, dead features."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from fsrl.effects import agreement, forward
from fsrl.effects import frames as effect_frames
from fsrl.effects import measure as effect_measure
from fsrl.effects import sample as effect_sample
from fsrl.effects import summary as effect_summary
from fsrl.errors import FsrlError
from fsrl.nulls import quantiles
from fsrl.tables import core as tables
from fsrl.tables.effects import EFFECTS, RETENTION, SUMMARY, TYPE_SHARES
from fsrl.types.rules import parse_scheme
from tests.fixtures import effect_examples as ex
from tests.fixtures.effect_examples import KNOWN, RULES, SCHEME
from tests.fixtures.type_examples import NULL

POSITIONS = 3
# The last feature's direction is zero.
FEATURES = list(range(9))


@pytest.fixture(scope="module")
def study(tiny_study):
    return ex.study(tiny_study)


def measured(study, features=FEATURES, **options):
    _, tail, clean, W_U = study
    return effect_measure.measure(
        tail,
        clean,
        ex.decoder(),
        agreement.Vocabulary.of(W_U),
        features,
        ex.activations()[..., features],
        positions=POSITIONS,
        seed=(0,),
        **options,
    )


def sample(features=FEATURES):
    return pd.DataFrame(
        {
            "feature": np.array(features, dtype=np.int32),
            "type": ["prediction" if i % 2 else "unclassified" for i in features],
            "log10_density": np.float32(-2),
            "stratum": 10,
        }
    )


def frame_of(study, features=FEATURES, **options):
    W_U = study[3]
    found = measured(study, features, **options)
    given = sample(features), SCHEME, ex.layer_moments(np.arange(9, dtype=np.int32)), KNOWN
    return effect_frames.effects_frame(found, *given, n_tokens=W_U.shape[1])


@pytest.fixture(scope="module")
def frame(study):
    return frame_of(study)


def row(frame, feature, direction="feature", state="active", step="+1"):
    keys = {"feature": feature, "direction": direction, "state": state, "step": step}
    rows = frame[np.logical_and.reduce([frame[key] == value for key, value in keys.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_row_is_what_brute_force_gives(study, frame):
    model, tail, clean, W_U = study
    feature, alpha = 3, ex.activations()[:, 1:, 3]
    alpha = alpha[alpha > 0].double().mean().item()
    found = row(frame, feature, step="+own")
    assert found["alpha"] == pytest.approx(alpha, rel=1e-6)
    direction = ex.decoder().W_dec[feature].double()
    w = (direction @ W_U).numpy()
    sites = effect_sample.sites(ex.activations()[..., [feature]], [(0, feature)], 3)
    chosen = [i for i, state in enumerate(sites.state) if state == "active"]
    assert len(chosen) == found["positions"] == POSITIONS
    changes, scales = [], []
    for i in chosen:
        context, position = int(sites.context[i]), int(sites.position[i])
        hook = "blocks.1.hook_resid_pre"
        changes.append(ex.logits_change(model, context, position, hook, alpha * direction).numpy() / alpha)
        scales.append(forward.normalise(clean.final[context, position], tail.eps)[1].item())
    pearson = [stats.pearsonr(u, w)[0] for u in changes]
    assert found["pearson"] == pytest.approx(np.mean(pearson))
    assert found["pearson_se"] == pytest.approx(np.std(pearson, ddof=1) / np.sqrt(POSITIONS))
    slopes = [stats.linregress(w / s, u).slope for u, s in zip(changes, scales, strict=True)]
    assert found["slope"] == pytest.approx(np.mean(slopes))
    skewness = [stats.skew(u) for u in changes]
    assert found["skewness"] == pytest.approx(np.mean(skewness))
    expected = np.mean([u.std() * s for u, s in zip(changes, scales, strict=True)])
    assert found["std"] == pytest.approx(expected)
    assert found["share_prediction"] == pytest.approx(np.mean(np.array(skewness) > 0.1))
    assert found["averaged_pearson"] == pytest.approx(stats.pearsonr(np.mean(changes, axis=0), w)[0])
    assert found["direct_kurtosis"] == pytest.approx(stats.kurtosis(w, fisher=False))


def test_the_table_is_as_specified(frame, tmp_path):
    tables.write(frame, tmp_path / "effects.parquet", EFFECTS, {})
    shares = frame[TYPE_SHARES].sum(axis=1)
    np.testing.assert_allclose(shares, 1)
    assert (frame["kept"] <= 1).all()
    assert not frame.duplicated(effect_frames.KEYS).any()


def test_a_feature_that_is_never_active_has_inactive_rows_only_and_no_step_of_its_own(frame):
    never = frame[frame["feature"] == 0]
    assert set(never["state"]) == {"inactive"} and set(never["step"]) == {"+1", "-1"}
    assert not never[["pearson", "slope", "std", "kurtosis", "averaged_pearson"]].isna().any(axis=None)
    always = frame[frame["feature"] == 1]
    assert set(always["state"]) == {"active"}


def test_a_zero_direction_has_no_agreement_and_no_type(frame):
    zero = frame[(frame["feature"] == 8) & (frame["direction"] != "other")]
    assert zero[["pearson", "explained", "kurtosis", "direct_kurtosis"]].isna().all(axis=None)
    assert set(zero["measured_type"]) == set(zero["direct_type"]) == {"degenerate"}


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 7}, {"features": [6, 3, 1]}])
def test_figures_depend_on_neither_batches_nor_the_other_features(study, frame, options):
    found = frame_of(study, **options)
    same = frame[frame["feature"].isin(found["feature"])].reset_index(drop=True)
    columns = [name for name in same if name not in ("type",)]
    pd.testing.assert_frame_equal(found[columns], same[columns], rtol=1e-9, atol=1e-12)


def test_a_random_direction_has_the_features_norm_and_other_weights_are_anothers(study):
    decoder = ex.decoder()
    vectors = effect_measure._vectors(decoder.W_dec, FEATURES, [(0, i) for i in FEATURES])
    torch.testing.assert_close(vectors[:, 1].norm(dim=-1), decoder.W_dec.norm(dim=-1))
    for i, vector in enumerate(vectors[:, 2]):
        same = (decoder.W_dec == vector).all(-1).nonzero().flatten().tolist()
        assert same and i not in same


def test_a_scheme_of_another_view_is_refused(study):
    asked = parse_scheme("odd", RULES | {"view": "cosine"})
    with pytest.raises(FsrlError, match="scheme odd reads the view cosine"):
        given = sample([1]), asked, ex.layer_moments(np.arange(9, dtype=np.int32)), KNOWN
        effect_frames.effects_frame(measured(study, [1]), *given, n_tokens=300)


def test_a_change_is_typed_by_the_p_that_is_significant_in_its_layer(study):
    # Skewness from -.01 to .01 by chance. All of the layer's features lie far out in it, so p of .05 is
    # significant, which is a skewness of .0095: for every direction, whichever it is.
    known = quantiles.of_draws(NULL.assign(skewness=NULL["skewness"] / 100))
    tails = parse_scheme("tails", {"level": 0.05, "tail_tokens": 20, "share": 0.25})
    layer = ex.layer_moments(np.arange(9, dtype=np.int32)).assign(skewness=50.0)
    found = effect_frames.effects_frame(
        measured(study), sample(), tails, layer, known, n_tokens=study[3].shape[1]
    )
    skewed = found[found["direct_skewness"] > 0.0096]
    assert len(skewed) > 20
    assert skewed["direct_type"].isin(["local_context", "prediction", "two_sided", "partition"]).all()
    others = found[found["direct_skewness"] < 0.0094]
    assert not others["direct_type"].isin(["local_context", "prediction"]).any()


def test_summary_by_hand(frame):
    part = frame[frame["feature"] != 8]
    found = effect_summary.summarise({"a": part}, seed=0)
    mine = found[(found["type"] == "prediction") & (found["state"] == "active") & (found["step"] == "+1")]
    rows = part[(part["type"] == "prediction") & (part["state"] == "active") & (part["step"] == "+1")]
    by = {
        name: rows[rows["direction"] == name].set_index("feature") for name in ("feature", "random", "other")
    }
    difference = by["feature"]["pearson"] - by["random"]["pearson"]
    summary = mine.iloc[0]
    assert summary["features"] == len(difference) == 4
    assert summary["difference"] == pytest.approx(difference.mean())
    assert summary["other"] == pytest.approx(by["other"]["pearson"].mean())
    draws = np.random.default_rng(5).choice(difference, size=(20_000, 4)).mean(axis=1)
    ends = summary["difference_low"], summary["difference_high"]
    assert ends == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.1 * np.ptp(difference))
    every = found[(found["type"] == "all") & (found["state"] == "active") & (found["step"] == "+1")].iloc[0]
    types = found[(found["type"] != "all") & (found["state"] == "active") & (found["step"] == "+1")]
    assert every["pearson"] == pytest.approx(np.average(types["pearson"], weights=types["stratum"]))


def test_one_feature_has_no_interval(frame, tmp_path):
    found = effect_summary.summarise({"a": frame[frame["feature"] == 3]}, seed=0)
    assert found["pearson"].notna().all() and found["pearson_low"].isna().all()
    tables.write(found, tmp_path / "summary.parquet", SUMMARY, {})


def test_retention_is_the_mean_share_of_each_type(frame, tmp_path):
    found = effect_summary.retention({"a": frame})
    tables.write(found, tmp_path / "retention.parquet", RETENTION, {})
    sums = found.groupby(["state", "direct_type"])["share"].sum()
    np.testing.assert_allclose(sums, 1)
