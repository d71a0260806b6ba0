"""Which null should bound the types beside the isotropic one? What each candidate finds and lets through.

A candidate takes what is ordinary from the layer's rows and leaves what is not; there are two ways to fail.
One that keeps too much of single rows holds what is to be found: a decoder row along a principal axis of W_U
is its own sign flip. One that keeps too little floods a layer whose rows share a trait, such as log frequency
at the embedding. Hence two kinds of cases, each typed by the isotropic null and one candidate at a time:

    planted    features with a known answer along W_U's principal axes. `one axis`: random W_U with one axis
               raised on 200 tokens, and random rows, 2 % of them pulled along it. `many axes`: the made-up
               world of `fsrl.claims.planted` with a set in each of its first axes. Found is who keeps its
               type, among those who have it by the isotropic null alone.
    layer      a real layer: its features that get a type, and of fresh directions of each kind, as many as
               there are features, those that do (chance).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fsrl.claims import planted
from fsrl.moments.formulas import Typical
from fsrl.names import BOUNDING, SHARED, UNCLASSIFIED
from fsrl.nulls import directions as null_directions
from fsrl.nulls import frames as nulls
from fsrl.nulls import quantiles
from fsrl.nulls.directions import Directions
from fsrl.nulls.quantiles import NullTail
from fsrl.nulls.typical import typical as typical_of
from fsrl.types import classify
from fsrl.types.rules import TailScheme

ISOTROPIC_ALONE = "isotropic alone"
UNNAMED = "candidate"
Draw = Callable[..., Iterator[Directions]]
CANDIDATES: Mapping[str, Draw] = {
    "sign_flip": null_directions.sign_flip,
    "band_rotation_4": partial(null_directions.band_rotation, width=4),
    "band_rotation_8": partial(null_directions.band_rotation, width=8),
    "spectrum": null_directions.spectrum,
}
# Kinds of fresh directions, beside isotropic ones.
REPORTED = ("sign_flip", "spectrum", "second_moment")

# The case of one axis, as it stands in the issue that found the fault of sign flips.
AXIS_D_MODEL, AXIS_TOKENS, AXIS_ROWS, AXIS_PLANTED = 48, 8000, 1500, 30
AXIS_RAISED, AXIS_RISE, AXIS_STD, AXIS_PULL = 200, 1.5, 0.14, 8.0
# The case of many: the made-up world, a twentieth of its features planted of each type.
FEATURES, SHARE, STRENGTH = 2000, 0.05, 6.0


@dataclass(frozen=True, eq=False)
class Case:
    """Rows to be typed under a W_U.

    moments: their table; isotropic, typical: what is kept of that null; truth: the planted type of each row
    ("none": nothing), None where it is a real layer.
    """

    name: str
    W_dec: Float[Tensor, "features d_model"]
    W_U: Float[Tensor, "d_model n_tokens"]
    moments: pd.DataFrame
    isotropic: Mapping[str, NullTail]
    typical: Typical
    truth: Shaped[np.ndarray, "features"] | None = None


def one_axis(*, draws: int, seed: int) -> Case:
    """The case `one axis`; draws: isotropic directions."""
    generator = torch.Generator().manual_seed(seed)
    W_U = AXIS_STD * torch.randn(AXIS_D_MODEL, AXIS_TOKENS, generator=generator)
    W_U[0, :AXIS_RAISED] += AXIS_RISE
    W_dec = torch.randn(AXIS_ROWS, AXIS_D_MODEL, generator=generator)
    W_dec[:AXIS_PLANTED, 0] += AXIS_PULL
    truth = np.where(np.arange(AXIS_ROWS) < AXIS_PLANTED, "prediction", planted.NONE)
    isotropic, typical = _isotropic(W_U, draws, seed)
    moments = planted.measure(W_dec, W_U, typical)
    return Case("one axis", W_dec, W_U, moments, isotropic, typical, truth)


def many_axes(tokens: Sequence[str], *, d_model: int, draws: int, seed: int) -> Case:
    """The case `many axes` over a vocabulary; errors are those of `fsrl.claims.planted.world`."""
    where = planted.world(tokens, d_model=d_model, seed=seed, along_axes=True)
    isotropic, typical = _isotropic(where.W_U, draws, seed)
    found = planted.plant(
        where, features=FEATURES, share=SHARE, strengths=[STRENGTH], typical=typical, seed=seed
    )
    truth = found.truth["type"].to_numpy()
    return Case("many axes", found.W_dec, where.W_U, found.moments, isotropic, typical, truth)


def compare(cases: Iterable[Case], scheme: TailScheme, *, draws: int, seed: int) -> pd.DataFrame:
    """The table `null_comparison`; draws: directions of each candidate.

    One case is held at a time. Raises FsrlError for what `fsrl.nulls.directions` refuses.
    """
    rows = [row for case in cases for row in _of_case(case, scheme, draws, seed)]
    frame = pd.DataFrame(rows, columns=["case", "null", "criterion", "found", "of"])
    frame["share"] = (frame["found"] / frame["of"]).where(frame["of"] > 0)
    return frame.astype({"case": "str", "null": "str", "criterion": "str"})


def _of_case(
    case: Case, scheme: TailScheme, draws: int, seed: int
) -> Iterator[tuple[str, str, str, int, int]]:
    typings = _typings(case, scheme, draws, seed)
    if case.truth is None:
        fresh = _fresh(case, seed)
        for name, typing in typings.items():
            yield case.name, name, "features", *_typed(typing.own().primary)
            for kind, frame in fresh.items():
                yield case.name, name, f"fresh {kind}", *_typed(typing.as_layer(frame).primary)
        return
    nothing = case.truth == planted.NONE
    clear = (typings[ISOTROPIC_ALONE].own().primary == case.truth) & ~nothing
    for name, typing in typings.items():
        labels = typing.own().primary
        yield case.name, name, "planted", int((labels == case.truth)[clear].sum()), int(clear.sum())
        yield case.name, name, "nothing planted", *_typed(labels[nothing])


def _typings(case: Case, scheme: TailScheme, draws: int, seed: int) -> dict[str, classify.Typing]:
    """The scheme in this case, by the isotropic null alone and by each candidate beside it."""
    found = {ISOTROPIC_ALONE: classify.typing_of(scheme, case.moments, {SHARED: case.isotropic})}
    for name, draw in CANDIDATES.items():
        null = _measured(case, draw(case.W_dec, case.W_U, draws=draws, seed=seed))
        # The scheme knows its second bounding null by name alone.
        known = {SHARED: case.isotropic, BOUNDING[1]: quantiles.of_draws(null)[UNNAMED]}
        found[name] = classify.typing_of(scheme, case.moments, known)
    return found


def _measured(case: Case, blocks: Iterable[Directions]) -> pd.DataFrame:
    return nulls.of_directions(UNNAMED, blocks, case.W_U, typical=case.typical)


def _fresh(case: Case, seed: int) -> dict[str, pd.DataFrame]:
    """Of each kind as many directions as features, none of which bounds anything."""
    draws, fresh = len(case.W_dec), nulls.fresh_seed(seed)
    isotropic = null_directions.isotropic(case.W_dec.shape[1], draws=draws, seed=fresh)
    own = nulls.of_layer(case.W_dec, case.W_U, kinds=REPORTED, draws=draws, seed=fresh, typical=case.typical)
    return {SHARED: _measured(case, isotropic)} | dict(list(own.groupby("kind", sort=False)))


def _isotropic(
    W_U: Float[Tensor, "d_model n_tokens"], draws: int, seed: int
) -> tuple[Mapping[str, NullTail], Typical]:
    null = nulls.isotropic(W_U, draws=draws, seed=seed)
    return quantiles.of_draws(null)[SHARED], typical_of(null)


def _typed(labels: Shaped[np.ndarray, "rows"]) -> tuple[int, int]:
    """How many have a type, of how many."""
    return int((labels != UNCLASSIFIED).sum()), len(labels)
