"""Are planted types found? Precision and recall of each scheme on features whose answer is known.

precision = correct / labelled and recall = correct / planted, by primary label. A planted feature is *clear*
where its type would not change if every bound moved by `slack` (20 %) of its value: the moments of a perfect
plant (`fsrl.claims.planted`) meet the tightened rule of its type and miss the loosened rule of each type that
goes before it. In the population `clear` stand the clear features and all features in which nothing was
planted; in `all`, every feature. A partition of a tenth of the vocabulary is never clear: its skewness is
large and its kurtosis high, so by its moments it is a prediction, and is counted against that type in `all`.

Precision depends on how much was planted: a type that chance gives at rate r and that is planted at share s
has at most s / (s + r (1 - s)), .91 for r = .001 and s = .01.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from fsrl.claims.planted import NONE, Planted, World, measure, plant
from fsrl.constants import SLACK
from fsrl.errors import FsrlError
from fsrl.moments.formulas import Typical
from fsrl.names import OF_WEIGHTS, TYPES
from fsrl.nulls import frames as nulls
from fsrl.nulls.quantiles import of_draws
from fsrl.nulls.typical import typical as typical_of
from fsrl.types import classify
from fsrl.types.cuts import MEETS
from fsrl.types.rules import LOWER, Scheme, TailScheme


def sweep(
    where: World,
    schemes: Sequence[Scheme | TailScheme],
    *,
    strengths: Sequence[float],
    planted_shares: Sequence[float],
    features: int,
    draws: int,
    seed: int,
    kinds: Sequence[str] = OF_WEIGHTS,
    progress: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `recovery` and `recovery_by_set`: one planted study for each share and strength.

    schemes: the view of each may be None (dot products) or "cosine". Each study has `features` features;
    isotropic and the nulls of `kinds` have `draws` each; the sets' table is
    that of the largest planted share, which has the most features of each. Raises FsrlError for another view,
    and for what `fsrl.claims.planted.plant` refuses.
    """
    views = dict.fromkeys([*map(_view, schemes), None])
    spaces = {view: _Space.of(where.W_U, view, draws=draws, seed=seed) for view in views}
    own = partial(nulls.of_layer, kinds=kinds, draws=draws, seed=seed) if kinds else None
    typical = spaces[None].typical
    studies = [(share, strength) for share in planted_shares for strength in strengths]
    curves, by_set = [], []
    for share, strength in tqdm(studies, desc="planted studies", disable=not progress):
        found = plant(where, features=features, share=share, strengths=[strength], typical=typical, seed=seed)
        for types, is_clear in _labelled(found, schemes, spaces, own):
            curves.append(recovery(found.truth, types, is_clear, planted_share=share, strength=strength))
            if share == max(planted_shares):
                by_set.append(recovery_by_set(found.truth, types, is_clear))
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


def _labelled(
    found: Planted,
    schemes: Sequence[Scheme | TailScheme],
    spaces: Mapping[str | None, _Space],
    own: Callable[..., pd.DataFrame] | None,
) -> Iterator[tuple[pd.DataFrame, Bool[np.ndarray, "features"]]]:
    """Of each scheme the table `types` and which features are clear; own: the nulls of a layer, if any."""
    for view, space in spaces.items():
        null = space.isotropic
        if own:
            null = pd.concat([null, own(found.W_dec, space.W_U, typical=space.typical)])
        read = found.moments if view is None else measure(found.W_dec, space.W_U, space.typical)
        for scheme in schemes:
            if _view(scheme) == view:
                typing = classify.typing_of(scheme, read, of_draws(null), d_model=len(space.W_U))
                yield classify.types(typing), clear(found.truth, typing.thresholds())


def clear(truth: pd.DataFrame, cuts: pd.DataFrame, slack: float = SLACK) -> Bool[np.ndarray, "features"]:
    """Which features are planted, and labelled alike wherever the bounds lie within `slack` of their values.

    truth: of `fsrl.claims.planted.Planted`; cuts: table `thresholds` of one scheme. A feature of a type that
    the scheme does not have is not clear; nor is one whose rule speaks of something that has no closed form.
    The perfect moments are those of dot products: for a scheme that reads cosines they are a guide only.
    """
    perfect = pd.DataFrame(
        {
            "skewness": truth["perfect_skewness"],
            "kurtosis": truth["perfect_kurtosis"],
            "tail_tokens": truth["perfect_tail_tokens"],
            "bimodality": (truth["perfect_skewness"] ** 2 + 1) / truth["perfect_kurtosis"],
            # The step adds to the bulk's std what the plant makes of it; there is no more perfect one.
            "std": truth["std"] / truth["norm"],
            "norm": truth["norm"],
        }
    )
    found = np.zeros(len(truth), dtype=bool)
    before = np.zeros(len(truth), dtype=bool)
    for name in TYPES:
        rule = cuts[cuts["type"] == name]
        if rule.empty or not set(rule["column"]) <= set(perfect):
            continue
        found |= (truth["type"] == name).to_numpy() & _meets(perfect, rule, slack) & ~before
        before |= _meets(perfect, rule, -slack)
    return found


def recovery(
    truth: pd.DataFrame,
    types: pd.DataFrame,
    is_clear: Bool[np.ndarray, "features"],
    *,
    planted_share: float,
    strength: float,
) -> pd.DataFrame:
    """The table `recovery` of one scheme in one planted study.

    truth: as for `clear`; types: table `types` of the same features under one scheme; is_clear: see `clear`.
    """
    answer, label = truth["type"].to_numpy(), types["type"].to_numpy()
    nothing = answer == NONE
    rows = []
    for population, inside in (("all", np.ones(len(truth), dtype=bool)), ("clear", is_clear | nothing)):
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
                    "precision": _ratio(correct, labelled),
                    "recall": _ratio(correct, planted),
                    "member_recall": _ratio(member, planted),
                }
            )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str", "population": "str"})


def recovery_by_set(
    truth: pd.DataFrame, types: pd.DataFrame, is_clear: Bool[np.ndarray, "features"]
) -> pd.DataFrame:
    """The table `recovery_by_set` of one scheme: how the sets of each size and strength fare.

    Arguments as for `recovery`.
    """
    answer = truth["type"].to_numpy()
    member = np.select([answer == name for name in TYPES], [types[name] for name in TYPES], False)
    frame = truth.assign(is_clear=is_clear, label=types["type"].to_numpy(), member=member)
    rows = []
    for keys, part in frame[answer != NONE].groupby(["type", "tokens", "strength"]):
        name, tokens, strength = keys
        rows.append(
            {
                "scheme": types["scheme"].iloc[0],
                "type": name,
                "tokens": tokens,
                "share": part["share"].iloc[0],
                "strength": strength,
                "planted": len(part),
                "clear": bool(part["is_clear"].all()),
                "recall": float((part["label"] == name).mean()),
                "member_recall": float(part["member"].mean()),
                "perfect_skewness": part["perfect_skewness"].abs().iloc[0],
                "perfect_kurtosis": part["perfect_kurtosis"].iloc[0],
                "skewness": part["skewness"].abs().median(),
                "kurtosis": part["kurtosis"].median(),
            }
        )
    return pd.DataFrame(rows).astype({"scheme": "str", "type": "str", "tokens": "int32"})


def _meets(perfect: pd.DataFrame, rule: pd.DataFrame, slack: float) -> Bool[np.ndarray, "features"]:
    """Rows that meet every bound of `rule` once it is tightened (slack > 0) or loosened (< 0)."""
    met = np.ones(len(perfect), dtype=bool)
    for condition in rule.itertuples():
        lower = condition.word in LOWER
        cut = condition.threshold + (slack if lower else -slack) * abs(condition.threshold)
        compare = MEETS[str(condition.word)]
        met &= compare(perfect[condition.column].to_numpy(), cut)
    return met


def _ratio(part: Bool[np.ndarray, "features"], whole: Bool[np.ndarray, "features"]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else np.nan
