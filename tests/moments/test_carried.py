"""Moments in views with transport, against the slow product, and beside views without."""

import torch

from fsrl.moments import engine, formulas
from fsrl.weights.matrices import Decoder, Unembedding
from fsrl.weights.transport import Transport
from tests.fixtures.moment_examples import assert_same_bytes, random_matrices

HOOKS = ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre")
VIEWS = {
    "carried": {"w_u": "folded", "transport": "same_position"},
    "main": {"w_u": "folded"},
    "carried cosine": {"w_u": "raw", "cosine": True, "transport": "same_position"},
}


def matrices():
    W_dec, W_U = random_matrices(n=12, d_model=8, d_vocab=300)
    T = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(5))
    unembedding = Unembedding(W_U, 2 * W_U, tuple(map(str, range(300))), None, None, {})
    decoders = [Decoder(W_dec + i, None, hook, i, hook, {}) for i, hook in enumerate(HOOKS)]
    return decoders, unembedding, Transport(T, HOOKS, {})


def test_they_are_those_of_the_carried_rows():
    decoders, unembedding, moved = matrices()
    passes = list(engine.moments_of_decoders(decoders, unembedding, VIEWS, moved))
    assert [decoder for decoder, _ in passes] == decoders
    for i, (decoder, found) in enumerate(passes):
        assert list(found) == list(VIEWS)
        carried = decoder.W_dec.double() @ moved.T[i].double().T
        slow = formulas.row_moments(carried @ unembedding.folded.double())
        result = found["carried"].moments
        for name, expected in zip(("mean", "std", "skewness", "kurtosis"), slow.T[:4], strict=True):
            unit = float(expected.abs().max())
            assert torch.allclose(getattr(result, name), expected, rtol=1e-4, atol=1e-4 * unit)
        # The norm is the row's own.
        assert torch.allclose(result.norm, decoder.W_dec.double().norm(dim=1))


def test_views_without_transport_are_as_they_were():
    decoders, unembedding, moved = matrices()
    alone = engine.decoder_moments(decoders[1], unembedding, {"main": VIEWS["main"]})
    both = engine.decoder_moments(decoders[1], unembedding, VIEWS, moved)
    assert_same_bytes(both["main"].moments, alone["main"].moments)


def test_cosines_are_between_a_row_and_what_reaches_a_token():
    decoders, unembedding, moved = matrices()
    found = engine.decoder_moments(decoders[0], unembedding, VIEWS, moved)["carried cosine"].moments
    reached = moved.T[0].double().T @ unembedding.raw.double()
    reached = reached - reached.mean(1, keepdim=True)
    W_dec = decoders[0].W_dec.double()
    cosines = (W_dec / W_dec.norm(dim=1, keepdim=True)) @ (reached / reached.norm(dim=0))
    assert torch.allclose(found.std, cosines.std(dim=1, correction=0), rtol=1e-4)
