"""Each feature's best sets, and which tests of a study are discoveries.

The best set of a side is the one of smallest p among the sets that a feature promotes (t > 0) or suppresses.
One false discovery rate (Benjamini and Hochberg) goes over all features, sets and layers of a study in a
view.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int, Int64, Shaped
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.stats import rates


@dataclass(frozen=True, eq=False)
class BestSets:
    """Each feature's set of smallest p among those with t > 0 (promoted) and with t < 0 (suppressed).

    promoted, suppressed: row of `sets`, ties to the lower one, -1 where there is none; the others: NaN where
    there is none.
    """

    promoted: Int64[Tensor, "features"]
    promoted_log10_p: Float[Tensor, "features"]
    promoted_log10_q: Float[Tensor, "features"]
    suppressed: Int64[Tensor, "features"]
    suppressed_log10_p: Float[Tensor, "features"]
    suppressed_log10_q: Float[Tensor, "features"]


def best_sets(t: Tensor, log10_p: Tensor, log10_q: Tensor) -> BestSets:
    """Each feature's best promoted and best suppressed set.

    t, log10_p, log10_q: float [features, n_sets]; log10_q is what `benjamini_hochberg` gives for the whole
    study, cut to these features. Raises FsrlError where the shapes differ.
    """
    if not t.shape == log10_p.shape == log10_q.shape or t.dim() != 2 or t.shape[1] == 0:
        shapes = [list(tensor.shape) for tensor in (t, log10_p, log10_q)]
        raise FsrlError(f"best sets: t, log10_p and log10_q are {shapes}; all must be [features, sets]")
    return BestSets(*_best(t > 0, log10_p, log10_q), *_best(t < 0, log10_p, log10_q))


def _best(
    candidates: Bool[Tensor, "features n_sets"],
    log10_p: Float[Tensor, "features n_sets"],
    log10_q: Float[Tensor, "features n_sets"],
) -> tuple[Int64[Tensor, "features"], Float[Tensor, "features"], Float[Tensor, "features"]]:
    ranked = log10_p.masked_fill(~candidates | log10_p.isnan(), torch.inf)
    best = ranked.argmin(dim=1, keepdim=True)
    none = ranked.gather(1, best).isinf()
    p, q = (values.gather(1, best).masked_fill(none, torch.nan) for values in (log10_p, log10_q))
    return best.masked_fill(none, -1).squeeze(1), p.squeeze(1), q.squeeze(1)


@dataclass(frozen=True, eq=False)
class Discoveries:
    """log10_q: of each layer, NaN where not tested; cut: the largest log10 p that is significant at `level`,
    NaN where none is. A test is significant where its log10 p is at most the cut.
    """

    log10_q: list[Float32[np.ndarray, "_features _n_sets"]]
    cut: float
    level: float


def of_study(log10_p: Sequence[Float32[np.ndarray, "_features _n_sets"]], *, level: float) -> Discoveries:
    """Benjamini and Hochberg over all entries of all layers at `level`; a layer may be of any size."""
    shapes = [layer.shape for layer in log10_p]
    flat = np.concatenate([layer.reshape(-1) for layer in log10_p])
    q = rates.benjamini_hochberg(flat).astype(np.float32)
    called = q <= np.log10(level)
    cut = float(flat[called].max()) if called.any() else np.nan
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1]
    parts = [part.reshape(shape) for part, shape in zip(np.split(q, ends), shapes, strict=True)]
    return Discoveries(parts, cut, level)


def significant(
    t: Float[np.ndarray, "features n_sets"], log10_p: Float[np.ndarray, "features n_sets"], cut: float
) -> tuple[Bool[np.ndarray, "features n_sets"], Bool[np.ndarray, "features n_sets"]]:
    """Which tests are significant: of promoted sets (t > 0), and of suppressed ones (t < 0)."""
    called = log10_p <= cut  # False for NaN on either side
    return called & (t > 0), called & (t < 0)


def best_sets_frame(
    best: BestSets,
    sets: Sequence[str],
    *,
    eta2: Float[np.ndarray, "features n_sets"],
    clusters: Shaped[np.ndarray, "features"],
    counts: tuple[Int[np.ndarray, "features"], Int[np.ndarray, "features"]],
) -> pd.DataFrame:
    """The table `best_sets`.

    best: rows of `sets` and their p and q; counts: significant promoted and suppressed sets of each feature.
    """
    frame = pd.DataFrame({"feature": np.arange(len(eta2), dtype=np.int32)})
    frame["cluster"] = clusters.astype(np.int32)
    names = np.array([*sets, None], dtype=object)
    for side in ("promoted", "suppressed"):
        index = getattr(best, side).numpy()
        frame[side] = pd.Series(names[index], dtype="str")  # -1, none, is the last
        for suffix in ("log10_p", "log10_q"):
            frame[f"{side}_{suffix}"] = getattr(best, f"{side}_{suffix}").numpy()
        own = np.take_along_axis(eta2, np.maximum(index, 0)[:, None], axis=1)[:, 0]
        frame[f"{side}_eta2"] = np.where(index < 0, np.float32("nan"), own).astype(np.float32)
    frame["n_promoted"], frame["n_suppressed"] = (count.astype(np.int32) for count in counts)
    return frame
