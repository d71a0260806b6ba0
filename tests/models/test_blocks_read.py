"""How much of a model its dictionaries need: their own block's matrices, or none."""

import pytest

from fsrl.models import dictionaries, reading
from fsrl.models.sources import ModelSource, SAESource
from tests.fixtures import architectures
from tests.fixtures.adapter_examples import make_sae


def folder_of(tmp_path, *hooks: str) -> SAESource:
    for hook in hooks:
        make_sae("standard", hook=hook).save_model(tmp_path / "saes" / hook)
    return SAESource(folder=str(tmp_path / "saes"), ids=hooks)


@pytest.mark.parametrize(
    ("hooks", "blocks"),
    [
        (["blocks.1.hook_resid_post"], 1),
        (["blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out"], 1),
        (["blocks.0.attn.hook_z"], 1),
        (["blocks.1.attn.hook_z", "blocks.0.hook_resid_pre"], 2),
    ],
)
def test_blocks_are_read_up_to_the_last_one_that_maps_rows(tmp_path, hooks, blocks):
    assert dictionaries.blocks(folder_of(tmp_path, *hooks)) == blocks


def test_neurons_are_a_matrix_of_their_block():
    assert dictionaries.blocks(SAESource(neurons=2)) == 2


def test_the_directions_are_those_of_the_whole_model(tmp_path, monkeypatch):
    architectures.write("gpt_neox", tmp_path / "model")
    source = ModelSource(folder=str(tmp_path / "model"))
    saes = folder_of(tmp_path, "blocks.1.hook_resid_post")
    (whole,) = dictionaries.decoders(saes, reading.read_model(source), study="s")
    monkeypatch.setattr(reading, "SMALL", 1)
    cut = reading.read_model(source, blocks=dictionaries.blocks(saes))
    assert len(cut.bridge.blocks) == 1 < cut.n_layers
    (found,) = dictionaries.decoders(saes, cut, study="s")
    assert found.W_dec.equal(whole.W_dec) and found.layer == whole.layer == 1
    said = "W_U, norm and block 0 read from model.safetensors"
    assert found.metadata == whole.metadata | {"model_weights": said}
