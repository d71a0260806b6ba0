"""A model's tokenizer as tokenizer.json has it.

transformers builds a tokenizer anew from the class that tokenizer_config.json names (or that config.json's
model_type implies), with that class's own normalizer, pre-tokenizer and decoder: under GPT2Tokenizer a file
that splits numbers into digits splits them no longer, and one of SentencePiece is read as bytes. Where that
differs from the file, the file's is taken, with the special tokens that it has.
"""

import json
from pathlib import Path
from typing import Any

from fsrl.models.hub_files import clear_errors
from fsrl.models.sources import MODEL_EXTRAS, TOKENIZER
from fsrl.tokens.text import END_OF_TEXT

PARTS = ("normalizer", "pre_tokenizer", "decoder", "model")
# Where a tokenizer may name its special tokens.
NAMING = (TOKENIZER, *MODEL_EXTRAS, "special_tokens_map.json", "added_tokens.json")


def read(folder: Path, **settings: Any) -> Any:
    """The tokenizer of a model's folder. settings: of transformers' AutoTokenizer, where the class takes them
    (add_bos_token: none without a beginning of a sequence does).

    Raises FsrlError, naming the file, for what cannot be read.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    with clear_errors(folder / TOKENIZER):
        stored = Tokenizer.from_file(str(folder / TOKENIZER))
    found = _by_class(folder, settings)
    known = {} if found is None else found.special_tokens_map
    # What a class adds by itself is no token of this model.
    special = {role: token for role, token in known.items() if stored.token_to_id(str(token)) is not None}
    if found is not None and len(special) == len(known) and _same(found, stored):
        return found
    with clear_errors(folder / MODEL_EXTRAS[0]):
        own = PreTrainedTokenizerFast.from_pretrained(str(folder), **special)
        if own.bos_token is not None and settings:
            own = PreTrainedTokenizerFast.from_pretrained(str(folder), **special, **settings)
    return own


def own_tokenizer(bridge: Any, folder: Path) -> Any:
    """The tokenizer of a model's folder as its files have it.

    TransformerLens gives one without an end of a sequence <|endoftext|> for it, as a token that the model was
    not trained on: then it is read again.
    """
    stored = (folder / name for name in NAMING if (folder / name).is_file())
    is_stored = any(END_OF_TEXT.encode() in path.read_bytes() for path in stored)
    return bridge.tokenizer if is_stored or bridge.tokenizer.eos_token != END_OF_TEXT else read(folder)


def _by_class(folder: Path, settings: dict[str, Any]) -> Any | None:
    """As transformers reads it; None where the class cannot be made of this file."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), **settings)
    except ValueError:
        return _by_class(folder, {}) if settings else None
    except Exception:  # whatever the class stumbles over: the file is read without it
        return None


def _same(found: Any, stored: Any) -> bool:
    backend = getattr(found, "backend_tokenizer", None)
    return backend is not None and all(_part(backend, name) == _part(stored, name) for name in PARTS)


def _part(backend: Any, name: str) -> Any:
    """A part as tokenizer.json writes it; in a model, an empty text says no more than none."""
    part = getattr(backend, name)
    found: Any = None if part is None else json.loads(part.__getstate__())
    return {key: value or None for key, value in found.items()} if name == "model" else found
