"""Does it read better? Where a feature fires: how high its logit weights put the token that really comes
next.

A token's percentile under a feature's weights is its mid-rank among the view's tokens, from 0 for the least
weight to 1 for the largest. With the sites of a text being positions whose next token the view has,

    gain = mean percentile of the next token where the feature fires - the same over all sites (its base rate)

since some features put common tokens high wherever they are. A feature whose weights say nothing of what
follows has a gain of 0; so has a random direction, on average. Direct weights W_dec @ W_U and transported
ones W_dec T^T W_U are read at the same sites; the difference of their gains is a feature's own.

Example: with three sites, percentiles of the next tokens .9 .5 .1, and a feature that fires at the first
alone, the gain is .9 - .5 = .4.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fsrl import threads
from fsrl.effects import forward
from fsrl.models.windows import FIRST_POSITION
from fsrl.steering.measure import Activations, Vocabulary, chunks
from fsrl.tables.steering import NEXT_TOKEN
from fsrl.weights.matrices import Decoder

WEIGHTS = ("direct", "transported")
# Of 8 bytes, what `percentiles` holds of a weight on the way.
COPIES = 8


def percentiles(weights: Float[Tensor, "n n_tokens"]) -> Float64[Tensor, "n n_tokens"]:
    """Mid-ranks of each row from 0 to 1; half where there is one token."""
    ordered, order = _sorted(weights)
    n_tokens = weights.shape[1]
    places = torch.arange(n_tokens, device=weights.device).expand_as(ordered)
    new = ordered[:, 1:] != ordered[:, :-1]
    edge = torch.ones_like(ordered[:, :1], dtype=torch.bool)
    first = torch.where(torch.cat([edge, new], 1), places, 0).cummax(1).values
    last = torch.where(torch.cat([new, edge], 1), places, n_tokens - 1).flip(1).cummin(1).values.flip(1)
    middle = (first + last).double() / 2 / max(n_tokens - 1, 1)
    middle = middle if n_tokens > 1 else torch.full_like(middle, 0.5)
    return torch.empty_like(middle).scatter_(1, order, middle)


def _sorted(weights: Float[Tensor, "n n_tokens"]) -> tuple[Tensor, Int64[Tensor, "n n_tokens"]]:
    """Rows in ascending order, and where each value was."""
    if weights.device.type == "cpu":
        # A fifth of the time that torch takes.
        order = torch.from_numpy(weights.numpy().argsort(axis=1))
    else:
        order = weights.argsort(dim=1)
    return weights.gather(1, order), order


def sites_of(
    inputs: Int64[Tensor, "contexts positions"], token_ids: Int64[Tensor, "n_tokens"], d_vocab: int
) -> tuple[Int64[Tensor, "sites"], Int64[Tensor, "sites"]]:
    """Positions of the flattened text whose next token the view has, and that token's column."""
    column = torch.full((d_vocab,), -1)
    column[token_ids.cpu()] = torch.arange(len(token_ids))
    following = torch.full_like(inputs, -1)
    following[:, FIRST_POSITION:-1] = column[inputs[:, FIRST_POSITION + 1 :]]
    flat = following.flatten()
    sites = (flat >= 0).nonzero().squeeze(1)
    return sites, flat[sites]


def next_tokens(
    decoder: Decoder,
    sample: pd.DataFrame,
    activations: Activations,
    inputs: Int64[Tensor, "contexts positions"],
    vocabulary: Vocabulary,
    T: Float[Tensor, "d_model d_model"] | None,
) -> pd.DataFrame:
    """The table `next_token` of one layer.

    sample: of `fsrl.effects.sample.choose_features`; activations of its features on the text `inputs`; T: of
    the layer's hook, None where a study has none.
    """
    W_U = vocabulary.seen
    sites, column = sites_of(inputs, vocabulary.token_ids, vocabulary.W_U.shape[1])
    parts = []
    for features in chunks(sample):
        fires = (activations(features).flatten(0, 1)[sites] != 0).T.contiguous()
        following = [column[fired] for fired in fires]
        rows = decoder.W_dec[features].to(W_U)
        columns = {"sites": fires.sum(1).numpy()}
        for weights, moved in zip(WEIGHTS, (rows, None if T is None else rows @ T.T), strict=True):
            both = torch.full((2, len(rows)), torch.nan, dtype=torch.float64)
            if moved is not None:
                both = _means(moved, W_U, following, column)
            columns |= {weights: both[0].numpy(), f"{weights}_base": both[1].numpy()}
            columns |= {f"{weights}_gain": (both[0] - both[1]).numpy()}
        parts.append(pd.DataFrame(columns))
    found = pd.concat(parts, ignore_index=True)
    found["difference"] = found["transported_gain"] - found["direct_gain"]
    made = sample.reset_index(drop=True).join(found)
    return made.astype({"type": "str", "sites": "int64"})[list(NEXT_TOKEN.columns)]


def _means(
    rows: Float[Tensor, "n d_model"],
    W_U: Float[Tensor, "d_model n_tokens"],
    following: Sequence[Int64[Tensor, "_"]],
    column: Int64[Tensor, "sites"],
) -> Float64[Tensor, "2 n"]:
    """Mean percentile under each row of what follows where its feature fires, and of what follows anywhere;
    NaN for one that never does.
    """
    n_tokens = W_U.shape[1]
    share = torch.bincount(column, minlength=n_tokens).double() / len(column)
    share = share.to(W_U.device)
    size = forward.rows(W_U.device, COPIES * 8 * n_tokens)

    def part(start: int) -> Float64[Tensor, "2 part"]:
        """Of the rows that are ranked in one go."""
        ranks = percentiles(rows[start : start + size] @ W_U)
        base = (ranks @ share).cpu()
        pairs = zip(ranks.cpu(), following[start : start + size], strict=True)
        own = torch.stack([row[tokens].mean() for row, tokens in pairs])
        return torch.stack([own, base.masked_fill(own.isnan(), torch.nan)])

    # As in `fsrl.steering.measure.read`.
    with threads.workers(W_U.device) as pool:
        return torch.cat(list(pool.map(part, range(0, len(rows), size))), dim=1)
