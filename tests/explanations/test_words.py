"""Words of explanations: what a word is, Fisher's test against scipy, clusters against counting by hand."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fsrl.errors import FsrlError
from fsrl.explanations import local as explanations
from fsrl.explanations import words as explanation_words
from fsrl.tables import core as tables
from fsrl.tables.explanations import WORDS

TYPES = ["prediction", "unclassified", "suppression", "degenerate"]
LEXICON = ["bracket", "digit", "verb", "Paris", "the"]


def explained(descriptions: dict[int, list[str]]) -> pd.DataFrame:
    records = {feature: [{"description": text} for text in texts] for feature, texts in descriptions.items()}
    return explanations.frame(records, "gpt2-small/7-res-jb")


def test_words_are_letters_in_lower_case_without_function_words() -> None:
    text = "The <b>Author's</b> naïve café, 3rd-party (HTML_tags) and/or the THE ''quoted''"
    assert explanation_words.words(text) == {
        "b",
        "author's",
        "naïve",
        "café",
        "rd",
        "party",
        "html",
        "tags",
        "quoted",
    }
    assert explanation_words.words("") == explanation_words.words("12 345 — <|>") == frozenset()


counts = st.integers(0, 40)


@given(a=counts, b=counts, c=counts, d=counts)
@settings(max_examples=300)
def test_the_p_is_scipys(a: int, b: int, c: int, d: int) -> None:
    found = explanation_words.fisher_log10_p(np.array([a]), np.array([c]), a + b, c + d)
    # scipy counts a table with the very same likelihood by a tolerance of its own.
    expected = stats.fisher_exact([[a, b], [c, d]]).pvalue
    assert 10 ** found[0] == pytest.approx(expected, rel=1e-6)


def test_tables_of_a_whole_layer_and_p_that_underflow() -> None:
    yes, others = np.array([3, 3, 900, 0]), np.array([17, 17, 2, 0])
    found = explanation_words.fisher_log10_p(yes, others, 1000, 23000)
    expected = [stats.fisher_exact([[a, 1000 - a], [c, 23000 - c]]).pvalue for a, c in [(3, 17), (0, 0)]]
    assert 10 ** found[[0, 1, 3]] == pytest.approx([expected[0], expected[0], expected[1]], rel=1e-6)
    # No other table comes near: its own likelihood, with integers.
    assert stats.fisher_exact([[900, 100], [2, 22998]]).pvalue == 0 and found[2] < -1000
    assert found[2] == pytest.approx(hypergeometric_log10(900, 902, 1000, 24000), abs=0.01)


def hypergeometric_log10(k: int, drawn: int, marked: int, total: int) -> float:
    from fractions import Fraction
    from math import comb, log10

    exact = Fraction(comb(marked, k) * comb(total - marked, drawn - k), comb(total, drawn))
    return log10(exact.numerator) - log10(exact.denominator)


layers = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from(TYPES), min_size=n, max_size=n),
        st.lists(st.integers(0, 6), min_size=n, max_size=n),
        st.dictionaries(
            st.integers(0, n - 1),
            st.lists(st.lists(st.sampled_from(LEXICON), max_size=4).map(" ".join), min_size=1, max_size=2),
        ),
    )
)


@given(layer=layers, min_features=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_counting_by_hand(layer: tuple, min_features: int) -> None:
    types, clusters, descriptions = layer
    found = explanation_words.of_layer(
        explained(descriptions),
        np.array(types),
        np.array(clusters),
        sae="x",
        circular=False,
        min_features=min_features,
    )
    expected = by_hand(types, clusters, descriptions, min_features)
    assert len(found) == len(expected)
    for row in found.to_dict("records"):
        assert expected.pop((row["type"], row["word"])) == tuple(row[name] for name in COUNTED)
        a, c = row["yes_type"], row["yes_unclassified"]
        b, d = row["clusters_type"] - a, row["clusters_unclassified"] - c
        m, n = (size / (a + b + c + d) for size in (a + b, c + d))
        assert row["odds_ratio"] == pytest.approx((a + m) * (d + n) / ((b + m) * (c + n)))
        assert 10 ** row["log10_p"] == pytest.approx(stats.fisher_exact([[a, b], [c, d]]).pvalue, rel=1e-6)
    assert expected == {}


COUNTED = ["n_type", "n_unclassified", "k_type", "k_unclassified"]
COUNTED += ["clusters_type", "clusters_unclassified", "yes_type", "yes_unclassified"]


def by_hand(types: list[str], clusters: list[int], descriptions: dict, min_features: int) -> dict:
    said = {
        feature: {word for word in re.findall("[a-z]+", " ".join(texts).lower()) if word != "the"}
        for feature, texts in descriptions.items()
    }
    often = Counter(word for used in said.values() for word in used)
    groups: dict[str, list[int]] = {}
    for feature in said:
        groups.setdefault(types[feature], []).append(feature)
    others = groups.get("unclassified", [])
    return {
        (name, word): tuple(
            count
            for counts in zip(
                *(of_group(group, word, said, clusters) for group in (groups[name], others)), strict=True
            )
            for count in counts
        )
        for name in groups
        if name not in ("unclassified", "degenerate") and others
        for word, count in often.items()
        if count >= min_features
    }


def of_group(group: list[int], word: str, said: dict, clusters: list[int]) -> tuple[int, int, int, int]:
    """Features; those that use the word; clusters; those whose first feature does."""
    inside: dict[int, list[bool]] = {}
    for feature in sorted(group):
        inside.setdefault(clusters[feature], []).append(word in said[feature])
    yes = sum(uses[0] for uses in inside.values())
    return len(group), sum(word in said[feature] for feature in group), len(inside), yes


def test_near_copies_count_once() -> None:
    types = np.array(["prediction"] * 10 + ["unclassified"] * 20)
    same = explained({feature: ["digits"] if feature < 10 else ["words"] for feature in range(30)})
    options = {"sae": "x", "circular": False, "min_features": 1}
    apart = explanation_words.of_layer(same, types, **options)
    copies = explanation_words.of_layer(same, types, np.array([0] * 10 + list(range(1, 21))), **options)
    of_digits = [frame.set_index("word").loc["digits"] for frame in (apart, copies)]
    assert of_digits[0]["yes_type"] == 10 and of_digits[1]["yes_type"] == 1
    assert 10 ** of_digits[1]["log10_p"] == pytest.approx(stats.fisher_exact([[1, 0], [0, 20]]).pvalue)
    assert of_digits[0]["log10_p"] < of_digits[1]["log10_p"]


def test_words_that_know_nothing_of_types_are_not_found_whatever_the_sizes_of_clusters() -> None:
    draw = np.random.default_rng(0)
    # Untyped features come in clusters of four, those of a type almost alone.
    types = np.where(draw.random(4000) < 0.1, "prediction", "unclassified")
    texts = {feature: [" ".join(draw.choice([*"bcdefgh"], size=3))] for feature in range(4000)}
    frame = explanation_words.of_layer(
        explained(texts), types, np.arange(4000) // 4, sae="x", circular=False, min_features=1
    )
    assert len(frame) == 7 and (explanation_words.of_study([frame])["log10_q"] > np.log10(0.05)).all()


def test_circular_tests_do_not_change_the_rate_of_the_others() -> None:
    def layer(sae: str, circular: bool, log10_p: list[float]) -> pd.DataFrame:
        text = {feature: ["digits"] if feature < 3 else ["words"] for feature in range(30)}
        types = np.array(["prediction"] * 5 + ["unclassified"] * 25)
        frame = explanation_words.of_layer(explained(text), types, sae=sae, circular=circular, min_features=1)
        return frame.assign(log10_p=log10_p)

    study = explanation_words.of_study([layer("a", False, [-3.0, -1.0]), layer("b", True, [-30.0, -20.0])])
    alone = explanation_words.of_study([layer("a", False, [-3.0, -1.0])])
    assert study["circular"].tolist() == [False, False, True, True]
    assert study["log10_q"].tolist()[:2] == alone["log10_q"].tolist() == pytest.approx([np.log10(0.002), -1])
    assert study["log10_q"].tolist()[2:] == pytest.approx([-30 + np.log10(2), -20])


def test_no_types_no_explanations_no_rows_but_a_table(tmp_path) -> None:
    options = {"sae": "x", "circular": False, "min_features": 1}
    none = explanation_words.of_layer(explained({0: ["word"]}), np.array(["unclassified"]), **options)
    nobody = explanation_words.of_layer(explained({}), np.array(["prediction"]), **options)
    assert none.empty and nobody.empty
    for layers in ([], [none, nobody]):
        tables.write(explanation_words.of_study(layers), tmp_path / "w.parquet", WORDS, {})
    with pytest.raises(FsrlError, match="words of x: explanation of feature 1, but 1 have types"):
        explanation_words.of_layer(explained({1: ["word"]}), np.array(["prediction"]), **options)
