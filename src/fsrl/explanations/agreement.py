"""Do Neuronpedia's top and bottom tokens and histograms agree with W_dec @ W_U as it is computed here?

Nothing published says how W_U was processed for them. So each feature of a sample is compared under four
processings: the final LayerNorm's weight folded in or not, and centred over the vocabulary or not (which
takes one constant off a feature's values). Published values are rounded to 5 or 3 decimals, and were computed
in bfloat16 at times; tokens are spelled as the exporter's HTML needed it. Compared are

    overlap     published tokens that are among as many local ones, at either end
    difference  of values rank by rank, so that no spelling matters
    histogram   half the sum of differences between the shares of the vocabulary in the published bins

A feature agrees where both ends share 80 % of their tokens and no value differs by more than a tolerance; of
the processings that most features agree with, those fit that at least half of the features agree with.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.tables.explanations import FITS, TOKEN_AGREEMENT
from fsrl.tokens import text as token_text
from fsrl.weights import columns
from fsrl.weights.matrices import Unembedding

PROCESSINGS = tuple((w_u, centred) for w_u in ("folded", "raw") for centred in (True, False))
FEATURES_PER_BLOCK = 64
SHARED_TOKENS = 0.8
AGREEING_FEATURES = 0.5
# How exporters wrote what HTML or a line cannot hold, beside HTML's own entities.
SPELLED = {
    "\xa0": " ",
    "\u0120": " ",
    "\u2581": " ",
    "\u010a": "\n",
    "\u0109": "\t",
    "\\n": "\n",
    "\\t": "\t",
    "\u21b5": "\n",
}


@dataclass(frozen=True, eq=False)
class Published:
    """What a feature's row holds: tokens as spelled, values of the top (descending) and the bottom
    (ascending), shares of the vocabulary in bins of equal width from `start`; width 0: no bins.
    """

    top: list[str]
    top_values: Float64[np.ndarray, "top"]
    bottom: list[str]
    bottom_values: Float64[np.ndarray, "bottom"]
    shares: Float64[np.ndarray, "bins"]
    start: float
    width: float


def sample(n_features: int, count: int, *, seed: int) -> list[int]:
    """`count` features (all where there are no more), drawn without replacement, ascending."""
    chosen = np.random.default_rng(seed).choice(n_features, size=min(count, n_features), replace=False)
    return sorted(chosen.tolist())


def published(row: Mapping[str, Any]) -> Published | None:
    """A row of Neuronpedia's export of features; None where it lacks tokens or values of an end."""
    high, low = (_end(row.get(f"{end}_str"), row.get(f"{end}_values")) for end in ("pos", "neg"))
    if high is None or low is None:
        return None
    centres = _numbers(row.get("logits_hist_data_bar_values"))
    heights = _numbers(row.get("logits_hist_data_bar_heights"))
    shares, start, width = np.empty(0), 0.0, 0.0
    if len(centres) == len(heights) > 1 and centres[-1] > centres[0] and heights.sum() > 0:
        width = float(centres[-1] - centres[0]) / (len(centres) - 1)
        shares, start = heights / heights.sum(), float(centres[0]) - width / 2
    top, bottom = np.sort(high[1])[::-1], np.sort(low[1])
    return Published(high[0], top, low[0], bottom, shares, start, width)


def spellings(tokens: Sequence[str]) -> dict[str, set[int]]:
    """Ids by every way in which a token may be spelled in an export (see `spelled`)."""
    found: dict[str, set[int]] = {}
    for number, token in enumerate(tokens):
        text = token_text.decode(token).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for form in (token, text):
            found.setdefault(spelled(form), set()).add(number)
    return found


def spelled(token: str) -> str:
    """A token's spelling, the same for all ways of writing it: HTML entities undone, spaces and newlines."""
    token = html.unescape(token)
    for written, meant in SPELLED.items():
        token = token.replace(written, meant)
    return token


def compare(
    rows: Mapping[int, Mapping[str, Any]],
    W_dec: Float[Tensor, "d_sae d_model"],
    unembedding: Unembedding,
    *,
    sae: str,
) -> pd.DataFrame:
    """The table `agreement` for the features in `rows` (Neuronpedia's, by feature).

    Computed in float64, 64 features at a time. Features without published values are left out.
    Raises FsrlError where a feature is none of W_dec's, or W_dec does not fit the model.
    """
    known = {feature: found for feature, row in rows.items() if (found := published(row)) is not None}
    if W_dec.shape[1] != unembedding.folded.shape[0] or (known and max(known) >= len(W_dec)):
        raise FsrlError(f"agreement of {sae}: the rows are of another SAE or model; check the source")
    ids = spellings(unembedding.tokens)
    features = sorted(known)
    parts = []
    for w_u, matrix in (("folded", unembedding.folded), ("raw", unembedding.raw)):
        wide = matrix if columns.is_large(matrix) else matrix.double()
        for start in range(0, len(features), FEATURES_PER_BLOCK):
            block = features[start : start + FEATURES_PER_BLOCK]
            logits = columns.product(W_dec[block].double(), wide).numpy()
            for feature, values in zip(block, logits, strict=True):
                for centred in (True, False):
                    own = values - values.mean() if centred else values
                    place = {"sae": sae, "feature": feature, "w_u": w_u, "centred": centred}
                    parts.append(place | _agreement(known[feature], own, ids))
    kinds = {name: column.pandas_types[0] for name, column in TOKEN_AGREEMENT.columns.items()}
    return (
        pd.DataFrame(parts, columns=list(kinds))
        .astype(kinds)
        .sort_values(["feature", "w_u", "centred"], kind="stable", ignore_index=True)
    )


def fits(agreement: pd.DataFrame, *, sae: str, sampled: int, tolerance: float) -> pd.DataFrame:
    """The table `fits` of one SAE: which processing its published values are of, if any.

    agreement: its table `agreement`; sampled: features asked for; tolerance: largest difference of a
    feature's values as a share of its largest one.
    """
    rows = []
    for w_u, centred in PROCESSINGS:
        mine = agreement[(agreement["w_u"] == w_u) & (agreement["centred"] == centred)]
        shares = {end: mine[f"{end}_overlap"] / mine["tokens"] for end in ("top", "bottom")}
        agrees = mine["max_difference"] <= tolerance * mine["largest"]
        for share in shares.values():
            agrees &= share >= SHARED_TOKENS
        medians = {name: mine[name].median() for name in ("max_difference", "scale", "histogram_distance")}
        means = {f"{end}_overlap": share.mean() for end, share in shares.items()}
        counts = {"sampled": sampled, "features": len(mine), "agreeing": int(agrees.sum())}
        rows.append({"sae": sae, "w_u": w_u, "centred": centred, **counts, **means, **medians})
    frame = pd.DataFrame(rows)
    most, enough = frame["agreeing"].max(), AGREEING_FEATURES * frame["features"]
    frame["fits"] = (frame["agreeing"] == most) & (frame["agreeing"] >= enough) & (frame["features"] > 0)
    return frame[list(FITS.columns)].astype({name: c.pandas_types[0] for name, c in FITS.columns.items()})


def _agreement(
    theirs: Published, values: Float[np.ndarray, "d_vocab"], ids: Mapping[str, set[int]]
) -> dict[str, Any]:
    """One row of the table, for logit weights under one processing."""
    order = torch.from_numpy(values)
    found: dict[str, Any] = {"tokens": min(len(theirs.top), len(theirs.bottom), len(values))}
    pairs = []
    for end, tokens, given in (
        ("top", theirs.top, theirs.top_values),
        ("bottom", theirs.bottom, theirs.bottom_values),
    ):
        k = min(len(tokens), len(values))
        local = order.topk(k, largest=end == "top")
        found[f"{end}_overlap"] = overlap(tokens[:k], local.indices.tolist(), ids)
        pairs.append((given[:k], local.values.numpy()))
    mine, given = np.concatenate([own for _, own in pairs]), np.concatenate([value for value, _ in pairs])
    found["unknown"] = sum(spelled(token) not in ids for token in (*theirs.top, *theirs.bottom))
    found["largest"] = float(np.abs(given).max())
    found["max_difference"] = float(np.abs(given - mine).max())
    square = float(mine @ mine)
    found["scale"] = float(given @ mine) / square if square else np.nan
    found["histogram_distance"] = histogram_distance(theirs, values)
    return found


def overlap(tokens: Iterable[str], local: Iterable[int], ids: Mapping[str, set[int]]) -> int:
    """How many of the published tokens are among the local ids; each id answers for one token at most."""
    remaining, count = set(local), 0
    for token in tokens:
        hits = ids.get(spelled(token), set()) & remaining
        if hits:
            remaining.discard(min(hits))
            count += 1
    return count


def histogram_distance(theirs: Published, values: Float[np.ndarray, "d_vocab"]) -> float:
    """0 (the same shares of the vocabulary in every bin) to 1 (none in common); NaN where there are no bins.

    Rounded bins may end a little within the range: values up to half a bin beyond count in the last one.
    """
    if not theirs.width:
        return np.nan
    bins = len(theirs.shares)
    edges = theirs.start + theirs.width * np.arange(bins + 1)
    edges[0], edges[-1] = edges[0] - theirs.width / 2, edges[-1] + theirs.width / 2
    local = np.histogram(values, bins=edges)[0] / len(values)
    return float(np.abs(theirs.shares - local).sum() + (1 - local.sum())) / 2


def _end(tokens: Any, values: Any) -> tuple[list[str], Float64[np.ndarray, "k"]] | None:
    numbers = _numbers(values)
    sound = isinstance(tokens, list) and len(tokens) == len(numbers) > 0
    return (tokens, numbers) if sound and all(isinstance(token, str) for token in tokens) else None


def _numbers(values: Any) -> Float64[np.ndarray, "n"]:
    """Empty where they are no list of finite numbers."""
    sound = isinstance(values, list) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
    )
    numbers = np.array(values if sound else [], dtype=np.float64)
    return numbers if np.isfinite(numbers).all() else np.empty(0)
