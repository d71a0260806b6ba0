"""Text as windows of tokens that a model reads, each begun by what the model wants at a text's start.

Passages of a text are separated by <|endoftext|> as text, whatever the model. Each is read by the model's own
tokenizer, without special tokens, and preceded by one token, the same that begins every window
(`first_token`): <|endoftext|> in GPT-2, <s> in Llama 2, <bos> in Gemma. What does not fill a window is left
out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.tokens.text import END_OF_TEXT

# In GPT-2 position 0 has 1.2 to 2.4 times the usual norm; SAEs don't train on it, and mostly it is one token.
FIRST_POSITION = 1
BATCH = 16  # windows in one forward pass


@dataclass(frozen=True)
class FirstToken:
    """What begins windows and passages. token: as the tokenizer has it, None for nothing; role: in words."""

    token: str | None
    token_id: int | None
    role: str

    def __str__(self) -> str:
        return self.role if self.token is None else f"{self.token} ({self.role})"


def first_token(tokenizer: Any) -> FirstToken:
    """The tokenizer's beginning of a sequence if it has one of its own, else what separates documents.

    That is <|endoftext|> where the vocabulary has it (GPT-2, GPT-NeoX and Qwen have no other bos_token), else
    the end of a sequence, else [CLS], else nothing. bos_token counts as the tokenizer's own where it differs
    from eos_token: TransformerLens gives tokenizers without one their eos_token. Tokens that are not in the
    vocabulary are none.
    """
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    choices = (
        (bos if bos != eos else None, "bos_token"),
        (END_OF_TEXT, "document separator"),
        (eos, "eos_token"),
        (tokenizer.cls_token, "cls_token"),
    )
    for token, role in choices:
        token_id = None if token is None else tokenizer.backend_tokenizer.token_to_id(str(token))
        if token_id is not None:
            return FirstToken(str(token), token_id, role)
    return FirstToken(None, None, "none: the tokenizer has no token for a text's start")


def windows(
    tokenizer: Any,
    text: str,
    *,
    context: int,
    contexts: int,
    d_vocab: int | None = None,
    leave_out: Sequence[int] = (),
) -> Int64[Tensor, "windows context"]:
    """At most `contexts` windows, spread evenly over the text.

    d_vocab: rows of the model's embedding; leave_out: of the windows, those that calls with these numbers of
    contexts give are left out first. Raises FsrlError for a tokenizer in pure Python, a context without room
    for text, a text shorter than one window or of which none is left, and a token of the text that the model
    has no row for.
    """
    arguments.require(arguments.is_whole(contexts, 1), "text", "contexts", contexts, "give a number above 0")
    rows = _rows(tokenizer, _stream(tokenizer, text), context, d_vocab)
    taken = [_spread(len(rows), number) for number in leave_out]
    free = np.setdiff1d(np.arange(len(rows)), np.concatenate(taken)) if taken else np.arange(len(rows))
    if not len(free):
        raise FsrlError(
            f"text: all its {len(rows)} windows of {context} tokens are read elsewhere; give a longer "
            "text, or take fewer there"
        )
    return rows[free[_spread(len(free), contexts)]]


def _spread(n: int, wanted: int) -> Int64[np.ndarray, "chosen"]:
    """At most so many of n windows, evenly."""
    return np.unique(np.linspace(0, n - 1, min(wanted, n)).astype(int))


def first_windows(
    tokenizer: Any, text: str, *, context: int, max_tokens: int, d_vocab: int | None = None
) -> Int64[Tensor, "windows context"]:
    """All windows of the text's first `max_tokens` tokens (0: of the whole text), one after the other.

    d_vocab and errors as in `windows`.
    """
    wanted = "give a number of tokens, or 0 for all"
    arguments.require(arguments.is_whole(max_tokens), "text", "max_tokens", max_tokens, wanted)
    return _rows(tokenizer, islice(_stream(tokenizer, text), max_tokens or None), context, d_vocab)


def _stream(tokenizer: Any, text: str) -> Iterator[int]:
    """The text's tokens, every passage preceded by the first token."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise FsrlError(f"text: {type(tokenizer).__name__} has no tokenizer.json; load the fast tokenizer")
    first = first_token(tokenizer).token_id
    for passage in text.split(END_OF_TEXT):
        if first is not None:
            yield first
        yield from tokenizer.backend_tokenizer.encode(passage, add_special_tokens=False).ids


def _rows(
    tokenizer: Any, tokens: Iterator[int], context: int, d_vocab: int | None
) -> Int64[Tensor, "windows {context}"]:
    """The stream in windows, each begun by the first token, without what does not fill one."""
    stream = list(tokens)
    first = first_token(tokenizer).token_id
    least = 1 if first is None else 2
    wanted = f"give {least} tokens or more: each window holds text"
    arguments.require(arguments.is_whole(context, least), "text", "context", context, wanted)
    body = context if first is None else context - 1
    rows = len(stream) // body
    if not rows:
        raise FsrlError(
            f"text: {len(stream)} tokens do not fill a window of {context}; give a longer text or a "
            "smaller context"
        )
    if d_vocab is not None and (largest := max(stream)) >= d_vocab:
        token = tokenizer.backend_tokenizer.id_to_token(largest)
        raise FsrlError(
            f"text: token {token!r} has id {largest}, and the model has {d_vocab} rows; resize its embedding "
            "for the tokens that were added, or take them out"
        )
    found = torch.tensor(stream[: rows * body]).view(rows, body)
    return found if first is None else torch.cat([torch.full((rows, 1), first), found], dim=1)
