"""Prompts: two ways to the same logits, and both to the model's own."""

import pytest
import torch

from fsrl.errors import FsrlError
from fsrl.hooks import Place
from fsrl.steering import prompts
from tests.fixtures import effect_examples as ex

TEXTS = ("The dog", "In 1905 the papers", "light")
# Where what is added at a place can be given to the model itself.
HOOKS = {
    Place(0, False): "blocks.0.hook_resid_pre",
    Place(0, True): "blocks.0.hook_attn_out",
    Place(1, False): "blocks.1.hook_resid_pre",
    Place(1, True): "blocks.1.hook_attn_out",
    Place(2, False): "blocks.1.hook_resid_post",
}


@pytest.fixture(scope="module")
def model(tiny_study):
    from fsrl.models import tokenizer

    bridge, _, _, W_U = ex.study(tiny_study)
    return bridge, tokenizer.read(tiny_study / "model"), W_U.detach()


@pytest.mark.parametrize("way", [prompts.of_gpt2, prompts.of_hooks])
def test_logits_are_the_model_s_own_with_a_hook(model, way):
    bridge, tokenizer, W_U = model
    found = way(bridge, tokenizer, TEXTS, list(HOOKS), W_U)
    added = 3 * torch.randn(2, ex.D_MODEL, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for place, hook in HOOKS.items():
        logits = found.logits(found.push(place, added))
        for i, text in enumerate(TEXTS):
            ids = torch.tensor([[0, *tokenizer.backend_tokenizer.encode(text).ids]])
            for j, vector in enumerate(added):

                def add(activation, hook, vector=vector):
                    changed = activation.clone()
                    changed[:, -1] += vector
                    return changed

                with torch.no_grad():
                    expected = bridge.run_with_hooks(ids, fwd_hooks=[(hook, add)])[0, -1]
                difference = logits[j, i] - expected
                # A constant is no difference to a distribution.
                assert float((difference - difference.mean()).abs().max()) < 1e-8 * float(
                    expected.abs().max()
                )


def test_what_is_added_at_the_end_takes_one_product(model):
    bridge, tokenizer, W_U = model
    found = prompts.of_gpt2(bridge, tokenizer, TEXTS, list(HOOKS), W_U)
    added = 3 * torch.randn(2, ex.D_MODEL, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    expected = found.logits(found.final + added[:, None])
    with_them = found.logits_with(added, found.read(added))
    torch.testing.assert_close(with_them, expected, rtol=1e-10, atol=1e-10)


def test_both_ways_have_the_same_streams(model):
    bridge, tokenizer, W_U = model
    one, other = (
        way(bridge, tokenizer, TEXTS, list(HOOKS), W_U) for way in (prompts.of_gpt2, prompts.of_hooks)
    )
    torch.testing.assert_close(one.final, other.final)
    for place in HOOKS:
        if not place.mid:  # a bridge's own hook_resid_mid is the MLP's input
            torch.testing.assert_close(one.stream[place], other.stream[place])


def test_prompts_begin_as_windows_do_and_are_filled_up(model):
    _, tokenizer, _ = model
    ids, last = prompts.tokens_of(tokenizer, TEXTS, 1000, 64)
    for row, end, text in zip(ids.tolist(), last.tolist(), TEXTS, strict=True):
        assert row[: end + 1] == [0, *tokenizer.backend_tokenizer.encode(text).ids]
    assert ids.shape[1] == int(last.max()) + 1


@pytest.mark.parametrize(
    ("text", "d_vocab", "n_ctx"), [("", 1000, 64), ("dog " * 99, 1000, 64), ("dog", 3, 64)]
)
def test_a_prompt_that_cannot_be_read_is_named(model, text, d_vocab, n_ctx):
    with pytest.raises(FsrlError, match="steering: the prompt"):
        prompts.tokens_of(model[1], ["the", text] if d_vocab > 3 else [text], d_vocab, n_ctx)
