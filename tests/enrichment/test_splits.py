"""The best exemplar of each type, and its logit weights split by a set: by hand and against numpy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsrl.enrichment import splits
from fsrl.tables import core as tables
from fsrl.tables.enrichment import SPLITS

TOKENS = ["a", "b", "c", "d"]


def test_the_best_exemplar_has_the_smallest_q() -> None:
    best = pd.DataFrame(
        {
            "feature": [0, 1, 2, 3, 4],
            "promoted": ["a", "b", "c", None, "e"],
            "promoted_log10_q": [-1.0, -3.0, -9.0, np.nan, -3.0],
            "suppressed": ["f", "g", "h", None, "j"],
            "suppressed_log10_q": [-4.0, -2.0, -1.0, np.nan, -2.0],
        }
    )
    types = pd.DataFrame(
        {
            "feature": [0, 1, 2, 3, 4] * 2,
            "scheme": ["calibrated"] * 5 + ["post"] * 5,
            "type": ["prediction", "partition", "unclassified", "suppression", "partition"]
            + ["prediction"] * 5,
        }
    )
    found = splits.best_exemplars(types, best, scheme="calibrated").set_index("type")
    assert list(found.loc["prediction"]) == [0, "f", "suppressed", -4.0]
    assert list(found.loc["partition"]) == [1, "b", "promoted", -3.0]
    assert len(found) == 2


def test_a_split_by_hand() -> None:
    weights, inside = np.array([0.0, 0.0, 2.0, 4.0]), np.array([False, False, True, True])
    found = splits.split(weights, inside, TOKENS, "promoted")
    assert (found["low"], found["high"]) == (0.0, 4.0)
    assert (found["mean_inside"], found["mean_outside"]) == (3.0, 0.0)
    # Between the groups 1.5^2, in all 11 / 4.
    assert found["eta2"] == pytest.approx(2.25 / 2.75)
    assert found["tokens"] == ["d", "c"]
    assert splits.split(weights, inside, TOKENS, "suppressed")["tokens"] == ["c", "d"]
    assert (found["outside"][0], found["inside"][splits.BINS // 2], found["inside"][-1]) == (2, 1, 1)


@given(st.integers(0, 10_000), st.integers(1, 30))
def test_a_split_counts_every_token_once_and_its_order_does_not_matter(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    weights, inside = rng.normal(size=40), np.arange(40) < size
    tokens, order = [f"t{i}" for i in range(40)], rng.permutation(40)
    found = splits.split(weights, inside, tokens, "promoted")
    assert (found["inside"].sum(), found["outside"].sum()) == (size, 40 - size)
    other = splits.split(weights[order], inside[order], [tokens[i] for i in order], "promoted")
    assert other["tokens"] == found["tokens"]
    assert other["eta2"] == pytest.approx(found["eta2"])
    assert (other["inside"] == found["inside"]).all()


def test_the_table_survives_the_disk_with_and_without_exemplars(tmp_path) -> None:
    chosen = pd.DataFrame(
        {"type": ["partition"], "feature": [7], "set": ["s"], "side": ["promoted"], "log10_q": [-2.0]}
    )
    one = splits.split(
        np.array([0.0, 1.0, 2.0, 4.0]), np.array([True, False, False, True]), TOKENS, "promoted"
    )
    for frame in (splits.splits_frame(chosen, [one]), splits.splits_frame(chosen.iloc[:0], [])):
        tables.write(frame, tmp_path / "splits.parquet", SPLITS, {})
        stored = tables.read(tmp_path / "splits.parquet", SPLITS)
        assert len(stored) == len(frame)
        for kept, made in zip(stored.itertuples(index=False), frame.itertuples(index=False), strict=True):
            assert list(kept.tokens) == made.tokens and list(kept.inside) == list(made.inside)
