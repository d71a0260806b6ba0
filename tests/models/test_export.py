"""Vocabularies of every kind, from a model's folder to token sets: ids are columns of W_U."""

import pytest
import torch

from fsrl import hub
from fsrl.analyzer import weights as analyzer_weights
from fsrl.errors import FsrlError
from fsrl.models import activations, export
from fsrl.models.sources import ModelSource
from fsrl.nulls import undertrained
from fsrl.tables import core as tables
from fsrl.tables.tokens import TOKENS
from fsrl.tokens import frame as token_frame
from fsrl.tokens import sets
from fsrl.weights import matrices
from tests.fixtures import model_examples, vocabularies
from tests.fixtures.vocabularies import KINDS

TRAINED = {"counts_path": None, "min_count": 1, "draws": 1000, "seed": 0}


def unembedding_of(folder, **changed):
    return hub.unembedding(hub.read_model(ModelSource(folder=str(folder))), **TRAINED | changed)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_end_to_end(name, tmp_path):
    tokenizer = KINDS[name]()
    n_tokens = len(tokenizer)
    folder = vocabularies.write_model(tmp_path / "model", tokenizer, d_vocab=n_tokens + 11)
    model = hub.read_model(ModelSource(folder=str(folder)))
    found = export.unembedding(model, **TRAINED)
    # The padding has no tokens, not even the <|endoftext|> that TransformerLens adds to some tokenizers.
    assert len(found.tokens) == n_tokens and torch.equal(found.raw, model.bridge.W_U[:, :n_tokens])
    assert found.owned is None and found.special.sum() == len({*tokenizer.all_special_ids})
    frame = token_frame.tokens_frame(found)
    tables.write(frame, tmp_path / "tokens.parquet", TOKENS, found.metadata)
    spaced = sets.token_sets(found.tokens, special=found.special.numpy())["starts_with_space"]
    assert spaced.to_numpy().tolist() == frame["text"].str.startswith(" ").tolist()
    assert spaced.any() or name == "end of word"
    matrices.write_unembedding(found, tmp_path / "unembedding.safetensors")
    again = matrices.read_unembedding(tmp_path / "unembedding.safetensors")
    assert again.tokens == found.tokens and torch.equal(again.special, found.special) and again.owned is None
    assert found.metadata["tokenizer"] == model.vocabulary.kind


def test_added_tokens_with_and_without_a_row(tmp_path, caplog):
    tokenizer = vocabularies.added(vocabularies.byte_level(), "café", "naïveté")
    folder = vocabularies.write_model(tmp_path / "model", tokenizer)
    frame = token_frame.tokens_frame(unembedding_of(folder))
    assert frame["text"].tolist()[-2:] == ["café", "naïveté"] and not caplog.records
    folder = vocabularies.write_model(tmp_path / "short", tokenizer, d_vocab=len(tokenizer) - 1)
    found = unembedding_of(folder)
    assert token_frame.tokens_frame(found)["text"].tolist()[-1] == "café"
    assert found.metadata["tokens_without_row"] == "1" and "want of a row in W_U: 1" in caplog.text
    with pytest.raises(FsrlError, match=r"token 'naïveté' has id \d+, and the model has \d+ rows"):
        activations.second_moments(
            folder, "naïveté " * 20, ["blocks.0.hook_resid_pre"], context=4, max_tokens=0, progress=False
        )


def test_holes_keep_ids_and_columns_together_and_are_in_no_view(tmp_path):
    tokenizer = vocabularies.with_holes(vocabularies.byte_level())
    folder = vocabularies.write_model(tmp_path / "model", tokenizer)
    found = unembedding_of(folder)
    ids = sorted(tokenizer.get_vocab().values())
    assert found.raw.shape[1] == ids[-1] + 1 and found.owned.nonzero().flatten().tolist() == ids
    frame = token_frame.tokens_frame(found)
    assert frame["token_id"].tolist() == ids == frame.index.tolist()
    assert frame.loc[tokenizer.convert_tokens_to_ids("Ġthe"), "text"] == " the"
    for view in ({}, {"tokens": "trained"}, {"cosine": True}):
        matrix, token_ids = matrices.view_unembedding(found, **view)
        assert token_ids.tolist() == ids and matrix.shape[1] == len(ids)
    matrix, _ = matrices.view_unembedding(found)
    assert torch.equal(matrix, found.folded[:, ids])


def test_undertrained_tokens_by_byte_fallback_by_reserved_tokens_and_by_padding(tmp_path):
    reserved = [f"<unused{number}>" for number in range(6)]
    for name, tokenizer, padding, words in (
        ("bytes", vocabularies.sentence_piece(), 0, "the bytes that UTF-8 never uses"),
        (
            "reserved",
            vocabularies.sentence_piece(bytes_of=[], reserved=reserved),
            0,
            "6 reserved tokens and 0",
        ),
        ("padding", vocabularies.unigram(), 9, "0 reserved tokens and 9 rows without a token"),
    ):
        n_tokens = len(tokenizer)
        names = [f"<0x{byte:02X}>" for byte in undertrained.IMPOSSIBLE_BYTES] + reserved
        places = [number for token, number in tokenizer.get_vocab().items() if token in names]
        places += [n_tokens + number for number in range(padding)]
        wte, far = torch.randn(n_tokens + padding + 1, 16, generator=torch.Generator().manual_seed(1)).split(
            [n_tokens + padding, 1]
        )
        wte[[*places, 40, 41]] = 0.05 * wte[[*places, 40, 41]] + 4 * far
        folder = vocabularies.write_model(tmp_path / name, tokenizer, d_vocab=len(wte), wte=wte)
        found = unembedding_of(folder)
        left_out = {place for place in places if place < n_tokens} | {40, 41}
        assert set((~found.trained).nonzero().flatten().tolist()) == left_out, name
        assert words in found.metadata["trained_tokens"], name


def test_where_nothing_tells_undertrained_tokens_the_view_that_needs_them_says_what_to_do(tmp_path, caplog):
    folder = vocabularies.write_model(tmp_path / "model", vocabularies.word_piece())
    found = unembedding_of(folder)
    assert found.trained is None and "give token counts or use tokens: all" in caplog.text
    assert token_frame.tokens_frame(found)["trained"].isna().all()
    with pytest.raises(
        FsrlError, match=r"are unknown: the vocabulary has 0 of the 13 bytes .* give token counts"
    ):
        matrices.view_unembedding(found, tokens="trained")
    assert len(matrices.view_unembedding(found)[1]) == len(found.tokens)


def test_undertrained_tokens_are_not_looked_for_where_no_view_reads_them(tmp_path, monkeypatch):
    folder = vocabularies.write_model(tmp_path / "model", vocabularies.byte_level())
    monkeypatch.setattr(undertrained, "by_distance", None)
    found = unembedding_of(folder, trained=False)
    assert found.trained is None and found.metadata["trained_tokens"] == export.UNTOLD
    with pytest.raises(FsrlError, match="are unknown: no view of the study reads them"):
        matrices.view_unembedding(found, tokens="trained")


@pytest.mark.parametrize("name", ["SentencePiece", "WordPiece", "Unigram"])
def test_a_live_model_s_tokens_are_those_of_its_folder(name, tmp_path):
    folder = vocabularies.write_model(tmp_path / "model", KINDS[name](), d_vocab=500)
    tokens = hub.read_model(ModelSource(folder=str(folder))).tokens
    assert analyzer_weights.tokens_of(model_examples.bridge(folder)) == tokens


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("byte-level", "<|endoftext|> (document separator)"),
        ("SentencePiece", "<s> (bos_token)"),
        ("WordPiece", "[CLS] (cls_token)"),
        ("characters", "none: the tokenizer has no token for a text's start"),
    ],
)
def test_activations_of_every_kind_say_what_began_the_windows(name, first, tmp_path):
    folder = vocabularies.write_model(tmp_path / "model", KINDS[name]())
    text = "<|endoftext|>".join(vocabularies.TEXT)
    found = activations.second_moments(
        folder, text, ["blocks.0.hook_resid_pre"], context=8, max_tokens=0, progress=False
    )
    assert found.metadata["first_token"] == first
