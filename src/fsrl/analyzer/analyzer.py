"""The features of one SAE, looked at from a notebook: what they are said to be, and what they promote.

    sae_analyzer = SAEfeatureAnalyzer(sae_model)           # computes nothing and asks nobody
    sae_analyzer.feature_info[0]["description"]            # Neuronpedia's explanation, or one made here
    sae_analyzer.get_feature_page(0)                       # the feature's dashboard, inline
    sae_analyzer.logit_distr()["kurtosis"]                 # of every feature's logit weights
    sae_analyzer.plot_logit_distr_skewness_vs_kurtosis()

The logit weights of a feature are its decoder row times W_U (`fsrl.moments`). They are those of the SAE; the
adapter changes none of them.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from fsrl import arguments, defaults
from fsrl.adapter.hooked_model import HookedModel
from fsrl.analyzer import pages, ranking, steering, weights
from fsrl.analyzer.explanations import Explanations, FeatureInfo, place_at_neuronpedia
from fsrl.analyzer.pages import Link, LocalPage
from fsrl.analyzer.settings import TableSettings, ViewSettings
from fsrl.analyzer.tables import FeatureTables
from fsrl.errors import FsrlError
from fsrl.figures import files as figure_files
from fsrl.figures import layer as plots
from fsrl.neuronpedia.links import embed_url, quick_list_url
from fsrl.pages.page import feature_page
from fsrl.weights.matrices import Unembedding
from fsrl.weights.transport import Transport

logger = logging.getLogger(__name__)

WIDTH, HEIGHT = "100%", 900
AUTO = "auto"
EXPLANATIONS = ("neuronpedia", "local")
_NOT_HOSTED = "is not at Neuronpedia (a folder's SAE is not); give neuronpedia= its model and source there"


class SAEfeatureAnalyzer:
    """Explanations, dashboards and logit weights of the features of the SAE in a `HookedModel`.

    Making one computes nothing and asks nobody; what is asked for is computed once, on the model's device
    (moments; all else on the CPU), and kept: null directions for the next analyzer of the model too, and what
    the model makes of the text for the next feature. A feature is any kind of whole number.

    neuronpedia: the SAE's place there, "gpt2-small/7-res-jb"; None: as its configuration or release says,
    False: nowhere. explanations: "neuronpedia" or "local"; None: Neuronpedia's for an SAE that it hosts.
    text: a file of evaluation text (passages separated by <|endoftext|>) to look for examples in;
    token_counts: a file of each token's occurrences in the training text; None: those that lie beside the
    model in its study's folder, as in data/mini. unembedding: an `fsrl.weights.Unembedding` or its file in
    results/, for the raw W_U, the undertrained tokens and the mean logit weight, which a processed model
    does not hold. sparsity: log10 densities [d_sae]; None: those beside the SAE's weights.
    w_u, tokens, cosine: the view (`fsrl.weights.view`) that methods take unless they are given another one;
    tokens "auto": trained ones, as the workflow's figures and paper have it, or all, with a warning, where
    nothing tells which are undertrained (a processed model, without counts);
    transport: "same_position" for what the model's later blocks make of a direction on average, in its place
    (`fsrl.weights.transport`), by transport_matrices, the workflow's file
    results/{study}/transport.safetensors (None: that of the study in results, if it has this SAE); "lens" for
    what a published lens makes of it, at all later positions, with transport_matrices
    results/{study}/lenses/{view}.safetensors; None: the direct path.
    view: all four at once, by the name of a view of the workflow ("main", "trained", "transported", ...).
    results: the workflow's folder of results, or of one study in it (None: ./results; False: none). Where
    tables there are of these very weights, types are read from them; else they are computed, with the
    workflow's settings. A folder that is named and holds none of this SAE is refused when it is first read.
    table_settings: precision (of `fsrl.moments`); null_draws (isotropic directions), layer_draws (of the
    layer's own kind) and seed, the workflow's by default: with others types are computed here; and token_sets
    (of the caller's, by name: {"regex": ...} or {"words": [...]}).
    cache: folder of what Neuronpedia exported (None: ~/.cache/fsrl/neuronpedia); progress: show bars.
    Raises FsrlError for a model without adapter and an unknown setting, by name.
    """

    def __init__(
        self,
        sae_model: HookedModel,
        *,
        neuronpedia: str | bool | None = None,
        explanations: str | None = None,
        text: str | Path | None = None,
        token_counts: str | Path | None = None,
        unembedding: Unembedding | str | Path | None = None,
        sparsity: Tensor | None = None,
        w_u: str = "folded",
        tokens: str = AUTO,
        cosine: bool = False,
        transport: str | None = None,
        view: str | None = None,
        transport_matrices: Transport | str | Path | None = None,
        results: str | Path | bool | None = None,
        cache: str | Path | None = None,
        progress: bool = True,
        **table_settings: Any,
    ) -> None:
        given: dict[str, Any] = {
            "unembedding": unembedding,
            "token_counts": token_counts,
            "sparsity": sparsity,
            "transport_matrices": transport_matrices,
        }
        others = {"neuronpedia": neuronpedia, "explanations": explanations, "text": text, "cache": cache}
        _check_given(sae_model, {**given, **others, "progress": progress, "results": results})
        self.sae_model = sae_model
        seen = defaults.VIEW["tokens"] if tokens == AUTO else tokens
        self._view = ViewSettings(w_u, seen, cosine, transport)
        if view is not None:
            alone = self._view == ViewSettings() and tokens == AUTO
            both = "give it alone, or w_u, tokens, cosine and transport in its place"
            arguments.require(alone, "SAEfeatureAnalyzer", "view", view, both)
            self._view = ViewSettings.named(view)
        self._view_is_sure = tokens != AUTO or view is not None
        self.place = place_at_neuronpedia(sae_model.sae_adapter, neuronpedia)
        if explanations == "neuronpedia" and self.place is None:
            raise FsrlError(f"SAEfeatureAnalyzer: {self.name} {_NOT_HOSTED}")
        self._text = pages.TextExamples(sae_model, text, progress=progress)
        device = next(sae_model.model.parameters()).device
        settings = TableSettings.of(table_settings, device, progress=progress)
        self.tables = FeatureTables(sae_model, settings, given, results)
        hosted = None if explanations == "local" else self.place
        self._explanations = Explanations(hosted, self.tables, cache=cache, progress=progress)

    @property
    def name(self) -> str:
        """Model and hook, as titles have them."""
        return f"{weights.study_name(self.sae_model.model)} \u00b7 {self.sae_model.hook_name}"

    @property
    def view(self) -> ViewSettings:
        """What methods show unless they are given another view; the first look may read W_U."""
        if not self._view_is_sure:
            if not self.tables.tells_trained():
                self._view = self._view.but({"tokens": "all"})
            self._view_is_sure = True
        return self._view

    @property
    def n_features(self) -> int:
        """Features of the SAE."""
        return self.tables.n_features

    def __repr__(self) -> str:
        where = "/".join(self.place) if self.place else "not at Neuronpedia"
        return f"<SAEfeatureAnalyzer of {self.name}: {self.n_features} features, {where}>"

    @property
    def feature_info(self) -> FeatureInfo:
        """Feature -> its explanation; `feature_info.every(i)` has all of a feature's.

        Neuronpedia's bulk export, fetched when first asked for and then read from the cache; or, for an SAE
        that Neuronpedia does not host, made here from the token sets that a feature promotes and suppresses
        (their explanationModelName says so). Raises FsrlError where the export cannot be had.
        """
        return self._explanations.of(self.view)

    def logit_distr(self, **view: Any) -> pd.DataFrame:
        """Moments of every feature's logit weights, a row each (the index is the feature).

        mean and std (logit per unit of activation), skewness, kurtosis (3 for a Gaussian), bimodality: of
        the population, by default over the trained tokens and the folded W_U; norm, log10_density, alive.
        mean is 0 where the model's W_U is centred over the vocabulary and the workflow has not built this
        SAE. Ask for columns as `frame["kurtosis"]`: `frame.kurtosis`, like mean and std, is a method of
        pandas over the features. view: w_u, tokens, cosine, as `fsrl.weights.view`, and transport, or view,
        the name of one of the workflow's ("transported"). A copy: change it freely.
        """
        return self.tables.distribution(self._seen(view))

    def types(self, **view: Any) -> pd.DataFrame:
        """The table `types` (see `fsrl.tables`) of the scheme calibrated, one row a feature.

        The workflow's, where it has typed these weights; else computed, beside 120,000 null directions the
        first time.
        """
        return self.tables.types(self._seen(view)).copy()

    def plot_logit_distr_skewness(self, save_path: str | Path | None = None, **view: Any) -> Figure:
        """Histogram of the features' skewness beside that of null directions. save_path: .pdf, .svg, ...

        The null directions are those that bound the types where the workflow has built this SAE, else a few
        isotropic ones: no plot waits for the many that types need.
        """
        return self._plot(plots.skewness, save_path, view)

    def plot_logit_distr_kurtosis(self, save_path: str | Path | None = None, **view: Any) -> Figure:
        """Histogram of log10 of the features' kurtosis (3 for a Gaussian), like the one of skewness."""
        return self._plot(plots.kurtosis, save_path, view)

    def plot_logit_distr_skewness_vs_kurtosis(
        self, save_path: str | Path | None = None, **view: Any
    ) -> Figure:
        """Skewness against kurtosis (log scale), coloured by std as a share of the decoder row's norm."""
        draw = partial(plots.skewness_vs_kurtosis, cosine=self._seen(view).cosine)
        return self._plot(draw, save_path, view)

    def get_feature_page(
        self,
        feature: int,
        *,
        live: bool | None = None,
        save_path: str | Path | None = None,
        width: str = WIDTH,
        height: int = HEIGHT,
        hide: Collection[str] = (),
        test_text: str | None = None,
        **view: Any,
    ) -> Any:
        """The feature's dashboard, to be shown by a notebook: an IFrame of Neuronpedia's, or a `LocalPage`.

        live: True for Neuronpedia's; False for a self-contained page made here (moments, type, histogram,
        extreme tokens, token sets, explanations, and examples where a text is at hand); None: Neuronpedia's
        if it hosts the SAE and answers, else the local one, whose notes and the log say why. save_path: write
        the local page there (.html); None for `live` is then False. hide, test_text: as
        `fsrl.neuronpedia.embed_url`; a local page has no field for a text to test. view: as
        `logit_distr`, for the local page. Raises FsrlError for a feature that there is not, live=True of an
        SAE that Neuronpedia has not, and a test_text where the page can only be local.
        """
        index = arguments.feature(feature, self.n_features)
        pages.check(
            live=live, save_path=save_path, width=width, height=height, hide=hide, test_text=test_text
        )
        settings = self._seen(view)
        if live and self.place is None:
            raise FsrlError(f"feature page: {self.name} {_NOT_HOSTED}")
        live = live if save_path is None else False
        why = pages.why_local(self.place, index, live, test_text)
        if why is None:
            assert self.place is not None
            url = embed_url(*self.place, index, hide=hide, test_text=test_text)
            logger.info("feature %d: the live page %s", index, url)
            return pages.live_frame(url, width=width, height=height)
        logger.info("feature %d: a local page; %s", index, why)
        facts = pages.facts_of(
            index, settings, why, hide, tables=self.tables, explanations=self._explanations, text=self._text
        )
        page = LocalPage(feature_page(facts, hide), why, width, height)
        if save_path is not None:
            page.save(save_path)
        return page

    def get_steered_features_info(
        self,
        vector: Any,
        threshold: float | None = None,
        top_k: int | None = 20,
        *,
        descriptions: bool = True,
        **view: Any,
    ) -> pd.DataFrame:
        """The features that a steering vector [..., d_sae] steers, strongest first; a row each.

        feature; steering (mean value over the leading dimensions), strength (mean of the absolute value, by
        which features are ranked), peak (the value furthest from 0); description (null where there is none;
        descriptions=False asks for none); type; std, skewness, kurtosis, norm, log10_density; top_tokens and
        bottom_tokens. threshold: least strength; top_k: at most so many rows. `plot_steered_features` draws
        it. The first call computes moments, those of null directions included (for the types). Raises
        FsrlError for a vector that does not fit, and as `feature_info` does.
        """
        settings = self._seen(view)
        ranked = steering.rank(vector, self.n_features, threshold=threshold, top_k=top_k)
        info = self._explanations.of(settings) if descriptions else {}
        return pages.described(ranked, info, self.tables, settings)

    def plot_steered_features(
        self,
        vector: Any,
        threshold: float | None = None,
        top_k: int | None = 20,
        save_path: str | Path | None = None,
        *,
        descriptions: bool = True,
    ) -> Figure:
        """Bars of the mean steering value of the features that `get_steered_features_info` lists."""
        figure_files.check_path(save_path)
        ranked = steering.rank(vector, self.n_features, threshold=threshold, top_k=top_k)
        if descriptions:
            ranked["description"] = pages.descriptions(ranked["feature"], self.feature_info)
        title = f"{self.name} \u00b7 steered features"
        return figure_files.finished(steering.figure(ranked, title=title), save_path)

    def rank_for_steering(
        self,
        features: Iterable[int] | None = None,
        *,
        by: str = "output_score",
        top_k: int | None = 20,
    ) -> pd.DataFrame:
        """Features by how far they steer the model from neutral prompts, the highest first; a row each.

        Columns are those of the table `steering` (see `fsrl.tables.steering`, `fsrl.steering.scores`): Arad
        et al.'s output_score and input_score, total_variation and kl of the next token's distribution, and
        percentiles among random directions of the same norm, added as far. features: None for the workflow's
        sample, or those to look at; by: the column; top_k: at most so many rows. The workflow's table where
        it has these weights and features, else measured here with its settings (features that are named wait
        for no types); percentiles are then among the random directions of the features measured together.
        Features that never fire on the text are left out. Raises FsrlError for an unknown column, a feature
        that there is not, and where nothing is built and no text is at hand.
        """
        ranking.check(by, top_k)
        chosen = None if features is None else _indices(features, self.n_features, "rank for steering")
        table = ranking.table_of(self.sae_model, self.tables, self._text.path, chosen, self.view)
        return ranking.rank(table, chosen, by=by, top_k=top_k)

    def quick_list(self, features: Iterable[int], name: str | None = None) -> Link:
        """Address (text; a link in a notebook) of Neuronpedia's page with the dashboards of these features.

        1 to 150 features, in this order; name: the list's title. Nothing is asked of Neuronpedia. Raises
        FsrlError for more or none, for a feature that there is not, and for an SAE that it does not host.
        """
        if self.place is None:
            raise FsrlError(f"quick list: {self.name} {_NOT_HOSTED}")
        chosen = _indices(features, self.n_features, "quick list")
        arguments.require(name is None or arguments.is_text(name), "quick list", "name", name, "give a text")
        title = name or f"{'/'.join(self.place)}: {len(chosen)} features"
        url = quick_list_url(title, [(*self.place, feature) for feature in chosen])
        return Link(url, title)

    def _seen(self, changes: Mapping[str, Any]) -> ViewSettings:
        """The view of one call; whoever names its tokens need not wait for them to be told."""
        return (self._view if {"tokens", "view"} & set(changes) else self.view).but(changes)

    def _plot(self, draw: Any, save_path: str | Path | None, view: Mapping[str, Any]) -> Figure:
        figure_files.check_path(save_path)
        settings = self._seen(view)
        title = f"{self.name} \u00b7 {settings}"
        figure = draw(self.tables.measured(settings), self.tables.plotted_null(settings), title=title)
        return figure_files.finished(figure, save_path)


def _check_given(sae_model: Any, given: Mapping[str, Any]) -> None:
    """Raise FsrlError for no `HookedModel` and for a wrong one of SAEfeatureAnalyzer's own arguments.

    given: by name; None is always right. Whether files exist is seen when they are read.
    """
    if not isinstance(sae_model, HookedModel):
        raise FsrlError(
            f"SAEfeatureAnalyzer: {type(sae_model).__name__} is no HookedModel; give HookedModel(model, sae)"
        )
    a_path = "give the path of a file"
    place = given["neuronpedia"]
    met = {
        "neuronpedia": (
            place is False or isinstance(place, str),
            'give "gpt2-small/7-res-jb" or alike, or False',
        ),
        "explanations": (given["explanations"] in EXPLANATIONS, f"choose {' or '.join(EXPLANATIONS)}"),
        "unembedding": (
            isinstance(given["unembedding"], Unembedding) or arguments.is_path(given["unembedding"]),
            "give an fsrl.weights.Unembedding or its file",
        ),
        "transport_matrices": (
            isinstance(given["transport_matrices"], Transport)
            or arguments.is_path(given["transport_matrices"]),
            "give an fsrl.weights.transport.Transport or its file",
        ),
        "sparsity": (isinstance(given["sparsity"], Tensor), "give a torch tensor [d_sae]"),
        "progress": (isinstance(given["progress"], bool), "choose True or False"),
        "text": (arguments.is_path(given["text"]), a_path),
        "token_counts": (arguments.is_path(given["token_counts"]), a_path),
        "cache": (arguments.is_path(given["cache"]), "give the path of a folder"),
        "results": (
            given["results"] is False or arguments.is_path(given["results"]),
            "give the path of a folder, or False",
        ),
    }
    for name, (right, wanted) in met.items():
        arguments.require(given[name] is None or right, "SAEfeatureAnalyzer", name, given[name], wanted)
    for name in ("unembedding", "text", "token_counts"):
        if arguments.is_path(given[name]) and not Path(given[name]).is_file():
            raise FsrlError(f"SAEfeatureAnalyzer: {name} is {str(given[name])!r}; there is no such file")


def _indices(given: Any, n_features: int, place: str) -> list[int]:
    """The indices of several features."""
    wanted = "give a list of indices of features"
    given = arguments.listed(given, place, "features", wanted)
    return [arguments.feature(one, n_features) for one in given]
