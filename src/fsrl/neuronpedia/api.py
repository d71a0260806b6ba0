"""Neuronpedia: explanations and statistics that were published for features of SAEs, and links to dashboards.

    model_id, source = neuronpedia.source_id("blocks.7.hook_resid_pre", "gpt2-small-res-jb")
    found = neuronpedia.explanations(model_id, source, n_features=24576)
    found[0][0]["description"], found.coverage

Whole sources come from the bulk exports, as Neuronpedia asks (`fsrl.neuronpedia.cache`: fetched once, then
read from disk without network); a single feature from the API. Rows are kept as they came, dictionaries with
the names of Neuronpedia's columns, unknown ones included; they are keyed on int(row["index"]): batches hold
indices in the order of their text (0, 1, 10, 100). Not every feature has an explanation, and some have
several: absent ones stay absent. Descriptions and tokens are other people's text (lone surrogates included):
whoever shows them in HTML or on a terminal has to escape them.

NEURONPEDIA_URL and NEURONPEDIA_BUCKET_URL name other hosts than the public ones. No function here needs
NEURONPEDIA_API_KEY (see `fsrl.neuronpedia.http` for where it goes if it is set).
"""

from collections.abc import Collection
from pathlib import Path

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.neuronpedia import cache as neuronpedia_cache
from fsrl.neuronpedia.cache import Export
from fsrl.neuronpedia.http import API_URL, API_VARIABLE, Client, base_url
from fsrl.neuronpedia.links import checked
from fsrl.neuronpedia.rows import (
    Asked,
    Explanations,
    Features,
    Row,
    gather_explanations,
    gather_features,
)


def explanations(
    model_id: str,
    source: str,
    *,
    cache: str | Path | None = None,
    n_features: int | None = None,
    embeddings: bool = False,
    refresh: bool = False,
    progress: bool = False,
    bucket: str | None = None,
) -> Explanations:
    """All explanations of a source, from the bulk export or, without network, the cache that holds it.

    cache: folder (None: ~/.cache/fsrl/neuronpedia); n_features: how many the SAE has, for the coverage;
    embeddings: keep the rows' `embedding`, most of their bulk; refresh: ask the bucket though the cache is
    complete; progress: a bar on standard error; bucket: address of a mirror. Rows with one id count once;
    those without a description are left out. Raises FsrlError where the export cannot be had or does not fit.
    """
    export = Export.of(*checked(model_id, source), "explanations", cache, bucket)
    asked = _asked(export, n_features)
    batches = neuronpedia_cache.fetch(export, refresh=refresh, progress=progress)
    return gather_explanations(
        asked,
        neuronpedia_cache.rows(export, batches),
        max(batch.modified for batch in batches),
        left_out=() if embeddings else ("embedding",),
    )


def features(
    model_id: str,
    source: str,
    *,
    only: Collection[int] | None = None,
    cache: str | Path | None = None,
    n_features: int | None = None,
    refresh: bool = False,
    progress: bool = False,
    bucket: str | None = None,
) -> Features:
    """All features' rows of a source, or those in `only`; the other arguments are those of `explanations`.

    Every batch is fetched in any case, because any can hold any feature; but all rows of a wide SAE take
    hundreds of megabytes of memory. Raises FsrlError also for two rows of one feature that differ.
    """
    export = Export.of(*checked(model_id, source), "features", cache, bucket)
    asked, wanted = _asked(export, n_features), None
    if only is not None:
        listed = arguments.listed(only, "features", "only", "give a list of indices of features")
        wanted = {arguments.feature(feature) for feature in listed}
    batches = neuronpedia_cache.fetch(export, refresh=refresh, progress=progress)
    return gather_features(
        asked,
        neuronpedia_cache.rows(export, batches),
        max(batch.modified for batch in batches),
        wanted,
    )


def feature(model_id: str, source: str, index: int, *, api: str | None = None) -> Row:
    """One feature as the API answers it, with its explanations and activations. For a few: it is not cached,
    and the API allows some thousand requests an hour.

    api: address of another Neuronpedia. Raises FsrlError where the API cannot be reached, refuses, or has no
    such feature.
    """
    model_id, source = checked(model_id, source)
    index = arguments.feature(index)
    with Client(base_url(api, API_VARIABLE, API_URL), keyed=True) as client:
        answer = client.get(f"/api/feature/{model_id}/{source}/{index}")
    if answer.status == 404:
        raise answer.error("Neuronpedia has no such feature; check model, source and index")
    if answer.status != 200:
        raise answer.error("run again later; explanations and features read the exports, which have no limit")
    row = answer.json()
    if not isinstance(row, dict) or Asked(model_id, source, None).index(row, answer.url) != index:
        raise FsrlError(f"{answer.url}: the answer is not this feature; try again later")
    return row


def _asked(export: Export, n_features: int | None) -> Asked:
    right = n_features is None or arguments.is_whole(n_features, 1)
    arguments.require(right, str(export), "n_features", n_features, "give a whole number above 0, or None")
    return Asked(export.model_id, export.source, n_features)
