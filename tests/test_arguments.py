"""Wrong arguments of the public calls are refused in one line, by name, before any work."""

import json
import re
from functools import partial

import numpy as np
import pytest
import torch

from fsrl import arguments, neuronpedia
from fsrl.adapter.adapter import SAEAdapter
from fsrl.analyzer import pages as analyzer_pages
from fsrl.analyzer import steering as analyzer_steering
from fsrl.analyzer import tables as analyzer_tables
from fsrl.analyzer.pages import LocalPage
from fsrl.errors import FsrlError
from fsrl.models import reading, saes
from fsrl.neuronpedia import http as neuronpedia_http
from fsrl.utils import SAEfeatureAnalyzer
from tests.fixtures import analyzer_examples as examples
from tests.fixtures import tiny_study as tiny
from tests.fixtures.adapter_examples import D_SAE, make_sae
from tests.neuronpedia import rows

SOURCE = f"{rows.MODEL}/{rows.SOURCE}"


@pytest.fixture(scope="module")
def made(tiny_study):
    """An analyzer of an SAE that Neuronpedia is said to host; it is not asked."""
    return SAEfeatureAnalyzer(examples.hooked(tiny_study), neuronpedia=SOURCE, **examples.FEW)


def refused(call, said):
    with pytest.raises(FsrlError) as raised:
        call()
    assert re.search(said, str(raised.value)) and "\n" not in str(raised.value), str(raised.value)


SETTINGS = {
    "neuronpedia is True; give": {"neuronpedia": True},
    "explanations is 5; choose": {"explanations": 5},
    "text is 5; give the path": {"text": 5},
    r"text is 'a\\x00b'; give the path": {"text": "a\0b"},
    r"text is 'aa.*a\.\.\.; give the path": {"text": "a" * 300},
    "token_counts is 5; give the path": {"token_counts": 5},
    "unembedding is 5; give an": {"unembedding": 5},
    r"sparsity is ndarray of shape \[3\]; give a torch": {"sparsity": np.zeros(3)},
    "cache is 5; give the path": {"cache": 5},
    "progress is 'no'; choose True": {"progress": "no"},
    "w_u is 'fold'; choose folded or raw": {"w_u": "fold"},
    "tokens is None; choose all or trained": {"tokens": None},
    "cosine is 'yes'; choose False or True": {"cosine": "yes"},
    "precision is 'fp8'; choose one of fp64": {"precision": "fp8"},
    "null_draws is 'many'; give a whole": {"null_draws": "many"},
    "layer_draws is 0; give a whole": {"layer_draws": 0},
    "results is 5; give the path of a folder": {"results": 5},
    "results is 'no/such'; there is no such folder": {"results": "no/such"},
    "seed is -1; give a whole": {"seed": -1},
    "token_sets is {'a': 5}; give sets": {"token_sets": {"a": 5}},
    "unknown setting 'null_drws'; did you mean 'null_draws'.*known: precision": {"null_drws": 5},
}


@pytest.mark.parametrize("said", SETTINGS)
def test_an_analyzer_is_not_made_with_a_wrong_setting(made, said):
    refused(lambda: SAEfeatureAnalyzer(made.sae_model, **SETTINGS[said]), said)


CALLS = {
    "height is 'tall'; give a number of pixels": lambda made: made.get_feature_page(0, height="tall"),
    "width is 0; give a number": lambda made: made.get_feature_page(0, width=0),
    "live is 'no'; choose": lambda made: made.get_feature_page(0, live="no"),
    "hide=5: give a list": lambda made: made.get_feature_page(0, hide=5),
    "hide='steer': give a list": lambda made: made.get_feature_page(0, live=False, hide="steer"),
    "test_text is 5; give a text": lambda made: made.get_feature_page(0, test_text=5),
    "unknown setting 'hieght'": lambda made: made.get_feature_page(0, live=True, hieght=300),
    r"Tensor of shape \[2\] is no index": lambda made: made.get_feature_page(torch.ones(2)),
    r"^1\.5 is no index": lambda made: made.quick_list([0, 1.5]),
    "features is 5; give a list": lambda made: made.quick_list(5),
    r"features is Tensor of shape \[\]; give a list": lambda made: made.quick_list(torch.tensor(3)),
    r"features is ndarray of shape \[\]; give a list": lambda made: made.quick_list(np.array(3)),
    "name is 5; give a text": lambda made: made.quick_list([0], name=5),
    r"name is '\\ud800'; give a text": lambda made: made.quick_list([0], name="\ud800"),
    r"test_text is '\\ud800'; give a text": lambda made: made.get_feature_page(0, test_text="\ud800"),
    "page.doc: a feature page is written as .html": lambda made: made.get_feature_page(
        0, save_path="page.doc"
    ),
    "save_path is 5; give a path": lambda made: made.get_feature_page(0, save_path=5),
    "a.doc: a figure is written as .pdf or": lambda made: made.plot_logit_distr_skewness("a.doc"),
    "b.doc: a figure is written as .pdf or": lambda made: made.plot_logit_distr_kurtosis("b.doc"),
    "c.doc: a figure": lambda made: made.plot_logit_distr_skewness_vs_kurtosis(save_path="c.doc"),
    "save_path is 5; give a path that ends in .pdf": lambda made: made.plot_logit_distr_skewness(5),
    "d.doc: a figure": lambda made: made.plot_steered_features(torch.ones(tiny.D_SAE), save_path="d.doc"),
}


@pytest.mark.parametrize("said", CALLS)
def test_a_wrong_argument_costs_no_work(made, said, monkeypatch):
    def work(*_, **__):
        raise AssertionError("work before the arguments were checked")

    for name in ("_moments", "_null", "_enrichment"):
        monkeypatch.setattr(analyzer_tables.FeatureTables, name, work)
    monkeypatch.setattr(analyzer_steering, "rank", work)
    monkeypatch.setattr(analyzer_pages.neuronpedia, "feature", work)
    refused(lambda: CALLS[said](made), said)


@pytest.mark.parametrize("device", ["gpu", 5.5, "cuda:99", None])
def test_a_device_that_is_not_here_is_refused_before_anything_is_read(tiny_study, device):
    with pytest.raises(FsrlError, match=r"^SAE: device .*; give cpu, or a GPU") as raised:
        SAEAdapter.from_pretrained("no-such-release", tiny.SAE_IDS[0], device=device)
    assert str(device) in str(raised.value) and "\n" not in str(raised.value)
    refused(lambda: reading.load_model("no-such-folder", device=device), "^load_model: device .*; give cpu")
    assert arguments.device("cpu", "here") == torch.device("cpu")


def test_what_is_no_place_is_refused(tiny_study):
    refused(lambda: SAEAdapter.from_pretrained(5, "sae"), "release is 5; give a release or a folder")
    refused(lambda: SAEAdapter.from_pretrained(tiny_study / "saes", 5), "sae_id is 5; give")
    refused(lambda: reading.load_model(None), "place is None; give a folder or a name")
    adapter = SAEAdapter(make_sae())
    refused(lambda: adapter.save_adapter(5), "folder is 5; give the path")
    refused(lambda: adapter.load_from_pretrained_adapter(None), "folder is None; give the path")
    for call in (adapter.save_adapter, adapter.load_from_pretrained_adapter):
        refused(lambda call=call: call("a\0b"), r"folder is 'a\\x00b'; give the path")
        refused(lambda call=call: call("a" * 300), r"folder is 'aaa.*; give the path")
    refused(lambda: adapter.get_steering_vector([1.0]), r"x is \[1\.0\]; give a tensor")
    refused(lambda: adapter.encode(torch.tensor(1.0)), r"shape \[\], expected")
    for features in (torch.ones(3, 5), torch.tensor(1.0), [1.0] * D_SAE):
        refused(lambda features=features: adapter.decode(features), rf"features is .*\[\.\.\., {D_SAE}\]$")


def test_the_bar_of_the_moments_is_shown_if_wanted(made, monkeypatch):
    shown = []

    def noting(*_, progress, **__):
        shown.append(progress)

    monkeypatch.setattr(analyzer_tables.engine, "logit_moments", noting)
    for settings in ({"progress": False}, {"progress": True}, {}):
        found = SAEfeatureAnalyzer(made.sae_model, **settings)
        found.tables.moments(found.view)
    assert shown == [False, True, True]


SECTIONS = ["explanations", "histogram", "moments", "top", "bottom", "sets", "examples", "notes"]


@pytest.mark.parametrize(
    ("hide", "hidden"),
    [
        ([], []),
        (["explanation"], ["explanations"]),
        (["plots"], ["histogram", "moments", "top", "bottom"]),
        (["activations", "steer"], ["examples"]),
    ],
)
def test_a_local_page_hides_what_it_is_told_to(made, hide, hidden):
    html = made.get_feature_page(1, live=False, hide=hide).html
    assert all(f'"{name}":' in html for name in SECTIONS)  # their headings
    assert f'"hidden":{json.dumps(hidden, separators=(",", ":"))}' in html
    assert ("feature_info fetches them" in html) == ("explanation" not in hide)


def test_a_text_to_test_is_refused_or_left_out_aloud(made, monkeypatch):
    def absent(*_, **__):
        raise FsrlError("no answer")

    for asked in ({"live": False}, {"save_path": "page.html"}):
        call = {"test_text": "words", **asked}
        refused(lambda call=call: made.get_feature_page(1, **call), "runs no model; leave test_text out")
    monkeypatch.setattr(analyzer_pages.neuronpedia, "feature", absent)
    page = made.get_feature_page(1, test_text="words")
    assert isinstance(page, LocalPage) and "no answer (test_text is for" in page.html


def test_densities_are_not_read_again(made, monkeypatch):
    def again(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(saes, "densities", again)
    found = SAEfeatureAnalyzer(made.sae_model).logit_distr()["log10_density"]
    assert found.tolist() == pytest.approx(torch.linspace(-10, -1, tiny.D_SAE).tolist())


NUMBERS = [3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor([3])[0], np.array(3)]


@pytest.mark.parametrize("index", NUMBERS)
def test_a_feature_is_any_kind_of_whole_number_everywhere(made, index):
    assert arguments.feature(index, 4) == 3 and type(arguments.feature(index)) is int
    local = SAEfeatureAnalyzer(made.sae_model, **examples.FEW)
    assert local.feature_info[index] is local.feature_info[3] and index in local.feature_info
    assert "Feature 3 of" in made.get_feature_page(index, live=False).html
    assert made.quick_list([index]) == made.quick_list([3])
    assert neuronpedia.feature_url("m", "s", index).endswith("/m/s/3")


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("0", r"'0' is no index of a feature; give the number 0"),
        ("17", "give the number 17"),
        pytest.param("0" * 5000, "is no index of a feature; give a whole number", id="long text"),
        pytest.param(10**5000, "a too large int is no index of a feature", id="huge"),
        (torch.tensor(3, device="meta"), r"Tensor of shape \[\] is no index of a feature"),
        ("first", "'first' is no index of a feature; give a whole number"),
        (True, "True is no index"),
        (torch.tensor(True), "no index"),
        (np.bool_(True), "no index"),
        (1.0, r"1\.0 is no index"),
        (torch.tensor(1.0), "no index"),
        (-1, "-1 is no index"),
        (torch.tensor(-1), "no index"),
        (40, "no feature 40: the SAE has features 0 to 39"),
        (torch.tensor(99), "no feature 99: the SAE has features 0 to 39"),
        ([1, 2], r"\[1, 2\] is no index of a feature"),
        (None, "None is no index"),
    ],
)
def test_what_is_no_feature_is_refused_everywhere_in_the_same_words(made, index, said):
    local = SAEfeatureAnalyzer(made.sae_model, **examples.FEW)
    refused(lambda: made.get_feature_page(index), said)
    refused(lambda: made.quick_list([index]), said)
    refused(lambda: local.feature_info[index], said)
    with pytest.raises(KeyError):
        local.feature_info[index]
    assert index not in local.feature_info and local.feature_info.get(index) is None


def test_a_file_that_is_not_there_is_named_by_its_argument(made):
    for name in ("token_counts", "unembedding"):
        make = partial(SAEfeatureAnalyzer, made.sae_model, **{name: "/nope"})
        refused(make, f"^SAEfeatureAnalyzer: {name} is '/nope'; there is no such file$")


@pytest.mark.parametrize(
    "hooks", [5, [5], [("hook_embed",)], [("hook_embed", 5)], [(5, print)], [("hook_embed", print, 1)]]
)
def test_hooks_that_are_none_are_refused(made, hooks):
    wanted = "give pairs"
    refused(lambda: made.sae_model.run_with_hooks("a", fwd_hooks=hooks), wanted)
    refused(lambda: made.sae_model.run_with_hooks("a", bwd_hooks=hooks), wanted)


NEURONPEDIA = {
    "only is 3; give a list": lambda: neuronpedia.features("m", "s", only=3),
    "cache is 5; give the path": lambda: neuronpedia.explanations("m", "s", cache=5),
    "cache is '/tmp/aaa": lambda: neuronpedia.explanations("m", "s", cache="/tmp/" + "a" * 300),
    "must be like http": lambda: neuronpedia.explanations("m", "s", bucket=5),
    "n_features is 'x'; give a whole": lambda: neuronpedia.features("m", "s", n_features="x"),
    "test_text is 5; give a text": lambda: neuronpedia.embed_url("m", "s", 0, test_text=5),
    r"test_text is '\\ud800'": lambda: neuronpedia.embed_url("m", "s", 0, test_text="\ud800"),
    "name is 5; give a text": lambda: neuronpedia.quick_list_url(5, [("m", "s", 0)]),
    r"a feature is \('a', 1\); give": lambda: neuronpedia.quick_list_url("x", [("a", 1)]),
    "features is 5; give a list": lambda: neuronpedia.quick_list_url("x", 5),
    "release is 5; give": lambda: neuronpedia.source_id("x", 5),
    "sae is 5; give an SAE's id": lambda: neuronpedia.source_id(5, "gpt2-small-res-jb"),
    "sae is None; give": lambda: neuronpedia.source_id(None),
}


@pytest.mark.parametrize("said", NEURONPEDIA)
def test_neuronpedia_is_asked_nothing_with_a_wrong_argument(said, monkeypatch):
    def ask(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(neuronpedia_http.Client, "get", ask)
    refused(NEURONPEDIA[said], said)
