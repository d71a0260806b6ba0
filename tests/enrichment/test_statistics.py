"""z, eta^2 and t of token sets: against explicit logits, by hand, and what must not change them."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.enrichment import calibration, row_nulls
from fsrl.enrichment import covariance as enrichment_covariance
from fsrl.enrichment import statistics as enrichment
from fsrl.errors import FsrlError
from tests.fixtures.enrichment_examples import as_matrix, random_case


@pytest.fixture(autouse=True, scope="module")
def few_draws():
    """p is tested in test_row_nulls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enrichment, "SET_DRAWS", 1000)
        yield


def brute_force(W_dec, W_U, sets, C):
    """z, eta^2, t, p [n, n_sets] by loops over explicit float64 logits; C [d_model, d_model] of full rank."""
    logits, W_U = (W_dec.double() @ W_U.double()).numpy(), W_U.double().numpy()
    inverse, n_tokens, k = np.linalg.inv(C), W_U.shape[1], len(C)
    found = np.empty((4, len(logits), len(sets)))
    for i, (d, w) in enumerate(zip(W_dec.double().numpy(), logits, strict=True)):
        for j, members in enumerate(sets.numpy()):
            m = members.sum()
            error = w.std() / math.sqrt(m) * math.sqrt((n_tokens - m) / (n_tokens - 1))
            between = sum(part.sum() * (w[part].mean() - w.mean()) ** 2 for part in (members, ~members))
            delta = W_U[:, members].mean(axis=1) - W_U.mean(axis=1)
            r = d @ delta / math.sqrt((d @ inverse @ d) * (delta @ C @ delta))
            t = r * math.sqrt(k - 1) / math.sqrt(1 - r**2)
            z = (w[members].mean() - w.mean()) / error
            found[:, i, j] = z, between / ((w - w.mean()) ** 2).sum(), t, 2 * scipy.stats.t.sf(abs(t), k - 1)
    return found


def test_statistics_against_explicit_logits():
    W_dec, W_U, sets = random_case()
    C = as_matrix(enrichment_covariance.layer_covariance(W_dec))
    found = enrichment.set_statistics(W_dec, W_U, sets)
    expected = brute_force(W_dec, W_U, sets, C)
    student = 10 ** calibration.student_log10_p(found.t.numpy(), found.k)
    for values, oracle in zip((found.z, found.eta2, found.t, student), expected, strict=True):
        np.testing.assert_allclose(values, oracle, rtol=2e-5, atol=1e-6)
    assert found.k == 6
    assert found.tested.all()
    assert found.sizes.tolist() == sets.sum(1).tolist()


def test_rows_without_a_direction_lower_the_rank():
    # Rows of a centred residual stream: nothing along the all-ones vector.
    W_dec, W_U, sets = random_case(n=80)
    W_dec = W_dec - W_dec.mean(dim=1, keepdim=True)
    found = enrichment.set_statistics(W_dec, W_U, sets)
    assert found.k == 5
    basis = torch.linalg.svd(W_dec.double(), full_matrices=False).Vh[:5]
    inside = enrichment.set_statistics(W_dec @ basis.T.float(), basis.float() @ W_U, sets)
    torch.testing.assert_close(found.t, inside.t, rtol=1e-4, atol=1e-4)


def test_worked_example():
    # w = (4 x 4, 16 x 0): mean .8, sigma^2 = 2.56. S holds 3 of the raised and 2 others: its mean is 2.4.
    W_U = torch.zeros(2, 20)
    W_U[0, :4] = 4.0
    W_U[1] = torch.linspace(-1, 1, 20)
    sets = torch.zeros(1, 20, dtype=torch.bool)
    sets[0, [0, 1, 2, 10, 11]] = True
    found = enrichment.set_statistics(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), W_U, sets)
    assert found.z[0, 0].item() == pytest.approx(1.6 / (1.6 / math.sqrt(5) * math.sqrt(15 / 19)))
    assert found.eta2[0, 0].item() == pytest.approx(5 / 15 * 1.6**2 / 2.56)
    # C is the identity, k = 2: t is the cotangent of the angle between d and delta = (1.6, b), on 1 degree.
    b = W_U[1, sets[0]].mean().item()
    assert found.t[0, 0].item() == pytest.approx(1.6 / abs(b), rel=1e-5)
    student = 10 ** calibration.student_log10_p(found.t.numpy(), 2)[0, 0]
    assert student == pytest.approx(2 / math.pi * math.atan(abs(b) / 1.6), rel=1e-5)


def test_stratified_against_explicit_means():
    W_dec, W_U, sets = random_case()
    strata = torch.arange(60) % 3 * 7  # any labels
    found = enrichment.set_statistics(W_dec, W_U, sets, strata=strata)
    covariance = enrichment_covariance.layer_covariance(W_dec)
    inverse = np.linalg.inv(as_matrix(covariance))
    columns = W_U.double().numpy()
    for j, members in enumerate(sets.numpy()):
        expected = np.zeros(6)
        for token in np.flatnonzero(members):
            expected += columns[:, (strata == strata[token]).numpy()].mean(axis=1) / members.sum()
        delta = columns[:, members].mean(axis=1) - expected
        for i, d in enumerate(W_dec.double().numpy()):
            r = d @ delta / math.sqrt((d @ inverse @ d) * (delta @ as_matrix(covariance) @ delta))
            assert found.t_stratified[i, j].item() == pytest.approx(r * math.sqrt(5 / (1 - r * r)), rel=1e-4)
    plain = enrichment.set_statistics(W_dec, W_U, sets)
    torch.testing.assert_close(found.t, plain.t)
    assert plain.t_stratified is None


def test_one_stratum_is_no_stratum_and_a_union_of_strata_has_nothing_to_say():
    W_dec, W_U, sets = random_case()
    one = enrichment.set_statistics(W_dec, W_U, sets, strata=torch.zeros(60, dtype=torch.int64))
    torch.testing.assert_close(one.t_stratified, one.t)
    strata = torch.arange(60) // 10
    union = torch.stack([(strata == 1) | (strata == 4), sets[0]])
    found = enrichment.set_statistics(W_dec, W_U, union, strata=strata)
    assert found.log10_p_stratified[:, 0].isnan().all()
    assert found.t[:, 0].isfinite().all()
    assert found.t_stratified[:, 1].isfinite().all()


def test_strata_are_octaves_of_frequency():
    counts = torch.tensor([0, 1, 2, 3, 6, 7, 2**40 - 2, 2**40 - 1])
    assert enrichment.frequency_strata(counts).tolist() == [0, 1, 1, 2, 2, 3, 39, 40]


def columns(statistics):
    return {name: getattr(statistics, name) for name in ("z", "eta2", "t", "t_stratified")}


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_invariances(seed):
    W_dec, W_U, sets = random_case(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    strata = torch.randint(0, 3, (60,), generator=generator)
    base = columns(enrichment.set_statistics(W_dec, W_U, sets, strata=strata))
    order = torch.randperm(60, generator=generator)
    scales = torch.rand(len(W_dec), 1, generator=generator) * 1000 + 1e-3
    same = {
        "tokens permuted": (W_dec, W_U[:, order], sets[:, order], strata[order]),
        "rows scaled": (W_dec * scales, W_U, sets, strata),
        "W_U centred": (W_dec, W_U - W_U.mean(dim=1, keepdim=True), sets, strata),
        "W_U scaled": (W_dec, W_U * 7, sets, strata),
        "strata named otherwise": (W_dec, W_U, sets, 100 - strata * 5),
    }
    for name, (rows, matrix, members, labels) in same.items():
        other = columns(enrichment.set_statistics(rows, matrix, members, strata=labels))
        for column, values in base.items():
            torch.testing.assert_close(
                other[column], values, rtol=2e-4, atol=2e-4, equal_nan=True, msg=f"{name}: {column}"
            )
    negated = columns(enrichment.set_statistics(-W_dec, W_U, sets, strata=strata))
    complement = columns(enrichment.set_statistics(W_dec, W_U, ~sets))
    for column, values in base.items():
        sign = 1 if column == "eta2" else -1
        torch.testing.assert_close(negated[column], sign * values, rtol=1e-5, atol=1e-5, equal_nan=True)
        if column != "t_stratified":  # the complement's frequencies are others
            torch.testing.assert_close(complement[column], sign * values, rtol=2e-4, atol=2e-4)
    assert ((base["eta2"] >= 0) & (base["eta2"] <= 1 + 1e-6)).all()
    torch.testing.assert_close(base["z"].pow(2) / 59, base["eta2"])


def test_blocks_change_nothing(monkeypatch):
    W_dec, W_U, sets = random_case()
    expected = enrichment.set_statistics(W_dec, W_U, sets)
    monkeypatch.setattr(enrichment_covariance, "ROWS_PER_BLOCK", 9)
    monkeypatch.setattr(enrichment, "FEATURES_PER_BLOCK", 7)
    monkeypatch.setattr(enrichment, "TOKENS_PER_BLOCK", 11)
    found = enrichment.set_statistics(W_dec, W_U, sets)
    for name in ("z", "eta2", "t"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-6)
    # The cosines with null directions are float32, which a product of another shape rounds otherwise.
    torch.testing.assert_close(found.log10_p, expected.log10_p, rtol=1e-3, atol=3e-3)


def test_z_has_sd_1_when_tokens_are_drawn_at_random_and_eta2_is_1_for_a_perfect_split():
    generator = torch.Generator().manual_seed(0)
    W_dec, W_U, _ = random_case()
    sets = torch.rand(4000, 60, generator=generator).argsort(dim=1) < 25
    z = enrichment.set_statistics(W_dec, W_U, sets).z
    assert z.mean(dim=1).abs().max() < 0.07  # sd of a mean: .016
    assert (z.std(dim=1) - 1).abs().max() < 0.05  # sd of an sd: .011
    split = torch.arange(60) < 25
    W_U = torch.stack([split.float(), *W_U[1:]])
    assert enrichment.set_statistics(torch.eye(6)[:2], W_U, split[None]).eta2[0].item() == pytest.approx(1)


def test_small_and_large_sets_are_null_and_said_to_be():
    W_dec, W_U, sets = random_case()
    sizes = (0, 4, 5, 55, 56, 60)
    sets = torch.stack([torch.arange(60) < size for size in sizes])
    found = enrichment.set_statistics(W_dec, W_U, sets, strata=torch.arange(60) % 7)
    assert found.tested.tolist() == [False, False, True, True, False, False]
    assert found.sizes.tolist() == list(sizes)
    for values in (*columns(found).values(), found.log10_p, found.log10_p_stratified):
        assert values[:, ~found.tested].isnan().all()
        assert values[:, found.tested].isfinite().all()


def test_rows_without_shape():
    W_dec, W_U, sets = random_case()
    W_U = W_U.clone()
    W_U[5] = 3.0  # the same for all tokens: the row below has constant logit weights
    W_dec[3] = 0
    W_dec[4] = torch.eye(6)[5]
    found = enrichment.set_statistics(W_dec, W_U, sets)
    assert found.z[3:5].isnan().all() and found.eta2[3:5].isnan().all()
    assert found.t[3].isnan().all() and found.log10_p[3].isnan().all()
    torch.testing.assert_close(found.t[4], torch.zeros(5), atol=1e-5, rtol=0)
    rest = torch.ones(len(W_dec), dtype=torch.bool)
    rest[3] = False
    # A row of zeros counts for nothing in C either.
    torch.testing.assert_close(found.t[rest], enrichment.set_statistics(W_dec[rest], W_U, sets).t)


def test_planted_direction_is_found():
    generator = torch.Generator().manual_seed(0)
    W_dec, W_U = (torch.randn(shape, generator=generator) for shape in ((2000, 64), (64, 1000)))
    sets = torch.rand(20, 1000, generator=generator).argsort(dim=1) < 60
    delta = W_U[:, sets[7]].mean(dim=1) - W_U.mean(dim=1)
    W_dec[11] = W_dec[11] / W_dec[11].norm() + 2 * delta / delta.norm()
    W_dec[12] = W_dec[12] / W_dec[12].norm() - 2 * delta / delta.norm()
    nulls = row_nulls.null_directions(W_U, draws=20_000, seed=0)
    found = enrichment.set_statistics(W_dec, W_U, sets, nulls=nulls)
    for feature, sign in ((11, 1), (12, -1)):
        assert found.log10_p[feature].argmin() == 7
        assert found.t[feature, 7].sign() == sign
        assert found.log10_p[feature, 7] < -12
    others = torch.ones(2000, dtype=torch.bool)
    others[11:13] = False
    assert found.log10_p[others].min() > -7


def test_a_row_along_c_delta_has_a_finite_t():
    W_dec, W_U, sets = random_case()
    covariance = enrichment_covariance.layer_covariance(W_dec)
    delta = (W_U[:, sets[1]].mean(dim=1) - W_U.mean(dim=1)).double()
    aligned = covariance.colour @ covariance.colour.T @ delta
    found = enrichment.set_statistics(aligned[None], W_U, sets, covariance=covariance)
    assert found.t[0, 1].isfinite() and found.t[0, 1] > 1e5
    assert found.log10_p[0, 1].isfinite()


def bad(what):
    W_dec, W_U, sets = random_case()
    strata = torch.zeros(60, dtype=torch.int64)
    if what == "nan":
        W_dec[2, 1] = torch.nan
    return {
        "nan": (W_dec, W_U, sets, None),
        "d_model": (W_dec[:, :5], W_U, sets, None),
        "integers": (W_dec, W_U.long(), sets, None),
        "sets": (W_dec, W_U, sets[:, :50], None),
        "numbers": (W_dec, W_U, sets.float(), None),
        "no set": (W_dec, W_U, sets[:0], None),
        "strata": (W_dec, W_U, sets, strata[:-1]),
        "rank": (W_dec[:1], W_U, sets, None),
    }[what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", r"W_dec: nan at \[2, 1\]"),
        ("d_model", "W_dec has d_model 5 but W_U has 6"),
        ("integers", "W_U is torch.int64"),
        ("sets", r"it must be bool \[n_sets, 60\]"),
        ("numbers", "sets is torch.float32"),
        ("no set", r"sets is torch.bool \[0, 60\]"),
        ("strata", "one label per token"),
        ("rank", "rank 1; t needs at least 2"),
    ],
)
def test_what_is_refused(what, message):
    *arguments, strata = bad(what)
    with pytest.raises(FsrlError, match=message):
        enrichment.set_statistics(*arguments, strata=strata)
