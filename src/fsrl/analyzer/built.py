"""What the workflow has built for the very weights that an analyzer looks at: its types, nulls and sets.

A feature has one type under one scheme and view, so where the workflow has typed an SAE, its tables answer.
They count only where they are of these weights: W_U in results/models/{model} and the decoder's rows in
results/{study}/{sae} must be the analyzer's own, but for rounding (TransformerLens may have processed the
model: W_U is compared less its mean over the vocabulary, which no shape depends on), and the tables must
carry the hashes of these two files. All else is no table of this SAE, and what does not fit is said in one
line.
"""

import glob
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from fsrl import defaults
from fsrl.enrichment import store
from fsrl.errors import FsrlError
from fsrl.names import BOUNDING
from fsrl.nulls.joined import joined
from fsrl.pages.sets import ListedSets
from fsrl.tables import core as tables
from fsrl.tables.core import Table
from fsrl.tables.directions import NULL_SHAPES
from fsrl.tables.enrichment import BEST_SETS, SCORES
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS, NULL
from fsrl.tables.steering import STEERING
from fsrl.tables.types import TYPES
from fsrl.weights import files as weight_files
from fsrl.weights import matrices as weights
from fsrl.weights import transport as weights_transport
from fsrl.weights.matrices import W_DEC_HASH, W_U_HASH, Decoder, Unembedding
from fsrl.weights.transport import Transport

logger = logging.getLogger(__name__)

MODELS, UNEMBEDDING, DECODER = "models", "unembedding.safetensors", "decoder.safetensors"
TRANSPORT = "transport.safetensors"
# Of a matrix' standard deviation: float32's rounding in folding and centring is a tenth of it.
ROUNDING = 1e-5
AGAIN = "what is shown is computed here; build the study again"
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class BuiltView:
    """The tables of one SAE in one view. types: of the scheme calibrated, row i is feature i; null: of the
    bounding kinds; folder: where the types lie.
    """

    folder: Path
    types: pd.DataFrame
    null: pd.DataFrame


@dataclass(frozen=True, eq=False)
class BuiltSets:
    """Tables `enrichment` and `best_sets` of one SAE in one view, whose false discovery rate is one over all
    layers of the study. sets: those tested; statistics: z, t and log10_p; best: row i is feature i; scores:
    the table of that name, where there is one.
    """

    sets: list[str]
    statistics: Mapping[str, Float32[np.ndarray, "features n_sets"]]
    best: pd.DataFrame
    scores: pd.DataFrame | None = None

    @property
    def t(self) -> Float32[np.ndarray, "features n_sets"]:
        """Alignment with each set."""
        return self.statistics["t"]

    @cached_property
    def of_feature(self) -> ListedSets:
        """Feature -> the sets of `fsrl.pages.facts.FeatureRows`, as the tables have them."""
        return ListedSets(self.sets, self.statistics, self.best, self.scores)


class WeightRows(NamedTuple):
    """Of one feature its rows in the tables `moments` and `histograms`, and those in `extremes`."""

    moments: pd.Series
    histogram: pd.Series | Mapping[str, Any]
    extremes: pd.DataFrame


class BuiltRows(NamedTuple):
    """Tables `moments`, `extremes` and `histograms` of one SAE in one view; of the first and last row i is
    feature i.
    """

    moments: pd.DataFrame
    extremes: pd.DataFrame
    histograms: pd.DataFrame

    def of_feature(self, feature: int) -> WeightRows:
        """What they hold of one feature."""
        extremes = self.extremes[self.extremes["feature"] == feature]
        return WeightRows(self.moments.iloc[feature], self.histograms.iloc[feature], extremes)


@dataclass(frozen=True, eq=False)
class Built:
    """What results hold of the analyzed SAE. folder: of the SAE; model: of its model; and what lies there."""

    folder: Path
    model: Path
    unembedding: Unembedding
    decoder: Decoder

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {
            W_U_HASH: weights.unembedding_hash(self.unembedding),
            W_DEC_HASH: weights.decoder_hash(self.decoder),
        }

    def view(self, settings: Mapping[str, Any]) -> BuiltView | None:
        """The tables of a view, by its settings; None where it is not built, or not from these weights (with
        a warning).
        """
        for path in sorted(self.folder.glob("*/types.parquet")):
            try:
                metadata = tables.read_metadata(path)
                if _view(metadata) == settings:
                    return self._read(path.parent, metadata)
            except FsrlError as error:
                logger.warning("%s; %s", error, AGAIN)
        return None

    def sets(self, view: BuiltView) -> BuiltSets | None:
        """The token sets of a view's features; None where they are not built, or not from these weights (with
        a warning).
        """
        return _or_none(partial(self._sets, view))

    def _sets(self, view: BuiltView) -> BuiltSets | None:
        enrichment, best = view.folder / "enrichment.parquet", self._table(view, "best_sets", BEST_SETS)
        if best is None or not enrichment.is_file():
            return None
        self._demand(enrichment, tables.read_metadata(enrichment), (W_U_HASH, W_DEC_HASH))
        names = ("z", "t", "log10_p")
        sets, values = store.statistic(enrichment, *names)
        statistics = dict(zip(names, values, strict=True))
        return BuiltSets(sets, statistics, best, self._table(view, "scores", SCORES))

    def rows(self, view: BuiltView) -> BuiltRows | None:
        """What a view's tables say of each feature's logit weights; None as for `sets`."""
        specs = {"moments": MOMENTS, "extremes": EXTREMES, "histograms": HISTOGRAMS}
        read = partial(self._table, view)
        found = _or_none(lambda: [read(name, spec) for name, spec in specs.items()]) or []
        built = [table for table in found if table is not None]
        return BuiltRows(*built) if len(built) == len(specs) else None

    def shapes(self, view: BuiltView) -> pd.DataFrame | None:
        """The table `null_shapes` of a view; None as for `sets`."""
        return _or_none(partial(self._table, view, "null_shapes", NULL_SHAPES))

    def _table(self, view: BuiltView, name: str, table: Table) -> pd.DataFrame | None:
        """A table of a view; None where it is not built, FsrlError where it is not of these weights."""
        path = view.folder / f"{name}.parquet"
        if not path.is_file():
            return None
        self._demand(path, tables.read_metadata(path), (W_U_HASH, W_DEC_HASH))
        return tables.read(path, table)

    def steering(self, settings: Mapping[str, Any]) -> pd.DataFrame | None:
        """The table `steering` in a view, by its settings; None where it is not built, in another view, or
        not from these weights (with a warning).
        """
        return _or_none(partial(self._steering, settings))

    def _steering(self, settings: Mapping[str, Any]) -> pd.DataFrame | None:
        path = self.folder / "steering.parquet"
        if not path.is_file():
            return None
        metadata = tables.read_metadata(path)
        if _view(metadata) != settings:
            return None
        self._demand(path, metadata, (W_U_HASH, W_DEC_HASH))
        return tables.read(path, STEERING)

    def transport(self) -> Transport | None:
        """The study's own matrices; None where it has none (with a warning where they cannot be read)."""
        path = self.folder.parent / TRANSPORT
        if not path.is_file():
            return None
        try:
            return weights_transport.read(path)
        except FsrlError as error:
            logger.warning("%s; views with transport need others", error)
            return None

    def _read(self, folder: Path, metadata: Mapping[str, str]) -> BuiltView:
        self._demand(folder / "types.parquet", metadata, (W_U_HASH, W_DEC_HASH))
        types = tables.read(folder / "types.parquet", TYPES)
        types = types[types["scheme"] == defaults.SCHEME].sort_values("feature", ignore_index=True)
        if types["feature"].tolist() != list(range(len(self.decoder.W_dec))):
            raise FsrlError(
                f"{folder / 'types.parquet'}: not a row a feature of the scheme {defaults.SCHEME}"
            )
        shared, own = self.model / f"nulls/{folder.name}.parquet", folder / "null.parquet"
        parts = []
        for path, names in ((shared, (W_U_HASH,)), (own, (W_U_HASH, W_DEC_HASH))):
            if path is own and not own.is_file():
                continue  # nulls.kinds: [isotropic]
            self._demand(path, tables.read_metadata(path), names)
            parts.append(tables.read(path, NULL))
        null = joined(parts[0], parts[1:])
        return BuiltView(folder, types, null[null["kind"].isin(BOUNDING)].reset_index(drop=True))

    def _demand(self, path: Path, metadata: Mapping[str, str], names: tuple[str, ...]) -> None:
        if _view(metadata) is None or any(metadata.get(name) != self._hashes[name] for name in names):
            raise FsrlError(f"{path}: made from other weights than those beside it")


def _or_none(read: Callable[[], Found]) -> Found | None:
    """What is read; None, with a warning, where that is not of these weights."""
    try:
        return read()
    except FsrlError as error:
        logger.warning("%s; %s", error, AGAIN)
        return None


def place(results: str | Path | bool | None) -> Path | None:
    """The folder to look in, as it is named now, whatever the working directory becomes; None for none.

    results: a folder, None for ./results where there is one, False for none. FsrlError for a folder that is
    not there.
    """
    if results is False:
        return None
    folder = Path("results" if results is None else str(results)).resolve()
    if results is not None and not folder.is_dir():
        raise FsrlError(f"SAEfeatureAnalyzer: results is {str(results)!r}; there is no such folder")
    return folder if folder.is_dir() else None


def find(
    folder: Path | None, unembedding: Unembedding, decoder: Decoder, *, required: bool = False
) -> Built | None:
    """The model and SAE below a folder (of results, or of one study in it) that are of these weights.

    None where there is none; an SAE at the same hook of a model with the same vocabulary that has other
    weights is named in a warning. required: FsrlError in place of None and the warning.
    """
    refused = []
    for model, sae in _candidates(folder, unembedding, decoder):
        try:
            W_U = weights.read_unembedding(model / UNEMBEDDING)
            found = Built(sae, model, W_U, weights.read_decoder(sae / DECODER))
        except FsrlError as error:
            refused.append(str(error))
            continue
        if (reason := _differ(found, unembedding, decoder)) is None:
            return found
        refused.append(f"{'/'.join(sae.parts[-3:])}: {reason}")
    if required:
        reasons = "; ".join(refused) or "no SAE at this hook of a model with this vocabulary"
        raise FsrlError(
            f"SAEfeatureAnalyzer: results in {folder} are not of this SAE ({reasons}); leave results out"
        )
    if refused:
        logger.warning("types are not read from the workflow's tables: %s", "; ".join(refused))
    return None


def _candidates(
    folder: Path | None, unembedding: Unembedding, decoder: Decoder
) -> Iterator[tuple[Path, Path]]:
    """Folders of models and of SAEs at the same hook, judged by the files' headers alone."""
    if folder is None:
        return
    is_root = (folder / MODELS).is_dir()
    root, studies = (folder, "*") if is_root else (folder.parent, glob.escape(folder.name))
    for W_U in sorted(root.glob(f"{MODELS}/*/{UNEMBEDDING}")):
        if tuple(_header(W_U, "unembedding").get("tokens", ())) != unembedding.tokens:
            continue
        for path in sorted(root.glob(f"{studies}/*/{DECODER}")):
            if _header(path, "decoder").get("hook") == decoder.hook:
                yield W_U.parent, path.parent


def _header(path: Path, kind: str) -> dict[str, Any]:
    try:
        return weight_files.header(path, kind)
    except FsrlError as error:
        logger.warning("%s", error)
        return {}


def _differ(found: Built, unembedding: Unembedding, decoder: Decoder) -> str | None:
    """What of a study's weights is not the analyzer's; None where nothing is."""
    if not _same(found.decoder.W_dec, decoder.W_dec):
        return "its decoder's rows are not this SAE's"
    owned = unembedding.owned
    both = (found.unembedding, unembedding)
    if not _same_or_none(*(one.owned for one in both)) or not _same(
        *(_centred(one.folded, owned) for one in both)
    ):
        return "its W_U is not this model's"
    marks = [one.trained for one in both]
    if marks[1] is not None and (marks[0] is None or not torch.equal(marks[0], marks[1])):
        return "other tokens count as undertrained there"
    return None


def _same_or_none(one: Bool[Tensor, "n"] | None, other: Bool[Tensor, "n"] | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)


def _same(one: Float32[Tensor, "n m"], other: Float32[Tensor, "p q"]) -> bool:
    if one.shape != other.shape:
        return False
    return bool((one - other).abs().max() <= ROUNDING * one.std())


def _centred(
    matrix: Float32[Tensor, "d_model d_vocab"], owned: Bool[Tensor, "d_vocab"] | None
) -> Float32[Tensor, "d_model n"]:
    matrix = matrix if owned is None else matrix[:, owned]
    return (matrix.double() - matrix.double().mean(dim=1, keepdim=True)).float()


def _view(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        found = json.loads(metadata.get("view", "null"))
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return {key: value for key, value in found.items() if value is not None}
