"""Tokenizers as tokenizer.json has them, whatever class the configs name: the file itself is the oracle."""

import json

import pytest
from tokenizers import Tokenizer, pre_tokenizers

from fsrl.errors import FsrlError
from fsrl.models import reading, tokenizer
from fsrl.models.sources import ModelSource
from fsrl.models.windows import first_token
from fsrl.tokens import text
from tests.fixtures import vocabularies

LINE = "In 1905 a dog said: 31"


def digits():
    """As DeepSeek and StarCoder split numbers."""
    made = vocabularies.byte_level()
    splits = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    return made


def prefixed():
    """As RoBERTa's may have it: a space before the first word."""
    made = vocabularies.byte_level()
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return made


FILES = {
    "digits": digits,
    "prefix space": prefixed,
    **{name: vocabularies.KINDS[name] for name in ("byte-level", "SentencePiece", "Unigram", "WordPiece")},
}
CLASSES = (
    None, "GPT2Tokenizer", "GPT2TokenizerFast", "GPTNeoXTokenizerFast", "CodeGenTokenizer", "BertTokenizer",
    "GemmaTokenizer", "LlamaTokenizerFast", "Qwen2Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast",
    "Nobodys",
)  # fmt: skip


def write(folder, make, kind, **settings):
    vocabularies.write_model(folder, make())
    path = folder / "tokenizer_config.json"
    given = json.loads(path.read_text()) | settings | {"tokenizer_class": kind}
    path.write_text(json.dumps({key: value for key, value in given.items() if value is not None}))
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", FILES)
def test_the_file_counts_and_not_the_class_that_is_named_beside_it(name, kind, tmp_path):
    stored = write(tmp_path, FILES[name], kind)
    made = tokenizer.read(tmp_path)
    assert made.backend_tokenizer.encode(LINE, add_special_tokens=False).ids == (
        stored.encode(LINE, add_special_tokens=False).ids
    )
    assert made.get_vocab() == stored.get_vocab(with_added_tokens=True)
    assert first_token(made) == first_token(FILES[name]())


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("digits", "GPT2TokenizerFast", "BPE, byte-level"),
        ("SentencePiece", "GPT2Tokenizer", "BPE, decoder Replace + ByteFallback + Fuse + Strip"),
        ("SentencePiece", "BertTokenizer", "BPE, decoder Replace + ByteFallback + Fuse + Strip"),
        ("byte-level", "GemmaTokenizer", "BPE, byte-level"),
        ("Unigram", "T5TokenizerFast", "Unigram, decoder Metaspace"),
    ],
)
def test_a_model_and_one_to_run_read_with_the_file_s(name, kind, expected, tmp_path):
    stored = write(tmp_path, FILES[name], kind)
    ids = stored.encode(LINE, add_special_tokens=False).ids
    model, live = reading.read_model(ModelSource(folder=str(tmp_path))), reading.load_model(tmp_path)
    assert model.vocabulary.kind == expected and "tokens_without_row" not in model.metadata
    assert "▁" not in {text.decode(token)[:1] for token in model.tokens}
    assert model.tokenizer.backend_tokenizer.encode(LINE, add_special_tokens=False).ids == ids
    assert live.to_tokens(LINE, prepend_bos=False)[0].tolist() == ids
    if (bos := model.tokenizer.bos_token_id) is not None:
        assert live.to_tokens(LINE)[0].tolist() == [bos, *ids]


def test_digits_by_hand(tmp_path):
    write(tmp_path, digits, "GPT2TokenizerFast")
    assert tokenizer.read(tmp_path).tokenize("a 31") == ["a", "Ġ", "3", "1"]


def test_gpt2_s_own_is_the_class_s_read_once_with_its_tokens(tiny_study, monkeypatch):
    from transformers import AutoTokenizer

    seen, read = [], AutoTokenizer.from_pretrained
    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained", lambda *given, **more: seen.append(given) or read(*given, **more)
    )
    own = reading.read_model(ModelSource(folder=str(tiny_study / "model"))).tokenizer
    assert len(seen) == 1 and type(own).__name__ == "GPT2Tokenizer" and own.bos_token == "<|endoftext|>"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    write(tmp_path, digits, "GPT2TokenizerFast")
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(FsrlError, match=r"tokenizer.json: cannot be read \(.*\); put a whole one there"):
        tokenizer.read(tmp_path)
