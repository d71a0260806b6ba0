"""Named sets of tokens, as boolean columns: what a feature's logit weights may promote or suppress.

    surface     how the token is written: spacing, case, digits, punctuation, first letter, length, bytes
    lexical     which word it can be (see `fsrl.tokens.lexicon`)
    frequency   bands of its rank in the training text; none where neither counts nor ranks are known
    user        regular expressions and word lists of the caller

Sets are read from the token's text, not from its spelling (Ġ for a space, Ċ for a newline; see
`fsrl.tokens.text`). "Body" is the text without one leading space. A special token such as <|endoftext|> or
[CLS] is in `special_token` and no other surface, lexical or frequency set. Sets may overlap,
and a set may be empty in a small vocabulary: the columns are the same for every model.
"""

import re
import string
import time
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import regex
from jaxtyping import Bool

from fsrl.errors import FsrlError
from fsrl.tokens import lexicon as token_lexicon
from fsrl.tokens import text as token_text

KINDS = ("surface", "lexical", "frequency", "user")
# How special tokens are written, for vocabularies of which nobody says which are special.
SPECIAL = re.compile(r"<\|\w+\|>|<(/?s|unk|pad|bos|eos|mask)>|\[(CLS|SEP|PAD|UNK|MASK)\]")
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
REGEX_SECONDS = 10  # for all tokens of a vocabulary; a plain pattern takes a tenth of one
LONGEST = 8  # tokens of this length and more are one set
BAND_EDGES = (0, 100, 300, 1000, 3000, 10000, 30000)
QUOTES = frozenset("\"'`\u00ab\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a")


def _body(text: str) -> str:
    return text.removeprefix(" ")


def _stray(char: str) -> bool:
    """Is this a byte of no whole character, as `token_text.decode` marks it?"""
    return "\udc80" <= char <= "\udcff"


def _is_punctuation(text: str) -> bool:
    body = _body(text)
    return bool(body) and all(unicodedata.category(char)[0] in "PS" for char in body)


def _brackets(text: str, category: str) -> bool:
    found = (unicodedata.category(char) == category and char not in QUOTES for char in text)
    return _is_punctuation(text) and any(found)


def _all_caps(text: str) -> bool:
    return sum(char.isalpha() for char in text) > 1 and text.isupper()


def _length(low: int, high: int | None) -> Callable[[str], bool]:
    return lambda text: low <= len(_body(text)) and (high is None or len(_body(text)) <= high)


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(_body(text)) is not None


def _first_letter(letter: str) -> Callable[[str], bool]:
    return lambda text: _body(text)[:1].lower() == letter


# Name: (definition, test of the decoded text).
SURFACE: dict[str, tuple[str, Callable[[str], bool]]] = {
    "starts_with_space": ("text starts with a space", lambda text: text.startswith(" ")),
    "starts_with_capital": ("body starts with a capital", lambda text: _body(text)[:1].isupper()),
    "all_caps": ("two letters or more, all capitals", _all_caps),
    "lower_case": ("letters, none of them a capital", str.islower),
    "digits": ("body is digits 0 to 9 only", _matches("[0-9]+")),
    "digits_1": ("body is one digit", _matches("[0-9]")),
    "digits_2": ("body is two digits", _matches("[0-9]{2}")),
    "digits_3": ("body is three digits", _matches("[0-9]{3}")),
    "digits_4_up": ("body is four digits or more", _matches("[0-9]{4,}")),
    "year": ("body is a number from 1500 to 2099", _matches("1[5-9][0-9]{2}|20[0-9]{2}")),
    "punctuation": ("body is punctuation and symbols only", _is_punctuation),
    "bracket_open": ("punctuation with an opening bracket", lambda text: _brackets(text, "Ps")),
    "bracket_close": ("punctuation with a closing bracket", lambda text: _brackets(text, "Pe")),
    "quote": (
        "punctuation with a quotation mark",
        lambda text: _is_punctuation(text) and bool(QUOTES & {*text}),
    ),
    "whitespace": ("white space only", str.isspace),
    "newline": ("holds a newline", lambda text: "\n" in text),
    "non_ascii": (
        "holds a whole character beyond ASCII",
        lambda text: any(not char.isascii() and not _stray(char) for char in text),
    ),
    "byte_fragment": ("holds a byte of no whole character", lambda text: any(map(_stray, text))),
    **{
        f"first_letter_{x}": (f"body starts with {x} or {x.upper()}", _first_letter(x))
        for x in string.ascii_lowercase
    },
    **{f"length_{n}": (f"body of {n} characters", _length(n, n)) for n in range(1, LONGEST)},
    f"length_{LONGEST}_up": (f"body of {LONGEST} characters or more", _length(LONGEST, None)),
}


def token_sets(
    tokens: Sequence[str],
    *,
    counts: Any = None,
    ranks: Any = None,
    special: Any = None,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """One row a token id, one bool column a set: surface, lexical, frequency, then the caller's sets.

    tokens: as `fsrl.tokens.text` spells them; counts: integers [d_vocab], occurrences in the training text,
    or else ranks: integers [d_vocab], 1 for the most frequent token (equally frequent tokens may share one);
    with neither there are no frequency bands. special: bools [d_vocab], the special tokens; None: those that
    are written like one (<|endoftext|>, [CLS], <s>). extra: by name, {"regex": pattern}, searched in the
    decoded text (a leading space is a space), or {"words": [...]}, each of them a token with or without a
    space before it, in the case given (only with the space where the word is given with one). Words that are
    no single token are left out, with one warning that counts them. Raises FsrlError, naming the set, for a
    name that is taken or not snake_case, a bad pattern, and a set that matches nothing. No argument is
    changed.
    """
    texts = [token_text.decode(token) for token in tokens]
    if special is None:
        special = [SPECIAL.fullmatch(text) is not None for text in texts]
    special = np.asarray(special, dtype=bool)
    if special.shape != (len(texts),):
        raise FsrlError(
            f"token sets: special is {list(special.shape)}; give one bool for each of {len(texts)} tokens"
        )
    ordinary = ["" if left_out else text for text, left_out in zip(texts, special, strict=True)]
    columns = {"special_token": special}
    for name, (_, test) in SURFACE.items():
        columns[name] = np.array([test(text) for text in ordinary], dtype=bool)
    memberships = [token_lexicon.lexical_sets(text) for text in ordinary]
    for name in token_lexicon.DEFINITIONS:
        columns[name] = np.array([name in found for found in memberships], dtype=bool)
    for name, band in _frequency_bands(counts, ranks, len(texts)).items():
        columns[name] = band & ~special
    columns |= _user_sets(extra or {}, texts, set(columns) | set(_bands()))
    return pd.DataFrame(columns, index=pd.RangeIndex(len(texts), name="token_id"))


def check_extra(extra: Mapping[str, Mapping[str, Any]], tokens: Sequence[str]) -> None:
    """Raise what `token_sets` raises for sets of the caller's, without the time that the others take."""
    names = {"special_token", *SURFACE, *token_lexicon.DEFINITIONS, *_bands()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _user_sets(extra, [token_text.decode(token) for token in tokens], names)


def describe(sets: pd.DataFrame, extra: Mapping[str, Mapping[str, Any]] | None = None) -> pd.DataFrame:
    """One row a column of `sets`: set, kind (one of `KINDS`), tokens (how many), definition (in words)."""
    known = {"special_token": ("surface", "special token, such as <|endoftext|>")}
    known |= {name: ("surface", definition) for name, (definition, _) in SURFACE.items()}
    known |= {name: ("lexical", definition) for name, definition in token_lexicon.DEFINITIONS.items()}
    known |= {name: ("frequency", f"{band} by frequency") for name, band in _bands().items()}
    for name, settings in (extra or {}).items():
        regex = settings.get("regex")
        known[name] = ("user", f"matches {regex}" if regex else f"{len(settings['words'])} words of a list")
    rows = [(name, *known.get(name, ("user", "")), int(sets[name].sum())) for name in sets]
    return pd.DataFrame(rows, columns=["set", "kind", "definition", "tokens"])


def _bands() -> dict[str, str]:
    """Name of each frequency band, and which ranks it holds."""
    bands = {f"rank_{low + 1}_{high}": f"ranks {low + 1} to {high}" for low, high in _band_limits()[:-1]}
    return bands | {f"rank_above_{BAND_EDGES[-1]}": f"ranks above {BAND_EDGES[-1]}"}


def _band_limits() -> list[tuple[float, float]]:
    return list(zip(BAND_EDGES, [*BAND_EDGES[1:], np.inf], strict=True))


def _frequency_bands(counts: Any, ranks: Any, d_vocab: int) -> dict[str, Bool[np.ndarray, "d_vocab"]]:
    if counts is None and ranks is None:
        return {}
    if counts is not None and ranks is not None:
        raise FsrlError("token sets: both counts and ranks are given; give one of them")
    name, least, values = ("counts", 0, counts) if ranks is None else ("ranks", 1, ranks)
    given = np.asarray(values)
    if given.shape != (d_vocab,) or given.dtype.kind not in "iu" or given.min(initial=least) < least:
        raise FsrlError(
            f"token sets: {name} are {given.dtype} {list(given.shape)}; they must be {d_vocab} integers "
            f"of at least {least}"
        )
    if ranks is None:
        # Equal counts share the best of their ranks, so that the order of the vocabulary does not matter.
        given = pd.Series(given).rank(method="min", ascending=False).to_numpy()
    return {
        name: (given > low) & (given <= high)
        for name, (low, high) in zip(_bands(), _band_limits(), strict=True)
    }


def _user_sets(
    extra: Mapping[str, Mapping[str, Any]], texts: Sequence[str], taken: set[str]
) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    dropped: dict[str, int] = {}
    vocabulary = frozenset(texts)
    for name, settings in extra.items():
        if not NAME.fullmatch(name) or name in taken:
            raise FsrlError(
                f"token set {name!r}: the name is taken, or not lower_case_with_underscores; rename it"
            )
        if set(settings) == {"regex"}:
            columns[name] = _by_regex(name, settings["regex"], texts)
        elif set(settings) == {"words"}:
            columns[name], dropped[name] = _by_words(name, settings["words"], texts, vocabulary)
        else:
            raise FsrlError(
                f"token set {name}: it has {sorted(settings)}; give it regex or words, one of the two"
            )
    if sum(dropped.values()):
        each = ", ".join(f"{name}: {n}" for name, n in dropped.items() if n)
        warnings.warn(
            f"token sets: {sum(dropped.values())} words are no single token and left out ({each})",
            stacklevel=3,
        )
    return columns


def _by_regex(name: str, pattern: Any, texts: Sequence[str]) -> Bool[np.ndarray, "d_vocab"]:
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise FsrlError(f"token set {name}: bad regex {pattern!r} ({error}); correct it") from error
    found = np.array(_searched(name, compiled.pattern, texts), dtype=bool)
    if not found.any():
        raise FsrlError(
            f"token set {name}: regex {pattern!r} matches no token; a leading space is a space, not Ġ"
        )
    return found


def _searched(name: str, pattern: str, texts: Sequence[str]) -> list[bool]:
    """Which texts the pattern matches; FsrlError where that takes for ever, as nested repetitions can."""
    try:
        compiled = regex.compile(pattern)  # re cannot be stopped
    except regex.error as error:
        raise FsrlError(f"token set {name}: bad regex {pattern!r} ({error}); correct it") from error
    end = time.monotonic() + REGEX_SECONDS
    try:
        return [
            compiled.search(text, timeout=max(end - time.monotonic(), 1e-3)) is not None for text in texts
        ]
    except TimeoutError:
        raise FsrlError(
            f"token set {name}: regex {pattern!r} takes more than {REGEX_SECONDS} s; change "
            "repetitions that can split a text in many ways, such as (a|aa)+"
        ) from None


def _by_words(
    name: str, words: Any, texts: Sequence[str], vocabulary: frozenset[str]
) -> tuple[Bool[np.ndarray, "d_vocab"], int]:
    """Members of a word list, and how many of its words are no single token."""
    if not isinstance(words, list | tuple) or not all(
        isinstance(word, str) and word.strip() for word in words
    ):
        raise FsrlError(f"token set {name}: words must be a list of words, e.g. [cat, dog]")
    variants = {word: {word} if word.startswith(" ") else {word, f" {word}"} for word in words}
    known = {word: spelled & vocabulary for word, spelled in variants.items()}
    members = frozenset().union(*known.values())
    if not members:
        raise FsrlError(
            f"token set {name}: none of its {len(known)} words is a single token; change or drop the set"
        )
    return np.array([text in members for text in texts], dtype=bool), sum(
        not found for found in known.values()
    )
