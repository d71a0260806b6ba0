"""The three schemes as the config writes them, and tables to type."""

import numpy as np
import pandas as pd

POST = {
    "view": None,
    "types": {
        "local_context": {"kurtosis": {"min": "q0.90"}, "std": {"max": "q0.50"}},
        "partition": {"std": {"min": "q0.75"}, "skewness": {"min": 0}, "kurtosis": {"max": "q0.25"}},
        "prediction": {"skewness": {"min": "q0.90"}, "std": {"above": "q0.25", "below": "q0.95"}},
        "suppression": {"skewness": {"below": 0}, "kurtosis": {"max": "q0.50"}},
    },
}
CALIBRATED = {
    "view": None,
    "types": {
        "local_context": {
            "kurtosis": {"above": "null0.999"},
            "skewness": {"above": 0},
            "implied_tokens": {"max": 20},
        },
        "prediction": {"skewness": {"above": "null0.999"}},
        "suppression": {"skewness": {"below": "null0.001"}},
        "partition": {"kurtosis": {"below": "null0.001"}},
    },
}
UNIVERSAL_NEURONS = {
    "view": "cosine",
    "types": {
        "prediction": {"kurtosis": {"above": 10}, "skewness": {"above": 0}},
        "suppression": {"kurtosis": {"above": 10}, "skewness": {"below": 0}},
        "partition": {"variance_x_d_model": {"above": 5.12}, "kurtosis": {"below": 3}},
    },
}
SCHEMES = {"post": POST, "calibrated": CALIBRATED, "universal_neurons": UNIVERSAL_NEURONS}


def table(**columns):
    """A moments table: the given columns, and values that meet nothing in the others."""
    n = len(next(iter(columns.values())))
    defaults = {
        "mean": 0.0,
        "std": 0.1,
        "skewness": 0.1,
        "kurtosis": 3.0,
        "implied_tokens": np.nan,
        "norm": 1.0,
    }
    values = {name: np.broadcast_to(value, n).astype(float) for name, value in (defaults | columns).items()}
    return pd.DataFrame({"feature": np.arange(n, dtype=np.int32), **values})


def null_table(skewness, kurtosis, kind="isotropic", std=0.1):
    return table(skewness=skewness, kurtosis=kurtosis, std=std).assign(kind=kind, draw=range(len(skewness)))


# 1001 draws, evenly spread: skewness from -1 to 1, kurtosis from 2.5 to 5.
NULL = null_table(np.linspace(-1, 1, 1001), np.linspace(2.5, 5, 1001))


def random_tables(seed, n=300):
    generator = np.random.default_rng(seed)

    def draw(rows, spread):
        skewness = generator.normal(0.2, spread, rows)
        kurtosis = 1.5 + skewness**2 + generator.gamma(1.5, spread, rows)
        frame = table(skewness=skewness, kurtosis=kurtosis, norm=generator.uniform(0.5, 2, rows))
        frame["std"] = generator.gamma(4, 0.03, rows) * frame["norm"]
        frame["implied_tokens"] = np.where(generator.random(rows) < 0.5, generator.gamma(1, 30, rows), np.nan)
        frame.loc[generator.random(rows) < 0.05, ["skewness", "kurtosis", "implied_tokens"]] = np.nan
        return frame

    return draw(n, 1.0), draw(2 * n, 0.5).assign(kind="isotropic", draw=range(2 * n))
