"""Rows of Neuronpedia's exports as records, by feature: which row is whose, and which features have none.

Every writer of exports has its own columns, so a row stays the dictionary that it came as. What is demanded
of it: an index that is a number, and the model and source that were asked for, where it names them.
"""

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.neuronpedia.http import plain

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Coverage:
    """How many features have a row (`found`), of how many that there are (`of`; None: not said)."""

    found: int
    of: int | None

    def __str__(self) -> str:
        return f"{self.found} of {'an unknown number of' if self.of is None else self.of} features"


class MissingExplanation(FsrlError, KeyError):
    """A feature that nothing explains, or that the SAE does not have; a KeyError, as of any mapping."""


def key_of(feature: Any, n_features: int | None) -> int:
    """The index by which a mapping is asked, of any kind of whole number; MissingExplanation for another."""
    try:
        return arguments.feature(feature, n_features)
    except FsrlError as error:
        raise MissingExplanation(str(error)) from None


@dataclass(frozen=True, eq=False, repr=False)
class Published(Mapping[int, Value], Generic[Value]):
    """What is published for a source's features, by feature in ascending order.

    n_features: how many the SAE has, if the caller said so; exported: when the newest batch was written (ISO
    8601), "" if unknown; duplicates: rows left out because they came before.
    """

    model_id: str
    source: str
    by_feature: dict[int, Value]
    n_features: int | None
    exported: str
    duplicates: int

    def __getitem__(self, feature: int) -> Value:
        index = key_of(feature, self.n_features)
        if index not in self.by_feature:
            raise MissingExplanation(f"{self.model_id}/{self.source} has no row of feature {index}")
        return self.by_feature[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self.by_feature)

    def __len__(self) -> int:
        return len(self.by_feature)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model_id}/{self.source}: {self.coverage}>"

    @property
    def coverage(self) -> Coverage:
        """How many features have a row."""
        return Coverage(len(self), self.n_features)

    @property
    def missing(self) -> list[int]:
        """The features without a row; FsrlError where n_features was not given."""
        if self.n_features is None:
            raise FsrlError(
                f"{self.model_id}/{self.source}: give n_features to learn which features are missing"
            )
        return [feature for feature in range(self.n_features) if feature not in self.by_feature]


class Explanations(Published[tuple[Row, ...]]):
    """Explanations of a source: feature -> its rows (description, typeName, explanationModelName, ...)."""


class Features(Published[Row]):
    """Statistics of a source: feature -> its row (pos_str, pos_values, logits_hist_data_bar_heights, ...)."""


@dataclass(frozen=True)
class Asked:
    """What was asked for: the source, and how many features the SAE has, where the caller said so."""

    model_id: str
    source: str
    n_features: int | None

    def index(self, row: Row, place: str) -> int:
        """The feature that a row is about; FsrlError where it is none of this source."""
        for name, expected in (("modelId", self.model_id), ("layer", self.source)):
            if row.get(name, expected) != expected:
                found = plain(str(row[name]))
                raise FsrlError(f"{place}: {name} is {found!r}, not {expected!r}; check the source")
        index = str(row.get("index"))
        if not re.fullmatch(r"[0-9]{1,9}", index):
            raise FsrlError(f"{place}: its index {plain(index)!r} is no number; the export is broken")
        if self.n_features is not None and int(index) >= self.n_features:
            raise FsrlError(
                f"{place}: feature {index} of an SAE with {self.n_features}; check the source and n_features"
            )
        return int(index)


def gather_explanations(
    asked: Asked, rows: Iterable[tuple[str, Row]], exported: str, left_out: Collection[str]
) -> Explanations:
    """Explanations from (place, row) pairs, less the columns `left_out` and rows without a description.

    Rows of a feature with one id (or, without ids, with the same content) count once: the first is kept.
    """
    found: dict[int, dict[Any, Row]] = {}
    blank = duplicates = 0
    for place, row in rows:
        index = asked.index(row, place)
        description = row.get("description")
        if not isinstance(description, str) or not description.strip():
            blank += 1
            continue
        for name in left_out:
            row.pop(name, None)
        identity = row.get("id") or json.dumps(row, sort_keys=True)
        kept = found.setdefault(index, {}).setdefault(str(identity), row)
        duplicates += kept is not row
    by_feature = {index: tuple(found[index].values()) for index in sorted(found)}
    result = Explanations(asked.model_id, asked.source, by_feature, asked.n_features, exported, duplicates)
    logger.info("%r, %d rows came twice, %d had no description", result, duplicates, blank)
    return result


def gather_features(
    asked: Asked, rows: Iterable[tuple[str, Row]], exported: str, only: Collection[int] | None
) -> Features:
    """Feature rows from (place, row) pairs, or those of the features in `only`.

    Raises FsrlError for two rows of one feature that differ: nothing says which of them holds.
    """
    found: dict[int, Row] = {}
    duplicates = 0
    for place, row in rows:
        index = asked.index(row, place)
        if only is not None and index not in only:
            continue
        kept = found.setdefault(index, row)
        if kept != row:
            raise FsrlError(
                f"{place}: another row of feature {index}; the export is broken, tell Neuronpedia"
            )
        duplicates += kept is not row
    by_feature = dict(sorted(found.items()))
    result = Features(asked.model_id, asked.source, by_feature, asked.n_features, exported, duplicates)
    logger.info("%r, %d rows came twice", result, duplicates)
    return result
