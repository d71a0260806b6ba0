"""Controls have a direction's norm and its cosine with the stream, exactly; what else they are is chance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.effects import controls


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    """Of rows, by numpy."""
    a, b = a.numpy(), b.numpy()
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40), st.floats(-20, 20), st.floats(0.001, 1000))
def test_norm_and_cosines_are_exactly_the_vectors(seed, d_model, along, size):
    streams = size * (normal(seed, 5, d_model) + 0.3)
    vectors = normal(seed + 1, 5, d_model) + along * streams / streams.norm(dim=-1, keepdim=True)
    found = controls.matched(vectors, streams, normal(seed + 2, 5, d_model))
    np.testing.assert_allclose(found.norm(dim=-1), vectors.norm(dim=-1), rtol=1e-12)
    for seen in (streams, streams - streams.mean(-1, keepdim=True), torch.ones_like(streams)):
        np.testing.assert_allclose(cosine(found, seen), cosine(vectors, seen), atol=1e-12)


def test_in_three_dimensions_it_is_the_vector_or_its_mirror_image():
    # e is along (1, 1, 1), the stream's part beside it along (1, -1, 0); what is left is along (1, 1, -2).
    stream, vector = torch.tensor([[2.0, 0, 1]]).double(), torch.tensor([[3.0, 1, -4]]).double()
    mirrored = torch.tensor([[-1.0, -3, 4]]).double()
    found = torch.cat([controls.matched(vector, stream, normal(seed, 1, 3)) for seed in range(20)])
    same = [torch.allclose(row, vector[0]) for row in found]
    assert {True, False} == set(same)
    for row, is_same in zip(found, same, strict=True):
        torch.testing.assert_close(row, (vector if is_same else mirrored)[0])


def test_the_rest_is_isotropic():
    n, d_model = 20_000, 6
    stream, vector = normal(0, 1, d_model), normal(1, 1, d_model)
    found = controls.matched(vector.expand(n, -1), stream.expand(n, -1), normal(2, n, d_model))
    centred = stream - stream.mean()
    basis = torch.stack([torch.ones(d_model).double() / d_model**0.5, centred[0] / centred.norm()])
    aside = np.eye(d_model) - (basis.T @ basis).numpy()
    rest = found.numpy() @ aside
    np.testing.assert_allclose(rest.mean(0), 0, atol=0.03)
    size = (vector.numpy() @ aside)[0]
    np.testing.assert_allclose(rest.T @ rest / n, aside * (size @ size) / (d_model - 2), atol=0.03)


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_a_stream_without_a_direction_matches_none(constant):
    vectors = normal(1, 4, 8)
    found = controls.matched(vectors, torch.full((4, 8), constant).double(), normal(2, 4, 8))
    torch.testing.assert_close(found.norm(dim=-1), vectors.norm(dim=-1))
    torch.testing.assert_close(found.mean(-1), vectors.mean(-1))
