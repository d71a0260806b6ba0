"""Tokenizer, token streams and token counts of the embedded study.

The tokenizer is byte-level BPE with GPT-2's conventions (Ġ for a leading space, <|endoftext|> as the only
special token). It is trained on at most `max_mb_per_source` of each source, so that the names of one odd book
cannot become common tokens by the weight of that book.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Integer, UInt8, UInt16
from safetensors.numpy import save_file

END = "<|endoftext|>"


def train_tokenizer(corpus: pd.DataFrame, folder: Path, *, d_vocab: int, max_mb_per_source: float) -> None:
    """Train on the passages that are not held out; writes a tokenizer in Hugging Face layout into folder."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    def texts() -> Iterator[str]:
        """Passages spread evenly over each source."""
        for _, source in corpus[~corpus["held_out"]].groupby("package", sort=True):
            # Every k-th passage: a source's first megabytes would be the letters A to C of a dictionary.
            step = max(1, int(np.ceil(source["text"].str.len().sum() / (max_mb_per_source * 1e6))))
            yield from source["text"].iloc[::step]

    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    bpe.train_from_iterator(texts(), vocab_size=d_vocab, min_frequency=2, special_tokens=[END])
    folder.mkdir(parents=True, exist_ok=True)
    bpe.save_model(str(folder))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END, unk_token=END, model_max_length=128
    )
    fast.save_pretrained(folder)
    settings_path = folder / "tokenizer_config.json"
    settings = json.loads(settings_path.read_text()) | {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": False,
    }
    settings_path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def encode(
    corpus: pd.DataFrame, tokenizer_folder: Path
) -> tuple[UInt16[np.ndarray, "n_tokens"], UInt8[np.ndarray, "n_tokens"]]:
    """All passages in order as one stream, each preceded by <|endoftext|>, and the package of each position.

    The second array holds positions in the sorted list of packages.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    numbers = corpus["package"].astype("category").cat.codes.to_numpy(np.uint8)
    parts, owners, texts = [], [], corpus["text"].tolist()
    for start in range(0, len(texts), 1000):
        batch = tokenizer.encode_batch(texts[start : start + 1000], add_special_tokens=False)
        for number, encoding in zip(numbers[start : start + 1000], batch, strict=True):
            parts.append(np.array([end, *encoding.ids], dtype=np.uint16))
            owners.append(np.full(len(parts[-1]), number))
    return np.concatenate(parts), np.concatenate(owners)


def encode_text(text: str, tokenizer_folder: Path) -> UInt16[np.ndarray, "n_tokens"]:
    """Passages separated by <|endoftext|> as one stream, each preceded by <|endoftext|>."""
    passages = pd.DataFrame({"package": "", "text": text.split(END)})
    return encode(passages, tokenizer_folder)[0]


def shuffled(corpus: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The passages in a seeded random order, so that a window that spans two passages spans two sources."""
    return corpus.sample(frac=1.0, random_state=seed).reset_index(drop=True)


def write_counts(stream: Integer[np.ndarray, "n_tokens"], d_vocab: int, path: Path) -> None:
    """How often each token occurs in the stream: tensor `count`, int64 [d_vocab]."""
    counts = np.bincount(stream, minlength=d_vocab).astype(np.int64)
    save_file({"count": counts}, path)


def odd_tokens(
    stream: Integer[np.ndarray, "n_tokens"],
    owners: Integer[np.ndarray, "n_tokens"],
    packages: list[str],
    tokens: list[str],
    *,
    common: int,
    share: float,
) -> pd.DataFrame:
    """Tokens that owe more than `share` of their occurrences to one package, among the `common` most
    frequent.

    owners: positions in packages. Columns token_id, token, package, share, count.
    """
    table = np.zeros((len(tokens), len(packages)), dtype=np.int64)
    np.add.at(table, (stream, owners), 1)
    counts = table.sum(1)
    top = np.argsort(-counts, kind="stable")[:common]
    odd = [t for t in top if table[t].max() > share * counts[t]]
    rows = [
        (int(t), tokens[t], packages[table[t].argmax()], table[t].max() / counts[t], int(counts[t]))
        for t in odd
    ]
    return pd.DataFrame(rows, columns=["token_id", "token", "package", "share", "count"])


def vocabulary(tokenizer_folder: Path) -> list[str]:
    """The tokens in the order of their ids, as stored ("Ġthe")."""
    ids = json.loads((tokenizer_folder / "vocab.json").read_text(encoding="utf-8"))
    return sorted(ids, key=ids.__getitem__)
