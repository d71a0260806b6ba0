"""Is an export of Neuronpedia's in the cache? Asked before a run is planned, and so never of the network."""

from collections.abc import Iterable
from pathlib import Path

from fsrl.neuronpedia import cache as neuronpedia_cache
from fsrl.neuronpedia.cache import Export

# A source: its model and its name there.
Source = tuple[str, str]


def is_cached(model_id: str, source: str, kind: str, cache: str | Path | None = None) -> bool:
    """Whether the cache (None: the default one) holds every batch of an export (explanations, features).

    Raises FsrlError for a listing in the cache that is broken.
    """
    return neuronpedia_cache.is_cached(Export.of(model_id, source, kind, cache, None))


def lacking(sources: Iterable[Source], kind: str, cache: str | Path | None = None) -> list[str]:
    """The sources ("gpt2-small/7-res-jb") whose export is not in the cache."""
    return ["/".join(source) for source in sources if not is_cached(*source, kind, cache)]
