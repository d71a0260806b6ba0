# %% [markdown]
# # Transported weights and steering
#
# Logit weights leave the later blocks out. **Transported** weights put them in, on average: a feature's
# decoder row is first carried from its hook to the end of the residual stream by the model's mean Jacobian.
# Do they read better than the direct ones, and do they say which features steer the model? This notebook
# reads the workflow's tables of one study, the embedded `mini`, unless the workflow ran it for another.
#
# **In this notebook:** [Carried to the end](#Carried-to-the-end) ·
# [What becomes of the types](#What-becomes-of-the-types) · [Ten features](#Ten-features) ·
# [What really comes next](#What-really-comes-next) · [Which features steer](#Which-features-steer) ·
# [By which path](#By-which-path) · [Takeaway](#Takeaway)
#
# **The others:** [A tour](visualizing_sae_features.ipynb) · [Moments and types](moments_and_types.ipynb) ·
# [What types promote](what_types_promote.ipynb) ·
# [Measured effects](direct_vs_measured_effects.ipynb) · [Bring your own SAE](bring_your_own_sae.ipynb)

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from fsrl.effects.names import DIRECT, TRANSPORTED
from fsrl.figures import style as figure_style
from fsrl.figures import transported as transport_figures
from fsrl.figures.effects import PREDICTED
from fsrl.hooks import hook_label
from fsrl.names import TYPES, type_label
from fsrl.notebooks import setup as notebook_setup
from fsrl.tables import core as tables
from fsrl.tables.effects import AGREEMENT, PEAKS
from fsrl.tables.moments import EXTREMES, MOMENTS, NULL_QUANTILES
from fsrl.tables.steering import FORECASTS, NEXT_TOKEN_SUMMARY, PATHS
from fsrl.tables.types import TYPE_COUNTS

_ = notebook_setup.start()

# %% tags=["parameters"]
STUDY, MODEL = "mini", "mini-model"

# %%
SCHEME = "calibrated"
VIEWS = {DIRECT: "trained", TRANSPORTED: "transported"}
RESULTS = Path("results") / STUDY
TITLE = f"{STUDY} · views {' and '.join(VIEWS.values())}"
saes = list(pd.read_csv(RESULTS / f"summary/{VIEWS[DIRECT]}.tsv", sep="\t")["sae"])
hooks = [hook_label(sae) for sae in saes]

# %% [markdown]
# ## Carried to the end
#
# With $x$ the stream at a hook and $x_{\text{end}}$ that before the final norm, at one and the same position,
#
# $$T = \text{mean over positions of} \; N \, \frac{\partial x_{\text{end}}}{\partial x}$$
#
# where $N$ is the final norm's derivative, times its scale. A decoder row $d$ has the direct weights
# $d \, W_U$ and the transported ones $(T d) \, W_U$: the mean change of the logits, per unit, by a small
# step along $d$. $T$ was fitted on text that the effects and the steering below do not use. Null directions
# are carried by the same $T$, so that types mean in this view what they mean in the other.

# %%
layers = {}
for sae in saes:
    folders = {kind: RESULTS / sae / view for kind, view in VIEWS.items()}
    null_folders = {DIRECT: RESULTS.parent / f"models/{MODEL}/null_quantiles/{VIEWS[DIRECT]}.parquet"}
    null_folders[TRANSPORTED] = folders[TRANSPORTED] / "null_quantiles.parquet"
    layers[sae] = transport_figures.Layer(
        moments={kind: tables.read(folder / "moments.parquet", MOMENTS) for kind, folder in folders.items()},
        extremes={
            kind: tables.read(folder / "extremes.parquet", EXTREMES) for kind, folder in folders.items()
        },
        quantiles={kind: tables.read(path, NULL_QUANTILES) for kind, path in null_folders.items()},
        agreement=tables.read(folders[DIRECT] / "agreement.parquet", AGREEMENT),
        contexts=tables.read(folders[DIRECT] / "peaks.parquet", PEAKS),
    )
transport_figures.moments(layers, title=TITLE)

# %% [markdown]
# Where a blue bar leaves its dashes and a black one does not, the later blocks make something particular of
# what the feature writes; where it is the other way round, they take it apart.
#
# ## What becomes of the types
#
# Features of each type by layer, under direct and under transported weights; in brackets what chance gives.

# %%
counts = pd.concat(
    {
        (sae, kind): tables.read(RESULTS / sae / view / "type_counts.parquet", TYPE_COUNTS)
        for sae in saes
        for kind, view in VIEWS.items()
    },
    names=["layer", "weights", None],
).reset_index(["layer", "weights"])
counts = counts[(counts["scheme"] == SCHEME) & counts["type"].isin(TYPES)]
counts["count"] = (
    counts["features"].astype(str) + " (" + counts["expected_at_bounds"].map(figure_style.expected) + ")"
)
counts["layer"] = counts["layer"].map(hook_label)
wide = counts.pivot(index=["layer", "weights"], columns="type", values="count")
rows = pd.MultiIndex.from_product([hooks, list(VIEWS)])
wide = wide.reindex(rows)[list(TYPES)].rename(columns=type_label)
display(wide.rename_axis(index=[None, None], columns=None))

# %% [markdown]
# ## Ten features
#
# The features of the measured sample with the largest kurtosis of their transported weights, hook by hook
# in turns: where each is most active, the tokens that its weights raise most on the direct path and
# transported, and how either correlates with the measured change of the logits.

# %%
transport_figures.tokens(layers, title=TITLE)

# %% [markdown]
# ## What really comes next
#
# Where a feature fires on held-out text, how high do its weights put the token that really comes next? The
# percentile of that token among all, less the same mean over all positions, so that a feature whose weights
# say nothing of what follows has a gain of zero. Means over features, types weighted by their numbers.

# %%
following = tables.read(RESULTS / "summary/next_token.parquet", NEXT_TOKEN_SUMMARY)
following.index = following["sae"].map(hook_label)
columns = ["features", "direct_gain", "transported_gain", "difference", "difference_low", "difference_high"]
display(following[columns].rename_axis(None))

# %% [markdown]
# ## Which features steer
#
# Each direction is added at the last position of neutral prompts, as far as a multiple of the feature's
# largest activation, and scored after Arad, Mueller and Belinkov (2025). With $V$ the tokens of largest
# logit weight,
#
# $$\text{output score} = \left( 1 - \frac{\min_{t \in V} \text{rank}(t)}{d_{\text{vocab}}} \right)
# \max_{t \in V} p(t)$$
#
# where $p$ is the next token's distribution with the direction added. The forecast of a direction is the
# score that it would have if the blocks between its hook and the final norm did nothing (direct), or what
# $T$ says (transported). Below: the rank correlation of forecast and measured score over the features of a
# layer, and over random directions of the same norms.

# %%
forecasts = tables.read(RESULTS / "summary/steering.parquet", FORECASTS)
steering = forecasts.set_index([forecasts["sae"].map(hook_label), "direction", "weights"])
shown = steering["spearman"].unstack(["direction", "weights"]).reindex(hooks)
shown["over random", DIRECT] = steering["over_random"].xs(("feature", DIRECT), level=[1, 2])
display(shown.rename_axis(index=None, columns=[None, None]))

# %%
with figure_style.styled():
    figure = figure_style.new_figure(figure_style.DOUBLE, 2.9, f"{TITLE}\n95 % intervals over directions")
    grid = figure.subplots(1, 2)
    panels = {
        "what comes next: gain in percentile": None,
        "steering: correlation with the forecast": "spearman",
    }
    for ax, (label, column) in zip(grid, panels.items(), strict=True):
        for shift, kind in ((-0.08, DIRECT), (0.08, TRANSPORTED)):
            name = column or f"{kind}_gain"
            part = steering.xs(("feature", kind), level=[1, 2]) if column else following
            part = part.reindex(hooks)
            spread = [part[name] - part[f"{name}_low"], part[f"{name}_high"] - part[name]]
            places = [place + shift for place in range(len(hooks))]
            _, color, marker = PREDICTED[kind]
            ax.errorbar(
                places, part[name], yerr=spread, color=color, fmt=f"{marker}-", markersize=3, label=kind
            )
        ax.axhline(0, color=figure_style.NULL_COLOR, linewidth=0.5)
        ax.set_xticks(range(len(hooks)), hooks, rotation=90)
        ax.set_ylabel(label)
    grid[1].legend(loc="lower right")
display(figure)

# %% [markdown]
# ## By which path
#
# The change of the logits is, exactly, a sum of three: what the row makes by itself at the final norm's
# scale as it was (*direct*), what the blocks between make of it (*blocks*), and what the change of that
# scale makes (*scale*). Shares of the variance of the change, medians over the features of the sample, where
# they are active.

# %%
paths = pd.concat({hook_label(sae): tables.read(RESULTS / sae / "paths.parquet", PATHS) for sae in saes})
paths = paths.reset_index(level=1, drop=True).rename_axis("layer").reset_index()
shares = ["direct_share", "blocks_share", "scale_share"]
medians = paths.groupby(["layer", "direction"], sort=False)[shares].median().unstack("direction")
display(medians.reindex(hooks).round(4).rename_axis(index=None, columns=[None, None]))

# %% [markdown]
# ## Takeaway

# %%
better = following[following["difference_low"] > 0].index
worse = following[following["difference_high"] < 0].index
gains = steering.xs(("feature", TRANSPORTED), level=[1, 2]).reindex(hooks)
forecast = gains[gains["spearman_gain_low"] > 0].index
typed = counts.groupby(["layer", "weights"])["features"].sum().unstack().reindex(hooks)
most = (typed[TRANSPORTED] - typed[DIRECT]).abs().idxmax()
lines = [
    f"Types are those of a view: at {most}, {typed.loc[most, DIRECT]} features have one by their direct "
    f"weights and {typed.loc[most, TRANSPORTED]} by the transported ones.",
    f"What comes next is read better by transported weights at {', '.join(better) or 'no hook'}, and worse "
    f"at {', '.join(worse) or 'no hook'} (intervals that exclude zero).",
    f"Which features steer is forecast better by them at {', '.join(forecast) or 'no hook'}. Random "
    "directions stand beside: a forecast that does as well for those says nothing about features.",
]
display(Markdown("\n".join(f"- {line}" for line in lines)))
