"""A W_U of any size, some columns at a time.

A matrix of at most `WHOLE` numbers is one tile (GPT-2's has 39 million), a larger one is read in tiles of
`TILE`: nobody makes a copy of it in memory, in float64 least of all. Sums are added up tile by tile, in
float64, so that their last digits follow from the two numbers. The pages of tiles that were read are let go
`TOGETHER` at a time.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fsrl.weights import pages

WHOLE = 2**26
TILE = 2**22
TOGETHER = 4


def tiles(W_U: Float[Tensor, "d_model n_tokens"], *others: Tensor) -> Iterator[slice]:
    """Its columns from the first to the last, as slices; its pages are let go, and the others'."""
    d_model, n_tokens = W_U.shape
    if not is_large(W_U):
        yield slice(0, n_tokens)
        return
    width = max(1, TILE // d_model)
    for number, start in enumerate(range(0, n_tokens, width), 1):
        yield slice(start, min(start + width, n_tokens))
        if number % TOGETHER == 0 or start + width >= n_tokens:
            for read in (W_U, *others):
                pages.let_go(read)


def is_large(W_U: Tensor) -> bool:
    """Whether it is read in several tiles."""
    return W_U.numel() > WHOLE


def let_go(W_U: Tensor) -> None:
    """`pages.let_go` of a large one."""
    if is_large(W_U):
        pages.let_go(W_U)


def empty(
    like: Float[Tensor, "d_model _"], n_tokens: int, dtype: torch.dtype | None = None
) -> Float[Tensor, "d_model {n_tokens}"]:
    """Room for so many columns where `like` lies; of a large one on the CPU, in a file (`pages.room`).

    dtype: by default that of `like`.
    """
    d_model, dtype = len(like), dtype or like.dtype
    if like.device.type == "cpu" and d_model * n_tokens > WHOLE:
        return pages.room(d_model, n_tokens, dtype)
    return torch.empty(d_model, n_tokens, dtype=dtype, device=like.device)


def taken(
    W_U: Float[Tensor, "d_model n_tokens"], ids: Int64[Tensor, "kept"]
) -> Float[Tensor, "d_model kept"]:
    """A copy of the columns of these ids, in their order."""
    if len(W_U) * len(ids) <= WHOLE:
        return W_U[:, ids.to(W_U.device)]
    found = empty(W_U, len(ids))
    for tile in tiles(found, W_U):
        found[:, tile] = W_U[:, ids[tile].to(W_U.device)]
    return found


def contiguous(W_U: Float[Tensor, "d_model n_tokens"]) -> Float[Tensor, "d_model n_tokens"]:
    """Row after row, as files have it; itself where it is."""
    if W_U.is_contiguous() or not is_large(W_U):
        return W_U.contiguous()
    found = empty(W_U, W_U.shape[1])
    for tile in tiles(found):
        found[:, tile] = W_U[:, tile]
    return found


def through(
    T: Float[Tensor, "d_model d_model"], W_U: Float[Tensor, "d_model n_tokens"]
) -> Float[Tensor, "d_model n_tokens"]:
    """T @ W_U."""
    if not is_large(W_U):
        return T @ W_U
    found = empty(W_U, W_U.shape[1])
    for tile in tiles(W_U, found):
        found[:, tile] = T @ W_U[:, tile]
    return found


def mean(W_U: Float[Tensor, "d_model n_tokens"]) -> Float64[Tensor, "d_model"]:
    """Over all columns."""
    total = torch.zeros(len(W_U), dtype=torch.float64, device=W_U.device)
    for tile in tiles(W_U):
        total += W_U[:, tile].double().sum(dim=1)
    return total / W_U.shape[1]


def centred_gram(
    W_U: Float[Tensor, "d_model n_tokens"],
) -> Float64[Tensor, "d_model d_model"]:
    """C = Wc Wc^T with Wc the columns less their mean: n_tokens times their covariance."""
    centre = mean(W_U).unsqueeze(1)
    gram = torch.zeros(len(W_U), len(W_U), dtype=torch.float64, device=W_U.device)
    for number, tile in enumerate(tiles(W_U)):
        part = W_U[:, tile] - centre  # in float64, without a copy of the tile
        gram = part @ part.T if not number else gram.addmm_(part, part.T)
    return gram


def product(
    rows: Float[Tensor, "rows d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    out: Float[Tensor, "rows n_tokens"] | None = None,
) -> Float[Tensor, "rows n_tokens"]:
    """rows @ W_U in the rows' dtype, which W_U need not have."""
    if not is_large(W_U):
        return torch.mm(rows, W_U.to(rows.dtype), out=out)
    shape = len(rows), W_U.shape[1]
    found = torch.empty(shape, dtype=rows.dtype, device=rows.device) if out is None else out
    for tile in tiles(W_U):
        found[:, tile] = rows @ W_U[:, tile].to(rows.dtype)
    return found
