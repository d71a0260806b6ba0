"""Releases of every layout, read from the cache by SAELens' loaders; every release, read or refused."""

import warnings

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from fsrl.effects import encoders
from fsrl.errors import FsrlError
from fsrl.models import decoder_rows, hub_files, releases, saes
from fsrl.models.sae_files import SAEFiles
from fsrl.models.sources import SAESource
from tests.fixtures import cached_saes as cached
from tests.fixtures.adapter_examples import make_sae
from tests.fixtures.foreign_layouts import (
    CLT,
    READ,
    TRANSCODERS,
    shrink,
)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache, and nobody to ask."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    return tmp_path


def written(folder, release, write, sae_id=None):
    """One SAE of a release in the cache; its source and id."""
    listed = releases.find(release)
    sae_id = sae_id or next(iter(listed.saes))
    files = write(listed.saes[sae_id])
    source = SAESource(release=release, ids=(sae_id,))
    asked = {file.path: file.required for file in source.hub_files()}
    assert set(files) <= set(asked), "written from another list of files than the one that is fetched"
    absent = tuple(set(asked) - set(files))
    assert not any(asked[name] for name in absent)
    cached.cache(folder, listed.repo, files, absent)
    return source, sae_id


@pytest.mark.parametrize(("layout", "release", "write", "architecture", "hook"), READ)
def test_a_layout_is_read(hub_cache, monkeypatch, layout, release, write, architecture, hook):
    shrink(monkeypatch, layout)
    source, sae_id = written(hub_cache, release, write)
    assert source.listed.layout == layout and not hub_files.missing(source.hub_files())
    read = saes.load(SAEFiles.of(source, sae_id))
    stored, factor = cached.tensors(), source.listed.scaling.get(sae_id, 1.0)
    factor = 0.5 if layout == "temporal" else factor
    torch.testing.assert_close(decoder_rows.decoder_rows(read.sae), stored["W_dec"] / factor)
    if layout != "temporal":
        torch.testing.assert_close(read.sae.W_enc.detach(), stored["W_enc"] * factor)
        assert read.scaling == factor
    assert read.sae.cfg.architecture() == architecture
    name = read.sae.cfg.metadata.hook_name
    assert name == hook if hook else name.startswith("blocks.")
    assert read.sae.cfg.metadata.neuronpedia_id == releases.neuronpedia_id(release, sae_id)
    given = (2, 3, cached.D_IN) if layout == "temporal" else (2, cached.D_IN)
    read.sae.turn_off_forward_pass_hook_z_reshaping()
    assert read.sae.encode(torch.randn(given)).isfinite().all()


def test_every_layout_that_is_read_is_tried_here_or_on_the_loopback_hub():
    tried = {layout for layout, *_ in READ} | {layout for layout, *_ in TRANSCODERS} | {releases.CLT}
    assert tried == set(releases.LAYOUTS) - {releases.SAE_LENS}


@pytest.mark.parametrize(("layout", "release", "write", "architecture", "reads", "name"), TRANSCODERS)
def test_a_transcoder_is_read_where_it_writes(
    hub_cache, monkeypatch, layout, release, write, architecture, reads, name
):
    """Its rows are what SAELens' own decode gives, and its hook the one that it writes."""
    shrink(monkeypatch, layout)
    source, sae_id = written(hub_cache, release, write, name)
    assert source.listed.layout == layout and source.listed.transcoders
    assert source.transcoders() == [sae_id] and not hub_files.missing(source.hub_files())
    sae = saes.load(SAEFiles.of(source, sae_id)).sae
    assert sae.cfg.architecture() == architecture
    layer = sae.cfg.metadata.hook_name_out.split(".")[1]
    assert sae.cfg.metadata.hook_name == f"blocks.{layer}.{reads}"
    assert sae.cfg.metadata.hook_name_out == f"blocks.{layer}.hook_mlp_out"
    rows = decoder_rows.decoder_rows(sae)
    torch.testing.assert_close(rows, cached.tensors()["W_dec"])
    nothing = torch.zeros(1, cached.D_SAE)
    one = torch.eye(cached.D_SAE)[5:6]
    torch.testing.assert_close(sae.decode(one) - sae.decode(nothing), rows[5:6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sae.W_enc.detach(), cached.tensors()["W_enc"])
    assert sae(torch.randn(2, cached.D_IN)).isfinite().all()
    with pytest.raises(FsrlError, match=f"effects: .* is a .*transcoder, which reads blocks.{layer}.{reads}"):
        encoders.read_encoder(source, sae_id)


@pytest.mark.parametrize(("layer", "target"), [(0, 0), (3, 3), (3, 7), (3, 25), (25, 25)])
def test_a_cross_layer_transcoder_is_a_dictionary_for_each_layer_it_writes(hub_cache, layer, target):
    source, sae_id = written(hub_cache, CLT, cached.mntss, f"layer_{layer}_to_{target}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sae = saes.load(SAEFiles.of(source, sae_id)).sae
    metadata = sae.cfg.metadata
    assert metadata.hook_name == f"blocks.{layer}.hook_resid_mid"
    assert metadata.hook_name_out == f"blocks.{target}.hook_mlp_out"
    rows = decoder_rows.decoder_rows(sae)
    assert torch.equal(rows, cached.decoders(layer)[:, target - layer])
    if layer == target == 25:  # the last layer's one decoder is their sum, which SAELens reads
        assert torch.equal(rows, cached.decoders(layer).sum(dim=1))


def test_every_layer_that_a_cross_layer_transcoder_writes_to_has_a_dictionary():
    listed = releases.find(CLT)
    assert len(listed.saes) == 26 * 27 // 2 and listed.targets["layer_3_to_7"] == 7
    assert listed.path("layer_3_to_7") == "3" and "layer_7_to_3" not in listed.saes
    with pytest.raises(FsrlError, match="unknown SAE 'layer_3'; did you mean 'layer_3_to_"):
        SAESource(release=CLT, ids=("layer_3",))
    files = SAESource(release=CLT, ids=("layer_3_to_3", "layer_3_to_4", "layer_9_to_9")).hub_files()
    assert [file.path for file in files] == [
        *("config.yaml", "W_dec_3.safetensors", "W_enc_3.safetensors"),
        *("W_dec_9.safetensors", "W_enc_9.safetensors"),
    ]


def test_decoders_to_another_number_of_layers_are_refused(hub_cache, monkeypatch):
    monkeypatch.setattr(cached, "LAYERS", 20)
    source, sae_id = written(hub_cache, CLT, cached.mntss, "layer_3_to_7")
    with pytest.raises(FsrlError, match=r"W_dec_3 has shape \[64, 17, 16\], expected decoders to the 23"):
        saes.load(SAEFiles.of(source, sae_id))


def test_the_embedding_of_gemma_is_scaled_as_the_model_scales_it(hub_cache, monkeypatch):
    shrink(monkeypatch, "gemma_2")
    source, sae_id = written(
        hub_cache, "gemma-scope-2b-pt-res", cached.gemma_2, "embedding/width_4k/average_l0_6"
    )
    read = saes.load(SAEFiles.of(source, sae_id)).sae
    assert read.cfg.metadata.hook_name == "hook_embed"
    scale = np.sqrt(read.cfg.d_in)
    torch.testing.assert_close(decoder_rows.decoder_rows(read), cached.tensors()["W_dec"] * scale)


def test_what_the_directory_says_is_read_of_an_sae_of_version_6_too(hub_cache, tmp_path):
    release, sae_id = "gpt2-small-res-jb", "blocks.7.hook_resid_pre"
    make_sae(hook=sae_id).save_model(tmp_path / "saved")
    files = {f"{sae_id}/{path.name}": path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    cached.cache(hub_cache, releases.find(release).repo, files, (f"{sae_id}/sparsity.safetensors",))
    sae = saes.load(SAEFiles.of(SAESource(release=release, ids=(sae_id,)), sae_id)).sae
    assert sae.cfg.metadata.neuronpedia_id == "gpt2-small/7-res-jb"
    assert sae.cfg.metadata.model_from_pretrained_kwargs == {"center_writing_weights": True}
    repository = SAESource(release=releases.find(release).repo, ids=(sae_id,))
    assert saes.load(SAEFiles.of(repository, sae_id)).sae.cfg.metadata.neuronpedia_id is None


def test_a_revision_is_read_and_not_main(hub_cache):
    """SAELens' loaders know no revision: the files are looked up at the one that was fetched."""
    listed = releases.find("llama_scope_lxr_8x")
    sae_id = next(iter(listed.saes))
    cached.cache(hub_cache, listed.repo, cached.llama_scope(listed.saes[sae_id]))
    refs = hub_cache / f"models--{listed.repo.replace('/', '--')}/refs"
    (refs / "main").rename(refs / "v1")
    files = SAEFiles.of(SAESource(release=listed.name, ids=(sae_id,), revision="v1"), sae_id)
    assert files.revision == cached.COMMIT and saes.load(files).sae.cfg.d_sae == cached.D_SAE


@pytest.mark.parametrize(
    ("release", "write", "name", "content"),
    [
        ("llama_scope_lxr_8x", cached.llama_scope, "hyperparams.json", b"[1]"),
        ("llama_scope_lxr_8x", cached.llama_scope, "hyperparams.json", b"{}"),
        ("llama_scope_lxr_8x", cached.llama_scope, "final.safetensors", b"junk"),
        ("temporal-sae-gemma-2-2b", cached.temporal, "conf.yaml", b"{"),
        ("gpt2-small-hook-z-kk", cached.hook_z, ".pt", b"junk"),
        ("gemma-scope-2b-pt-res-canonical", cached.gemma_2, "params.npz", b"junk"),
    ],
)
def test_a_broken_file_of_another_layout_is_named(hub_cache, release, write, name, content):
    source, sae_id = written(hub_cache, release, write)
    [path] = [path for path in hub_cache.rglob("*") if path.is_file() and path.name.endswith(name)]
    path.write_bytes(content)
    pattern = rf"{name} at {cached.COMMIT}.*delete it and fetch it again"
    with pytest.raises(FsrlError, match=pattern) as caught:
        saes.load(SAEFiles.of(source, sae_id))
    assert "\n" not in str(caught.value)


def whole_directory():
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return get_pretrained_saes_directory()


@pytest.mark.parametrize("layout", ["llama_scope", "llama_scope_r1_distill"])
def test_a_release_whose_activations_are_scaled_says_by_how_much(layout):
    """Layouts whose loader promises a factor: each SAE has one in the directory."""
    for name, entry in whole_directory().items():
        if entry.conversion_func == layout:
            assert set(entry.norm_scaling_factor) == set(entry.saes_map), name
