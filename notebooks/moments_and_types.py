# %% [markdown]
# # Moments and types, layer by layer
#
# A feature of a sparse autoencoder (SAE) writes a direction into the residual stream. What that does to the
# next token, on the direct path, is the feature's row of **logit weights**: one number per token of the
# vocabulary. This notebook looks at the shape of these rows, the types that follow from it, and at what
# chance would give.
#
# Everything is read from the tables that the workflow builds for one study: the embedded `mini`, a small
# GPT-2 trained for this project, unless the workflow ran the notebook for another. To read another, set
# `STUDY` and `MODEL` and run the cells again.
#
# **In this notebook:** [The four moments](#The-four-moments) · [What chance gives](#What-chance-gives) ·
# [Types and their thresholds](#Types-and-their-thresholds) ·
# [Counts against chance](#Counts-against-chance) · [Every layer](#Every-layer) · [Takeaway](#Takeaway)
#
# **The others:** [A tour](visualizing_sae_features.ipynb) ·
# [What types promote](what_types_promote.ipynb) · [Measured effects](direct_vs_measured_effects.ipynb) ·
# [Transported weights and steering](transported_weights_and_steering.ipynb) ·
# [Bring your own SAE](bring_your_own_sae.ipynb)

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from fsrl.figures import layer as layer_figures
from fsrl.figures import layers as study_figures
from fsrl.figures import style as figure_style
from fsrl.hooks import hook_label
from fsrl.names import TYPES, type_label
from fsrl.notebooks import setup as notebook_setup
from fsrl.tables import core as tables
from fsrl.tables import types as type_tables
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.types import THRESHOLDS, TYPE_COUNTS, TYPE_NULL_COUNTS
from fsrl.types.rules import SIGNS

_ = notebook_setup.start()

# %% tags=["parameters"]
STUDY, MODEL = "mini", "mini-model"

# %%
VIEW, SCHEME = "trained", "calibrated"
RESULTS = Path("results") / STUDY
saes = list(pd.read_csv(RESULTS / f"summary/{VIEW}.tsv", sep="\t")["sae"])
last = saes[-1]

# %% [markdown]
# ## The four moments
#
# With $W_{\text{dec}}$ the SAE's decoder and $W_U$ the model's unembedding (the final LayerNorm's weight
# folded in), feature $i$ has the logit weights $w_i = W_{\text{dec}}[i] \, W_U$, one for each of $V$ tokens
# $t$, and
#
# $$\mu_i = \frac{1}{V} \sum_t w_{it}, \qquad \sigma_i^2 = \frac{1}{V} \sum_t (w_{it} - \mu_i)^2$$
#
# $$\text{skewness}_i = \frac{1}{V} \sum_t \left( \frac{w_{it} - \mu_i}{\sigma_i} \right)^3, \qquad
# \text{kurtosis}_i = \frac{1}{V} \sum_t \left( \frac{w_{it} - \mu_i}{\sigma_i} \right)^4$$
#
# Kurtosis is Pearson's: 3 for a Gaussian. The view `trained` leaves out tokens that training hardly saw:
# where a model has them, a few hundred can dominate the kurtosis of every direction. The features of greatest
# kurtosis in the last layer:

# %%
moments = {sae: tables.read(RESULTS / sae / VIEW / "moments.parquet", MOMENTS) for sae in saes}
columns = ["mean", "std", "skewness", "kurtosis", "tail_tokens", "log10_density"]
display(moments[last].set_index("feature")[columns].nlargest(5, "kurtosis"))

# %% [markdown]
# `tail_tokens` is how many tokens make the right tail, where it is heavier than an isotropic direction's;
# `log10_density` is the logarithm of the share of tokens on which the feature fires.
#
# ## What chance gives
#
# Logit weights are far from Gaussian even for directions that mean nothing, so a kurtosis says little by
# itself. Three kinds of **null directions** stand beside every layer: isotropic ones; Gaussian ones that
# vary like the decoder's rows; and Gaussian ones that are as large along each main axis of $W_U$ as the
# decoder's rows are on average (`spectrum`). The first and the last bound the types.

# %%
shared = tables.read(RESULTS.parent / f"models/{MODEL}/nulls/{VIEW}.parquet", NULL)
nulls = {
    sae: pd.concat([shared, tables.read(RESULTS / sae / VIEW / "null.parquet", NULL)], ignore_index=True)
    for sae in saes
}
types = {sae: tables.read(RESULTS / sae / VIEW / "types.parquet", type_tables.TYPES) for sae in saes}
counts = {sae: tables.read(RESULTS / sae / VIEW / "type_counts.parquet", TYPE_COUNTS) for sae in saes}
layers = [study_figures.LayerInputs(sae, moments[sae], nulls[sae], types[sae], counts[sae]) for sae in saes]
study_figures.nulls_by_layer(layers, title=f"{STUDY} · view {VIEW}")

# %% [markdown]
# The blue bars are the features, the marks beside them the nulls, from the 0.001 to the 0.999 quantile.
# Where a blue bar ends within the marks, the layer's features look like directions that mean nothing.
#
# ## Types and their thresholds
#
# Bloom & Lin (2024) name four types by words: *local context* (high kurtosis), *prediction* (skewed to the
# right), *suppression* (skewed to the left) and *partition* (low kurtosis, two groups). Thresholds were
# never published. The scheme `calibrated` asks for tails that chance does not give: skewness to either side,
# the fourth moment of either side, kurtosis heavy or flat. A tail counts where its p-value against **both**
# bounding nulls, adjusted over the layer's features, is at most .05; features with a tail on either side are
# *two-sided*. For the last layer that comes to these values:

# %%
cuts = tables.read(RESULTS / last / VIEW / "thresholds.parquet", THRESHOLDS)
cuts = cuts[cuts["scheme"] == SCHEME].fillna({"kind": "a fixed number"})
cuts["bound"] = cuts["bound"].str.replace("<=", " ≤ ")
cuts["type"] = cuts["type"].map(type_label)
cuts["rule"] = cuts["column"] + " " + cuts["word"].map(SIGNS)
cuts = cuts.rename(columns={"bound": "as configured", "kind": "decided by"})
display(cuts.set_index(["type", "rule"])[["as configured", "threshold", "decided by"]])

# %% [markdown]
# Each point of the next figure is a feature, where its skewness and kurtosis put it; a closed line holds
# 99.9 % of the directions of one bounding null. A feature gets the first type whose rule it meets.

# %%
title = f"{STUDY} · {last} · view {VIEW}"
layer_figures.types(moments[last], nulls[last], types[last], counts[last], scheme=SCHEME, title=title)

# %% [markdown]
# ## Counts against chance
#
# A type at the rate that the nulls give is noise with a name. So beside every count stands (in brackets) how
# many of as many fresh null directions get the label by the layer's own bounds, of the bounding kinds the
# most.

# %%
table = pd.concat(counts, names=["layer", None]).reset_index("layer")
table = table[table["scheme"] == SCHEME]
table["count"] = (
    table["features"].astype(str) + " (" + table["expected_at_bounds"].map(figure_style.expected) + ")"
)
wide = table.pivot(index="layer", columns="type", values="count").reindex(saes)[list(TYPES)]
others = table[table["type"] == "unclassified"].set_index("layer")["features"]
wide = wide.assign(unclassified=others)
display(wide.rename(index=hook_label, columns=type_label).rename_axis(index=None, columns=None))

# %%
typed = table[table["type"].isin(TYPES)]
clear = typed[typed["features"] > 3 * typed["expected_at_bounds"].clip(lower=1)]
lines = "\n".join(
    f"- {hook_label(row.layer)}: {row.features} {type_label(row.type)}, "
    f"at most {row.expected_at_bounds:.1f} by chance"
    for row in clear.itertuples()
)
display(Markdown(f"More than three times what chance gives, and more than three:\n\n{lines or '- none'}"))

# %% [markdown]
# The same in one picture, for all three schemes. `post` reads the published words as quantiles within a
# layer, so its shares are large by construction: what counts is how far a bar exceeds its dash, the share
# of the fresh null directions.

# %%
study_figures.type_shares(layers, title=f"{STUDY} · view {VIEW}")

# %% [markdown]
# ## Every layer
#
# One panel a layer, on shared axes. Kurtosis cannot lie below $1 + \text{skewness}^2$, which empties the
# lower corners.

# %%
study_figures.layers_grid(layers, scheme=SCHEME, title=f"{STUDY} · view {VIEW}")

# %% [markdown]
# What each kind of null alone would give shows which of them is the strict one for which type. At the last
# layer:

# %%
by_kind = tables.read(RESULTS / last / VIEW / "type_null_counts.parquet", TYPE_NULL_COUNTS)
by_kind = by_kind[(by_kind["scheme"] == SCHEME) & by_kind["type"].isin(TYPES)]
expected = by_kind.pivot(index="type", columns="kind", values="expected_at_bounds").rename_axis(
    index=None, columns=None
)
expected = expected.assign(found=by_kind.groupby("type")["features"].first())
display(expected.reindex(TYPES).rename(index=type_label))

# %% [markdown]
# ## Takeaway

# %%
total = {sae: int(typed.loc[typed["layer"] == sae, "features"].sum()) for sae in saes}
many, few = max(total, key=total.get), min(total, key=total.get)
kinds = typed.groupby("type")["features"].sum()
lines = [
    "A kurtosis or a skewness says nothing until it stands beside that of directions that mean nothing, and "
    "which kind of these is the strict one differs from type to type.",
    f"Types differ per layer: {total[many]:,} of {len(moments[many]):,} features have one at "
    f"{hook_label(many)}, and {total[few]:,} at {hook_label(few)}.",
    f"The commonest type is {type_label(kinds.idxmax())}, the rarest {type_label(kinds.idxmin())} "
    f"({kinds.max():,} and {kinds.min():,} features in all layers).",
]
display(Markdown("\n".join(f"- {line}" for line in lines)))
