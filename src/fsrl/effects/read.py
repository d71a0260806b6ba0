"""What is read off one feature's pushes: what the changes are, and how each prediction lies beside them.

Each change is held against what is predicted of the direction that was added (`fsrl.effects.agreement`), and
the feature's change also against what is predicted of another feature (`other`), the wrong one. Ranks, which
cost most, are taken of the feature's changes only; steps down are there for the odd share alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from fsrl.effects import agreement
from fsrl.effects.agreement import SIDES, Vocabulary
from fsrl.effects.names import (
    CORRECTED,
    DIRECT,
    FEATURE,
    MATCHED,
    OTHER,
    OWN_MEAN,
    RANDOM,
    SHAPED,
    STEPS,
    TRANSPORTED,
)
from fsrl.effects.tangent import without_stream

# What is added at each site: which direction, how much of it.
PUSHES = (
    *((FEATURE, step) for step in ("+1", "-1", "+own", "-own")),
    *((control, step) for control in (RANDOM, MATCHED) for step in STEPS),
)
# Directions that a feature has whatever the site.
FIXED = (FEATURE, RANDOM, OTHER)
LINE = ("pearson", "slope", "explained")
RANKS = ("spearman", "overlap")
MOMENTS = ("mean", "std", "skewness", "kurtosis", *SIDES)
OF_WEIGHTS = ("std", "skewness", "kurtosis")
# By direction and prediction: of each site, or one for all of them.
Predictions = dict[tuple[str, str], Float[Tensor, "_ d_model"]]
# Columns of a table to be: a data frame for each feature would take longer than what it holds.
Columns = dict[str, Shaped[np.ndarray, "_"]]


@dataclass(frozen=True, eq=False)
class Pushed:
    """Sites of all features or of one. unit, scale: of the final LayerNorm; relative: step; matched: the
    control there; carried: what the site's own Jacobian makes of the feature's direction, if asked for.
    """

    change: Float[Tensor, "sites pushes d_model"]
    unit: Float[Tensor, "sites d_model"]
    scale: Float[Tensor, "sites"]
    relative: Float[Tensor, "sites pushes"]
    matched: Float[Tensor, "sites d_model"]
    carried: Float[Tensor, "sites d_model"] | None

    @classmethod
    def joined(cls, parts: Sequence["Pushed"]) -> "Pushed":
        """Batches one after the other."""
        columns = {name: [getattr(part, name) for part in parts] for name in _names()}
        found: dict[str, Any] = {
            name: None if column[0] is None else torch.cat(column) for name, column in columns.items()
        }
        return cls(**found)

    def at(self, rows: Int64[Tensor, "chosen"]) -> "Pushed":
        """Some of the sites, by their numbers."""
        columns = {name: getattr(self, name) for name in _names()}
        found: dict[str, Any] = {
            name: None if column is None else column[rows] for name, column in columns.items()
        }
        return Pushed(**found)

    def of(self, direction: str) -> Float[Tensor, "sites steps d_model"]:
        """The changes by a direction, at each of STEPS."""
        pushed = FEATURE if direction == OTHER else direction
        return self.change[:, [PUSHES.index((pushed, step)) for step in STEPS]]


def _names() -> list[str]:
    return [field.name for field in fields(Pushed)]


def readings(
    pushed: Pushed,
    vectors: Float[Tensor, "3 d_model"],
    alphas: Float[Tensor, "pushes"],
    state: Shaped[np.ndarray, "sites"],
    vocabulary: Vocabulary,
    T: Float[Tensor, "d_model d_model"] | None,
    norm: str,
) -> tuple[Columns, Columns, Columns]:
    """changes, readings and averaged of one feature, as `fsrl.effects.measure.Measured` has them.

    vectors: FIXED; alphas: of PUSHES, NaN where the feature's activation is unknown: such steps are left out;
    state: of each site; T: as in `fsrl.effects.measure.measure`; norm: the final one's kind
    (`fsrl.models.head`).
    """
    fixed = dict(zip(FIXED, vectors, strict=True))
    predicted = _predictions(pushed, fixed, state, T, norm)
    steps = alphas[[PUSHES.index((FEATURE, step)) for step in STEPS]]
    per_unit = torch.nan_to_num(steps, nan=1.0)[:, None]
    units = {name: pushed.of(name) / per_unit for name in (*FIXED, MATCHED)}
    size = fixed[FEATURE].norm()
    found = _Feature(pushed, units, predicted, steps, size, state, vocabulary)
    return found.changes(), found.readings(), found.averaged()


def joined(parts: Sequence[Columns]) -> Columns:
    """The same columns, one part below the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _predictions(
    pushed: Pushed,
    fixed: Mapping[str, Float[Tensor, "d_model"]],
    state: Shaped[np.ndarray, "sites"],
    T: Float[Tensor, "d_model d_model"] | None,
    norm: str,
) -> Predictions:
    """What each way to predict makes of each direction, before it is divided by the scale."""
    directions = {name: vector[None] for name, vector in fixed.items()} | {MATCHED: pushed.matched}
    found = {(name, DIRECT): rows for name, rows in directions.items()}
    found |= {(name, CORRECTED): without_stream(directions[name], pushed.unit, norm) for name in SHAPED}
    if T is not None:
        found |= {(name, TRANSPORTED): rows @ T.T for name, rows in directions.items()}
    if pushed.carried is not None:
        found[FEATURE, OWN_MEAN] = _mean_of_others(pushed.carried, state)
    return found


def _mean_of_others(
    rows: Float[Tensor, "sites d_model"], state: Shaped[np.ndarray, "sites"]
) -> Float[Tensor, "sites d_model"]:
    """For each row the mean of the other rows of its state; NaN where it is the only one."""
    found = torch.full_like(rows, torch.nan)
    for mine in _by_state(state):
        part, others = rows[mine], len(mine) - 1
        if others:
            found[mine] = (part.sum(0) - part) / others
    return found


def _by_state(state: Shaped[np.ndarray, "sites"]) -> list[Int64[Tensor, "chosen"]]:
    """The sites of each state, states in order."""
    return [torch.from_numpy(np.flatnonzero(state == name)) for name in np.unique(state)]


@dataclass(frozen=True, eq=False)
class _Feature:
    """One feature: its changes per unit of activation at each of STEPS, and what is predicted of them."""

    pushed: Pushed
    units: Mapping[str, Float[Tensor, "sites steps d_model"]]
    predicted: Predictions
    alphas: Float[Tensor, "steps"]
    size: Float[Tensor, ""]
    state: Shaped[np.ndarray, "sites"]
    vocabulary: Vocabulary

    def changes(self) -> Columns:
        """Rows site by site, steps within, for each of SHAPED."""
        odd, parts = self._odd(), []
        for name in SHAPED:
            rows, weights = self.units[name].flatten(0, 1), self.predicted[name, DIRECT]
            nothing = agreement.is_nothing(self.pushed.of(name)).flatten()
            found = agreement.shapes(rows, self.vocabulary, nothing)
            own = agreement.shapes(weights, self.vocabulary, agreement.is_unseen(weights, self.size))
            columns = {column: getattr(found, column).view(odd.shape) for column in MOMENTS}
            for column in ("mean", "std"):
                columns[column] = columns[column] * self.pushed.scale[:, None]
            columns |= {f"direct_{key}": getattr(own, key)[:, None].expand(odd.shape) for key in OF_WEIGHTS}
            columns["odd_share"] = odd if name == FEATURE else torch.full_like(odd, torch.nan)
            columns["relative_step"] = self.pushed.relative[:, [PUSHES.index((name, step)) for step in STEPS]]
            columns["norm"] = self.size.expand(odd.shape)
            parts.append(self._columns(columns, self.state, direction=name))
        return joined(parts)

    def readings(self) -> Columns:
        """Rows site by site, steps within, for each direction and prediction."""
        changed, parts = self._ranks(self.units[FEATURE].flatten(0, 1)), []
        for (name, prediction), rows in self.predicted.items():
            wanted = rows[:, None] / self.pushed.scale[:, None, None]
            nothing = agreement.is_nothing(self.pushed.of(name))
            nothing = nothing | agreement.is_unseen(rows, self.size)[:, None]
            columns = self._line(self.units[name], wanted)
            columns |= dict.fromkeys(RANKS, torch.full_like(columns["pearson"], torch.nan))
            if name == FEATURE:
                columns |= self._in_ranks(changed, self._ranks(rows))
            columns = {key: column.masked_fill(nothing, torch.nan) for key, column in columns.items()}
            parts.append(self._columns(columns, self.state, direction=name, prediction=prediction))
        return joined(parts)

    def averaged(self) -> Columns:
        """Rows state by state, of what is predicted of one direction whatever the site; the mean over a
        feature's own sites is left out, since averaged it would predict what it was made of.
        """
        parts, groups, states = [], _by_state(self.state), np.unique(self.state)
        for (name, prediction), rows in self.predicted.items():
            if name == MATCHED or prediction == OWN_MEAN:
                continue
            wanted = rows / self.pushed.scale[:, None]
            unit = torch.stack([self.units[name][mine].mean(0) for mine in groups])
            expected = torch.stack([wanted[mine].mean(0) for mine in groups])
            nothing = agreement.is_nothing(self.pushed.of(name)).all(0)
            nothing = nothing | agreement.is_unseen(rows, self.size).all()
            columns = self._line(unit, expected[:, None])
            columns = {key: column.masked_fill(nothing, torch.nan) for key, column in columns.items()}
            parts.append(self._columns(columns, states, direction=name, prediction=prediction))
        return joined(parts)

    def _line(
        self, units: Float[Tensor, "rows steps d_model"], wanted: Float[Tensor, "rows 1 d_model"]
    ) -> dict[str, Float64[Tensor, "rows steps"]]:
        found = agreement.line(units, wanted, self.vocabulary)
        return {name: getattr(found, name) for name in LINE}

    def _ranks(self, rows: Float[Tensor, "rows d_model"]) -> agreement.Ranks:
        return agreement.ranks(rows, self.vocabulary, torch.zeros_like(rows[:, 0], dtype=torch.bool))

    def _in_ranks(
        self, changed: agreement.Ranks, predicted: agreement.Ranks
    ) -> dict[str, Float[Tensor, "sites steps"]]:
        z, top = (part.view(-1, len(STEPS), part.shape[-1]) for part in (changed.z, changed.top))
        return {
            "spearman": agreement.spearman(z, predicted.z[:, None]),
            "overlap": agreement.overlap(top, predicted.top[:, None]),
        }

    def _columns(
        self,
        columns: Mapping[str, Float[Tensor, "rows steps"]],
        state: Shaped[np.ndarray, "rows"],
        **words: str,
    ) -> Columns:
        """Flat columns, of steps that are known."""
        found = {name: column.double().cpu().numpy().ravel() for name, column in columns.items()}
        found["alpha"] = np.tile(self.alphas.double().cpu().numpy(), len(state))
        found["state"], found["step"] = np.repeat(state, len(STEPS)), np.tile(STEPS, len(state))
        known = ~np.isnan(found["alpha"])
        found = {name: column[known] for name, column in found.items()}
        return found | {name: np.repeat(word, known.sum()) for name, word in words.items()}

    def _odd(self) -> Float64[Tensor, "sites steps"]:
        change, found = self.pushed.change, []
        for step in STEPS:
            plus, minus = (PUSHES.index((FEATURE, sign + step[1:])) for sign in "+-")
            share = agreement.odd_share(change[:, plus], change[:, minus], self.vocabulary)
            found.append(share.masked_fill(agreement.is_nothing(change[:, plus]), torch.nan))
        return torch.stack(found, dim=1)
