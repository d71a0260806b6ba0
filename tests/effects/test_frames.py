"""From measurements to tables: brute force as oracle, dead features."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from fsrl.effects import agreement, controls, forward
from fsrl.effects import frames as effect_frames
from fsrl.effects import measure as effect_measure
from fsrl.effects import sample as effect_sample
from fsrl.effects import summary as effect_summary
from fsrl.errors import FsrlError
from fsrl.hooks import Place
from fsrl.nulls import quantiles
from fsrl.tables import core as tables
from fsrl.tables.effects import AGREEMENT, BY_HOOK, EFFECTS, RETENTION, SUMMARY, TYPE_SHARES
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


# T of nothing in particular.
T = torch.randn(ex.D_MODEL, ex.D_MODEL, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


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
        **({"T": T, "own_jacobian": True} | options),
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


def frames_of(study, features=FEATURES, **options):
    W_U = study[3]
    found = measured(study, features, **options)
    given = sample(features), SCHEME, ex.layer_moments(np.arange(9, dtype=np.int32)), KNOWN
    effects = effect_frames.effects_frame(found, *given, n_tokens=W_U.shape[1])
    return effects, effect_frames.agreement_frame(found, sample(features))


@pytest.fixture(scope="module")
def frames(study):
    return frames_of(study)


@pytest.fixture(scope="module")
def frame(frames):
    return frames[0]


def row(frame, feature, direction="feature", state="active", step="+1", prediction=None):
    keys = {"feature": feature, "direction": direction, "state": state, "step": step}
    keys |= {} if prediction is None else {"prediction": prediction}
    rows = frame[np.logical_and.reduce([frame[key] == value for key, value in keys.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def brute_force(study, feature, step, direction):
    """Of each active site: the change by the model itself [tokens], what predicts it by name, and the scale;
    by slow ways: whole forward passes, whole Jacobians.
    """
    model, tail, clean, W_U = study
    own = ex.decoder().W_dec[feature].double()
    alpha = ex.activations()[:, 1:, feature]
    alpha = alpha[alpha > 0].double().mean().item() if step == "+own" else 1.0
    sites = effect_sample.sites(ex.activations()[..., [feature]], [(0, feature)], POSITIONS)
    noise = torch.from_numpy(np.random.default_rng((0, feature, 2)).standard_normal((2 * POSITIONS, 16)))
    chosen = [i for i, state in enumerate(sites.state) if state == "active"]
    assert len(chosen) == POSITIONS
    found = []
    for i in chosen:
        context, position = sites.context[i : i + 1], sites.position[i : i + 1]
        x = clean.residual[Place(1, False)][context, position]
        added = own if direction == "feature" else controls.matched(own[None], x, noise[i : i + 1])[0]
        hook = "blocks.1.hook_resid_pre"
        change = ex.logits_change(model, int(context), int(position), hook, alpha * added).numpy() / alpha
        unit, scale = forward.normalise(clean.final[context, position], tail.eps)
        N = torch.eye(16).double() - 1 / 16 - unit.T @ unit / 16
        (J,) = ex.through_norm(tail, clean, context, position, [Place(1, False)]).values()
        found.append((change, added, N @ added, T @ added, J[0] @ added, scale.item()))
    changes, *predicted, scales = zip(*found, strict=True)
    jacobians = torch.stack(predicted.pop())
    others = [jacobians[[j for j in range(POSITIONS) if j != i]].mean(0) for i in range(POSITIONS)]
    names = ("direct", "corrected", "transported", "own_mean")
    weights = {
        name: [(one @ W_U).numpy() for one in rows]
        for name, rows in zip(names, (*predicted, others), strict=True)
    }
    return changes, weights, scales, alpha


@pytest.mark.parametrize("step", ["+1", "+own"])
@pytest.mark.parametrize("direction", ["feature", "matched"])
def test_rows_are_what_brute_force_gives(study, frames, step, direction):
    feature = 3
    changes, weights, scales, alpha = brute_force(study, feature, step, direction)
    found = row(frames[0], feature, direction, step=step)
    assert found["alpha"] == pytest.approx(alpha, rel=1e-6) and found["positions"] == POSITIONS
    skewness = [stats.skew(u) for u in changes]
    assert found["skewness"] == pytest.approx(np.mean(skewness))
    assert found["skewness_se"] == pytest.approx(np.std(skewness, ddof=1) / np.sqrt(POSITIONS))
    expected = np.mean([u.std() * s for u, s in zip(changes, scales, strict=True)])
    assert found["std"] == pytest.approx(expected)
    assert found["share_prediction"] == pytest.approx(np.mean(np.array(skewness) > 0.1))
    own = [stats.kurtosis(w, fisher=False) for w in weights["direct"]]
    assert found["direct_kurtosis"] == pytest.approx(np.mean(own))
    for name in ("direct", "corrected", "transported", "own_mean"):
        if (direction, name) == ("matched", "own_mean"):
            continue
        found = row(frames[1], feature, direction, step=step, prediction=name)
        pairs = list(zip(changes, weights[name], scales, strict=True))
        pearson = [stats.pearsonr(u, w)[0] for u, w, _ in pairs]
        assert found["pearson"] == pytest.approx(np.mean(pearson)), name
        assert found["pearson_se"] == pytest.approx(np.std(pearson, ddof=1) / np.sqrt(POSITIONS))
        slopes = [stats.linregress(w / s, u).slope for u, w, s in pairs]
        assert found["slope"] == pytest.approx(np.mean(slopes))
        explained = [1 - np.var(u - w / s) / np.var(u) for u, w, s in pairs]
        assert found["explained"] == pytest.approx(np.mean(explained))
        if direction == "matched":
            assert np.isnan(found["spearman"]) and np.isnan(found["averaged_pearson"])
            continue
        ranked = [stats.spearmanr(u, w)[0] for u, w, _ in pairs]
        assert found["spearman"] == pytest.approx(np.mean(ranked))
        tops = [len({*np.argsort(u)[-10:]} & {*np.argsort(w)[-10:]}) / 10 for u, w, _ in pairs]
        assert found["overlap"] == pytest.approx(np.mean(tops))
        if name == "own_mean":
            assert np.isnan(found["averaged_pearson"])
            continue
        wanted = np.mean([w / s for _, w, s in pairs], axis=0)
        averaged = stats.linregress(wanted, np.mean(changes, axis=0))
        assert found["averaged_pearson"] == pytest.approx(averaged.rvalue)
        assert found["averaged_slope"] == pytest.approx(averaged.slope)


def test_the_tables_are_as_specified(frames, tmp_path):
    effects, agreement = frames
    tables.write(effects, tmp_path / "effects.parquet", EFFECTS, {})
    tables.write(agreement, tmp_path / "agreement.parquet", AGREEMENT, {})
    np.testing.assert_allclose(effects[TYPE_SHARES].sum(axis=1), 1)
    assert not effects.duplicated(effect_frames.KEYS).any()
    assert not agreement.duplicated(effect_frames.BY_PREDICTION).any()
    assert set(agreement["prediction"]) == {"direct", "corrected", "transported", "own_mean"}


def test_the_type_is_kept_where_there_is_one(frame):
    typed = (frame["type"] == "prediction") & (frame["direction"] == "feature")
    assert frame.loc[typed, "kept"].equals(frame.loc[typed, "share_prediction"])
    assert frame.loc[~typed, "kept"].isna().all() and (~typed).any()


def test_without_matrices_and_own_jacobians_nothing_is_predicted_by_them(study, frames):
    effects, agreement = frames_of(study, T=None, own_jacobian=False)
    pd.testing.assert_frame_equal(effects, frames[0])
    assert set(agreement["prediction"]) == {"direct", "corrected"}
    same = frames[1][frames[1]["prediction"].isin(["direct", "corrected"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(agreement, same)


def test_an_only_site_has_no_other_to_be_predicted_from(study):
    _, tail, clean, W_U = study
    found = effect_measure.measure(
        tail,
        clean,
        ex.decoder(),
        agreement.Vocabulary.of(W_U),
        [3],
        ex.activations()[..., [3]],
        positions=1,
        seed=(0,),
        own_jacobian=True,
    )
    mine = found.readings[found.readings["prediction"] == "own_mean"]
    assert len(mine) == 4 and mine[["pearson", "spearman", "overlap"]].isna().all(axis=None)
    assert found.readings.loc[found.readings["prediction"] == "corrected", "pearson"].notna().all()


def test_a_feature_that_is_never_active_has_inactive_rows_only_and_no_step_of_its_own(frames):
    for frame, names in zip(frames, (["std", "kurtosis"], ["pearson", "slope"]), strict=True):
        never = frame[frame["feature"] == 0]
        assert set(never["state"]) == {"inactive"} and set(never["step"]) == {"+1"}
        assert not never[names].isna().any(axis=None)
        always = frame[frame["feature"] == 1]
        assert set(always["state"]) == {"active"}


def test_a_zero_direction_has_no_agreement_and_no_type(frames):
    effects, agreement = (frame[frame["feature"] == 8] for frame in frames)
    assert effects[["kurtosis", "direct_kurtosis"]].isna().all(axis=None)
    assert set(effects["measured_type"]) == {"degenerate"}
    assert agreement[["pearson", "spearman", "overlap", "averaged_pearson"]].isna().all(axis=None)


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 7}, {"features": [6, 3, 1]}])
def test_figures_depend_on_neither_batches_nor_the_other_features(study, frames, options):
    for found, frame in zip(frames_of(study, **options), frames, strict=True):
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
    sites = measured(study).changes
    beyond = {
        sign: (sign * sites["skewness"] > 0.0096).groupby([sites[key] for key in effect_frames.KEYS]).mean()
        for sign in (1, -1)
    }
    found = found.set_index(effect_frames.KEYS)
    typed = found[["share_local_context", "share_prediction", "share_two_sided", "share_partition"]].sum(
        axis=1
    )
    always, never = beyond[1] == 1, beyond[-1] == 1
    assert always.sum() > 3 and never.sum() > 3
    assert (typed[always] == 1).all()
    assert (found.loc[never, ["share_local_context", "share_prediction"]] == 0).all(axis=None)


def test_summary_by_hand(frames):
    effects, agreement = (frame[frame["feature"] != 8] for frame in frames)
    found = effect_summary.summarise({"a": effects}, {"a": agreement}, seed=0)
    at = (found["state"] == "active") & (found["step"] == "+1")
    summary = found[at & (found["type"] == "prediction")].iloc[0]
    rows = agreement[(agreement["type"] == "prediction") & (agreement["prediction"] == "direct")]
    rows = rows[(rows["state"] == "active") & (rows["step"] == "+1")]
    names = ("feature", "random", "matched", "other")
    by = {name: rows[rows["direction"] == name].set_index("feature") for name in names}
    difference = by["feature"]["pearson"] - by["matched"]["pearson"]
    assert summary["features"] == len(difference) == 4
    assert summary["difference"] == pytest.approx(difference.mean())
    for name in names[1:]:
        assert summary[name] == pytest.approx(by[name]["pearson"].mean())
    draws = np.random.default_rng(5).choice(difference, size=(20_000, 4)).mean(axis=1)
    ends = summary["difference_low"], summary["difference_high"]
    assert ends == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.1 * np.ptp(difference))
    every, types = found[at & (found["type"] == "all")].iloc[0], found[at & (found["type"] != "all")]
    assert every["pearson"] == pytest.approx(np.average(types["pearson"], weights=types["stratum"]))
    # Of features without a type none is kept: those that have one speak for all.
    assert types.set_index("type")["kept"].isna().to_dict() == {"prediction": False, "unclassified": True}
    assert every["kept"] == pytest.approx(summary["kept"])
    assert every["kept_low"] == pytest.approx(summary["kept_low"])


def test_agreement_by_hook_by_hand(frames, tmp_path):
    agreement = frames[1][frames[1]["feature"] != 8].assign(stratum=lambda frame: frame["type"].map(len))
    found = effect_summary.by_hook({"a": agreement}, seed=0)
    tables.write(found, tmp_path / "by_hook.parquet", BY_HOOK, {})
    keys = ["direction", "prediction", "state", "step"]
    assert len(found) == len(agreement[keys].drop_duplicates()) and not found.duplicated(keys).any()
    at = {"state": "inactive", "step": "+own"}

    def of(direction, prediction):
        wanted = {"direction": direction, "prediction": prediction, **at}
        rows = agreement[np.logical_and.reduce([agreement[key] == value for key, value in wanted.items()])]
        mine = found[np.logical_and.reduce([found[key] == value for key, value in wanted.items()])]
        return rows.set_index("feature"), mine.iloc[0]

    def mean(values, types):
        # Each type's mean weighs as many features as its name has letters.
        parts = {name: values[types == name].mean() for name in set(types)}
        return sum(len(name) * part for name, part in parts.items()) / sum(map(len, parts))

    direct, _ = of("feature", "direct")
    matched, _ = of("matched", "transported")
    rows, mine = of("feature", "transported")
    for name in ("pearson", "spearman", "slope", "overlap", "explained", "averaged_pearson"):
        assert mine[name] == pytest.approx(mean(rows[name], rows["type"])), name
    over = {"over_direct": direct, "over_matched": matched}
    for name, other in over.items():
        difference = rows["pearson"] - other["pearson"]
        assert mine[name] == pytest.approx(mean(difference, rows["type"]))
        picked = [
            np.random.default_rng(seed).choice(group, size=(20_000, len(group))).mean(axis=1)
            for seed, (_, group) in enumerate(difference.groupby(rows["type"]))
        ]
        draws = (10 * picked[0] + 12 * picked[1]) / 22
        ends = mine[f"{name}_low"], mine[f"{name}_high"]
        expected = np.quantile(draws, [0.025, 0.975])
        assert ends == pytest.approx(expected, abs=0.15 * np.ptp(difference))
    control = of("matched", "transported")[1]
    assert np.isnan(control["over_matched"]) and not np.isnan(control["over_direct"])


def test_one_feature_has_no_interval(frames, tmp_path):
    effects, agreement = (frame[frame["feature"] == 3] for frame in frames)
    found = effect_summary.summarise({"a": effects}, {"a": agreement}, seed=0)
    assert found["pearson"].notna().all() and found["pearson_low"].isna().all()
    tables.write(found, tmp_path / "summary.parquet", SUMMARY, {})


def test_retention_is_the_mean_share_of_each_type(frame, tmp_path):
    found = effect_summary.retention({"a": frame})
    tables.write(found, tmp_path / "retention.parquet", RETENTION, {})
    assert set(found["direct_type"]) == {"prediction"}
    sums = found.groupby(["state", "direct_type"])["share"].sum()
    np.testing.assert_allclose(sums, 1)
