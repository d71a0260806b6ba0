"""Local pages: the text goes through the model once, and what a page says of it is that feature's."""

import pytest
import torch

from fsrl.adapter.adapter import SAEAdapter
from fsrl.adapter.hooked_model import HookedModel
from fsrl.analyzer import pages as analyzer_pages
from fsrl.analyzer.pages import TextExamples
from fsrl.models import examples
from tests.fixtures import analyzer_examples, model_examples
from tests.fixtures import tiny_study as tiny
from tests.fixtures.adapter_examples import ARCHITECTURES, make_sae, train

VOCABULARY = [str(number) for number in range(1000)]


@pytest.fixture
def counted(monkeypatch):
    """How often the model is run over the text."""
    runs, real = [], examples.at_hook

    def at_hook(*given, **settings):
        runs.append(given)
        return real(*given, **settings)

    monkeypatch.setattr(analyzer_pages.examples, "at_hook", at_hook)
    return runs


def naive(sae_model, feature, windows):
    """A pass for this feature alone, as `top_activating` makes it."""
    model, adapter = sae_model.model, sae_model.sae_adapter
    found = examples.top_activating(model, adapter.sae, sae_model.hook_name, windows, [feature], k=8)
    return [example.record(VOCABULARY) for example in found[feature]]


def same(found, expected):
    return len(found) == len(expected) and all(
        (a["tokens"], a["max_index"]) == (b["tokens"], b["max_index"])
        and a["values"] == pytest.approx(b["values"], rel=1e-4, abs=1e-5)
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("form", model_examples.FORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_pre", "blocks.0.attn.hook_z", "hook_embed"])
def test_a_page_s_examples_are_those_of_its_own_pass(tiny_study, counted, form, architecture, hook):
    model = model_examples.FORMS[form](tiny_study / "model")
    sae_model = HookedModel(model, train(SAEAdapter(make_sae(architecture, hook=hook))))
    text = TextExamples(sae_model, tiny_study / "evaluation_text.txt")
    found = [text.of_feature(feature, VOCABULARY) for feature in range(12)]
    assert len(counted) == 1 and sum(map(bool, found)) >= 2
    for feature, records in enumerate(found):
        assert same(records, naive(sae_model, feature, text.windows))


def test_a_model_that_changes_is_read_again(tiny_study, counted):
    sae_model = analyzer_examples.hooked(tiny_study, "transformer")
    text = TextExamples(sae_model, tiny_study / "evaluation_text.txt")
    before = text.of_feature(1, VOCABULARY)
    for number, change in enumerate((lambda w: w.mul_(2), lambda w: w.data.mul_(2)), 2):
        with torch.no_grad():
            change(sae_model.model.W_E)
        after = text.of_feature(1, VOCABULARY)
        assert len(counted) == number and not same(after, before)
        assert same(after, naive(sae_model, 1, text.windows))
        before = after


def test_an_sae_that_changes_needs_no_run(tiny_study, counted):
    sae_model = analyzer_examples.hooked(tiny_study)
    text = TextExamples(sae_model, tiny_study / "evaluation_text.txt")
    before = text.of_feature(1, VOCABULARY)
    with torch.no_grad():
        sae_model.sae_adapter.sae.W_enc.mul_(-1)
    after = text.of_feature(1, VOCABULARY)
    assert len(counted) == 1 and not same(after, before)
    assert same(after, naive(sae_model, 1, text.windows))


def test_the_text_is_read_without_steering_and_nobody_s_hooks_are_kept(tiny_study, counted):
    sae_model = HookedModel(
        model_examples.bridge(tiny_study / "model"), train(SAEAdapter(make_sae(hook=tiny.SAE_IDS[1])))
    )
    text = TextExamples(sae_model, tiny_study / "evaluation_text.txt")
    expected = naive(sae_model, 1, text.windows)
    with sae_model.hooks():
        assert same(text.of_feature(1, VOCABULARY), expected) and len(counted) == 1
    other = TextExamples(sae_model, tiny_study / "evaluation_text.txt")
    with sae_model.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", lambda x, hook: -x)]):
        assert not same(other.of_feature(1, VOCABULARY), expected)
    assert same(other.of_feature(1, VOCABULARY), expected) and len(counted) == 3
