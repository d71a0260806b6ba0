"""Text as windows of tokens that a model reads, each begun by the tokenizer's first token (<|endoftext|>).

Passages of a text are separated by that token as text, and every passage is preceded by it. What does not
fill a window is left out.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from fsrl.errors import FsrlError

# Position 0 has 1.2 to 2.4 times the usual norm, always holds the same token, and SAEs don't train on it.
FIRST_POSITION = 1


def windows(tokenizer: Any, text: str, *, context: int, contexts: int) -> Int64[Tensor, "windows context"]:
    """At most `contexts` windows, spread evenly over the text.

    Raises FsrlError for a tokenizer without a first token and a text shorter than one window.
    """
    rows = _rows(list(_stream(tokenizer, text)), context)
    return _begun(
        tokenizer, rows[np.unique(np.linspace(0, len(rows) - 1, min(contexts, len(rows))).astype(int))]
    )


def first_windows(
    tokenizer: Any, text: str, *, context: int, max_tokens: int
) -> Int64[Tensor, "windows context"]:
    """All windows of the text's first `max_tokens` tokens (0: of the whole text), one after the other.

    Raises FsrlError as `windows` does.
    """
    stream = islice(_stream(tokenizer, text), max_tokens or None)
    return _begun(tokenizer, _rows(list(stream), context))


def _stream(tokenizer: Any, text: str) -> Iterator[int]:
    """The text's tokens, every passage preceded by the first token."""
    first = tokenizer.bos_token_id
    if first is None:
        raise FsrlError("text: the tokenizer has no bos_token; windows need a first token")
    for passage in text.split(tokenizer.bos_token):
        yield first
        yield from tokenizer.backend_tokenizer.encode(passage, add_special_tokens=False).ids


def _rows(stream: list[int], context: int) -> Int64[Tensor, "windows {context}-1"]:
    """The stream without what does not fill a window."""
    body = context - 1
    rows = len(stream) // body
    if not rows:
        raise FsrlError(
            f"text: {len(stream)} tokens do not fill a window of {context}; give a longer text or a "
            "smaller context"
        )
    return torch.tensor(stream[: rows * body]).view(rows, body)


def _begun(tokenizer: Any, rows: Int64[Tensor, "windows body"]) -> Int64[Tensor, "windows body+1"]:
    return torch.cat([torch.full((len(rows), 1), tokenizer.bos_token_id), rows], dim=1)
