"""Next tokens where features fire: by hand, by SciPy's ranks and a loop over sites; their means by layer."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from fsrl.stats.strata import weighted_mean
from fsrl.steering import gains, measure, reading
from fsrl.tables import core as tables
from fsrl.tables.steering import NEXT_TOKEN, NEXT_TOKEN_SUMMARY
from fsrl.weights.matrices import Decoder
from tests.fixtures.steering_tables import next_token_table


@given(st.lists(st.integers(-2, 2), min_size=2, max_size=9))
def test_percentiles_are_mid_ranks(row):
    found = reading.percentiles(torch.tensor([row], dtype=torch.float32))[0].numpy()
    np.testing.assert_allclose(found, (rankdata(row) - 1) / (len(row) - 1))


def test_the_gain_of_a_toy_by_hand():
    """Three tokens of percentiles 0, .5, 1 under one feature; four sites, at one of which it fires."""
    decoder = Decoder(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), None, "blocks.0.hook_resid_pre", 0, "a", {})
    # Token 0 is not in the view. Weights of feature 0: 1, 2, 3 for tokens 1, 2, 3; of feature 1: 3, 2, 1.
    W_U = torch.tensor([[9.0, 1.0, 2.0, 3.0], [9.0, 3.0, 2.0, 1.0]])
    vocabulary = measure.Vocabulary(W_U, torch.tensor([1, 2, 3]))
    #                       first  sites: next is 3, 1, 2 and 0 (none of the view)
    inputs = torch.tensor([[0, 1, 3, 1, 2, 0]])
    fires = torch.zeros(1, 6, 2)
    fires[0, 1, 0] = 2.0  # next: token 3
    fires[0, 4, 0] = 1.0  # next: token 0, no site
    sample = pd.DataFrame({"feature": np.array([0, 1], dtype=np.int32), "type": "prediction", "stratum": 2})
    sample = sample.assign(log10_density=np.float32(np.nan))
    T = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # swaps the features' weights
    frame = reading.next_tokens(decoder, sample, lambda chosen: fires[..., chosen], inputs, vocabulary, T)
    own, never = frame.iloc[0], frame.iloc[1]
    base = (1 + 0 + 0.5) / 3
    assert (own["sites"], own["direct"], own["direct_base"]) == (1, 1.0, pytest.approx(base))
    assert (own["transported"], own["transported_base"]) == (0.0, pytest.approx(1 - base))
    assert own["direct_gain"] == pytest.approx(1 - base)
    assert own["difference"] == pytest.approx((base - 1) - (1 - base))
    figures = [name for name, column in NEXT_TOKEN.columns.items() if column.dtype == "float64"]
    assert never["sites"] == 0 and never[figures].isna().all()


@pytest.mark.parametrize("rows", [2, 64])
def test_gains_are_those_of_a_loop_over_sites(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(reading.forward, "rows", lambda device, size: rows)
    generator = torch.Generator().manual_seed(0)
    n, d_vocab = 5, 40
    decoder = Decoder(torch.randn(n, 6, generator=generator), None, "blocks.0.hook_resid_pre", 0, "a", {})
    W_U = torch.randn(6, d_vocab, generator=generator)
    ids = torch.arange(4, d_vocab)
    inputs = torch.randint(0, d_vocab, (7, 9), generator=generator)
    fires = (torch.randn(7, 9, n, generator=generator) - 0.5).clamp(min=0)
    sample = pd.DataFrame({"feature": np.arange(n, dtype=np.int32), "type": "prediction", "stratum": n})
    sample = sample.assign(log10_density=np.float32(0))
    vocabulary = measure.Vocabulary(W_U, ids)
    frame = reading.next_tokens(decoder, sample, lambda chosen: fires[..., chosen], inputs, vocabulary, None)
    tables.write(frame, tmp_path / "next_token.parquet", NEXT_TOKEN, {})
    weights = (decoder.W_dec @ W_U)[:, ids].numpy()
    for i in range(n):
        ranks = (rankdata(weights[i]) - 1) / (len(ids) - 1)
        own, every = [], []
        for context in range(7):
            for position in range(1, 8):
                following = int(inputs[context, position + 1])
                if following >= 4:
                    every.append(ranks[following - 4])
                    own += [every[-1]] if fires[context, position, i] else []
        assert frame.loc[i, "sites"] == len(own)
        assert frame.loc[i, "direct_gain"] == pytest.approx(np.mean(own) - np.mean(every))
    assert frame[["transported", "transported_gain", "difference"]].isna().all(axis=None)


def test_means_by_layer_weigh_types_by_their_numbers(tmp_path):
    frame = next_token_table(n=30, seed=0)
    table = gains.summarise({"a": frame}, seed=0)
    tables.write(table, tmp_path / "summary.parquet", NEXT_TOKEN_SUMMARY, {})
    fires = frame[frame["sites"] > 0]
    means = fires.groupby("type")["difference"].mean()
    expected = (1000 * means["unclassified"] + 20 * means["prediction"]) / 1020
    row = table.iloc[0]
    assert row["difference"] == pytest.approx(expected) and row["features"] == 27 and row["sites"] == 5 * 27
    assert row["difference_low"] < expected < row["difference_high"]
    none = gains.summarise({"a": frame.assign(sites=0)}, seed=0).iloc[0]
    assert none["features"] == 0 and np.isnan(none["direct_gain"])


def test_intervals_cover_the_mean_as_often_as_they_say():
    """Normal values in two types: the interval's width beside that of the exact standard error."""
    rng = np.random.default_rng(1)
    stratum, sizes = np.repeat(["a", "b"], 50), np.repeat([900, 100], 50)
    values = rng.standard_normal((100, 2))
    mean, low, high = weighted_mean(values, stratum, sizes, draws=4000, seed=0)
    np.testing.assert_allclose(mean, 0.9 * values[:50].mean(0) + 0.1 * values[50:].mean(0))
    error = np.sqrt((0.9 * values[:50].std(0)) ** 2 / 50 + (0.1 * values[50:].std(0)) ** 2 / 50)
    np.testing.assert_allclose(high - low, 2 * 1.96 * error, rtol=0.08)
    one = weighted_mean(values[:1], stratum[:1], sizes[:1], draws=10, seed=0)
    np.testing.assert_allclose(one[0], values[0])
    assert (
        np.isnan(one[1:]).all()
        and np.isnan(weighted_mean(values[:0], stratum[:0], sizes[:0], draws=3, seed=0)).all()
    )
