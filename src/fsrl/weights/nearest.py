"""Directions that lie nearest to others: by the cosine, which for rows of length 1 is their product."""

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

ROWS = 2048  # of one product: 200 MB beside 24,576 columns


def nearest_of_both(
    rows: Float32[Tensor, "m d_model"], others: Float32[Tensor, "n d_model"]
) -> tuple[
    tuple[Int64[Tensor, "m"], Float32[Tensor, "m"]],
    tuple[Int64[Tensor, "n"], Float32[Tensor, "n"]],
]:
    """The nearest of the others to each row, its number and cosine, and of the rows to each other one.

    Both are from one product. Rows of either have length 1 (`fsrl.weights.matrices.unit_rows`), or are zero:
    then their cosine with everything is 0. The earlier one wins a tie.
    """
    ids, cosines = [], []
    back = torch.full((len(others),), -torch.inf, device=rows.device)
    back_ids = torch.zeros(len(others), dtype=torch.long, device=rows.device)
    for start in range(0, len(rows), ROWS):
        product = rows[start : start + ROWS] @ others.T
        value, index = product.max(dim=1)
        ids.append(index)
        cosines.append(value)
        value, index = product.max(dim=0)
        better = value > back
        back[better], back_ids[better] = value[better], index[better] + start
    return (torch.cat(ids), torch.cat(cosines)), (back_ids, back)
