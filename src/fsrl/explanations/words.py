"""Which words do explanations of a type's features use, more often or less than those of unclassified ones?

A feature uses a word or doesn't, in any of its explanations, however often. A word is a run of letters,
in lower case, apostrophes within it included; the commonest English function words are left out. Features
with near copies of one direction tend to get one explanation: of a group's features in one cluster of
similar decoder rows the first speaks for all. (Were it most of them, or any, larger clusters would use more
words, and the groups' clusters differ in size.) For a type, a word and clusters counted as

                     use it   don't
    of the type         a       b
    unclassified        c       d

the odds ratio is that of `fsrl.stats.two_groups` and p is that of Fisher's exact test, two-sided: the sum
over all tables with these margins that are no likelier. It is kept as log10 p, since it underflows where a
word all but defines a type.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int, Int64, Shaped
from scipy import sparse
from scipy.special import gammaln

from fsrl.errors import FsrlError
from fsrl.names import DEGENERATE, UNCLASSIFIED
from fsrl.stats import rates, two_groups
from fsrl.tables.explanations import WORDS

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
FUNCTION_WORDS = """
a about above after again all also am an and any are as at be because been before being below between
both but by can could did do does doing down during each either etc few for from further had has have
having he her here hers him his how i if in into is it its itself just may me might more most must my
neither no nor not of off on once only onto or other our out over own per rather s same shall she should
so some such t than that the their them then there these they this those through to too under until up
upon us very via was we were what when where whether which while who whom whose why will with within
without would you your
"""
STOP_WORDS = frozenset(FUNCTION_WORDS.split())
# Log likelihoods of two tables that differ by less than this count as equal: they are not exact.
TIE = 1e-7


def words(text: str) -> frozenset[str]:
    """The words of a text, stop words left out."""
    return frozenset(word for word in WORD.findall(text.lower()) if word not in STOP_WORDS)


def of_layer(
    explanations: pd.DataFrame,
    types: Shaped[np.ndarray, "d_sae"],
    clusters: Int[np.ndarray, "d_sae"] | None = None,
    *,
    sae: str,
    circular: bool,
    min_features: int,
) -> pd.DataFrame:
    """The table `words` of one layer, without log10_q.

    explanations: table `explanations`; types: primary labels; clusters: of each feature, None: each is its
    own; min_features: explained features that must use a word, whatever their type. Raises FsrlError for a
    feature that `types` does not know.
    """
    documents = _documents(explanations)
    features = np.fromiter(documents, dtype=np.int64, count=len(documents))
    if len(features) and features.max() >= len(types):
        raise FsrlError(
            f"words of {sae}: explanation of feature {features.max()}, but {len(types)} have types"
        )
    counted = Counter(word for document in documents.values() for word in document)
    vocabulary = sorted(word for word, count in counted.items() if count >= min_features)
    uses = _matrix(list(documents.values()), vocabulary)
    mine = np.asarray(types)[features]
    units = features if clusters is None else np.asarray(clusters)[features]
    others = _Group(uses, units, mine == UNCLASSIFIED)
    frames = []
    for name in sorted(set(mine) - {UNCLASSIFIED, DEGENERATE}):
        group = _Group(uses, units, mine == name)
        if vocabulary and group.features and others.features:
            frames.append(_compare(group, others, vocabulary, sae=sae, name=name, circular=circular))
    return pd.concat(frames, ignore_index=True) if frames else _empty()


def of_study(layers: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table `words`: one false discovery rate over all layers, circular tests apart from the others."""
    frame = pd.concat([_empty(), *layers], ignore_index=True).astype(_empty().dtypes)
    for circular in (False, True):
        own = (frame["circular"] == circular).to_numpy()
        frame.loc[own, "log10_q"] = rates.benjamini_hochberg(frame.loc[own, "log10_p"].to_numpy())
    return frame[list(WORDS.columns)]


def fisher_log10_p(
    yes: Int[np.ndarray, "tests"], among_others: Int[np.ndarray, "tests"], m: int, n: int
) -> Float64[np.ndarray, "tests"]:
    """log10 of Fisher's two-sided p where `yes` of m and `among_others` of n say yes."""
    pairs, inverse = np.unique(np.stack([yes, among_others], axis=1), axis=0, return_inverse=True)
    found = np.array([_one_log10_p(int(a), int(a + c), m, n) for a, c in pairs], dtype=np.float64)
    return found[inverse.reshape(-1)]


class _Group:
    """How many of the chosen features and of their clusters use each word: all that the test needs."""

    def __init__(
        self,
        uses: sparse.csr_array,
        units: Int[np.ndarray, "explained"],
        chosen: Bool[np.ndarray, "explained"],
    ) -> None:
        mine = uses[np.flatnonzero(chosen)]
        first = uses[two_groups.speakers(chosen, units)]
        self.features, self.clusters = int(chosen.sum()), first.shape[0]
        self.using, self.yes = (
            np.asarray(part.sum(axis=0)).reshape(-1).astype(np.int64) for part in (mine, first)
        )


def _documents(explanations: pd.DataFrame) -> dict[int, frozenset[str]]:
    found: dict[int, frozenset[str]] = {}
    for feature, text in zip(explanations["feature"].tolist(), explanations["description"], strict=True):
        found[feature] = found.get(feature, frozenset()) | words(text)
    return found


def _matrix(documents: Sequence[frozenset[str]], vocabulary: Sequence[str]) -> sparse.csr_array:
    """int64 [features, words], 1 where a feature uses a word."""
    column = {word: number for number, word in enumerate(vocabulary)}
    places = [
        (row, column[word]) for row, document in enumerate(documents) for word in document if word in column
    ]
    rows, columns = np.array(places, dtype=np.int64).reshape(-1, 2).T
    ones = np.ones(len(places), dtype=np.int64)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(documents), len(vocabulary)))


def _compare(
    group: _Group, others: _Group, vocabulary: Sequence[str], *, sae: str, name: str, circular: bool
) -> pd.DataFrame:
    ratio = two_groups.odds_ratio(group.yes, group.clusters, others.yes, others.clusters)
    columns = {
        "sae": sae,
        "type": name,
        "word": vocabulary,
        "circular": circular,
        "n_type": group.features,
        "n_unclassified": others.features,
        "k_type": group.using,
        "k_unclassified": others.using,
        "clusters_type": group.clusters,
        "clusters_unclassified": others.clusters,
        "yes_type": group.yes,
        "yes_unclassified": others.yes,
        "odds_ratio": ratio,
        "log10_p": fisher_log10_p(group.yes, others.yes, group.clusters, others.clusters),
        "log10_q": np.nan,
    }
    return pd.DataFrame(columns).astype(_empty().dtypes)


def _empty() -> pd.DataFrame:
    kinds = {name: column.pandas_types[0] for name, column in WORDS.columns.items()}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def _one_log10_p(yes: int, total: int, m: int, n: int) -> float:
    """`yes` of the `total` that say yes are among the m, the rest among the n."""
    possible = np.arange(max(total - n, 0), min(total, m) + 1)
    likelihood = _log_choose(m, possible) + _log_choose(n, total - possible)
    likelihood -= np.logaddexp.reduce(likelihood)
    as_extreme = likelihood[likelihood <= likelihood[yes - possible[0]] + TIE]
    if len(as_extreme) == len(likelihood):
        return 0.0
    return min(float(np.logaddexp.reduce(as_extreme) / np.log(10)), 0.0)


def _log_choose(n: int, k: Int64[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
