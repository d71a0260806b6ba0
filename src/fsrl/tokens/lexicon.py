"""Which words a token can be: parts of speech, forms of verbs and nouns, and short lists of words.

Whole words only. A token counts as a word where it holds nothing but letters and where a word starts: after a
space (" the") or, without one, with a capital ("The"). A lower-case token without a space ("age", "less")
continues a word more often than it is one, and is in no lexical set. Nothing says that the word ends with
the token either (" in" also starts " inward" in text that the tokenizer cuts there); that is left in.

Case: what a list has in lower case is matched as "word" and "Word", not as "WORD" (an acronym more often: US,
IT); what a list has with a capital (France, I, USA) is matched as it stands.

Sources, both offline: lemminflect 0.2.3 (MIT; its dictionary is the NIH's SPECIALIST Lexicon) for parts of
speech and forms; the files in `lexicon/` for all else, each with its source and licence in its first lines.
A word is in the set of every part of speech and form that it can have ("set" is noun, verb_base, verb_past),
and the dictionary knows many (party as an adjective, motorcycles as a verb); the sets with `_only` hold the
words for which it knows one part of speech alone. Words of the closed classes (pronouns, determiners,
prepositions, conjunctions, modals) are in no open class, though the dictionary knows I as a noun and in as
an adverb; nor are single letters.
"""

from collections.abc import Callable
from functools import cache
from importlib import resources

CLOSED_CLASSES = ("pronoun", "determiner", "preposition", "conjunction", "modal")
LISTS = {
    "pronoun": "pronouns",
    "determiner": "articles, demonstratives, quantifiers",
    "preposition": "prepositions",
    "conjunction": "conjunctions",
    "modal": "modal verbs",
    "first_name": "first names",
    "month": "months and their abbreviations",
    "day": "days of the week and their abbreviations",
    "country": "countries",
    "colour": "colours",
    "positive": "positive words",
    "negative": "negative words",
}
# Name of the set: universal part of speech, Penn tag of the form (None for any), what it holds.
FORMS = {
    "noun": ("NOUN", None, "can be a noun"),
    "noun_plural": ("NOUN", "NNS", "plural of a noun, other than its singular"),
    "verb": ("VERB", None, "can be a verb, in any form"),
    "verb_base": ("VERB", "VB", "base form of a verb"),
    "verb_third_person": ("VERB", "VBZ", "third person singular of a verb"),
    "verb_past": ("VERB", "VBD", "past tense of a verb"),
    "verb_past_participle": ("VERB", "VBN", "past participle of a verb"),
    "verb_gerund": ("VERB", "VBG", "-ing form of a verb"),
    "adjective": ("ADJ", None, "can be an adjective"),
    "adjective_comparative": ("ADJ", "JJR", "comparative of an adjective"),
    "adjective_superlative": ("ADJ", "JJS", "superlative of an adjective"),
    "adverb": ("ADV", None, "can be an adverb"),
}
ONLY = {"noun_only": "NOUN", "verb_only": "VERB", "adjective_only": "ADJ", "adverb_only": "ADV"}
DEFINITIONS = {
    **{name: definition for name, (_, _, definition) in FORMS.items()},
    **{name: f"{name.removesuffix('_only')} and no other part of speech" for name in ONLY},
    **LISTS,
}


def word_of(text: str) -> str | None:
    """The whole word that a decoded token is, as written (" the": the; "The": The), or None ("age")."""
    word = text.removeprefix(" ")
    starts = word != text or word[:1].isupper()
    return word if word.isalpha() and starts else None


def lexical_sets(text: str) -> frozenset[str]:
    """Names of the lexical sets that a decoded token belongs to, out of `DEFINITIONS`."""
    word = word_of(text)
    if word is None:
        return frozenset()
    found = {name for name in LISTS if word in _words(name)}
    if word in (word.lower(), word.capitalize()):
        lower = word.lower()
        found |= {name for name in LISTS if lower in _words(name)}
        if len(lower) > 1 and not found.intersection(CLOSED_CLASSES):
            found |= _forms(lower)
    return frozenset(found)


@cache
def _words(name: str) -> frozenset[str]:
    stored = resources.files("fsrl.tokens").joinpath("word_lists", f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in stored.splitlines() if not line.startswith("#")]
    return frozenset(" ".join(lines).split())


@cache
def _forms(word: str) -> frozenset[str]:
    """Names out of `FORMS` and `ONLY` that a lower-case word belongs to."""
    lemmas, inflections = _dictionary()
    parts = lemmas(word)
    found = {name for name, only in ONLY.items() if set(parts) - {"AUX"} == {only}}
    for part, base_forms in parts.items():
        for lemma in base_forms:
            forms = inflections(lemma, part)
            found |= {
                name for name, (of, tag, _) in FORMS.items() if of == part and _is(word, lemma, tag, forms)
            }
    return frozenset(found)


def _is(word: str, lemma: str, tag: str | None, forms: dict[str, tuple[str, ...]]) -> bool:
    if tag is None:
        return True
    if tag == "NNS" and word == lemma:
        return False  # many nouns have a second plural without ending there (set: sets, set)
    # A participle is given only where it is not the past tense.
    return word in forms.get(tag, forms.get("VBD", ()) if tag == "VBN" else ())


@cache
def _dictionary() -> tuple[Callable[..., dict], Callable[..., dict]]:
    import lemminflect

    return lemminflect.getAllLemmas, lemminflect.getAllInflections
