"""Dictionaries of one model side by side, on tables small enough to count by hand."""

import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.names import TYPES
from fsrl.types.dictionaries import dictionaries


def counts_of(**features: tuple[int, float]) -> pd.DataFrame:
    """A table `type_counts` of the scheme, beside rows of another that must not be read."""
    rows = [("calibrated", name, *pair) for name, pair in features.items()]
    rows += [("post", name, 99, 99.0) for name in features]
    return pd.DataFrame(rows, columns=["scheme", "type", "features", "expected_at_bounds"])


def nulls_of(**expected: tuple[float, float, float]) -> pd.DataFrame:
    """A table `type_null_counts`: what isotropic directions, those of the spectrum and others give."""
    kinds = ("isotropic", "spectrum", "second_moment")
    rows = [
        (scheme, name, kind, value)
        for scheme in ("calibrated", "post")
        for name, values in expected.items()
        for kind, value in zip(kinds, values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["scheme", "type", "kind", "expected_at_bounds"])


COUNTS = {
    "features": {
        "l0": counts_of(partition=(0, 0.5), prediction=(3, 1.0), unclassified=(15, 0.0), degenerate=(2, 0.0)),
        "l1": counts_of(partition=(2, 0.5), prediction=(1, 1.0), unclassified=(7, 0.0), degenerate=(0, 0.0)),
    },
    "neurons": {"l1": counts_of(partition=(4, 0.2), prediction=(0, 0.0), unclassified=(6, 0.0))},
}
# In one layer this kind gives most, in the other that; second_moment bounds nothing.
NULLS = {
    "features": {
        "l0": nulls_of(partition=(0.5, 0.1, 9), prediction=(1.0, 0.2, 9), unclassified=(18.5, 19.7, 2)),
        "l1": nulls_of(partition=(0.1, 0.5, 9), prediction=(1.0, 0.8, 9), unclassified=(8.9, 8.7, 2)),
    },
    "neurons": {"l1": nulls_of(partition=(0.2, 0.0, 9), prediction=(0.0, 0.0, 9), unclassified=(9.8, 10, 2))},
}


def test_dictionaries_by_hand():
    found = dictionaries(COUNTS, NULLS, scheme="calibrated").set_index(["study", "sae", "type"])
    assert list(found.columns) == ["size", "features", "expected", "share", "chance"]
    expected = {
        ("features", "l0", "prediction"): (20, 3, 1.0, 0.15, 0.05),
        ("features", "l0", "partition"): (20, 0, 0.5, 0.0, 0.025),
        ("features", "l0", "typed"): (20, 3, 1.5, 0.15, 0.075),
        ("features", "l1", "typed"): (10, 3, 1.3, 0.3, 0.13),
        ("features", "all", "partition"): (30, 2, 0.6, 2 / 30, 0.02),
        ("features", "all", "typed"): (30, 6, 2.6, 0.2, 2.6 / 30),
        ("neurons", "l1", "partition"): (10, 4, 0.2, 0.4, 0.02),
        ("neurons", "all", "typed"): (10, 4, 0.2, 0.4, 0.02),
    }
    for key, row in expected.items():
        assert found.loc[key].tolist() == pytest.approx(row), key
    # Studies and layers in the order given, all layers after them, types in that of precedence, then typed.
    assert list(dict.fromkeys(key[:2] for key in found.index)) == [
        ("features", "l0"),
        ("features", "l1"),
        ("features", "all"),
        ("neurons", "l1"),
        ("neurons", "all"),
    ]
    named = [name for name in TYPES if name in ("partition", "prediction")]
    assert [key[2] for key in found.index[:3]] == [*named, "typed"]


def test_a_scheme_that_was_not_counted_is_named():
    with pytest.raises(FsrlError, match="no rows of scheme 'mine'"):
        dictionaries(COUNTS, NULLS, scheme="mine")
