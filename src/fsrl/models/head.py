"""From the end of the residual stream to the logits: final norm, W_U, a scale, a cap.

    logits = cap(scale * (norm(x) @ W_U + b_U))        x: hook_resid_post of the last block

    norm         norm(x)                          W_U folded (`fsrl.models.export.fold`)
    LayerNorm    gain * (x - mean(x)) / s + b     scale * gain * W_U, centred over d_model
    RMSNorm      gain * x / s                     scale * gain * W_U
    none         x                                scale * W_U

s is the norm's denominator at x; gain is the norm's weight w, or 1 + w (Gemma, Nemotron), or 1. Where v is
added to x and s is held, the logits change by v @ folded / s, exactly: b and b_U (Phi, GPT-J) move every
logit whatever x is, and drop out. A cap (Gemma 2: c tanh(logit / c)) comes after: logit weights are of the
logits before it, whose order it keeps. A scale is Cohere's logit_scale, Granite's 1 / logits_scaling, ...

None of this is looked up by a model's name. The norm is asked what it does to a few vectors, then the model
reads a few tokens and its own logits must come out of the formula: a head that this does not describe
(post-norm blocks without a final norm, a projection before W_U, an adapter on either) is refused.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from fsrl.errors import FsrlError

NORMS = ("LayerNorm", "RMSNorm", "none")
# Tokens that the model reads, vectors that its norm is asked about.
PROBE_TOKENS, PROBE_VECTORS = 8, 4


@dataclass(frozen=True, eq=False)
class Head:
    """norm: LayerNorm, RMSNorm or none; gain: what the norm multiplies by, None where there is no norm;
    offset: whether that is 1 + its weight; scale: of the logits; cap: on their size, None for none.
    """

    norm: str
    gain: Float32[Tensor, "d_model"] | None
    offset: bool
    scale: float
    cap: float | None

    def metadata(self) -> dict[str, str]:
        """What a table says of it: how W_U was folded, and the scale and cap where there are any."""
        steps = [] if self.gain is None else ["ln_f.weight folded in" + (" as 1 + w" if self.offset else "")]
        steps += ["centred over d_model"] if self.norm == "LayerNorm" else []
        steps += [f"times the logit scale {self.scale:g}"] if self.scale != 1 else []
        found = {
            "W_U_processing": f"folded: {', '.join(steps) or 'as stored'}; raw: as stored",
            "final_norm": self.norm,
        }
        if self.scale != 1:
            found["logit_scale"] = f"{self.scale:g}"
        if self.cap is not None:
            found["logit_soft_cap"] = f"{self.cap:g}; logit weights are of the logits before it"
        return found


@torch.no_grad()
def read_head(model: Any, place: str) -> Head:
    """The head of a TransformerBridge or HookedTransformer, processed or not.

    place: names the model in messages. Raises FsrlError where the model's logits are not what its final norm,
    W_U, a scale and a cap give.
    """
    norm = getattr(model, "ln_final", None)
    if norm is None:
        raise FsrlError(
            f"{place}: TransformerLens finds no final norm in {model.cfg.architecture}; logit weights are "
            "defined for models that end in a norm and W_U only"
        )
    W_U = model.W_U.detach()
    tolerance = torch.finfo(W_U.dtype).eps ** 0.5
    kind, gain, offset = read_norm(norm, W_U[:, 0], f"{place}: the final norm")
    last, read, logits = _run(model, norm)
    if len(read) != 2 or not _close(last, read[0], tolerance):
        raise FsrlError(
            f"{place}: the final norm does not read the end of the residual stream (hook_resid_post of the "
            "last block); logit weights are not defined for this model"
        )
    direct = (read[1] @ W_U + model.b_U.detach()).double()
    scale, cap = _scale_and_cap(model.cfg, direct, logits.double(), tolerance, place)
    return Head(kind, gain, offset, scale, cap)


def probe_tokens(d_vocab: int, n_ctx: int | None) -> Int64[Tensor, "1 positions"]:
    """Token ids that a model is tried with; n_ctx: how many it reads at most, None for any number."""
    return (torch.arange(1, 1 + min(PROBE_TOKENS, n_ctx or PROBE_TOKENS)) % d_vocab)[None]


def same_logits(found: Float[Tensor, "*any d_vocab"], expected: Float[Tensor, "*any d_vocab"]) -> bool:
    """Whether logits agree to the square root of their precision, in units of their spread."""
    return bool((found - expected).abs().max() <= torch.finfo(found.dtype).eps ** 0.5 * expected.std())


def read_norm(
    norm: Any, like: Float[Tensor, "d_model"], place: str
) -> tuple[str, Float32[Tensor, "d_model"] | None, bool]:
    """Kind, gain, and whether the gain is 1 + weight, of the first formula that repeats the norm's output.

    like: a vector of the width, dtype and device that the norm reads; place: how errors name the norm. Raises
    FsrlError where it is none of NORMS.
    """
    tolerance = torch.finfo(like.dtype).eps ** 0.5
    generator = torch.Generator().manual_seed(0)
    # Off centre, so that centring shows; large, so that no eps does (1 changes 5e-7).
    x = 1000 * (torch.randn(1, PROBE_VECTORS, len(like), generator=generator) + 1).to(like)
    # Half the difference of opposite inputs: a bias drops out.
    found = ((norm(x) - norm(-x)) / 2).float()
    x = x.float()
    centred = x - x.mean(-1, keepdim=True)
    normalised = {
        "LayerNorm": centred / centred.square().mean(-1, keepdim=True).sqrt(),
        "RMSNorm": x / x.square().mean(-1, keepdim=True).sqrt(),
    }
    weight = getattr(norm, "weight", getattr(norm, "w", None))
    weight = None if weight is None else weight.detach().float()
    gains = [(torch.ones_like(x[0, 0]), False)]
    gains += [] if weight is None else [(weight, False), (1 + weight, True)]
    for kind, value in normalised.items():
        # The weight comes before 1, which it may equal.
        for gain, offset in [*gains[1:], gains[0]]:
            if _close(found, gain * value, tolerance):
                return kind, gain.cpu(), offset
    if _close(found, x, tolerance):
        return "none", None, False
    raise FsrlError(
        f"{place} ({type(getattr(norm, 'original_component', norm)).__name__}) is neither a LayerNorm nor an "
        "RMSNorm with a weight, so what comes before and after it cannot be folded into one"
    )


def _run(model: Any, norm: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    """Of a few tokens: the residual stream at the end, what the final norm reads and writes (each time that
    it is called), the logits.
    """
    caught: list[Tensor] = []
    name = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    handle = norm.register_forward_hook(lambda module, given, out: caught.extend([given[0], out]))
    try:
        tokens = probe_tokens(model.W_U.shape[1], model.cfg.n_ctx).to(model.W_U.device)
        logits, cache = model.run_with_cache(tokens, names_filter=[name])
    finally:
        handle.remove()
    return cache[name], caught, logits


def _scale_and_cap(
    cfg: Any,
    direct: Float[Tensor, "1 positions d_vocab"],
    logits: Float[Tensor, "1 positions d_vocab"],
    tolerance: float,
    place: str,
) -> tuple[float, float | None]:
    """What lies between norm(x) @ W_U + b_U and the logits; FsrlError where it is something else."""
    cap = getattr(cfg, "output_logits_soft_cap", None)
    # TransformerLens writes -1 for none.
    cap = float(cap) if cap is not None and cap > 0 else None
    # As many digits as the metadata show.
    scale = 1.0 if cap else float(f"{float((direct * logits).sum() / direct.square().sum()):.6g}")
    scale = 1.0 if abs(scale - 1) <= tolerance else scale
    expected = cap * torch.tanh(direct / cap) if cap else scale * direct
    if not (logits - expected).abs().max() <= tolerance * logits.std():
        raise FsrlError(
            f"{place}: the logits are not what the final norm and W_U give, times a scale or under a cap; "
            "logit weights are not defined for this model"
        )
    return scale, cap


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())
