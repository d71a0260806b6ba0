"""What a page and a name mean in another view, another working directory, and where nothing is."""

from html import escape

import pandas as pd
import pytest
import torch

from fsrl import defaults
from fsrl.adapter.adapter import SAEAdapter
from fsrl.adapter.hooked_model import HookedModel
from fsrl.analyzer import analyzer
from fsrl.analyzer import tables as analyzer_tables
from fsrl.analyzer.kept import Kept
from fsrl.errors import FsrlError
from fsrl.models import reading
from fsrl.moments import engine
from fsrl.nulls import frames as null_frames
from fsrl.pages.text import plain
from fsrl.utils import SAEfeatureAnalyzer
from fsrl.weights import transport
from tests.fixtures import analyzer_examples as examples
from tests.fixtures import built_results
from tests.fixtures import tiny_study as tiny


def test_a_folder_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FsrlError, match="no such folder"):
        SAEAdapter.from_pretrained("data/mini/saes", "x")
    with pytest.raises(FsrlError, match="no such folder"):
        reading.load_model("data/of/mini")


def test_a_change_of_the_working_directory_changes_nothing(tiny_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_study)
    sae, _, density = SAEAdapter.from_pretrained("saes", tiny.SAE_IDS[0])
    sae_model = HookedModel(reading.load_model("."), sae)
    monkeypatch.chdir(tmp_path)
    found = SAEfeatureAnalyzer(sae_model, **examples.FEW)
    assert found.logit_distr()["log10_density"].tolist() == pytest.approx(density.tolist())
    assert "evaluation_text.txt" in found.get_feature_page(0).html
    assert found.tables.weights.unembedding.counts is not None


def test_a_page_explains_the_view_that_it_shows(tiny_study):
    found, other = examples.analyzer(tiny_study), examples.analyzer(tiny_study, tokens="trained")
    differ = [i for i in range(tiny.D_SAE) if found.feature_info[i] != other.feature_info[i]]
    assert differ
    page = found.get_feature_page(differ[0], tokens="trained").html
    assert escape(plain(other.feature_info[differ[0]]["description"])) in page
    page = found.get_feature_page(0, cosine=True).html
    assert "logit per unit" not in page and '"unit":"cosine"' in page
    figure = found.plot_logit_distr_skewness_vs_kurtosis(cosine=True)
    assert [ax.get_ylabel() for ax in figure.axes][1] == "std (cosine)"


@pytest.fixture
def drawn(monkeypatch):
    """Names of the kinds of null whose moments are computed."""
    monkeypatch.setattr(analyzer_tables, "NULLS", Kept(rows=1_000_000))
    found, real = [], null_frames.of_directions

    def of_directions(kind, *given, **settings):
        found.append(kind)
        return real(kind, *given, **settings)

    monkeypatch.setattr(null_frames, "of_directions", of_directions)
    return found


def test_nulls_are_drawn_once_a_model_and_once_a_layer(tiny_study, drawn):
    def null(**settings):
        found = SAEfeatureAnalyzer(sae_model, **(examples.FEW | settings))
        return found.tables.null(found.view)

    own = ["spectrum"]
    sae_model = examples.hooked(tiny_study)
    first = null()
    assert drawn == ["isotropic", *own]
    pd.testing.assert_frame_equal(null(), first)
    sae_model = examples.hooked(tiny_study)  # read anew: the same weights
    pd.testing.assert_frame_equal(null(), first)
    assert drawn == ["isotropic", *own]
    sae_model = examples.hooked(tiny_study, sae_id=tiny.SAE_IDS[1])
    other = null()
    assert drawn == ["isotropic", *own, *own]
    is_shared = first["kind"] == "isotropic"
    pd.testing.assert_frame_equal(other[is_shared], first[is_shared])
    assert not other[~is_shared]["std"].equals(first[~is_shared]["std"])
    for change in ({"seed": 1}, {"null_draws": 100}, {"cosine": True}, {"tokens": "trained"}):
        null(**change)
        assert drawn[-2:] == ["isotropic", *own]
    drawn.clear()
    with torch.no_grad():
        sae_model.sae_adapter.W_dec.mul_(2)
    null()
    assert drawn == own


@pytest.mark.parametrize("progress", [True, False])
def test_bars_are_shown_for_moments_and_nulls_or_for_neither(tiny_study, monkeypatch, progress):
    monkeypatch.setattr(analyzer_tables, "NULLS", Kept(rows=0))
    shown = []

    def noting(steps, label, *, show, **settings):
        shown.append((label.split(" of tokens")[0], show))
        return steps

    monkeypatch.setattr(engine, "bar", noting)
    found = SAEfeatureAnalyzer(examples.hooked(tiny_study), progress=progress, **examples.FEW)
    found.plot_logit_distr_skewness()
    found.types()
    labels = ["moments", "null directions (isotropic)", "null directions (spectrum)"]
    labels = labels if progress else ["moments"]
    assert set(shown) == {(label, progress) for label in labels}


def test_a_view_with_transport_is_that_of_what_rows_become(tiny_study, tmp_path):
    T = torch.randn(1, tiny.D_MODEL, tiny.D_MODEL, generator=torch.Generator().manual_seed(3))
    transport.write(transport.Transport(T, (examples.HOOK,), {"sites": "8"}), tmp_path / "T.safetensors")
    given = {"transport_matrices": tmp_path / "T.safetensors"}
    found = examples.analyzer(tiny_study, **given)
    distribution = found.logit_distr(transport="same_position")
    rows, W_U = examples.rows(tiny_study), examples.folded(tiny_study)
    expected = examples.by_hand(rows @ T[0].double().T, W_U)
    for column, name in enumerate(("mean", "std", "skewness", "kurtosis")):
        if name != "mean":  # which a processed model has lost
            assert distribution[name][:-1].to_numpy() == pytest.approx(
                expected[:-1, column].numpy(), rel=1e-3, abs=1e-3
            )
    assert distribution["norm"].to_numpy() == pytest.approx(rows.norm(dim=1).numpy(), rel=1e-5)
    # Without it nothing changes, and as the default of an analyzer it is the same.
    direct = examples.analyzer(tiny_study).logit_distr()
    pd.testing.assert_frame_equal(found.logit_distr(), direct)
    own = examples.analyzer(tiny_study, transport="same_position", **given)
    pd.testing.assert_frame_equal(own.logit_distr(), distribution)
    assert "on average over 8 positions" in own.get_feature_page(0, live=False).html
    assert len(own.types()) == tiny.D_SAE


def test_a_view_by_its_name_is_the_workflow_s(tiny_study, tmp_path, caplog):
    """And the matrices of the study in results are found."""
    folder = built_results.write(tiny_study, tmp_path / "results", {"seen": defaults.VIEW})
    given = {"results": folder.parent, "tokens": analyzer.AUTO}
    path = folder / "transport.safetensors"
    T = torch.randn(1, tiny.D_MODEL, tiny.D_MODEL, generator=torch.Generator().manual_seed(3))
    transport.write(transport.Transport(T, (examples.HOOK,), {"sites": "8"}), path)
    found = examples.analyzer(tiny_study, **given)
    by_name = found.logit_distr(view="transported")
    told = {"tokens": "trained", "transport": "same_position", "transport_matrices": path}
    pd.testing.assert_frame_equal(by_name, examples.analyzer(tiny_study, **given | told).logit_distr())
    pd.testing.assert_frame_equal(
        by_name, examples.analyzer(tiny_study, view="transported", **given).logit_distr()
    )
    assert (by_name["std"] != found.logit_distr()["std"]).any()
    pd.testing.assert_frame_equal(found.logit_distr(view="main"), found.logit_distr(tokens="all"))
    assert str(found._seen({"view": "cosine", "tokens": "trained"})) == "folded W_U, trained tokens, cosines"
    path.write_bytes(b"no matrices")
    broken = examples.analyzer(tiny_study, **given)
    pd.testing.assert_frame_equal(broken.logit_distr(), found.logit_distr())
    assert "views with transport need others" in caplog.text


def test_a_view_that_there_is_not_or_that_is_named_twice_is_refused(tiny_study):
    for name in ("transport", 3, ["main"]):
        with pytest.raises(FsrlError, match="view is .*; choose one of main, trained, raw, cosine, tr"):
            examples.analyzer(tiny_study, tokens=analyzer.AUTO, view=name)
    with pytest.raises(FsrlError, match="view is 'main'; give it alone, or w_u, tokens"):
        examples.analyzer(tiny_study, tokens="all", view="main")
    with pytest.raises(FsrlError, match="choose one of main"):
        examples.analyzer(tiny_study).logit_distr(view="x")


def test_a_view_with_transport_needs_its_matrices(tiny_study):
    found = examples.analyzer(tiny_study)
    with pytest.raises(FsrlError, match="a view with transport needs the matrices .* transport_matrices="):
        found.logit_distr(transport="same_position")
    with pytest.raises(FsrlError, match="transport is 'x'; choose None or same_position"):
        found.logit_distr(transport="x")
    with pytest.raises(FsrlError, match="transport_matrices is 3; give an fsrl.weights.transport"):
        examples.analyzer(tiny_study, transport_matrices=3)
