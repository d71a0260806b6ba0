"""Several kinds of null: which decides a bound, what each would give, and the table of thresholds."""

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.names import TYPES
from fsrl.tables import core as tables
from fsrl.tables.types import THRESHOLDS, TYPE_NULL_COUNTS
from fsrl.types import classify
from tests.fixtures.type_examples import SCHEMES, null_table, random_tables, table, under

# Quantile q of `narrow` is 2q - 1, of `wide` 6q - 3; kurtosis 2 + 3q and 1 + 6q.
NARROW = null_table(np.linspace(-1, 1, 1001), np.linspace(2, 5, 1001), kind="isotropic")
WIDE = null_table(np.linspace(-3, 3, 501), np.linspace(1, 7, 501), kind="sign_flip")
BOTH = pd.concat([NARROW, WIDE])


def cut_of(word, bound, column="skewness", null=BOTH):
    scheme = {"s": {"types": {"prediction": {column: {word: bound}}}}}
    return under(classify.thresholds, table(skewness=[0.0]), scheme, null).iloc[0]


@pytest.mark.parametrize(
    ("word", "bound", "threshold", "kind"),
    [
        ("above", "null0.9", 2.4, "sign_flip"),
        ("min", "null0.1", -0.8, "isotropic"),  # above both: the higher one
        ("below", "null0.1", -2.4, "sign_flip"),
        ("max", "null0.9", 0.8, "isotropic"),  # below both: the lower one
        ("above", "isotropic0.9", 0.8, "isotropic"),
        ("below", "sign_flip0.1", -2.4, "sign_flip"),
    ],
)
def test_a_null_bound_must_be_met_against_every_null(word, bound, threshold, kind):
    cut = cut_of(word, bound)
    assert cut["threshold"] == pytest.approx(threshold)
    assert cut["kind"] == kind
    assert cut["bound"] == bound
    # The same said otherwise: the feature meets the bound against each null alone.
    values = table(skewness=np.linspace(-3.5, 3.5, 36))
    scheme = {"s": {"types": {"prediction": {"skewness": {word: bound}}}}}
    together = under(classify.types, values, scheme, BOTH)["prediction"]
    if bound.startswith("null"):
        alone = [under(classify.types, values, scheme, null)["prediction"] for null in (NARROW, WIDE)]
        assert together.tolist() == (alone[0] & alone[1]).tolist()
    assert together.any() and not together.all()


def test_a_null_that_was_not_run_is_refused_with_its_place():
    place = "scheme s, type prediction, column skewness, above: activations0.9 needs null activations"
    with pytest.raises(FsrlError, match=f"{place}, which was not run; there are isotropic, sign_flip"):
        cut_of("above", "activations0.9")


def test_counts_by_hand(tmp_path):
    scheme = {
        "s": {"types": {"prediction": {"skewness": {"min": 0.5}}, "partition": {"kurtosis": {"max": 2.5}}}}
    }
    moments = table(skewness=[0.6, 0.6, 0.4, -1.0], kurtosis=[3.0, 2.0, 2.0, 3.0])
    narrow = null_table([0.6, 0.0, 0.0, 0.0], [2.0, 2.0, 3.0, 3.0], kind="isotropic")
    wide = null_table([0.6, 0.0], [3.0, 3.0], kind="sign_flip")
    null = pd.concat([narrow, wide])
    found = under(classify.type_null_counts, moments, scheme, null)
    at = found.set_index(["type", "kind"])
    assert at.loc[("prediction", "isotropic")].to_dict() == {
        "scheme": "s", "draws": 4, "features": 2, "expected": 1.0, "null_share": 0.25,
        "members": 2, "member_expected": 1.0, "member_null_share": 0.25,
    }  # fmt: skip
    assert at.loc[("prediction", "sign_flip"), ["draws", "expected", "null_share"]].tolist() == [2, 2.0, 0.5]
    partition = at.loc[("partition", "isotropic")]
    assert (partition["features"], partition["members"]) == (1, 2)
    assert (partition["null_share"], partition["member_null_share"]) == (0.25, 0.5)
    assert at.loc[("partition", "sign_flip"), "member_expected"] == 0.0
    # The summary takes the null that gives most, type by type.
    most = under(classify.type_counts, moments, scheme, null).set_index("type")
    assert most["null_share"].tolist() == [0.5, 0.25, 0.5, 0.0]
    assert most.loc["prediction", "expected"] == 2.0
    assert most.loc["partition", "member_null_share"] == 0.5
    tables.write(found, tmp_path / "t", TYPE_NULL_COUNTS, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", TYPE_NULL_COUNTS), found)


@pytest.mark.parametrize("seed", range(3))
def test_each_nulls_counts_are_those_of_typing_its_draws(seed):
    moments, null = random_tables(seed)
    other = random_tables(seed + 10)[1].assign(kind="sign_flip")
    both = pd.concat([null, other])
    found = under(classify.type_null_counts, moments, SCHEMES, both, d_model=50)
    shares = found.groupby(["scheme", "kind"])["null_share"].sum()
    assert shares.to_numpy() == pytest.approx(1)
    # Bounds that do not depend on the features can be asked of the draws directly.
    fixed = {name: SCHEMES[name] for name in ("calibrated", "universal_neurons")}
    for kind, draws in both.groupby("kind"):
        labels = under(classify.types, draws.assign(feature=draws["draw"]), fixed, both, d_model=50)
        for row in found[(found["kind"] == kind) & found["scheme"].isin(fixed)].itertuples():
            of_scheme = labels[labels["scheme"] == row.scheme]
            assert row.null_share == pytest.approx((of_scheme["type"] == row.type).mean())
            if row.type in TYPES:
                assert row.member_null_share == pytest.approx(of_scheme[row.type].mean())


def test_thresholds_of_every_kind_of_bound(tmp_path):
    moments, null = random_tables(0)
    found = under(classify.thresholds, moments, SCHEMES, null, d_model=50)
    at = found.set_index(["scheme", "type", "column", "word"])
    shaped = moments.dropna(subset=["skewness"])
    assert at.loc[("post", "local_context", "kurtosis", "min"), "threshold"] == shaped["kurtosis"].quantile(
        0.9
    )
    width = (shaped["std"] / shaped["norm"]).quantile(0.95)
    assert at.loc[("post", "prediction", "std", "below"), "threshold"] == pytest.approx(width)
    assert at.loc[("universal_neurons", "partition", "variance_x_d_model", "above"), "threshold"] == 5.12
    skew = at.loc[("calibrated", "suppression", "skewness", "below")]
    assert skew["threshold"] == pytest.approx(null["skewness"].quantile(0.001))
    assert (skew["bound"], skew["kind"]) == ("null0.001", "isotropic")
    assert found.loc[~found["bound"].str.startswith("null"), "kind"].isna().all()
    assert len(found) == sum(
        len(b) for s in SCHEMES.values() for t in s["types"].values() for b in t.values()
    )
    tables.write(found, tmp_path / "t", THRESHOLDS, {})
    pd.testing.assert_frame_equal(tables.read(tmp_path / "t", THRESHOLDS), found)
