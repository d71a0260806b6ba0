"""Every feature of an analyzer's SAE in every token set, computed here: the workflow has no tables of it.

One layer is known here: the false discovery rate is that of this SAE alone, not of all layers of a study.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from fsrl import defaults
from fsrl.enrichment import best_sets as enrichment_pvalues
from fsrl.enrichment import statistics
from fsrl.enrichment.statistics import SetStatistics
from fsrl.pages.sets import ListedSets
from fsrl.stats import rates
from fsrl.tokens import sets as token_sets
from fsrl.weights.matrices import Unembedding, View

FALSE_DISCOVERY_RATE = defaults.ENRICHMENT_LEVEL


@dataclass(frozen=True, eq=False)
class Enrichment:
    """Statistics of every feature and tested set: sets: their names; best: the table `best_sets`, less its
    clusters.
    """

    sets: list[str]
    statistics: SetStatistics
    log10_q: Float32[Tensor, "features n_sets"]
    best: pd.DataFrame

    @property
    def t(self) -> Float32[np.ndarray, "features n_sets"]:
        """Alignment with each set."""
        return self.statistics.t.numpy()

    @cached_property
    def of_feature(self) -> ListedSets:
        """Feature -> the sets of `fsrl.pages.facts.FeatureRows`."""
        found = self.statistics
        columns = {"z": found.z, "t": found.t, "log10_p": found.log10_p, "log10_q": self.log10_q}
        return ListedSets(self.sets, {name: values.numpy() for name, values in columns.items()}, self.best)


def enrichment(
    view: View, unembedding: Unembedding, extra: Mapping[str, Mapping[str, Any]] | None
) -> Enrichment:
    """Of every row of the view's W_dec in every set of its tokens that is large enough to test.

    unembedding: its vocabulary, which the sets are made of; extra: further sets, as
    `fsrl.tokens.sets.token_sets` takes them.
    """
    counts = None if unembedding.counts is None else unembedding.counts.numpy()
    special = None if unembedding.special is None else unembedding.special.numpy()
    sets = token_sets.token_sets(unembedding.tokens, counts=counts, special=special, extra=extra)
    members = torch.from_numpy(sets.to_numpy()[view.token_ids.numpy()].T.copy())
    tested = statistics.testable(members)
    strata = None
    if unembedding.counts is not None:
        strata = statistics.frequency_strata(unembedding.counts[view.token_ids])
    made = statistics.set_statistics(view.W_dec, view.W_U, members[tested], strata=strata)
    names = sets.columns[tested.numpy()].tolist()
    log10_q = torch.from_numpy(rates.benjamini_hochberg(made.log10_p.numpy())).float()
    return Enrichment(names, made, log10_q, _best_sets(names, made, log10_q))


def _called(log10_q: Float32[Tensor, "*features n_sets"]) -> Bool[Tensor, "*features n_sets"]:
    """Which tests are significant; False for NaN."""
    return log10_q <= np.log10(FALSE_DISCOVERY_RATE)


def _best_sets(
    names: list[str], found: SetStatistics, log10_q: Float32[Tensor, "features n_sets"]
) -> pd.DataFrame:
    called = _called(log10_q)
    promoted, suppressed = ((called & side).sum(dim=1).numpy() for side in (found.t > 0, found.t < 0))
    best = enrichment_pvalues.best_sets_frame(
        enrichment_pvalues.best_sets(found.t, found.log10_p, log10_q),
        names,
        eta2=found.eta2.numpy(),
        clusters=np.zeros(len(log10_q)),  # not looked for: comparing all pairs of rows takes long
        counts=(promoted, suppressed),
    )
    return best.drop(columns="cluster")
