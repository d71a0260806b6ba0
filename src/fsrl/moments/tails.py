"""The derived columns of moments and nulls: which side a tail is on, and how many tokens make it."""

import pandas as pd
import torch

from fsrl.moments.formulas import Typical, right_share, tail_tokens


def with_tails(frame: pd.DataFrame, d_vocab: int, typical: Typical) -> pd.DataFrame:
    """The frame with columns left_kurtosis, right_share, tail_tokens and left_tail_tokens after its
    right_kurtosis.

    frame: kurtosis, right_kurtosis, right_eighth and left_eighth of each row, float64; d_vocab: tokens of the
    view. Every function that makes these columns makes them here.
    """
    kurtosis, right, right_eighth, left_eighth = (
        torch.from_numpy(frame[name].to_numpy(copy=True))
        for name in ("kurtosis", "right_kurtosis", "right_eighth", "left_eighth")
    )
    left, of_chance = kurtosis - right, (typical.right_kurtosis, typical.right_eighth)
    added = {
        "left_kurtosis": left,
        "right_share": right_share(right, kurtosis, typical),
        "tail_tokens": tail_tokens(right, right_eighth, d_vocab, *of_chance),
        "left_tail_tokens": tail_tokens(left, left_eighth, d_vocab, *of_chance),
    }
    found, place = frame.copy(deep=False), list(frame).index("right_kurtosis") + 1
    for number, (name, column) in enumerate(added.items()):
        found.insert(place + number, name, column.numpy())
    return found
