"""Undertrained tokens by distance: planted ones are found, a Gaussian W_U keeps all, one pass equals many."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.nulls import frames as nulls
from fsrl.nulls import undertrained
from fsrl.stats.quantiles import quantile_error
from fsrl.tokens import text as token_text
from fsrl.tokens import vocabulary
from fsrl.tokens.text import ALPHABET
from tests.fixtures import vocabularies

D_VOCAB = 1200
STORED = {byte: char for char, byte in ALPHABET.items()}
REFERENCES = [STORED[byte] for byte in (0xC0, 0xC1, *range(0xF5, 0x100))]


def tokens_of(d_vocab=D_VOCAB):
    return [*ALPHABET, *(f"word{i}" for i in range(d_vocab - len(ALPHABET)))]


def gaussian(d_model=24, d_vocab=D_VOCAB, seed=0):
    return torch.randn(d_model, d_vocab, generator=torch.Generator().manual_seed(seed))


def planted(n=17):
    """W_U whose reference tokens and n others (columns 700, 707, ...) share one far place; their mask."""
    W_U, tokens = gaussian(), tokens_of()
    mask = torch.zeros(D_VOCAB, dtype=torch.bool)
    mask[[tokens.index(name) for name in REFERENCES]] = True
    mask[700 : 700 + 7 * n : 7] = True
    W_U[:, mask] = 0.05 * W_U[:, mask] + 4.0
    return W_U, tokens, mask


def brute_force(directions, ordered, k):
    logits = directions.double().numpy() @ ordered[:, k:].double().numpy()
    return scipy.stats.kurtosis(logits, axis=1, fisher=False)


def test_a_planted_cluster_is_left_out_and_described():
    W_U, tokens, mask = planted()
    result = undertrained.by_distance(W_U, W_U, tokens, draws=2000, seed=0)
    left_out = ~result.trained
    assert torch.equal(left_out, mask)
    start, stop = result.curve.iloc[0], result.curve.set_index("left_out").loc[int(left_out.sum())]
    assert start["quantile"] > stop["quantile"] + 1
    assert result.distance[left_out].max() < stop["distance"] == result.distance[result.trained].min()
    assert result.description.startswith(
        f"{int(left_out.sum())} of {D_VOCAB} tokens left out: raw W_U closer"
    )
    assert "2000 isotropic directions (seed 0)" in result.description
    assert f"{stop['quantile']:.3f}" in result.description and f"{stop['distance']:.4g}" in result.description


def test_distance_is_taken_in_the_raw_and_kurtosis_in_the_folded_matrix():
    W_U, tokens, mask = planted()
    folded = gaussian(seed=5)
    result = undertrained.by_distance(W_U, folded, tokens, draws=1000, seed=0)
    columns = [tokens.index(name) for name in REFERENCES]
    expected = np.linalg.norm(W_U - W_U[:, columns].double().mean(1, keepdim=True), axis=0)
    np.testing.assert_allclose(result.distance, expected, rtol=1e-12)
    assert result.distance[mask].max() < result.distance[~mask].min()
    assert result.trained.all()  # in a Gaussian folded W_U these tokens do no harm


@pytest.mark.parametrize("seed", range(5))
def test_a_gaussian_matrix_keeps_every_token(seed):
    W_U = gaussian(seed=seed)
    result = undertrained.by_distance(W_U, W_U, tokens_of(), draws=1000, seed=seed)
    assert result.trained.all()
    assert (
        result.description.startswith(f"0 of {D_VOCAB} tokens left out")
        and "hardly falls" in result.description
    )


def test_the_order_of_the_vocabulary_does_not_matter():
    W_U, tokens, _ = planted()
    folded = W_U * torch.linspace(0.5, 2, len(W_U))[:, None]
    result = undertrained.by_distance(W_U, folded, tokens, draws=1000, seed=3)
    order = torch.randperm(D_VOCAB, generator=torch.Generator().manual_seed(1))
    shuffled = undertrained.by_distance(
        W_U[:, order], folded[:, order], [tokens[i] for i in order], draws=1000, seed=3
    )
    assert not result.trained.all()
    assert torch.equal(shuffled.trained, result.trained[order])
    assert torch.equal(shuffled.distance, result.distance[order])
    pd.testing.assert_frame_equal(shuffled.curve, result.curve)


def test_the_same_call_gives_the_same_result_and_another_seed_other_draws():
    W_U, tokens, _ = planted()
    first, again = (undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=2) for _ in range(2))
    assert torch.equal(first.trained, again.trained) and first.description == again.description
    pd.testing.assert_frame_equal(first.curve, again.curve, check_exact=True)
    other = undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=4)
    assert not np.allclose(other.curve["quantile"], first.curve["quantile"], rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(8, 700),
    st.sets(st.integers(1, 690), max_size=6),
    st.floats(-50, 50),
)
def test_one_pass_equals_a_product_for_each_candidate(seed, d_vocab, others, offset):
    ordered = gaussian(5, d_vocab, seed).double() + offset
    ordered[:, : d_vocab // 10] *= 20
    directions = nulls.isotropic_directions(5, draws=7, seed=seed)
    candidates = sorted({0, *(k for k in others if k < d_vocab - 4)})
    fast = undertrained.kurtosis_without(directions, ordered, candidates, precision=torch.float64)
    slow = np.stack([brute_force(directions, ordered, k) for k in candidates])
    np.testing.assert_allclose(fast, slow, rtol=1e-8)


def test_single_precision_and_any_blocking_agree_with_brute_force(monkeypatch):
    W_U, _, _ = planted()
    directions = nulls.isotropic_directions(len(W_U), draws=70, seed=0)
    candidates = [0, 1, 5, 40, 300]
    slow = np.stack([brute_force(directions, W_U, k) for k in candidates])
    for rows, columns in ((512, 256), (9, 31)):
        monkeypatch.setattr(undertrained, "DIRECTIONS_PER_TILE", rows)
        monkeypatch.setattr(undertrained, "TOKENS_PER_TILE", columns)
        fast = undertrained.kurtosis_without(directions, W_U, candidates)
        assert fast.dtype == torch.float64
        np.testing.assert_allclose(fast, slow, rtol=1e-4)


def test_curve_holds_quantile_and_error_of_each_candidate():
    W_U, tokens, _ = planted()
    curve = undertrained.by_distance(W_U, W_U, tokens, draws=1500, seed=0).curve
    left_out = curve["left_out"].tolist()
    assert left_out[:4] == [0, 1, 2, 3] and left_out[-1] == D_VOCAB // 20
    assert max(b / a for a, b in zip(left_out[20:], left_out[21:], strict=False)) < 1.08
    mean = undertrained.references(W_U, tokens)[0].mean(dim=1, keepdim=True)
    ordered, order = (W_U.double() - mean).norm(dim=0).sort()
    directions = nulls.isotropic_directions(len(W_U), draws=1500, seed=0)
    for row in (0, 10, len(curve) - 1):
        kurtosis = brute_force(directions, W_U[:, order], left_out[row])
        frame = pd.DataFrame({"kurtosis": kurtosis})
        assert curve["quantile"][row] == pytest.approx(np.quantile(kurtosis, 0.999), rel=1e-4)
        assert curve["error"][row] == pytest.approx(quantile_error(frame, "kurtosis", 0.999), rel=1e-3)
        assert curve["distance"][row] == ordered[left_out[row]].item()


@pytest.mark.parametrize(
    ("quantiles", "error", "row"),
    [
        ([8.0, 6.0, 4.0, 4.0], 0.01, 2),
        ([8.0, 6.0, 4.015, 4.0, 4.2], 0.01, 2),  # within .5 %
        ([8.0, 6.0, 4.03, 4.0, 4.2], 0.01, 3),  # beyond .5 % and the error
        ([8.0, 6.0, 4.03, 4.0, 4.2], 0.05, 2),  # within the error
        ([8.0, 8.0, 8.0, 4.0], 0.01, 3),  # a plateau before the fall is no end of it
        ([4.39, 4.0, 4.1], 0.01, 0),  # under 10 %
        ([4.41, 4.0, 4.1], 0.01, 1),
        ([4.41, 4.0, 4.1], 0.10, 1),
        ([4.41, 4.0, 4.1], 0.11, 0),  # under two errors of both ends
        ([10.98, 10.61, 9.8], [0.66, 0.5, 0.5], 0),  # over two of the lower end's
        ([10.98, 10.61, 9.8], [0.08, 0.5, 0.5], 2),
        ([4.0, 5.0, 6.0], 0.01, 0),
        ([4.0], 0.01, 0),
    ],
)
def test_the_rule_for_the_end_of_the_fall(quantiles, error, row):
    curve = pd.DataFrame({"quantile": quantiles, "error": error})
    assert undertrained.stop_of_fall(curve) == row


@pytest.mark.parametrize("members", [200, 350])
def test_a_meaningful_set_beside_the_references_is_kept(members):
    """No token is undertrained: two sets of tokens stand out along an axis each, the references in one."""
    W_U = 0.14 * torch.randn(48, 8000, generator=torch.Generator().manual_seed(2))
    W_U[0, :members] += 1.5
    W_U[1, 400:600] += 1.5
    tokens = [f"word {i}" for i in range(8000)]
    tokens[:13] = [token_text.spell(bytes([byte])) for byte in undertrained.IMPOSSIBLE_BYTES]
    found = undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=2)
    assert found.trained.all()
    # The set would be left out first, and the quantile does fall by more than the errors of its lower end.
    assert (found.distance.argsort()[: members * 3 // 4] < members).all()
    lowest = found.curve.loc[found.curve["quantile"].idxmin()]
    fall = found.curve["quantile"].iloc[0] - lowest["quantile"]
    assert fall > max(2 * lowest["error"], 0.05 * lowest["quantile"])


def test_a_fall_that_goes_on_at_the_largest_share_warns(monkeypatch):
    monkeypatch.setattr(undertrained, "MAX_SHARE", 0.02)
    W_U, tokens, mask = planted(n=65)
    W_U[:, 700 : 700 + 7 * 65 : 7] += 4 * 0.96 ** torch.arange(65) - 4  # ever less far from the bulk
    with pytest.warns(UserWarning, match="it still falls there"):
        result = undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=0)
    assert (~result.trained).sum() == 24 and not (~result.trained & ~mask).any()
    assert "still falling at the largest share" in result.description
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=0)


def test_tokens_equally_far_stay_or_go_together():
    W_U, tokens, mask = planted()
    members = mask.nonzero().squeeze(1)
    W_U[:, members[5:]] = W_U[:, members[5:6]]
    result = undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=0)
    _, sizes = result.distance.unique(return_counts=True)
    assert sizes.max() == 25
    ordered, inside = result.distance.sort().values, result.curve["left_out"]
    assert inside.is_unique and all(ordered[k - 1] < ordered[k] for k in inside[1:])
    assert torch.equal(~result.trained, mask)


def test_references_that_are_no_tokens_are_done_without_down_to_five():
    W_U, tokens, mask = planted()
    for name in REFERENCES[:8]:
        tokens[tokens.index(name)] = f"no byte {name}"
    result = undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=0)
    assert (~result.trained & mask).sum() >= 0.9 * mask.sum()
    tokens[tokens.index(REFERENCES[8])] = "one more"
    with pytest.raises(
        undertrained.NoReferences, match="has 4 of the 13 bytes .* give token counts or use tokens: all"
    ):
        undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=0)


def test_byte_fallback_has_the_same_references_as_a_byte_level_vocabulary():
    tokenizer = vocabularies.sentence_piece()
    found = vocabulary.read(tokenizer, D_VOCAB)
    W_U = gaussian(d_vocab=len(found.tokens))
    rows, words = undertrained.references(W_U, found.tokens)
    columns = [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in undertrained.IMPOSSIBLE_BYTES]
    assert torch.equal(rows, W_U[:, columns].double()) and words == "the bytes that UTF-8 never uses"


def without_bytes():
    """The planted vocabulary, but its references are no single bytes."""
    W_U, tokens, mask = planted()
    for number, name in enumerate(REFERENCES):
        tokens[tokens.index(name)] = f"no byte {number}"
    return W_U, tokens, mask


@pytest.mark.parametrize(
    "written", ["<unused{}>", "[unused{}]", "<|reserved_special_token_{}|>", "<|extratoken_{}|>"]
)
def test_reserved_tokens_are_references_where_no_bytes_are(written):
    W_U, tokens, mask = without_bytes()
    for number, column in enumerate(mask.nonzero().flatten()[:6].tolist()):
        tokens[column] = written.format(number)
    result = undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=0)
    assert torch.equal(~result.trained, mask)
    assert "to the mean of 6 reserved tokens and 0 rows without a token; there" in result.description


def test_rows_without_a_token_are_references_and_never_trained():
    W_U, tokens, mask = without_bytes()
    with pytest.raises(undertrained.NoReferences, match="0 reserved tokens and 4 rows without a token"):
        undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=0, spare=W_U[:, mask][:, :4])
    spare = W_U[:, mask][:, :3]
    owned = torch.ones(D_VOCAB, dtype=torch.bool)
    owned[mask.nonzero().flatten()[:4]] = False
    result = undertrained.by_distance(W_U, W_U, tokens, draws=1000, seed=0, spare=spare, owned=owned)
    assert torch.equal(~result.trained, mask) and torch.equal(result.distance.isnan(), ~owned)
    assert "0 reserved tokens and 7 rows without a token" in result.description
    # As if the columns that no token owns were not there.
    kept = [token for token, is_kept in zip(tokens, owned.tolist(), strict=True) if is_kept]
    alone = undertrained.by_distance(
        W_U[:, owned],
        W_U[:, owned],
        kept,
        draws=1000,
        seed=0,
        spare=torch.cat([W_U[:, ~owned], spare], dim=1),
    )
    assert torch.equal(alone.trained, result.trained[owned]) and alone.description == result.description


def test_padding_that_training_never_pushed_leaves_every_token():
    W_U, tokens = gaussian(), [f"word{i}" for i in range(D_VOCAB)]
    result = undertrained.by_distance(
        W_U, W_U, tokens, draws=1000, seed=0, spare=gaussian(d_vocab=20, seed=9)
    )
    assert result.trained.all()


def test_bad_arguments_are_refused():
    W_U, tokens, _ = planted()
    with pytest.raises(FsrlError, match=r"raw W_U is \[24, 1200\], folded W_U \[24, 1199\]"):
        undertrained.by_distance(W_U, W_U[:, :-1], tokens, draws=1000, seed=0)
    with pytest.raises(FsrlError, match="1199 tokens"):
        undertrained.by_distance(W_U, W_U, tokens[:-1], draws=1000, seed=0)
    with pytest.raises(FsrlError, match="it takes 999"):
        undertrained.by_distance(W_U, W_U, tokens, draws=900, seed=0)
    W_U[3, 17] = torch.nan
    with pytest.raises(FsrlError, match=r"raw W_U: nan at \[3, 17\]"):
        undertrained.by_distance(W_U, gaussian(), tokens, draws=1000, seed=0)
