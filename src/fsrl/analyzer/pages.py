"""What a notebook shows of a feature: Neuronpedia's dashboard in a frame, or a page made here; and links."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fsrl import arguments, files, plain
from fsrl.adapter.hooked_model import HookedModel
from fsrl.analyzer import weights
from fsrl.analyzer.explanations import Explanations
from fsrl.analyzer.settings import ViewSettings
from fsrl.analyzer.tables import FeatureTables
from fsrl.errors import FsrlError
from fsrl.models import examples, windows
from fsrl.models.narrow import narrowed
from fsrl.neuronpedia import api as neuronpedia
from fsrl.neuronpedia import links as neuronpedia_links
from fsrl.pages.facts import FeatureFacts, from_rows
from fsrl.tokens.text import legible

ENDINGS = (".html", ".htm")
UNTESTED = "test_text is for Neuronpedia's page, since one made here runs no model"


@dataclass(frozen=True, repr=False)
class LocalPage:
    """A self-contained HTML page of one feature; a notebook shows it in a frame of its own.

    In the frame the page runs the one script that draws it and reaches nothing of the notebook. why: why it
    is shown in place of Neuronpedia's.
    """

    html: str
    why: str
    width: str
    height: int

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" width="{escape(str(self.width))}" '
            f'height="{int(self.height)}" frameborder="0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<LocalPage: {len(self.html)} characters; {self.why}>"

    def save(self, path: str | Path) -> Path:
        """Write the page as an HTML file, whole or not at all; FsrlError for another ending than .html."""
        arguments.ending(path, "feature page", ENDINGS)
        path = Path(path)
        with files.atomic_write(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8", newline="\n")
        return path


def check(*, live: Any, save_path: Any, width: Any, height: Any, hide: Any, test_text: Any) -> None:
    """Raise FsrlError for an argument of `SAEfeatureAnalyzer.get_feature_page` that means nothing."""

    def require(met: bool, name: str, value: object, wanted: str) -> None:
        arguments.require(met, "feature page", name, value, wanted)

    require(live is None or isinstance(live, bool), "live", live, "choose True, False or None")
    wide = isinstance(width, str) or arguments.is_whole(width, 1)
    require(wide, "width", width, 'give a number of pixels, or a share such as "100%"')
    require(arguments.is_whole(height, 1), "height", height, "give a number of pixels")
    require(test_text is None or arguments.is_text(test_text), "test_text", test_text, "give a text")
    neuronpedia_links.check_parts(hide)
    if save_path is not None:
        arguments.ending(save_path, "feature page", ENDINGS)
    if live and save_path is not None:
        raise FsrlError("feature page: the live page is Neuronpedia's; to save one, leave live out")


class Link(str):
    """An address that a notebook shows as a link; anywhere else it is the text of the address."""

    text: str

    def __new__(cls, url: str, text: str) -> "Link":
        """url: http or https; text: what the link says."""
        link = super().__new__(cls, url)
        link.text = text
        return link

    def _repr_html_(self) -> str:
        return f'<a href="{escape(self)}" target="_blank" rel="noopener noreferrer">{escape(self.text)}</a>'


def live_frame(url: str, *, width: str, height: int) -> Any:
    """An IPython IFrame of an address."""
    from IPython.display import IFrame

    return IFrame(url, width, height)


def why_local(
    place: tuple[str, str] | None, feature: int, live: bool | None, test_text: str | None = None
) -> str | None:
    """Why a feature's page is made here; None where it is Neuronpedia's, which is asked if live is None.

    place: model and source there, None for an SAE that it does not host. Raises FsrlError for a test_text
    where the page can only be one made here; where it is so by chance, the reason says what is left out.
    """
    if live and place is not None:
        return None
    if test_text is not None and (place is None or live is False):
        raise FsrlError(f"feature page: {UNTESTED}; leave test_text out")
    if place is None:
        return "Neuronpedia does not host this SAE."
    if live is False:
        return "It was asked for in place of Neuronpedia's."
    try:
        neuronpedia.feature(*place, feature)
    except FsrlError as error:
        left_out = "" if test_text is None else f" ({UNTESTED})"
        return f"Neuronpedia's page is not to be had: {error}{left_out}"
    return None


# Of the evaluation text: windows of this many tokens, as in config/config.yaml, and this many of them, spread
# over it. One feature's examples take a forward pass over all.
CONTEXT, CONTEXTS = 128, 128
EXAMPLES = 8
TOKENS_NAMED = 5


class TextExamples:
    """Contexts of an evaluation text that activate a feature most, with the plain model (no steering).

    path: the text's file; None: the one in the study's folder, if there is one. Read when first asked for;
    what the model makes of it is kept for the next feature, for as long as the model stays as it is.
    """

    def __init__(self, sae_model: HookedModel, path: str | Path | None, *, progress: bool = False) -> None:
        self.sae_model, self.progress = sae_model, progress
        self.path = path or weights.beside_model(sae_model.model, weights.TEXT)
        self._kept: tuple[Any, Tensor] | None = None  # the model's state, and what its hook held

    @property
    def source(self) -> str | None:
        """What names the text on a page."""
        return (
            None if self.path is None else f"{plain.line(Path(self.path).name)}, {len(self.windows)} contexts"
        )

    @property
    def notes(self) -> list[str]:
        """Why there are no examples, where there is no text."""
        return [] if self.path is not None else ["No evaluation text is at hand: give text= a file of some."]

    @cached_property
    def windows(self) -> Int64[Tensor, "windows context"]:
        """Windows, spread over the text; FsrlError where the file is missing."""
        assert self.path is not None
        model = self.sae_model.model
        context, text = min(CONTEXT, int(model.cfg.n_ctx)), files.read_text(self.path)
        return windows.windows(
            model.tokenizer, text, context=context, contexts=CONTEXTS, d_vocab=model.cfg.d_vocab
        )

    def of_feature(self, feature: int, vocabulary: Sequence[str]) -> list[dict[str, Any]]:
        """Records as a page shows them, strongest first; none where no text is at hand."""
        if self.path is None:
            return []
        sae = self.sae_model.sae_adapter.sae
        alone = narrowed(sae, [feature])
        place, sae = (feature, sae) if alone is None else (0, alone)
        found = examples.top_activating_of(self._at_hook(), sae, self.windows, [place], k=EXAMPLES)
        return [example.record(vocabulary) for example in found[place]]

    def _at_hook(self) -> Float[Tensor, "windows context *width"]:
        """What the plain model holds at the SAE's hook."""
        model, hook = self.sae_model.model, self.sae_model.hook_name
        with self.sae_model.disabled():
            # Somebody's hooks on the model steer it too, and may be gone for the next feature.
            state = None if any(point.fwd_hooks for point in model.hook_dict.values()) else _state(model)
            if state and self._kept and self._kept[0] == state:
                return self._kept[1]
            stored = examples.at_hook(model, hook, self.windows, progress=self.progress)
            self._kept = (state, stored) if state else None
            return stored


def _state(model: Any) -> list[tuple[int, int, float]]:
    """What tells a model whose weights were changed, in place or not."""
    return [(id(p), p._version, p.detach().sum(dtype=torch.float64).item()) for p in model.parameters()]


def facts_of(
    feature: int,
    settings: ViewSettings,
    why: str,
    hide: Collection[str],
    *,
    tables: FeatureTables,
    explanations: Explanations,
    text: TextExamples,
) -> FeatureFacts:
    """All that a page made here says of a feature: from the tables, the explanations and a text's examples.

    why: it is shown in place of Neuronpedia's, its first note; hide: as `feature_page` has it, since what is
    hidden is not looked for.
    """
    said, notes = ([], []) if "explanation" in hide else explanations.said(feature, settings)
    found, source = [], None
    if "activations" not in hide:
        found, source = text.of_feature(feature, tables.weights.unembedding.tokens), text.source
        notes = [*notes, *text.notes]
    return from_rows(
        tables.rows_of(settings, feature),
        study=weights.study_name(tables.sae_model.model),
        hook=tables.sae_model.hook_name,
        feature=feature,
        explanations=said,
        examples=found,
        examples_from=source,
        notes=[why, *notes],
        view=str(settings),
        unit="cosine" if settings.cosine else FeatureFacts.unit,
    )


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
