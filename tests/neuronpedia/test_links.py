"""Source ids against all of SAELens' directory, and links taken apart again by a URL parser."""

import json
from types import SimpleNamespace
from urllib.parse import parse_qs, parse_qsl, urlsplit

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fsrl import neuronpedia
from fsrl.errors import FsrlError
from fsrl.models import releases
from fsrl.neuronpedia.links import EMBED_PARTS

RES_JB = "gpt2-small-res-jb"
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True)


@pytest.fixture(autouse=True)
def public_site(monkeypatch):
    monkeypatch.delenv("NEURONPEDIA_URL")


def test_res_jb_has_13_sources_and_the_last_is_no_layer_12():
    for layer in range(12):
        found = neuronpedia.source_id(f"blocks.{layer}.hook_resid_pre", RES_JB)
        assert found == ("gpt2-small", f"{layer}-res-jb")
    assert neuronpedia.source_id("blocks.11.hook_resid_post", RES_JB) == ("gpt2-small", "12-res-jb")


def test_every_third_release_agrees_with_the_whole_directory():
    text, places = releases._directory()
    directory = yaml.load(text, Loader=yaml.CSafeLoader)
    assert len(directory) > 100 and places.keys() == directory.keys()
    for release in sorted(directory)[::3]:
        for sae in directory[release]["saes"]:
            found = neuronpedia.source_id(sae["id"], release)
            assert (None if found is None else "/".join(found)) == sae.get("neuronpedia")


@pytest.mark.parametrize("kind", [dict, lambda content: SimpleNamespace(**content)])
def test_metadata_tells_its_own_source(kind):
    assert neuronpedia.source_id(kind({"neuronpedia_id": "gpt2-small/12-res-jb"})) == (
        "gpt2-small",
        "12-res-jb",
    )
    assert (
        neuronpedia.source_id(kind({"neuronpedia_id": None, "hook_name": "blocks.1.hook_resid_pre"})) is None
    )


def test_what_is_not_hosted_has_no_source():
    assert neuronpedia.source_id("blocks.1.hook_resid_pre") is None
    assert neuronpedia.source_id("blocks.1.hook_resid_pre", "somebody/some-saes") is None


@pytest.mark.parametrize(
    ("sae", "release", "message"),
    [
        ("blocks.1.hook_resid_pre", "gpt2-small-res-jc", "did you mean 'gpt2-small-res-jb'"),
        ("blocks.12.hook_resid_pre", RES_JB, "unknown SAE 'blocks.12.hook_resid_pre'"),
        ({"neuronpedia_id": "gpt2-small"}, None, "'' cannot be a source"),
        ({"neuronpedia_id": "gpt2-small/../../x"}, None, "'../../x' cannot be a source"),
    ],
)
def test_an_unknown_sae_is_refused_by_name(sae, release, message):
    with pytest.raises(FsrlError, match=message):
        neuronpedia.source_id(sae, release)


def test_a_feature_has_the_documented_address(monkeypatch):
    assert (
        neuronpedia.feature_url("gpt2-small", "7-res-jb", 5)
        == "https://neuronpedia.org/gpt2-small/7-res-jb/5"
    )
    index = np.int64(5)
    assert neuronpedia.feature_url("gpt2-small", "7-res-jb", index).endswith("/5")
    own = neuronpedia.feature_url("m", "1-s", 0, site="http://127.0.0.1:3000/")
    assert own == "http://127.0.0.1:3000/m/1-s/0"
    monkeypatch.setenv("NEURONPEDIA_URL", "https://mine.example")
    assert neuronpedia.feature_url("m", "1-s", 0) == "https://mine.example/m/1-s/0"


def test_no_link_is_built_from_a_hook_name():
    for hook in ("blocks.7.hook_resid_pre", "blocks.7.attn.hook_z", "hook_embed", "blocks.7.mlp"):
        for build in (neuronpedia.feature_url, neuronpedia.embed_url):
            with pytest.raises(FsrlError, match="is a hook name and no source"):
                build("gpt2-small", hook, 0)
        with pytest.raises(FsrlError, match="is a hook name and no source"):
            neuronpedia.quick_list_url("name", [("gpt2-small", hook, 0)])


@pytest.mark.parametrize("index", [-1, 1.0, "7", True, None])
def test_an_index_is_a_whole_number(index):
    with pytest.raises(FsrlError, match="is no index of a feature"):
        neuronpedia.feature_url("gpt2-small", "7-res-jb", index)


@given(NAMES, NAMES, st.integers(0, 10**6), st.sets(st.sampled_from(EMBED_PARTS)), st.none() | st.text())
def test_an_embedded_dashboard_shows_what_was_asked_for(model, source, index, hide, text):
    address = urlsplit(neuronpedia.embed_url(model, source, index, hide=hide, test_text=text))
    assert (address.scheme, address.netloc, address.fragment) == ("https", "neuronpedia.org", "")
    assert address.path == f"/{model}/{source}/{index}"
    expected = {"embed": "true", **{f"embed{part}": "false" for part in hide}}
    if text is not None:
        expected["defaulttesttext"] = text
    assert dict(parse_qsl(address.query, keep_blank_values=True)) == expected


@pytest.mark.parametrize("hide", ["plots", ["plot"], ["height"]])
def test_an_unknown_part_of_the_dashboard_is_refused(hide):
    with pytest.raises(FsrlError, match="explanation, plots, activations, test, testfield, steer, link"):
        neuronpedia.embed_url("gpt2-small", "7-res-jb", 0, hide=hide)


@given(st.text(), st.lists(st.tuples(NAMES, NAMES, st.integers(0, 10**6)), min_size=1, max_size=150))
def test_a_quick_list_reads_back_as_it_was_given(name, features):
    address = urlsplit(neuronpedia.quick_list_url(name, features))
    assert (address.netloc, address.path) == ("neuronpedia.org", "/quick-list/")
    query = parse_qs(address.query, keep_blank_values=True)
    assert query.keys() == {"name", "features"} and query["name"] == [name]
    listed = json.loads(query["features"][0])
    assert listed == [{"modelId": m, "layer": s, "index": str(i)} for m, s, i in features]


@pytest.mark.parametrize("count", [0, 151])
def test_a_quick_list_that_the_site_would_not_show_is_refused(count):
    with pytest.raises(FsrlError, match=f"a quick list of {count} features"):
        neuronpedia.quick_list_url("name", [("gpt2-small", "7-res-jb", index) for index in range(count)])


@pytest.mark.parametrize(
    "address",
    [
        "neuronpedia.org",
        "ftp://a.example",
        "https://user:secret@a.example",
        "https://a.example/?k=secret",
        "https://[",
    ],
)
def test_a_base_address_that_is_none_is_refused_without_showing_it(address, monkeypatch):
    monkeypatch.setenv("NEURONPEDIA_URL", address)
    with pytest.raises(FsrlError, match="NEURONPEDIA_URL") as caught:
        neuronpedia.feature_url("gpt2-small", "7-res-jb", 0)
    assert "secret" not in str(caught.value)
