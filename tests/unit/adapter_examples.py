"""SAEs of every architecture with random weights, and what they compute written out by hand in float64."""

import numpy as np
import torch

D_IN, D_SAE, K = 16, 40, 6
ARCHITECTURES = ("standard", "gated", "topk", "jumprelu")
NORMALIZATIONS = ("none", "layer_norm", "constant_norm_rescale", "expected_average_only_in")


def make_sae(architecture="standard", *, hook="blocks.1.hook_resid_pre", seed=0, metadata=None, **settings):
    """A SAELens SAE whose weights are all random, biases and thresholds included."""
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    kind, config = get_sae_class(architecture)
    settings = {"d_in": D_IN, "d_sae": D_SAE, "apply_b_dec_to_input": True} | settings
    if architecture == "topk":
        settings["k"] = K
    sae = kind(config(**settings, metadata=SAEMetadata(hook_name=hook, **(metadata or {}))))
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn) / 2)
    return sae


def activations(*shape, seed=1):
    """Random activations; not centred, as those of an unprocessed model."""
    return torch.randn(*shape, D_IN, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def train(adapter, seed=2):
    """Give every trainable number a random value, as training would."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.get_trainable_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn) / 4)
    return adapter


def by_hand(adapter, x):
    """The adapter's output for x [n, d_in], float64, from the formulas alone."""
    weights = {name: value.double().numpy() for name, value in adapter.sae.state_dict().items()}
    settings, x = adapter.settings, x.double().numpy()
    scaled, undo = _normalised(adapter.sae.cfg.normalize_activations, x)
    features = _encoded(adapter.sae.cfg, weights, scaled)
    s = _steering(adapter, x)
    fused = features + s if settings.fusion_mode == "additive" else features * (1 + s)
    decoded = [undo(_decoded(adapter.sae.cfg, weights, f)) for f in (fused, features)]
    error = x - decoded[1] if settings.use_error_term else 0
    return decoded[0] + error


def _normalised(kind, x):
    if kind == "layer_norm":
        mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
        return (x - mean) / (std + 1e-5), lambda y: y * std + mean
    if kind == "constant_norm_rescale":
        scale = np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)
        return x * scale, lambda y: y / scale
    return x, lambda y: y


def _encoded(cfg, weights, x):
    x = x - weights["b_dec"] * cfg.apply_b_dec_to_input
    if cfg.architecture() == "gated":
        gate = x @ weights["W_enc"] + weights["b_gate"] > 0
        return gate * np.maximum(x @ (weights["W_enc"] * np.exp(weights["r_mag"])) + weights["b_mag"], 0)
    before = x @ weights["W_enc"] + weights["b_enc"]
    if cfg.architecture() == "jumprelu":
        return np.maximum(before, 0) * (before > weights["threshold"])
    if cfg.architecture() == "topk":
        if cfg.rescale_acts_by_decoder_norm:
            before = before * np.linalg.norm(weights["W_dec"], axis=1)
        kept = np.argsort(-before, axis=1)[:, :K]
        mask = np.zeros_like(before, dtype=bool)
        np.put_along_axis(mask, kept, True, axis=1)
        return np.maximum(before, 0) * mask
    return np.maximum(before, 0)


def _decoded(cfg, weights, features):
    if getattr(cfg, "rescale_acts_by_decoder_norm", False):
        features = features / np.linalg.norm(weights["W_dec"], axis=1)
    return features @ weights["W_dec"] + weights["b_dec"]


def _steering(adapter, x):
    layer = {name: value.double().numpy() for name, value in adapter.layer.state_dict().items()}
    if adapter.settings.use_lora_adapter:
        scale = adapter.settings.lora_alpha / adapter.settings.lora_rank
        return x @ (scale * layer["B"] @ layer["A"]).T
    return x @ layer["weight"].T + layer["bias"]
