"""SAEs cut down to a few features, against the whole SAE."""

import pytest
import torch

from fsrl.models.narrow import INDEPENDENT, narrowed
from tests.fixtures.adapter_examples import ARCHITECTURES, D_SAE, NORMALIZATIONS, K, activations, make_sae


@pytest.mark.parametrize("architecture", INDEPENDENT)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("features", [[7], [3, 0, 39], list(range(D_SAE))])
def test_features_are_encoded_as_by_the_whole_sae(architecture, normalization, features):
    sae, x = make_sae(architecture, normalize_activations=normalization), activations(50)
    small = narrowed(sae, features)
    expected = sae.encode(x)[:, features]
    assert small.cfg.d_sae == len(features) and sae.cfg.d_sae == D_SAE and expected.any()
    torch.testing.assert_close(small.encode(x), expected, atol=1e-5, rtol=1e-5)


def test_a_square_sae_is_cut_along_its_features():
    sae, x = make_sae(d_sae=16), activations(50)
    torch.testing.assert_close(narrowed(sae, [5]).encode(x), sae.encode(x)[:, [5]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("on", [True, False])
def test_heads_are_joined_or_not_as_by_the_whole_sae(on):
    sae = make_sae(hook="blocks.1.attn.hook_z", reshape_activations="hook_z")
    if not on:
        sae.turn_off_forward_pass_hook_z_reshaping()
    x = activations(3, 5).unflatten(-1, (2, 8)) if on else activations(3, 5)
    torch.testing.assert_close(narrowed(sae, [2]).encode(x), sae.encode(x)[..., [2]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "abstopk", "matching_pursuit"])
def test_features_that_compete_are_left_together(architecture):
    sae = make_sae(architecture, **({"k": K} if architecture == "abstopk" else {}))
    assert (narrowed(sae, [0]) is None) == (architecture not in INDEPENDENT)
