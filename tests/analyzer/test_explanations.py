"""The feature analyzer with Neuronpedia: explanations, live pages, lists, and where it has none."""

import json
import logging
from urllib.parse import parse_qs, urlsplit

import pytest

from fsrl.adapter.adapter import SAEAdapter
from fsrl.analyzer.explanations import FeatureInfo, MissingExplanation
from fsrl.analyzer.pages import LocalPage
from fsrl.errors import FsrlError
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures import analyzer_examples as examples
from tests.fixtures import tiny_study as tiny
from tests.neuronpedia import rows
from tests.neuronpedia.conftest import KEY, api, bucket, environment, key  # noqa: F401

PLACE = f"{rows.MODEL}/{rows.SOURCE}"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def sae_model(tiny_study):
    return examples.hooked(tiny_study)


@pytest.fixture
def hosted(sae_model, tmp_path):
    """An analyzer of an SAE that Neuronpedia is said to host."""
    return SAEfeatureAnalyzer(
        sae_model, neuronpedia=PLACE, cache=tmp_path / "cache", progress=False, **examples.FEW
    )


def explained(bucket):  # noqa: F811
    """Explanations of features 0 (two of them), 1 and 30."""
    second = rows.explanation(0, "another", row_id="second", explanationModelName="someone")
    given = [rows.explanation(0, "first"), second, rows.explanation(1, SCRIPT), rows.explanation(30)]
    return rows.fill(bucket, "explanations", given)


def test_nobody_is_asked_until_something_is_asked_for(hosted, bucket, api):  # noqa: F811
    explained(bucket)
    repr(hosted)
    hosted.logit_distr()
    hosted.quick_list([0])
    assert not bucket.requests and not api.requests
    assert hosted.feature_info[0]["description"] == "first"
    asked = len(bucket.requests)
    assert hosted.feature_info[30]["description"] == "words about 30"
    assert asked == len(bucket.requests) == 2 and not api.requests


def test_a_feature_has_its_first_explanation_and_all_of_them(hosted, bucket):  # noqa: F811
    explained(bucket)
    info = hosted.feature_info
    assert info[0]["description"] == "first"
    assert [row["description"] for row in info.every(0)] == ["first", "another"]
    assert list(info) == [0, 1, 30] and len(info) == 3 and 2 not in info
    assert str(info.coverage) == f"3 of {tiny.D_SAE} features"
    assert info.missing == [i for i in range(tiny.D_SAE) if i not in (0, 1, 30)]
    assert f"{PLACE}, exported 2026" in repr(info)
    for absent, said in (
        (2, f"feature 2 has no explanation (3 of {tiny.D_SAE} features do"),
        (99, "0 to 39"),
    ):
        with pytest.raises(KeyError) as raised:
            info[absent]
        assert isinstance(raised.value, MissingExplanation) and said in str(raised.value)
        assert info.get(absent) is None


def test_without_network_the_explanations_say_what_else_there_is(hosted, sae_model):
    with pytest.raises(FsrlError, match="cannot be read") as raised:
        hosted.feature_info  # noqa: B018
    assert 'explanations="local"' in str(raised.value) and "\n" not in str(raised.value)
    local = SAEfeatureAnalyzer(sae_model, neuronpedia=PLACE, explanations="local", **examples.FEW)
    assert "made here" in repr(local.feature_info) and len(local.feature_info) == tiny.D_SAE


def test_an_export_of_a_wider_sae_is_refused(hosted, bucket):  # noqa: F811
    rows.fill(bucket, "explanations", [rows.explanation(tiny.D_SAE)])
    with pytest.raises(FsrlError, match=f"feature {tiny.D_SAE} of an SAE with {tiny.D_SAE}"):
        hosted.feature_info  # noqa: B018


def test_where_an_sae_is_at_neuronpedia(tiny_study, sae_model):
    def place(release, sae_id, named=None, given=None):
        adapter = sae_model.sae_adapter
        adapter.cfg.metadata.neuronpedia_id = named
        kept, adapter.identity = (
            adapter.identity,
            adapter.identity.__class__(**{**vars(adapter.identity), "release": release, "sae_id": sae_id}),
        )
        there, adapter.place = adapter.place, release
        try:
            return SAEfeatureAnalyzer(sae_model, neuronpedia=given).place
        finally:
            adapter.place = there
            adapter.identity, adapter.cfg.metadata.neuronpedia_id = kept, None

    hook = "blocks.11.hook_resid_post"
    assert place("gpt2-small-res-jb", hook) == ("gpt2-small", "12-res-jb")  # and no source computed from it
    assert place("gpt2-small-res-jb", hook, named="gpt2-small/9-other") == ("gpt2-small", "9-other")
    assert place("gpt2-small-res-jb", hook, given="gemma/1-x") == ("gemma", "1-x")
    assert place("gpt2-small-res-jb", hook, given=False) is None
    assert place(str(tiny_study / "saes"), examples.HOOK) is None
    assert place("saes", examples.HOOK) is None  # a folder of the working directory
    assert place("somebody/repository", "sae") is None
    assert place(None, None) is None
    assert isinstance(sae_model.sae_adapter, SAEAdapter)


def test_the_live_page_is_the_source_s_with_the_documented_parameters(hosted, api, caplog):  # noqa: F811
    api.features[rows.MODEL, rows.SOURCE, "3"] = rows.feature(3)
    with caplog.at_level(logging.INFO, logger="fsrl"):
        page = hosted.get_feature_page(3, hide=["steer", "test"], test_text="a & b", height=300)
    address, query = page.src.split("?")
    assert address == f"{api.url}/{PLACE}/3" and "hook" not in address
    assert parse_qs(query) == {
        "embed": ["true"],
        "embedtest": ["false"],
        "embedsteer": ["false"],
        "defaulttesttext": ["a & b"],
    }
    assert 'height="300"' in page._repr_html_() and f"the live page {api.url}" in caplog.text
    assert api.paths == [f"/api/feature/{PLACE}/3"]
    hosted.get_feature_page(4, live=True)  # whoever says so is not asked again
    assert len(api.requests) == 1


def test_a_page_is_made_here_where_neuronpedia_has_none_and_says_why(hosted, api, bucket, caplog):  # noqa: F811
    with caplog.at_level(logging.INFO, logger="fsrl"):
        page = hosted.get_feature_page(1)
    assert isinstance(page, LocalPage) and "no such feature" in page.why and page.why in caplog.text
    assert "answered 404" in page.html and "feature_info fetches them" in page.html
    assert not bucket.requests
    api.close()
    page = hosted.get_feature_page(1)
    assert isinstance(page, LocalPage) and "cannot be read" in page.html


def test_explanations_on_a_local_page_are_text_and_come_from_the_cache(hosted, sae_model, bucket, tmp_path):  # noqa: F811
    explained(bucket)
    hosted.feature_info[0]
    page = hosted.get_feature_page(1, live=False).html
    assert SCRIPT not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\\u003cscript>alert(1)\\u003c/script>" in page
    assert "has no explanation; 3 of 40" in hosted.get_feature_page(2, live=False).html
    bucket.close()
    again = SAEfeatureAnalyzer(sae_model, neuronpedia=PLACE, cache=tmp_path / "cache", **examples.FEW)
    both = again.get_feature_page(0, live=False).html
    assert "first" in both and "another" in both and "someone" in both
    assert isinstance(again.feature_info, FeatureInfo)


def test_a_saved_page_is_a_local_one(hosted, api, tmp_path):  # noqa: F811
    assert isinstance(hosted.get_feature_page(0, save_path=tmp_path / "page.html"), LocalPage)
    assert not api.requests
    with pytest.raises(FsrlError, match="leave live out"):
        hosted.get_feature_page(0, live=True, save_path=tmp_path / "page.html")


def test_a_quick_list_is_a_link_to_at_most_150_features(hosted, sae_model):
    link = hosted.quick_list([3, 0, 39], name='three "features"')
    query = parse_qs(urlsplit(link).query)
    assert query["name"] == ['three "features"'] and isinstance(link, str)
    assert json.loads(query["features"][0]) == [
        {"modelId": rows.MODEL, "layer": rows.SOURCE, "index": str(index)} for index in (3, 0, 39)
    ]
    assert link._repr_html_().count("<") == 2 and "three &quot;features&quot;" in link._repr_html_()
    assert len(parse_qs(urlsplit(hosted.quick_list(i % 40 for i in range(150))).query)["features"]) == 1
    for refused in ([], [0] * 151):
        with pytest.raises(FsrlError, match="1 to 150"):
            hosted.quick_list(refused)
    with pytest.raises(FsrlError, match="no feature 40"):
        hosted.quick_list([40])
    with pytest.raises(FsrlError, match="is not at Neuronpedia"):
        SAEfeatureAnalyzer(sae_model).quick_list([0])


def test_the_live_page_of_an_sae_that_is_not_hosted_is_refused(sae_model):
    with pytest.raises(FsrlError, match="is not at Neuronpedia"):
        SAEfeatureAnalyzer(sae_model).get_feature_page(0, live=True)


def test_the_key_is_in_nothing_that_is_shown(hosted, bucket, api, key, caplog, tmp_path):  # noqa: F811
    """Not even where the server repeats it."""
    explained(bucket)
    api.features[rows.MODEL, rows.SOURCE, "0"] = rows.feature(0)
    api.fault("answer", "*/5", answer=api_error(f"no key {KEY} for you"))
    shown = []
    with caplog.at_level(logging.DEBUG):
        for feature in (0, 5):
            page = hosted.get_feature_page(feature)
            shown += [repr(page), page._repr_html_()]
        hosted.get_feature_page(1, save_path=tmp_path / "page.html")
    link = hosted.quick_list([0])
    shown += [repr(hosted), repr(hosted.feature_info), link, link._repr_html_(), caplog.text]
    shown += [repr(vars(hosted)), (tmp_path / "page.html").read_text()]
    assert [request.key for request in api.requests] == [KEY, KEY]
    assert not [request for request in bucket.requests if request.key]
    assert KEY not in "".join(shown) and "for you" in "".join(shown)


def api_error(words):
    from tests.neuronpedia.servers import Answer

    return Answer.of(403, {"error": words})
