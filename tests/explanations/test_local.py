"""Explanations made from enrichment: what they say, of whom they say they are, and what the table keeps."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.explanations import local as explanations
from fsrl.tables import core as tables
from fsrl.tables.explanations import EXPLANATIONS

SETS = ["bracket_close", "noun", "digits"]


def best_sets(*rows: tuple) -> pd.DataFrame:
    columns = ["promoted", "promoted_log10_q", "suppressed", "suppressed_log10_q"]
    return pd.DataFrame(rows, columns=columns).rename_axis("feature").reset_index()


def extremes(feature: int, top: list[str], bottom: list[str]) -> pd.DataFrame:
    rows = [
        (feature, side, rank, token)
        for side, tokens in (("top", top), ("bottom", bottom))
        for rank, token in enumerate(tokens)
    ]
    return pd.DataFrame(rows, columns=["feature", "side", "rank", "token"])


def test_a_significant_set_of_either_side_is_named_with_its_t_and_q() -> None:
    frame = best_sets(("bracket_close", -5.0, "noun", -2.0), ("noun", -0.2, "digits", math.log10(0.02)))
    t = np.array([[9.14, -4.2, 0.0], [0.1, 1.0, -5.58]], dtype=np.float32)
    found = explanations.from_enrichment(frame, t=(SETS, t))
    assert found[0] == {
        "index": "0",
        "description": "promotes tokens of: bracket close (t 9.1, q 1e-05); "
        "suppresses tokens of: noun (t -4.2, q 0.01)",
        "explanationModelName": "fsrl enrichment (local)",
        "typeName": "local",
    }
    assert found[1]["description"] == "suppresses tokens of: digits (t -5.6, q 0.02)"


def test_without_a_significant_set_the_extreme_tokens_speak_and_it_says_so() -> None:
    frame = best_sets(("noun", math.log10(0.051), None, math.nan), ("noun", math.nan, "digits", -1.0))
    shown = extremes(0, ["\u0120the", "\u010a", "<b>", "z"], [")", "a"])
    found = explanations.from_enrichment(frame, shown, tokens=3)
    nothing = "no token set is significantly promoted or suppressed"
    assert found[0]["description"] == (
        f"{nothing}; highest logit weights: \u2423the \u23ce <b>; lowest logit weights: ) a"
    )
    assert found[1]["description"] == nothing


@given(
    q=st.lists(st.floats(-400, 0), min_size=2, max_size=2),
    level=st.floats(0.001, 0.2),
)
def test_a_set_is_named_exactly_where_its_q_is_at_most_the_level(q: list[float], level: float) -> None:
    frame = best_sets(("noun", q[0], "digits", q[1]))
    text = explanations.from_enrichment(frame, level=level)[0]["description"]
    assert ("promotes tokens of: noun" in text) == (q[0] <= math.log10(level))
    assert ("suppresses tokens of: digits" in text) == (q[1] <= math.log10(level))
    assert (explanations.NOTHING in text) == (min(q) > math.log10(level))


@given(st.floats(-300, 0))
def test_a_power_of_ten_keeps_one_digit_and_never_underflows(log10: float) -> None:
    written = explanations._power_of_ten(log10)
    assert float(written) == pytest.approx(10**log10, rel=0.5)
    assert explanations._power_of_ten(-1000.3) == "5e-1001"
    assert explanations._power_of_ten(math.log10(9.9) - 5) == "1e-04"


def test_definitions_are_added_to_names_that_say_too_little() -> None:
    frame = best_sets(("digits", -3.0, None, math.nan))
    text = explanations.from_enrichment(frame, definitions={"digits": "0 to 9 only"})[0]["description"]
    assert text == "promotes tokens of: digits, 0 to 9 only (q 0.001)"


def test_what_does_not_belong_together_is_refused() -> None:
    frame = best_sets(("noun", -3.0, None, math.nan), ("other", -3.0, None, math.nan))
    with pytest.raises(FsrlError, match="t lacks set 'other' of feature 1"):
        explanations.from_enrichment(frame, t=(SETS, np.zeros((2, 3))))
    with pytest.raises(FsrlError, match="t lacks set 'noun' of feature 0"):
        explanations.from_enrichment(frame, t=(SETS, np.zeros((0, 3))))
    with pytest.raises(FsrlError, match="no column suppressed_log10_q"):
        explanations.from_enrichment(frame.drop(columns="suppressed_log10_q"))


def test_the_table_has_a_row_an_explanation_and_keeps_odd_text(tmp_path: Path) -> None:
    odd = 'tab\t<script>alert(1)</script> "\u202e\x00 \U0001f600\n'
    records = {
        7: (
            {"description": odd, "explanationModelName": "gpt-4", "typeName": "oai"},
            {"description": "half \ud83d a pair", "explanationModelName": None},
        ),
        2: {"description": "words", "typeName": "local", "explanationModelName": "us"},
    }
    frame = explanations.frame(records, "gpt2-small/7-res-jb")
    path = tmp_path / "x.parquet"
    tables.write(frame, path, EXPLANATIONS, {})
    read = tables.read(path, EXPLANATIONS)
    assert read["feature"].tolist() == [2, 7, 7] and read["explanations"].tolist() == [1, 2, 2]
    assert read["description"].tolist() == ["words", odd, "half \ufffd a pair"]
    assert read["model"].isna().tolist() == [False, False, True]
    assert read["type"].tolist()[:2] == ["local", "oai"] and set(read["source"]) == {"gpt2-small/7-res-jb"}
    empty = explanations.frame({}, "local")
    tables.write(empty, path, EXPLANATIONS, {})
    assert tables.read(path, EXPLANATIONS).empty
