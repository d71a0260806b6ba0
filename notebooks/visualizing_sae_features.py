# %% [markdown]
# # Visualising the features of an SAE
#
# A tour of the interface: load a model and a sparse autoencoder (SAE), put the SAE into the model, and look
# at what its features are and what they do to the next token. It runs on the embedded study `mini`, a small
# GPT-2 trained for this project, without a network; the last section has the same lines for GPT-2.
#
# **In this notebook:** [A model, an SAE, an adapter](#A-model,-an-SAE,-an-adapter) ·
# [What the features are said to be](#What-the-features-are-said-to-be) ·
# [A feature's page](#A-feature's-page) · [The four moments](#The-four-moments) ·
# [How to read the plots](#How-to-read-the-plots) · [The four types](#The-four-types) ·
# [What a steering vector steers](#What-a-steering-vector-steers) ·
# [The same on GPT-2](#The-same-on-GPT-2) · [Takeaway](#Takeaway)
#
# **The others:** [Moments and types](moments_and_types.ipynb) ·
# [What types promote](what_types_promote.ipynb) · [Measured effects](direct_vs_measured_effects.ipynb) ·
# [Transported weights and steering](transported_weights_and_steering.ipynb) ·
# [Bring your own SAE](bring_your_own_sae.ipynb)

# %%
from pathlib import Path

import pandas as pd
import torch
from IPython.display import display

from fsrl import HookedModel, SAEAdapter
from fsrl.hooks import depth, hook_label
from fsrl.models import reading
from fsrl.names import TYPES
from fsrl.notebooks import setup as notebook_setup
from fsrl.tables import core as tables
from fsrl.tables.types import TYPES as TYPE_TABLE
from fsrl.utils import SAEfeatureAnalyzer

notebook_setup.start()
device = "cpu"

# %% [markdown]
# ## A model, an SAE, an adapter
#
# `SAEAdapter` is the frozen SAE with a trainable adapter on top: from the residual stream it computes a
# **steering vector** over the features, here of low rank (LoRA), which is added to the features'
# activations. `HookedModel` runs the model with the adapter at its hook. The SAE's reconstruction error is
# added back, so a fresh adapter, whose steering vector is zero, changes nothing:

# %%
adapter_kwargs = {"use_lora_adapter": True, "lora_rank": 64, "lora_alpha": 32, "fusion_mode": "additive"}
sae, cfg_dict, sparsity = SAEAdapter.from_pretrained(
    "data/mini/saes", "blocks.5.hook_resid_post", device=device, **adapter_kwargs
)
model = reading.load_model("data/mini", device=device)
sae_model = HookedModel(model, sae)

text = "The function returns a list (see"
with torch.no_grad():
    change = (sae_model(text) - model(text)).abs().max().item()
print(f"{cfg_dict['d_sae']} features; a fresh adapter changes no logit by more than 1e-3: {change < 1e-3}")

# %% [markdown]
# ## What the features are said to be
#
# `feature_info` maps a feature to its explanation. Neuronpedia has those of published SAEs; it does not
# host this one, so here they are made from the sets of tokens that a feature promotes and suppresses, and
# say so. The feature whose logit weights are most skewed:

# %%
sae_analyzer = SAEfeatureAnalyzer(sae_model)
feature = int(sae_analyzer.logit_distr()["skewness"].idxmax())
print(f"feature {feature}:", sae_analyzer.feature_info[feature]["description"])
print("explained by:", sae_analyzer.feature_info[feature]["explanationModelName"])

# %% [markdown]
# ## A feature's page
#
# Neuronpedia's dashboard where it has one; else this page, which is made here and needs no network: moments
# and type, the distribution of the logit weights, the tokens that the feature raises and lowers most, sets
# of tokens, and the passages of held-out text that activate it most. Type, numbers and sets are the
# workflow's, whose tables for this SAE lie in `results/` (elsewhere they are computed here, with the same
# settings; q then counts this SAE's tests alone). It is the page of the study's browser, drawn by the same
# script.

# %%
sae_analyzer.get_feature_page(feature)

# %% [markdown]
# ## The four moments
#
# The logit weights of feature $i$, $w_i = W_{\text{dec}}[i] \, W_U$, are what one unit of the feature adds
# to the logit of each of $V$ tokens $t$, on the direct path. Their distribution over the vocabulary has a
# mean, a spread and a shape:
#
# $$\mu_i = \frac{1}{V} \sum_t w_{it}, \qquad \sigma_i = \sqrt{\frac{1}{V} \sum_t (w_{it} - \mu_i)^2}$$
#
# $$\text{skewness}_i = \frac{1}{V} \sum_t \left( \frac{w_{it} - \mu_i}{\sigma_i} \right)^3, \qquad
# \text{kurtosis}_i = \frac{1}{V} \sum_t \left( \frac{w_{it} - \mu_i}{\sigma_i} \right)^4$$
#
# Skewness is positive where some tokens are raised far more than any is lowered. Kurtosis is 3 for a
# Gaussian, larger where a few tokens stand out, smaller where the vocabulary falls into two groups.
# Tokens that training hardly saw are left out (`tokens="all"` keeps them): they lie together in $W_U$ and
# dominate the kurtosis of every direction.

# %%
moments = sae_analyzer.logit_distr()
display(
    moments.nlargest(5, "kurtosis")[["std", "skewness", "kurtosis", "norm", "log10_density"]].rename_axis(
        None
    )
)

# %% [markdown]
# ## How to read the plots
#
# Each plot shows the features beside **directions that mean nothing** (grey, and lines for further kinds),
# because logit weights are not Gaussian even for those. Between the dashed lines lie 99.8 % of the most
# extreme kind: features there look like chance, whatever their skewness. The legend says how many lie
# beyond. Types are judged by the same directions.

# %%
sae_analyzer.plot_logit_distr_skewness()

# %%
sae_analyzer.plot_logit_distr_kurtosis()

# %% [markdown]
# Both at once, coloured by std (per unit of the direction). Up and to the right are features that raise some
# tokens far more than they lower any, to the left those that lower some, below the null those that split the
# vocabulary. Nothing can lie below the line $\text{kurtosis} = 1 + \text{skewness}^2$.

# %%
sae_analyzer.plot_logit_distr_skewness_vs_kurtosis()

# %% [markdown]
# ## The four types
#
# [Bloom & Lin (2024)][post] name four types by what the two moments show:
#
# - **local context**: high kurtosis, skewness near zero to moderate. A few specific tokens stand out, such as
#   the closing bracket.
# - **prediction**: skewed to the right. A group of tokens is raised, such as numbers or past participles.
# - **suppression**: skewed to the left. Tokens are made less likely.
# - **partition**: low kurtosis. The vocabulary falls into two groups, with and without a leading space, say.
#
# A feature with a tail on either side is *two-sided* here, a name of ours. The post gives no thresholds; the
# workflow takes them from the directions that mean nothing, of each layer for itself. So **types may differ
# per layer**, and so may what a given skewness or kurtosis stands for.
#
# [post]: https://www.lesswrong.com/posts/qykrYY6rXXM7EEs8Q/understanding-sae-features-with-the-logit-lens
#
# `types()` gives the workflow's types, in its view and by its scheme. The clearest features of each:

# %%
types = sae_analyzer.types().set_index("feature")
typed = types[types["type"].isin(TYPES)].sort_values("evidence", ascending=False)
clearest = typed.groupby("type").head(2).index
chosen = torch.zeros(cfg_dict["d_sae"])
chosen[clearest.tolist()] = 1
shown = sae_analyzer.get_steered_features_info(chosen, top_k=None, threshold=0.5, descriptions=False)
shown = shown.set_index("feature").sort_values("type")
display(shown[["type", "skewness", "kurtosis", "top_tokens"]].rename_axis(None))

# %% [markdown]
# How many there are of each, in this layer and in the others, as the workflow has them; the second notebook
# holds these counts against chance.

# %%
places = {path.parts[-3]: path for path in Path("results/mini").glob("*/trained/types.parquet")}
counts = {}
for sae in sorted(places, key=depth):
    labels = tables.read(places[sae], TYPE_TABLE)
    counts[hook_label(sae)] = labels.loc[labels["scheme"] == "calibrated", "type"].value_counts()
display(pd.DataFrame(counts).T.reindex(columns=TYPES).fillna(0).astype(int).rename_axis(columns=None))

# %% [markdown]
# ## What a steering vector steers
#
# A trained adapter steers some features more than others. Nothing is trained here, so we make a vector by
# hand: the features that are active at the end of our text, turned off.

# %%
_, cache = sae_model.run_with_cache(text)
active = cache[next(name for name in cache if name.endswith("hook_features"))][0, -1]
steered = sae_analyzer.get_steered_features_info(-active, top_k=6).set_index("feature")
display(steered[["steering", "type", "skewness", "kurtosis", "top_tokens"]].rename_axis(None))

# %%
sae_analyzer.plot_steered_features(-active, top_k=6)

# %% [markdown]
# ## The same on GPT-2
#
# With a network the same lines run on GPT-2 and a published SAE. They fetch weights and explanations, so
# they are not run here:
#
# ```python
# from fsrl.utils import SAEfeatureAnalyzer
# from fsrl import SAEAdapter, HookedModel
# from transformer_lens import HookedTransformer
#
# adapter_kwargs = {"use_lora_adapter": True, "lora_rank": 64, "lora_alpha": 32, "fusion_mode": "additive"}
# sae, cfg_dict, sparsity = SAEAdapter.from_pretrained(
#     "gpt2-small-res-jb", "blocks.7.hook_resid_pre", device=device, **adapter_kwargs
# )
# model = HookedTransformer.from_pretrained("gpt2-small", device=device)
# sae_model = HookedModel(model, sae)
#
# sae_analyzer = SAEfeatureAnalyzer(sae_model)        # explanations of gpt2-small/7-res-jb
# sae_analyzer.feature_info[0]["description"]         # what Neuronpedia's explanation says
# sae_analyzer.get_feature_page(0)                    # the feature's dashboard at Neuronpedia, inline
# sae_analyzer.plot_logit_distr_skewness()
# sae_analyzer.plot_logit_distr_kurtosis()
# sae_analyzer.plot_logit_distr_skewness_vs_kurtosis()
# ```

# %% [markdown]
# ## Takeaway
#
# - `SAEfeatureAnalyzer` answers for one SAE what the workflow's tables hold for all: explanation, page,
#   moments, type.
# - Read a plot by its null: what lies within the grey means nothing, however skewed it is.
# - A type is a type of this layer. Compare layers before saying what an SAE's features are like.
