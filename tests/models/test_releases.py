"""SAELens' directory read in part says what the whole of it says."""

import pytest

from fsrl.errors import FsrlError
from fsrl.models import releases
from tests.fixtures.sae_directory import WHOLE

GPT2 = [name for name in WHOLE if name.startswith("gpt2-small")]


def test_there_are_gpt2_releases():
    assert len(GPT2) == 18


@pytest.mark.parametrize("name", GPT2)
def test_each_release_is_what_the_whole_directory_says(name):
    release, entry = releases.find(name), WHOLE[name]
    assert (release.repo, release.model) == (entry["repo_id"], entry["model"])
    assert release.layout == (entry["conversion_func"] or "sae_lens")
    assert release.saes == {sae["id"]: sae["path"] for sae in entry["saes"]}


def test_res_jb_has_13_saes_in_order():
    saes = releases.find("gpt2-small-res-jb").saes
    assert list(saes) == [f"blocks.{n}.hook_resid_pre" for n in range(12)] + ["blocks.11.hook_resid_post"]


def test_only_mlp_tm_has_scaling_factors():
    scaled = {name: len(releases.find(name).scaling) for name in GPT2 if releases.find(name).scaling}
    assert scaled == {"gpt2-small-mlp-tm": 12}


def test_a_repository_is_a_release_by_itself():
    release = releases.find("someone/saes")
    assert (release.repo, release.path("folder")) == ("someone/saes", "folder")


def test_an_unknown_release_is_refused():
    with pytest.raises(FsrlError, match="did you mean 'gpt2-small-res-jb'"):
        releases.find("gpt2-small-res-bj")


def test_a_layout_that_is_not_known_is_refused(monkeypatch):
    monkeypatch.delitem(releases.LAYOUTS, "goodfire")
    with pytest.raises(FsrlError, match="has the layout goodfire, and fsrl reads .*Load it with SAELens"):
        releases.find("goodfire-llama-3.1-8b-instruct")


def test_names_are_all_of_the_directory():
    assert releases.names() == list(WHOLE)
