"""The rule language: what may be written, and that each mistake is named with its place."""

import math

import pytest

from fsrl.errors import FsrlError
from fsrl.names import TAILS
from fsrl.types.rules import Bound, TailScheme, parse_bound, parse_schemes


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (3.0, Bound("absolute", 3.0)),
        (-2, Bound("absolute", -2.0)),
        ("q0.90", Bound("q", 0.9)),
        ("q1", Bound("q", 1.0)),
        ("q.5", Bound("q", 0.5)),
        ("q0", Bound("q", 0.0)),
    ],
)
def test_bounds(written, expected):
    assert parse_bound(written) == expected
    assert parse_bound(str(expected) if isinstance(written, str) else float(str(expected))) == expected


@pytest.mark.parametrize(
    "written",
    ["", "3.0", "0.9", "p0.9", "q", "q-0.1", "q0,9", "q0.9 ", "Q0.9", "null0.999", "isotropic0.9"],
)
def test_other_text_is_refused(written):
    with pytest.raises(FsrlError, match="here: .* is no bound; write a number, or a quantile such as q0.90"):
        parse_bound(written, "here")


@pytest.mark.parametrize("written", [None, True, math.nan, math.inf, [1], {"min": 1}])
def test_other_values_are_refused(written):
    with pytest.raises(FsrlError, match="is no bound"):
        parse_bound(written)


@pytest.mark.parametrize("written", ["q1.5", "q90"])
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
        ({"min": 1, "above": 2}, f"{PLACE}: both min and above; give one of them"),
        ({"max": 1, "below": 2}, f"{PLACE}: both max and below; give one of them"),
        ({}, f"{PLACE}: {{}} should be a mapping with at least one entry"),
    ],
)
def test_malformed_bounds_are_refused_with_their_place(bounds, message):
    with pytest.raises(FsrlError) as caught:
        parse(**bounds)
    assert str(caught.value).startswith(message)


def test_bounds_that_leave_something_are_read():
    for bounds in (
        {"min": 2, "max": 2},
        {"above": "q0.25", "below": "q0.95"},
        {"min": 5, "max": "q0.1"},
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


def test_a_scheme_of_tails_is_read():
    settings = {"level": 0.05, "tail_tokens": 20, "share": 0.25}
    assert parse_schemes({"t": settings}) == [TailScheme("t", 0.05, 20.0, 0.25)]
    assert parse_schemes({"t": settings})[0].view is None
    (more,) = parse_schemes({"t": settings | {"tail_share": 0.1, "spike_level": 0.01}})
    assert more == TailScheme("t", 0.05, 20.0, 0.25, tail_share=0.1, spike_level=0.01)
    assert more.levels == dict.fromkeys(TAILS, 0.05) | {"right_eighth": 0.01, "left_eighth": 0.01}
    assert set(parse_schemes({"t": settings})[0].levels) == set(TAILS) - {"right_eighth", "left_eighth"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 0}, "scheme t: level is 0; write a number more than 0 and at most 0.5"),
        ({"level": 0.6}, "scheme t: level is 0.6; write a number more than 0 and at most 0.5"),
        ({"level": True}, "scheme t: level is True; write a number"),
        ({"share": "half"}, "scheme t: share is 'half'; write a number more than 0 and at most 0.5"),
        ({"tail_tokens": -1}, "scheme t: tail_tokens is -1; write a number more than 0"),
        ({"tail_tokens": float("inf")}, "scheme t: tail_tokens is inf; write a number more than 0"),
        ({"tail_share": 1.5}, "scheme t: tail_share is 1.5; write a number more than 0 and at most 1"),
        ({"spike_level": 0}, "scheme t: spike_level is 0; write a number more than 0 and at most 0.5"),
        (
            {"q": 1},
            "scheme t: unknown key 'q'; choose from level, tail_tokens, share, tail_share, spike_level",
        ),
        ({"view": "main"}, "scheme t: unknown key 'level'; choose from view, types"),
    ],
)
def test_malformed_tails_are_refused_with_their_place(change, message):
    with pytest.raises(FsrlError, match=message):
        parse_schemes({"t": {"level": 0.05, "tail_tokens": 20, "share": 0.25} | change})


def test_a_missing_setting_of_tails_is_named():
    with pytest.raises(FsrlError, match="scheme t: no share; give level, tail_tokens, share"):
        parse_schemes({"t": {"level": 0.05, "tail_tokens": 20}})
