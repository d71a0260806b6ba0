"""The lines of the notebook on the embedded study: folder for release, and no network at all."""

import json
import socket
import warnings
from pathlib import Path

import pytest
import torch

from fsrl.models.reading import load_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def without_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the embedded study needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_lines_run_and_the_sae_does_what_its_record_says(monkeypatch, without_network):
    monkeypatch.chdir(ROOT)
    device = "cpu"
    from fsrl import HookedModel, SAEAdapter

    adapter_kwargs = {"use_lora_adapter": True, "lora_rank": 64, "lora_alpha": 32, "fusion_mode": "additive"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # centring, above all
        sae, cfg_dict, sparsity = SAEAdapter.from_pretrained(
            "data/mini/saes", "blocks.3.hook_resid_pre", device=device, **adapter_kwargs
        )
        model = load_model("data/mini")
        sae_model = HookedModel(model, sae)

    record = json.loads(Path("data/mini/record.json").read_text())["saes"]["blocks.3.hook_resid_pre"]
    assert len(sparsity) == cfg_dict["d_sae"] == record["d_sae"]
    tokens = windows(model)
    with torch.no_grad():
        assert torch.equal(sae_model(tokens), model(tokens))
        _, cache = sae_model.run_with_cache(tokens)
        bare = HookedModel(model, SAEAdapter(sae.sae, use_error_term=False))
        residual = cache["sae_adapter.hook_input"]

        def put_back(x, hook):
            return torch.cat([residual[:, :1], x[:, 1:]], dim=1)

        hooks = [("sae_adapter.hook_output", put_back)]
        lost = bare.run_with_hooks(tokens, fwd_hooks=hooks, return_type="loss") - model(
            tokens, return_type="loss"
        )
    # A few windows of the text that the record was made on, position 0 left as it is, as there.
    active = (cache["sae_adapter.hook_features"][:, 1:] > 0).sum(-1).float().mean()
    assert active == pytest.approx(record["l0"], rel=0.1)
    assert lost.item() == pytest.approx(record["ce_sae"] - record["ce_model"], abs=0.15) and lost > 0.05


def windows(model) -> torch.Tensor:
    """Eight windows of 128 tokens, <|endoftext|> first."""
    text = Path("data/mini/evaluation_text.txt").read_text(encoding="utf-8").replace("<|endoftext|>", "")
    ids = model.tokenizer(text[:12000], add_special_tokens=False)["input_ids"][: 8 * 127]
    body = torch.tensor(ids).view(8, 127)
    return torch.cat([torch.full((8, 1), model.tokenizer.bos_token_id), body], dim=1)
