"""Models of many architectures and SAEs of every foreign layout, fetched from the hub by name and read."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from fsrl.models import decoder_rows, reading, releases, saes, sources
from fsrl.models.sae_files import SAEFiles
from fsrl.models.sources import ModelSource, SAESource
from tests.fixtures import architectures
from tests.fixtures import cached_saes as cached
from tests.fixtures.foreign_layouts import CLT, READ, TRANSCODERS, shrink
from tests.hub import clients, repositories
from tests.hub.server import LoopbackHub

SERVED = ("gpt_neox", "gemma2", "gemma3", "llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "phi", "olmo2")
# Layout, release, writer, id or None for the first.
LAYOUTS = [(*row[:3], None) for row in READ] + [(*row[:3], row[5]) for row in TRANSCODERS]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """A hub without repositories."""
    with closing(LoopbackHub(tmp_path_factory.mktemp("others") / "tree")) as hub:
        yield hub


@pytest.fixture
def hub_of_others(tree: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """That hub, for this process."""
    clients.turn_to(tree.url, tmp_path / "hf", monkeypatch)
    return tree


@pytest.mark.parametrize("name", SERVED)
def test_a_model_is_fetched_and_read(hub_of_others: LoopbackHub, tmp_path: Path, name: str) -> None:
    own = architectures.write(name, tmp_path / "model")
    commit = repositories.new_commit(hub_of_others.tree, f"tiny/{name}", "main")
    shutil.copytree(tmp_path / "model", commit, dirs_exist_ok=True)
    source = ModelSource(hub=f"tiny/{name}")
    sources.fetch(source)
    model = reading.read_model(source)
    head = own.get_output_embeddings().weight.detach()
    assert torch.equal(model.W_U, head[: len(model.tokens)].T)
    assert model.metadata["model_revision"] == commit.name and model.n_layers == architectures.N_LAYERS


@pytest.mark.parametrize(("layout", "release", "write", "sae_id"), LAYOUTS)
def test_an_sae_of_a_foreign_layout_is_fetched_and_read(
    hub_of_others: LoopbackHub,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    release: str,
    write: Any,
    sae_id: str | None,
) -> None:
    shrink(monkeypatch, layout)
    listed = releases.find(release)
    sae_id = sae_id or next(iter(listed.saes))
    commit = repositories.new_commit(hub_of_others.tree, listed.repo, "main")
    _write(commit, write(listed.saes[sae_id]))
    source = SAESource(release=release, ids=(sae_id,))
    sources.fetch(source)
    files = SAEFiles.of(source, sae_id)
    found = decoder_rows.decoder_rows(saes.load(files).sae)
    factor = 0.5 if layout == "temporal" else listed.scaling.get(sae_id, 1.0)
    torch.testing.assert_close(found, cached.tensors()["W_dec"] / factor)
    assert files.revision == commit.name


def test_a_cross_layer_transcoder_is_fetched_and_read(hub_of_others: LoopbackHub) -> None:
    listed = releases.find(CLT)
    commit = repositories.new_commit(hub_of_others.tree, listed.repo, "main")
    _write(commit, cached.mntss(listed.saes["layer_3_to_7"]))
    source = SAESource(release=CLT, ids=("layer_3_to_7",))
    sources.fetch(source)
    found = decoder_rows.decoder_rows(saes.load(SAEFiles.of(source, "layer_3_to_7")).sae)
    assert torch.equal(found, cached.decoders(3)[:, 7 - 3])


def _write(commit: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        (commit / name).parent.mkdir(parents=True, exist_ok=True)
        content(commit / name) if callable(content) else (commit / name).write_bytes(content)
