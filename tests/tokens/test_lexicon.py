"""Which words a token can be, and the word lists that say so."""

import re
import socket
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsrl.tokens import lexicon as token_lexicon
from fsrl.tokens.lexicon import CLOSED_CLASSES, DEFINITIONS, FORMS, LISTS, ONLY, lexical_sets, word_of


@pytest.mark.parametrize(
    ("text", "word"),
    [(" the", "the"), ("The", "The"), (" The", "The"), ("age", None), (" age", "age"), (" don't", None)]
    + [(" 7", None), ("", None), (" ", None), ("  the", None), (" naïve", "naïve"), (" \udce2\udc80", None)]
    + [(" snake_case", None), ("USA", "USA"), ("<|endoftext|>", None), (" the ", None), ("\nThe", None)],
)
def test_words_start_with_a_space_or_a_capital_and_hold_letters_only(text, word):
    assert word_of(text) == word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" apples", {"noun", "noun_plural", "noun_only"}),
        (" children", {"noun", "noun_plural", "noun_only"}),
        (" apple", {"noun", "noun_only"}),
        (" sheep", {"noun", "noun_only"}),  # its plural is written like its singular
        (" walked", {"verb", "verb_past", "verb_past_participle", "verb_only"}),
        (" gave", {"verb", "verb_past", "verb_only"}),
        (" given", {"verb", "verb_past_participle", "adjective", "noun"}),
        (" walks", {"verb", "verb_third_person", "noun", "noun_plural"}),
        (" writing", {"verb", "verb_gerund", "noun"}),
        (" wrote", {"verb", "verb_past", "verb_only"}),
        (" eat", {"verb", "verb_base", "verb_only"}),
        (" taller", {"adjective", "adjective_comparative", "adjective_only"}),
        (" tallest", {"adjective", "adjective_superlative", "adjective_only"}),
        (" quickly", {"adverb", "adverb_only"}),
        (" Quickly", {"adverb", "adverb_only"}),
        ("quickly", set()),
        (" QUICKLY", set()),
        (" blorfing", set()),
        (" I", {"pronoun"}),
        (" a", {"determiner"}),
        (" in", {"preposition"}),
        (" and", {"conjunction"}),
        (" would", {"modal"}),
        (" may", {"modal"}),
        (" May", {"modal", "month"}),
        (" that", {"determiner"}),
        (" i", set()),
        (" Monday", {"day"}),
        (" monday", set()),
        ("John", {"first_name"}),
        (" john", set()),
        (" France", {"country"}),
        (" france", set()),
        (" FRANCE", set()),
        (" USA", {"country"}),
        (" Réunion", set()),
        (" US", set()),
        (" us", {"pronoun"}),
    ],
)
def test_lexical_sets_of_known_tokens(text, expected):
    assert set(lexical_sets(text)) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" red", "colour"),
        (" Grey", "colour"),
        (" happy", "positive"),
        (" war", "negative"),
        (" Sept", "month"),
    ]
    + [(" set", "verb_past"), (" set", "verb_base"), (" set", "noun"), (" put", "verb_past_participle")]
    + [
        (" is", "verb_third_person"),
        (" been", "verb_past_participle"),
        (" been", "verb_only"),
        (" data", "noun_plural"),
    ],
)
def test_some_memberships(text, name):
    assert name in lexical_sets(text)


@given(st.text(max_size=8))
def test_invariants_of_any_text(text):
    found = lexical_sets(text)
    assert found <= set(DEFINITIONS)
    for name, (part, tag, _) in FORMS.items():
        whole = next(n for n, (p, t, _) in FORMS.items() if p == part and t is None)
        assert tag is None or name not in found or whole in found
    assert not (found & set(CLOSED_CLASSES) and found & (set(FORMS) | set(ONLY)))
    assert len(found & set(ONLY)) <= 1
    if not text.startswith(" ") and not text[:1].isupper():
        assert not found


@given(st.sampled_from(["walk", "give", "set", "city", "good", "child", "be", "France", "happy"]))
def test_a_space_before_a_capital_changes_nothing(word):
    assert lexical_sets(f" {word.capitalize()}") == lexical_sets(word.capitalize())


@pytest.mark.parametrize("name", LISTS)
def test_word_lists_state_their_source_and_hold_words(name):
    text = resources.files("fsrl.tokens").joinpath("word_lists", f"{name}.txt").read_text(encoding="utf-8")
    head = " ".join(line[2:] for line in text.splitlines() if line.startswith("#"))
    assert "Source:" in head and re.search("licence|[Pp]ublic domain|Names are facts", head)
    words = [word for line in text.splitlines() if not line.startswith("#") for word in line.split()]
    assert len(words) == len(set(words)) >= 10
    assert all(word.isalpha() for word in words)
    # A word that no token could match would be dead weight: each is lower case, or has a capital first.
    assert all(word.islower() or word[0].isupper() for word in words)
    assert all(name in lexical_sets(f" {word}") for word in words)
    capital = name in ("first_name", "month", "day", "country")
    assert all(word[0].isupper() == (capital or word == "I") for word in words)


def test_sentiment_lists_are_disjoint_and_so_are_the_closed_classes_but_for_known_words():
    words = {name: token_lexicon._words(name) for name in LISTS}
    assert not words["positive"] & words["negative"]
    assert not words["first_name"] & words["month"]
    shared = {w for a in CLOSED_CLASSES for b in CLOSED_CLASSES if a < b for w in words[a] & words[b]}
    assert shared <= {"that", "both", "either", "neither", "what", "which", "whatever", "whichever"}


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    token_lexicon._dictionary.cache_clear()
    token_lexicon._forms.cache_clear()
    assert "verb_past" in lexical_sets(" walked")
