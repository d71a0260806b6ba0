"""Arad et al.'s input and output score of a direction, and how far it moves the next token's distribution.

After "SAEs Are Good for Steering - If You Select the Right Features" (Arad, Mueller, Belinkov 2025), as their
published code computes them (src/output_score.py, src/input_score.py). With V the k tokens (20 there) whose
logit weights are largest,

    output score = (1 - min_{t in V} rank(t) / d_vocab) * max_{t in V} p(t)
    input score  = share of the texts whose token of largest activation is in V

p is the next token's distribution after a neutral prompt when the direction is added at its last position,
rank counts from 0 the tokens that are more probable. The texts are the (at most) 100 in which the feature's
largest activation is highest; with fewer than 10 there is no input score. They add 10 times the largest
activation of any feature at that position of one prompt; here it is a multiple of the feature's own largest
activation on the text, and the mean over several prompts.

The change of the distribution from q, without anything added, to p:

    total variation = sum_t |p(t) - q(t)| / 2        kl = sum_t p(t) log(p(t) / q(t)), in nats

Example: of four tokens with p = .4 .3 .2 .1 and V = {1, 3}, the output score is (1 - 1/4) * .3 = .225.
"""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

# Texts behind an input score, at most and at least.
TEXTS, LEAST_TEXTS = 100, 10


def top_tokens(
    weights: Float[Tensor, "n n_tokens"], token_ids: Int64[Tensor, "n_tokens"], k: int
) -> Int64[Tensor, "n k"]:
    """The ids of the k tokens of largest weight of each row, the largest first; token_ids: of the columns."""
    return token_ids[weights.topk(min(k, weights.shape[1]), dim=1).indices]


def output_scores(
    logits: Float[Tensor, "*any d_vocab"],
    tokens: Int64[Tensor, "*any k"],
    log_Z: Float[Tensor, "*any"] | None = None,
) -> Float[Tensor, "*any"]:
    """The output score of each distribution, by its logits, on tokens of its own; log_Z: logsumexp of the
    logits, if it is known."""
    log_Z = logits.logsumexp(-1) if log_Z is None else log_Z
    best = logits.gather(-1, tokens).amax(-1)
    # Of the tokens the most probable one has the least rank. A comparison written as numbers and not as bool
    # is added up five times as fast on a CPU; float32 counts to 2^24.
    above = torch.gt(logits, best[..., None], out=torch.empty_like(logits))
    return _score(above.sum(-1), best, log_Z, logits.shape[-1])


def output_scores_of_one(
    ordered: Float[Tensor, "prompts d_vocab"],
    best: Float[Tensor, "n prompts"],
    log_Z: Float[Tensor, "prompts"],
) -> Float[Tensor, "n prompts"]:
    """The output scores of many sets of tokens under the same distributions.

    ordered: their logits, ascending; best: the largest logit of each set's tokens.
    """
    d_vocab = ordered.shape[-1]
    above = d_vocab - torch.searchsorted(ordered, best.T.contiguous(), right=True).T
    return _score(above, best, log_Z, d_vocab)


def _score(
    above: Float[Tensor, "*any"] | Int64[Tensor, "*any"],
    best: Float[Tensor, "*any"],
    log_Z: Float[Tensor, "*each"],
    d_vocab: int,
) -> Float[Tensor, "*any"]:
    return (1 - above.to(best) / d_vocab) * (best - log_Z).exp()


def distances(
    log_p: Float[Tensor, "*any d_vocab"],
    log_q: Float[Tensor, "*each d_vocab"],
    q: Float[Tensor, "*each d_vocab"] | None = None,
) -> tuple[Float[Tensor, "*any"], Float[Tensor, "*any"]]:
    """Total variation and kl from q to p, by log probabilities; log_q: of each, or broadcast to them; q: the
    probabilities, if they are known.
    """
    p = log_p.exp()
    apart = (p - (log_q.exp() if q is None else q)).abs_().sum(-1) / 2
    # Rounding can make a kl of next to nothing negative.
    return apart, (log_p - log_q).mul_(p).sum(-1).clamp(min=0)


def input_scores(
    activations: Float[Tensor, "contexts positions features"],
    inputs: Int64[Tensor, "contexts positions"],
    tokens: Int64[Tensor, "features k"],
) -> Float64[Tensor, "features"]:
    """The input score of each feature on the windows of a text; NaN where it fires in fewer than 10.

    activations: 0 where a position does not count; inputs: token ids; tokens: of each feature.
    """
    largest, where = activations.max(1)
    order = largest.argsort(dim=0, descending=True, stable=True)[:TEXTS]
    counts = largest.gather(0, order) > 0
    at = inputs.gather(1, where).gather(0, order)
    hits = (at[:, :, None] == tokens[None]).any(-1) & counts
    n = counts.sum(0)
    return (hits.sum(0).double() / n).masked_fill(n < LEAST_TEXTS, torch.nan)


def percentiles(values: Float64[Tensor, "n"], among: Float64[Tensor, "m"]) -> Float64[Tensor, "n"]:
    """Share of `among` below each value, ties counting half; NaN for a value that is, or with none known."""
    known = among[~among.isnan()]
    below = (known < values[:, None]).double() + (known == values[:, None]).double() / 2
    return below.mean(1).masked_fill(values.isnan(), torch.nan)
