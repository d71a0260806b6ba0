"""The planted world: what it claims to plant is there, in closed form and by brute force."""

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.claims import planted
from fsrl.errors import FsrlError
from fsrl.moments.formulas import Typical, tail_tokens
from fsrl.nulls import frames as nulls
from fsrl.stats.quantiles import quantile
from fsrl.types.rules import ORDER

STRENGTHS = (1.0, 4.0, 8.0)
TYPICAL = Typical(3.3, 1.65, 80.0)


@pytest.fixture(scope="module")
def tokens():
    # Three thousand words, half of them with a space before them, in no order.
    letters = "etaoinshrdlu"
    words = [a + b + c for a in letters for b in letters for c in letters][:1500]
    stored = [*words, *("Ġ" + word.upper() for word in words)]
    return [stored[i] for i in np.random.default_rng(0).permutation(len(stored))]


@pytest.fixture(scope="module")
def where(tokens):
    return planted.world(tokens, d_model=120, seed=0)


@pytest.fixture(scope="module")
def study(where):
    return planted.plant(where, features=1000, share=0.15, strengths=STRENGTHS, typical=TYPICAL, seed=0)


def test_sets_have_the_sizes_they_claim_and_hold_like_tokens(where, tokens):
    assert where.members.sum(dim=1).tolist() == where.sets["tokens"].tolist()
    assert where.sets["share"].tolist() == pytest.approx((where.sets["tokens"] / 3000).tolist())
    sizes = where.sets.groupby("type")["tokens"].agg(["min", "max"])
    assert sizes.loc["local_context"].tolist() == [1, 20]
    assert sizes.loc["partition"].tolist() == [300, 1500]
    assert sizes.loc["prediction"].tolist() == [30, 150]
    partition = where.sets.index[where.sets["tokens"] == 600][0]
    first = {tokens[i].strip("Ġ").lower()[0] for i in where.members[partition].nonzero().flatten().tolist()}
    assert len(first) <= 4  # of twelve first letters, a run of a fifth meets at most four


def test_chance_is_not_gaussian_in_this_world(where):
    null = nulls.isotropic(where.W_U, draws=4000, seed=0)
    # Under a Gaussian W_U the kurtosis of 3000 logits has a standard error of .09 about 3.
    assert quantile(null, "kurtosis", 0.5) > 3.2
    assert quantile(null, "kurtosis", 0.99) > 3.6
    assert quantile(null, "skewness", 0.99) > 0.2
    assert quantile(null, "std", 0.99) > 1.1 * quantile(null, "std", 0.01)


def test_every_plant_has_its_strength_and_side_by_brute_force(where, study):
    logits = (study.W_dec.double() @ where.W_U.double()).numpy()
    members = dict(zip(where.sets["set"], where.members.numpy(), strict=True))
    sides = {"local_context": {1}, "prediction": {1}, "suppression": {-1}, "partition": {-1, 1}}
    seen = {name: set() for name in sides}
    for row in study.truth[study.truth["type"] != planted.NONE].itertuples():
        w, member = logits[row.feature], members[row.set]
        assert member.sum() == row.tokens
        gap = w[member].mean() - w[~member].mean()
        within = row.share * w[member].var() + (1 - row.share) * w[~member].var()
        assert abs(gap) / np.sqrt(within) == pytest.approx(row.strength, rel=1e-3)
        assert 1 - within / w.var() == pytest.approx(row.eta2, rel=1e-3, abs=1e-6)
        seen[row.type].add(int(np.sign(gap)))
    assert seen == sides


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(("share", "strength"), [(0.1, 2.0), (0.3, 4.0), (0.5, 6.0), (0.01, 8.0)])
def test_perfect_moments_against_a_sample_of_a_perfect_plant(share, strength, sign):
    generator = np.random.default_rng(0)
    member = generator.random(1_000_000) < share
    bulk = generator.standard_normal(1_000_000)
    bulk *= np.where(generator.random(1_000_000) < 0.5, 0.6, (2 - 0.6**2) ** 0.5)  # a mixture: kurtosis > 3
    kappa0 = (bulk**4).mean() / (bulk**2).mean() ** 2
    w = bulk + sign * strength * member
    z = (w - w.mean()) / w.std()
    rows = pd.DataFrame({"share": [share], "strength": [strength], "sign": [sign]})
    halves = [(np.maximum(bulk / bulk.std(), 0) ** power).mean() for power in (4, 8)]
    found = planted._perfect(rows, 1_000_000, Typical(kappa0, *halves)).iloc[0]
    assert kappa0 > 4
    assert found["eta2"] == pytest.approx(1 - 1 / w.var(), rel=0.02)
    assert found["skewness"] == pytest.approx((z**3).mean(), rel=0.03, abs=0.01)
    assert found["kurtosis"] == pytest.approx((z**4).mean(), rel=0.03)


@pytest.mark.parametrize(("share", "strength", "sign"), [(1e-4, 12.0, 1), (0.3, 5.0, -1), (0.02, 6.0, 1)])
def test_each_side_of_a_perfect_plant_is_that_of_a_sample(share, strength, sign):
    n = 1_000_000
    generator = np.random.default_rng(0)
    w = generator.standard_normal(n) + sign * strength * (np.arange(n) < share * n)
    z = torch.from_numpy((w - w.mean()) / w.std())
    rows = pd.DataFrame({"share": [share], "strength": [strength], "sign": [float(sign)]})
    found = planted._perfect(rows, n, Typical(3.0, 1.5, 52.5)).iloc[0]
    fourth, eighth = (z.clamp(min=0).pow(power).mean() for power in (4, 8))
    left_fourth, left_eighth = ((-z).clamp(min=0).pow(power).mean() for power in (4, 8))
    assert found["right_kurtosis"] == pytest.approx(fourth.item(), rel=0.03)
    assert found["left_kurtosis"] == pytest.approx(left_fourth.item(), rel=0.03)
    assert found["right_eighth"] == pytest.approx(eighth.item(), rel=0.1)
    assert found["left_eighth"] == pytest.approx(left_eighth.item(), rel=0.1)
    large, tail = (fourth, eighth) if sign > 0 else (left_fourth, left_eighth)
    name = "tail_tokens" if sign > 0 else "left_tail_tokens"
    assert found[name] == pytest.approx(tail_tokens(large, tail, n, 1.5, 52.5).item(), rel=0.1)


def test_a_two_level_split_has_the_kurtosis_that_its_share_allows():
    for share in (0.1, 0.25, 0.5):
        rows = pd.DataFrame({"share": [share], "strength": [1e6], "sign": [1.0]})
        found = planted._perfect(rows, 100, Typical(3.0, 1.5, 52.5)).iloc[0]
        assert found["kurtosis"] == pytest.approx(1 + (1 - 2 * share) ** 2 / (share * (1 - share)))
        # No distribution lies below this bound, and two levels reach it.
        assert found["kurtosis"] == pytest.approx(1 + found["skewness"] ** 2)


def test_where_nothing_is_planted_the_perfect_row_is_typical():
    rows = pd.DataFrame({"share": [0.0], "strength": [np.nan], "sign": [1.0]})
    found = planted._perfect(rows, 100, TYPICAL).iloc[0]
    assert found[["eta2", "skewness"]].tolist() == [0, 0]
    assert found["kurtosis"] == pytest.approx(TYPICAL.kurtosis)
    assert found["right_kurtosis"] == pytest.approx(TYPICAL.right_kurtosis)
    assert found[["right_eighth", "left_eighth"]].tolist() == pytest.approx(2 * [TYPICAL.right_eighth])


def test_achieved_moments_are_those_of_the_rows_and_near_the_perfect_ones(where, study):
    logits = (study.W_dec.double() @ where.W_U.double()).numpy()
    z = (logits - logits.mean(1, keepdims=True)) / logits.std(1, keepdims=True)
    moments, perfect = study.moments, study.perfect
    assert moments["skewness"].to_numpy() == pytest.approx((z**3).mean(1), abs=1e-3)
    assert moments["kurtosis"].to_numpy() == pytest.approx((z**4).mean(1), rel=1e-3)
    assert moments["std"].to_numpy() == pytest.approx(logits.std(1), rel=1e-4)
    assert moments["norm"].to_numpy() == pytest.approx(study.W_dec.norm(dim=1).numpy(), rel=1e-5)
    pd.testing.assert_frame_equal(perfect[["std", "norm"]], moments[["std", "norm"]])
    strong = (study.truth["strength"] == 8.0) & (study.truth["type"] != planted.NONE)
    ratio = (moments["kurtosis"] / perfect["kurtosis"])[strong]
    assert ratio.median() == pytest.approx(1, abs=0.1)
    assert moments.loc[strong, "skewness"].corr(perfect.loc[strong, "skewness"]) > 0.98


def test_as_many_as_asked_for_of_each_type_and_the_rest_is_chance(study):
    counts = study.truth["type"].value_counts()
    assert counts[list(ORDER)].tolist() == [150] * 4 and counts[planted.NONE] == 400
    assert study.truth["feature"].tolist() == list(range(1000))
    per_set = study.truth[study.truth["type"] == "partition"].groupby(["set", "strength"]).size()
    assert len(per_set) == 9 * 3 and per_set.min() >= 5
    bulk = study.W_dec[torch.from_numpy((study.truth["type"] == planted.NONE).to_numpy().copy())].double()
    bulk /= bulk.norm(dim=1, keepdim=True)
    assert (bulk.T @ bulk / len(bulk)).diagonal().numpy() == pytest.approx(np.full(120, 1 / 120), rel=0.4)


def test_the_seed_decides(where):
    settings = {"features": 200, "share": 0.05, "strengths": STRENGTHS, "typical": TYPICAL}
    first, again, other = (planted.plant(where, **settings, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.W_dec, again.W_dec)
    pd.testing.assert_frame_equal(first.truth, again.truth)
    assert not torch.equal(first.W_dec, other.W_dec)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0.25}, "share 0.25 of 100 features"),
        ({"share": 0.001}, "give one feature"),
        ({"strengths": []}, "strengths must be positive"),
        ({"strengths": [1.0, 0.0]}, "strengths must be positive"),
        ({"strengths": [1000.0]}, r"strength 1000 of set .* is out of reach; no direction reaches \d+"),
    ],
)
def test_what_cannot_be_planted_is_refused(where, settings, message):
    settings = {"features": 100, "share": 0.05, "strengths": [2.0], "typical": TYPICAL, "seed": 0} | settings
    with pytest.raises(FsrlError, match=message):
        planted.plant(where, **settings)


def test_worlds_too_small_are_refused(tokens):
    with pytest.raises(FsrlError, match="999 tokens; the sets need a vocabulary of at least 1000"):
        planted.world(tokens[:999], d_model=120, seed=0)
    with pytest.raises(FsrlError, match=r"d_model is 60, but \d+ sets need at least \d+"):
        planted.world(tokens, d_model=60, seed=0)
