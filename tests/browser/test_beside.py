"""Nearest directions and the spread of null ones, against brute force."""

import weakref

import numpy as np
import pytest
import torch

from fsrl.browser import beside
from fsrl.names import BOUNDING
from fsrl.tables import core as tables
from fsrl.tables.directions import NEIGHBOURS, NULL_SHAPES
from fsrl.weights import nearest
from fsrl.weights.matrices import View, unit_rows


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other)]
    return unit[0] @ unit[1].T


@pytest.mark.parametrize("part", [1, 6, 16, beside.PART])
def test_neighbours_are_those_of_all_cosines(tmp_path, monkeypatch, part: int) -> None:
    """Over parts and blocks of rows too, with layers of different sizes; one row is another's copy."""
    monkeypatch.setattr(nearest, "ROWS", 7)
    monkeypatch.setattr(beside, "PART", part)
    rng = np.random.default_rng(0)
    decoders = [rng.normal(size=(n, 12)) * rng.uniform(0.1, 9, (n, 1)) for n in (20, 33, 15)]
    decoders[2][4] = 3 * decoders[0][11]
    saes = ["a", "b", "c"]
    found = list(beside.neighbours([torch.tensor(rows, dtype=torch.float32) for rows in decoders], saes))
    for i, frame in enumerate(found):
        tables.write(frame, tmp_path / "neighbours.parquet", NEIGHBOURS, {})
        for j, sae in enumerate(saes):
            wanted = cosines(decoders[i], decoders[j])
            if i == j:
                np.fill_diagonal(wanted, -np.inf)
            ranks = beside.NEAREST if i == j else 1
            rows = frame[frame["sae"] == sae].sort_values(["feature", "rank"])
            ids = np.argsort(-wanted, axis=1)[:, :ranks]
            assert rows["neighbour"].to_numpy().reshape(-1, ranks).tolist() == ids.tolist()
            own = np.take_along_axis(wanted, ids, 1)
            assert rows["cosine"].to_numpy().reshape(-1, ranks) == pytest.approx(own, abs=1e-6)
    copy = found[0][(found[0]["feature"] == 11) & (found[0]["sae"] == "c")].iloc[0]
    assert copy["neighbour"] == 4 and copy["cosine"] == pytest.approx(1)


def test_two_parts_of_rows_are_held_at_a_time(monkeypatch) -> None:
    """Of five decoders in eleven parts; all of them were 4.8 GB for 12 of 131,072 rows."""
    held, most = weakref.WeakSet(), []

    def counted(W_dec: torch.Tensor) -> torch.Tensor:
        rows = unit_rows(W_dec)
        held.add(rows)
        most.append(len(held))
        return rows

    monkeypatch.setattr(beside, "PART", 8)
    monkeypatch.setattr(beside, "unit_rows", counted)
    decoders = [torch.randn(n, 12) for n in (20, 8, 17, 3, 20)]
    assert len(list(beside.neighbours(decoders, list("abcde")))) == 5
    assert max(most) == 2


@pytest.mark.parametrize("part", [3, beside.PART])
def test_a_row_of_zeros_has_no_cosine(monkeypatch, part: int) -> None:
    monkeypatch.setattr(beside, "PART", part)
    rows = torch.eye(12)[:10].clone()
    rows[3] = 0
    (frame,) = beside.neighbours([rows], ["a"])
    undefined = (frame["feature"] == 3) | (frame["neighbour"] == 3)
    assert frame.loc[undefined, "cosine"].isna().all() and frame.loc[~undefined, "cosine"].notna().all()


def test_null_shapes_count_every_token_of_every_direction(tmp_path) -> None:
    """Of a Gaussian W_U the spread is a Gaussian's."""
    generator = torch.Generator().manual_seed(0)
    W_U = torch.randn(24, 900, generator=generator)
    view = View(torch.randn(60, 24, generator=generator), W_U, torch.arange(900))
    found = beside.null_shapes(view, n_bins=50, seed=0)
    tables.write(found, tmp_path / "shapes.parquet", NULL_SHAPES, {})
    assert found["kind"].tolist() == list(BOUNDING)
    from scipy import stats

    wanted = np.diff(stats.norm.cdf(np.linspace(-8, 8, 51)))
    for row in found.itertuples():
        total = row.underflow + row.overflow + row.counts.sum()
        assert total == row.draws * 900 == beside.DRAWS * 900
        assert row.counts / total == pytest.approx(wanted, abs=2e-3)
