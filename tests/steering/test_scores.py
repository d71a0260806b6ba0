"""Arad et al.'s scores by hand, and distances between distributions beside SciPy's."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from fsrl.steering import scores


def test_the_output_score_of_a_toy_by_hand():
    # p = .4 .3 .2 .1; of V = {1, 3} the most probable token is 1, with one token above it.
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)) + 7
    found = scores.output_scores(logits, torch.tensor([[1, 3]]))
    torch.testing.assert_close(found, torch.tensor([(1 - 1 / 4) * 0.3], dtype=torch.float64))
    # With the most probable token in V the rank is 0.
    found = scores.output_scores(logits, torch.tensor([[2, 0]]))
    torch.testing.assert_close(found, torch.tensor([0.4], dtype=torch.float64))


def test_output_scores_are_those_of_a_loop_like_the_published_code():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(5, 3, 50, generator=generator, dtype=torch.float64)
    tokens = torch.stack([torch.randperm(50, generator=generator)[:4] for _ in range(5)])
    found = scores.output_scores(logits, tokens[:, None].expand(-1, 3, -1))
    for i in range(5):
        for j in range(3):
            p = logits[i, j].softmax(0)
            order = p.argsort(descending=True).tolist()
            ranks = [order.index(int(token)) for token in tokens[i]]
            expected = (1 - min(ranks) / 50) * float(p[tokens[i]].max())
            assert abs(float(found[i, j]) - expected) < 1e-12


def test_output_scores_of_many_sets_under_one_distribution():
    generator = torch.Generator().manual_seed(0)
    # Of few values, so that tokens tie.
    logits = torch.randint(-4, 5, (3, 50), generator=generator).double()
    tokens = torch.stack([torch.randperm(50, generator=generator)[:4] for _ in range(7)])
    best = torch.stack([logits[:, own].amax(1) for own in tokens])
    found = scores.output_scores_of_one(logits.sort(-1).values, best, logits.logsumexp(-1))
    each = scores.output_scores(logits.expand(7, 3, -1), tokens[:, None].expand(-1, 3, -1))
    torch.testing.assert_close(found, each, rtol=1e-14, atol=0)


def test_top_tokens_are_ids_of_the_view():
    weights = torch.tensor([[0.1, 5.0, 2.0], [3.0, -1.0, 1.0]])
    found = scores.top_tokens(weights, torch.tensor([10, 20, 40]), 2)
    assert found.tolist() == [[20, 40], [10, 40]]
    assert scores.top_tokens(weights, torch.tensor([10, 20, 40]), 9).shape == (2, 3)


def test_the_input_score_of_a_toy_by_hand():
    """12 windows: the feature fires in 10, and in 4 of these the token of its largest activation is in V."""
    activations = torch.zeros(12, 3, 2)
    inputs = torch.arange(36).view(12, 3)
    for window in range(10):
        activations[window, 1, 0], activations[window, 2, 0] = 1.0, 0.5
    activations[:9, 2, 1] = 1.0  # nine windows are too few
    # Tokens at position 1 are 1, 4, 7, 10, ...; those at position 2 are not where the activation is largest.
    tokens = torch.tensor([[1, 4, 7, 10, 14, 17], [2, 5, 8, 11, 14, 17]])
    found = scores.input_scores(activations, inputs, tokens)
    assert float(found[0]) == 0.4
    assert torch.isnan(found[1])


def test_the_input_score_takes_the_hundred_strongest_windows():
    n = scores.TEXTS + 20
    activations = torch.linspace(1, 2, n)[:, None, None].expand(n, 2, 1).clone()
    inputs = torch.zeros(n, 2, dtype=torch.int64)
    inputs[:20] = 7  # the weakest
    found = scores.input_scores(activations, inputs, torch.tensor([[7]]))
    assert float(found[0]) == 0
    assert float(scores.input_scores(activations, inputs, torch.tensor([[0]]))[0]) == 1


def test_distances_beside_scipy():
    logits = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_p, log_q = logits.log_softmax(-1)
    variation, kl = scores.distances(log_p, log_q)
    p, q = log_p.exp().numpy(), log_q.exp().numpy()
    np.testing.assert_allclose(kl.numpy(), entropy(p, q, axis=1), rtol=1e-10)
    np.testing.assert_allclose(variation.numpy(), np.maximum(p - q, 0).sum(1), rtol=1e-10)
    same = scores.distances(log_p.float(), log_p.float())
    assert float(same[0].max()) == 0 and float(same[1].max()) == 0
    to_one = scores.distances(log_p, log_q[2])
    torch.testing.assert_close(to_one, scores.distances(log_p, log_q[2].expand(6, -1)))


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.lists(st.integers(-3, 3), min_size=1, max_size=8)
)
def test_percentiles_are_those_of_counting(values, among):
    found = scores.percentiles(
        torch.tensor([*values, torch.nan], dtype=torch.float64),
        torch.tensor([*among, torch.nan], dtype=torch.float64),
    )
    for value, percentile in zip(values, found.tolist(), strict=False):
        below = sum(other < value for other in among) + sum(other == value for other in among) / 2
        assert abs(percentile - below / len(among)) < 1e-12
    assert torch.isnan(found[-1])
