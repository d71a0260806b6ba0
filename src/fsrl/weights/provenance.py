"""What a table was made from: the metadata that every table carries."""

import json
from typing import Any

from fsrl.errors import FsrlError
from fsrl.weights.matrices import Decoder, Unembedding


def metadata(unembedding: Unembedding, decoder: Decoder | None = None, **settings: Any) -> dict[str, str]:
    """Provenance of a table: that of its weights, their sizes and names, and the settings used.

    Settings that are not text are written as JSON with sorted keys. Raises FsrlError for a decoder of other
    weights of the model than the unembedding's, which studies of one model share.
    """
    d_model, d_vocab = unembedding.folded.shape
    found = {**unembedding.metadata, "d_model": str(d_model), "d_vocab": str(d_vocab)}
    if decoder is not None:
        _check_model(unembedding, decoder)
        found |= {**decoder.metadata, "sae": decoder.sae, "hook": decoder.hook, "layer": str(decoder.layer)}
    for key, value in settings.items():
        found[key] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return found


def _check_model(unembedding: Unembedding, decoder: Decoder) -> None:
    ours, others = (made.metadata.get("model_sha256") for made in (unembedding, decoder))
    if ours and others and ours != others:
        raise FsrlError(
            f"{decoder.sae}: its model's weights have sha256 {others}, those of the unembedding {ours}; "
            "export both again from one model (snakemake -R export_model)"
        )
