"""Quantiles of a column, and their Monte Carlo error against a simulation."""

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.stats.quantiles import quantile, quantile_error


def test_quantile_interpolates_and_leaves_nulls_out():
    frame = pd.DataFrame({"kurtosis": [3.0, 1.0, np.nan, 2.0]})
    assert quantile(frame, "kurtosis", 0.5) == 2.0
    assert quantile(frame, "kurtosis", 0.75) == 2.5
    assert quantile(frame, "kurtosis", 1) == 3.0


@pytest.mark.parametrize("q", [0.1, 0.5, 0.99])
def test_quantile_error_against_a_simulation(q):
    generator = np.random.default_rng(0)
    samples = [pd.DataFrame({"x": generator.exponential(size=2000)}) for _ in range(400)]
    spread = np.std([quantile(sample, "x", q) for sample in samples])
    errors = [quantile_error(sample, "x", q) for sample in samples]
    # The simulation's own sd has an error of 1 / sqrt(800) = 3.5 %.
    assert np.mean(errors) == pytest.approx(spread, rel=0.12)


@pytest.mark.parametrize(
    ("column", "q", "message"),
    [
        ("skew", 0.5, "no such column"),
        ("kurtosis", 1.5, "must lie between 0 and 1"),
        ("skewness", 0.5, "holds no value"),
    ],
)
def test_bad_quantiles_are_refused(column, q, message):
    frame = pd.DataFrame({"kurtosis": [1.0, 2.0], "skewness": [np.nan, np.nan]})
    for function in (quantile, quantile_error):
        with pytest.raises(FsrlError, match=message):
            function(frame, column, q)


def test_too_few_draws_for_an_error_are_refused_with_how_many_it_takes():
    frame = pd.DataFrame({"kurtosis": np.arange(1000.0)})
    assert quantile_error(frame, "kurtosis", 0.99) > 0
    with pytest.raises(FsrlError, match="500 draws are too few for its error; it takes 999"):
        quantile_error(frame[:500], "kurtosis", 0.999)
    assert quantile_error(frame[:999], "kurtosis", 0.999) > 0
