"""What the features of one SAE are said to be: Neuronpedia's explanations, or ones made here."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fsrl.analyzer.sets import FALSE_DISCOVERY_RATE
from fsrl.analyzer.settings import ViewSettings
from fsrl.analyzer.tables import FeatureTables
from fsrl.errors import FsrlError
from fsrl.explanations.local import from_enrichment
from fsrl.models import releases
from fsrl.neuronpedia import api as neuronpedia
from fsrl.neuronpedia import cache as neuronpedia_cache
from fsrl.neuronpedia import links as neuronpedia_links
from fsrl.neuronpedia.links import checked
from fsrl.neuronpedia.rows import Coverage, MissingExplanation, Row, key_of

logger = logging.getLogger(__name__)


class FeatureInfo(Mapping[int, Row]):
    """Feature -> its explanation, a dictionary in Neuronpedia's column names; not every feature has one.

    A feature that is explained several times gives its first record here, `every` gives all of them. origin:
    where the explanations are from, in words; n_features: how many the SAE has.
    """

    def __init__(self, records: Mapping[int, tuple[Row, ...]], n_features: int, origin: str) -> None:
        self._records, self.n_features, self.origin = dict(records), n_features, origin

    def __getitem__(self, feature: int) -> Row:
        return self.every(feature)[0]

    def __iter__(self) -> Iterator[int]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<FeatureInfo: {self.coverage}, {self.origin}>"

    def every(self, feature: int) -> tuple[Row, ...]:
        """All records of a feature; MissingExplanation (a KeyError) where it has none."""
        index = key_of(feature, self.n_features)
        if index not in self._records:
            raise MissingExplanation(
                f"feature {index} has no explanation ({self.coverage} do; {self.origin})"
            )
        return self._records[index]

    @property
    def coverage(self) -> Coverage:
        """How many features have an explanation, of how many."""
        return Coverage(len(self), self.n_features)

    @property
    def missing(self) -> list[int]:
        """The features without an explanation."""
        return [feature for feature in range(self.n_features) if feature not in self._records]


class Explanations:
    """Where a feature analyzer has its explanations from: Neuronpedia's export, or its tables in any view.

    hosted: model and source at Neuronpedia; None: they are made here. What was asked for once is kept.
    """

    def __init__(
        self,
        hosted: tuple[str, str] | None,
        tables: FeatureTables,
        *,
        cache: str | Path | None,
        progress: bool,
    ) -> None:
        self._hosted, self._tables, self._cache, self._progress = hosted, tables, cache, progress
        self._kept: dict[ViewSettings | None, FeatureInfo] = {}

    def of(self, settings: ViewSettings) -> FeatureInfo:
        """Of every feature; those made here speak of what this view shows. Raises as `from_neuronpedia`."""
        key = settings if self._hosted is None else None
        if key not in self._kept:
            self._kept[key] = self._read(settings)
        return self._kept[key]

    def said(self, feature: int, settings: ViewSettings) -> tuple[list[Row], list[str]]:
        """A feature's explanations for a local page, for which nobody is asked, and what to note of them."""
        hosted = self._hosted
        if hosted and not self._kept and not neuronpedia_cache.holds(*hosted, "explanations", self._cache):
            return [], ["Neuronpedia's explanations are not on this machine: feature_info fetches them."]
        info = self.of(settings)
        if feature in info:
            return list(info.every(feature)), []
        return [], [f"This feature has no explanation; {info.coverage} have one."]

    def _read(self, settings: ViewSettings) -> FeatureInfo:
        if self._hosted is None:
            return made_here(self._tables, settings)
        n_features = self._tables.n_features
        return from_neuronpedia(self._hosted, n_features, cache=self._cache, progress=self._progress)


def place_at_neuronpedia(adapter: Any, given: str | bool | None) -> tuple[str, str] | None:
    """Model and source under which Neuronpedia has an SAE; None where it has not.

    given: "gpt2-small/7-res-jb", False for nowhere, or None: what the SAE's configuration says
    (neuronpedia_id), else what SAELens' directory says of its release. Raises FsrlError for no such name.
    """
    if given is False:
        return None
    if given is not None:
        model_id, _, source = str(given).partition("/")
        return checked(model_id, source)
    found = neuronpedia_links.source_id(adapter.cfg.metadata)
    release, sae_id = adapter.place, adapter.identity.sae_id
    if found is None and sae_id is not None and releases.is_listed(release):
        return neuronpedia_links.source_id(sae_id, release)
    return found


def from_neuronpedia(
    place: tuple[str, str], n_features: int, *, cache: str | Path | None, progress: bool
) -> FeatureInfo:
    """All explanations of a source, fetched once and then read from disk; FsrlError says what else to do."""
    try:
        found = neuronpedia.explanations(*place, cache=cache, n_features=n_features, progress=progress)
    except FsrlError as error:
        raise FsrlError(
            f'{error} (or use SAEfeatureAnalyzer(..., explanations="local"), which makes them here)'
        ) from error
    written = f", exported {found.exported}" if found.exported else ""
    return FeatureInfo(found, n_features, f"from Neuronpedia, {'/'.join(place)}{written}")


def made_here(tables: FeatureTables, settings: ViewSettings) -> FeatureInfo:
    """An explanation of every feature, from the token sets that it promotes and suppresses."""
    found, n_features = tables.enrichment(settings), len(tables.weights.decoder.W_dec)
    records = from_enrichment(
        found.best,
        tables.extremes(settings, list(range(n_features))),
        t=(found.sets, found.t),
        level=FALSE_DISCOVERY_RATE,
    )
    origin = f"made here from enrichment with token sets ({settings}), not by a person or a language model"
    return FeatureInfo({feature: (record,) for feature, record in records.items()}, n_features, origin)
