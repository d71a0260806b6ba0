"""p of a set from a null of each row's own: by brute force, by exact integrals, by hand; and its level."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from fsrl.enrichment import calibration, row_nulls
from fsrl.enrichment import statistics as enrichment
from fsrl.enrichment.covariance import layer_covariance
from fsrl.stats import rates
from tests.fixtures.enrichment_examples import random_case

LN10 = math.log(10)


def heavy_case(seed=0, n=800, d_model=24, n_tokens=1500, power=2.0):
    """Rows with heavy tails along the three axes in which W_U's columns are longest; sets of 30 at random."""
    generator = torch.Generator().manual_seed(seed)
    W_dec, W_U = (torch.randn(shape, generator=generator) for shape in ((n, d_model), (d_model, n_tokens)))
    W_dec[:, :3] *= torch.randn(n, 1, generator=generator).exp().pow(power)
    W_U[:3] *= 5
    return W_dec, W_U, torch.rand(20, n_tokens, generator=generator).argsort(dim=1) < 30


def by_brute_force(row, covariance, directions, cosine, margin):
    """log10 p of one |cosine| by loops in float64 over directions [d_model, draws], as the module says it."""
    colour, k = covariance.colour.numpy(), covariance.k
    white = row @ covariance.whiten.numpy()
    found = []
    for delta in directions.double().numpy().T:
        coloured = colour.T @ delta
        found.append(abs(white @ coloured) / np.linalg.norm(white) / np.linalg.norm(coloured))
    m = int(0.02 * len(found))
    ordered = np.sort(found)
    start, tail = ordered[-m - 1], ordered[-m:]
    if cosine <= start:
        some = np.array(found[:500])
        return np.log10(max((1 + (some >= cosine).sum()) / (1 + len(some)), m / len(found)))

    def surprise(r):
        return -np.log10(2 * scipy.stats.t.sf(r * np.sqrt((k - 1) / (1 - r * r)), k - 1))

    excess = np.array([surprise(r) - surprise(start) for r in tail])
    mean = excess.mean()
    weighted = sum(x * (1 - (i + 1 - 1) / (m - 1)) for i, x in enumerate(excess)) / m  # E x (1 - F)
    shape = min(max(2 - mean / (mean - 2 * weighted), 0) + margin * math.sqrt(4 / 3 / m), 0.9)
    scale = max(mean * (1 - shape), 0.1 / LN10)
    beyond = scipy.stats.genpareto.logsf(surprise(cosine) - surprise(start), shape, scale=scale)
    return np.log10(m / len(found)) + beyond / LN10


def test_against_brute_force():
    W_dec, W_U, sets = heavy_case()
    covariance = layer_covariance(W_dec)
    nulls = row_nulls.null_directions(W_U, draws=3000, seed=3)
    found = enrichment.set_statistics(W_dec, W_U, sets[:6], nulls=nulls, covariance=covariance)
    weight = 20 / 30  # of random sets of 20 for sets of 30: 1 / 30 lies there between 0 and 1 / 20
    for i in (0, int(W_dec.norm(dim=1).argmax()), 7):
        row = W_dec[i].double().numpy()
        for j in range(6):
            t = found.t[i, j].double().item()
            cosine = abs(t) / math.sqrt(covariance.k - 1 + t * t)
            turned, limit, drawn = (
                by_brute_force(row, covariance, own, cosine, margin)
                for own, margin in ((nulls.turned, 0), (nulls.random[0], 0), (nulls.random[20], 1))
            )
            expected = max(turned, weight * drawn + (1 - weight) * limit)
            assert found.log10_p[i, j].item() == pytest.approx(expected, abs=2e-4)


def exact_log10_p(white, root, cosine):
    """log10 P(|cos(white, root g)| > cosine), g standard normal: Imhof (1961) of g' (b b' - c^2 A) g > 0."""
    b = root.T @ white / np.linalg.norm(white)
    weights = np.linalg.eigvalsh(np.outer(b, b) - cosine**2 * root.T @ root)
    weights = weights / np.abs(weights).max()

    def integrand(u):
        angle = 0.5 * np.arctan(weights * u).sum()
        return np.sin(angle) / (u * np.prod((1 + (weights * u) ** 2) ** 0.25))

    value = integrate.quad(integrand, 0, np.inf, epsabs=1e-11, epsrel=1e-10, limit=2000)[0]
    return np.log10(0.5 + value / np.pi)


@pytest.mark.parametrize("kind", ["turned", "limit"])
def test_tail_against_the_exact_probability(kind):
    W_dec, W_U, _ = heavy_case()
    covariance = layer_covariance(W_dec)
    nulls = row_nulls.null_directions(W_U, draws=20_000, seed=0)
    gram = np.cov(W_U.double().numpy())
    root = covariance.colour.T.numpy() @ (np.eye(24) if kind == "turned" else np.linalg.cholesky(gram))
    white = W_dec.double() @ covariance.whiten
    white = (white / white.norm(dim=1, keepdim=True))[:200:8]
    own = row_nulls.coloured(nulls.turned if kind == "turned" else nulls.random[0], covariance)
    null = row_nulls.RowNull.of(white, own)
    grid = torch.linspace(0.1, 0.95, 30, dtype=torch.float64).expand(len(white), -1)
    found = null.log10_p(grid).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):  # p below what the integral resolves
        exact = np.array([[exact_log10_p(row, root, c) for c in grid[0].numpy()] for row in white.numpy()])
    for low, high, median, most in ((-2, -0.3, 0.02, 0.3), (-3, -2, 0.05, 0.25), (-6, -3, 0.3, 1.5)):
        off = (found - exact)[(exact > low) & (exact <= high)]
        assert len(off) > 20
        assert abs(np.median(off)) < median
        assert np.abs(off).max() < most


def test_worked_example():
    # Among the draws .1, .2, .3, .4 two are .25 at least: p = 3 / 5. A Gaussian row's tail, from p = .02 on:
    # 2 more decades of Student's p are 2 decades of p.
    k = 11
    start = scipy.stats.t.isf(0.01, k - 1)
    null = row_nulls.RowNull(
        counted=torch.tensor([[0.1, 0.2, 0.3, 0.4]]),
        start=torch.tensor([[start / math.sqrt(k - 1 + start**2)]], dtype=torch.float32),
        surprise=torch.tensor([[-math.log10(0.02)]], dtype=torch.float64),
        shape=torch.zeros(1, 1, dtype=torch.float64),
        scale=torch.full((1, 1), 1 / LN10, dtype=torch.float64),
        share=0.02,
        k=k,
    )
    far = scipy.stats.t.isf(0.0001, k - 1)
    cosines = torch.tensor([[0.25, -0.25, far / math.sqrt(k - 1 + far**2), math.nan]], dtype=torch.float64)
    found = 10 ** null.log10_p(cosines)[0]
    assert found[:3].tolist() == pytest.approx([0.6, 0.6, 0.0002], rel=1e-6)
    assert found[3].isnan()


def test_weights_of_random_sets_by_size():
    # 1 / 10 lies a third of the way from 1 / 20 to 1 / 5; sets above 20 move towards the limit.
    weights = row_nulls._weights(torch.tensor([3, 5, 10, 20, 40]), [0, 5, 20])
    assert weights[5].tolist() == pytest.approx([1, 1, 1 / 3, 0, 0])
    assert weights[20].tolist() == pytest.approx([0, 0, 2 / 3, 1, 1 / 2])
    assert weights[0].tolist() == pytest.approx([0, 0, 0, 0, 1 / 2])
    assert row_nulls._weights(torch.tensor([5, 50]), [0, 5])[0].tolist() == pytest.approx([0, 0.9])


def test_random_sets_are_sets():
    # Two sets of 5 of 10 tokens leave none out, and centred columns sum to zero.
    tokens = row_nulls.CentredTokens.of(torch.randn(3, 10))
    deltas = row_nulls.random_deltas(tokens, 5, 4, torch.Generator().manual_seed(0))
    assert deltas.shape == (3, 4)
    torch.testing.assert_close(deltas[:, 0], -deltas[:, 1])
    torch.testing.assert_close(deltas[:, 2], -deltas[:, 3])
    assert not torch.allclose(deltas[:, 0].abs(), deltas[:, 2].abs())


def test_random_directions_have_the_covariance_of_the_columns():
    _, W_U, _ = heavy_case()
    nulls = row_nulls.null_directions(W_U, draws=20_000, seed=0)
    gram = np.cov(W_U.double().numpy(), ddof=0)
    for size, own in nulls.random.items():
        found = np.cov(own.double().numpy())
        scale = np.trace(found) / np.trace(gram)
        np.testing.assert_allclose(found / scale, gram, atol=0.05 * gram.max())
        if size:  # without replacement
            assert scale == pytest.approx((1500 - size) / (1500 - 1) / size, rel=0.03)


def test_p_of_gaussian_rows_is_uniform_against_turned_directions_and_never_too_small():
    generator = torch.Generator().manual_seed(1)
    W_dec, W_U = (torch.randn(shape, generator=generator) for shape in ((1500, 24), (24, 400)))
    sets = torch.rand(6, 400, generator=generator).argsort(dim=1) < 40
    found = enrichment.set_statistics(W_dec, W_U, sets)
    student = calibration.student_log10_p(found.t.numpy(), found.k)
    own = found.log10_p.double().numpy()
    for level in (0.1, 0.01, 0.001):
        shares = (own < np.log10(level)).mean(axis=0)
        assert (shares < level + 5 * np.sqrt(level / 1500)).all()
    assert np.median(own - student) == pytest.approx(0, abs=0.06)
    covariance = layer_covariance(W_dec)
    white = W_dec.double() @ covariance.whiten
    white /= white.norm(dim=1, keepdim=True)
    turned = row_nulls.coloured(row_nulls.null_directions(W_U, draws=20_000, seed=0).turned, covariance)
    cosines = torch.from_numpy(found.t.double().numpy())
    cosines = cosines / (found.k - 1 + cosines**2).sqrt()
    p = 10 ** row_nulls.RowNull.of(white, turned).log10_p(cosines).numpy()
    # Counted among 500 draws shared by the rows, p is off by their noise: .03 is some two of its sd.
    assert max(scipy.stats.kstest(values, "uniform").statistic for values in p.T) < 0.05


def test_level_is_kept_by_heavy_tailed_rows_where_student_fails():
    W_dec, W_U, sets = heavy_case()
    nulls = row_nulls.null_directions(W_U, draws=20_000, seed=0)
    asked = {"repetitions": 10, "seed": 5, "level": 0.05, "cut": math.nan}
    found = list(calibration.null_tests(W_dec, W_U, sets, nulls=nulls, **asked))
    for kind in ("shuffled", "random", "turned"):
        own = [one.discoveries(0.05) for one in found if one.kind == kind]
        student = [one.student_discoveries(0.05) for one in found if one.kind == kind]
        assert np.mean(np.array(student) > 0) > 0.8  # what was believed before: discoveries nearly always
        assert np.mean(np.array(own) > 0) <= 0.1
        assert sum(own) < 0.01 * sum(student)


def test_a_planted_set_is_found_among_heavy_tailed_rows():
    W_dec, W_U, sets = heavy_case(power=1.0)
    W_U[10, sets[4]] += 6  # beside the heavy axes
    W_dec[:20, 10] += 4 * W_dec[:20].norm(dim=1)
    found = enrichment.set_statistics(W_dec, W_U, sets)
    called = rates.benjamini_hochberg(found.log10_p.numpy()) < np.log10(0.05)
    assert called[:20, 4].mean() > 0.6
    assert called[20:].sum() <= 2


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_invariances(seed):
    W_dec, W_U, sets = random_case(seed=seed)
    nulls = row_nulls.null_directions(W_U, draws=1000, seed=0)
    covariance = layer_covariance(W_dec)

    def p(rows, members=sets):
        return enrichment.set_statistics(rows, W_U, members, nulls=nulls, covariance=covariance).log10_p

    base = p(W_dec)
    scales = torch.rand(len(W_dec), 1, generator=torch.Generator().manual_seed(seed)) * 1000 + 1e-3
    for same in (p(W_dec * scales), p(-W_dec), p(W_dec.flip(0)).flip(0), p(W_dec, ~sets), p(W_dec[:7])):
        torch.testing.assert_close(same, base[: len(same)], rtol=0, atol=0.02)
    assert (base <= 0).all()


def test_p_falls_as_the_cosine_grows():
    W_dec, W_U, _ = heavy_case()
    covariance = layer_covariance(W_dec)
    white = W_dec.double() @ covariance.whiten
    white /= white.norm(dim=1, keepdim=True)
    nulls = row_nulls.null_directions(W_U, draws=5000, seed=0).of_layer(covariance)
    grid = torch.linspace(0, 1, 400, dtype=torch.float64).expand(50, -1)
    own, sizes = row_nulls.RowNulls.of(white[:50], nulls), torch.full((400,), 12)
    p = own.log10_p(grid, sizes, 1500)
    assert (p.diff(dim=1) <= 1e-12).all()
    assert p.isfinite().all()
    # In the tails p is the same where they alone are resolved; elsewhere it is 1, or no smaller than TAIL.
    tails = own.tail_log10_p(grid, sizes, 1500)
    tail = math.log10(row_nulls.TAIL)
    beyond = grid.float() > torch.cat(
        [own.turned.start, *(own.random[m].start for m in (5, 20))], dim=1
    ).amax(dim=1, keepdim=True)
    assert 0.1 < beyond.double().mean() < 0.9
    torch.testing.assert_close(tails[beyond], p[beyond])
    below = grid.float() <= own.turned.start
    assert (tails[below] == 0).all() and (p[below] >= tail).all()
    between = ~beyond & ~below
    assert (tails[between] <= p[between] + 1e-12).all() and (tails[between] >= 2 * tail).all()


def test_the_same_seed_gives_the_same_directions_and_another_others():
    _, W_U, _ = random_case()
    one, again, other = (row_nulls.null_directions(W_U, draws=100, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.turned, again.turned)
    assert all(torch.equal(one.random[size], again.random[size]) for size in (0, 5, 20))
    assert not torch.equal(one.turned, other.turned)
    assert not torch.equal(one.random[5], other.random[5])


def test_directions_do_not_hang_on_the_signs_of_eigenvectors(monkeypatch):
    _, W_U, _ = random_case()
    own = row_nulls.null_directions(W_U, draws=100, seed=0)
    eigh = torch.linalg.eigh

    def turned(matrix):
        values, vectors = eigh(matrix)
        return values, vectors * (1 - 2 * (torch.arange(vectors.shape[1]) % 2))

    monkeypatch.setattr(torch.linalg, "eigh", turned)
    other = row_nulls.null_directions(W_U, draws=100, seed=0)
    for size, directions in own.random.items():
        torch.testing.assert_close(other.random[size], directions)


@pytest.mark.parametrize("k", [1, 7, 40])
def test_largest_are_those_of_torch(k):
    values = torch.randn(5, 40, generator=torch.Generator().manual_seed(k)).round(decimals=1)
    values[1, 3] = torch.nan
    torch.testing.assert_close(
        row_nulls.largest(values, k), values.topk(k, dim=1).values, rtol=0, atol=0, equal_nan=True
    )
