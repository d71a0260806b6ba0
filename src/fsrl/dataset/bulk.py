"""Features and explanations in the layout of Neuronpedia's bulk exports, so that an own SAE can be imported.

    v1/{model}/{source}/{release,model,sourceset,source}.jsonl
    v1/{model}/{source}/{features,explanations}/batch-{k}.jsonl.gz      1024 rows each

as `fsrl.neuronpedia` reads them and as Neuronpedia's own exporter (its utils/export-data.py) and SAEDashboard
write them: rows in the order of their index as text, values rounded to 5 decimals, tokens as decoded text.
Only what was computed here is in a row: logit weights (top and bottom tokens, histogram), density, hook. What
comes from activations on a text (maxActApprox, freq_hist_*, activations/) is null or empty, and a density
that is unknown is left out. The bytes depend on the tables alone.
"""

import gzip
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from fsrl.errors import FsrlError
from fsrl.moments.formulas import HISTOGRAM_HALF_WIDTH
from fsrl.neuronpedia.links import checked
from fsrl.tables import core
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS
from fsrl.tokens import text as token_text

BATCH = 1024
DECIMALS = 5
# In the place of the layer's number; Neuronpedia's web app reads it so (lib/utils/source.ts).
EMBEDDING = "e"
# The user whom every export of Neuronpedia's and SAEDashboard's names; an import needs one that exists.
CREATOR = "clkht01d40000jv08hvalcvly"
# What a feature's row says of activations and of other neurons: nothing.
_EMPTY = (
    "freq_hist_data_bar_heights",
    "freq_hist_data_bar_values",
    "neuron_alignment_indices",
    "neuron_alignment_l1",
    "neuron_alignment_values",
    "correlated_neurons_indices",
    "correlated_neurons_l1",
    "correlated_neurons_pearson",
    "decoder_weights_dist",
    "topkCosSimIndices",
    "topkCosSimValues",
    "vector",
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """One SAE as Neuronpedia names it, and the files that its rows are made from (of one view).

    explanations: None where there are none.
    """

    model_id: str
    name: str
    sae: str
    hook: str
    moments: Path
    extremes: Path
    histograms: Path
    explanations: Path | None

    @property
    def set_name(self) -> str:
        """The source set: the name without the layer."""
        return self.name.partition("-")[2]


def source_name(sae: str, layer: int, study: str) -> str:
    """A source's name for an SAE that Neuronpedia does not host: layer, place and study.

    layer: -1 for the embedding, whose SAEs are "e-..." there.

    >>> source_name("blocks.5.hook_resid_post", 5, "mini")
    '5-resid-post-mini'
    >>> source_name("hook_embed", -1, "mini")
    'e-embed-mini'
    """
    place = re.sub(r"^blocks\.\d+\.", "", sae).replace("hook_", "")
    where = EMBEDDING if layer < 0 else layer
    return f"{where}-" + re.sub(r"[^A-Za-z0-9]+", "-", f"{place}-{study}").strip("-")


def write(folder: Path, sources: Sequence[Source], title: str, release: str) -> list[str]:
    """Write v1/ below `folder`; the paths of the sources' folders in it.

    title: of the release, `release` its name there. One SAE's tables are in memory at a time. Raises
    FsrlError for names that Neuronpedia cannot have, and for two SAEs of one name.
    """
    found = []
    for source in sources:
        place = "/".join(("v1", *checked(source.model_id, source.name)))
        if place in found:
            raise FsrlError(f"dataset: two SAEs would be {place}, one of them {source.sae}; rename one")
        found.append(place)
        for name, row in _records(source, title, release).items():
            path = folder / place / f"{name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_line(row))
        _write_batches(folder / place / "features", features(source))
        if source.explanations is not None:
            _write_batches(folder / place / "explanations", explanations(source))
    return found


def features(source: Source) -> Iterator[Row]:
    """The rows of an SAE's features, in the order of their index as text."""
    moments = core.read(source.moments, MOMENTS)
    ends = _ends(core.read(source.extremes, EXTREMES))
    histograms = core.read(source.histograms, HISTOGRAMS)
    if not np.array_equal(moments["feature"], histograms["feature"]):
        raise FsrlError(f"dataset: {source.moments} and {source.histograms} have other features")
    columns = (moments[name].tolist() for name in ("feature", "mean", "std", "log10_density"))
    rows = {
        str(feature): (feature, density, histogram(np.asarray(counts), mean, std))
        for feature, mean, std, density, counts in zip(*columns, histograms["counts"], strict=True)
    }
    for index in sorted(rows):
        feature, density, (heights, values) = rows[index]
        row: Row = {"modelId": source.model_id, "layer": source.name, "index": index}
        row |= {"sourceSetName": source.set_name, "creatorId": CREATOR, "hookName": source.hook}
        row |= {} if math.isnan(density) else {"frac_nonzero": float(f"{10.0**density:.5g}")}
        row |= {"logits_hist_data_bar_heights": heights, "logits_hist_data_bar_values": values}
        row |= ends.get(feature, {}) | {name: [] for name in _EMPTY}
        row |= {"maxActApprox": None, "vectorLabel": None, "hasVector": False}
        yield row


def explanations(source: Source) -> Iterator[Row]:
    """The rows of an SAE's explanations, in the order of their feature as text."""
    assert source.explanations is not None
    frame = core.read(source.explanations, EXPLANATIONS)
    texts = frame["feature"].astype(str)
    frame = frame.iloc[np.argsort(texts.to_numpy(dtype=str), kind="stable")]
    number = frame.groupby("feature").cumcount()
    columns = (frame["feature"], number, frame["description"], frame["type"], frame["model"])
    for feature, which, description, kind, model in zip(*columns, strict=True):
        place = f"{source.model_id}/{source.name}/{feature}/{which}"
        row: Row = {"id": "f" + hashlib.sha256(place.encode()).hexdigest()[:24]}
        row |= {"modelId": source.model_id, "layer": source.name, "index": str(feature)}
        row |= {"authorId": CREATOR, "description": description, "embedding": None}
        row |= {"typeName": _text(kind), "explanationModelName": _text(model)}
        yield row | dict.fromkeys(("umap_x", "umap_y", "umap_cluster", "umap_log_feature_sparsity"))


def histogram(counts: Int64[np.ndarray, "bins"], mean: float, std: float) -> tuple[list[int], list[float]]:
    """(heights, centres) of a feature's bins, without the empty ones at both ends; none where it is constant.

    counts: of equal bins from mean - HISTOGRAM_HALF_WIDTH std to mean + HISTOGRAM_HALF_WIDTH std. What
    is beyond is in no bar.
    """
    filled = np.flatnonzero(counts)
    if std == 0 or not len(filled):
        return [], []
    shown = np.arange(filled[0], filled[-1] + 1)
    centres = mean + std * HISTOGRAM_HALF_WIDTH * (2 * (shown + 0.5) / len(counts) - 1)
    return counts[shown].tolist(), _rounded(centres)


def _ends(extremes: pd.DataFrame) -> dict[int, Row]:
    """Feature -> pos_str, pos_values, neg_str and neg_values, the most extreme first."""
    shown = {token: _shown(token) for token in extremes["token"].unique()}
    extremes = extremes.sort_values(["feature", "side", "rank"], kind="stable", ignore_index=True)
    features, top = extremes["feature"].to_numpy(), (extremes["side"] == "top").to_numpy()
    texts, weights = [shown[token] for token in extremes["token"]], extremes["weight"].to_numpy()
    starts = np.flatnonzero((np.diff(features, prepend=-1) != 0) | (np.diff(top, prepend=~top[:1]) != 0))
    found: dict[int, Row] = {feature: {} for feature in features.tolist()}
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(features)], strict=True):
        end = "pos" if top[start] else "neg"
        said = {f"{end}_str": texts[start:stop], f"{end}_values": _rounded(weights[start:stop])}
        found[int(features[start])] |= said
    return found


def _shown(token: str) -> str:
    """A token's text; bytes of no whole character become U+FFFD, since JSON in UTF-8 cannot hold them."""
    return token_text.decode(token).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _rounded(values: Float64[np.ndarray, "n"]) -> list[float]:
    return [round(value, DECIMALS) for value in values.tolist()]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _records(source: Source, title: str, release: str) -> Mapping[str, Row]:
    """The four rows that say what the source is, by file."""
    owner = {"creatorId": CREATOR}
    made = {"creatorName": "fsrl"}
    of_model = {"modelId": source.model_id, "visibility": "PUBLIC"} | owner
    return {
        "release": {"name": release, "description": title, "visibility": "PUBLIC"} | owner | made,
        "model": {
            "id": source.model_id,
            "instruct": False,
            "displayName": source.model_id,
            "displayNameShort": source.model_id,
            "visibility": "PUBLIC",
        }
        | owner,
        "sourceset": of_model
        | made
        | {"name": source.set_name, "releaseName": release, "description": title, "hasDashboards": True},
        "source": of_model | {"id": source.name, "setName": source.set_name, "hasDashboards": True},
    }


def _write_batches(folder: Path, rows: Iterable[Row]) -> None:
    """BATCH rows a file, as gzipped JSON lines; the stamp that gzip keeps is zero."""
    folder.mkdir(parents=True)
    batch: list[bytes] = []
    written = 0
    for row in rows:
        batch.append(_line(row))
        if len(batch) == BATCH:
            _write_batch(folder, written, batch)
            batch, written = [], written + 1
    if batch:
        _write_batch(folder, written, batch)


def _write_batch(folder: Path, number: int, lines: list[bytes]) -> None:
    (folder / f"batch-{number}.jsonl.gz").write_bytes(gzip.compress(b"".join(lines), mtime=0))


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
