"""Tables of how an effect reaches the logits, and of confidence, against figures counted by hand."""

import re

import numpy as np

from fsrl.latex import steering
from fsrl.tables.steering import FEATURE, RANDOM
from tests.fixtures.steering_tables import confidence_table, paths_table

HOOKS = ("blocks.0.hook_resid_pre", "blocks.5.hook_resid_post")


def rows(table: str) -> list[list[str]]:
    """Cells of the rows that begin with a layer or with chance."""
    cells = (line.removesuffix(r" \\").split(" & ") for line in table.splitlines() if line.endswith(r"\\"))
    return [row for row in cells if re.match(r"\d+ (pre|post)|chance", row[0])]


def test_paths_are_medians_of_features_and_of_random_directions():
    layers = {hook: paths_table(20, seed) for seed, hook in enumerate(HOOKS)}
    for frame, found in zip(layers.values(), rows(steering.paths(layers)), strict=True):
        assert found[1] == "18"
        names = [
            "direct_share",
            "blocks_share",
            "scale_share",
            "entropy_change",
            "fixed_scale_entropy_change",
        ]
        expected = [
            np.nanmedian(frame.loc[frame["direction"] == direction, name])
            for direction in (FEATURE, RANDOM)
            for name in names
        ]
        assert np.allclose([float(cell) for cell in found[2:]], expected, atol=0.0051)


def test_confidence_is_what_lies_beyond_null_directions():
    layers = {hook: confidence_table(1000, seed) for seed, hook in enumerate(HOOKS)}
    first = layers[HOOKS[0]]
    first["null_space_percentile"] = np.where(np.arange(1000) < 250, 0.995, 0.2)
    first["frequency_percentile"] = np.where(np.arange(1000) < 30, 0.001, 0.996)
    first["null_space_spectrum_percentile"] = np.where(np.arange(1000) < 20, 0.995, 0.2)
    first["frequency_spectrum_percentile"] = np.where(np.arange(1000) < 10, 0.001, 0.5)
    found = rows(steering.confidence(layers))
    assert found[0][1:7] == ["3.0", "97.0", "25.0", "1.0", "0.0", "2.0"]
    # Percentiles that are even, and what chance gives.
    assert found[1][1:7] == found[2][1:7] == ["0.5", "0.5", "1.0"] * 2
    assert found[0][7:] == ["{--}"] * 6
