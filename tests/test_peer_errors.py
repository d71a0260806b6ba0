"""Eight errors of public code on this subject, each with the test that would catch it here.

The errors, with the numbers they gave, are those of published-numbers.md in the project's facts.
"""

import copy

import numpy as np
import pytest
import torch
from scipy import stats

from fsrl import neuronpedia
from fsrl.effects import forward
from fsrl.errors import FsrlError
from fsrl.moments import engine, formulas
from fsrl.tokens import sets as token_sets
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures import analyzer_examples as examples
from tests.neuronpedia import rows
from tests.neuronpedia.conftest import KEY, api, bucket, environment, key  # noqa: F401
from tests.neuronpedia.servers import Answer

D_VOCAB, BLOCK = 50257, 1024


def of_one_row(logits):
    """The moments of one row of logit weights [d_vocab], computed as any feature's."""
    return engine.logit_moments(torch.ones(1, 1), logits.float()[None], n_extremes=0, n_bins=0)


def averaged_over_blocks(logits):
    """The error: skewness and kurtosis of each whole block of the vocabulary, averaged."""
    blocks = logits[: len(logits) // BLOCK * BLOCK].reshape(-1, BLOCK).numpy()
    return stats.skew(blocks, axis=1).mean(), stats.kurtosis(blocks, axis=1, fisher=False).mean()


def test_1_shapes_of_blocks_are_not_averaged():
    drawn = torch.Generator().manual_seed(0)
    raised = torch.randn(D_VOCAB, generator=drawn, dtype=torch.float64)
    raised[torch.randperm(D_VOCAB, generator=drawn)[:20]] += 25
    found = of_one_row(raised)
    exact = stats.skew(raised), stats.kurtosis(raised, fisher=False)
    assert exact == (pytest.approx(4.42, abs=0.2), pytest.approx(101.8, abs=6))
    assert (found.skewness.item(), found.kurtosis.item()) == pytest.approx(exact, rel=1e-5)
    skewness, kurtosis = averaged_over_blocks(raised)
    assert skewness < 0.8 * found.skewness.item() and kurtosis < 0.8 * found.kurtosis.item()


def test_1_a_split_by_token_id_is_seen():
    drawn = torch.Generator().manual_seed(0)
    split = torch.where(torch.arange(D_VOCAB) < D_VOCAB // 2, 1.0, -1.0).double()
    split += 0.1 * torch.randn(D_VOCAB, generator=drawn, dtype=torch.float64)
    found = of_one_row(split)
    assert found.std.item() == pytest.approx(1.005, abs=1e-3)
    assert found.kurtosis.item() == pytest.approx(1.04, abs=1e-2)
    assert averaged_over_blocks(split)[1] > 2.5


def test_2_the_mean_is_taken_off_before_the_division():
    row = 2 * torch.randn(4000, generator=torch.Generator().manual_seed(1), dtype=torch.float64).exp() + 5
    wrong = row - row.mean() / row.std(correction=0)
    found, twin = of_one_row(row), formulas.row_moments(row[None])[0]
    for ours in (found.skewness.item(), twin[2].item()):
        assert ours == pytest.approx(stats.skew(row), rel=1e-5)
        assert ours != pytest.approx(wrong.pow(3).mean().item(), rel=0.1)
    for ours in (found.kurtosis.item(), twin[3].item()):
        assert ours == pytest.approx(stats.kurtosis(row, fisher=False), rel=1e-5)


def test_3_the_layernorm_s_scale_is_a_root():
    x = 3 * torch.randn(5, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 1
    normalised, scale = forward.normalise(x, 1e-5)
    torch.testing.assert_close(normalised, torch.nn.functional.layer_norm(x, (16,), eps=1e-5))
    torch.testing.assert_close(scale[:, 0], (x.var(1, correction=0) + 1e-5).sqrt())
    assert ((scale - (x.var(1, correction=0, keepdim=True) + 1e-5)).abs() > 1).all()


def test_4_a_table_can_be_asked_for_twice(tiny_study):
    """`if table:` asks a DataFrame for its truth, which raises, but only once there is a table."""
    found = examples.analyzer(tiny_study)
    for ask in (found.logit_distr, found.types, lambda: found.tables.null(found.view)):
        first, second = ask(), ask()
        assert first.equals(second)
    assert found.feature_info is found.feature_info


def test_5_words_of_several_tokens_are_no_token_set():
    tokens = ["Washington", "\u0120Washington", ",", "D", ".", "C", "cat", "\u0120cat"]
    with pytest.warns(UserWarning, match="1 words are no single token"):
        found = token_sets.token_sets(tokens, extra={"mine": {"words": ["Washington, D.C.", "cat"]}})
    assert np.array(tokens)[found["mine"]].tolist() == ["cat", "\u0120cat"]
    with pytest.raises(FsrlError, match="none of its 1 words is a single token"):
        token_sets.token_sets(tokens, extra={"mine": {"words": ["Washington, D.C."]}})


def test_6_the_caller_s_sets_are_left_as_they_are(tiny_study):
    given = {"mine": {"words": ["the", "dog", "1"]}, "digits_here": {"regex": "[0-9]"}}
    kept = copy.deepcopy(given)
    found = examples.analyzer(tiny_study, token_sets=given)
    assert "digits_here" in found.tables.enrichment(found.view).sets
    assert given == kept


def test_7_a_page_s_address_has_the_source_and_no_hook(tiny_study, api):  # noqa: F811
    """The thirteenth source of gpt2-small-res-jb shows that no rule makes one from the other."""
    hook = "blocks.11.hook_resid_post"
    assert neuronpedia.source_id(hook, "gpt2-small-res-jb") == ("gpt2-small", "12-res-jb")
    with pytest.raises(FsrlError, match="is a hook name and no source"):
        neuronpedia.embed_url("gpt2-small", hook, 0)
    sae_model = examples.hooked(tiny_study)
    sae_model.sae_adapter.cfg.metadata.neuronpedia_id = "gpt2-small/12-res-jb"
    found = SAEfeatureAnalyzer(sae_model)
    assert found.get_feature_page(0, live=True).src == f"{api.url}/gpt2-small/12-res-jb/0?embed=true"
    assert "hook" not in found.quick_list([0])


def test_8_the_api_key_is_in_no_output(tiny_study, api, bucket, key, tmp_path, capfd, caplog):  # noqa: F811
    """Of a notebook's cells: values, printed text, log, pages and errors, though a server repeats the key."""
    rows.fill(bucket, "explanations", [rows.explanation(0)])
    api.fault("answer", "*", answer=Answer.of(403, {"error": f"bad key {KEY}"}))
    settings = {"neuronpedia": f"{rows.MODEL}/{rows.SOURCE}", "cache": tmp_path / "cache"}
    found = examples.analyzer(tiny_study, **settings)
    with pytest.raises(FsrlError) as refused:
        neuronpedia.feature(rows.MODEL, rows.SOURCE, 0)
    page = found.get_feature_page(0, save_path=None)
    outputs = [str(refused.value), repr(refused.value), page.html, page._repr_html_(), repr(page)]
    outputs += [
        repr(found),
        repr(found.feature_info),
        found.quick_list([0]),
        *capfd.readouterr(),
        caplog.text,
    ]
    cached = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert api.requests[0].key == KEY and "bad key" in outputs[0] and cached
    assert KEY not in "".join(outputs) and KEY.encode() not in b"".join(cached)
