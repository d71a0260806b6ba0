"""The layer summary on tables small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from fsrl.types.summary import SummaryInputs, layer_summary


def test_tails_and_types_by_hand():
    draws = pd.DataFrame({"kurtosis": np.linspace(2, 4, 1001), "skewness": np.linspace(-1, 1, 1001)})
    # The 0.999 and 0.001 quantiles: kurtosis 3.998 and 2.002, skewness 0.998 and -0.998; those of the other
    # kind kurtosis 4.998 and 3.002, skewness 1.996 and -1.996: each is more extreme than the other somewhere.
    other = pd.DataFrame({"kurtosis": draws["kurtosis"] + 1, "skewness": 2 * draws["skewness"]})
    null = pd.concat([draws.assign(kind="isotropic"), other.assign(kind="sign_flip")])
    moments = pd.DataFrame(
        {"kurtosis": [3.0, 3.999, 9.0, 2.0, np.nan], "skewness": [0.0, 0.999, -0.9, -5.0, np.nan]}
    )
    counts = pd.DataFrame(
        {
            "scheme": ["calibrated", "calibrated", "post"],
            "type": ["prediction", "unclassified", "prediction"],
            "features": [2, 3, 5],
            "expected": [0.1, 4.9, 1.0],
        }
    )
    found = layer_summary(
        [SummaryInputs("blocks.0.hook_resid_pre", moments, counts, null)], scheme="calibrated"
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
            "prediction_expected": 0.1,
            "unclassified": 3,
            "unclassified_expected": 4.9,
        }
    ]
