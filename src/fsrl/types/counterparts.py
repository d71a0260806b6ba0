"""Whether a type outlives a training run: features of two dictionaries of one place of a model, side by side.

Two SAEs that differ in nothing but their seed share only a part of their features (Paulo & Belrose 2025,
arXiv:2501.16615, who call a feature shared from a decoder cosine of 0.7 on). A type that is the model's is
found in the other run too: a feature's counterpart there has the same type more often than any feature has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32
from torch import Tensor

from fsrl.constants import SHARED_COSINE
from fsrl.errors import FsrlError
from fsrl.names import TYPES
from fsrl.types.dictionaries import TYPED, UNTYPED
from fsrl.weights.matrices import unit_rows
from fsrl.weights.nearest import nearest_of_both

COLUMNS = [
    "study", "sae", "size", "other_study", "other_sae", "other_size",
    "type", "features", "counterparts", "cosine", "alike", "alike_by_chance",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Directions of one place of a model, with their types.

    study, sae: its names; place: where it writes, a TransformerLens hook name; W_dec: float32 [d_sae,
    d_model]; types: d_sae labels, those of no type being any other word than one of the types.
    """

    study: str
    sae: str
    place: str
    W_dec: Float32[Tensor, "d_sae d_model"]
    types: np.ndarray

    def __post_init__(self) -> None:
        if len(self.types) != len(self.W_dec):
            raise FsrlError(
                f"{self.study}, {self.sae}: {len(self.W_dec)} features but {len(self.types)} types of them"
            )


def counterparts(dictionaries: Sequence[Dictionary]) -> pd.DataFrame:
    """For each ordered pair of dictionaries of one place, and each type, how many features keep their type.

    A row: a dictionary, another of the same place, and a type (then "typed": any of them, and "untyped").
    features: of the first with that type; counterparts: those whose nearest row of the other's W_dec has a
    cosine of at least `SHARED_COSINE`; cosine: the median to the nearest, of all of them; alike: counterparts
    with the same label; alike_by_chance: as many as would have it if each counterpart were any feature of the
    other, counterparts times the label's share there. Rows of W_dec that are zero have no counterpart.
    """
    found = {}
    for i, j in combinations(range(len(dictionaries)), 2):
        if dictionaries[i].place == dictionaries[j].place:
            found[i, j], found[j, i] = nearest(dictionaries[i].W_dec, dictionaries[j].W_dec)
    rows = [row for i, j in sorted(found) for row in _of(dictionaries[i], dictionaries[j], *found[i, j])]
    return pd.DataFrame(rows, columns=COLUMNS)


def nearest(
    W_dec: Float32[Tensor, "m d_model"], other: Float32[Tensor, "n d_model"]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The number of each row's nearest row of `other`, and their cosine; then those of each row of `other`.

    The cosine is -1 where one of the two is zero.
    """
    forth, back = nearest_of_both(unit_rows(W_dec), unit_rows(other))
    zero, other_zero = _zero(W_dec), _zero(other)
    return _known(*forth, zero, other_zero), _known(*back, other_zero, zero)


def _zero(rows: Float32[Tensor, "n d_model"]) -> Bool[Tensor, "n"]:
    return ~rows.any(dim=1)


def _known(
    index: Tensor, cosine: Tensor, zero: Bool[Tensor, "m"], other_zero: Bool[Tensor, "n"]
) -> tuple[np.ndarray, np.ndarray]:
    return index.numpy(), cosine.masked_fill(zero | other_zero[index], -1).numpy()


def _of(one: Dictionary, other: Dictionary, index: np.ndarray, cosine: np.ndarray) -> Iterator[list[object]]:
    shared = cosine >= SHARED_COSINE
    for label in (*TYPES, TYPED, UNTYPED):
        mine, theirs = _has(one.types, label), _has(other.types, label)
        if label in TYPES and not mine.any() and not theirs.any():
            continue
        found = mine & shared
        median = float(np.median(cosine[mine])) if mine.any() else float("nan")
        alike = int((found & theirs[index]).sum())
        names = [one.study, one.sae, len(mine), other.study, other.sae, len(theirs)]
        yield [*names, label, int(mine.sum()), int(found.sum()), median, alike, found.sum() * theirs.mean()]


def _has(types: np.ndarray, label: str) -> np.ndarray:
    typed = np.isin(types, TYPES)
    return {TYPED: typed, UNTYPED: ~typed}.get(label, types == label)
