"""Effects taken apart: the terms add up to the model's own change, and each is what it says."""

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.effects import sample as effect_sample
from fsrl.effects.forward import normalise
from fsrl.steering import measure, paths
from fsrl.tables import core as tables
from fsrl.tables.steering import PATHS
from tests.fixtures import effect_examples as ex

FEATURES = [0, 1, 4, 6]
SAMPLE = pd.DataFrame(
    {
        "feature": np.array(FEATURES, dtype=np.int32),
        "type": "prediction",
        "log10_density": np.float32(-1),
        "stratum": 4,
    }
)
SEED = (0, 5)


@pytest.fixture(scope="module")
def model(tiny_study):
    bridge, tail, clean, W_U = ex.study(tiny_study)
    vocabulary = measure.Vocabulary(W_U.detach(), torch.arange(5, W_U.shape[1]))
    offset = (bridge.ln_final.bias @ bridge.W_U + bridge.b_U).detach()
    return bridge, paths.End(tail, clean, vocabulary, offset)


def measured(model, hook, positions=2):
    activations = ex.activations().double()
    return paths.paths(
        ex.decoder(hook),
        SAMPLE,
        lambda chosen: activations[..., chosen],
        model[1],
        positions=positions,
        seed=SEED,
    )


@pytest.mark.parametrize(
    "hook", ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"]
)
def test_the_terms_add_up_to_the_model_s_change_of_the_logits(model, hook):
    """In float64 to 1e-6 of the largest change (it is 1e-12), with the model's own hooks."""
    bridge, end = model
    d = ex.decoder(hook).W_dec[4].double()
    place, context, position = measure.place_of(hook), torch.tensor([2]), torch.tensor([7])
    given_at = "blocks.1.hook_attn_out" if place.mid else hook
    expected = ex.logits_change(bridge, 2, 7, given_at, 0.7 * d)
    at = end.clean.residual[place][context, position][:, None]
    after = end.tail.push(at + 0.7 * d, place, end.clean, context, position)
    terms = paths.split(end.clean.final[context, position][:, None], after, 0.7 * d[None, None], end.tail.eps)
    found = (terms.whole @ end.vocabulary.W_U)[0, 0]
    difference = found - expected
    assert float((difference - difference.mean()).abs().max()) < 1e-10 * float(expected.abs().max())
    before, _ = normalise(end.clean.final[context, position], end.tail.eps)
    whole = normalise(after[0], end.tail.eps)[0] - before
    assert float((terms.whole[0] - whole).abs().max()) < 1e-12
    # The direct term is what logit weights say at the scale as it was.
    _, scale = normalise(end.clean.final[2, 7], end.tail.eps)
    torch.testing.assert_close(terms.direct[0, 0] @ end.vocabulary.W_U, 0.7 * d @ end.vocabulary.W_U / scale)
    if hook.endswith("resid_post"):
        assert float(terms.blocks.abs().max()) < 1e-12


def test_shares_add_up_to_1_and_are_covariances(model, tmp_path):
    _, end = model
    generator = torch.Generator().manual_seed(2)
    parts = [torch.randn(5, ex.D_MODEL, generator=generator, dtype=torch.float64) for _ in range(4)]
    terms = paths.Split(*parts)
    found, variance = paths.shares(terms, end.vocabulary.covariance)
    W_U = end.vocabulary.W_U[:, 5:]
    whole = (terms.whole @ W_U).numpy()
    for i in range(5):
        for share, name in zip(found[:, i], paths.TERMS, strict=True):
            own = (getattr(terms, name)[i] @ W_U).numpy()
            assert float(share) == pytest.approx(np.cov(own, whole[i], ddof=0)[0, 1] / whole[i].var())
        assert float(variance[i]) == pytest.approx(whole[i].var())
    assert float((found.sum(0) - 1).abs().max()) < 1e-12
    frame = measured(model, "blocks.1.hook_resid_pre")
    shares = frame[[f"{name}_share" for name in paths.TERMS]]
    fires = frame["sites"] > 0
    np.testing.assert_allclose(shares[fires].sum(axis=1), 1, atol=1e-6)
    assert frame.loc[~fires, "feature"].tolist() == [0, 0] and shares[~fires].isna().all(axis=None)
    tables.write(frame, tmp_path / "paths.parquet", PATHS, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "paths.parquet", PATHS), frame, check_dtype=False)


def test_a_change_of_scale_alone_is_the_scale_s(model):
    """A row along the centred stream at the last place: direct and scale cancel, but for eps."""
    _, end = model
    before = end.clean.final[:1, 3]
    along = before - before.mean(-1, keepdim=True)
    terms = paths.split(before, before + 0.5 * along, 0.5 * along, end.tail.eps)
    torch.testing.assert_close(terms.direct, -terms.scale, rtol=1e-4, atol=0)
    even = paths.split(before, before + 2.0, torch.full_like(before, 2.0), end.tail.eps)
    assert float(even.whole.abs().max()) < 1e-9
    share, _ = paths.shares(even, end.vocabulary.covariance)
    assert share.isnan().all()


def test_figures_are_means_over_the_effects_sites(model):
    bridge, end = model
    hook = "blocks.1.hook_resid_pre"
    frame = measured(model, hook).set_index(["feature", "direction"])
    activations = ex.activations().double()[..., FEATURES]
    sites = effect_sample.sites(activations, [(*SEED, feature) for feature in FEATURES], 2)
    which = FEATURES.index(4)
    own = [
        (int(c), int(p))
        for f, c, p, state in zip(sites.feature, sites.context, sites.position, sites.state, strict=True)
        if int(f) == which and state == "active"
    ]
    alpha = effect_sample.mean_activation(activations)[which]
    added = alpha * ex.decoder(hook).W_dec[4].double()
    changes = []
    for context, position in own:
        with torch.no_grad():
            clean = bridge(ex.TOKENS[context : context + 1])[0, position]
        steered = clean + ex.logits_change(bridge, context, position, hook, added)
        before, after = (-(v.softmax(0) * v.log_softmax(0)).sum() for v in (clean, steered))
        changes.append((float(after - before), float((steered - clean)[5:].std(correction=0))))
    row = frame.loc[(4, "feature")]
    assert row["sites"] == len(own) and row["alpha"] == pytest.approx(alpha)
    assert row["entropy_change"] == pytest.approx(np.mean([change for change, _ in changes]), rel=1e-6)
    assert row["std"] == pytest.approx(np.mean([std for _, std in changes]), rel=1e-6)
    assert frame.loc[(4, "random"), "std"] != row["std"]


def test_batches_decide_nothing(model, monkeypatch):
    whole = measured(model, "blocks.1.hook_resid_pre")
    monkeypatch.setattr(paths.forward, "rows", lambda device, size: 2)
    monkeypatch.setattr(paths.forward, "CACHE_BYTES", 1)
    pd.testing.assert_frame_equal(measured(model, "blocks.1.hook_resid_pre"), whole, rtol=1e-9)


def test_at_the_scale_as_it_was_entropy_is_that_of_the_other_terms(model):
    bridge, end = model
    hook, context, position = "blocks.1.hook_resid_post", 1, 4
    d = 2 * ex.decoder(hook).W_dec[4].double()
    added = torch.stack([d, -d])[None]
    index = torch.tensor([[0], [context], [position]])
    found = paths._measured(end, measure.place_of(hook), index, added, end.vocabulary.covariance)
    with torch.no_grad():
        clean = bridge(ex.TOKENS[context : context + 1])[0, position]
    _, scale = normalise(end.clean.final[context, position], end.tail.eps)
    fixed = clean + d @ end.vocabulary.W_U / scale
    before, after = (-(v.softmax(0) * v.log_softmax(0)).sum() for v in (clean, fixed))
    assert float(found[5, 0, 0]) == pytest.approx(float(after - before), rel=1e-6)
