# %% [markdown]
# # Bring your own SAE
#
# Everything that the workflow does to an SAE works on **any two matrices**: directions in a residual
# stream, `W_dec` [features, d_model], and an unembedding, `W_U` [d_model, tokens]. This notebook treats the
# embedded study's last SAE as if it were yours: plain files, no workflow, no table.
#
# **In this notebook:** [Two matrices](#Two-matrices) ·
# [Moments of the logit weights](#Moments-of-the-logit-weights) ·
# [What chance gives, and types](#What-chance-gives,-and-types) ·
# [Which tokens are promoted?](#Which-tokens-are-promoted?) ·
# [From the hub, or through SAELens](#From-the-hub,-or-through-SAELens) ·
# [The whole workflow](#The-whole-workflow) · [Takeaway](#Takeaway)
#
# **The others:** [A tour](visualizing_sae_features.ipynb) ·
# [Moments and types](moments_and_types.ipynb) · [What types promote](what_types_promote.ipynb) ·
# [Measured effects](direct_vs_measured_effects.ipynb) ·
# [Transported weights and steering](transported_weights_and_steering.ipynb)

# %%
import json

import numpy as np
import pandas as pd
import torch
import yaml
from IPython.display import display
from safetensors.torch import load_file

from fsrl import enrichment, moments, nulls, weights
from fsrl.enrichment import best_sets
from fsrl.figures import layer as layer_figures
from fsrl.models import export
from fsrl.moments import frames as moment_frames
from fsrl.names import TYPES, type_label
from fsrl.notebooks import setup as notebook_setup
from fsrl.nulls import quantiles
from fsrl.nulls.frames import fresh_seed
from fsrl.nulls.typical import typical as typical_of
from fsrl.stats import odds, rates
from fsrl.tokens import sets as token_sets
from fsrl.tokens import text as token_text
from fsrl.types import chance, classify
from fsrl.types.rules import parse_scheme

notebook_setup.start()
SAE = "data/mini/saes/blocks.5.hook_resid_post/sae_weights.safetensors"
MODEL = "data/mini/model"

# %% [markdown]
# ## Two matrices
#
# An SAE's decoder, and the model's unembedding with the final LayerNorm's weight folded in. (GPT-2 ties
# embedding and unembedding, so $W_U$ is the transposed token embedding.) The tokens are only needed to read
# the results.

# %%
W_dec = load_file(SAE)["W_dec"].float()
model = load_file(f"{MODEL}/model.safetensors")
W_U = export.fold(model["transformer.wte.weight"].float().T, model["transformer.ln_f.weight"].float())
with open(f"{MODEL}/vocab.json", encoding="utf-8") as file:
    vocabulary = json.load(file)
tokens = sorted(vocabulary, key=vocabulary.get)
print(f"W_dec {list(W_dec.shape)}, W_U {list(W_U.shape)}, {len(tokens)} tokens")

# %% [markdown]
# A few hundred tokens that training hardly saw lie together in $W_U$ and dominate the kurtosis of *every*
# direction, so they are left out. Here the training text's counts are known; where yours are not,
# `fsrl.nulls.undertrained.by_distance` finds such tokens from $W_U$ alone.

# %%
kept = (load_file("data/mini/token_counts.safetensors")["count"] >= 100).nonzero().squeeze(1)
W_U = W_U[:, kept]
tokens = [tokens[token_id] for token_id in kept]
print(f"{len(tokens)} tokens kept")

# %% [markdown]
# ## Moments of the logit weights
#
# Exact over the whole vocabulary, without ever holding `W_dec @ W_U`: for one SAE of GPT-2 that would be 5
# GB.

# %%
result = moments.logit_moments(W_dec, W_U)
shape = {"mean": result.mean, "std": result.std, "skewness": result.skewness, "kurtosis": result.kurtosis}
frame = pd.DataFrame(shape)
frame["raises most"] = ["  ".join(token_text.legible(tokens[i]) for i in row[:6]) for row in result.top_ids]
display(frame.nlargest(6, "skewness"))

# %% [markdown]
# The fast path can be checked against the definition, on a few rows, in double precision:

# %%
exact = moments.row_moments(W_dec[:50].double() @ W_U.double())
error = (torch.stack([result.skewness, result.kurtosis])[:, :50] - exact[:, 2:4].T).abs().amax(1).tolist()
print(f"differences below 1e-5: skewness {error[0] < 1e-5}, kurtosis {error[1] < 1e-5}")

# %% [markdown]
# ## What chance gives, and types
#
# Directions that mean nothing, under the same `W_U`: isotropic ones, Gaussian ones with the second moment
# of your rows, and some that write along the principal axes of `W_U` as strongly as your rows on average.
# Their number and seed and the scheme's settings are the workflow's, from the config, and so are the types.

# %%
with open("config/config.yaml", encoding="utf-8") as file:
    config = yaml.safe_load(file)
drawn, seed = config["nulls"], config["nulls"]["seed"]
isotropic = nulls.isotropic(W_U, draws=drawn["draws"], seed=seed)
typical = typical_of(isotropic)
kinds = ["second_moment", "spectrum"]
layer = nulls.of_layer(W_dec, W_U, kinds=kinds, draws=drawn["layer_draws"], seed=seed, typical=typical)
null = pd.concat([isotropic, layer], ignore_index=True)

mine = weights.Decoder(W_dec, None, hook="mine", layer=5, sae="mine", metadata={})
table = moment_frames.moments_frame(result, mine, typical)
calibrated = config["types"]["schemes"]["calibrated"]
typing = classify.typing_of(parse_scheme("calibrated", calibrated), table, quantiles.of_draws(null))
types = classify.types(typing)

# What chance gives is counted among directions that set no bound, of either kind that bounds the types.
draws = {"draws": drawn["fresh_draws"], "seed": fresh_seed(seed)}
fresh = [
    nulls.isotropic(W_U, **draws),
    nulls.of_layer(W_dec, W_U, kinds=["spectrum"], typical=typical, **draws),
]
clusters = odds.decoder_clusters(W_dec, threshold=0.7)
counts = chance.type_counts(typing, chance.chance(typing, pd.concat(fresh)), clusters, seed=0)
shown = counts.set_index("type")[["features", "expected_at_bounds"]].loc[list(TYPES)]
display(shown.rename(index=type_label).rename_axis(None))

# %% [markdown]
# `expected_at_bounds` is how many of as many such directions get the type. Every
# figure takes tables and gives a figure:

# %%
layer_figures.types(table, null, types, counts, scheme="calibrated", title="my SAE")

# %% [markdown]
# ## Which tokens are promoted?
#
# Named sets are read from the tokens; a set of your own is a regular expression or a list of words.
# p-values come from each row's alignment with the set beside that with directions turned at random and with
# random sets of the same size, and are adjusted over all features and sets.

# %%
own = {"first_person": {"words": ["I", "we", "We", "my", "My", "our", "me", "us"]}}
sets = token_sets.token_sets(tokens, extra=own)
members = torch.from_numpy(sets.to_numpy().T.copy())
tested = enrichment.testable(members)
names = sets.columns[tested.numpy()]
found = enrichment.set_statistics(W_dec, W_U, members[tested])
log10_q = torch.from_numpy(rates.benjamini_hochberg(found.log10_p.numpy())).float()
best = best_sets.best_sets(found.t, found.log10_p, log10_q)
significant = log10_q <= np.log10(0.05)
print(f"{len(names)} sets tested; {int(significant.sum())} of {significant.numel():,} pairs are significant")

# %%
frame["type"] = types["type"]
frame["promoted set"], frame["log10 q"] = names[best.promoted.numpy()], best.promoted_log10_q.numpy()
columns = ["type", "promoted set", "log10 q", "raises most"]
display(frame.nsmallest(10, "log10 q")[columns])

# %% [markdown]
# The features most aligned with the set of our own:

# %%
t = found.t[:, names.get_loc("first_person")].numpy()
ranked = frame.assign(t=t).nlargest(3, "t")
display(ranked[["t", "type", "raises most"]])

# %% [markdown]
# ## From the hub, or through SAELens
#
# An SAE of any architecture that SAELens reads, from a release or a folder in its layout, and any GPT-2 of
# the hub (these lines fetch weights, so they are not run here):
#
# ```python
# from fsrl.models import export, reading, saes, sources
#
# sae, cfg_dict, log10_density = saes.load_sae("gpt2-small-res-jb", "blocks.8.hook_resid_pre")
# W_dec = sae.W_dec.detach()
#
# source = sources.ModelSource(hub="gpt2")
# sources.fetch(source)
# unembedding = export.unembedding(
#     reading.read_model(source), counts_path=None, min_count=100, draws=20_000, seed=0
# )
# ```
#
# `unembedding.folded` is $W_U$ with every token, `unembedding.trained` says which tokens to keep. A decoder
# that does not write to the residual stream directly (`hook_z`) must be mapped there first;
# `dictionaries.decoders` does that.
#
# ## The whole workflow
#
# Tables, nulls, tests, measured effects and figures of your SAEs come from a few lines in
# `config/config.yaml` and no code. `folder:` is one in SAELens layout, with a folder for each SAE:
#
# ```yaml
# studies:
#   my-study:
#     model: {hub: gpt2}                    # or {folder: path/to/model}, in Hugging Face layout
#     saes: {folder: path/to/my/saes}       # or {release: gpt2-small-res-jb}
# ```
#
# and then
#
# ```
# snakemake --cores 8 --config study=my-study
# ```

# %% [markdown]
# ## Takeaway
#
# - Two matrices and the tokens are enough for moments, nulls, types and token sets; a model is needed only to
#   measure what features do.
# - Types are counts beside chance: draw the null directions under your own $W_U$, and leave out the tokens
#   that training hardly saw.
# - What is done here by hand a study in the config does for every layer, with the tables, figures and tests
#   of the other notebooks.
