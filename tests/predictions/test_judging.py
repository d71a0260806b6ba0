"""From tables in files to verdicts: hashes, rows that are not there, what is not run, what is printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.predictions import judging
from fsrl.predictions.registered import parse
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS
from fsrl.tables.predictions import PREDICTIONS
from fsrl.tables.types import TYPES
from tests.fixtures.prediction_examples import written

TYPED = {"label": {"scheme": "s", "any": ["typed"]}}
ENTRIES = {
    "near": written("value", sae="a", feature=3, values={"std": 0.4}, tolerances={"std": 0.01}),
    "rare": written("share", saes=["a", "b"], where=TYPED, max=0.1),
    "absent": written("count", saes=["a"], where=TYPED, min=1) | {"study": "elsewhere"},
}
FILL = {"float": 0.5, "int": 0, "bool": False, "string": "unclassified"}
N = 5


def filled(table: tables.Table, n: int, **columns: Any) -> pd.DataFrame:
    """A frame of the table with these columns, and something in the others."""
    frame = {}
    for name, column in table.columns.items():
        default = next(value for kind, value in FILL.items() if column.dtype.startswith(kind))
        values = pd.Series(columns.get(name, [default] * n))
        frame[name] = values.astype(column.pandas_types[0])
    return pd.DataFrame(frame)


def store(folder: Path, sae: str, labels: Sequence[str], **metadata: str) -> dict[judging.Key, Path]:
    """Tables of one SAE of study `planted` in view `main`: std is .1, .2, ... by row."""
    features = np.arange(N)
    frames = {
        "moments": (filled(MOMENTS, N, feature=features, std=(features + 1) / 10), MOMENTS),
        "types": (filled(TYPES, N, feature=features, scheme=["s"] * N, type=labels), TYPES),
    }
    paths: dict[judging.Key, Path] = {}
    for name, (frame, table) in frames.items():
        paths["planted", sae, "main", name] = path = folder / sae / f"{name}.parquet"
        tables.write(frame, path, table, metadata)
    return paths


@pytest.fixture
def paths(tmp_path: Path) -> dict[judging.Key, Path]:
    none = ["unclassified"] * N
    found = store(tmp_path, "a", none, model_sha256="m", sae_sha256="x")
    return found | store(tmp_path, "b", none, model_sha256="m", sae_sha256="y")


def read(entries: dict[str, dict[str, Any]]) -> list[judging.Prediction]:
    return [parse(name, entry) for name, entry in entries.items()]


def test_each_is_held_failed_or_not_run(paths, tmp_path):
    away = {"elsewhere": "its weights are not on this machine; get them"}
    judged = judging.judge(read(ENTRIES), paths, away)
    assert judged["verdict"].tolist() == ["held", "held", "not run"]
    assert judged["found"].tolist()[:2] == ["std 0.4", "0 (0 of 10)"] and judged["found"].isna()[2]
    assert judged["why_not"].isna().tolist() == [True, True, False]
    assert judged["model_sha256"].tolist()[:2] == ["m", "m"] and judged["model_sha256"].isna()[2]
    assert judged["sae_sha256"].tolist() == [["x"], ["x", "y"], []]
    # Once more, where they must fail: the rows of `a` exchanged, and every row of `b` typed.
    other = store(tmp_path / "other", "b", ["prediction"] * N, model_sha256="m", sae_sha256="z")
    frame = tables.read(paths["planted", "a", "main", "moments"], MOMENTS)
    frame["std"] = frame["std"].to_numpy()[::-1].copy()
    tables.write(frame, paths["planted", "a", "main", "moments"], MOMENTS, {"model_sha256": "m"})
    again = judging.judge(read(ENTRIES), paths | other, away)
    assert again["verdict"].tolist() == ["failed", "failed", "not run"]
    assert again["found"].tolist()[:2] == ["std 0.2 (off)", "0.5 (5 of 10)"]


@pytest.mark.parametrize(
    "away", [{}, {"elsewhere": "no weights"}, {"elsewhere": "no", "planted": "nor these"}]
)
def test_the_table_is_written_whatever_was_run(paths, tmp_path, away):
    entries = ENTRIES if away else {name: ENTRIES[name] for name in ("near", "rare")}
    judged = judging.judge(read(entries), {} if len(away) == 2 else paths, away)
    tables.write(judged, tmp_path / "p.parquet", PREDICTIONS, {})
    again = tables.read(tmp_path / "p.parquet", PREDICTIONS)
    assert list(judging.lines(again)) == list(judging.lines(judged))
    text = judging.shown(again)
    assert text["saes"].tolist() == ["a", "a, b", "a"][: len(entries)]


def test_the_reader_is_told_of_every_one(paths):
    said = list(judging.lines(judging.judge(read(ENTRIES), paths, {"elsewhere": "no weights here"})))
    assert said == [
        "held: near (planted, main): expected feature 3: std 0.4 ± 0.01; found std 0.4",
        "held: rare (planted, main): expected of the rows, a share of at most 0.1 with s: typed; "
        "found 0 (0 of 10)",
        "not run: 1 of study elsewhere (absent): no weights here",
        "predictions: 2 held, 0 failed, 1 not run",
    ]


def test_a_row_that_is_not_there_is_an_error_that_names_the_prediction(paths):
    lost = ENTRIES["near"] | {"feature": 24575}
    with pytest.raises(FsrlError, match=r"predictions\.near \(study planted\): a has no feature 24575"):
        judging.judge(read({"near": lost}), paths, {})
    with pytest.raises(FsrlError, match=r"predictions\.near .*no table moments of c"):
        judging.judge(read({"near": ENTRIES["near"] | {"sae": "c"}}), paths, {})
    with pytest.raises(FsrlError, match=r"predictions\.absent .*elsewhere"):
        judging.judge(read(ENTRIES), paths, {})


def test_tables_of_two_models_judge_nothing(paths, tmp_path):
    other = store(tmp_path / "other", "b", ["unclassified"] * N, model_sha256="another")
    with pytest.raises(FsrlError, match=r"predictions\.rare .*different model weights"):
        judging.judge(read(ENTRIES), paths | other, {"elsewhere": "no weights"})
