"""Types are the workflow's where its tables are of these very weights, and of no others."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl import defaults
from fsrl.browser import beside
from fsrl.enrichment.frames import enrichment_frame
from fsrl.errors import FsrlError
from fsrl.moments import frames as moment_frames
from fsrl.names import BOUNDING
from fsrl.nulls import frames as null_frames
from fsrl.tables import core as tables
from fsrl.tables.directions import NULL_SHAPES
from fsrl.tables.enrichment import BEST_SETS, ENRICHMENT, SCORES
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS, NULL
from fsrl.tables.types import TYPES
from fsrl.utils import SAEfeatureAnalyzer
from fsrl.weights.matrices import W_DEC_HASH
from tests.fixtures import analyzer_examples as examples
from tests.fixtures import built_results
from tests.fixtures import tiny_study as tiny

VIEWS = {
    "seen": defaults.VIEW,  # a view's name is its config's affair
    "every": {"w_u": "folded", "tokens": "all", "cosine": False},
}


@pytest.fixture(scope="module")
def results(tiny_study, tmp_path_factory):
    """Types there are marked: nobody who computes them would say that every feature is a partition."""
    folder = tmp_path_factory.mktemp("built") / "results"
    study = built_results.write(tiny_study, folder, VIEWS)
    for path in study.glob("*/*/types.parquet"):
        frame, metadata = tables.read(path, TYPES), tables.read_metadata(path)
        frame.loc[frame["scheme"] == defaults.SCHEME, "type"] = "partition"
        frame = frame.sample(frac=1, random_state=0)  # rows in an order of their own
        tables.write(frame, path, TYPES, metadata)
    return folder


@pytest.fixture
def no_draws(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("null directions were drawn")

    monkeypatch.setattr(null_frames, "of_directions", refuse)


def analyzer(study, results, form="bridge", **settings):
    return SAEfeatureAnalyzer(examples.hooked(study, form), results=results, **settings)


def are_the_workflow_s(found, **view):
    return bool((found.types(**view)["type"] == "partition").all())


@pytest.mark.parametrize("form", ["bridge", "raw bridge", "transformer"])
def test_types_are_read_whatever_the_model_s_processing(tiny_study, results, no_draws, form):
    found = analyzer(tiny_study, results, form)
    assert are_the_workflow_s(found) and are_the_workflow_s(found, tokens="all")
    assert found.types()["feature"].tolist() == list(range(tiny.D_SAE))
    kinds = ["isotropic", "spectrum"]
    parts = [results / "models/tiny/nulls/seen.parquet", results / f"tiny/{examples.HOOK}/seen/null.parquet"]
    expected = pd.concat([tables.read(path, NULL) for path in parts], ignore_index=True)
    expected = expected[expected["kind"].isin(kinds)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.tables.null(found.view), expected)
    page = found.get_feature_page(0).html
    assert f"workflow's tables in results/tiny/{examples.HOOK}/seen" in page
    found.plot_logit_distr_skewness_vs_kurtosis()
    # What a processed model does not hold, the study's W_U does.
    assert not np.allclose(found.logit_distr()["mean"], 0) and len(found.logit_distr(w_u="raw"))


def test_results_of_the_working_directory_are_found_as_it_was(tiny_study, results, tmp_path, monkeypatch):
    monkeypatch.chdir(results.parent)
    found = analyzer(tiny_study, None)
    refusing, study = analyzer(tiny_study, False), analyzer(tiny_study, "results/tiny")
    monkeypatch.chdir(tmp_path)
    assert are_the_workflow_s(found) and are_the_workflow_s(study)
    assert not are_the_workflow_s(refusing) and not are_the_workflow_s(analyzer(tiny_study, None))


def test_a_view_that_is_not_built_is_computed(tiny_study, results):
    found = analyzer(tiny_study, results)
    assert not are_the_workflow_s(found, cosine=True) and are_the_workflow_s(found)
    page = found.get_feature_page(0, cosine=True).html
    assert "computed here beside 100,000 isotropic and 20,000 spectrum null directions" in page


@pytest.mark.parametrize("settings", [{"seed": 1}, {"null_draws": 3000}, {"layer_draws": 3000}])
def test_other_null_directions_than_the_workflow_s_are_drawn(tiny_study, results, settings):
    found = analyzer(tiny_study, results, **settings)
    assert not are_the_workflow_s(found)
    assert "not the workflow's numbers and seed" in found.get_feature_page(0).html


def another_row(sae_model):
    sae_model.sae_adapter.W_dec[3] *= 1.001


def another_token(sae_model):
    sae_model.model.unembed.W_U[3, 7] += 0.01


@pytest.mark.parametrize(
    ("change", "said"), [(another_row, "decoder's rows are not"), (another_token, "W_U is not")]
)
def test_of_other_weights_no_type_is_read(tiny_study, results, monkeypatch, caplog, change, said):
    sae_model = examples.hooked(tiny_study, "transformer")
    with torch.no_grad():
        change(sae_model)
    monkeypatch.chdir(results.parent)
    found = SAEfeatureAnalyzer(sae_model)
    assert not are_the_workflow_s(found)
    assert caplog.text.count(said) == 1 and "not read from the workflow's tables" in caplog.text
    caplog.clear()
    with pytest.raises(FsrlError, match=f"{said}.*leave results out"):
        SAEfeatureAnalyzer(sae_model, results="results").types()
    assert "all tokens are shown" not in caplog.text


def test_other_trained_tokens_are_another_view(tiny_study, tmp_path, caplog):
    folder = built_results.write(tiny_study, tmp_path / "results", {"seen": defaults.VIEW}, min_count=5)
    found = analyzer(tiny_study, False)
    with pytest.raises(FsrlError, match="other tokens count as undertrained"):
        analyzer(tiny_study, folder).types()
    assert len(found.types()) == tiny.D_SAE


@pytest.mark.parametrize("name", ["types.parquet", "null.parquet"])
def test_tables_left_from_other_weights_are_not_read(tiny_study, results, tmp_path, caplog, name):
    """A study whose weights were exported anew, and its tables not made again."""
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    path = copy / f"tiny/{examples.HOOK}/seen/{name}"
    table = {"types.parquet": TYPES, "null.parquet": NULL}[name]
    metadata = tables.read_metadata(path) | {"W_dec_sha256": "0" * 64}
    tables.write(tables.read(path, table), path, table, metadata)
    found = analyzer(tiny_study, copy)
    assert not are_the_workflow_s(found) and are_the_workflow_s(found, tokens="all")
    assert f"{name}: made from other weights" in caplog.text
    path.write_bytes(b"half of it")
    assert not are_the_workflow_s(analyzer(tiny_study, copy))
    assert "not a readable parquet file" in caplog.text


def test_token_sets_are_read_with_the_study_s_false_discovery_rate(tiny_study, results, tmp_path, caplog):
    shutil.copytree(results, tmp_path / "results")
    place = tmp_path / f"results/tiny/{examples.HOOK}/seen"
    metadata = tables.read_metadata(place / "types.parquet")
    alone = analyzer(tiny_study, results)
    made = alone.tables.enrichment(alone.view)
    # No SAE alone has such a rate.
    best = made.best.assign(promoted_log10_q=np.float32(-7), n_promoted=np.int32(2))
    best.insert(1, "cluster", np.arange(len(best), dtype=np.int32))
    tables.write(
        enrichment_frame(made.statistics, made.sets), place / "enrichment.parquet", ENRICHMENT, metadata
    )
    tables.write(best, place / "best_sets.parquet", BEST_SETS, metadata)

    found = analyzer(tiny_study, tmp_path / "results")
    rows = found.tables.rows_of(found.view, 3).sets
    promoted = [one for one in rows if one.side == "promoted"]
    assert promoted[0].set == best["promoted"][3] and [one.significant for one in promoted] == [True, True]
    assert promoted[0].log10_q == -7 and np.isnan(promoted[1].log10_q)
    assert rows[0].auc is None
    for one in rows:
        assert one.t == made.statistics.t[3, made.sets.index(one.set)].item()
    scores = pd.DataFrame({"feature": [3], "set": [promoted[0].set], "auc": [0.75], "es": [0.5]})
    scores = scores.astype({"feature": "int32", "auc": "float32", "es": "float32"})
    tables.write(scores, place / "scores.parquet", SCORES, metadata)
    scored = analyzer(tiny_study, tmp_path / "results")
    assert scored.tables.rows_of(scored.view, 3).sets[0][-2:] == (0.75, 0.5)
    assert "is over all layers of the study" in found.get_feature_page(3).html
    assert "is that of this SAE alone" in alone.get_feature_page(3).html
    # Sets of one's own are in no table of the workflow's.
    own = analyzer(tiny_study, tmp_path / "results", token_sets={"mine": {"regex": "[a-m]"}})
    assert "mine" in own.tables.enrichment(own.view).sets
    # Nor are sets of other weights read.
    tables.write(best, place / "best_sets.parquet", BEST_SETS, metadata | {W_DEC_HASH: "another"})
    again = analyzer(tiny_study, tmp_path / "results")
    assert "is that of this SAE alone" in again.get_feature_page(3).html
    assert "best_sets.parquet: made from other weights" in caplog.text


def test_what_a_page_shows_is_read_where_it_is_of_these_weights(tiny_study, results, tmp_path):
    shutil.copytree(results, tmp_path / "results")
    place = tmp_path / f"results/tiny/{examples.HOOK}/seen"
    metadata = tables.read_metadata(place / "types.parquet")
    alone = analyzer(tiny_study, results)
    made = alone.tables.frame(alone.view)
    tables.write(made.assign(kurtosis=123.0), place / "moments.parquet", MOMENTS, metadata)
    extremes = alone.tables.extremes(alone.view, list(range(tiny.D_SAE)))
    tables.write(extremes, place / "extremes.parquet", EXTREMES, metadata)
    histograms = moment_frames.histogram_frame(alone.tables.moments(alone.view))
    tables.write(histograms, place / "histograms.parquet", HISTOGRAMS, metadata)
    found = analyzer(tiny_study, tmp_path / "results")
    rows, computed = (one.tables.rows_of(one.view, 3) for one in (found, alone))
    assert rows.moments["kurtosis"] == 123 and rows.moments["std"] == computed.moments["std"]
    assert rows.histogram["counts"].tolist() == computed.histogram["counts"].tolist()
    assert rows.extremes["token"].tolist() == computed.extremes["token"].tolist()
    tables.write(made, place / "moments.parquet", MOMENTS, metadata | {W_DEC_HASH: "another"})
    again = analyzer(tiny_study, tmp_path / "results")
    assert again.tables.rows_of(again.view, 3).moments["kurtosis"] == made["kurtosis"][3]


def test_an_sae_of_another_hook_or_model_is_none_of_these(tiny_study, results, caplog):
    other = examples.hooked_at(tiny_study, "blocks.1.hook_resid_mid", tiny.D_MODEL)
    with pytest.raises(FsrlError, match="no SAE at this hook"):
        SAEfeatureAnalyzer(other, results=results).types()
    assert "not read from" not in caplog.text


def test_types_computed_are_those_of_the_tables(tiny_study, tmp_path):
    """The same settings give the same types, with tables and without."""
    draws = {"null_draws": 2000, "layer_draws": 2000}
    folder = built_results.write(tiny_study, tmp_path, VIEWS, draws=2000)
    for sae_id in tiny.SAE_IDS:
        found = SAEfeatureAnalyzer(examples.hooked(tiny_study, sae_id=sae_id), results=False, **draws)
        for name, view in VIEWS.items():
            read = tables.read(folder / sae_id / name / "types.parquet", TYPES)
            read = read[read["scheme"] == defaults.SCHEME].reset_index(drop=True)
            pd.testing.assert_frame_equal(found.types(**view), read, rtol=1e-4)


def test_ranks_and_the_null_s_shape_are_those_of_the_view(tiny_study, results, tmp_path):
    """Read where the workflow has counted it, else counted here as it does."""
    shutil.copytree(results, tmp_path / "results")
    place = tmp_path / f"results/tiny/{examples.HOOK}/seen"
    alone = analyzer(tiny_study, results)
    rows = alone.tables.rows_of(alone.view, 3)
    counted = beside.null_shapes(alone.tables.view(alone.view), n_bins=50, seed=defaults.NULL_SEED)
    assert rows.shapes == {
        one.kind: [one.underflow, one.counts.tolist(), one.overflow] for one in counted.itertuples()
    }
    null = alone.tables.null(alone.view)
    for name, shares in rows.ranks.items():
        for kind, share in zip(BOUNDING, shares, strict=True):
            drawn, own = null[null["kind"] == kind], rows.moments
            over = (drawn["norm"], own["norm"]) if name in ("mean", "std") else (1, 1)
            below = (drawn[name] / over[0] < own[name] / over[1]).mean()
            assert share == pytest.approx(below, abs=1e-3), (name, kind)
    metadata = tables.read_metadata(place / "types.parquet")
    marked = counted.assign(underflow=np.int64(7))
    tables.write(marked, place / "null_shapes.parquet", NULL_SHAPES, metadata)
    found = analyzer(tiny_study, tmp_path / "results")
    assert [one[0] for one in found.tables.rows_of(found.view, 3).shapes.values()] == [7, 7]
    tables.write(marked, place / "null_shapes.parquet", NULL_SHAPES, metadata | {W_DEC_HASH: "another"})
    again = analyzer(tiny_study, tmp_path / "results")
    assert again.tables.rows_of(again.view, 3).shapes == rows.shapes
