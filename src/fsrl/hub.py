"""Models and decoders for a notebook: `fsrl.hub.load_model` and what reads weights without running them."""

from fsrl.models.dictionaries import decoders
from fsrl.models.export import fold, unembedding
from fsrl.models.reading import load_model, read_model

__all__ = ["decoders", "fold", "load_model", "read_model", "unembedding"]
