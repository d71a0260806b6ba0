"""The layer summary on tables small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from fsrl.nulls import quantiles
from fsrl.types.summary import SummaryInputs, layer_summary
from tests.fixtures.type_examples import NULL, table


def test_tails_and_types_by_hand():
    isotropic = NULL.assign(kurtosis=np.linspace(2, 4, 1001))
    # The 0.999 and 0.001 quantiles: kurtosis 3.998 and 2.002, skewness (pooled with its negative) .998; those
    # of the other kind kurtosis 4.998 and 3.002, skewness 1.996: each is more extreme somewhere.
    other = isotropic.assign(
        kurtosis=isotropic["kurtosis"] + 1, skewness=2 * isotropic["skewness"], kind="spectrum"
    )
    # What does not bound does not count.
    third = other.assign(kind="second_moment", kurtosis=100 * other["kurtosis"])
    known = quantiles.of_draws(pd.concat([isotropic, other, third]))
    moments = table(kurtosis=[3.0, 3.999, 9.0, 2.0, np.nan], skewness=[0.0, 1.001, -0.9, -5.0, np.nan])
    counts = pd.DataFrame(
        {
            "scheme": ["calibrated", "calibrated", "post"],
            "type": ["prediction", "unclassified", "prediction"],
            "features": [2, 3, 5],
            "low": [1.0, 2.0, 4.0],
            "high": [3.0, 4.0, 6.0],
            "expected": [0.0, 5.0, 1.0],
            "expected_at_bounds": [0.1, 4.9, 1.0],
        }
    )
    found = layer_summary(
        [SummaryInputs("blocks.0.hook_resid_pre", moments, counts, known)], scheme="calibrated"
    )
    assert found.to_dict("records") == [
        {
            "sae": "blocks.0.hook_resid_pre",
            "features": 5,
            "kurtosis_above": pytest.approx(0.4),
            "kurtosis_below": pytest.approx(0.2),
            "skewness_above": pytest.approx(0.2),
            "skewness_below": pytest.approx(0.2),
            "kurtosis_above_every_null": pytest.approx(0.2),
            "kurtosis_below_every_null": pytest.approx(0.2),
            "skewness_above_every_null": pytest.approx(0.0),
            "skewness_below_every_null": pytest.approx(0.2),
            "prediction": 2,
            "prediction_low": 1.0,
            "prediction_high": 3.0,
            "prediction_expected": 0.1,
            "unclassified": 3,
            "unclassified_low": 2.0,
            "unclassified_high": 4.0,
            "unclassified_expected": 4.9,
        }
    ]
