"""Features ranked for steering: the workflow's table of these weights, else measured, the same way."""

import numpy as np
import pytest
import torch

from fsrl import defaults
from fsrl.errors import FsrlError
from fsrl.steering import measure, prompts
from fsrl.tables import core as tables
from fsrl.tables.steering import STEERING
from fsrl.utils import SAEfeatureAnalyzer
from fsrl.weights import matrices
from tests.fixtures import analyzer_examples as examples
from tests.fixtures import built_results, model_examples
from tests.fixtures.steering_tables import steering_table

FEATURES = [3, 11, 12, 30]


@pytest.fixture(scope="module")
def text(tiny_study):
    return tiny_study / "evaluation_text.txt"


@pytest.mark.parametrize("form", sorted(model_examples.FORMS))
def test_what_is_measured_is_the_workflow_s_of_the_raw_model(tiny_study, text, form):
    """Through hooks of a processed model, beside the fast tail of the raw one."""
    made = examples.analyzer(tiny_study, form, text=text)
    found = made.rank_for_steering(FEATURES, top_k=None).set_index("feature")
    raw = examples.analyzer(tiny_study, "bridge", text=text)
    model, decoder = raw.sae_model.model, raw.tables.weights.decoder
    W_U = raw.tables.weights.unembedding.folded
    steered = measure.Steering.of(defaults.STEERING)
    given = prompts.of_hooks(model, model.tokenizer, steered.prompts, [prompts.Place(0, False)], W_U)
    assert len(found)
    for feature, row in found.iterrows():
        added = 10 * row["largest_activation"] * decoder.W_dec[feature]
        tokens = (decoder.W_dec[feature] @ W_U).topk(20).indices[None]
        directions = measure.Directions(added[None], tokens, None)
        expected = measure.read(given, prompts.Place(0, False), directions, None)
        assert row["output_score"] == pytest.approx(float(expected.output_score), rel=1e-3)
        assert row["total_variation"] == pytest.approx(float(expected.total_variation), rel=1e-3)
    assert found["output_score"].is_monotonic_decreasing


def test_the_workflow_s_table_is_read_where_it_is_of_these_weights(tiny_study, text, tmp_path, caplog):
    folder = tmp_path / "results"
    study = built_results.write(tiny_study, folder, {"seen": defaults.VIEW})
    path = study / examples.HOOK / "steering.parquet"
    types = tables.read_metadata(study / examples.HOOK / "seen/types.parquet")
    made = steering_table(n=12, seed=0)
    tables.write(made, path, STEERING, types)
    analyzer = SAEfeatureAnalyzer(examples.hooked(tiny_study), results=folder, text=text)
    found = analyzer.rank_for_steering(top_k=5, by="kl")
    own = made[made["direction"] == "feature"].sort_values("kl", ascending=False)
    assert found["feature"].tolist() == own["feature"].tolist()[:5]
    assert analyzer.rank_for_steering([1, 2], top_k=None)["feature"].isin([1, 2]).all()
    # Other weights, or another view: measured.
    tables.write(made, path, STEERING, types | {matrices.W_DEC_HASH: "0"})
    again = SAEfeatureAnalyzer(examples.hooked(tiny_study), results=folder, text=text)
    measured = again.rank_for_steering(FEATURES)
    assert "made from other weights" in caplog.text
    assert not np.isin(measured["kl"], made["kl"]).any()


def test_nothing_of_the_model_or_the_sae_is_changed(tiny_study, text):
    made = examples.analyzer(tiny_study, text=text)
    tokens = torch.arange(1, 9)[None]
    with torch.no_grad():
        before = made.sae_model(tokens)
        made.rank_for_steering(FEATURES)
        torch.testing.assert_close(made.sae_model(tokens), before, rtol=0, atol=0)


def test_wrong_arguments_are_one_line(tiny_study, text, tmp_path, monkeypatch):
    made = examples.analyzer(tiny_study, text=text)
    with pytest.raises(FsrlError, match="by is 'type'; choose one of output_score"):
        made.rank_for_steering(by="type")
    with pytest.raises(FsrlError, match="top_k is 0"):
        made.rank_for_steering(top_k=0)
    with pytest.raises(FsrlError, match="no feature 99"):
        made.rank_for_steering([99])
    monkeypatch.setattr(made._text, "path", None)
    with pytest.raises(FsrlError, match="none is at hand; give text="):
        made.rank_for_steering(FEATURES)
