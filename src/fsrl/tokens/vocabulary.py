"""A tokenizer's vocabulary: the bytes of every token, whatever the tokenizer's kind, in one spelling.

How a token is written in tokenizer.json depends on the kind, and `tokenizer.decode([id])` is no way to read
it: it strips SentencePiece's leading space and turns half a character into U+FFFD. Here each token is read by
itself, as the backend's own decoder reads it between others:

    kind                            written            text
    byte-level (GPT-2, Llama 3,     Ġthe, Ã            " the", <C3>
    Qwen, GPT-NeoX)
    SentencePiece (Llama 2, Gemma), ▁the, <0x0A>       " the", newline (byte fallback)
    Metaspace, Unigram
    WordPiece (BERT)                the, ##ing, [CLS]  " the", "ing", "[CLS]"
    end of word (OpenAI GPT)        the</w>            "the "
    characters, words, others       as the decoder says; without a decoder, as pre-tokenizer, normalizer and
                                    model say; where these say nothing, as written

Special tokens are what they are written as, and so are added tokens of byte-level and WordPiece tokenizers,
which match the text literally ("café" is no byte-level spelling). `Vocabulary.kind` says what was found.

Ids are rows of the embedding and columns of W_U, and stay so: an id that no token owns (a vocabulary with
holes) keeps its place and is marked; what follows the last token's id (padding) is left out.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from fsrl.errors import FsrlError
from fsrl.tokens import text as token_text

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# A neighbour on either side, so that what a decoder does at the ends of a text is not done to the token.
NEIGHBOUR = "a"
SPLIT_AT_SPACES = ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")
Decode = Callable[[list[str]], str]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Tokens by id. tokens: as `fsrl.tokens.text` spells them, "" where no token owns the id; owned: where
    one does; special: [CLS], <|endoftext|> and their like; kind: of the tokenizer, in words; without_row:
    tokens that are left out, since the model has no row for them.
    """

    tokens: tuple[str, ...]
    owned: Bool[np.ndarray, "d_vocab"]
    special: Bool[np.ndarray, "d_vocab"]
    kind: str
    without_row: int


def read(tokenizer: Any, n_rows: int) -> Vocabulary:
    """The vocabulary of a tokenizer of transformers, for a model with `n_rows` rows in its embedding.

    Raises FsrlError for a tokenizer in pure Python, one whose decoder does not read tokens one by one, and
    one without a token that the model has a row for.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise FsrlError(
            f"tokenizer: {type(tokenizer).__name__} has no tokenizer.json, from which tokens are read; load "
            "the fast one, or convert it (transformers.convert_slow_tokenizer)"
        )
    written = {number: token for token, number in backend.get_vocab(with_added_tokens=True).items()}
    rows = sorted(number for number in written if number < n_rows)
    if not rows:
        raise FsrlError(f"tokenizer: none of its {len(written)} tokens has one of the model's {n_rows} rows")
    added = tokenizer.added_tokens_decoder
    marked = {number for number, token in added.items() if token.special} | {*tokenizer.all_special_ids}
    spelled, kind = _speller(backend)
    owned, special = (np.zeros(rows[-1] + 1, dtype=bool) for _ in range(2))
    tokens = [""] * len(owned)
    for number in rows:
        owned[number], special[number] = True, number in marked
        tokens[number] = spelled(written[number], added=number in added, special=number in marked)
    return Vocabulary(tuple(tokens), owned, special, kind, len(written) - len(rows))


def _speller(backend: Any) -> tuple[Callable[..., str], str]:
    """How a written token is spelled, and the kind in words."""
    parts, model = _parts(backend.decoder), type(backend.model).__name__
    if any(
        "ByteLevel" in _parts(part) for part in (backend.decoder, backend.pre_tokenizer, backend.normalizer)
    ):
        return _byte_level, f"{model}, byte-level"
    if parts:
        decode, kind = backend.decoder.decode, f"{model}, decoder {' + '.join(parts)}"
    else:
        decode, parts, kind = _without_decoder(backend)
        kind = f"{model}, no decoder, {kind}"
    falls_back = "ByteFallback" in parts or getattr(backend.model, "byte_fallback", False)
    before = decode([NEIGHBOUR])
    after = decode([NEIGHBOUR, NEIGHBOUR])[len(before) :]

    def spelled(token: str, *, added: bool, special: bool) -> str:
        """A token as it reads between two others; FsrlError where they cannot be told apart."""
        byte = BYTE.fullmatch(token) if falls_back else None
        if byte is not None:
            return token_text.spell(bytes.fromhex(byte[1]))
        if special or (added and "WordPiece" in parts):
            return token_text.spell(token.encode())
        whole = decode([NEIGHBOUR, token, NEIGHBOUR])
        if not (whole.startswith(before) and whole[len(before) :].endswith(after)):
            raise FsrlError(
                f"tokenizer: {kind} reads {token!r} between two {NEIGHBOUR!r} as {whole!r}, so that tokens "
                "cannot be read one by one; give the model another tokenizer"
            )
        return token_text.spell(whole[len(before) : len(whole) - len(after)].encode())

    return spelled, kind


def _byte_level(token: str, *, added: bool, special: bool) -> str:
    literal = added or special or any(char not in token_text.ALPHABET for char in token)
    return token_text.spell(token.encode()) if literal else token


def _without_decoder(backend: Any) -> tuple[Decode, list[str], str]:
    """What stands for the decoder of a tokenizer that has none: it, its parts, and whence it is known."""
    from tokenizers import decoders

    model = backend.model
    prefix = getattr(model, "continuing_subword_prefix", None)
    suffix = getattr(model, "end_of_word_suffix", None)
    if space := _space(backend):
        return decoders.Replace(space, " ").decode, ["Replace"], f"{space} for a space by what writes it"
    if prefix:
        return decoders.WordPiece(prefix, cleanup=False).decode, ["WordPiece"], f"{prefix} continues a word"
    if suffix:
        return decoders.BPEDecoder(suffix).decode, ["BPEDecoder"], f"{suffix} ends a word"
    splits_at_spaces = {*_parts(backend.pre_tokenizer)}.intersection(SPLIT_AT_SPACES)
    if type(model).__name__ == "WordLevel" and splits_at_spaces:
        return " ".join, ["WordPiece"], "words with a space before them"
    return "".join, [], "tokens as written"


def _space(backend: Any) -> str | None:
    """The character that a pre-tokenizer (Metaspace) or a normalizer puts in the place of a space."""
    for part in _components(backend.pre_tokenizer):
        if part["type"] == "Metaspace":
            return part["replacement"]
    for part in _components(backend.normalizer):
        if part["type"] == "Replace" and part["pattern"] == {"String": " "}:
            return part["content"] or None
    return None


def _parts(component: Any) -> list[str]:
    """Names of the components that a decoder, pre-tokenizer or normalizer is made of."""
    return [part["type"] for part in _components(component)]


def _components(component: Any) -> list[dict[str, Any]]:
    """The component's own, or those of a sequence, as tokenizer.json has them."""
    if component is None:
        return []
    found, flat = [json.loads(component.__getstate__())], []
    while found:
        part = found.pop(0)
        inner = next(
            (part[name] for name in ("decoders", "pretokenizers", "normalizers") if name in part), None
        )
        if inner is None:
            flat.append(part)
        else:
            found = [*inner, *found]
    return flat
