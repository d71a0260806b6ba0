"""Where a feature is most active in the text that the effects are measured on, as text.

Example: a feature of closing brackets has ")" for its token, with what the bracket closes before it.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl.models.windows import FIRST_POSITION
from fsrl.tables.effects import PEAKS

# Tokens of text kept before and after the one where the feature is most active.
BEFORE, AFTER = 24, 8


def peaks_frame(
    features: Sequence[int],
    activations: Float[Tensor, "contexts positions features"],
    inputs: Int64[Tensor, "contexts positions"],
    tokenizer: Any,
) -> pd.DataFrame:
    """The table `effect_peaks`: the site of the largest activation (the first of equal ones) of each
    feature that is active anywhere. activations: of `features`, in the windows `inputs`; tokenizer: a fast
    one.
    """
    body = activations[:, FIRST_POSITION:]
    flat = body.flatten(0, 1).numpy()
    best, width = flat.argmax(axis=0), body.shape[1]
    rows = []
    for i, (feature, at) in enumerate(zip(features, best, strict=True)):
        if not flat[at, i] > 0:
            continue
        window, position = inputs[at // width].tolist(), FIRST_POSITION + int(at % width)
        spans = (
            window[max(FIRST_POSITION, position - BEFORE) : position],
            window[position : position + 1],
            window[position + 1 : position + 1 + AFTER],
        )
        texts = (tokenizer.backend_tokenizer.decode(span, skip_special_tokens=False) for span in spans)
        rows.append((feature, float(flat[at, i]), *texts))
    dtypes = {
        "feature": "int32",
        "activation": "float64",
        **dict.fromkeys(("before", "token", "after"), "str"),
    }
    return pd.DataFrame(rows, columns=list(PEAKS.columns)).astype(dtypes)
