"""Tables of measured effects: what the changes are, how predictions agree with them, their summaries, and
where the features of the sample are most active.
"""

from fsrl.names import LABELS
from fsrl.tables.core import FEATURE, KURTOSIS, SKEWNESS, STD, Column, Table

# Figures of single positions that are averaged over them, with a standard error: of a change alone ...
SHAPE = {
    "std": "standard deviation of the measured change per unit of activation, times the final scale",
    "skewness": "skewness of the measured change per unit of activation",
    "kurtosis": "Pearson kurtosis of the measured change",
}
# ... and of a change with a prediction.
FIGURES = {
    "pearson": "correlation of the measured change with the predicted one over the view's tokens",
    "spearman": "the same of their ranks (of feature only)",
    "slope": "of the measured change on the predicted one; 1: the right size",
    "explained": "share of the measured change's variance that is predicted, no free factor",
    "overlap": "share of the ten most raised tokens among the ten predicted (of feature only)",
}
AVERAGED = ("pearson", "slope")
UNITS = {"std": "logit per activation"}
TYPE_SHARES = [f"share_{label}" for label in LABELS]


def _figures(figures: dict[str, str]) -> dict[str, Column]:
    columns = {}
    for name, text in figures.items():
        unit = UNITS.get(name, "1")
        text = f"mean over positions: {text}; null where nothing changed"
        columns[name] = Column("float64", unit, text, nullable=True)
        error = "its standard error over positions, each in another context; null for one position"
        columns[f"{name}_se"] = Column("float64", unit, error, nullable=True)
    return columns


_SAMPLED = {
    "feature": FEATURE,
    "type": Column("string", "1", "type of the feature by its logit weights, from which it was drawn"),
    "stratum": Column("int64", "features", "features of this type in the layer"),
}
_STATE = Column("string", "1", "active or inactive: the feature there")
_POSITIONS = Column("int64", "positions", "positions measured, each in another context")
_MATCHED = "a random direction with the feature's norm and its cosine with the stream at each position"
EFFECTS = Table(
    "effects",
    {
        **_SAMPLED,
        "log10_density": Column("float32", "log10", "log10 share of tokens on which it fires", nullable=True),
        "direction": Column("string", "1", f"feature; matched: {_MATCHED}, in its place"),
        "state": _STATE,
        "step": Column("string", "1", "+1, or the feature's own mean activation when active (+own)"),
        "alpha": Column("float64", "activation", "what was added, in units of the direction"),
        "relative_step": Column("float64", "1", "length of what was added / of the centred stream there"),
        "positions": _POSITIONS,
        **_figures(SHAPE),
        "odd_share": Column(
            "float64",
            "1",
            "share of the feature's change that turns its sign with alpha's; 1 if linear",
            nullable=True,
        ),
        "direct_std": Column(STD.dtype, STD.unit, "std of the direction's logit weights", nullable=True),
        "direct_skewness": SKEWNESS,
        "direct_kurtosis": KURTOSIS,
        "kept": Column(
            "float64",
            "1",
            "share of positions where the feature's measured change gets its type; null where it has none",
            nullable=True,
        ),
        "measured_type": Column("string", "1", "most frequent type of the measured change over positions"),
        **{
            f"share_{label}": Column("float64", "1", f"share of positions where the change is {label}")
            for label in LABELS
        },
    },
)
AGREEMENT = Table(
    "effect_agreement",
    {
        **_SAMPLED,
        "direction": Column(
            "string",
            "1",
            f"feature; in its place random: a random direction of its norm; matched: {_MATCHED}; other: the "
            "feature's change against what is predicted of another feature",
        ),
        "prediction": Column(
            "string",
            "1",
            "direct: the logit weights; corrected: with the final LayerNorm's derivative at the position; "
            "transported: through T of the hook (no rows where none was measured); own_mean: through the "
            "mean Jacobian of the feature's other positions of that state (no rows where not asked for)",
        ),
        "state": _STATE,
        "step": EFFECTS.columns["step"],
        "positions": _POSITIONS,
        **_figures(FIGURES),
        **{
            f"averaged_{name}": Column("float64", "1", f"{name} of the average over positions", nullable=True)
            for name in AVERAGED
        },
    },
)
PEAKS = Table(
    "effect_peaks",
    {
        "feature": FEATURE,
        "activation": Column("float64", "activation", "the feature's largest in the text of the effects"),
        "before": Column("string", "1", "the text before the token where it has that"),
        "token": Column("string", "1", "that token as text"),
        "after": Column("string", "1", "the text after it"),
    },
)
# Columns of tables `effects` and `effect_agreement` of which the feature's mean is given as it is.
PLAIN = ("spearman", "slope", "explained", "overlap", "odd_share", "averaged_pearson", "averaged_slope")
_MEAN = "mean over the sample's features"


def _intervals(figures: dict[str, str]) -> dict[str, Column]:
    return {
        f"{name}{end}": Column("float64", "1", f"{text}{note}", nullable=True)
        for name, text in figures.items()
        for end, note in (("", ""), ("_low", ": 2.5 % of bootstrap over features"), ("_high", ": 97.5 %"))
    }


_SAE = Column("string", "1", "SAE, in the order of the study")
_WHETHER = Column("string", "1", "whether the feature is active at the positions")
_STEP = Column("string", "1", "+1, or the feature's own mean activation")
_OVER_MATCHED = "the feature's pearson less its matched control's at the same positions"
SUMMARY = Table(
    "effect_summary",
    {
        "sae": _SAE,
        "type": Column("string", "1", "type by the logit weights; all: types weighted by their numbers"),
        "state": _WHETHER,
        "step": _STEP,
        "features": Column("int64", "features", "features measured"),
        "stratum": Column("int64", "features", "features of this type in the layer"),
        **_intervals(
            {
                "pearson": f"correlation of measured change and weights, {_MEAN}",
                "difference": f"{_OVER_MATCHED}, {_MEAN}",
                "kept": "share of positions where the measured change has the feature's type, "
                f"{_MEAN} that have a type; null where none has",
            }
        ),
        "matched": Column("float64", "1", "pearson of the matched controls", nullable=True),
        "random": Column("float64", "1", "pearson of random directions of the same norm", nullable=True),
        "other": Column("float64", "1", "pearson with another feature's weights", nullable=True),
        **{name: Column("float64", "1", f"{name}, {_MEAN}", nullable=True) for name in PLAIN},
    },
)
# What the table of agreement by hook has intervals of.
PAIRED = {
    "pearson": f"correlation of the measured change with the predicted one, {_MEAN}",
    "spearman": f"the same of their ranks, {_MEAN}",
    "slope": f"slope of the measured change on the predicted one, {_MEAN}",
    "overlap": f"share of the ten most raised tokens among the ten predicted, {_MEAN}",
    "over_direct": f"pearson less that of the direct weights at the same positions, {_MEAN}",
    "over_matched": f"{_OVER_MATCHED}, by the same prediction, {_MEAN}; null for other directions",
}
BY_HOOK = Table(
    "effects_by_hook",
    {
        "sae": _SAE,
        "direction": AGREEMENT.columns["direction"],
        "prediction": AGREEMENT.columns["prediction"],
        "state": _WHETHER,
        "step": _STEP,
        "features": Column("int64", "features", "features measured; types weighted by their numbers"),
        **_intervals(PAIRED),
        "explained": Column("float64", "1", f"explained, {_MEAN}", nullable=True),
        "averaged_pearson": Column("float64", "1", f"averaged_pearson, {_MEAN}", nullable=True),
    },
)
RETENTION = Table(
    "effect_retention",
    {
        "sae": _SAE,
        "state": _WHETHER,
        "direct_type": Column("string", "1", "type by the logit weights, of features that have one"),
        "measured_type": Column("string", "1", "type by the measured change, step +1"),
        "features": Column("int64", "features", "features of the direct type measured"),
        "share": Column("float64", "1", "share of their positions, mean over features"),
    },
)
