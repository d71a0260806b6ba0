"""Models and decoders for a notebook: `fsrl.hub.load_model` and what reads weights without running them."""

from fsrl.models.reading import decoders, fold, load_model, read_model, unembedding

__all__ = ["decoders", "fold", "load_model", "read_model", "unembedding"]
