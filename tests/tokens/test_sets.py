"""Named sets of tokens: how they are written, bands of frequency, and the caller's own."""

import copy
import json
import re
import string
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from fsrl.errors import FsrlError
from fsrl.tokens import sets
from fsrl.tokens.sets import KINDS, NAME, SURFACE, describe, token_sets
from fsrl.tokens.text import ALPHABET

MINI = Path(__file__).parents[2] / "data" / "mini"
STORED = {byte: char for char, byte in ALPHABET.items()}


def stored(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return "".join(STORED[byte] for byte in data)


def surface(text: str | bytes) -> set[str]:
    """Surface sets of one token, less those of its first letter and length."""
    row = token_sets([stored(text)]).iloc[0]
    names = [*SURFACE, "special_token"]
    return {name for name in names if row[name] and not name.startswith(("first_letter", "length"))}


@pytest.fixture(scope="module")
def mini() -> tuple[list[str], torch.Tensor]:
    vocabulary = json.loads((MINI / "model" / "vocab.json").read_text(encoding="utf-8"))
    counts = load_file(MINI / "token_counts.safetensors")["count"]
    return sorted(vocabulary, key=vocabulary.__getitem__), counts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" the", {"starts_with_space", "lower_case"}),
        ("the", {"lower_case"}),
        (" The", {"starts_with_space", "starts_with_capital"}),
        (" A", {"starts_with_space", "starts_with_capital"}),
        ("HTML5", {"starts_with_capital", "all_caps"}),
        (" iPhone", {"starts_with_space"}),
        ("Éire", {"starts_with_capital", "non_ascii"}),
        (" 7", {"starts_with_space", "digits", "digits_1"}),
        ("42", {"digits", "digits_2"}),
        ("007", {"digits", "digits_3"}),
        (" 1984", {"starts_with_space", "digits", "digits_4_up", "year"}),
        ("1499", {"digits", "digits_4_up"}),
        ("2099", {"digits", "digits_4_up", "year"}),
        ("2100", {"digits", "digits_4_up"}),
        ("19840", {"digits", "digits_4_up"}),
        ("²", {"non_ascii"}),  # a superscript is no digit that a number is written with
        ("3rd", {"lower_case"}),
        (" (", {"starts_with_space", "punctuation", "bracket_open"}),
        (").", {"punctuation", "bracket_close"}),
        ("()", {"punctuation", "bracket_open", "bracket_close"}),
        ('["', {"punctuation", "bracket_open", "quote"}),
        ("f(", {"lower_case"}),
        ("“", {"punctuation", "quote", "non_ascii"}),
        ("„", {"punctuation", "quote", "non_ascii"}),  # Unicode counts it with the opening brackets
        ("'s", {"lower_case"}),
        (" =", {"starts_with_space", "punctuation"}),
        (" ", {"starts_with_space", "whitespace"}),
        ("\n", {"whitespace", "newline"}),
        (".\n", {"newline"}),
        ("\t", {"whitespace"}),
        ("\u00a0", {"whitespace", "non_ascii"}),
        ("中", {"non_ascii"}),
        (b"\xe4\xb8", {"byte_fragment"}),
        (b" \xe2\x80", {"starts_with_space", "byte_fragment"}),
        (b"\xd0\xb0\xd0", {"byte_fragment", "non_ascii", "lower_case"}),
        (b"\xff", {"byte_fragment"}),
        ("<|endoftext|>", {"special_token"}),
        ("<|", {"punctuation"}),
    ],
)
def test_surface_sets_of_known_tokens(text, expected):
    assert surface(text) == expected


@pytest.mark.parametrize(
    ("text", "letter", "length"),
    [
        (" Zebra", "z", "length_5"),
        ("a", "a", "length_1"),
        ("ébène", None, "length_5"),
        ("(x", None, "length_2"),
    ]
    + [(" internet", "i", "length_8_up"), ("newline", "n", "length_7"), (" ", None, None)],
)
def test_first_letter_and_length_leave_the_leading_space_out(text, letter, length):
    row = token_sets([stored(text)]).iloc[0]
    assert [x for x in string.ascii_lowercase if row[f"first_letter_{x}"]] == [letter] * bool(letter)
    assert [name for name in row.index if name.startswith("length_") and row[name]] == [length] * bool(length)


def test_a_special_token_is_in_no_other_set():
    frame = token_sets(["<|endoftext|>", "Ġa"], counts=[5, 3])
    assert frame.columns[frame.iloc[0]].tolist() == ["special_token"]


def test_a_vocabulary_that_is_not_byte_level_is_read_as_it_is():
    assert token_sets(["中文"]).loc[0, "non_ascii"]


@given(st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=8))
def test_invariants_of_any_vocabulary(data):
    tokens = [stored(x) for x in data]
    frame = token_sets(tokens)
    assert frame.dtypes.eq("bool").all() and frame.index.tolist() == list(range(len(tokens)))
    digits = frame[["digits_1", "digits_2", "digits_3", "digits_4_up"]]
    assert (digits.sum(axis=1) == frame["digits"]).all() and (frame["year"] <= frame["digits_4_up"]).all()
    assert (frame.filter(like="first_letter").sum(axis=1) <= 1).all()
    assert (frame.filter(like="length_").sum(axis=1) <= 1).all()
    assert not (frame["lower_case"] & frame["starts_with_capital"]).any()
    for subset in ("bracket_open", "bracket_close", "quote"):
        assert (frame[subset] <= frame["punctuation"]).all()
    # A token's sets depend on the token alone.
    pd.testing.assert_frame_equal(
        token_sets(tokens[::-1]).iloc[::-1].reset_index(drop=True), frame, check_names=False
    )


def test_bands_of_frequency_by_counts_and_by_ranks():
    counts = torch.arange(500, 0, -1)
    tokens = [f"t{i}" for i in range(500)]
    frame = token_sets(tokens, counts=counts)
    bands = [name for name in frame if name.startswith("rank_")]
    assert bands[:3] == ["rank_1_100", "rank_101_300", "rank_301_1000"] and bands[-1] == "rank_above_30000"
    assert frame[bands].sum().tolist()[:4] == [100, 200, 200, 0] and (frame[bands].sum(axis=1) == 1).all()
    assert frame.index[frame["rank_101_300"]].tolist() == list(range(100, 300))
    pd.testing.assert_frame_equal(token_sets(tokens, ranks=np.arange(1, 501)), frame)
    assert not [name for name in token_sets(tokens) if name.startswith("rank_")]


def test_equal_counts_share_a_band_whatever_their_order():
    counts = [9] * 99 + [5] * 3 + [1]
    frame = token_sets([f"t{i}" for i in range(103)], counts=counts)
    assert frame.index[frame["rank_1_100"]].tolist() == list(range(102))
    assert frame["rank_101_300"].tolist() == [False] * 102 + [True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"counts": [1, 2], "ranks": [1, 2]}, "give one of them"),
        ({"counts": [1]}, "counts are int64 .*must be 2 integers of at least 0"),
        ({"counts": [1, -1]}, "at least 0"),
        ({"counts": [0.5, 1.0]}, "counts are float64"),
        ({"ranks": [0, 1]}, "ranks .* of at least 1"),
    ],
)
def test_bad_counts_and_ranks_are_refused(settings, message):
    with pytest.raises(FsrlError, match=message):
        token_sets(["a", "b"], **settings)


TOKENS = ["Ġcat", "cat", "Cat", "Ġdog", "ĠDog", "dogs", "Ġ0x", "0x1", "Ċ", "<|endoftext|>"]


def members(extra, name):
    frame = token_sets(TOKENS, extra=extra)
    return [TOKENS[i] for i in frame.index[frame[name]]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"words": ["cat"]}, ["Ġcat", "cat"]),
        ({"words": [" cat"]}, ["Ġcat"]),
        ({"words": ("cat", "Dog", "cat")}, ["Ġcat", "cat", "ĠDog"]),
        ({"regex": "^ ?0x"}, ["Ġ0x", "0x1"]),
        ({"regex": "(?i)dog"}, ["Ġdog", "ĠDog", "dogs"]),
        ({"regex": "\n"}, ["Ċ"]),
        ({"regex": "endoftext"}, ["<|endoftext|>"]),
    ],
)
def test_users_sets(settings, expected):
    assert members({"mine": settings}, "mine") == expected


def test_words_that_are_no_single_token_are_counted_in_one_warning_and_never_cut():
    extra = {
        "animals": {"words": ["cat", "dogs", "c", "elephant", "cat dog"]},
        "more": {"words": ["dog", "CAT"]},
        "hex": {"regex": "0x"},
    }
    with pytest.warns(UserWarning) as caught:
        frame = token_sets(TOKENS, extra=extra)
    assert [str(warning.message) for warning in caught] == [
        "token sets: 4 words are no single token and left out (animals: 3, more: 1)"
    ]
    assert caught[0].filename == __file__
    assert [TOKENS[i] for i in frame.index[frame["animals"]]] == ["Ġcat", "cat", "dogs"]
    assert frame.columns[-3:].tolist() == ["animals", "more", "hex"]


def test_no_warning_where_every_word_is_a_token():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        token_sets(TOKENS, extra={"animals": {"words": ["cat", "dog"]}})


def test_the_callers_arguments_are_never_changed():
    tokens, counts = list(TOKENS), np.arange(len(TOKENS))
    words = ["cat", " dog", "elephant"]
    extra = {"animals": {"words": words}, "hex": {"regex": "0x"}}
    before = copy.deepcopy((tokens, counts.tolist(), extra))
    with pytest.warns(UserWarning):
        frame = token_sets(tokens, counts=counts, extra=extra)
    frame.loc[:, "animals"] = True
    describe(frame, extra)
    assert (tokens, counts.tolist(), extra) == before and extra["animals"]["words"] is words


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("hex", {"regex": "(0x"}, r"token set hex: bad regex '\(0x' \(missing"),
        ("hex", {"regex": 5}, "token set hex: bad regex 5"),
        (
            "hex",
            {"regex": "Ġ0x"},
            "token set hex: regex 'Ġ0x' matches no token; a leading space is a space, not Ġ",
        ),
        ("pets", {"words": ["elephant", "cat dog"]}, "token set pets: none of its 2 words is a single token"),
        ("pets", {"words": []}, "token set pets: none of its 0 words"),
        ("pets", {"words": "cat"}, r"token set pets: words must be a list of words, e.g. \[cat, dog\]"),
        ("pets", {"words": ["cat", " "]}, "must be a list of words"),
        ("pets", {"words": ["cat", 3]}, "must be a list of words"),
        ("pets", {}, r"token set pets: it has \[\]; give it regex or words"),
        ("pets", {"words": ["cat"], "regex": "x"}, r"has \['regex', 'words'\]"),
        ("pets", {"word": ["cat"]}, "give it regex or words"),
        ("My pets", {"words": ["cat"]}, "token set 'My pets': the name is taken, or not lower_case"),
        ("noun", {"words": ["cat"]}, "token set 'noun': the name is taken"),
        ("rank_1_100", {"words": ["cat"]}, "the name is taken"),
        ("special_token", {"words": ["cat"]}, "the name is taken"),
    ],
)
def test_bad_user_sets_are_refused_by_name(name, settings, message):
    with pytest.raises(FsrlError, match=message):
        token_sets(TOKENS, extra={name: settings})


def test_description_of_every_set():
    extra = {"animals": {"words": ["cat", "dog"]}, "hex": {"regex": "0x"}}
    frame = token_sets(TOKENS, counts=range(len(TOKENS)), extra=extra)
    table = describe(frame, extra).set_index("set")
    assert table.index.tolist() == frame.columns.tolist()
    assert table["kind"].drop_duplicates().tolist() == list(KINDS)
    assert (table["definition"].str.len() > 3).all()
    assert table["tokens"].to_dict() == frame.sum().to_dict()
    assert (
        table.loc["hex", "definition"] == "matches 0x"
        and table.loc["animals", "definition"] == "2 words of a list"
    )
    assert table.loc["noun", "kind"] == "lexical" and table.loc["rank_301_1000", "definition"].startswith(
        "ranks 301"
    )
    # Without the caller's settings their sets are known by not being fsrl's own.
    assert describe(frame).set_index("set").loc["hex", "kind"] == "user"


def test_the_embedded_vocabulary(mini):
    tokens, counts = mini
    frame = token_sets(tokens, counts=counts)
    assert frame.shape[0] == 8192 and all(NAME.fullmatch(name) for name in frame)
    # Twins that read the stored characters.
    assert frame["starts_with_space"].tolist() == [token.startswith("Ġ") for token in tokens]
    assert frame["newline"].tolist() == ["Ċ" in token for token in tokens]
    assert frame["digits"].tolist() == [re.fullmatch("Ġ?[0-9]+", token) is not None for token in tokens]
    assert frame["special_token"].sum() == 1 and frame.loc[tokens.index("<|endoftext|>"), "special_token"]
    assert frame.filter(like="rank_").drop(index=tokens.index("<|endoftext|>")).sum(axis=1).eq(1).all()
    single_bytes = [
        chr(code) for code in range(0x100) if chr(code) in ALPHABET and ALPHABET[chr(code)] >= 0x80
    ]
    assert frame.loc[
        [tokens.index(token) for token in single_bytes if token in tokens], "byte_fragment"
    ].all()
    for name, token in {"quote": 'Ġ"', "bracket_open": "Ġ(", "year": "1999", "noun_plural": "Ġbytes"}.items():
        assert frame.loc[tokens.index(token), name], name


def test_a_pattern_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(sets, "REGEX_SECONDS", 0.2)
    tokens = ["a", "a" * 60 + "b"]
    # An a alone or with the next: more ways to fail than can be tried.
    with pytest.raises(
        FsrlError, match=r"token set mine: regex '\(a\|aa\)\+\$' takes more than 0.2 s; change"
    ):
        sets.token_sets(tokens, extra={"mine": {"regex": "(a|aa)+$"}})
    assert sets.token_sets(tokens, extra={"mine": {"regex": "a+$"}})["mine"].tolist() == [True, False]


PATTERNS = (r"\d", "^ ", "a|b", "[^a-z]", r"(?i)É", r"\w+$", r"\bx", "", ".{3}", "(a+)+$")


@given(st.sampled_from(PATTERNS), st.lists(st.text("ab 1é\nx", max_size=6), min_size=1))
def test_patterns_mean_what_re_says(pattern, texts):
    """The library that can be stopped finds what Python's own finds."""
    assert sets._searched("mine", pattern, texts) == [re.search(pattern, text) is not None for text in texts]


def test_sets_of_the_callers_are_checked_alone():
    tokens = ["cat", "Ġdog", "12"]
    sets.check_extra({"pets": {"words": ["cat", "dog", "ferret"]}, "numbers": {"regex": "^[0-9]+$"}}, tokens)
    for extra, message in [
        ({"pets": {"words": ["ferret"]}}, "token set pets: none of its 1 words is a single token"),
        ({"numbers": {"regex": "z"}}, "token set numbers: regex 'z' matches no token"),
        ({"newline": {"regex": "a"}}, "token set 'newline': the name is taken"),
    ]:
        with pytest.raises(FsrlError, match=message):
            sets.check_extra(extra, tokens)
