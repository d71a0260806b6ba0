"""Each registered prediction against the tables of its study: held, failed, or not run and why."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fsrl.errors import FsrlError
from fsrl.predictions.conditions import Layer
from fsrl.predictions.registered import Prediction
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS
from fsrl.tables.predictions import PREDICTIONS
from fsrl.tables.types import TYPES

HELD, FAILED, NOT_RUN = "held", "failed", "not run"
# Study, SAE, view and table: what names a file.
Key = tuple[str, str, str, str]


def needed(prediction: Prediction) -> list[Key]:
    """The tables that judge it, `moments` of each of its SAEs in turn, then `types` where it reads labels."""
    names = ("moments", "types") if prediction.test.schemes else ("moments",)
    return [(prediction.study, sae, prediction.view, name) for name in names for sae in prediction.test.saes]


def judge(
    predictions: Sequence[Prediction], paths: Mapping[Key, str | Path], not_run: Mapping[str, str]
) -> pd.DataFrame:
    """Table `predictions`, a row each, in their order.

    paths: the tables, by what names them; not_run: study -> why its predictions cannot be judged. FsrlError
    that names the prediction where a study is in neither, and where its tables lack the rows it speaks of.
    """
    rows = []
    for one in predictions:
        why = not_run.get(one.study)
        try:
            judged = {"verdict": NOT_RUN, "why_not": why} if why else _judged(one, paths)
        except FsrlError as error:
            raise FsrlError(f"predictions.{one.name} (study {one.study}): {error}") from None
        rows.append(
            {
                "prediction": one.name,
                "study": one.study,
                "view": one.view,
                "kind": one.kind,
                "saes": list(one.test.saes),
                "expected": one.test.expected,
                "reason": one.reason,
                "source": one.source,
                "sae_sha256": [],
                **judged,
            }
        )
    frame = pd.DataFrame(rows, columns=list(PREDICTIONS.columns))
    # A column without any value would be one of numbers.
    text = [name for name, column in PREDICTIONS.columns.items() if column.dtype == "string"]
    return frame.astype(dict.fromkeys(text, "str"))


def _judged(prediction: Prediction, paths: Mapping[Key, str | Path]) -> dict[str, object]:
    """What judging it adds to its row."""
    keys = needed(prediction)
    if lacking := [key for key in keys if key not in paths]:
        raise FsrlError(f"no table {lacking[0][3]} of {lacking[0][1]}; build the study")
    layers = []
    for study, sae, view, _ in keys[: len(prediction.test.saes)]:
        moments = tables.read(paths[study, sae, view, "moments"], MOMENTS)
        typed = (study, sae, view, "types") in keys
        types = tables.read(paths[study, sae, view, "types"], TYPES) if typed else None
        layers.append(Layer(sae, moments, types))
    outcome = prediction.test.judge(layers)
    metadata = [tables.read_metadata(paths[key]) for key in keys]
    return {
        "verdict": HELD if outcome.held else FAILED,
        "found": outcome.found,
        "model_sha256": _one_model(metadata),
        # Once an SAE; neurons have none beside the model's.
        "sae_sha256": list(dict.fromkeys(one["sae_sha256"] for one in metadata if "sae_sha256" in one)),
    }


def _one_model(metadata: Sequence[Mapping[str, str]]) -> str | None:
    """The hash of the model; FsrlError where the tables come from several."""
    found = list(dict.fromkeys(one.get("model_sha256") for one in metadata))
    if len(found) > 1:
        raise FsrlError("its tables were made from different model weights; build the study again")
    return found[0]


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """What a reader is told: a line for each that was judged, one for each study that was not, the sum."""
    for row in frame[frame["verdict"] != NOT_RUN].itertuples():
        yield (
            f"{row.verdict}: {row.prediction} ({row.study}, {row.view}): expected {row.expected}; "
            f"found {row.found}"
        )
    for (study, why), part in frame[frame["verdict"] == NOT_RUN].groupby(["study", "why_not"], sort=False):
        yield f"{NOT_RUN}: {len(part)} of study {study} ({', '.join(part['prediction'])}): {why}"
    counts = frame["verdict"].value_counts()
    yield "predictions: " + ", ".join(
        f"{counts.get(verdict, 0)} {verdict}" for verdict in (HELD, FAILED, NOT_RUN)
    )


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The same for a table of text: a list is its names with commas."""
    lists = {name: frame[name].map(", ".join) for name in ("saes", "sae_sha256")}
    return frame.assign(**lists)
