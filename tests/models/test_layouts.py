"""Releases of every layout, read from the cache by SAELens' loaders; every release, read or refused."""

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from fsrl.errors import FsrlError
from fsrl.models import decoder_rows, hub_files, releases, saes
from fsrl.models.saes import SAEFiles
from fsrl.models.sources import SAESource
from tests.fixtures import cached_saes as cached
from tests.fixtures.adapter_examples import make_sae

LINEAR = {"W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_enc": "encoder.bias"}
DIRECT = {name: name for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
RESID, HOOK_Z = f"blocks.{cached.LAYER}.hook_resid_post", f"blocks.{cached.LAYER}.attn.hook_z"
GATED = {"W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_dec": "decoder_bias"}
GATES = {name: torch.rand(cached.D_SAE) for name in ("r_mag", "gate_bias", "mag_bias")}
THRESHOLD = torch.tensor(0.5)
SAEBENCH, GEMMA_3 = "saebench_gemma-2-2b_width-2pow12_date-0108", "gemma-scope-2-1b-pt-res"
PYTHIA = "sae_bench_pythia70m_sweep_{}_ctx128_{}"
# Layout, release, writer of the files, architecture, hook.
READ = (
    ("connor_rob_hook_z", "gpt2-small-hook-z-kk", cached.hook_z, "standard", HOOK_Z),
    ("gemma_2", "gemma-scope-2b-pt-res-canonical", cached.gemma_2, "jumprelu", None),
    ("gemma_3", GEMMA_3, cached.gemma_3, "jumprelu", None),
    ("gemma_3", GEMMA_3, cached.gemma_3_with_config, "jumprelu", None),
    ("llama_scope", "llama_scope_lxr_8x", cached.llama_scope, "jumprelu", RESID),
    ("llama_scope_r1_distill", "llama_scope_r1_distill", cached.llama_scope_r1_distill, "jumprelu", RESID),
    (
        "dictionary_learning_1",
        PYTHIA.format("standard", "0712"),
        cached.dictionary_learning("AutoEncoder", LINEAR | {"b_dec": "bias"}),
        "standard",
        RESID,
    ),
    (
        "dictionary_learning_1",
        PYTHIA.format("topk", "0730"),
        cached.dictionary_learning("AutoEncoderTopK", LINEAR | {"b_dec": "b_dec"}, threshold=THRESHOLD),
        "topk",
        RESID,
    ),
    (
        "dictionary_learning_1",
        PYTHIA.format("gated", "0730"),
        cached.dictionary_learning("GatedAutoEncoder", GATED, **GATES),
        "gated",
        RESID,
    ),
    (
        "dictionary_learning_1",
        SAEBENCH,
        cached.dictionary_learning("MatryoshkaBatchTopKSAE", DIRECT, threshold=THRESHOLD),
        "jumprelu",
        RESID,
    ),
    ("deepseek_r1", "deepseek-r1-distill-llama-8b-qresearch", cached.pickled_linear, "standard", None),
    ("qwen_scope", "qwen-scope-3-1.7b-base-w32k-l50", cached.pickled_rows, "topk", None),
    ("goodfire", "goodfire-llama-3.1-8b-instruct", cached.goodfire, "standard", None),
    ("temporal", "temporal-sae-gemma-2-2b", cached.temporal, "temporal", None),
)
# Loaders that know the sizes from the names alone: here their SAEs are small.
SIZED = {
    "gemma_2": "get_gemma_2_config_from_hf",
    "deepseek_r1": "get_deepseek_r1_config_from_hf",
    "qwen_scope": "get_qwen_scope_config_from_hf",
    "goodfire": "get_goodfire_config_from_hf",
}


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache, and nobody to ask."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    return tmp_path


def shrink(monkeypatch, layout):
    """Make a loader that knows the sizes of its SAEs expect ours."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    if (name := SIZED.get(layout)) is None:
        return
    getter = getattr(loaders, name)

    def small(*arguments, **named):
        return getter(*arguments, **named) | {"d_in": cached.D_IN, "d_sae": cached.D_SAE}

    monkeypatch.setattr(loaders, name, small)
    monkeypatch.setitem(loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS, layout, small)


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
    assert {layout for layout, *_ in READ} == set(releases.LAYOUTS) - {releases.SAE_LENS}


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


def test_every_release_of_sae_lens_is_read_by_name_or_refused_in_one_line():
    """From the directory alone, so before anything is fetched; what is refused are the transcoders."""
    directory = whole_directory()
    assert len(directory) == 170
    transcoders = set()
    for name, entry in directory.items():
        try:
            source = SAESource(release=name)
            files = source.hub_files()
        except FsrlError as error:
            assert "transcoders" in str(error) and "\n" not in str(error)
            transcoders.add(name)
            continue
        assert list(source.sae_ids) == list(entry.saes_map) and {file.repo for file in files} == {
            entry.repo_id
        }
        assert source.listed.layout == (entry.conversion_func or releases.SAE_LENS)
    assert transcoders == {name for name in directory if "transcoder" in name or "clt" in name}
    assert len(transcoders) == 27


@pytest.mark.parametrize("layout", ["llama_scope", "llama_scope_r1_distill"])
def test_a_release_whose_activations_are_scaled_says_by_how_much(layout):
    """Layouts whose loader promises a factor: each SAE has one in the directory."""
    for name, entry in whole_directory().items():
        if entry.conversion_func == layout:
            assert set(entry.norm_scaling_factor) == set(entry.saes_map), name
