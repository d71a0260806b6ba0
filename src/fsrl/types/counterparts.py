"""Whether a type outlives a training run: features of two dictionaries of one place of a model, side by side.

Two SAEs that differ in nothing but their seed share only a part of their features (Paulo & Belrose 2025,
arXiv:2501.16615, who call a feature shared from a decoder cosine of 0.7 on). A type that is the model's is
found in the other run too: a feature's counterpart there has the same type more often than any feature has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from fsrl.errors import FsrlError
from fsrl.names import TYPES
from fsrl.types.dictionaries import TYPED

# From this decoder cosine on the nearest feature of the other dictionary is called a counterpart.
SHARED_COSINE = 0.7
# Rows whose cosines with all of another dictionary are held in memory together.
ROWS_AT_ONCE = 1024
# The label of features without a type, where it stands for a row of the table.
UNTYPED = "untyped"
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
    W_dec: Float32[np.ndarray, "d_sae d_model"]
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
    pairs = permutations(dictionaries, 2)
    rows = [row for one, other in pairs if one.place == other.place for row in _of(one, other)]
    return pd.DataFrame(rows, columns=COLUMNS)


def nearest(
    W_dec: Float32[np.ndarray, "features d_model"], other: Float32[np.ndarray, "others d_model"]
) -> tuple[Int64[np.ndarray, "features"], Float32[np.ndarray, "features"]]:
    """The number of each row's nearest row of `other`, and their cosine; -1 where a row is zero."""
    directions, index, cosine = _unit(other).T, [], []
    for start in range(0, len(W_dec), ROWS_AT_ONCE):
        part = W_dec[start : start + ROWS_AT_ONCE]
        cosines = _unit(part) @ directions
        cosines[~part.any(axis=1)] = -1
        cosines[:, ~other.any(axis=1)] = -1
        index.append(cosines.argmax(axis=1))
        cosine.append(cosines.max(axis=1))
    return np.concatenate(index), np.concatenate(cosine)


def _unit(rows: Float32[np.ndarray, "n d_model"]) -> Float32[np.ndarray, "n d_model"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)


def _of(one: Dictionary, other: Dictionary) -> Iterator[list[object]]:
    index, cosine = nearest(one.W_dec, other.W_dec)
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
