"""The Kneser-Ney trigram against a dictionary-and-loops twin, and the properties every model must have."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from fsrl.mini.ngram import Trigram, discounts

D_VOCAB = 7


@pytest.fixture(scope="module")
def stream():
    rng = np.random.default_rng(0)
    return rng.choice(D_VOCAB - 1, size=400, p=[0.35, 0.25, 0.2, 0.1, 0.07, 0.03]).astype(np.uint16)


def naive_probability(stream, a, b, c):
    """Chen & Goodman's interpolated modified Kneser-Ney, written from the formula."""
    words = [int(w) for w in stream]
    trigrams = Counter(zip(words, words[1:], words[2:], strict=False))
    bigrams = Counter((y, z) for _, y, z in trigrams)
    unigrams = Counter(z for _, z in bigrams)

    def level(counts, context, word, lower):
        d = discounts(np.array(list(counts.values())))
        mine = {gram[-1]: n for gram, n in counts.items() if gram[:-1] == context}
        total = sum(mine.values())
        if not total:
            return lower
        kept = max(mine.get(word, 0) - d[min(mine[word], 3) - 1], 0) if word in mine else 0.0
        freed = sum(d[min(n, 3) - 1] for n in mine.values())
        return (kept + freed * lower) / total

    p = 1 / D_VOCAB
    p = level({(z,): n for z, n in unigrams.items()}, (), c, p)
    p = level(bigrams, (b,), c, p)
    return level(trigrams, (a, b), c, p)


def test_every_probability_equals_the_formula(stream):
    grid = np.stack(np.meshgrid(*[np.arange(D_VOCAB)] * 3, indexing="ij")).reshape(3, -1)
    ours = Trigram(stream, D_VOCAB).probability(*grid)
    assert ours == pytest.approx([naive_probability(stream, *abc) for abc in grid.T], rel=1e-12)


def test_probabilities_of_a_context_sum_to_one(stream):
    model = Trigram(stream, D_VOCAB)
    for a in range(D_VOCAB):
        for b in range(D_VOCAB):
            words = np.arange(D_VOCAB)
            p = model.probability(np.full(D_VOCAB, a), np.full(D_VOCAB, b), words)
            assert p.sum() == pytest.approx(1)


def test_discounts_by_hand():
    # n1 = 4, n2 = 2, n3 = 1, n4 = 1: y = 4 / 8, D1 = 1 - 2 y n2/n1, D2 = 2 - 3 y n3/n2, D3 = 3 - 4 y n4/n3
    counts = np.array([1, 1, 1, 1, 2, 2, 3, 4])
    assert discounts(counts) == pytest.approx([0.5, 1.25, 1.0])


def test_nats_per_token_is_the_mean_over_the_positions_with_a_full_context(stream):
    model, text = Trigram(stream, D_VOCAB), np.array([0, 1, 2, 3, 6])
    expected = -np.mean([np.log(naive_probability(stream, *text[i : i + 3])) for i in range(3)])
    assert model.nats_per_token(text) == pytest.approx(expected)


def test_a_deterministic_text_is_learnt():
    text = np.tile(np.arange(5), 200)
    assert Trigram(text, 5).nats_per_token(text) < 0.02


def test_counts_fall_into_the_lower_orders_as_continuations(stream):
    # "San Francisco": a word frequent after one word only has a small unigram probability.
    ids = np.array([4, 5] * 50 + [0, 1, 2, 3] * 10 + [1, 3, 0, 2] * 10)
    model = Trigram(ids, 7)
    successors = defaultdict(set)
    for left, right in zip(ids, ids[1:], strict=False):
        successors[right].add(left)
    unseen_context = np.array([6])
    rare, common = (model.probability(unseen_context, unseen_context, np.array([w]))[0] for w in (5, 1))
    assert len(successors[5]) < len(successors[1])
    assert rare < common
