"""What a page and a name mean in another view, another working directory, and where nothing is."""

from html import escape

import pytest

from fsrl.adapter.adapter import SAEAdapter
from fsrl.adapter.hooked_model import HookedModel
from fsrl.errors import FsrlError
from fsrl.models import reading
from fsrl.pages.text import plain
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures import analyzer_examples as examples
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
    page = page.replace("&#39;", "&#x27;").replace("&#34;", "&quot;")
    assert escape(plain(other.feature_info[differ[0]]["description"])) in page
    page = found.get_feature_page(0, cosine=True).html
    assert "logit per unit" not in page and "cosine)" in page
    figure = found.plot_logit_distr_skewness_vs_kurtosis(cosine=True)
    assert [ax.get_ylabel() for ax in figure.axes][1] == "std (cosine)"
