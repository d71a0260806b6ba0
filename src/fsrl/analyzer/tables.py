"""The tables behind a feature analyzer, computed when first asked for and kept: moments, nulls, types, sets.

They are those of the workflow (`fsrl.tables`), made by the same functions, for one SAE. Two things differ,
since a notebook has one layer and little time: there are fewer null directions, of the kinds that need no
text; and the false discovery rate of the enrichment is that of this SAE alone, not of all layers of a study.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from fsrl import arguments
from fsrl.adapter.hooked_model import HookedModel
from fsrl.analyzer import weights
from fsrl.analyzer.kept import Kept
from fsrl.analyzer.weights import AnalyzedWeights
from fsrl.enrichment import best_sets as enrichment_pvalues
from fsrl.enrichment import statistics as enrichment
from fsrl.enrichment.statistics import SetStatistics
from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.moments import frames as moment_frames
from fsrl.moments.features import LogitMoments
from fsrl.moments.products import PRECISIONS
from fsrl.names import OF_WEIGHTS
from fsrl.nulls import frames as nulls
from fsrl.nulls.quantiles import of_draws
from fsrl.nulls.typical import typical as typical_of
from fsrl.pages.facts import SIDES, FeatureRows
from fsrl.stats import rates
from fsrl.tokens import sets as token_sets
from fsrl.types import classify
from fsrl.types.rules import parse_scheme
from fsrl.weights.files import content_hash
from fsrl.weights.matrices import Unembedding, View
from fsrl.weights.matrices import view as view_of
from fsrl.weights.transport import SAME_POSITION, carried

logger = logging.getLogger(__name__)

# As types.schemes.calibrated of config/config.yaml.
SCHEME = "calibrated"
RULES = parse_scheme(SCHEME, {"level": 0.05, "tail_tokens": 20, "share": 0.25})
# Drawn once in a process: isotropic ones for all layers of a model, each layer's own for all its analyzers. A
# million rows are 60 MB.
NULLS = Kept(rows=1_000_000)
FALSE_DISCOVERY_RATE = 0.05  # as enrichment.level there
CHOICES: dict[str, tuple[str | bool | None, ...]] = {
    "w_u": ("folded", "raw"),
    "tokens": ("all", "trained"),
    "cosine": (False, True),
    "transport": (None, SAME_POSITION),
}


@dataclass(frozen=True)
class ViewSettings:
    """What of the weights is looked at: the settings of `fsrl.weights.view`, and transport
    (`fsrl.weights.transport`).
    """

    w_u: str = "folded"
    tokens: str = "all"
    cosine: bool = False
    transport: str | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            arguments.require(
                value in choices, "view", name, value, f"choose {' or '.join(map(str, choices))}"
            )

    def but(self, changes: Mapping[str, Any]) -> "ViewSettings":
        """With other settings; FsrlError, naming it, for one that there is not."""
        arguments.known_names("view", changes, [field.name for field in fields(self)])
        return replace(self, **changes)

    def __str__(self) -> str:
        more = [", cosines"] * self.cosine + [", transported"] * (self.transport is not None)
        return f"{self.w_u} W_U, {self.tokens} tokens{''.join(more)}"


@dataclass(frozen=True)
class TableSettings:
    """precision, device, progress: of `fsrl.moments.logit_moments`; null_draws: directions of each kind;
    seed: theirs; token_sets: of the caller's, as `fsrl.tokens.sets.token_sets` takes them.
    """

    precision: str = "fp32"
    null_draws: int = 10_000
    seed: int = 0
    token_sets: Mapping[str, Mapping[str, Any]] | None = None
    device: str = "cpu"
    progress: bool = False

    def __post_init__(self) -> None:
        def require(met: bool, name: str, wanted: str) -> None:
            arguments.require(met, "SAEfeatureAnalyzer", name, getattr(self, name), wanted)

        known = ", ".join(PRECISIONS)
        require(self.precision in PRECISIONS, "precision", f"choose one of {known}")
        require(arguments.is_whole(self.null_draws, 1), "null_draws", "give a whole number above 0")
        require(arguments.is_whole(self.seed), "seed", "give a whole number from 0 on")
        named = self.token_sets is None or _are_named(self.token_sets)
        require(named, "token_sets", "give sets by name, {name: {'regex': ...} or {'words': [...]}}")

    @classmethod
    def of(cls, given: Mapping[str, Any], device: torch.device, *, progress: bool = False) -> "TableSettings":
        """For a model on this device; FsrlError, naming it, for a setting that there is not."""
        known = [field.name for field in fields(cls) if field.name not in ("device", "progress")]
        arguments.known_names("SAEfeatureAnalyzer", given, known)
        # Only these two have the float64 that sums are taken in.
        where = str(device) if device.type in ("cpu", "cuda") else "cpu"
        return cls(**given, device=where, progress=progress)


def _are_named(sets: Any) -> bool:
    named = isinstance(sets, Mapping) and all(isinstance(name, str) for name in sets)
    return named and all(isinstance(settings, Mapping) for settings in sets.values())


@dataclass(frozen=True, eq=False)
class Enrichment:
    """Statistics of every feature and tested set: sets: their names; best: the table `best_sets`, less its
    clusters.
    """

    sets: list[str]
    statistics: SetStatistics
    log10_q: Float32[Tensor, "features n_sets"]
    best: pd.DataFrame

    def of_feature(self, feature: int) -> pd.DataFrame:
        """The sets of `fsrl.pages.facts.FeatureRows`, in the order of `sets`."""
        found = self.statistics
        columns = {"z": found.z, "t": found.t, "log10_p": found.log10_p, "log10_q": self.log10_q}
        own = {name: values[feature].numpy() for name, values in columns.items()}
        sides = np.select([sign * own["t"] > 0 for sign in SIDES.values()], list(SIDES), default="neither")
        significant = _called(self.log10_q[feature]).numpy()
        return pd.DataFrame({"set": self.sets, "side": sides, **own, "significant": significant})


class FeatureTables:
    """Tables of one SAE in any view. Nothing is computed before it is asked for, and nothing twice."""

    def __init__(self, sae_model: HookedModel, settings: TableSettings, given: Mapping[str, Any]) -> None:
        self.sae_model, self.settings, self._given = sae_model, settings, dict(given)
        self._kept: dict[tuple[str, ViewSettings], Any] = {}

    @property
    def n_features(self) -> int:
        """Features of the SAE."""
        return int(self.sae_model.sae_adapter.cfg.d_sae)

    @cached_property
    def weights(self) -> AnalyzedWeights:
        """Both matrices; which tokens are undertrained may still be unknown."""
        return weights.read(self.sae_model, **self._given)

    def view(self, settings: ViewSettings) -> View:
        """Both matrices as a view sees them; FsrlError where W_U or its tokens are not known so far."""
        if settings.tokens == "trained":
            self.weights = weights.with_trained(self.weights)
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
        """The table `null`: isotropic directions, then the layer's own kinds that need no text."""
        return self._once("null", settings, self._null)

    def frame(self, settings: ViewSettings) -> pd.DataFrame:
        """The table `moments`, its tails against the isotropic null."""
        return self._once("frame", settings, self._frame)

    def types(self, settings: ViewSettings) -> pd.DataFrame:
        """The table `types` of the calibrated scheme; row i is feature i."""
        return self._once("types", settings, self._types)

    def enrichment(self, settings: ViewSettings) -> Enrichment:
        """Of every feature in every token set that is large enough to test."""
        return self._once("enrichment", settings, self._enrichment)

    def distribution(self, settings: ViewSettings) -> pd.DataFrame:
        """The table `moments` without what needs nulls, a row a feature (the index)."""
        frame = moment_frames.measured_frame(self.moments(settings), self.weights.decoder)
        return frame.set_index("feature")

    def extremes(self, settings: ViewSettings, features: list[int]) -> pd.DataFrame:
        """The table `extremes` of some features, in the given order."""
        chosen = self.moments(settings).of(features)
        token_ids = self._once("token_ids", settings, lambda of: self.view(of).token_ids)
        frame = moment_frames.extremes_frame(chosen, self.weights.unembedding.tokens, token_ids)
        return frame.assign(feature=np.asarray(features, dtype=np.int32)[frame["feature"]])

    def rows_of(self, settings: ViewSettings, feature: int) -> FeatureRows:
        """What all tables, computed where they are not yet, hold of one feature."""
        moments = self.moments(settings)
        return FeatureRows(
            moments=self.frame(settings).iloc[feature],
            type_name=self.types(settings)["type"].iloc[feature],
            scheme=SCHEME,
            histogram={
                name: getattr(moments, name)[feature].numpy() for name in ("counts", "underflow", "overflow")
            },
            extremes=self.extremes(settings, [feature]),
            sets=self.enrichment(settings).of_feature(feature),
            notes=self._notes(settings),
            mean_is_relative=self._mean_is_relative(settings),
        )

    def _mean_is_relative(self, settings: ViewSettings) -> bool:
        return self.weights.vocabulary_centred and not settings.cosine

    def _notes(self, settings: ViewSettings) -> list[str]:
        """What a reader of any feature's numbers has to know of how they were made."""
        null, found = self.null(settings), []
        draws = int(null["kind"].value_counts().min())
        kinds = ", ".join(str(kind).replace("_", " ") for kind in null["kind"].unique())
        found.append(
            f"The type is that of the scheme {SCHEME}, beside {draws:,} null directions of each kind "
            f"({kinds})."
        )
        if settings.transport is not None:
            said = self._once("carried", replace(settings, cosine=False), self._carried).metadata
            found.append(
                "The logit weights are those of what the model's later blocks and final norm make of the "
                f"direction at its own position, on average over {said.get('transport_sites', 'some')} "
                "positions of a text; at a single one the model does something else."
            )
        if self._mean_is_relative(settings):
            found.append(
                "The model's W_U is centred over the vocabulary: the mean is relative to that over all "
                "tokens, which is not known."
            )
        found.append("The false discovery rate (q) of the token sets is that of this SAE alone.")
        return found

    def _once(self, name: str, settings: ViewSettings, make: Any) -> Any:
        if (name, settings) not in self._kept:
            self._kept[name, settings] = make(settings)
        return self._kept[name, settings]

    def _carried(self, settings: ViewSettings) -> Unembedding:
        """W_U as directions of the SAE's hook reach it; FsrlError where no matrices were given."""
        if self.weights.transport is None:
            raise FsrlError(
                "analyzer: a view with transport needs the matrices that the workflow measures; give "
                "transport_matrices=results/STUDY/transport.safetensors"
            )
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

    def _null(self, settings: ViewSettings) -> pd.DataFrame:
        view, chosen = self.view(settings), self.settings
        draws: dict[str, Any] = {"draws": chosen.null_draws, "seed": chosen.seed}
        of_W_U = (content_hash({"W_U": view.W_U}), *draws.values())
        draws["progress"] = chosen.progress
        logger.info("%d null directions of each of %d kinds", chosen.null_draws, 1 + len(OF_WEIGHTS))
        shared = NULLS.get(of_W_U, lambda: nulls.isotropic(view.W_U, **draws))
        typical = typical_of(shared)
        own = NULLS.get(
            (*of_W_U, content_hash({"W_dec": view.W_dec})),
            lambda: nulls.of_layer(view.W_dec, view.W_U, kinds=OF_WEIGHTS, typical=typical, **draws),
        )
        return pd.concat([shared, own], ignore_index=True)

    def _frame(self, settings: ViewSettings) -> pd.DataFrame:
        typical = typical_of(self.null(settings))
        return moment_frames.moments_frame(self.moments(settings), self.weights.decoder, typical)

    def _types(self, settings: ViewSettings) -> pd.DataFrame:
        found = classify.typing_of(RULES, self.frame(settings), of_draws(self.null(settings)))
        return classify.types(found)

    def _enrichment(self, settings: ViewSettings) -> Enrichment:
        view, own = self.view(settings), self.weights.unembedding
        counts = None if own.counts is None else own.counts.numpy()
        special = None if own.special is None else own.special.numpy()
        sets = token_sets.token_sets(
            own.tokens, counts=counts, special=special, extra=self.settings.token_sets
        )
        members = torch.from_numpy(sets.to_numpy()[view.token_ids.numpy()].T.copy())
        tested = enrichment.testable(members)
        strata = None if own.counts is None else enrichment.frequency_strata(own.counts[view.token_ids])
        found = enrichment.set_statistics(view.W_dec, view.W_U, members[tested], strata=strata)
        names = sets.columns[tested.numpy()].tolist()
        log10_q = torch.from_numpy(rates.benjamini_hochberg(found.log10_p.numpy())).float()
        return Enrichment(names, found, log10_q, _best_sets(names, found, log10_q))


def _called(log10_q: Float32[Tensor, "*features n_sets"]) -> Bool[Tensor, "*features n_sets"]:
    """Which tests are significant; False for NaN."""
    return log10_q <= np.log10(FALSE_DISCOVERY_RATE)


def _best_sets(
    names: list[str], found: SetStatistics, log10_q: Float32[Tensor, "features n_sets"]
) -> pd.DataFrame:
    called = _called(log10_q)
    promoted, suppressed = ((called & side).sum(dim=1).numpy() for side in (found.t > 0, found.t < 0))
    best = enrichment_pvalues.best_sets_frame(
        enrichment_pvalues.best_sets(found.t, found.log10_p, log10_q),
        names,
        eta2=found.eta2.numpy(),
        clusters=np.zeros(len(log10_q)),  # not looked for: comparing all pairs of rows takes long
        counts=(promoted, suppressed),
    )
    return best.drop(columns="cluster")
