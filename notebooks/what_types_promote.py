# %% [markdown]
# # What each type promotes
#
# The types are read from the shape of a feature's logit weights. Do they also say *which* tokens a feature
# raises? This notebook reads the workflow's tables of one study: which named sets of tokens features are
# aligned with, what the types have to do with it, and which of the published claims about the types hold. The
# study is the embedded `mini`, unless the workflow ran the notebook for another.
#
# **In this notebook:** [Sets of tokens](#Sets-of-tokens) · [An honest test](#An-honest-test) ·
# [Prediction features, one by one](#Prediction-features,-one-by-one) ·
# [Types and sets](#Types-and-sets) · [Exemplars](#Exemplars) ·
# [The published claims](#The-published-claims) · [Takeaway](#Takeaway)
#
# **The others:** [A tour](visualizing_sae_features.ipynb) ·
# [Moments and types](moments_and_types.ipynb) · [Measured effects](direct_vs_measured_effects.ipynb) ·
# [Transported weights and steering](transported_weights_and_steering.ipynb) ·
# [Bring your own SAE](bring_your_own_sae.ipynb)

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from fsrl.figures import enrichment as enrichment_figures
from fsrl.figures import exemplars, heatmap
from fsrl.hooks import hook_label
from fsrl.names import type_label
from fsrl.notebooks import setup as notebook_setup
from fsrl.tables import core as tables
from fsrl.tables.claims import CLAIMS_TABLE
from fsrl.tables.enrichment import BEST_SETS, DISCOVERIES, ODDS_RATIOS
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS
from fsrl.tables.types import TYPE_COUNTS, TYPES
from fsrl.tokens import text as token_text

_ = notebook_setup.start()

# %% tags=["parameters"]
STUDY = "mini"

# %%
VIEW, SCHEME = "trained", "calibrated"
RESULTS = Path("results") / STUDY
saes = list(pd.read_csv(RESULTS / f"summary/{VIEW}.tsv", sep="\t")["sae"])
last = saes[-1]

# %% [markdown]
# ## Sets of tokens
#
# Every token belongs to some named sets, by how it is written (*surface*), which words it can be
# (*lexical*) and how often it occurs (*frequency*). Your own go into `token_sets:` in `config/config.yaml`.

# %%
sets = pd.read_csv(RESULTS / "token_set_list.tsv", sep="\t", keep_default_na=False)
kinds = sets.set_index("set")["kind"].to_dict()
kinds_found = ", ".join(f"{count} {kind}" for kind, count in sets["kind"].value_counts().items())
display(Markdown(f"{len(sets)} sets: {kinds_found}. The first of each kind:"))
display(sets.groupby("kind", sort=False).head(5).set_index("set").rename_axis(None))

# %% [markdown]
# ## An honest test
#
# For a set $S$, let $\delta$ be the mean of $W_U$ over the set less its mean over the vocabulary. The set's
# mean logit weight under a feature with decoder row $d$ then differs from the vocabulary's by $d \cdot
# \delta$. Tokens of a set have similar columns in $W_U$, so the textbook error of that mean is far too
# small: with it, most directions that mean nothing would be "significant". What is asked instead is whether
# $d$ is aligned with the set more than other directions of its layer are. With $C$ the second moment of the
# layer's decoder rows, and $k$ its rank,
#
# $$r = \frac{d \cdot \delta}{\sqrt{(d^\top C^{-1} d) \, (\delta^\top C \, \delta)}}, \qquad
# t = \frac{r \sqrt{k - 1}}{\sqrt{1 - r^2}}$$
#
# and for Gaussian rows $t$ would be Student's on $k - 1$ degrees of freedom. Real rows have heavier tails, so
# $p$ comes from a null of each row's own: its $t$ beside set directions turned at random and beside random
# sets of the same size. The false discovery rate (Benjamini and Hochberg) is held over all features and sets
# of all layers at once; beside it stands what sets of shuffled tokens give:

# %%
discoveries = tables.read(RESULTS / f"discoveries/{VIEW}.parquet", DISCOVERIES)
level = discoveries["level"].iloc[0]
display(
    Markdown(
        f"Pairs of feature and set that are significant at a false discovery rate of {level:g}: "
        f"{discoveries['promoted'].sum():,} promoted and {discoveries['suppressed'].sum():,} suppressed, "
        f"of {discoveries['tests'].sum():,} tested."
    )
)
columns = ["tests", "promoted", "suppressed", "shuffled", "features"]
display(discoveries.set_index("sae")[columns].rename(index=hook_label).rename_axis(None))

# %% [markdown]
# Each feature's best set, upwards if it is promoted and downwards if it is suppressed. Beyond the dashed
# lines sets are significant; the strongest of each layer are named.

# %%
evidence = [
    enrichment_figures.Evidence(
        sae,
        tables.read(RESULTS / sae / VIEW / "best_sets.parquet", BEST_SETS),
        tables.read(RESULTS / sae / VIEW / "odds_ratios.parquet", ODDS_RATIOS),
        tables.read(RESULTS / sae / VIEW / "type_counts.parquet", TYPE_COUNTS),
    )
    for sae in saes
]
enrichment_figures.manhattan(evidence, discoveries, kinds, title=f"{STUDY} · view {VIEW}")

# %% [markdown]
# ## Prediction features, one by one
#
# The prediction features of the last layer with the clearest sets, beside the tokens that they raise most
# (␣ is a space). `eta2` is the share of the variance of the logit weights that lies between the set and the
# other tokens.

# %%
types = tables.read(RESULTS / last / VIEW / "types.parquet", TYPES)
extremes = tables.read(RESULTS / last / VIEW / "extremes.parquet", EXTREMES)
raised = extremes[(extremes["side"] == "top") & (extremes["rank"] < 6)].sort_values("rank")
raised = raised["token"].map(token_text.legible).groupby(raised["feature"]).agg("  ".join)
best = evidence[-1].best_sets.merge(types[types["scheme"] == SCHEME][["feature", "type"]], on="feature")
shown = (
    best[best["type"] == "prediction"]
    .nsmallest(10, "promoted_log10_q")
    .set_index("feature")
    .rename_axis(None)
)
columns = {"promoted": "set", "promoted_log10_q": "log10 q", "promoted_eta2": "eta2"}
display(shown[list(columns)].rename(columns=columns).assign(**{"raises most": raised}))

# %% [markdown]
# ## Types and sets
#
# How much more often is a set significant for features of a type than for features without one? The odds
# ratios by layer; a dot marks a 95 % interval that excludes 1 (a cell without one is no finding: many
# rest on a single feature), grey a layer without features of the type.

# %%
heatmap.heatmap(evidence, kinds, scheme=SCHEME, title=f"{STUDY} · view {VIEW}")

# %% [markdown]
# ## Exemplars
#
# The features deepest inside each type's region, with the distribution of their logit weights (log axis;
# the dashes are a Gaussian) and the tokens that they lower and raise most.

# %%
moments = tables.read(RESULTS / last / VIEW / "moments.parquet", MOMENTS)
histograms = tables.read(RESULTS / last / VIEW / "histograms.parquet", HISTOGRAMS)
shown = {"scheme": SCHEME, "title": f"{STUDY} · {last} · view {VIEW}"}
exemplars.exemplars(moments, types, evidence[-1].type_counts, extremes, histograms, **shown)

# %% [markdown]
# ## The published claims
#
# Bloom & Lin (2024) say in words what the types are like. Each claim is tested in every layer on something
# that does not define the type (what a rule fixes is true *by definition* and not tested), features with
# similar decoder rows count once, and p is adjusted (Holm) over all tests. *Cannot speak*: too few features
# in every layer. *No null*: too few null directions that have the type.

# %%
tested = tables.read(RESULTS / f"claims/{VIEW}.parquet", CLAIMS_TABLE)
tested = tested[tested["scheme"] == SCHEME]
claim = ["type", "statement", "test"]
verdicts = tested.groupby(claim, sort=False)["verdict"].value_counts(sort=False).unstack(fill_value=0)
order = ["holds", "contradicted", "undecided", "cannot speak", "no null", "by definition"]
verdicts = verdicts.reindex(columns=order, fill_value=0).loc[
    pd.MultiIndex.from_frame(tested[claim].drop_duplicates())
]
heard = verdicts[verdicts[["cannot speak", "no null"]].sum(axis=1) < len(saes)]
heard = heard.loc[:, heard.any()].rename(index=type_label, level="type")
display(heard.rename_axis(columns="layers where it"))
display(
    Markdown(
        f"{len(verdicts) - len(heard)} of {len(verdicts)} tests cannot speak in any layer: too few features."
    )
)

# %% [markdown]
# Where a layer decided, this is what it decided on: the share (or the median) of the type's features beside
# that of features without a type, and the effect with its 95 % interval. An odds ratio of 1 is no difference.
# An AUC is held against that of null directions of the same type, *by chance*.

# %%
decided = tested[tested["verdict"].isin(["holds", "contradicted"])].sort_values("type", kind="stable")
effect = [
    "{} {:.3g}\N{NO-BREAK SPACE}[{:.3g},\N{NO-BREAK SPACE}{:.3g}]".format(*row)
    for row in decided[["measure", "effect", "low", "high"]].to_numpy()
]
decided = decided.assign(layer=decided["sae"].map(hook_label), effect=effect)
columns = {
    "n_type": "features",
    "value_type": "of the type",
    "value_other": "of others",
    "reference": "by chance",
    "p_holm": "p (Holm)",
}
decided["type"] = decided["type"].map(type_label)
decided = decided.set_index(["type", "statement", "verdict"]).rename(columns=columns)
shown = decided[["layer", "features", "effect", "by chance", "of the type", "of others", "p (Holm)"]].copy()
for name in shown.columns[3:]:
    shown[name] = shown[name].map("{:.2g}".format, na_action="ignore").fillna("")
display(shown)

# %% [markdown]
# ## Takeaway

# %%
found = discoveries[["promoted", "suppressed", "shuffled"]].sum()
verdict = tested["verdict"].value_counts()
lines = [
    f"{found['promoted'] + found['suppressed']:,.0f} pairs of a feature and a set are significant by a null "
    f"of each row's own, where sets of shuffled tokens give {found['shuffled']:,.0f}.",
    f"Of the published claims' tests, layer by layer, {verdict.get('holds', 0)} hold, "
    f"{verdict.get('contradicted', 0)} are contradicted and {verdict.get('undecided', 0)} stay undecided; "
    "the others have too few features to speak, or are true by definition.",
    "The shape of the logit weights says that a feature promotes few tokens or many; which ones, it takes a "
    "test of sets to say.",
]
display(Markdown("\n".join(f"- {line}" for line in lines)))
