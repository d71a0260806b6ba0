"""Are planted types found? Precision and recall of each scheme on features whose answer is known.

precision = correct / labelled and recall = correct / planted, by primary label, with Wilson's intervals. They
are counted in three populations:

    all     every feature: what the schemes are judged by
    even    without partitions of less than a quarter of the vocabulary: their kurtosis is above a Gaussian's
            however strong they are (`fsrl.claims.planted`), so that by their moments they are predictions or
            suppressions, and as such they count against those types in `all`
    clear   features in which nothing was planted, and those of which a perfect plant would get its type by
            the bounds of the layer: what is missed elsewhere is no fault of the noise

Of a scheme that defines `two_sided`, a plant that gets this label is missed: every plant has one side.
Precision depends on how much was planted: a type that chance gives at rate r and that is planted at share s
has at most s / (s + r (1 - s)), .91 for r = .001 and s = .01.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from fsrl.claims.planted import NONE, Planted, World, measure, plant
from fsrl.errors import FsrlError
from fsrl.moments.formulas import Typical
from fsrl.names import BOUNDING, SHARED, TYPES
from fsrl.nulls import frames as nulls
from fsrl.nulls.quantiles import of_draws
from fsrl.nulls.typical import typical as typical_of
from fsrl.stats.rates import wilson
from fsrl.types import classify
from fsrl.types.classify import Typing
from fsrl.types.rules import Scheme, TailScheme

# Partitions of a smaller share of the vocabulary are left out of the population `even`.
EVEN_SHARE = 0.25


def sweep(
    where: World,
    schemes: Sequence[Scheme | TailScheme],
    *,
    strengths: Sequence[float],
    planted_shares: Sequence[float],
    features: int,
    draws: int,
    seed: int,
    progress: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `recovery` and `recovery_by_set`: one planted study for each share and strength.

    schemes: the view of each may be None (dot products) or "cosine". Each study has `features` features; the
    nulls that bound the types have `draws` directions each. Raises FsrlError for another view, and for what
    `fsrl.claims.planted.plant` refuses.
    """
    views = dict.fromkeys([*map(_view, schemes), None])
    spaces = {view: _Space.of(where.W_U, view, draws=draws, seed=seed) for view in views}
    kinds = [kind for kind in BOUNDING if kind != SHARED]
    typical = spaces[None].typical
    own = partial(nulls.of_layer, kinds=kinds, draws=draws, seed=seed, typical=typical)
    studies = [(share, strength) for share in planted_shares for strength in strengths]
    curves, by_set = [], []
    for share, strength in tqdm(studies, desc="planted studies", disable=None if progress else True):
        found = plant(where, features=features, share=share, strengths=[strength], typical=typical, seed=seed)
        at = {"planted_share": share, "strength": strength}
        for typing in _typings(found, schemes, spaces, own):
            types, is_clear = classify.types(typing), clear(found, typing)
            curves.append(recovery(found.truth, types, is_clear, **at))
            by_set.append(recovery_by_set(found, types, is_clear, **at))
    return pd.concat(curves, ignore_index=True), pd.concat(by_set, ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Space:
    """W_U as a view sees it, with its isotropic null and what is typical of that.

    cosine: centred over the vocabulary, with columns of length 1.
    """

    W_U: Float[Tensor, "d_model d_vocab"]
    isotropic: pd.DataFrame
    typical: Typical

    @classmethod
    def of(
        cls, W_U: Float[Tensor, "d_model d_vocab"], view: str | None, *, draws: int, seed: int
    ) -> "_Space":
        """W_U: as it is in the view of dot products; draws, seed: of its isotropic null."""
        if view == "cosine":
            W_U = W_U - W_U.mean(dim=1, keepdim=True)
            W_U = W_U / W_U.norm(dim=0)
        null = nulls.isotropic(W_U, draws=draws, seed=seed)
        return cls(W_U, null, typical_of(null))


def _view(scheme: Scheme | TailScheme) -> str | None:
    """The view that a scheme reads."""
    if scheme.view not in (None, "cosine"):
        raise FsrlError(
            f"recovery: scheme {scheme.name} reads view {scheme.view!r}; planted studies have null and cosine"
        )
    return scheme.view


def _typings(
    found: Planted,
    schemes: Sequence[Scheme | TailScheme],
    spaces: dict[str | None, _Space],
    own: Callable[..., pd.DataFrame],
) -> Iterator[Typing]:
    """Each scheme in a planted study; own: the nulls of a layer, for dot products."""
    null = pd.concat([spaces[None].isotropic, own(found.W_dec, spaces[None].W_U)])
    for view, space in spaces.items():
        read = found.moments if view is None else measure(found.W_dec, space.W_U, space.typical)
        # A scheme of tails reads no view but that of dot products.
        known = of_draws(null) if view is None else None
        for scheme in schemes:
            if _view(scheme) == view:
                yield classify.typing_of(scheme, read, known, d_model=len(space.W_U))


def clear(found: Planted, typing: Typing) -> Bool[np.ndarray, "features"]:
    """Which features are planted, and would have their type if they were perfect plants, by the bounds that
    the scheme has among the features as they are.

    The perfect moments are those of dot products: for a scheme that reads cosines they are a guide only.
    """
    answer = found.truth["type"].to_numpy()
    return (answer == typing.others(found.perfect).primary) & (answer != NONE)


def recovery(
    truth: pd.DataFrame,
    types: pd.DataFrame,
    is_clear: Bool[np.ndarray, "features"],
    *,
    planted_share: float,
    strength: float,
) -> pd.DataFrame:
    """The table `recovery` of one scheme in one planted study.

    truth: of `fsrl.claims.planted.Planted`; types: table `types` of the same features under one scheme;
    is_clear: see `clear`.
    """
    answer, label = truth["type"].to_numpy(), types["type"].to_numpy()
    nothing = answer == NONE
    uneven = (answer == "partition") & (truth["share"].to_numpy() < EVEN_SHARE)
    populations = {"all": np.ones(len(truth), dtype=bool), "even": ~uneven, "clear": is_clear | nothing}
    rows = []
    for population, inside in populations.items():
        for name in TYPES:
            planted, labelled = (answer == name) & inside, (label == name) & inside
            correct, member = planted & labelled, planted & types[name].to_numpy()
            rows.append(
                {
                    "scheme": types["scheme"].iloc[0],
                    "type": name,
                    "planted_share": float(planted_share),
                    "strength": float(strength),
                    "population": population,
                    "planted": int(planted.sum()),
                    "labelled": int(labelled.sum()),
                    "correct": int(correct.sum()),
                    "by_chance": int((labelled & nothing).sum()),
                    "two_sided": int((planted & (label == "two_sided")).sum()),
                    **_rate("precision", correct, labelled),
                    **_rate("recall", correct, planted),
                    "member_recall": _ratio(member, planted),
                }
            )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str", "population": "str"})


def recovery_by_set(
    found: Planted,
    types: pd.DataFrame,
    is_clear: Bool[np.ndarray, "features"],
    *,
    planted_share: float,
    strength: float,
) -> pd.DataFrame:
    """The table `recovery_by_set` of one scheme in one planted study: how the sets of each size fare.

    Other arguments as for `recovery`.
    """
    truth, label = found.truth, types["type"].to_numpy()
    answer = truth["type"].to_numpy()
    member = np.select([answer == name for name in TYPES], [types[name] for name in TYPES], False)
    rows = []
    for keys, part in truth[answer != NONE].groupby(["type", "tokens"]):
        (name, tokens), at = keys, part.index
        correct, perfect, moments = label[at] == name, found.perfect.loc[at], found.moments.loc[at]
        rows.append(
            {
                "scheme": types["scheme"].iloc[0],
                "type": name,
                "planted_share": float(planted_share),
                "tokens": tokens,
                "share": part["share"].iloc[0],
                "strength": float(strength),
                "planted": len(part),
                "clear": bool(is_clear[at].all()),
                "two_sided": int((label[at] == "two_sided").sum()),
                **_rate("recall", correct, np.ones_like(correct)),
                "member_recall": float(member[at].mean()),
                "perfect_skewness": perfect["skewness"].abs().iloc[0],
                "perfect_kurtosis": perfect["kurtosis"].iloc[0],
                "skewness": moments["skewness"].abs().median(),
                "kurtosis": moments["kurtosis"].median(),
            }
        )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str", "tokens": "int32"})


def _rate(
    name: str, part: Bool[np.ndarray, "features"], whole: Bool[np.ndarray, "features"]
) -> dict[str, float]:
    """The share of `whole` that is in `part`, and its interval, as columns."""
    low, high = wilson(int(part.sum()), int(whole.sum()))
    return {name: _ratio(part, whole), f"{name}_low": low, f"{name}_high": high}


def _ratio(part: Bool[np.ndarray, "features"], whole: Bool[np.ndarray, "features"]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else np.nan
