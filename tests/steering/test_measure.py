"""One layer steered: beside a loop over features and prompts, and where the forecast must be the score."""

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.hooks import place_of
from fsrl.steering import measure, prompts, scores
from fsrl.tables import core as tables
from fsrl.tables.steering import STEERING
from tests.fixtures import effect_examples as ex

TEXTS = ("The dog", "In 1905 the papers", "light")
STEERED = measure.Steering("sampled", 2.0, 3, TEXTS)
FEATURES = [0, 1, 4]
SAMPLE = pd.DataFrame(
    {
        "feature": np.array(FEATURES, dtype=np.int32),
        "type": "prediction",
        "log10_density": np.float32(-1),
        "stratum": 3,
    }
)
SEED = (0, 5)


@pytest.fixture(scope="module")
def model(tiny_study):
    from fsrl.models import tokenizer

    bridge, _, _, W_U = ex.study(tiny_study)
    return bridge, tokenizer.read(tiny_study / "model"), W_U


def watched(model, hook, T=None):
    bridge, tokenizer, W_U = model
    found = prompts.of_gpt2(bridge, tokenizer, TEXTS, [place_of(hook)], W_U)
    token_ids = torch.arange(5, W_U.shape[1])
    return measure.Watched(found, measure.Vocabulary(W_U, token_ids), ex.TOKENS, T, STEERED)


def measured(model, hook="blocks.1.hook_resid_pre", T=None):
    decoder = ex.decoder(hook)
    return measure.layer(
        decoder, SAMPLE, lambda features: ex.activations()[..., features], watched(model, hook, T), SEED
    )


def last_logits(bridge, ids, hook, vector):
    """The model's own logits at the last position with a vector added there."""

    def add(activation, hook):
        changed = activation.clone()
        changed[:, -1] += vector
        return changed

    with torch.no_grad():
        return bridge.run_with_hooks(ids, fwd_hooks=[(hook, add)])[0, -1]


def by_hand(model, hook, T, d, added):
    """Means over the prompts for one direction d, of which `added` is a multiple."""
    bridge, tokenizer, W_U = model
    own = 5 + (d @ W_U[:, 5:]).argsort(descending=True)[:3]
    moved = 5 + (T @ d @ W_U[:, 5:]).argsort(descending=True)[:3]
    end = f"blocks.{ex.N_LAYERS - 1}.hook_resid_post"
    values = []
    for text in TEXTS:
        ids = torch.tensor([[0, *tokenizer.backend_tokenizer.encode(text).ids]])
        clean, steered = (last_logits(bridge, ids, hook, vector) for vector in (0 * added, added))
        direct, carried = (last_logits(bridge, ids, end, vector) for vector in (added, T @ added))
        p, q = steered.softmax(0), clean.softmax(0)
        values.append(
            {
                "clean_score": scores.output_scores(clean, own),
                "output_score": scores.output_scores(steered, own),
                "transported_score": scores.output_scores(steered, moved),
                "direct_forecast": scores.output_scores(direct, own),
                "transported_forecast": scores.output_scores(carried, own),
                "total_variation": (p - q).abs().sum() / 2,
                "kl": (p * (p / q).log()).sum(),
            }
        )
    return {name: np.mean([float(value[name]) for value in values]) for name in values[0]}


def test_figures_are_those_of_a_loop(model):
    hook = "blocks.1.hook_resid_pre"
    T = torch.randn(ex.D_MODEL, ex.D_MODEL, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    frame = measured(model, hook, T)
    rows = frame[(frame["direction"] == "feature") & (frame["feature"] != 0)].to_dict("records")
    assert len(rows) == 2
    for row in rows:
        largest = float(ex.activations()[:, 1:, row["feature"]].max())
        assert row["largest_activation"] == pytest.approx(largest)
        d = ex.decoder(hook).W_dec[row["feature"]].double()
        for name, value in by_hand(model, hook, T, d, 2 * largest * d).items():
            assert row[name] == pytest.approx(value, rel=1e-6), name


def test_in_the_last_place_the_direct_forecast_is_the_score(model):
    frame = measured(model, "blocks.1.hook_resid_post")
    known = frame.dropna(subset=["output_score"])
    assert len(known) == 4
    np.testing.assert_allclose(known["direct_forecast"], known["output_score"], rtol=1e-9)


def test_a_feature_that_never_fires_and_what_needs_T_are_null(model, tmp_path):
    frame = measured(model)
    never = frame[frame["feature"] == 0]
    figures = ["largest_activation", "relative_push", "output_score", "kl", "total_variation_percentile"]
    assert never[figures].isna().all(axis=None) and len(never) == 2
    assert frame[["transported_score", "transported_forecast"]].isna().all(axis=None)
    assert frame.loc[frame["feature"] != 0, ["output_score", "total_variation"]].notna().all(axis=None)
    tables.write(frame, tmp_path / "steering.parquet", STEERING, {})
    pd.testing.assert_frame_equal(
        tables.read(tmp_path / "steering.parquet", STEERING), frame, check_dtype=False
    )


def test_random_directions_have_the_norm_and_their_own_seed():
    rows = ex.decoder().W_dec[:4]
    found = measure.random_rows(rows, [(0, 5, i) for i in range(4)])
    torch.testing.assert_close(found.norm(dim=1), rows.norm(dim=1))
    again = measure.random_rows(rows[2:3], [(0, 5, 2)])
    torch.testing.assert_close(again[0], found[2])
    assert float((found @ rows.T / rows.norm(dim=1) / rows.norm(dim=1)).abs().max()) < 0.95


def test_percentiles_are_among_the_layer_s_random_directions(model):
    frame = measured(model)
    random = frame.loc[frame["direction"] == "random", "output_score"].dropna().to_numpy()
    for row in frame[frame["direction"] == "feature"].dropna(subset=["output_score"]).to_dict("records"):
        assert row["output_score_percentile"] == np.mean(random < row["output_score"])
    assert frame.loc[frame["direction"] == "random", "output_score_percentile"].isna().all()


def test_batches_decide_nothing(model, monkeypatch):
    whole = measured(model)
    monkeypatch.setattr(measure, "FEATURES_AT_ONCE", 1)
    monkeypatch.setattr(measure.forward, "rows", lambda device, size: 2)
    monkeypatch.setattr(measure.forward, "CACHE_BYTES", 1)
    pd.testing.assert_frame_equal(measured(model), whole, rtol=1e-9)


@pytest.mark.parametrize(
    "change", [{"features": "some"}, {"multiple": 0}, {"top_tokens": 0}, {"prompts": ()}]
)
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(FsrlError, match="steering: features is"):
        measure.Steering(**({"features": "all", "multiple": 1, "top_tokens": 1, "prompts": ("a",)} | change))
