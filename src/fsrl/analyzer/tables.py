"""The tables behind a feature analyzer, computed when first asked for and kept: moments, nulls, types, sets.

They are those of the workflow (`fsrl.tables`), for one SAE. Types and token sets are read from the workflow's
own tables where they are of these very weights (`fsrl.analyzer.built`); else they are made here, by the same
functions with the same settings (`fsrl.defaults`), which gives the same types. Null directions are drawn only
for what needs them, and kept on disk (`fsrl.nulls.cache`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fsrl import defaults
from fsrl.adapter.hooked_model import HookedModel
from fsrl.analyzer import built, sets, weights
from fsrl.analyzer.built import Built, BuiltRows, BuiltSets, BuiltView, WeightRows
from fsrl.analyzer.kept import Kept
from fsrl.analyzer.sets import Enrichment
from fsrl.analyzer.settings import TableSettings, ViewSettings
from fsrl.analyzer.weights import AnalyzedWeights
from fsrl.browser import beside
from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.moments import frames as moment_frames
from fsrl.moments.features import LogitMoments
from fsrl.names import BOUNDING, SHARED
from fsrl.nulls import cache as null_cache
from fsrl.nulls import frames as nulls
from fsrl.nulls.quantiles import of_draws
from fsrl.nulls.typical import typical as typical_of
from fsrl.pages import record
from fsrl.pages.facts import FeatureRows
from fsrl.types import classify
from fsrl.types.rules import parse_scheme
from fsrl.weights.files import content_hash
from fsrl.weights.matrices import Unembedding, View
from fsrl.weights.matrices import view as view_of
from fsrl.weights.transport import LENS, carried, check_kind

logger = logging.getLogger(__name__)

SCHEME = defaults.SCHEME
RULES = parse_scheme(SCHEME, defaults.SCHEME_SETTINGS)
OWN_KINDS = tuple(kind for kind in BOUNDING if kind != SHARED)
# Drawn once in a process: isotropic ones for all layers of a model, each layer's own for all its analyzers. A
# million rows are 60 MB.
NULLS = Kept(rows=1_000_000)
# Isotropic directions in a plot of an SAE that the workflow has not typed: a few, since types need more and a
# plot shall not. They are the first of those that types are judged by.
PLOTTED_DRAWS = 5_000


class FeatureTables:
    """Tables of one SAE in any view. Nothing is computed before it is asked for, and nothing twice.

    results: where the workflow's tables may be, as `SAEfeatureAnalyzer` takes it.
    """

    def __init__(
        self,
        sae_model: HookedModel,
        settings: TableSettings,
        given: Mapping[str, Any],
        results: str | Path | bool | None = None,
    ) -> None:
        self.sae_model, self.settings, self._given = sae_model, settings, dict(given)
        self._results, self._required = built.place(results), results not in (None, False)
        self._kept: dict[tuple[str, ViewSettings], Any] = {}

    @property
    def n_features(self) -> int:
        """Features of the SAE."""
        return int(self.sae_model.sae_adapter.cfg.d_sae)

    @cached_property
    def weights(self) -> AnalyzedWeights:
        """Both matrices; which tokens are undertrained may still be unknown.

        Where the workflow has built this SAE, W_U is its own: it holds what a processed model does not. So
        are the matrices of transport, unless others are given.
        """
        own = weights.read(self.sae_model, **self._given)
        self._built: Built | None = built.find(
            self._results, own.unembedding, own.decoder, required=self._required
        )
        if self._built is None:
            return own
        own = own if own.transport is not None else replace(own, transport=self._built.transport())
        if self._given.get("unembedding") is not None:
            return own
        return replace(own, unembedding=self._built.unembedding, has_raw=True, vocabulary_centred=False)

    def tells_trained(self) -> bool:
        """Whether undertrained tokens are known or can be told, as the workflow's own view needs.

        FsrlError as for `weights`.
        """
        _ = self.weights  # whose own errors are no answer
        try:
            self._tell_trained()
        except FsrlError as error:
            logger.warning("all tokens are shown, where the workflow shows trained ones: %s", error)
            return False
        return True

    def _tell_trained(self) -> None:
        self.weights = weights.with_trained(self.weights, self.sae_model.model)

    def built(self, settings: ViewSettings) -> BuiltView | None:
        """The workflow's tables of these weights in this view, where there are any."""
        return self._once("built", settings, self._built_view)

    def steering(self, settings: ViewSettings) -> pd.DataFrame | None:
        """The workflow's table `steering` of these weights in this view, where there is one."""
        _ = self.weights  # looks for the study
        if self._built is None:
            return None
        return self._built.steering(
            {key: value for key, value in asdict(settings).items() if value is not None}
        )

    def view(self, settings: ViewSettings) -> View:
        """Both matrices as a view sees them; FsrlError where W_U or its tokens are not known so far."""
        if settings.tokens == "trained":
            self._tell_trained()
        found = self.weights
        if settings.w_u == "raw" and not found.has_raw:
            raise FsrlError(
                "analyzer: this model's W_U is already folded; for the raw one give an unembedding of the "
                "workflow, or HookedTransformer.from_pretrained_no_processing's model"
            )
        unembedding = found.unembedding
        if settings.transport is not None:
            # Undertrained tokens are told by W_U itself.
            unembedding = self._once("carried", replace(settings, cosine=False), self._carried)
        return view_of(
            found.decoder,
            unembedding,
            w_u=settings.w_u,
            tokens=settings.tokens,
            cosine=settings.cosine,
        )

    def moments(self, settings: ViewSettings) -> LogitMoments:
        """Moments, ten extreme tokens a side and histogram of every feature."""
        return self._once("moments", settings, self._moments)

    def null(self, settings: ViewSettings) -> pd.DataFrame:
        """The table `null` of the kinds that bound the types: the workflow's, or drawn as it does."""
        return self._once("null", settings, self._null)

    def plotted_null(self, settings: ViewSettings) -> pd.DataFrame:
        """The null directions that a plot shows: the workflow's, or a few isotropic ones, drawn soon."""
        return self._once("plotted_null", settings, self._plotted_null)

    def frame(self, settings: ViewSettings) -> pd.DataFrame:
        """The table `moments`, its tails against the isotropic null."""
        return self._once("frame", settings, self._frame)

    def types(self, settings: ViewSettings) -> pd.DataFrame:
        """The table `types` of the calibrated scheme; row i is feature i."""
        return self._once("types", settings, self._types)

    def enrichment(self, settings: ViewSettings) -> Enrichment | BuiltSets:
        """Of every feature in every token set that is large enough to test."""
        return self._once("enrichment", settings, self._enrichment)

    def distribution(self, settings: ViewSettings) -> pd.DataFrame:
        """The table `moments` without what needs nulls, a row a feature (the index)."""
        return self.measured(settings).set_index("feature")

    def measured(self, settings: ViewSettings) -> pd.DataFrame:
        """The same with a column `feature`."""
        return moment_frames.measured_frame(self.moments(settings), self.weights.decoder)

    def extremes(self, settings: ViewSettings, features: list[int]) -> pd.DataFrame:
        """The table `extremes` of some features, in the given order."""
        chosen = self.moments(settings).of(features)
        token_ids = self._once("token_ids", settings, lambda of: self.view(of).token_ids)
        frame = moment_frames.extremes_frame(chosen, self.weights.unembedding.tokens, token_ids)
        return frame.assign(feature=np.asarray(features, dtype=np.int32)[frame["feature"]])

    def rows_of(self, settings: ViewSettings, feature: int) -> FeatureRows:
        """What all tables, computed where they are not yet, hold of one feature."""
        known = self._once("built_rows", settings, self._built_rows)
        of_weights = self._made_rows(settings, feature) if known is None else known.of_feature(feature)
        n_bins = len(of_weights.histogram["counts"])
        ranks = record.ranks(of_weights.moments.to_frame().T, self.null(settings))
        return FeatureRows(
            moments=of_weights.moments,
            type_name=self.types(settings)["type"].iloc[feature],
            scheme=SCHEME,
            histogram=of_weights.histogram,
            extremes=of_weights.extremes,
            sets=self.enrichment(settings).of_feature(feature),
            ranks={name: shares[0] for name, shares in ranks.items()},
            shapes=record.shapes(self._once("shapes", settings, lambda of: self._shapes(of, n_bins))),
            notes=self._notes(settings),
            mean_is_relative=self._mean_is_relative(settings),
        )

    def _made_rows(self, settings: ViewSettings, feature: int) -> WeightRows:
        found, names = self.moments(settings), ("counts", "underflow", "overflow")
        histogram = {name: getattr(found, name)[feature].numpy() for name in names}
        return WeightRows(self.frame(settings).iloc[feature], histogram, self.extremes(settings, [feature]))

    def _mean_is_relative(self, settings: ViewSettings) -> bool:
        return self.weights.vocabulary_centred and not settings.cosine

    def _notes(self, settings: ViewSettings) -> list[str]:
        """What a reader of any feature's numbers has to know of how they were made."""
        found = [f"The type is that of the scheme {SCHEME}, {self._origin(settings)}."]
        if settings.transport is not None:
            said = self._once("carried", replace(settings, cosine=False), self._carried).metadata
            many = said.get("transport_sites", "some")
            where = {
                LENS: f"at all later positions together, as a lens has it of {many} texts",
            }.get(settings.transport, f"at its own position, on average over {many} positions of a text")
            found.append(
                "The logit weights are those of what the model's later blocks and final norm make of the "
                f"direction {where}; at a single one the model does something else."
            )
        if self._mean_is_relative(settings):
            found.append(
                "The model's W_U is centred over the vocabulary: the mean is relative to that over all "
                "tokens, which is not known."
            )
        of_all = isinstance(self.enrichment(settings), BuiltSets)
        rate = "over all layers of the study" if of_all else "that of this SAE alone"
        found.append(f"The false discovery rate (q) of the token sets is {rate}.")
        return found

    def _origin(self, settings: ViewSettings) -> str:
        """Where the types are from, in words."""
        if (found := self.built(settings)) is not None:
            study = found.folder.parent.parent
            where = "/".join((study.parent.name, study.name, found.folder.parent.name, found.folder.name))
            return f"as the workflow's tables in {where} have it"
        null = self.null(settings)["kind"].value_counts()
        kinds = " and ".join(f"{draws:,} {str(kind).replace('_', ' ')}" for kind, draws in null.items())
        which = "the workflow's" if self.settings.as_workflow else "not the workflow's"
        return f"computed here beside {kinds} null directions ({which} numbers and seed)"

    def _once(self, name: str, settings: ViewSettings, make: Any) -> Any:
        if (name, settings) not in self._kept:
            self._kept[name, settings] = make(settings)
        return self._kept[name, settings]

    def _carried(self, settings: ViewSettings) -> Unembedding:
        """W_U as directions of the SAE's hook reach it; FsrlError where there are no matrices."""
        if self.weights.transport is None:
            raise FsrlError(
                "analyzer: a view with transport needs the matrices that the workflow measures, and no study "
                "in results has them for this SAE; give "
                "transport_matrices=results/STUDY/transport.safetensors, or of a lens "
                "results/STUDY/lenses/VIEW.safetensors"
            )
        check_kind(self.weights.transport, "analyzer", asdict(settings))
        return carried(self.weights.unembedding, self.weights.transport, self.weights.decoder.hook)

    def _moments(self, settings: ViewSettings) -> LogitMoments:
        view, chosen = self.view(settings), self.settings
        logger.info("logit weights of %d features, %s, on %s", len(view.W_dec), settings, chosen.device)
        return engine.logit_moments(
            view.W_dec,
            view.W_U,
            precision=chosen.precision,
            device=chosen.device,
            progress=chosen.progress,
        )

    def _built_view(self, settings: ViewSettings) -> BuiltView | None:
        own = self.weights.unembedding.trained  # looks for the study
        # Tables of a view with transport say nothing of its matrices.
        if self._built is None or not self.settings.as_workflow or settings.transport is not None:
            return None
        if settings.tokens == "trained":
            known = self._built.unembedding.trained
            if own is None or known is None or not torch.equal(own, known):
                return None
        return self._built.view({key: value for key, value in asdict(settings).items() if value is not None})

    def _built_rows(self, settings: ViewSettings) -> BuiltRows | None:
        typed = None if self._mean_is_relative(settings) else self.built(settings)
        return None if typed is None or self._built is None else self._built.rows(typed)

    def _null(self, settings: ViewSettings) -> pd.DataFrame:
        if (found := self.built(settings)) is not None:
            return found.null
        view, chosen = self.view(settings), self.settings
        shared = self._isotropic(view, chosen.null_draws)
        made_from = self._made_from(view, chosen.layer_draws)
        made_from |= {"W_dec": content_hash({"W_dec": view.W_dec}), "kinds": " ".join(OWN_KINDS)}
        made_from |= {"isotropic_draws": str(chosen.null_draws)}  # which say what is typical
        own = _kept(
            made_from,
            lambda: nulls.of_layer(
                view.W_dec,
                view.W_U,
                kinds=OWN_KINDS,
                draws=chosen.layer_draws,
                seed=chosen.seed,
                typical=typical_of(shared),
                progress=chosen.progress,
            ),
        )
        return pd.concat([shared, own], ignore_index=True)

    def _plotted_null(self, settings: ViewSettings) -> pd.DataFrame:
        if (found := self.built(settings)) is not None:
            return found.null
        return self._isotropic(self.view(settings), min(PLOTTED_DRAWS, self.settings.null_draws))

    def _isotropic(self, view: View, draws: int) -> pd.DataFrame:
        chosen = self.settings
        return _kept(
            self._made_from(view, draws) | {"kinds": SHARED},
            lambda: nulls.isotropic(view.W_U, draws=draws, seed=chosen.seed, progress=chosen.progress),
        )

    def _made_from(self, view: View, draws: int) -> dict[str, str]:
        return {
            "W_U": content_hash({"W_U": view.W_U}),
            "draws": str(draws),
            "seed": str(self.settings.seed),
        }

    def _shapes(self, settings: ViewSettings, n_bins: int) -> pd.DataFrame:
        """The table `null_shapes`: the workflow's, or counted as it does."""
        typed = self.built(settings)
        if typed is not None and self._built is not None and (found := self._built.shapes(typed)) is not None:
            return found
        return beside.null_shapes(self.view(settings), n_bins=n_bins, seed=self.settings.seed)

    def _frame(self, settings: ViewSettings) -> pd.DataFrame:
        typical = typical_of(self.null(settings))
        return moment_frames.moments_frame(self.moments(settings), self.weights.decoder, typical)

    def _types(self, settings: ViewSettings) -> pd.DataFrame:
        if (found := self.built(settings)) is not None:
            return found.types
        made = classify.typing_of(RULES, self.frame(settings), of_draws(self.null(settings)))
        return classify.types(made)

    def _enrichment(self, settings: ViewSettings) -> Enrichment | BuiltSets:
        typed = None if self.settings.token_sets else self.built(settings)
        if typed is not None and self._built is not None and (found := self._built.sets(typed)) is not None:
            return found
        return sets.enrichment(self.view(settings), self.weights.unembedding, self.settings.token_sets)


def _kept(made_from: dict[str, str], make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table of null directions: of this process, else of the user's cache, else made."""

    def made() -> pd.DataFrame:
        logger.info("%s null directions (%s)", made_from["draws"], made_from["kinds"])
        return make()

    return NULLS.get(tuple(sorted(made_from.items())), lambda: null_cache.null(made_from, made))
