"""Text as windows: by hand, on a tokenizer of one-letter tokens; what begins them for each kind."""

from types import SimpleNamespace

import pytest

from fsrl.errors import FsrlError
from fsrl.models.windows import FirstToken, first_token, first_windows, windows
from tests.fixtures import vocabularies


class Words:
    """A tokenizer of one-letter tokens."""

    bos_token, eos_token, cls_token = "#", None, None

    class backend_tokenizer:
        @staticmethod
        def encode(text, add_special_tokens):
            assert not add_special_tokens
            return SimpleNamespace(ids=[ord(letter) for letter in text])

        @staticmethod
        def token_to_id(token):
            return 0 if token == "#" else None

        id_to_token = staticmethod(chr)


class Bare(Words):
    """The same without any token for a text's start."""

    bos_token = None


TEXT = "abcdef<|endoftext|>gh"


def letters(found):
    return ["".join("#" if token == 0 else chr(token) for token in row) for row in found.tolist()]


def test_windows_start_with_the_first_token_and_are_spread_over_the_text():
    found = windows(Words, TEXT, context=4, contexts=10)
    # The stream #abcdef#gh has three whole windows of three tokens.
    assert letters(found) == ["##ab", "#cde", "#f#g"]
    spread = windows(Words, "x" * 1000, context=11, contexts=5)
    assert spread.shape == (5, 11)
    assert windows(Words, TEXT, context=4, contexts=2).tolist() == found[[0, 2]].tolist()


def test_first_windows_are_those_of_the_text_s_beginning():
    assert letters(first_windows(Words, TEXT, context=4, max_tokens=0)) == ["##ab", "#cde", "#f#g"]
    # Seven tokens are read, and six of them fill windows.
    assert letters(first_windows(Words, TEXT, context=4, max_tokens=7)) == ["##ab", "#cde"]


@pytest.mark.parametrize(
    "make",
    [
        lambda *given, **more: windows(*given, context=9, contexts=1, **more),
        lambda *given, **more: first_windows(*given, context=9, max_tokens=0, **more),
    ],
)
def test_what_cannot_be_read_is_refused(make):
    with pytest.raises(FsrlError, match="3 tokens do not fill a window of 9"):
        make(Words, "ab")
    with pytest.raises(FsrlError, match="SimpleNamespace has no tokenizer.json"):
        make(SimpleNamespace(), "ab")
    with pytest.raises(FsrlError, match="token 'ﬀ' has id 64256, and the model has 300 rows; resize"):
        make(Words, "abcd\ufb00efghij", d_vocab=300)


def test_without_a_first_token_windows_are_the_text_alone():
    assert letters(windows(Bare, TEXT, context=4, contexts=10)) == ["abcd", "efgh"]
    assert first_token(Bare) == FirstToken(None, None, "none: the tokenizer has no token for a text's start")


@pytest.mark.parametrize(
    ("make", "token", "role"),
    [
        (vocabularies.byte_level, "<|endoftext|>", "document separator"),
        (vocabularies.sentence_piece, "<s>", "bos_token"),
        (vocabularies.unigram, "</s>", "eos_token"),
        (vocabularies.word_piece, "[CLS]", "cls_token"),
        (vocabularies.characters, None, None),
    ],
)
def test_each_kind_of_tokenizer_has_its_first_token_before_every_passage(make, token, role):
    tokenizer = make()
    first = first_token(tokenizer)
    passages = ["the dog", "over the fox"]
    stream = []
    for passage in passages:
        stream += [first.token_id] if token else []
        stream += tokenizer.backend_tokenizer.encode(passage, add_special_tokens=False).ids
    context = len(stream) + 1 if token else len(stream)
    found = windows(tokenizer, "<|endoftext|>".join(passages), context=context, contexts=1)
    assert found[0].tolist() == ([first.token_id] if token else []) + stream
    if token:
        assert (first.token, first.role, str(first)) == (token, role, f"{token} ({role})")
        assert first.token_id == tokenizer.convert_tokens_to_ids(token)


def test_a_chat_model_s_end_of_turn_does_not_begin_texts():
    # As in Qwen: no bos_token, <|endoftext|> between documents, <|im_end|> as eos_token.
    tokenizer = vocabularies.added(vocabularies.byte_level(), "<|im_end|>", special=True)
    tokenizer.bos_token, tokenizer.eos_token = None, "<|im_end|>"
    assert first_token(tokenizer).token == "<|endoftext|>"
    tokenizer.bos_token = "<|im_end|>"  # as TransformerLens sets it
    assert first_token(tokenizer).token == "<|endoftext|>"


@pytest.mark.parametrize(("tokenizer", "least"), [(Words, 2), (Bare, 1)])
@pytest.mark.parametrize("below", [1, 2, 3])
def test_a_window_that_would_hold_no_text_is_refused(tokenizer, least, below):
    assert windows(tokenizer, TEXT, context=least, contexts=1).shape == (1, least)
    for call in (windows, first_windows):
        amount = {"contexts": 1} if call is windows else {"max_tokens": 0}
        with pytest.raises(FsrlError, match=rf"context is {least - below}; give {least} tokens or more"):
            call(tokenizer, TEXT, context=least - below, **amount)


def test_a_number_of_windows_is_one():
    for contexts in (0, -1, 1.5):
        with pytest.raises(FsrlError, match="contexts is"):
            windows(Words, TEXT, context=3, contexts=contexts)
    with pytest.raises(FsrlError, match="max_tokens is -1"):
        first_windows(Words, TEXT, context=3, max_tokens=-1)


def test_windows_that_others_read_are_left_out():
    text = "".join(chr(ord("a") + i) * 3 for i in range(20))
    every = letters(windows(Words, text, context=4, contexts=100))
    others = letters(windows(Words, text, context=4, contexts=3)) + letters(
        windows(Words, text, context=4, contexts=5)
    )
    rest = letters(windows(Words, text, context=4, contexts=100, leave_out=[3, 5]))
    assert rest == [window for window in every if window not in others]
    assert letters(windows(Words, text, context=4, contexts=2, leave_out=[3, 5])) == [rest[0], rest[-1]]
    with pytest.raises(FsrlError, match="all its 20 windows of 4 tokens are read elsewhere; give a longer"):
        windows(Words, text, context=4, contexts=2, leave_out=[100])
