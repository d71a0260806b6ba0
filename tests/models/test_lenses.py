"""Which file a view's lens is, without asking anybody."""

import subprocess
import sys
from pathlib import Path

import pytest

from fsrl.errors import FsrlError
from fsrl.models import lenses
from fsrl.models.lenses import LensSource
from fsrl.models.sources import ModelSource

REPO, GPT2 = "neuronpedia/jacobian-lens", ModelSource(hub="openai-community/gpt2")
FOLDER = ModelSource(folder="data/mini/model")


def test_a_path_is_a_file_on_this_machine():
    found = LensSource.of({"lens": "data/a.pt"}, FOLDER)
    assert found.path() == Path("data/a.pt") and found.hub_files() == [] and found.name == "data/a.pt"
    for more in ({"file": "b.pt"}, {"revision": "main"}):
        with pytest.raises(FsrlError, match="data/a.pt is a file on this machine; leave out file and"):
            LensSource.of({"lens": "data/a.pt"} | more, FOLDER)


def test_a_repository_has_the_file_of_the_model_that_is_listed_or_named():
    [file] = LensSource.of({"lens": REPO, "revision": "ab12"}, GPT2).hub_files()
    assert (file.repo, file.revision, file.required) == (REPO, "ab12", True)
    assert file.path == "gpt2-small/jlens/Salesforce-wikitext/gpt2_jacobian_lens.pt"
    [named] = LensSource.of({"lens": "someone/lenses", "file": "mini.pt"}, FOLDER).hub_files()
    assert str(named) == "someone/lenses/mini.pt"
    again = {
        "model": {"folder": "data/mini/model"},
        "transport": {"lens": "someone/lenses", "file": "mini.pt"},
    }
    assert LensSource.from_settings(again).hub_files() == [named]


def test_the_file_is_the_one_that_transformer_lens_loads():
    from transformer_lens.tools.analysis import jacobian_lens

    for name in ("gpt2", "google/gemma-2-2b"):
        [file] = LensSource.of({"lens": REPO}, ModelSource(hub=name)).hub_files()
        assert jacobian_lens._resolve_registry_entry(name) == (file.repo, file.path)


def test_what_is_not_listed_is_refused(monkeypatch):
    with pytest.raises(FsrlError, match="has no lens of data/mini/model that TransformerLens lists; name"):
        LensSource.of({"lens": REPO}, FOLDER)
    with pytest.raises(FsrlError, match="has no lens of nobody/model"):
        LensSource.of({"lens": REPO}, ModelSource(hub="nobody/model"))
    with pytest.raises(FsrlError, match="someone/lenses is no repository that TransformerLens lists"):
        LensSource.of({"lens": "someone/lenses"}, GPT2)
    with pytest.raises(FsrlError, match="no name of a file there"):
        LensSource.of({"lens": REPO, "file": "../a.pt"}, GPT2)
    monkeypatch.setattr(lenses, "REGISTRY", "nothing.json")
    lenses._registry.cache_clear()
    with pytest.raises(FsrlError, match="registry of lenses is not installed; name the file"):
        LensSource.of({"lens": REPO}, GPT2)
    lenses._registry.cache_clear()


def test_it_is_light():
    code = (
        "import sys; from fsrl.models.lenses import LensSource; from fsrl.models.sources import ModelSource; "
        f"LensSource.of({{'lens': '{REPO}'}}, ModelSource(hub='gpt2')); "
        "assert not {'torch', 'transformer_lens'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
