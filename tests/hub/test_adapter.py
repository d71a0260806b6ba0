"""The lines of the notebook as they stand, with gpt2-small and its SAEs served by the loopback hub."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fsrl.errors import FsrlError
from fsrl.models import saes
from tests.hub import clients, layouts
from tests.hub.layouts import HubTree
from tests.hub.server import LoopbackHub

RELEASE, SAE_ID = "gpt2-small-res-jb", "blocks.7.hook_resid_pre"
Environment = Callable[..., dict[str, str]]

# Between the rules stand the lines of issue 6, unchanged.
NOTEBOOK = """
import json, warnings
import torch
from safetensors.torch import save_file

warnings.simplefilter("ignore", DeprecationWarning)
warnings.simplefilter("error", UserWarning)
device = "cpu"
# ----
from fsrl import SAEAdapter, HookedModel
from transformer_lens import HookedTransformer

adapter_kwargs = {"use_lora_adapter": True, "lora_rank": 64, "lora_alpha": 32, "fusion_mode": "additive"}
sae, cfg_dict, sparsity = SAEAdapter.from_pretrained("gpt2-small-res-jb", "blocks.7.hook_resid_pre", device=device, **adapter_kwargs)
model = HookedTransformer.from_pretrained("gpt2-small", device=device)
sae_model = HookedModel(model, sae)
# ----
tokens = model.to_tokens("The cat sat on the mat")
plain, fresh = model(tokens), sae_model(tokens)
_, cache = sae_model.run_with_cache(tokens)
torch.manual_seed(0)
for parameter in sae.get_trainable_parameters():
    torch.nn.init.normal_(parameter, std=0.1)
sae.save_adapter("adapter")
tensors = {"plain": plain, "fresh": fresh, "trained": sae_model(tokens), "tokens": tokens}
tensors |= {"sparsity": sparsity, "W_dec": sae.W_dec, "features": cache["sae_adapter.hook_features"]}
tensors["input"] = cache["sae_adapter.hook_input"]
save_file({name: tensor.detach().clone() for name, tensor in tensors.items()}, "out.safetensors")
metadata = sae.cfg.metadata
facts = [cfg_dict["d_sae"], metadata.neuronpedia_id, metadata.hook_name, model.cfg.model_name]
json.dump([*facts, str(sae.identity)], open("facts.json", "w"))
"""  # noqa: E501

AGAIN = """
import torch
from safetensors.torch import load_file
from fsrl import SAEAdapter, HookedModel
from fsrl.errors import FsrlError
from fsrl.models.reading import load_model

place = "gpt2-small-res-jb", "blocks.7.hook_resid_pre"
sae, _, _ = SAEAdapter.from_pretrained(*place)
model = HookedModel(load_model("gpt2-small"), sae.load_from_pretrained_adapter("adapter"))
before = load_file("out.safetensors")
assert (model(before["tokens"]) - before["trained"]).abs().max() < 1e-4
assert (before["trained"] - before["plain"]).abs().max() > 0.01
assert model.model.cfg.model_name == "gpt2"
try:
    SAEAdapter.from_pretrained(*place, force_download=True)
except FsrlError as error:
    print(error)
"""

PLACES = """
import warnings
import torch
from fsrl import SAEAdapter, HookedModel
from fsrl.errors import FsrlError
from fsrl.models.reading import load_model
from transformer_lens import HookedTransformer

model = load_model("gpt2-small")
tokens = torch.tensor([[3, 5, 7, 9, 11]])
plain = model(tokens)
for place in GIVEN:
    sae, cfg, sparsity = SAEAdapter.from_pretrained(*place)
    spliced = HookedModel(model, sae)
    assert torch.equal(spliced(tokens), plain), place
    torch.nn.init.normal_(sae.layer.bias)
    assert (spliced(tokens) - plain).abs().max() > 1e-3, place
    _, cache = spliced.run_with_cache(tokens, names_filter=lambda name: name.startswith("sae_adapter"))
    shape = list(cache["sae_adapter.hook_output"].shape)
    print("place:", cfg["architecture"], cfg["normalize_activations"], shape)

# The last one again, from the hub, and one that does not arrive as it was sent.
SAEAdapter.from_pretrained(*place, force_download=True)
try:
    SAEAdapter.from_pretrained(place[0], "blocks.1.hook_resid_pre", force_download=True)
except FsrlError as error:
    print("refused:", error)

with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always", UserWarning)
    HookedModel(HookedTransformer.from_pretrained_no_processing("gpt2-small"), sae)
[said] = [str(one.message) for one in heard if "centred" in str(one.message)]
print("told:", said)
warnings.simplefilter("error", UserWarning)
HookedModel(eval(said.split("call ")[1]), sae)
"""

REFUSED = """
import sys
from fsrl import SAEAdapter
from fsrl.errors import FsrlError
try:
    SAEAdapter.from_pretrained("gpt2-small-res-jb", "blocks.7.hook_resid_pre")
except FsrlError as error:
    print(error)
assert "sae_lens" not in sys.modules  # known before anything slow is loaded
"""


def written(tree: HubTree) -> dict[str, torch.Tensor]:
    """The SAE's tensors as they lie in the hub's repository."""
    [entry] = [entry for entry in layouts.catalogue()[RELEASE] if entry.sae_id == SAE_ID]
    folder = tree.folder / entry.repo
    commit = (folder / "refs/main").read_text()
    [path] = folder.glob(f"*/{commit}/{entry.folder}/sae_weights.safetensors")
    return load_file(path)


def test_the_lines_of_the_notebook_run_and_the_adapter_outlives_the_hub(
    hub: LoopbackHub, hub_tree: HubTree, hub_environment: Environment, tmp_path: Path
) -> None:
    clients.run(NOTEBOOK, hub_environment(), tmp_path)
    out, facts = load_file(tmp_path / "out.safetensors"), json.loads((tmp_path / "facts.json").read_text())
    sae = hub_tree.saes[RELEASE, SAE_ID]
    assert facts[:4] == [len(sae.w_dec), "gpt2-small/7-res-jb", SAE_ID, "gpt2"]
    assert facts[4].startswith(f"{SAE_ID} of {RELEASE} (standard")
    assert torch.equal(out["W_dec"], sae.loaded) and torch.equal(out["sparsity"], sae.log_sparsity)
    torch.testing.assert_close(out["fresh"], out["plain"], atol=1e-5, rtol=1e-5)
    stored = written(hub_tree)
    x = out["input"] - stored["b_dec"]  # SAEs of that time subtract b_dec first
    torch.testing.assert_close(out["features"], (x @ stored["W_enc"] + stored["b_enc"]).relu())

    hub.close()
    told = clients.run(AGAIN, hub_environment(), tmp_path).splitlines()[-1]
    assert (
        told.startswith(f"{SAE_ID} of {RELEASE} cannot be fetched again")
        and "Leave force_download out" in told
    )


def test_every_place_and_layout_of_the_releases_can_be_spliced(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    """And a forced download is one and is checked, and the call that the centring warning names mends it."""
    places = [
        ("gpt2-small-hook-z-kk", "blocks.3.hook_z"),
        ("gpt2-small-resid-mid-v5-32k", "blocks.3.hook_resid_mid"),
        ("gpt2-small-attn-out-v5-128k", "blocks.3.hook_attn_out"),
        ("gpt2-small-mlp-tm", "blocks.3.hook_mlp_out"),
        (RELEASE, "blocks.11.hook_resid_post"),
    ]
    hub.corrupt("*blocks.1.hook_resid_pre/sae_weights.safetensors")
    code = PLACES.replace("GIVEN", repr(places))
    told = [line.split(": ", 1) for line in clients.run(code, hub_environment(), tmp_path).splitlines()]
    d_model, heads = layouts.SHAPE.d_model, layouts.SHAPE.n_heads
    assert [line[1] for line in told if line[0] == "place"] == [
        f"standard none [1, 5, {heads}, {d_model // heads}]",
        f"topk layer_norm [1, 5, {d_model}]",
        f"topk layer_norm [1, 5, {d_model}]",
        f"standard none [1, 5, {d_model}]",
        f"standard none [1, 5, {d_model}]",
    ]
    fetched = [path for method, path in hub.requests if method == "GET" and path.endswith("post/cfg.json")]
    assert len(fetched) == 2
    [refused] = [line[1] for line in told if line[0] == "refused"]
    assert "does not have the hash that the hub announced" in refused
    [call] = [line[1] for line in told if line[0] == "told"]
    assert call.endswith('call HookedTransformer.from_pretrained("gpt2", center_writing_weights=True)')


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(
    hub: LoopbackHub, hub_environment: Environment, tmp_path: Path
) -> None:
    hub.close()
    told = clients.run(REFUSED, hub_environment(), tmp_path, fork=False)
    assert "cannot be fetched from" in told and told.count("\n") == 1


GATED = {"X-Error-Code": "GatedRepo"}
ANSWERS = {
    "refused the token in HF_TOKEN (401": lambda hub: hub.fail("*", times=None, status=401),
    "is gated: ask for access": lambda hub: hub.fail("*", times=None, status=403, headers=GATED),
    "answered 404 for": lambda hub: hub.fail("*", times=None, status=404),
    "a login page? See to HF_ENDPOINT": lambda hub: hub.say("/api/*", b"<html>log in</html>"),
    "cannot be fetched from": lambda hub: hub.close(),
    "does not have the hash": lambda hub: hub.corrupt("*sae_weights.safetensors"),
}


@pytest.mark.parametrize("there", [False, True], ids=["nothing there", "all there"])
@pytest.mark.parametrize("said", ANSWERS)
def test_a_forced_download_says_why_it_failed_and_takes_nothing_away(
    at_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, there: bool
) -> None:
    from huggingface_hub import constants

    if there:
        saes.load_sae(RELEASE, SAE_ID)
    before = {path: path.read_bytes() for path in (tmp_path / "hf").rglob("*") if path.is_file()}
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", "hf_a_token_of_nobody")
    ANSWERS[said](at_hub)
    with pytest.raises(FsrlError) as raised:
        saes.load_sae(RELEASE, SAE_ID, force_download=True)
    told = str(raised.value)
    assert said in told and "\n" not in told and "hf_a_token" not in told
    assert ("Leave force_download out" in told) == there
    found = {path: path.read_bytes() for path in (tmp_path / "hf").rglob("*") if path.is_file()}
    assert {path: found[path] for path in before} == before
    assert not list((tmp_path / "hf").glob("*.tmp"))


def test_a_forced_download_replaces_what_is_broken(at_hub: LoopbackHub, tmp_path: Path) -> None:
    saes.load_sae(RELEASE, SAE_ID)
    [weights] = (tmp_path / "hf").rglob("sae_weights.safetensors")
    whole = weights.read_bytes()
    weights.resolve().write_bytes(b"x" * len(whole))
    with pytest.raises(FsrlError, match="does not have the hash"):
        saes.load_sae(RELEASE, SAE_ID)
    saes.load_sae(RELEASE, SAE_ID, force_download=True)
    assert weights.read_bytes() == whole


def test_a_forced_download_names_a_cache_that_cannot_be_written(
    at_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file/hf"))
    with pytest.raises(FsrlError, match="the Hugging Face cache .* cannot be written"):
        saes.load_sae(RELEASE, SAE_ID, force_download=True)
