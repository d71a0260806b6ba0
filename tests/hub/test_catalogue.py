"""Every layout of the catalogue, read from the hub as the study would, against what was written there."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from tests.hub import clients, layouts
from tests.hub.layouts import HubTree
from tests.hub.server import LoopbackHub

CONFIG = yaml.safe_load((clients.ROOT / "config/config.yaml").read_text())
# The hub has one model.
STUDIES = {name: entry for name, entry in CONFIG["studies"].items() if entry["model"].get("hub") == "gpt2"}
READ = """
import json, logging, sys
from safetensors.torch import save_file
from fsrl.models import dictionaries, hub_files, reading
from fsrl.errors import FsrlError
from fsrl.models.sources import ModelSource, SAESource

logging.basicConfig(filename="warnings.log", level=logging.WARNING)
tensors, facts, models = {}, {}, {}
for name, entry in json.load(open("studies.json")).items():
    try:
        source, saes = ModelSource(**entry["model"]), SAESource.from_settings(entry["saes"])
        hub_files.fetch(source.hub_files() + saes.hub_files())
        if source not in models:
            models[source] = reading.read_model(source)
        model = models[source]
        tensors[f"{name}|W_U"] = model.W_U
        facts[f"{name}|tokens"] = model.tokens
        for decoder in dictionaries.decoders(saes, model, study=name):
            tensors[f"{name}|{decoder.sae}"] = decoder.W_dec
            if decoder.log10_density is not None:
                tensors[f"{name}|{decoder.sae}|density"] = decoder.log10_density
            facts[f"{name}|{decoder.sae}"] = [decoder.hook, decoder.layer, decoder.metadata]
    except FsrlError as error:
        facts[name] = str(error)
save_file({name: tensor.clone() for name, tensor in tensors.items()}, "read.safetensors")
json.dump(facts, open("facts.json", "w"))
"""


def read(environment: dict[str, str], folder: Path, studies: dict) -> tuple[dict, dict, str]:
    """Tensors, facts and warnings of a process that reads these studies."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "studies.json").write_text(json.dumps(studies))
    clients.run(READ, environment, folder)
    facts = json.loads((folder / "facts.json").read_text())
    return load_file(folder / "read.safetensors"), facts, (folder / "warnings.log").read_text()


def through_w_o(tree: HubTree, layer: int, w_dec: torch.Tensor) -> torch.Tensor:
    """hook_z rows in the residual stream, head by head, from the stored c_proj."""
    w_o = tree.model[f"h.{layer}.attn.c_proj.weight"].reshape(
        layouts.SHAPE.n_heads, -1, layouts.SHAPE.d_model
    )
    heads = w_dec.reshape(len(w_dec), layouts.SHAPE.n_heads, -1)
    return torch.einsum("fhd,hdm->fm", heads, w_o)


def test_every_study_of_the_catalogue_is_read_as_it_was_written(
    hub: LoopbackHub, hub_tree: HubTree, hub_environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    tensors, facts, warnings = read(hub_environment(), tmp_path, STUDIES)
    releases = {entry["saes"].get("release"): name for name, entry in STUDIES.items()}
    assert set(releases) - {None} == set(layouts.catalogue())
    for (release, sae_id), sae in hub_tree.saes.items():
        name = f"{releases[release]}|{sae_id}"
        hook, layer, metadata = facts[name]
        expected = sae.loaded
        if "hook_z" in sae_id:
            expected = through_w_o(hub_tree, layer, expected)
            assert metadata["decoder_mapping"] == "through W_O into the residual stream"
        torch.testing.assert_close(tensors[name], expected, atol=1e-6, rtol=1e-6)
        assert hook == layouts.hook_name(sae.entry)
        assert layer == int(sae_id.split(".")[1])
        if sae.log_sparsity is None:
            assert f"{name}|density" not in tensors
            assert warnings.count(f"SAE {sae_id} of {release} ships no densities") == 1
        else:
            assert torch.equal(tensors[f"{name}|density"], sae.log_sparsity)
            assert f"SAE {sae_id} of {release} " not in warnings
        commit = (hub_tree.folder / sae.entry.repo / "refs/main").read_text().strip()
        assert metadata["sae_revision"] == commit and len(commit) == 40
        assert metadata["release"] == release


def test_neurons_model_and_tokens(
    hub_tree: HubTree, hub_environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    padded = {"model": {"hub": "gpt2", "revision": "padded"}, "saes": {"neurons": 1}}
    old = {
        "model": {"hub": "gpt2", "revision": layouts.OLD},
        "saes": {"release": "gpt2-small-res-jb", "revision": layouts.OLD, "ids": ["blocks.2.hook_resid_pre"]},
    }
    studies = {"neurons": STUDIES["gpt2-small-neurons"], "padded": padded, "old": old}
    tensors, facts, _ = read(hub_environment(), tmp_path, studies)
    for layer in range(12):
        stored = hub_tree.model[f"h.{layer}.mlp.c_proj.weight"]
        assert torch.equal(tensors[f"neurons|blocks.{layer}.mlp.hook_post"], stored)
    assert facts["padded|tokens"] == list(hub_tree.tokens)
    expected = hub_tree.model_padded["wte.weight"][: len(hub_tree.tokens)].T
    assert torch.equal(tensors["padded|W_U"], expected)
    assert torch.equal(tensors["old|W_U"], hub_tree.model_old["wte.weight"].T)
    sae = hub_tree.saes_old["gpt2-small-res-jb", "blocks.2.hook_resid_pre"]
    assert torch.equal(tensors["old|blocks.2.hook_resid_pre"], sae.loaded)


def test_the_same_model_under_its_names_is_accepted_and_another_refused(
    hub_tree: HubTree, hub_environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    saes = {"release": "gpt2-small-res-jb", "ids": ["blocks.2.hook_resid_pre"]}
    other = write_sae(tmp_path / "saes/other", "pythia-70m")
    names = ("gpt2", "openai-community/gpt2")
    studies = {f"same {name}": {"model": {"hub": name}, "saes": saes} for name in names}
    studies |= {f"other {name}": {"model": {"hub": name}, "saes": {"folder": other}} for name in names}
    _, facts, _ = read(hub_environment(), tmp_path, studies)
    for name in names:
        assert f"same {name}|blocks.2.hook_resid_pre" in facts
        refused = f"this SAE was trained on pythia-70m, but the study's model is {name}"
        assert facts[f"other {name}"].endswith(refused)


def write_sae(folder: Path, model_name: str) -> str:
    """An SAE in a folder of its own; returns the folder around it."""
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(hook_name="blocks.0.hook_resid_pre", model_name=model_name)
    config = StandardSAEConfig(d_in=layouts.SHAPE.d_model, d_sae=8, device="cpu", metadata=metadata)
    StandardSAE(config).save_model(folder)
    return str(folder.parent)
