"""SAELens' SAEs without their weights, and cut down to a few of their features."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch

# Architectures whose features are each encoded from the input alone; in the others they compete.
INDEPENDENT = ("standard", "gated", "jumprelu")


def unfilled(kind: type[Any], cfg: Any) -> Any:
    """An SAE of this class and configuration (which it takes over), for weights that are loaded by `assign`.

    As SAELens' own loader does it: nothing is drawn, and weights are not held twice.
    """
    device, cfg.device = cfg.device, "meta"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its constructor warns of was said of the first of its kind
        sae = kind(cfg)
    cfg.device, sae.device = device, torch.device(device)
    return sae.eval().requires_grad_(False)


def narrowed(sae: Any, features: Sequence[int]) -> Any | None:
    """An SAE whose features 0, 1, ... are those of `sae` that are named, in a fraction of the time.

    Encoded values are the same but for rounding. None where features depend on the others (TopK and alike).
    """
    if sae.cfg.architecture() not in INDEPENDENT:
        return None
    cfg = copy.deepcopy(sae.cfg)
    cfg.d_sae = len(features)
    small, tensors = unfilled(type(sae), cfg), {}
    if not sae.hook_z_reshaping_mode:
        small.turn_off_forward_pass_hook_z_reshaping()
    for name, wanted in small.state_dict().items():
        tensor = sae.state_dict()[name]
        for dim in range(tensor.dim()):
            if tensor.shape[dim] != wanted.shape[dim]:
                tensor = tensor.index_select(dim, torch.tensor(features, device=tensor.device))
        tensors[name] = tensor
    small.load_state_dict(tensors, assign=True)
    return small
