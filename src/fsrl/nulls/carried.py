"""Null directions in views with transport, where each layer has isotropic ones of its own.

Directions are drawn at the hook, as in every view, and read through T_lᵀ W_U (`fsrl.weights.transport`),
which differs from hook to hook: isotropic directions are then no longer shared by the layers. A layer's own
table has them too, and they take the place of the shared ones (`fsrl.nulls.joined`), which are isotropic at
the end of the stream.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fsrl.moments.formulas import Typical
from fsrl.nulls import frames
from fsrl.nulls.joined import joined
from fsrl.nulls.typical import typical as typical_of
from fsrl.weights import transport as weights_transport
from fsrl.weights.matrices import Decoder, Unembedding
from fsrl.weights.transport import Transport


def of_layer_in_views(
    decoder: Decoder,
    unembedding: Unembedding,
    views: Mapping[str, Mapping[str, Any]],
    transport: Transport | Mapping[str, Transport] | None,
    *,
    kinds: Sequence[str],
    draws: int,
    seed: int,
    typical: Mapping[str, Typical],
) -> dict[str, pd.DataFrame]:
    """`fsrl.nulls.frames.of_layer_in_views` where views may have transport; there isotropic ones come first.

    transport: as `fsrl.weights.transport.groups` takes it, None where no view has it; typical: by view, of a
    view with transport where it is not to be taken from its own isotropic directions. Without kinds a view
    without transport has no table.
    """
    found: dict[str, pd.DataFrame] = {}
    settings: dict[str, Any] = {"draws": draws, "seed": seed}
    for seen, own in weights_transport.groups(unembedding, decoder.hook, views, transport):
        shared, known = {}, dict(typical)
        if seen is not unembedding:
            shared = frames.isotropic_of_views(seen, own, typical=typical, **settings)
            known = {name: typical_of(frame) for name, frame in shared.items()} | known
        parts = dict(shared)
        if kinds:
            parts = frames.of_layer_in_views(decoder, seen, own, kinds=kinds, typical=known, **settings)
        found |= {name: joined(shared.get(name), [frame]) for name, frame in parts.items()}
    return {name: found[name] for name in views if name in found}
