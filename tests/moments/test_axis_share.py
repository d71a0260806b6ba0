"""The share of logit-weight variance along an axis: against correlations of materialised logits."""

import numpy as np
import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.moments import axis_share
from fsrl.tables import core as tables
from fsrl.tables.moments import AXIS_SHARE
from fsrl.weights.matrices import Decoder, Unembedding
from fsrl.weights.transport import Transport, view


def matrices(seed, n=6, d_model=8, n_tokens=300):
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(n, d_model, generator=generator)
    W_U = torch.randn(d_model, n_tokens, generator=generator) + torch.randn(d_model, 1, generator=generator)
    return W_dec, W_U, torch.randn(d_model, generator=generator, dtype=torch.float64)


def test_it_is_the_squared_correlation_with_the_axis_logits():
    W_dec, W_U, axis = matrices(0)
    found = axis_share.axis_share(W_dec, W_U, axis)
    logits, of_axis = (W_dec.double() @ W_U.double()).numpy(), axis.numpy() @ W_U.double().numpy()
    slow = [np.corrcoef(row, of_axis)[0, 1] ** 2 for row in logits]
    np.testing.assert_allclose(found, slow, rtol=1e-10)


def test_the_axis_itself_has_all_of_it_whatever_its_length_and_sign(tmp_path):
    W_dec, W_U, axis = matrices(1)
    W_dec[0], W_dec[1], W_dec[2] = axis.float(), -3 * axis.float(), 0
    found = axis_share.axis_share(W_dec, W_U, axis)
    assert found[:2].tolist() == pytest.approx([1, 1], abs=1e-6)
    assert found[2].isnan() and not found[3:].isnan().any()
    frame = axis_share.axis_share_frame(found)
    tables.write(frame, tmp_path / "a", AXIS_SHARE, {})
    assert tables.read(tmp_path / "a", AXIS_SHARE)["axis_share"].isna().tolist() == found.isnan().tolist()


def test_the_shares_of_an_orthogonal_set_of_axes_add_up_to_one():
    W_dec, W_U, _ = matrices(2)
    centred = W_U.double() - W_U.double().mean(1, keepdim=True)
    axes = torch.linalg.eigh(centred @ centred.T).eigenvectors
    total = sum(axis_share.axis_share(W_dec, W_U, axis) for axis in axes.T)
    np.testing.assert_allclose(total, 1)


def test_the_first_axis_is_that_of_most_variance():
    spectrum = torch.tensor([1.0, 9.0, 4.0], dtype=torch.float64)
    assert axis_share.first_axis(spectrum.diag()).abs().tolist() == pytest.approx([0, 1, 0])
    with pytest.raises(FsrlError, match="no positive eigenvalue; the activations never vary"):
        axis_share.first_axis(torch.zeros(3, 3, dtype=torch.float64))
    with pytest.raises(FsrlError, match="covariance of the activations"):
        axis_share.first_axis(torch.full((2, 2), torch.nan, dtype=torch.float64))
    W_dec, W_U, axis = matrices(3)
    with pytest.raises(FsrlError, match="an axis of 5 dimensions, and W_U of 8"):
        axis_share.axis_share(W_dec, W_U, axis[:5])


VIEWS = {
    "main": {"w_u": "folded"},
    "cosine": {"w_u": "raw", "tokens": "trained", "cosine": True},
    "carried": {"tokens": "trained", "transport": "same_position"},
}


@pytest.mark.parametrize("name", VIEWS)
def test_layers_get_the_shares_that_each_gets_alone(name):
    hooks = ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre")
    T = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(5))
    moved = Transport(T, hooks, {})
    decoders, axes = [], {}
    for number, hook in enumerate(hooks):
        W_dec, W_U, axes[hook] = matrices(number)
        decoders.append(Decoder(W_dec, None, hook, number, hook, {}))
    trained = torch.arange(300) % 7 > 0
    unembedding = Unembedding(W_U, 2 * W_U + 1, tuple(map(str, range(300))), None, trained, {})
    found = list(axis_share.of_layers(iter(decoders), unembedding, VIEWS[name], moved, axes))
    assert [decoder for decoder, _ in found] == decoders
    for decoder, share in found:
        seen = view(decoder, unembedding, VIEWS[name], moved)
        alone = axis_share.axis_share(seen.W_dec, seen.W_U, axes[decoder.hook])
        assert share.tolist() == alone.tolist()
    assert not torch.equal(found[0][1], found[1][1])


def test_a_decoder_of_another_width_is_refused():
    W_dec, W_U, axis = matrices(0)
    unembedding = Unembedding(W_U, W_U, tuple(map(str, range(300))), None, None, {})
    decoders = [Decoder(W_dec, None, "a", 0, "a", {}), Decoder(W_dec[:, :5], None, "a", 0, "b", {})]
    shares = axis_share.of_layers(decoders, unembedding, VIEWS["main"], None, {"a": axis})
    with pytest.raises(FsrlError, match="decoder b: d_model is 5 but the model's is 8"):
        list(shares)
