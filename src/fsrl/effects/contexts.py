"""The contexts of a text in which the features of a study's SAEs are most active: one pass of the model.

`contexts` has the best few of every feature, as token ids; `effect_peaks` the best one of each feature whose
effects are measured, as text. The slow twin is `fsrl.models.examples`, which reads the features of one SAE
one by one: the same windows, the same rules (a context counts once, position 0 never, the earlier context
wins a tie). Here the raw model runs, and activations are in residual units, as in the measured effects
(`fsrl.effects.encoders`).

The model runs once for all hooks, the SAEs are read one after the other. What the hooks hold waits in memory,
or in nameless files where it is more than `HELD` (the 26 hooks of Gemma 2 2B: 3.9 GB).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl import devices
from fsrl.effects import encoders
from fsrl.effects.sample import read_windows
from fsrl.models.reading import Model
from fsrl.models.sources import SAESource
from fsrl.models.windows import BATCH, FIRST_POSITION
from fsrl.tables.effects import PEAKS
from fsrl.weights import pages

WINDOW, PEAK_WINDOW = (10, 5), (24, 8)  # tokens shown before and after the most active one
SHARES = 100  # activations are told in hundredths of the greatest
HELD = 2**30  # bytes of all hooks in all windows
ENCODED = 2**26  # activations at a time: 16 windows of 128 tokens have as many with 32,768 features


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
    tokens, said = read_windows(model, text, context=context, contexts=contexts, device=where)
    names = list(dict.fromkeys(hook for _, hook, _ in saes))
    b_V = encoders.value_biases(bridge, names)
    gates = encoders.gates(bridge, names) if source.neurons is not None else []
    parts = _held(bridge, tokens, [*names, *gates], where)
    for sae, hook, features in saes:
        every, encoder = torch.arange(features), None
        if source.neurons is None:
            encoder = encoders.read_encoder(source, sae, where)

        def active(part: Mapping[str, Tensor], encoder=encoder, every=every, hook=hook) -> Tensor:
            """The features' activations at every position of these windows; part: what their hooks hold."""
            if encoder is None:
                gate = part[encoders.gate_of(hook)] if gates else None
                return encoders.of_neurons(part[hook], every, gate)
            return encoders.activations(encoder, part[hook], hook, b_V, every, norm=model.head.norm)

        few = max(1, ENCODED // (tokens.shape[1] * features))
        found = (active(piece).permute(2, 0, 1) for part in parts for piece in _split(part, few))
        yield frame(tokens, *strongest(found, examples)), said


def _held(
    bridge: Any, tokens: Int64[Tensor, "contexts positions"], names: Sequence[str], device: str
) -> list[dict[str, Tensor]]:
    """What these hooks hold in the windows, batch after batch."""
    parts: list[dict[str, Tensor]] = []
    for batch in tokens.split(BATCH):
        cache = bridge.run_with_cache(batch.to(device), names_filter=list(names), return_type=None)[1]
        size = sum(cache[name].nbytes for name in names) * len(tokens) / len(batch)
        parts.append({name: _in_file(cache[name]) if size > HELD else cache[name] for name in names})
    return parts


def _in_file(held: Float[Tensor, "batch positions *width"]) -> Float[Tensor, "batch positions *width"]:
    """The same in a nameless file (`pages.room`); on a GPU as it is."""
    if held.device.type != "cpu":
        return held
    room = pages.room(held.shape[0] * held.shape[1], held[0, 0].numel(), held.dtype)
    return room.view(held.shape).copy_(held)


def _split(part: Mapping[str, Tensor], windows: int) -> Iterator[dict[str, Tensor]]:
    """A batch in smaller ones of at most so many windows."""
    for pieces in zip(*(held.split(windows) for held in part.values()), strict=True):
        yield dict(zip(part, pieces, strict=True))


def strongest(
    activations: Iterable[Float[Tensor, "features batch positions"]], k: int
) -> tuple[Int64[Tensor, "features kept"], Float[Tensor, "features kept positions"]]:
    """The k contexts in which each feature is most active, strongest first, and its activations in them.

    activations: batch after batch of contexts. Equal ones go to the earlier context.
    """
    best: tuple[Tensor, ...] = ()  # peak, number of the context, activations in it
    seen = 0
    for batch in activations:
        peak = batch[:, :, FIRST_POSITION:].amax(-1)
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


def peaks_frame(
    features: Sequence[int],
    activations: Float[Tensor, "contexts positions features"],
    inputs: Int64[Tensor, "contexts positions"],
    tokenizer: Any,
) -> pd.DataFrame:
    """The table `effect_peaks`: the site of the largest activation (the first of equal ones) of each feature
    that is active anywhere. activations: of `features`, in the windows `inputs`; tokenizer: a fast one.
    """
    kept, values = strongest([activations.permute(2, 0, 1)], 1)
    rows = []
    for feature, context, *span in zip(features, kept, *_spans(values, PEAK_WINDOW), strict=True):
        peak, place, begin, end = (part.item() for part in span)
        if not peak > 0:
            continue
        window = inputs[context.item()].tolist()
        parts = window[begin:place], window[place : place + 1], window[place + 1 : end]
        texts = (tokenizer.backend_tokenizer.decode(part, skip_special_tokens=False) for part in parts)
        rows.append((feature, peak, *texts))
    texts_of = dict.fromkeys(("before", "token", "after"), "str")
    made = pd.DataFrame(rows, columns=list(PEAKS.columns))
    return made.astype({"feature": "int32", "activation": "float64", **texts_of})


def _spans(
    values: Float[Tensor, "features kept positions"], window: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the activations in a context the largest and its place, and where what is shown begins and ends."""
    peak, place = values[:, :, FIRST_POSITION:].max(dim=2)
    place = place + FIRST_POSITION
    begin = (place - window[0]).clamp(min=FIRST_POSITION)
    return peak, place, begin, (place + window[1] + 1).clamp(max=values.shape[2])


def frame(
    tokens: Int64[Tensor, "contexts positions"],
    contexts: Int64[Tensor, "features kept"],
    values: Float[Tensor, "features kept positions"],
) -> pd.DataFrame:
    """The table `contexts`: a row for each feature and context in which it is active."""
    peak, place, begin, end = _spans(values, WINDOW)
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
