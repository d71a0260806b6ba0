"""The contexts of a text in which the features of a study's SAEs are most active: one pass of the model.

The slow twin is `fsrl.models.examples`, which reads the features of one SAE one by one: the same windows, the
same rules (a context counts once, position 0 never, the earlier context wins a tie). Here the raw model runs,
and activations are in residual units, as in the measured effects (`fsrl.effects.encoders`).
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl import devices
from fsrl.effects import encoders
from fsrl.models import windows
from fsrl.models.examples import BATCH
from fsrl.models.reading import Model
from fsrl.models.sources import SAESource

WINDOW = (10, 5)  # tokens shown before and after the most active one
SHARES = 100  # activations are told in hundredths of the greatest


@torch.no_grad()
def of_study(
    model: Model,
    source: SAESource,
    saes: Sequence[tuple[str, str, int]],
    text: str,
    *,
    context: int,
    contexts: int,
    examples: int,
    device: str = "cpu",
) -> Iterator[tuple[pd.DataFrame, dict[str, str]]]:
    """The table `contexts` of each SAE, with what to say of it in its metadata.

    saes: id, hook and number of features of each, in their order; context: tokens of a window; contexts:
    windows, spread over the text; examples: of each feature. Raises FsrlError as `windows.windows` and
    `encoders.read_encoder` do.
    """
    where = devices.pick(device)
    bridge = model.bridge if where == "cpu" else model.bridge.to(where)
    length = min(context, int(bridge.cfg.n_ctx))
    tokens = windows.windows(
        model.tokenizer, text, context=length, contexts=contexts, d_vocab=bridge.cfg.d_vocab
    )
    said = {
        **devices.described(where),
        "contexts": f"{len(tokens)} windows of {length} tokens, spread over the text",
        "first_token": str(windows.first_token(model.tokenizer)),
    }
    names = list(dict.fromkeys(hook for _, hook, _ in saes))
    parts = [
        bridge.run_with_cache(batch.to(where), names_filter=names, return_type=None)[1]
        for batch in tokens.split(BATCH)
    ]
    for sae, hook, features in saes:
        every, encoder = torch.arange(features), None
        if source.neurons is None:
            encoder = encoders.read_encoder(source, sae, where)

        def active(part: Tensor, encoder=encoder, every=every, hook=hook) -> Tensor:
            if encoder is None:
                return encoders.of_neurons(part, every)
            return encoders.activations(encoder, part, hook, bridge.b_V.detach(), every)

        found = (active(part[hook]).permute(2, 0, 1) for part in parts)
        yield frame(tokens, *strongest(found, examples)), said


def strongest(
    activations: Iterable[Float[Tensor, "features batch positions"]], k: int
) -> tuple[Int64[Tensor, "features kept"], Float[Tensor, "features kept positions"]]:
    """The k contexts in which each feature is most active, strongest first, and its activations in them.

    activations: batch after batch of contexts. Equal ones go to the earlier context.
    """
    best: tuple[Tensor, ...] = ()  # peak, number of the context, activations in it
    seen = 0
    for batch in activations:
        peak = batch[:, :, windows.FIRST_POSITION :].amax(-1)
        number = torch.arange(seen, seen + batch.shape[1]).expand(len(batch), -1)
        seen += batch.shape[1]
        if best:
            peak, number, batch = (
                torch.cat(pair, 1) for pair in zip(best, (peak, number, batch), strict=True)
            )
        kept = peak.argsort(dim=1, descending=True, stable=True)[:, :k]
        every = kept[:, :, None].expand(-1, -1, batch.shape[2])
        best = peak.gather(1, kept), number.gather(1, kept), batch.gather(1, every)
    return best[1], best[2]


def frame(
    tokens: Int64[Tensor, "contexts positions"],
    contexts: Int64[Tensor, "features kept"],
    values: Float[Tensor, "features kept positions"],
) -> pd.DataFrame:
    """The table `contexts`: a row for each feature and context in which it is active."""
    first, positions = windows.FIRST_POSITION, tokens.shape[1]
    peak, place = values[:, :, first:].max(dim=2)
    place = place + first
    begin = (place - WINDOW[0]).clamp(min=first)
    end = (place + WINDOW[1] + 1).clamp(max=positions)
    held = (peak > 0).nonzero().tolist()
    shares = (SHARES * values.clamp(min=0) / peak.clamp(min=1e-30)[:, :, None]).round().long().numpy()
    ids, peak_of, place_of = tokens.numpy(), peak.numpy(), place.numpy()
    starts, ends, contexts_of = begin.numpy(), end.numpy(), contexts.numpy()
    rows = [
        (
            feature,
            rank,
            contexts_of[feature, rank],
            place_of[feature, rank],
            peak_of[feature, rank],
            place_of[feature, rank] - starts[feature, rank],
            ids[contexts_of[feature, rank], starts[feature, rank] : ends[feature, rank]],
            shares[feature, rank, starts[feature, rank] : ends[feature, rank]],
        )
        for feature, rank in held
    ]
    columns = ["feature", "rank", "context", "position", "activation", "peak", "token_ids", "shares"]
    made = pd.DataFrame(rows, columns=columns)
    whole = dict.fromkeys(["feature", "rank", "context", "position", "peak"], np.int32)
    return made.astype(whole | {"activation": np.float32})
