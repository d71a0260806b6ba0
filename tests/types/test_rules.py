"""The rule language: what may be written, and that each mistake is named with its place."""

import math

import pytest

from fsrl.errors import FsrlError
from fsrl.types.rules import Bound, parse_bound, parse_schemes


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (3.0, Bound("absolute", 3.0)),
        (-2, Bound("absolute", -2.0)),
        ("q0.90", Bound("q", 0.9)),
        ("q1", Bound("q", 1.0)),
        ("q.5", Bound("q", 0.5)),
        ("null0.999", Bound("null", 0.999)),
        ("null0", Bound("null", 0.0)),
        ("sign_flip0.001", Bound("null", 0.001, "sign_flip")),
        ("isotropic1", Bound("null", 1.0, "isotropic")),
    ],
)
def test_bounds(written, expected):
    assert parse_bound(written) == expected
    assert parse_bound(str(expected) if isinstance(written, str) else float(str(expected))) == expected


@pytest.mark.parametrize(
    "written",
    ["", "3.0", "0.9", "p0.9", "q", "q-0.1", "q0,9", "q0.9 ", "Q0.9", "null", "isotropic", "gauss0.9"],
)
def test_other_text_is_refused(written):
    with pytest.raises(
        FsrlError, match="here: .* is no bound; write a number, a quantile q0.90 or null0.999"
    ):
        parse_bound(written, "here")


@pytest.mark.parametrize("written", [None, True, math.nan, math.inf, [1], {"min": 1}])
def test_other_values_are_refused(written):
    with pytest.raises(FsrlError, match="is no bound"):
        parse_bound(written)


@pytest.mark.parametrize("written", ["q1.5", "null99", "q90", "activations2"])
def test_quantiles_outside_0_to_1_are_refused(written):
    with pytest.raises(FsrlError, match="must lie between 0 and 1"):
        parse_bound(written)


def parse(column="skewness", **bounds):
    return parse_schemes({"mine": {"view": None, "types": {"prediction": {column: bounds}}}})


PLACE = "scheme mine, type prediction, column skewness"


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"max": "q1.5"}, f"{PLACE}, max: quantile 1.5 in 'q1.5' must lie between 0 and 1"),
        ({"above": "big"}, f"{PLACE}, above: 'big' is no bound"),
        ({"at_least": 3}, f"{PLACE}: unknown bound word 'at_least'; choose from min, above, max, below"),
        ({"min": 3, "max": 2}, f"{PLACE}: min 3 and max 2 leave nothing"),
        ({"above": 2, "max": 2}, f"{PLACE}: above 2 and max 2 leave nothing"),
        ({"min": "q0.9", "below": "q0.1"}, f"{PLACE}: min 0.9 and below 0.1 leave nothing"),
        ({"min": "null0.9", "max": "null0.1"}, f"{PLACE}: min 0.9 and max 0.1 leave nothing"),
        (
            {"min": "sign_flip0.9", "max": "sign_flip0.1"},
            f"{PLACE}: min 0.9 and max 0.1 leave nothing",
        ),
        ({"min": 1, "above": 2}, f"{PLACE}: both min and above; give one of them"),
        ({"max": 1, "below": 2}, f"{PLACE}: both max and below; give one of them"),
        ({}, f"{PLACE}: {{}} should be a mapping with at least one entry"),
    ],
)
def test_malformed_bounds_are_refused_with_their_place(bounds, message):
    with pytest.raises(FsrlError) as caught:
        parse(**bounds)
    assert str(caught.value).startswith(message)


# Quantiles of two nulls cannot be compared before they are drawn.
MIXED = {"min": "isotropic0.9", "max": "sign_flip0.1"}


def test_bounds_that_leave_something_are_read():
    for bounds in (
        {"min": 2, "max": 2},
        {"above": "q0.25", "below": "q0.95"},
        {"min": 5, "max": "q0.1"},
        MIXED,
    ):
        (scheme,) = parse(**bounds)
        assert [condition.word for condition in scheme.rules["prediction"]] == list(bounds)


@pytest.mark.parametrize(
    ("schemes", "message"),
    [
        ({}, "schemes: {} should be a mapping"),
        ({"s": None}, "scheme s: None should be a mapping"),
        ({"s": {"view": None}}, "scheme s: no types; give at least one of local_context"),
        ({"s": {"types": []}}, r"scheme s, types: \[\] should be a mapping"),
        ({"s": {"veiw": "main", "types": {}}}, "scheme s: unknown key 'veiw'; choose from view, types"),
        ({"s": {"view": 3, "types": {}}}, "scheme s: view is 3"),
        ({"s": {"types": {"topic": {}}}}, "scheme s: unknown type 'topic'; choose from local_context"),
        ({"s": {"types": {"partition": {}}}}, "scheme s, type partition: {} should be a mapping"),
        (
            {"s": {"types": {"partition": {"skew": {"min": 1}}}}},
            "type partition: unknown column 'skew'; choose",
        ),
        ({"s": {"types": {"partition": {"std": 3}}}}, "type partition, column std: 3 should be a mapping"),
    ],
)
def test_malformed_schemes_are_refused_with_their_place(schemes, message):
    with pytest.raises(FsrlError, match=message):
        parse_schemes(schemes)


def test_the_view_is_kept():
    rule = {"partition": {"kurtosis": {"below": 3}}}
    named, unnamed = parse_schemes({"a": {"view": "cosine", "types": rule}, "b": {"types": rule}})
    assert (named.name, named.view) == ("a", "cosine")
    assert unnamed.view is None


@pytest.mark.parametrize(
    ("bound", "nulls", "message"),
    [
        ("null0.999", [], "null0.999 needs null draws, and there are none"),
        ("sign_flip0.999", [], "sign_flip0.999 needs null draws, and there are none"),
        (
            "activations0.999",
            ["isotropic", "sign_flip"],
            "activations0.999 needs null activations, which was not run; there are isotropic, sign_flip",
        ),
    ],
)
def test_quantiles_of_a_null_that_was_not_run_are_refused_with_their_place(bound, nulls, message):
    scheme = {"mine": {"types": {"prediction": {"skewness": {"above": bound}}}}}
    assert parse_schemes(scheme)  # which nulls are run is not known here
    with pytest.raises(FsrlError) as caught:
        parse_schemes(scheme, nulls)
    assert str(caught.value) == f"{PLACE}, above: {message}"


def test_quantiles_of_nulls_that_were_run_are_read():
    for bound in ("null0.999", "isotropic0.999", 3, "q0.5"):
        scheme = {"mine": {"types": {"prediction": {"skewness": {"above": bound}}}}}
        assert parse_schemes(scheme, ["isotropic"]) == parse_schemes(scheme)
