"""Which of a study's enrichment tests are discoveries: one false discovery rate over all of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fsrl.enrichment import best_sets as enrichment_pvalues


@dataclass(frozen=True, eq=False)
class Discoveries:
    """log10_q: float32 [features, sets] of each layer, NaN where not tested; cut: the largest log10 p that is
    significant at `level`, NaN where none is. A test is significant where its log10 p is at most the cut.
    """

    log10_q: list[np.ndarray]
    cut: float
    level: float


def of_study(log10_p: Sequence[np.ndarray], *, level: float) -> Discoveries:
    """Benjamini and Hochberg over all entries of all layers (float32 [features, sets] each) at `level`."""
    shapes = [layer.shape for layer in log10_p]
    flat = np.concatenate([layer.reshape(-1) for layer in log10_p])
    q = enrichment_pvalues.benjamini_hochberg(torch.from_numpy(flat)).numpy()
    called = q <= np.log10(level)
    cut = float(flat[called].max()) if called.any() else np.nan
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1]
    parts = [part.reshape(shape) for part, shape in zip(np.split(q, ends), shapes, strict=True)]
    return Discoveries(parts, cut, level)


def significant(t: np.ndarray, log10_p: np.ndarray, cut: float) -> tuple[np.ndarray, np.ndarray]:
    """bool [features, sets]: significantly promoted (t > 0), and suppressed (t < 0)."""
    called = log10_p <= cut  # False for NaN on either side
    return called & (t > 0), called & (t < 0)
