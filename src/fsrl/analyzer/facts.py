"""What a feature analyzer's own page says of one feature, gathered from its tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from fsrl.adapter.hooked_model import HookedModel
from fsrl.analyzer import weights as analyzer_weights
from fsrl.analyzer.tables import SCHEME, FeatureTables, ViewSettings
from fsrl.effects import sample as effect_sample
from fsrl.errors import FsrlError
from fsrl.models import examples
from fsrl.moments import frames as moment_frames
from fsrl.pages import page as dashboard
from fsrl.pages.page import FeatureFacts
from fsrl.tokens.text import legible

# Of the evaluation text: windows of this many tokens, as in config/config.yaml, and this many of them, spread
# over it. One feature's examples take a forward pass over all.
CONTEXT, CONTEXTS = 128, 128
EXAMPLES = 8
TOKENS_NAMED = 5
ROUNDING = 1e-5  # a mean of this share of the std is 0


def of_feature(
    tables: FeatureTables,
    settings: ViewSettings,
    feature: int,
    *,
    study: str,
    explanations: Iterable[dict[str, Any]],
    examples: Iterable[dict[str, Any]],
    examples_from: str | None,
    notes: Iterable[str],
) -> FeatureFacts:
    """Moments, type, histogram, extreme tokens and sets of one feature, with what is given."""
    moments, enrichment = tables.moments(settings), tables.enrichment(settings)
    histogram = replace(
        moments,
        **{name: getattr(moments, name)[[feature]] for name in ("counts", "underflow", "overflow")},
    )
    facts = dashboard.from_tables(
        study=study,
        hook=tables.sae_model.hook_name,
        feature=feature,
        moments=tables.frame(settings),
        extremes=tables.extremes(settings, [feature]),
        histograms=moment_frames.histogram_frame(histogram).assign(feature=np.int32(feature)),
        types=tables.types(settings),
        scheme=SCHEME,
        best_sets=enrichment.best,
        enrichment=enrichment.of_feature(feature),
        explanations=explanations,
        examples=examples,
        examples_from=examples_from,
        view=str(settings),
        unit="cosine" if settings.cosine else FeatureFacts.unit,
        notes=[*notes, *standing_notes(tables, settings)],
    )
    mean, std = facts.moments["mean"], facts.moments["std"]
    if _is_relative(tables, settings) and mean is not None and abs(mean) <= ROUNDING * (std or 0.0):
        facts.moments["mean"] = 0.0
    for record in facts.sets:  # the tables hold q of a side's best set alone
        record["q"] = 10.0 ** float(enrichment.log10_q[feature, enrichment.sets.index(record["set"])])
    return facts


def standing_notes(tables: FeatureTables, settings: ViewSettings) -> list[str]:
    """What a reader of any feature's numbers has to know of how they were made."""
    null, found = tables.null(settings), []
    draws = int(null["kind"].value_counts().min())
    kinds = ", ".join(str(kind).replace("_", " ") for kind in null["kind"].unique())
    found.append(
        f"The type is that of the scheme {SCHEME}, beside {draws:,} null directions of each kind ({kinds}). "
        "The workflow's tables also ask for more than directions like the layer's activations give, and so "
        "leave more features without a type."
    )
    if _is_relative(tables, settings):
        found.append(
            "The model's W_U is centred over the vocabulary: the mean is relative to that over all tokens, "
            "which is not known."
        )
    found.append("The false discovery rate (q) of the token sets is that of this SAE alone.")
    return found


def _is_relative(tables: FeatureTables, settings: ViewSettings) -> bool:
    return tables.weights.vocabulary_centred and not settings.cosine


class TextExamples:
    """Contexts of an evaluation text that activate a feature most, with the plain model (no steering).

    path: the text's file; None: the one in the study's folder, if there is one. Read when first asked for.
    """

    def __init__(self, sae_model: HookedModel, path: str | Path | None) -> None:
        self.sae_model = sae_model
        self.path = path or analyzer_weights.beside_model(sae_model.model, analyzer_weights.TEXT)
        self._found: dict[int, list[dict[str, Any]]] = {}

    @property
    def source(self) -> str | None:
        """What names the text on a page."""
        return None if self.path is None else f"{Path(self.path).name}, {len(self.windows)} contexts"

    @property
    def notes(self) -> list[str]:
        """Why there are no examples, where there is no text."""
        return [] if self.path is not None else ["No evaluation text is at hand: give text= a file of some."]

    @cached_property
    def windows(self) -> Tensor:
        """Windows int64 [n, positions], spread over the text; FsrlError where the file is missing."""
        assert self.path is not None
        if not Path(self.path).is_file():
            raise FsrlError(f"evaluation text: {self.path} is missing; give text= another file")
        model = self.sae_model.model
        context, text = min(CONTEXT, int(model.cfg.n_ctx)), Path(self.path).read_text(encoding="utf-8")
        return effect_sample.windows(model.tokenizer, text, context=context, contexts=CONTEXTS)

    def of_feature(self, feature: int, vocabulary: Sequence[str]) -> list[dict[str, Any]]:
        """Records as a page shows them, strongest first; none where no text is at hand."""
        if self.path is None:
            return []
        if feature not in self._found:
            adapter, hook = self.sae_model.sae_adapter, self.sae_model.hook_name
            found = examples.top_activating(
                self.sae_model.model, adapter.sae, hook, self.windows, [feature], k=EXAMPLES
            )
            self._found[feature] = [example.record(vocabulary) for example in found[feature]]
        return self._found[feature]


def described(
    ranked: pd.DataFrame, info: Mapping[int, dict[str, Any]], tables: FeatureTables, settings: ViewSettings
) -> pd.DataFrame:
    """A ranking of steered features with what is known of them; info: explanation by feature."""
    features = ranked["feature"].tolist()
    moments = tables.distribution(settings).loc[features]
    types = tables.types(settings).set_index("feature").loc[features, "type"]
    frame = ranked.assign(description=descriptions(features, info), type=types.to_numpy())
    for name in ("std", "skewness", "kurtosis", "norm", "log10_density"):
        frame[name] = moments[name].to_numpy()
    extremes = tables.extremes(settings, features)
    extremes = extremes.assign(token=[legible(token) for token in extremes["token"]])
    for side in ("top", "bottom"):
        mine = extremes[(extremes["side"] == side) & (extremes["rank"] < TOKENS_NAMED)]
        named = mine.groupby("feature")["token"].agg(" ".join)
        frame[f"{side}_tokens"] = named.reindex(features).to_numpy()
    return frame


def descriptions(features: Iterable[int], info: Mapping[int, dict[str, Any]]) -> pd.Series:
    """Text of each feature's explanation; null where it has none."""
    known = [info[feature]["description"] if feature in info else None for feature in features]
    return pd.Series(known, dtype="str")
