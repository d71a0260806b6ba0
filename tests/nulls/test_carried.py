"""Null directions in views with transport: drawn at the hook, read through the layer's own matrices."""

import pandas as pd
import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.moments.formulas import Typical
from fsrl.nulls import carried, directions, frames
from fsrl.nulls.joined import joined
from fsrl.nulls.typical import typical as typical_of
from fsrl.weights.matrices import Decoder, Unembedding
from fsrl.weights.transport import Transport
from tests.fixtures.moment_examples import random_matrices

HOOKS = ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre")
PLAIN = {"w_u": "folded", "tokens": "all", "cosine": False}
VIEWS = {"carried": PLAIN | {"transport": "same_position"}, "main": PLAIN}
TYPICAL = Typical(kurtosis=3.0, right_kurtosis=1.5, right_eighth=52.5)
SETTINGS = {"kinds": ["second_moment", "sign_flip"], "draws": 300, "seed": 4}


@pytest.fixture(scope="module")
def matrices():
    W_dec, W_U = random_matrices(n=20, d_model=8, d_vocab=400)
    T = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(5))
    unembedding = Unembedding(W_U, W_U.clone(), tuple(map(str, range(400))), None, None, {})
    return Decoder(W_dec, None, HOOKS[1], 1, "sae", {}), unembedding, Transport(T, HOOKS, {})


@pytest.fixture(scope="module")
def found(matrices):
    decoder, unembedding, moved = matrices
    return carried.of_layer_in_views(
        decoder, unembedding, VIEWS, moved, typical={"main": TYPICAL}, **SETTINGS
    )


def test_every_kind_is_carried_alike(matrices, found):
    decoder, unembedding, moved = matrices
    frame, T = found["carried"], moved.T[1].double()
    assert list(found) == list(VIEWS)
    assert list(frame["kind"].unique()) == ["isotropic", "second_moment", "sign_flip"]
    reached = T.T @ unembedding.folded.double()
    drawn = {
        "isotropic": directions.isotropic(8, draws=300, seed=4),
        "second_moment": directions.second_moment(decoder.W_dec, draws=300, seed=4),
        "sign_flip": directions.sign_flip(decoder.W_dec, reached, draws=300, seed=4),
    }
    for kind, blocks in drawn.items():
        rows = torch.cat(list(blocks)).double()
        weights = (rows @ T.T @ unembedding.folded.double()).numpy()
        own = frame[frame["kind"] == kind]
        z = weights - weights.mean(axis=1, keepdims=True)
        z /= z.std(axis=1, keepdims=True)
        assert own["std"].to_numpy() == pytest.approx(weights.std(axis=1), rel=1e-3)
        assert own["skewness"].to_numpy() == pytest.approx((z**3).mean(axis=1), abs=1e-3)
        assert own["norm"].to_numpy() == pytest.approx(rows.norm(dim=1).numpy(), rel=1e-5)


def test_a_flipped_row_keeps_the_std_of_what_it_becomes(matrices, found):
    decoder, unembedding, moved = matrices
    frame = found["carried"]
    own = frame[frame["kind"] == "sign_flip"]["std"].to_numpy()[:20]
    carried_rows = decoder.W_dec.double() @ moved.T[1].double().T
    expected = (carried_rows @ unembedding.folded.double()).std(dim=1, correction=0).numpy()
    assert own == pytest.approx(expected, rel=1e-4)


def test_views_without_transport_are_as_they_were(matrices, found):
    decoder, unembedding, _ = matrices
    plain = {"main": VIEWS["main"]}
    alone = frames.of_layer_in_views(decoder, unembedding, plain, typical={"main": TYPICAL}, **SETTINGS)
    pd.testing.assert_frame_equal(found["main"], alone["main"])
    again = carried.of_layer_in_views(
        decoder, unembedding, plain, None, typical={"main": TYPICAL}, **SETTINGS
    )
    pd.testing.assert_frame_equal(again["main"], alone["main"])


def test_without_matrices_a_view_with_transport_is_refused(matrices):
    decoder, unembedding, _ = matrices
    with pytest.raises(FsrlError, match="view carried: it needs the matrices of transport"):
        carried.of_layer_in_views(decoder, unembedding, VIEWS, None, typical={"main": TYPICAL}, **SETTINGS)


def test_a_layer_s_own_kind_takes_the_place_of_the_shared_one():
    shared = pd.DataFrame({"kind": ["isotropic"] * 2, "x": [1, 2]})
    own = pd.DataFrame({"kind": ["isotropic", "sign_flip"], "x": [3, 4]})
    assert joined(shared, [own])["x"].tolist() == [3, 4]
    assert joined(shared, [own[1:]])["x"].tolist() == [1, 2, 4]
    assert joined(shared, [])["x"].tolist() == [1, 2] and joined(None, [own])["x"].tolist() == [3, 4]


def test_what_is_typical_may_be_known_from_other_draws(matrices, found):
    decoder, unembedding, moved = matrices
    carried_view = {"carried": VIEWS["carried"]}
    given = {"carried": typical_of(found["carried"])}
    settings = SETTINGS | {"seed": 5}
    other = carried.of_layer_in_views(decoder, unembedding, carried_view, moved, typical=given, **settings)
    own = carried.of_layer_in_views(decoder, unembedding, carried_view, moved, typical={}, **settings)
    assert other["carried"]["kurtosis"].equals(own["carried"]["kurtosis"])
    assert not other["carried"]["tail_tokens"].equals(own["carried"]["tail_tokens"])
    again = carried.of_layer_in_views(
        decoder, unembedding, VIEWS, moved, typical={}, **settings | {"kinds": []}
    )
    assert list(again) == ["carried"] and set(again["carried"]["kind"]) == {"isotropic"}
