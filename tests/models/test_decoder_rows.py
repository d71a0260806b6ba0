"""What one unit of a feature adds, for every architecture that SAELens writes, against the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.models import decoder_rows, saes
from tests.fixtures.adapter_examples import D_IN, D_SAE, activations, make_sae
from tests.fixtures.sae_examples import ARCHITECTURES, OPTIONS, RESCALED, saved

KEPT_IN_TRAINING = {
    "standard": {},
    "gated": {},
    "jumprelu": {},
    "topk": {"k": 6, "rescale_acts_by_decoder_norm": True},
    "abstopk": {"k": 6, "rescale_acts_by_decoder_norm": True},
    "batchtopk": {"k": 6, "rescale_acts_by_decoder_norm": True},
    "matryoshka_batchtopk": {"k": 6, "matryoshka_widths": [10, D_SAE]},
    "matching_pursuit": {},
}
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")


def by_definition(sae):
    """decode(one-hot) - decode(0), feature by feature, in float64."""
    sae = sae.double()
    sae.turn_off_forward_pass_hook_z_reshaping()
    with torch.no_grad():
        nothing = sae.decode(torch.zeros(sae.cfg.d_sae).double())
        return torch.stack([sae.decode(row) - nothing for row in torch.eye(sae.cfg.d_sae).double()])


@pytest.mark.parametrize(("architecture", "options"), OPTIONS)
def test_rows_are_what_a_unit_adds(architecture, options):
    sae = make_sae(architecture, **options)
    rows, W_dec = decoder_rows.decoder_rows(sae), sae.W_dec.detach().clone()
    torch.testing.assert_close(rows.double(), by_definition(sae), rtol=1e-6, atol=1e-7)
    scaled = options is RESCALED or "rescale_acts_by_decoder_norm" in options
    assert torch.equal(rows, W_dec) is not scaled


def test_rows_by_hand():
    """Rows (3, 4) and (0, 2) over 3, scaled to length 1: a unit adds (.6, .8) and (0, 1), whatever b_dec."""
    sae = make_sae("topk", d_in=2, d_sae=6, rescale_acts_by_decoder_norm=True)
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor([[3.0, 4.0], [0.0, 2.0]]).repeat(3, 1))
        sae.b_dec.copy_(torch.tensor([1e6, -5.0]))
    torch.testing.assert_close(
        decoder_rows.decoder_rows(sae), torch.tensor([[0.6, 0.8], [0.0, 1.0]]).repeat(3, 1)
    )


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale"])
def test_where_vectors_are_normalised_rows_are_in_units_of_the_normalised_stream(kind):
    sae, x = make_sae(normalize_activations=kind), activations(1)
    rows = decoder_rows.decoder_rows(sae)
    assert torch.equal(rows, sae.W_dec) and decoder_rows.per_vector(sae)
    with torch.no_grad():
        features = sae.encode(x)
        scale = sae.ln_std if kind == "layer_norm" else 1 / sae.x_norm_coeff
        plain = sae.decode(features)
        features[0, 7] += 1
        sae.encode(x)
        torch.testing.assert_close(sae.decode(features) - plain, rows[7:8] * scale, rtol=1e-4, atol=1e-5)


def test_a_hook_z_sae_has_flat_rows_and_keeps_its_reshaping():
    sae = make_sae(hook="blocks.1.attn.hook_z", reshape_activations="hook_z")
    assert torch.equal(decoder_rows.decoder_rows(sae), sae.W_dec)
    assert sae(activations(3).view(3, 2, 8)).shape == (3, 2, 8)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 50), st.sampled_from(["standard", "topk"]), st.integers(0, 99))
def test_rows_depend_on_no_batch(size, architecture, seed):
    options = {"rescale_acts_by_decoder_norm": True} if architecture == "topk" else {}
    sae = make_sae(architecture, seed=seed, **options)
    together = decoder_rows.decoder_rows(sae)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_rows, "ROWS", size)
        torch.testing.assert_close(decoder_rows.decoder_rows(sae), together)


@pytest.mark.parametrize("architecture", KEPT_IN_TRAINING)
def test_what_sae_lens_trains_is_read_as_it_decodes(architecture, tmp_path):
    from sae_lens.registry import get_sae_training_class
    from sae_lens.saes.sae import SAEMetadata

    kind, config = get_sae_training_class(architecture)
    metadata = SAEMetadata(hook_name="blocks.1.hook_resid_pre")
    sae = kind(config(d_in=D_IN, d_sae=D_SAE, metadata=metadata, **KEPT_IN_TRAINING[architecture]))
    with torch.no_grad():
        sae.W_dec.copy_(torch.randn(D_SAE, D_IN) * 3)
        sae.b_dec.copy_(torch.randn(D_IN) * 10)
    rows = decoder_rows.decoder_rows(saes.load(saved(sae, tmp_path)).sae)
    torch.testing.assert_close(rows.double(), by_definition(sae), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", TRANSCODERS)
def test_a_transcoder_adds_its_row_at_the_place_that_it_writes(architecture, tmp_path):
    """Wider there than where it reads; what it copies from one place to the other is no feature's."""
    metadata = {"hook_name_out": "blocks.1.hook_mlp_out"}
    settings = {"d_out": D_IN + 4, "apply_b_dec_to_input": False}
    sae = make_sae(architecture, hook="blocks.1.ln2.hook_normalized", metadata=metadata, **settings)
    read = saes.load(saved(sae, tmp_path))
    rows = decoder_rows.decoder_rows(read.sae)
    assert torch.equal(rows, sae.W_dec) and rows.shape == (D_SAE, D_IN + 4)
    torch.testing.assert_close(rows.double(), by_definition(sae), rtol=1e-6, atol=1e-7)
    assert read.sae.cfg.metadata.hook_name_out == "blocks.1.hook_mlp_out"


def test_every_architecture_of_sae_lens_is_tried():
    import sae_lens  # noqa: F401 (registers them)
    from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    assert set(SAE_CLASS_REGISTRY) == {*ARCHITECTURES, *TRANSCODERS}
    trained = {name for name in SAE_TRAINING_CLASS_REGISTRY if "transcoder" not in name}
    assert trained == set(KEPT_IN_TRAINING)
