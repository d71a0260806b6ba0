"""Predictions as they are written down: each entry of the file read into its kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsrl.errors import FsrlError
from fsrl.predictions import kinds
from fsrl.predictions.conditions import Condition, Range, label_set


@dataclass(frozen=True)
class Prediction:
    """One prediction: its name, what it is about, why it was made, and where that comes from."""

    name: str
    kind: str
    study: str
    view: str
    reason: str
    source: str
    test: kinds.Test


def parse(name: str, written: Mapping[str, Any]) -> Prediction:
    """One entry of `predictions`, as the schema has checked it; FsrlError that names the prediction."""
    try:
        test = KINDS[written["kind"]](written)
    except FsrlError as error:
        raise FsrlError(f"predictions.{name}: {error}") from None
    reason, source = (" ".join(written[key].split()) for key in ("reason", "source"))
    return Prediction(name, written["kind"], written["study"], written["view"], reason, source, test)


def _value(written: Mapping[str, Any]) -> kinds.Value:
    values, tolerances = written["values"], written["tolerances"]
    if lacking := [column for column in values if column not in tolerances]:
        raise FsrlError(f"{lacking[0]} has no tolerance; give one under tolerances")
    pairs = {column: (float(value), float(tolerances[column])) for column, value in values.items()}
    return kinds.Value((written["sae"],), written["feature"], pairs)


def _label(written: Mapping[str, Any]) -> kinds.Label:
    return kinds.Label((written["sae"],), written["feature"], written["scheme"], label_set(written["labels"]))


def _quantile(written: Mapping[str, Any]) -> kinds.Quantile:
    features = tuple(written["features"])
    return kinds.Quantile(
        (written["sae"],),
        features,
        written["column"],
        _range(written),
        written.get("at_least", len(features)),
    )


def _range(written: Mapping[str, Any]) -> Range:
    return Range(written.get("min"), written.get("max"))


def _rows(written: Mapping[str, Any]) -> tuple[tuple[str, ...], Condition, Condition | None]:
    among = Condition.parse(written["among"]) if "among" in written else None
    return tuple(written["saes"]), Condition.parse(written["where"]), among


def _count(written: Mapping[str, Any]) -> kinds.Count:
    saes, where, _ = _rows(written)
    return kinds.Count(saes, where, _range(written))


def _trend(written: Mapping[str, Any]) -> kinds.Trend:
    return kinds.Trend(*_rows(written), 1 if written["direction"] == "rising" else -1, written["rho"])


KINDS = {
    "value": _value,
    "label": _label,
    "quantile": _quantile,
    "count": _count,
    "share": lambda written: kinds.Share(*_rows(written), _range(written)),
    "trend": _trend,
}
