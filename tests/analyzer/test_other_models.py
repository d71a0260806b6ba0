"""Analyzers and pages of models that are no GPT-2, against numbers by hand."""

import re

import pytest
import torch
from safetensors.torch import load_file

from fsrl import hub
from fsrl.adapter.adapter import SAEAdapter
from fsrl.adapter.hooked_model import HookedModel
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures import other_studies
from tests.fixtures.analyzer_examples import FEW, by_hand

FEATURE = 3


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others") / "tiny"
    other_studies.build(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "hook"),
    [(name, hook) for name, hooks in other_studies.SAES.items() for hook in hooks],
)
def test_the_analyzer_reads_and_shows_an_sae_of_it(studies, name, hook, tmp_path):
    adapter, _, _ = SAEAdapter.from_pretrained(str(studies / name / "saes"), hook)
    sae_model = HookedModel(hub.load_model(studies / name), adapter)
    tokens = torch.tensor([[0, 40, 41, 77, 120]])
    with torch.no_grad():
        torch.testing.assert_close(
            sae_model(tokens), sae_model.model(tokens)
        )  # a fresh adapter changes nothing
    analyzer = SAEfeatureAnalyzer(sae_model, text=studies / "evaluation_text.txt", **FEW)
    found = analyzer.logit_distr()
    W_dec = load_file(studies / f"{name}/saes/{hook}/sae_weights.safetensors")["W_dec"].double()
    if hook.endswith("hook_z"):
        W_O = load_file(studies / f"{name}/model/model.safetensors")[
            "gpt_neox.layers.0.attention.dense.weight"
        ]
        # Compatibility mode centres what is written to the stream: W_U does not see the mean.
        W_dec = W_dec @ W_O.double().T
    expected = by_hand(W_dec, other_studies.folded(studies, name))
    for column, values in zip(("std", "skewness", "kurtosis"), expected.T[1:], strict=True):
        torch.testing.assert_close(torch.tensor(found[column].to_numpy()), values, rtol=1e-4, atol=1e-5)
    assert set(analyzer.types()["feature"]) == set(range(other_studies.D_SAE))
    page = tmp_path / "page.html"
    analyzer.get_feature_page(FEATURE, save_path=page)
    text = page.read_text()
    assert f"Feature {FEATURE} of {hook}" in text and "Most promoted tokens" in text
    # In some of them the feature is never active on so short a text.
    assert "Top activating examples" in text
    assert re.search(r'"text":"evaluation_text.txt, \d+ contexts"', text)
