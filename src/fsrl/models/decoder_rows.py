"""What one unit of each feature adds: decode(one-hot) - decode(0), as SAELens runs the SAE.

For feature i with one-hot vector e_i

    row i = decode(e_i) - decode(0)             [d_in], at the SAE's hook

which is row i of W_dec unless `decode` does more than multiply by it: TopK SAEs may divide by its norms
(rescale_acts_by_decoder_norm; the row then has length 1), temporal ones by the norm of their activations.
"""

import copy
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

# Rows that are made at once.
ROWS = 16384


@torch.no_grad()
def decoder_rows(sae: Any) -> Float32[Tensor, "d_sae d_in"]:
    """What one unit of each feature adds: decode(one-hot) - decode(0) as SAELens runs the SAE, float32.

    Where the SAE normalises each activation vector (layer_norm, constant_norm_rescale) in units of the
    normalised stream. This is W_dec itself, no copy, unless `decode` does more, such as dividing by norms.
    """
    twin = copy.copy(sae)
    # b_dec would cancel but for its rounding, which in GPT-2's largest coordinates is that of the rows.
    weights = {name: getattr(sae, name).detach().float().contiguous() for name in ("W_dec", "b_dec")}
    vars(twin)["_parameters"] = {**vars(sae)["_parameters"], **weights, "b_dec": 0 * weights["b_dec"]}
    if per_vector(sae):
        vars(twin)["run_time_activation_norm_fn_out"] = lambda x: x
    twin.turn_off_forward_pass_hook_z_reshaping()
    W_dec = rows = weights["W_dec"]
    for start in range(0, len(rows), ROWS):
        part = torch.arange(start, min(start + ROWS, len(rows)), device=W_dec.device)
        ones, shape = torch.ones(len(part), device=W_dec.device), (len(part), len(rows))
        at = torch.stack([part - start, part])
        added = twin.decode(torch.sparse_coo_tensor(at, ones, shape, check_invariants=True))
        if not torch.equal(added, W_dec[part]):
            rows = rows.clone() if rows is W_dec else rows
            rows[part] = added
    return rows


def per_vector(sae: Any) -> bool:
    """Whether the SAE divides each activation vector by its own scale, and multiplies its output by it."""
    return sae.cfg.normalize_activations in ("layer_norm", "constant_norm_rescale")
