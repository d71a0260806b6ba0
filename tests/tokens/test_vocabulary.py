"""Tokens of every kind of tokenizer: joined they are the text; special and added ones, holes, padding."""

import warnings
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from fsrl.errors import FsrlError
from fsrl.tokens import sets, text, vocabulary
from tests.fixtures import vocabularies
from tests.fixtures.vocabularies import KINDS, added

N_ROWS = 10_000
MADE = {name: make() for name, make in KINDS.items()}
ALPHABET = "".join(sorted({letter for line in vocabularies.TEXT for letter in line}))


def read(tokenizer, n_rows=N_ROWS):
    return vocabulary.read(tokenizer, n_rows)


READ = {name: read(tokenizer) for name, tokenizer in MADE.items()}


def joined(name, given):
    """The texts of the tokens of a text, one after the other."""
    ids = MADE[name].backend_tokenizer.encode(given, add_special_tokens=False).ids
    data = b"".join(text.decode(READ[name].tokens[i]).encode("utf-8", "surrogateescape") for i in ids)
    return data.decode()


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
@pytest.mark.parametrize("name", ["byte-level", "byte-level without decoder"])
def test_joined_tokens_of_a_byte_level_vocabulary_are_the_text(name, given):
    assert joined(name, given.replace("<|", "")) == given.replace("<|", "")


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<▁"), min_size=1))
@pytest.mark.parametrize("name", ["SentencePiece", "SentencePiece without decoder"])
def test_joined_tokens_of_sentence_piece_are_the_text_after_a_space(name, given):
    assert joined(name, given) == f" {given}"


@settings(max_examples=100, deadline=None)
@given(st.text(ALPHABET, min_size=1))
def test_joined_tokens_are_the_text_of_their_own_alphabet(given):
    assert joined("characters", given) == given
    for name in ("Unigram", "Unigram without decoder"):
        assert joined(name, given).removeprefix(" ") == given.removeprefix(" ")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["dog", "quick", "over", "papers"]), min_size=1))
def test_joined_tokens_of_words_are_the_text_with_one_space_between_them(given):
    line = " ".join(given)
    for name in ("WordPiece", "WordPiece without decoder"):
        assert joined(name, line) == f" {line}"
    assert joined("end of word", line) == f"{line} "


@pytest.mark.parametrize("name", [name for name in KINDS if "without" not in name and name != "byte-level"])
def test_joined_tokens_are_what_the_library_decodes(name):
    """The slow twin: the library's decoder over the whole text, which strips the first space."""
    for line in vocabularies.TEXT[:4]:
        ids = MADE[name].backend_tokenizer.encode(line, add_special_tokens=False).ids
        decoded = MADE[name].decode(ids, clean_up_tokenization_spaces=False)
        assert joined(name, line).strip(" ") == decoded.strip(" ")


def test_gpt2_s_own_tokens_are_as_stored():
    tokenizer = MADE["byte-level"]
    stored = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    assert list(READ["byte-level"].tokens) == stored
    assert READ["byte-level"].kind == "BPE, byte-level"


@pytest.mark.parametrize(
    ("name", "written", "shown"),
    [
        ("SentencePiece", "▁the", "␣the"),
        ("SentencePiece", "<0x0A>", "⏎"),
        ("SentencePiece", "<0xC3>", "<C3>"),
        ("SentencePiece", "<s>", "<s>"),
        ("SentencePiece", "é", "é"),
        ("Unigram", "▁", "␣"),
        ("WordPiece", "the", "␣the"),
        ("WordPiece", "##s", "s"),
        ("WordPiece", "[CLS]", "[CLS]"),
        ("words", "fox", "␣fox"),
        ("end of word", "the</w>", "the␣"),
    ],
)
def test_a_token_of_each_kind_by_hand(name, written, shown):
    assert text.legible(READ[name].tokens[MADE[name].convert_tokens_to_ids(written)]) == shown


@pytest.mark.parametrize("name", KINDS)
def test_added_tokens_are_what_they_are_written_as(name):
    tokenizer = added(KINDS[name](), "crème", "中 文")
    found = read(added(tokenizer, "<|im start|>", special=True))
    assert [text.decode(token) for token in found.tokens[-3:]] == ["crème", "中 文", "<|im start|>"]
    assert found.special[-3:].tolist() == [False, False, True]


def test_special_tokens_are_those_that_the_tokenizer_says():
    found = READ["WordPiece"]
    special = [token for token, is_special in zip(found.tokens, found.special, strict=True) if is_special]
    assert special == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    frame = sets.token_sets(found.tokens, special=found.special)
    assert frame["special_token"].sum() == 5
    assert not frame.loc[found.special].drop(columns="special_token").to_numpy().any()
    # Without being told, those that are written like one.
    assert sets.token_sets(found.tokens)["special_token"].tolist() == found.special.tolist()
    with pytest.raises(FsrlError, match=r"special is \[3\]; give one bool"):
        sets.token_sets(found.tokens, special=[True] * 3)


def test_token_sets_see_the_space_and_the_word_of_every_kind():
    for name in ("byte-level", "SentencePiece", "Unigram", "WordPiece", "words"):
        frame = sets.token_sets(READ[name].tokens, special=READ[name].special)
        the = frame.loc[READ[name].tokens.index("Ġthe")]
        assert the["starts_with_space"] and the["determiner"] and the["length_3"], name


def test_ids_without_a_token_keep_their_place():
    whole, sparse = MADE["byte-level"], vocabularies.with_holes(vocabularies.byte_level())
    found = read(sparse)
    assert len(found.tokens) == len(whole) + 7 and found.owned.sum() == len(whole)
    assert not found.owned[10:17].any() and set(found.tokens[10:17]) == {""}
    assert list(found.tokens[:10] + found.tokens[17:]) == list(READ["byte-level"].tokens)
    for token, number in sparse.get_vocab().items():
        assert found.tokens[number] == token


def test_tokens_beyond_the_model_s_rows_are_left_out_and_counted():
    found = read(MADE["byte-level"], 300)
    assert len(found.tokens) == 300 and found.without_row == 30
    with pytest.raises(FsrlError, match="none of its 1 tokens has one of the model's 0 rows"):
        read(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}))), 0)


def test_a_tokenizer_that_cannot_be_read_is_refused():
    with pytest.raises(FsrlError, match="SimpleNamespace has no tokenizer.json"):
        read(SimpleNamespace())
    made = Tokenizer(models.WordLevel({"a": 0, "b": 1}))
    made.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "x")])
    with pytest.raises(FsrlError, match=r"decoder Fuse \+ Replace reads 'b' between two 'a' as 'xa'"):
        read(PreTrainedTokenizerFast(tokenizer_object=made))


def test_reading_says_nothing(caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(KINDS["WordPiece"]())
    assert not caplog.records
