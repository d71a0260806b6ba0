"""Text as windows: by hand, on a tokenizer of one-letter tokens."""

from types import SimpleNamespace

import pytest

from fsrl.errors import FsrlError
from fsrl.models.windows import first_windows, windows


class Words:
    """A tokenizer of one-letter tokens."""

    bos_token, bos_token_id = "#", 0

    class backend_tokenizer:
        @staticmethod
        def encode(text, add_special_tokens):
            return SimpleNamespace(ids=[ord(letter) for letter in text])


def letters(found):
    return ["".join("#" if token == 0 else chr(token) for token in row) for row in found.tolist()]


def test_windows_start_with_the_first_token_and_are_spread_over_the_text():
    found = windows(Words, "abcdef#gh", context=4, contexts=10)
    # The stream #abcdef#gh has three whole windows of three tokens.
    assert letters(found) == ["##ab", "#cde", "#f#g"]
    spread = windows(Words, "x" * 1000, context=11, contexts=5)
    assert spread.shape == (5, 11)
    assert windows(Words, "abcdef#gh", context=4, contexts=2).tolist() == found[[0, 2]].tolist()


def test_first_windows_are_those_of_the_text_s_beginning():
    assert letters(first_windows(Words, "abcdef#gh", context=4, max_tokens=0)) == ["##ab", "#cde", "#f#g"]
    # Seven tokens are read, and six of them fill windows.
    assert letters(first_windows(Words, "abcdef#gh", context=4, max_tokens=7)) == ["##ab", "#cde"]


@pytest.mark.parametrize(
    "make",
    [
        lambda *given: windows(*given, context=9, contexts=1),
        lambda *given: first_windows(*given, context=9, max_tokens=0),
    ],
)
def test_a_short_text_and_a_tokenizer_without_a_first_token_are_refused(make):
    with pytest.raises(FsrlError, match="3 tokens do not fill a window of 9"):
        make(Words, "ab")
    with pytest.raises(FsrlError, match="bos_token"):
        make(SimpleNamespace(bos_token_id=None), "ab")
