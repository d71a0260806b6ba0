"""Contexts in which features are most active, all at once, against the search one by one."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.effects import contexts
from fsrl.effects.sample import read_windows
from fsrl.models import examples, reading
from fsrl.models.sources import ModelSource, SAESource
from fsrl.tables.directions import CONTEXTS
from fsrl.weights import pages
from tests.fixtures import architectures, vocabularies


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 3, 50])
def test_all_at_once_is_one_by_one(seed: int, k: int) -> None:
    """`fsrl.models.examples` is the oracle, of activations that tie, vanish and peak at a context's ends."""
    generator = torch.Generator().manual_seed(seed)
    stored = torch.randint(-6, 5, (21, 30, 8), generator=generator).float()
    stored[:, :, 5], stored[:, 0, 6], stored[3, 29, 7], stored[4, 1, 7] = -1.0, 99.0, 50.0, 50.0
    tokens = torch.randint(0, 100, (21, 30), generator=generator)
    identity = SimpleNamespace(encode=lambda vectors: vectors)
    wanted = examples.top_activating_of(stored, identity, tokens, range(8), k=k, window=contexts.WINDOW)
    batches = (batch.permute(2, 0, 1) for batch in stored.split(4))
    found = contexts.frame(tokens, *contexts.strongest(batches, k))
    assert list(found.columns) == list(CONTEXTS.columns)
    for feature in range(8):
        rows = found[found["feature"] == feature]
        assert rows["rank"].tolist() == list(range(len(wanted[feature])))
        for row, one in zip(rows.itertuples(), wanted[feature], strict=True):
            assert (row.context, row.position, row.peak) == (one.context, one.position, one.max_index)
            assert row.token_ids.tolist() == list(one.token_ids)
            assert row.activation == one.activation
            shares = [round(100 * max(value, 0) / one.activation) for value in one.values]
            assert np.abs(row.shares - shares).max() <= 1  # halves
    assert not len(found[found["feature"] == 5]) and len(wanted[5]) == 0


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_a_neuron_fires_where_its_nonlinearity_lets_it(tmp_path, name: str) -> None:
    """In a gated MLP where the gate is open, else where it is above 0; models without value biases too."""
    architectures.write(name, tmp_path / "model")
    model = reading.read_model(ModelSource(folder=str(tmp_path / "model")))
    source = SAESource(neurons=2)
    given = [(sae, sae, 32) for sae in source.sae_ids]
    text = "<|endoftext|>".join(vocabularies.TEXT)
    found = list(contexts.of_study(model, source, given, text, context=16, contexts=4, examples=2))
    windows, _ = read_windows(model, text, context=16, contexts=4, device="cpu")
    for sae, (frame, _) in zip(source.sae_ids, found, strict=True):
        hooks = {what: sae.replace("hook_post", what) for what in ("hook_post", "hook_pre")}
        with torch.no_grad():
            _, held = model.bridge.run_with_cache(windows, names_filter=list(hooks.values()))
        post = held[hooks["hook_post"]]
        gated = bool(model.bridge.cfg.gated_mlp)
        assert gated is (name == "llama")
        fires = post * (held[hooks["hook_pre"]] > 0) if gated else post.clamp(min=0)
        expected = fires[:, 1:].amax((0, 1))
        peaks = frame[frame["rank"] == 0].set_index("feature")["activation"]
        for feature in range(32):
            if expected[feature] > 0:
                assert peaks[feature] == pytest.approx(float(expected[feature]), rel=1e-5)
            else:
                assert feature not in peaks.index


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_what_hooks_hold_may_wait_in_files(tmp_path, monkeypatch, name: str) -> None:
    """Beyond a number of bytes, one file a hook and batch; and a batch may be encoded window by window."""
    architectures.write(name, tmp_path / "model")
    model = reading.read_model(ModelSource(folder=str(tmp_path / "model")))
    source = SAESource(neurons=2)
    given = [(sae, sae, 32) for sae in source.sae_ids]
    text = "<|endoftext|>".join(vocabularies.TEXT)
    asked = {"context": 16, "contexts": 5, "examples": 2}
    rooms = []

    def counted(*shape: Any) -> torch.Tensor:
        rooms.append(shape)
        return pages.room(*shape)

    monkeypatch.setattr(contexts, "BATCH", 2)
    monkeypatch.setattr(contexts, "pages", SimpleNamespace(room=counted))
    wanted = list(contexts.of_study(model, source, given, text, **asked))
    assert not rooms
    monkeypatch.setattr(contexts, "HELD", 0)
    monkeypatch.setattr(contexts, "ENCODED", 1)
    found = list(contexts.of_study(model, source, given, text, **asked))
    hooks = 2 * (2 if name == "llama" else 1)  # a gate beside each
    assert sorted(rows for rows, *_ in rooms) == sorted(hooks * [32, 32, 16])
    for (frame, said), (expected, of_expected) in zip(found, wanted, strict=True):
        pd.testing.assert_frame_equal(frame, expected)
        assert said == of_expected
