"""Top activating examples against a twin that runs each context by itself and sorts all of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.models.examples import Example, at_hook, top_activating, top_activating_of
from tests.fixtures import effect_examples

HOOK = "blocks.0.hook_resid_post"
LOOKED_UP = "blocks.0.hook_resid_pre"


class Encoder:
    """Rectified random directions; `encode` alone is asked for."""

    def __init__(self, d_in=effect_examples.D_MODEL, d_sae=12):
        self.W = torch.randn(d_in, d_sae, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        self.W[:, 3] = 0  # never active

    def encode(self, x):
        return torch.relu(x.double() @ self.W)


class Lookup(torch.nn.Module):
    """A model whose hook holds one number for each token id: what a test writes is what is found."""

    def __init__(self, hook=LOOKED_UP):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.hook_dict = {hook: None}

    def run_with_cache(self, batch, names_filter, return_type, stop_at_layer):
        (hook,) = names_filter
        return None, {hook: batch[..., None].float()}


class AsRead:
    """As many features as asked for: the token's number, and its negative."""

    def encode(self, x):
        return torch.cat([x, -x], -1)


def twin(model, encode, hook, tokens, features, k, before, after):
    """[(context, position, start, ids, values)] of each feature, by sorting all contexts in float64."""
    found = {feature: [] for feature in features}
    for number, context in enumerate(tokens):
        _, cache = model.run_with_cache(context[None])
        activations = encode(cache[hook][0]).numpy()
        for feature in features:
            values = activations[1:, feature]
            position = 1 + int(np.argmax(values))
            start, stop = max(1, position - before), min(len(context), position + after + 1)
            if values.max() > 0:
                row = (
                    number,
                    position,
                    start,
                    context[start:stop].tolist(),
                    activations[start:stop, feature],
                )
                found[feature].append((-values.max(), row))
    return {
        feature: [row for _, row in sorted(rows, key=lambda r: r[0])[:k]] for feature, rows in found.items()
    }


@pytest.mark.parametrize("batch_size", [1, 4, 99])
def test_as_the_twin_says(tiny_study, batch_size):
    model, encoder, tokens = effect_examples.bridge(tiny_study), Encoder(), effect_examples.TOKENS
    features = [7, 0, 3, 11]
    found = top_activating(
        model, encoder, HOOK, tokens, features, k=4, window=(3, 2), batch_size=batch_size, progress=True
    )
    expected = twin(model, encoder.encode, HOOK, tokens, features, 4, 3, 2)
    assert list(found) == features and found[3] == []
    assert sum(len(rows) for rows in expected.values()) >= 8
    for feature in features:
        for example, (context, position, start, ids, values) in zip(
            found[feature], expected[feature], strict=True
        ):
            assert (example.context, example.position) == (context, position)
            assert list(example.token_ids) == ids and start + example.max_index == position
            assert example.values == pytest.approx(values, rel=1e-5)
            assert example.activation == max(example.values)


@pytest.mark.parametrize("hook", [HOOK, "blocks.1.attn.hook_z", "hook_embed"])
def test_what_was_read_once_gives_the_same(tiny_study, hook):
    model, encoder, tokens = effect_examples.bridge(tiny_study), Encoder(), effect_examples.TOKENS
    stored = at_hook(model, hook, tokens, batch_size=3)
    assert torch.equal(stored, model.run_with_cache(tokens)[1][hook])
    wanted = {"k": 4, "window": (3, 2)}
    expected = top_activating(model, encoder, hook, tokens, [7, 0], **wanted)
    found = top_activating_of(stored, encoder, tokens, [7, 0], **wanted)
    for feature, rows in expected.items():
        assert [(e.context, e.position) for e in found[feature]] == [(e.context, e.position) for e in rows]
        values = [e.values for e in rows]
        assert [e.values for e in found[feature]] == [pytest.approx(own, rel=1e-5) for own in values]


@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_post", "blocks.1.attn.hook_z"])
def test_the_last_layer_and_the_heads_can_be_read(tiny_study, hook):
    model, encoder = effect_examples.bridge(tiny_study), Encoder()

    def encode(x):
        return encoder.encode(x.flatten(1))

    found = top_activating(model, encoder, hook, effect_examples.TOKENS, [1], k=2, window=(1, 1))
    expected = twin(model, encode, hook, effect_examples.TOKENS, [1], 2, 1, 1)
    assert [(e.context, e.position) for e in found[1]] == [row[:2] for row in expected[1]]


def test_an_sae_that_joins_heads_gets_them_apart():
    class Joins(AsRead):
        hook_z_reshaping_mode = True

        def encode(self, x):
            assert x.shape[1:] == (2, 3)
            return x.flatten(1)

    class Heads(Lookup):
        def run_with_cache(self, batch, **_):
            return None, {LOOKED_UP: batch[..., None, None].float().expand(-1, -1, 2, 3)}

    found = top_activating(Heads(), Joins(), LOOKED_UP, torch.tensor([[9, 1, 5]]), [5], k=1)
    assert found[5][0].token_ids == (1, 5)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(-2, 3), min_size=5, max_size=5), min_size=1, max_size=9),
    batch_size=st.integers(1, 10),
    k=st.integers(1, 4),
)
def test_ties_go_to_the_earlier_context_and_position_whatever_the_batches(rows, batch_size, k):
    tokens = torch.tensor(rows)
    found = top_activating(Lookup(), AsRead(), LOOKED_UP, tokens, [0, 1], k=k, batch_size=batch_size)
    for feature, sign in ((0, 1), (1, -1)):
        ranked = sorted(
            (-max(sign * value for value in row[1:]), number, 1 + [sign * v for v in row[1:]].index(peak))
            for number, row in enumerate(rows)
            if (peak := max(sign * value for value in row[1:])) > 0
        )
        assert [(-e.activation, e.context, e.position) for e in found[feature]] == ranked[:k]
        assert all(rows[e.context][1:] == list(e.token_ids) for e in found[feature])


def test_ties_among_many_contexts_go_to_the_first():
    tokens = torch.ones(3000, 2, dtype=torch.long)  # short rows are sorted stably in any case
    found = top_activating(Lookup(), AsRead(), LOOKED_UP, tokens, [0], k=5, batch_size=3000)
    assert [example.context for example in found[0]] == [0, 1, 2, 3, 4]


def test_the_first_position_is_neither_searched_nor_shown():
    example = top_activating(Lookup(), AsRead(), LOOKED_UP, torch.tensor([[99, 1, 2]]), [0])[0][0]
    assert example == Example(0, 2, (1, 2), (1.0, 2.0), 1)
    assert example.record(["", "Ġa", "b"]) == {"tokens": ["Ġa", "b"], "values": [1.0, 2.0], "max_index": 1}


def test_no_feature_needs_no_run():
    assert top_activating(Lookup(), None, LOOKED_UP, torch.tensor([[1, 2]]), []) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hook_name": "blocks.7.hook_z"}, "the model has no blocks.7.hook_z"),
        ({"tokens": torch.zeros(3, dtype=torch.long)}, r"int64 \[3\]; give integers"),
        ({"tokens": torch.zeros(3, 4)}, "float32"),
        ({"tokens": torch.zeros(3, 1, dtype=torch.long)}, "at least one more"),
        ({"k": 0}, "k is 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"window": (-1, 2)}, r"window \(-1, 2\)"),
        ({"features": [-1]}, "feature -1"),
        ({"features": [1.5]}, "feature 1.5 is no index"),
        ({"features": ["1"]}, "feature '1' is no index of a feature; give the number 1"),
        ({"features": [True]}, "feature True is no index"),
        ({"features": [0, 2]}, "feature 2 of an SAE with 2 features"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arguments = {"hook_name": LOOKED_UP, "tokens": torch.tensor([[1, 2]]), "features": [0]} | change
    with pytest.raises(FsrlError, match=message):
        top_activating(Lookup(), AsRead(), **arguments)


def test_nan_is_refused_with_its_context():
    class Broken(AsRead):
        def encode(self, x):
            return torch.where(x == 7, torch.nan, x)

    with pytest.raises(FsrlError, match="context 2 is NaN"):
        tokens = torch.tensor([[1, 1], [1, 2], [1, 7]])
        top_activating(Lookup(), Broken(), LOOKED_UP, tokens, [0], batch_size=2)
