"""The ways to the moments of W_dec @ W_U that `benchmarks/moments.py` times: ours, others', bare products."""

from collections.abc import Callable

import scipy.stats
import torch
from torch import Tensor

from fsrl.moments import engine
from fsrl.moments import plan as moments_plan
from fsrl.moments import products as moments_products
from fsrl.moments import units as moments_units

D_MODEL, D_VOCAB = 768, 50257
# By device: on a CPU split is fp32.
MODES = {"cpu": ("fp64", "fp32", "bf16"), "cuda": ("fp64", "fp32", "split", "bf16")}
Contender = Callable[[Tensor, Tensor], object]


def weights(n: int, device: str) -> tuple[Tensor, Tensor]:
    """Seeded weights of GPT-2's shapes; of the first 128 rows half are heavy-tailed, half two-level."""
    generator = torch.Generator().manual_seed(0)
    W_U = 0.1 * torch.randn(D_MODEL, D_VOCAB, generator=generator)
    W_U *= 0.5 + torch.rand(D_VOCAB, generator=generator)
    W_dec = torch.randn(n, D_MODEL, generator=generator)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    for i, row in enumerate(W_dec[:64]):
        W_U[:, torch.randperm(D_VOCAB, generator=generator)[: 3 + i]] += 2.5 * row.unsqueeze(1)
    for row in W_dec[64:128]:
        W_U += 0.2 * row.unsqueeze(1) * torch.where(torch.rand(D_VOCAB, generator=generator) < 0.4, 1.0, -1.0)
    return W_dec.to(device), W_U.to(device)


def ours(precision: str, **parts: int) -> Contender:
    return lambda W_dec, W_U: engine.logit_moments(W_dec, W_U, precision=precision, **parts)


def materialised(W_dec: Tensor, W_U: Tensor) -> Tensor:
    """As the SAELens logit-lens tutorial: the whole product, then std, skewness and kurtosis of its rows."""
    logits = W_dec @ W_U
    mean = logits.mean(dim=1, keepdim=True)
    diffs = logits - mean
    std = (diffs**2).mean(dim=1, keepdim=True) ** 0.5
    zscores = diffs / std
    return torch.stack([std.squeeze(1), (zscores**3).mean(dim=1), (zscores**4).mean(dim=1)])


def merged_blocks(W_dec: Tensor, W_U: Tensor, tokens: int = 4096) -> Tensor:
    """Plain torch by blocks of the vocabulary, central moments merged (Chan et al., Pebay) in float64."""
    count, mean, second, third, fourth = (
        0,
        *torch.zeros(4, len(W_dec), dtype=torch.float64, device=W_U.device),
    )
    for start in range(0, W_U.shape[1], tokens):
        block = W_dec @ W_U[:, start : start + tokens]
        n, centre = block.shape[1], block.mean(dim=1, keepdim=True)
        block -= centre
        b2, b3, b4 = (block.pow(power).sum(1).double() for power in (2, 3, 4))
        total, delta = count + n, centre.squeeze(1).double() - mean
        fourth += b4 + delta**4 * count * n * (count**2 - count * n + n**2) / total**3
        fourth += 6 * delta**2 * (count**2 * b2 + n**2 * second) / total**2
        fourth += 4 * delta * (count * b3 - n * third) / total
        third += (
            b3 + delta**3 * count * n * (count - n) / total**2 + 3 * delta * (count * b2 - n * second) / total
        )
        second += b2 + delta**2 * count * n / total
        mean, count = mean + delta * n / total, total
    variance = second / count
    return torch.stack([variance.sqrt(), third / count / variance**1.5, fourth / count / variance**2])


def scipy_rows(W_dec: Tensor, W_U: Tensor) -> Tensor:
    logits = (W_dec.double() @ W_U.double()).cpu().numpy()
    rows = [
        logits.std(1),
        scipy.stats.skew(logits, axis=1),
        scipy.stats.kurtosis(logits, axis=1, fisher=False),
    ]
    return torch.stack([torch.from_numpy(row) for row in rows])


def tiled_product(W_dec: Tensor, W_U: Tensor) -> None:
    """The bare product by torch.mm, in tiles that are thrown away; all threads on each tile."""
    features, tokens = moments_plan.tile_shape(moments_plan.cache_bytes(W_U.device), 4)
    tiles = [W_U[:, start : start + tokens].contiguous() for start in range(0, W_U.shape[1], tokens)]
    for rows in W_dec.split(features):
        for tile in tiles:
            rows @ tile


def best_product(precision: str) -> Contender:
    """The bare product as ours does it: same tiles, same layout, same threads, nothing kept."""

    def product(W_dec: Tensor, W_U: Tensor) -> None:
        features, tokens = moments_plan.tile_shape(moments_plan.cache_bytes(W_U.device), 4)
        tiles = [
            moments_products.prepare_columns(precision, W_U[:, start : start + tokens].double(), features)
            for start in range(0, W_U.shape[1], tokens)
        ]

        def block(rows: Tensor) -> None:
            operands = moments_products.prepare_rows(precision, rows.double())
            buffer = torch.empty(features * (tokens + moments_units.PADDING), device=W_U.device)
            for tile in tiles:
                moments_products.multiply(operands, tile, buffer)

        threads = 1 if W_U.is_cuda else torch.get_num_threads()
        with moments_products.own_units(precision), moments_plan.workers(threads) as in_order:
            list(in_order(block, W_dec.split(features)))

    return product


def contenders(device: str) -> dict[str, Contender]:
    bare, modes = {"n_extremes": 0, "n_bins": 0}, MODES[device]
    found: dict[str, Contender] = {"torch.mm product, tiled, fp32": tiled_product}
    found |= {f"our product, {precision}": best_product(precision) for precision in modes[1:]}
    found |= {f"ours, {precision}, moments": ours(precision, **bare) for precision in modes}
    found |= {f"ours, {precision}, all": ours(precision) for precision in modes[1:]}
    found |= {
        "materialised (tutorial)": materialised,
        "merged blocks": merged_blocks,
        "scipy.stats": scipy_rows,
    }
    return found


# A bare product, and what is slow, get this share of the rows; their times are scaled up, and said to be.
# Ours have a fixed cost beside the product, so that scaling up can only make them look slower.
SHARES = {
    "torch.mm product, tiled, fp32": 1 / 4,
    "our product, fp32": 1 / 4,
    "ours, fp64, moments": 1 / 12,
    "materialised (tutorial)": 1 / 4,
    "merged blocks": 1 / 4,
    "scipy.stats": 1 / 192,
}


def share(name: str, n: int) -> int:
    return min(n, max(int(n * SHARES.get(name, 1)), 128))
