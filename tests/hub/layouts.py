"""What the loopback hub serves: a small GPT-2 and every GPT-2 SAE release that SAELens knows, as they lie.

Repositories, folders and norm scaling factors come from SAELens' own pretrained_saes.yaml; the keys of the
config files are those that SAELens reads of releases made before its version 6, as all of these were (written
from the loaders, without sight of the files on the real hub). Widths are small; weights are random, with a
fixed seed for each SAE.
"""

import json
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from tests.hub import gpt2_layout, repositories

MODEL, ALIAS = "openai-community/gpt2", "gpt2"
SHAPE = gpt2_layout.Shape(d_model=24, n_heads=3, n_layers=12, n_ctx=32)
PADDING = 7  # rows of W_U without a token, in the model's revision `padded`
OLD = "v0.9"  # an earlier revision (a tag) of the model and of gpt2-small-res-jb, with other weights
WITHOUT_SPARSITY = ("gpt2-small-attn-out-v5-128k", "gpt2-small-hook-z-kk")
TOP_K = 8
WORDS = """
Ġthe Ġof Ġand Ġto Ġin Ġa Ġthat Ġis Ġwas Ġhe Ġfor Ġit Ġwith Ġas Ġhis Ġon Ġbe Ġat Ġby Ġhad ĠThe ĠHe ĠIt ĠIn ĠAnd
ing ed er ly ion est ness The He It In And out up 19 20 00 12 123 Ġ1 Ġ2 Ġ19 Ġ20 Ġ200
Ġ! Ġ? ĠĠ ĠĠĠĠ ĊĊ ... -- == Ġ( Ġ" ). Ã© Ġâ âĢ âĢĻ
"""


@dataclass(frozen=True)
class Entry:
    """One SAE of the catalogue; `folder` is its path in the repository, a .pt file for hook_z."""

    release: str
    sae_id: str
    repo: str
    folder: str
    norm_scaling_factor: float


@dataclass(frozen=True)
class Sae:
    """What was written: W_dec as stored (before the norm scaling factor), log10 densities or None."""

    entry: Entry
    w_dec: Tensor
    log_sparsity: Tensor | None

    @property
    def loaded(self) -> Tensor:
        """W_dec as SAELens gives it."""
        return self.w_dec / self.entry.norm_scaling_factor


@dataclass(frozen=True)
class HubTree:
    """The folder that LoopbackHub serves and what is in it, at revision main unless said."""

    folder: Path
    model: dict[str, Tensor]
    model_old: dict[str, Tensor]
    model_padded: dict[str, Tensor]
    tokens: tuple[str, ...]
    saes: dict[tuple[str, str], Sae]
    saes_old: dict[tuple[str, str], Sae]


def write_hub(folder: Path) -> HubTree:
    """Write all repositories into `folder`, about 160 SAEs and 3 models in 2 seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "aliases.json").write_text(json.dumps({ALIAS: MODEL}))
    merges = gpt2_layout.merges_of(WORDS.split())
    models = {}
    for seed, (revision, padding) in enumerate([(OLD, 0), ("padded", PADDING), ("main", 0)]):
        place = repositories.new_commit(folder, MODEL, revision)
        models[revision] = gpt2_layout.write_model(place, SHAPE, merges, padding=padding, seed=seed)
    releases = catalogue()
    old = _write_release(folder, releases["gpt2-small-res-jb"], OLD)
    saes: dict[tuple[str, str], Sae] = {}
    for entries in releases.values():
        saes |= _write_release(folder, entries, "main")
    tokens = json.loads(gpt2_layout.tokenizer_files(merges)["vocab.json"])
    return HubTree(folder, models["main"], models[OLD], models["padded"], tuple(tokens), saes, old)


@cache
def catalogue() -> dict[str, tuple[Entry, ...]]:
    """{release: its SAEs}, of every release whose name begins with gpt2-small; without importing SAELens."""
    spec = find_spec("sae_lens")
    assert spec and spec.origin
    text = (Path(spec.origin).parent / "pretrained_saes.yaml").read_text()
    # Parsing all 35,000 lines takes seconds: the releases wanted are top-level blocks of their own.
    blocks = ("\n" + text).split("\ngpt2-small")[1:]
    listed = {}
    for block in blocks:
        lines = f"gpt2-small{block}".splitlines()
        end = next((n for n, line in enumerate(lines[1:], 1) if line[:1].strip()), len(lines))
        [(release, value)] = yaml.safe_load("\n".join(lines[:end])).items()
        listed[release] = tuple(
            Entry(release, sae["id"], value["repo_id"], sae["path"], sae.get("norm_scaling_factor", 1.0))
            for sae in value["saes"]
        )
    return listed


def _write_release(tree: Path, entries: tuple[Entry, ...], revision: str) -> dict[tuple[str, str], Sae]:
    top = repositories.new_commit(tree, entries[0].repo, revision)
    (top / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    return {(entry.release, entry.sae_id): _write_sae(top, entry, revision) for entry in entries}


def _write_sae(top: Path, entry: Entry, revision: str) -> Sae:
    seeded = torch.Generator().manual_seed(zlib.crc32(f"{entry.release} {entry.sae_id} {revision}".encode()))
    d_in, d_sae = SHAPE.d_model, width(entry)
    w_dec = torch.randn(d_sae, d_in, generator=seeded) * (torch.rand(d_sae, 1, generator=seeded) + 0.5)
    tensors = {
        "W_enc": torch.randn(d_in, d_sae, generator=seeded),
        "W_dec": w_dec,
        "b_enc": torch.randn(d_sae, generator=seeded),
        "b_dec": torch.randn(d_in, generator=seeded),
    }
    if entry.release == "gpt2-small-hook-z-kk":
        torch.save(tensors, top / entry.folder)
        (top / entry.folder.replace(".pt", "_cfg.json")).write_text(json.dumps(_hook_z_config(entry)))
        return Sae(entry, w_dec, None)
    if entry.release == "gpt2-small-res-jb-feature-splitting":
        tensors["scaling_factor"] = torch.ones(d_sae)  # some early SAEs carry it, unused
    folder = top / entry.folder
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text(json.dumps(_config(entry)))
    save_file(tensors, folder / "sae_weights.safetensors")
    if entry.release in WITHOUT_SPARSITY:
        return Sae(entry, w_dec, None)
    log_sparsity = -10 + 9 * torch.rand(d_sae, generator=seeded)
    save_file({"sparsity": log_sparsity}, folder / "sparsity.safetensors")
    return Sae(entry, w_dec, log_sparsity)


def width(entry: Entry) -> int:
    """d_sae, with the real releases' ratios where they differ within a release."""
    if "feature-splitting" in entry.release:
        return int(entry.sae_id.rsplit("_", 1)[1]) // 192
    wide = "128k" in entry.release or "ds49152" in entry.folder
    return 64 if wide else 32


def hook_name(entry: Entry) -> str:
    """The hook as the release's config names it."""
    if "hook_z" in entry.sae_id:
        return entry.sae_id.replace("hook_z", "attn.hook_z")
    return "blocks.8.hook_resid_pre" if "feature-splitting" in entry.release else entry.sae_id


def _config(entry: Entry) -> dict:
    """cfg.json as SAELens wrote it before version 6, with the keys of the release's time."""
    hook = hook_name(entry)
    layer = int(hook.split(".")[1])
    common = {
        "model_name": "gpt2-small",
        "dataset_path": "Skylion007/openwebtext",
        "context_size": 128,
        "d_in": SHAPE.d_model,
        "d_sae": width(entry),
        "device": "cuda",
        "dtype": "torch.float32",
        "seed": 42,
        "l1_coefficient": 8e-05,
        "expansion_factor": 32,
    }
    if entry.release.startswith("gpt2-small-res-jb"):
        early = {"hook_point": hook, "hook_point_layer": layer, "hook_point_head_index": None}
        return {**common, **early, "is_dataset_tokenized": False, "b_dec_init_method": "geometric_median"}
    later = {**common, "hook_name": hook, "hook_layer": layer, "hook_head_index": None, "prepend_bos": True}
    if entry.release == "gpt2-small-mlp-tm":
        return {**later, "activation_fn_str": "relu", "normalize_activations": "expected_average_only_in"}
    later |= {"architecture": "standard", "apply_b_dec_to_input": True, "finetuning_scaling_factor": False}
    if "-v5-" in entry.release:
        top_k = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": TOP_K}}
        return {**later, **top_k, "normalize_activations": "layer_norm", "context_size": 64}
    return {**later, "activation_fn_str": "relu", "normalize_activations": "none", "context_size": 1024}


def _hook_z_config(entry: Entry) -> dict:
    layer = int(entry.sae_id.split(".")[1])
    return {
        "seed": 49,
        "batch_size": 4096,
        "lr": 0.0012,
        "l1_coeff": 1.8,
        "dict_size": width(entry),
        "act_size": SHAPE.n_heads * (SHAPE.d_model // SHAPE.n_heads),
        "enc_dtype": "fp32",
        "model_name": "gpt2-small",
        "site": "z",
        "layer": layer,
        "act_name": hook_name(entry),
        "device": "cuda",
    }
