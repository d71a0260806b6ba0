"""Tables of measured effects: every feature's, their summary by layer and type, and what types are kept."""

from dataclasses import replace

from fsrl.names import LABELS
from fsrl.tables.core import FEATURE, KURTOSIS, SKEWNESS, STD, Column, Table

# Figures of single positions that are averaged over them, with a standard error.
FIGURES = {
    "pearson": "correlation of the measured change with the logit weights over the view's tokens",
    "spearman": "the same of their ranks",
    "slope": "of the measured change on the weights / the final LayerNorm's scale; 1: direct path only",
    "explained": "share of the measured change's variance that the weights / scale predict, no free factor",
    "overlap": "share of the ten most raised tokens among the ten with the largest weights",
    "std": "standard deviation of the measured change per unit of activation, times the final scale",
    "skewness": "skewness of the measured change per unit of activation",
    "kurtosis": "Pearson kurtosis of the measured change",
}
AVERAGED = ("pearson", "spearman", "slope", "explained", "overlap", "skewness", "kurtosis")
UNITS = {"std": "logit per activation"}
TYPE_SHARES = [f"share_{label}" for label in LABELS]


def _figures() -> dict[str, Column]:
    columns = {}
    for name, text in FIGURES.items():
        unit = UNITS.get(name, "1")
        text = f"mean over positions: {text}; null where nothing changed"
        columns[name] = Column("float64", unit, text, nullable=True)
        error = "its standard error over positions, each in another context; null for one position"
        columns[f"{name}_se"] = Column("float64", unit, error, nullable=True)
    return columns


EFFECTS = Table(
    "effects",
    {
        "feature": FEATURE,
        "type": Column("string", "1", "type of the feature by its logit weights, from which it was drawn"),
        "stratum": Column("int64", "features", "features of this type in the layer"),
        "log10_density": Column("float32", "log10", "log10 share of tokens on which it fires", nullable=True),
        "direction": Column(
            "string",
            "1",
            "feature; random: a random direction of the same norm in its place; other: the feature's change "
            "against the weights of another feature",
        ),
        "state": Column("string", "1", "active or inactive: the feature there"),
        "step": Column("string", "1", "+1, -1, plus or minus the feature's own mean activation when active"),
        "alpha": Column("float64", "activation", "what was added, in units of the direction"),
        "relative_step": Column("float64", "1", "length of what was added / of the centred stream there"),
        "positions": Column("int64", "positions", "positions measured, each in another context"),
        **_figures(),
        "odd_share": Column(
            "float64", "1", "share of the change that turns its sign with alpha's; 1 if linear", nullable=True
        ),
        "direct_std": replace(STD, nullable=True),
        "direct_skewness": SKEWNESS,
        "direct_kurtosis": KURTOSIS,
        "direct_type": Column("string", "1", "type by the logit weights of the direction compared with"),
        "kept": Column("float64", "1", "share of positions where the measured change gets the direct type"),
        "measured_type": Column("string", "1", "most frequent type of the measured change over positions"),
        **{
            f"share_{label}": Column("float64", "1", f"share of positions where the change is {label}")
            for label in LABELS
        },
        **{
            f"averaged_{name}": Column("float64", "1", f"{name} of the average over positions", nullable=True)
            for name in AVERAGED
        },
        "averaged_type": Column("string", "1", "type that the change averaged over positions would get"),
    },
)
# Columns of table `effects` of which the feature's mean is given as it is.
PLAIN = ("spearman", "slope", "explained", "overlap", "odd_share", "averaged_pearson", "averaged_slope")
_MEAN = "mean over the sample's features"
SUMMARY = Table(
    "effect_summary",
    {
        "sae": Column("string", "1", "SAE, in the order of the study"),
        "type": Column("string", "1", "type by the logit weights; all: types weighted by their numbers"),
        "state": Column("string", "1", "whether the feature is active at the positions"),
        "step": Column("string", "1", "+1, or the feature's own mean activation"),
        "features": Column("int64", "features", "features measured"),
        "stratum": Column("int64", "features", "features of this type in the layer"),
        **{
            f"{name}{end}": Column("float64", "1", f"{text}{note}", nullable=True)
            for name, text in (
                ("pearson", f"correlation of measured change and weights, {_MEAN}"),
                ("difference", f"pearson less that of a random direction at the same positions, {_MEAN}"),
                ("kept", f"share of positions where the measured change has the feature's type, {_MEAN}"),
            )
            for end, note in (
                ("", ""),
                ("_low", ": 2.5 % of bootstrap over features"),
                ("_high", ": 97.5 %"),
            )
        },
        "random": Column("float64", "1", "pearson of the random directions", nullable=True),
        "other": Column("float64", "1", "pearson with another feature's weights", nullable=True),
        **{name: Column("float64", "1", f"{name}, {_MEAN}", nullable=True) for name in PLAIN},
    },
)
RETENTION = Table(
    "effect_retention",
    {
        "sae": Column("string", "1", "SAE, in the order of the study"),
        "state": Column("string", "1", "whether the feature is active at the positions"),
        "direct_type": Column("string", "1", "type by the logit weights"),
        "measured_type": Column("string", "1", "type by the measured change, step +1"),
        "features": Column("int64", "features", "features of the direct type measured"),
        "share": Column("float64", "1", "share of their positions, mean over features"),
    },
)
