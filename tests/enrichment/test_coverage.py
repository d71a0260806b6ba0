"""Which types the features of a set have: counted by hand, and by a loop."""

import numpy as np
import pandas as pd
import pytest

from fsrl.enrichment import coverage, coverage_sums
from fsrl.enrichment.study import LayerTests
from fsrl.latex import coverage as latex_coverage
from fsrl.names import LABELS
from fsrl.tables import core as tables
from fsrl.tables.enrichment import SET_COVERAGE

CUT = -4.0


def layer(log10_p, sae="blocks.0.hook_resid_pre"):
    p = np.asarray(log10_p, dtype=np.float32)
    names = [f"set_{index}" for index in range(p.shape[1])]
    return LayerTests(sae, names, np.ones_like(p), p, p, p, p)


def types_of(labels):
    own = {"feature": np.arange(len(labels), dtype=np.int32), "scheme": "s", "type": labels}
    other = own | {"scheme": "other", "type": ["partition"] * len(labels)}
    return pd.concat([pd.DataFrame(other), pd.DataFrame(own)], ignore_index=True)


def test_worked_example(tmp_path):
    # Set 0 has a prediction and an unclassified feature, set 1 the latter and one without shape, set 2 none.
    tests = layer([[-5, -1, -1], [-6, -9, -1], [np.nan, -4, -3.9]])
    labels = ["prediction", "unclassified", "degenerate"]
    frame = coverage.set_coverage(tests, CUT, types_of(labels), "s")
    path = tmp_path / "set_coverage.parquet"
    tables.write(frame, path, SET_COVERAGE, {})
    found = tables.read(path, SET_COVERAGE)
    assert len(found) == 4 * len(LABELS)
    first = found[(found["set"] == "set_0") & (found["type"] == "prediction")].iloc[0]
    assert (first["features"], first["significant"], first["share"]) == (1, 2, 0.5)
    assert found.loc[found["set"] == "set_2", "share"].isna().all()
    assert found.loc[found["set"].isna() & (found["type"] == "prediction"), "significant"].item() == 3
    summed = coverage_sums.by_label(pd.concat([found, found.assign(sae="blocks.1.hook_resid_pre")]))
    assert list(summed.index) == [coverage_sums.ANY, "set_0", "set_1", "set_2"]
    assert summed.loc[coverage_sums.ANY, ["typed", "untyped", "significant"]].tolist() == [2, 4, 6]
    assert summed.loc["set_0", "share"] == 0.5 and summed.loc["set_1", "share"] == 0
    assert np.isnan(summed.loc["set_2", "share"])


def test_against_a_loop():
    generator = np.random.default_rng(0)
    log10_p = generator.uniform(-8, 0, size=(200, 5))
    labels = generator.choice(LABELS, 200)
    frame = coverage.set_coverage(layer(log10_p), CUT, types_of(list(labels)), "s")
    for row in frame.itertuples():
        index = None if pd.isna(row.set) else int(row.set[-1])
        called = [min(p) <= CUT if index is None else p[index] <= CUT for p in log10_p.astype(np.float32)]
        own = sum(1 for label, yes in zip(labels, called, strict=True) if yes and label == row.type)
        assert (row.features, row.significant) == (own, sum(called))
    assert frame.groupby(frame["set"].fillna("any"))["share"].sum().to_numpy() == pytest.approx(np.ones(6))


def test_nothing_is_significant_without_a_cut():
    frame = coverage.set_coverage(layer([[-5.0], [-6.0]]), np.nan, types_of(["partition"] * 2), "s")
    assert frame["features"].sum() == 0 and frame["share"].isna().all()
    assert "any set" in latex_coverage.set_coverage(frame)


def test_latex_table():
    tests = layer([[-5, -1], [-6, -9], [-7, -1]])
    frame = coverage.set_coverage(tests, CUT, types_of(["prediction", "unclassified", "partition"]), "s")
    table = latex_coverage.set_coverage(frame)
    rows = [line for line in table.splitlines() if "set" in line and "&" in line]
    assert r"\texttt{set\_0} & 3 &" in table and "67" in table
    assert rows[-1].startswith("any set")
