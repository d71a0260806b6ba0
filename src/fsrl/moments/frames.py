"""From the tensors of `fsrl.moments` to the tables `moments`, `extremes` and `histograms`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int64
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.moments.features import LogitMoments
from fsrl.moments.formulas import Typical
from fsrl.moments.tails import with_tails
from fsrl.weights.matrices import Decoder

# Bloom & Lin 2024: below this log10 share of tokens a feature counts as dead.
ALIVE_LOG10_DENSITY = -9.0


# Columns that the pass itself gives, in the tables' order.
MEASURED = (
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "right_kurtosis",
    "right_eighth",
    "left_eighth",
    "bimodality",
    "norm",
)


def moments_frame(result: LogitMoments, decoder: Decoder, typical: Typical) -> pd.DataFrame:
    """The table `moments`, one row per feature; typical: of the isotropic null under the same view
    (`fsrl.nulls.typical`).

    Raises FsrlError as `measured_frame` does.
    """
    return with_tails(measured_frame(result, decoder), result.d_vocab, typical)


def measured_frame(result: LogitMoments, decoder: Decoder) -> pd.DataFrame:
    """The table `moments` without the columns that compare with a null.

    log10_density and alive are null where a density is unknown. Raises FsrlError where the
    moments are not those of as many features as the decoder has.
    """
    n_features = len(result.mean)
    if n_features != len(decoder.W_dec):
        raise FsrlError(
            f"moments table: {n_features} rows of moments but the decoder has {len(decoder.W_dec)}"
        )
    if decoder.log10_density is None:
        density = np.full(n_features, np.nan, dtype=np.float32)
        alive = pd.Series([pd.NA] * n_features, dtype="boolean")
    else:
        density = decoder.log10_density.numpy()
        alive = pd.Series(density >= ALIVE_LOG10_DENSITY, dtype="boolean").mask(np.isnan(density))
    return pd.DataFrame(
        {
            "feature": np.arange(n_features, dtype=np.int32),
            **{name: getattr(result, name).numpy() for name in MEASURED},
            "log10_density": density,
            "alive": alive,
        }
    )


def extremes_frame(
    result: LogitMoments, tokens: Sequence[str], token_ids: Int64[Tensor, "n_tokens"]
) -> pd.DataFrame:
    """The table `extremes`: for each feature the top tokens, then the bottom ones, most extreme first.

    tokens: the whole vocabulary as stored; token_ids: the token of each column of the view that `result` was
    computed from. Raises FsrlError where it counts other tokens than these.
    """
    if len(token_ids) != result.d_vocab:
        raise FsrlError(
            f"extremes table: {len(token_ids)} token ids for moments over {result.d_vocab} tokens"
        )
    n_features, k = result.top_ids.shape
    columns = np.concatenate([result.top_ids.numpy(), result.bottom_ids.numpy()], axis=1).ravel()
    weights = np.concatenate([result.top_weights.numpy(), result.bottom_weights.numpy()], axis=1).ravel()
    ids = token_ids.numpy()[columns]
    return pd.DataFrame(
        {
            "feature": np.repeat(np.arange(n_features, dtype=np.int32), 2 * k),
            "side": pd.Series(np.tile(np.repeat(["top", "bottom"], k), n_features), dtype="str"),
            "rank": np.tile(np.arange(k, dtype=np.int32), 2 * n_features),
            "token_id": ids.astype(np.int32),
            "token": pd.Series(np.asarray(tokens, dtype=object)[ids], dtype="str"),
            "weight": weights,
        }
    )


def histogram_frame(result: LogitMoments) -> pd.DataFrame:
    """The table `histograms`: tokens per bin between mean - 8 std and mean + 8 std, and beyond."""
    return pd.DataFrame(
        {
            "feature": np.arange(len(result.counts), dtype=np.int32),
            "underflow": result.underflow.numpy(),
            "counts": pd.Series(list(result.counts.numpy()), dtype="object"),
            "overflow": result.overflow.numpy(),
        }
    )
