# %% [markdown]
# # Direct against measured effects
#
# Logit weights are a prediction: they say what a feature does to the logits if nothing but the final
# LayerNorm came after it. In truth there are layers in between that read what the feature wrote. So the
# workflow *measures*: it adds each feature of a sample to the residual stream of the model, at single
# positions of held-out text, and looks at how the logits change. This notebook reads those measurements of
# one study, the embedded `mini`, unless the workflow ran it for another.
#
# **In this notebook:** [What is measured](#What-is-measured) · [One feature](#One-feature) ·
# [Every layer](#Every-layer) · [Does the shape survive?](#Does-the-shape-survive?) ·
# [Takeaway](#Takeaway)
#
# **The others:** [A tour](visualizing_sae_features.ipynb) ·
# [Moments and types](moments_and_types.ipynb) · [What types promote](what_types_promote.ipynb) ·
# [Transported weights and steering](transported_weights_and_steering.ipynb) ·
# [Bring your own SAE](bring_your_own_sae.ipynb)

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from fsrl.effects import summary as effect_summary
from fsrl.figures import effects as effect_figures
from fsrl.figures import style as figure_style
from fsrl.hooks import hook_label
from fsrl.names import type_label
from fsrl.notebooks import setup as notebook_setup
from fsrl.tables import core as tables
from fsrl.tables.effects import AGREEMENT, BY_HOOK, EFFECTS, RETENTION, SUMMARY

_ = notebook_setup.start()

# %% tags=["parameters"]
STUDY = "mini"

# %%
VIEW, SCHEME = "trained", "calibrated"
RESULTS = Path("results") / STUDY
TITLE = f"{STUDY} · view {VIEW} · scheme {SCHEME}"
saes = list(pd.read_csv(RESULTS / f"summary/{VIEW}.tsv", sep="\t")["sae"])

# %% [markdown]
# ## What is measured
#
# Let $x$ be the residual stream at the end, before the final LayerNorm (LN), and $x'$ the same after
# $\alpha \, W_{\text{dec}}[i]$ was added at feature $i$'s hook. The change of the logits per unit of
# activation,
#
# $$u = \frac{1}{\alpha} \left( \text{LN}(x') - \text{LN}(x) \right) W_U,$$
#
# is held against what is predicted, $w = p \, W_U$, one position at a time, over the whole vocabulary:
#
# - **direct**: $p = W_{\text{dec}}[i]$, the logit weights;
# - **corrected**: with the final LayerNorm's derivative at the position in it;
# - **transported**: $p = T \, W_{\text{dec}}[i]$, with $T$ the model's mean Jacobian from the hook to the
#   end, fitted on other text;
# - **own_mean**: through the mean Jacobian of the feature's own other positions.
#
# Of each pair there is
#
# - **pearson**: the correlation of $u$ and $w$;
# - **slope**: of $u$ on $w / s$, with $s$ the final LayerNorm's scale there; 1 if the size is right;
# - **overlap**: the share of the ten most raised tokens among the ten with the largest $w$;
# - **kept**: the share of positions at which the shape of $u$ gets the feature's type (of features with one).
#
# Agreement alone says nothing about *features*: any direction agrees with its own weights to some degree.
# So a **matched control** is added at the same positions, a random direction with the feature's length *and*
# its cosine with the residual stream there. The cosine matters: what lies along the stream, the final
# LayerNorm takes out again. The feature's change is also compared with the weights of **another** feature.

# %%
effects = {sae: tables.read(RESULTS / sae / VIEW / "effects.parquet", EFFECTS) for sae in saes}
agreement = {sae: tables.read(RESULTS / sae / VIEW / "agreement.parquet", AGREEMENT) for sae in saes}
by_hook = tables.read(RESULTS / "summary/effects_by_hook.parquet", BY_HOOK)
summary = tables.read(RESULTS / "summary/effects_summary.parquet", SUMMARY)
every = pd.concat(effects, names=["sae"])
pairs = every.reset_index("sae")[["sae", "feature", "type"]].drop_duplicates()
positions = every["positions"].max()
display(
    Markdown(f"{len(pairs)} features, at up to {positions} positions of either state, active and inactive:")
)
sampled = pairs.groupby(["sae", "type"]).size()
sampled = sampled.unstack(fill_value=0).reindex(saes).rename_axis(index=None, columns=None)
sampled = sampled[[name for name in figure_style.TYPE_COLORS if name in sampled]]
display(sampled.rename(index=hook_label, columns=type_label))

# %% [markdown]
# ## One feature
#
# The feature of the last layer with the largest skewness, where it is active: one unit of it, and its own
# mean activation, against each prediction, and the controls.

# %%
last = effects[saes[-1]]
feature = last.loc[last["direct_skewness"].where(last["direction"] == "feature").idxmax(), "feature"]
one = agreement[saes[-1]]
one = one[(one["feature"] == feature) & (one["state"] == "active")]
display(Markdown(f"Feature {feature}, {type_label(one['type'].iloc[0])} by its logit weights:"))
columns = ["positions", "pearson", "pearson_se", "slope", "overlap"]
display(one.set_index(["direction", "prediction", "step"])[columns].astype(object).fillna(""))

# %% [markdown]
# ## Every layer
#
# Above: the correlation of the measured change with each prediction; the dashes are the matched controls.
# Middle: how much more than the logit weights each gives. Below: how much more of features than of controls.

# %%
effect_figures.agreement(by_hook, title=TITLE)

# %% [markdown]
# The logit weights alone, type by type: correlation (dots: another feature's weights), the difference to the
# matched controls, and how often the type is kept.

# %%
effect_figures.agreement_by_type(summary, title=TITLE)

# %%
of_all = summary[(summary["step"] == "+1") & (summary["type"] == effect_summary.ALL)]
active = of_all[of_all["state"] == "active"]
active = active.set_index(active["sae"].map(hook_label)).rename_axis(None)
columns = ["pearson", "matched", "random", "other", "difference", "difference_low", "difference_high"]
display(active[columns])
below = active[active["difference_high"] < 0].index
above = active[active["difference_low"] > 0].index
found = f"less in {len(below)} of {len(active)} layers ({', '.join(below) or 'none'})"
found += f", more in {len(above)} ({', '.join(above) or 'none'})"
display(Markdown(f"Active features against matched controls, by the intervals over features: {found}."))

# %% [markdown]
# The later a layer, the shorter the way to the logits. A random direction of the same length alone (`random`)
# differs from a feature in the last layer too, where it has another cosine with the stream: that is the final
# LayerNorm's work, and no finding about features. What `matched` leaves at earlier hooks is: the layers after
# them were trained on what features write, and react to it.
#
# ## Does the shape survive?
#
# Skewness and kurtosis of the measured change against those of the logit weights, in the first, a middle
# and the last layer. On the line nothing changes.

# %%
effect_figures.moments(effects, title=TITLE)

# %% [markdown]
# So what becomes of a type? Each row is a type by the logit weights, each column the type of the measured
# change, in per cent of the positions.

# %%
retention = tables.read(RESULTS / "summary/effects_retention.parquet", RETENTION)
effect_figures.retention(retention, title=TITLE)

# %% [markdown]
# ## Takeaway

# %%
wanted = {"direction": "feature", "state": "active", "step": "+1"}
features = by_hook[(by_hook[list(wanted)] == pd.Series(wanted)).all(axis=1)]
pearson = features.pivot(index="sae", columns="prediction", values="pearson").reindex(saes)
better = [hook_label(sae) for sae in saes if pearson.loc[sae, "transported"] > pearson.loc[sae, "direct"]]
lines = [
    "The correlation of logit weights with the measured change "
    f"goes from {pearson['direct'].iloc[0]:.2f} at the first hook to "
    f"{pearson['direct'].iloc[-1]:.2f} at the last.",
    f"Carried through the later blocks on average they predict better at {len(better)} of {len(saes)} hooks "
    f"({', '.join(better) or 'none'}).",
    "Agreement is no finding about features until it is held against a control with the same norm and the "
    "same cosine with the stream.",
]
display(Markdown("\n".join(f"- {line}" for line in lines)))
