"""Tables of moments: of features and of null directions, their extreme tokens and histograms."""

from fsrl.tables.core import (
    BIMODALITY,
    FEATURE,
    KURTOSIS,
    MEAN,
    NORM,
    NULL_KIND,
    SKEWNESS,
    STD,
    TOKEN,
    TOKEN_ID,
    Column,
    Table,
)


def _side(power: int, side: str) -> Column:
    relation, value = {"right": ("above", "z"), "left": ("below", "-z")}[side]
    text = f"mean of max({value}, 0)^{power}: tokens {relation} the mean; null where constant"
    return Column("float64", "1", text, nullable=True)


def _tail_tokens(side: str) -> Column:
    text = (
        f"how many tokens make the {side} tail: V (R - R0)^2 / (E - E0), R {side}_kurtosis, E {side}_eighth, "
        "R0 and E0 medians under isotropic directions; infinite where a difference is <= 0; null: constant"
    )
    return Column("float64", "tokens", text, nullable=True, infinite=True)


RIGHT_SHARE = Column(
    "float64",
    "1",
    "(right_kurtosis - R0) / (kurtosis - K0), R0 and K0 medians under isotropic directions; null where "
    "kurtosis <= K0",
    nullable=True,
)
_MOMENTS = {
    "mean": MEAN,
    "std": STD,
    "skewness": SKEWNESS,
    "kurtosis": KURTOSIS,
    "right_kurtosis": _side(4, "right"),
    "left_kurtosis": _side(4, "left"),
    "right_share": RIGHT_SHARE,
    "tail_tokens": _tail_tokens("right"),
    "left_tail_tokens": _tail_tokens("left"),
    "right_eighth": _side(8, "right"),
    "left_eighth": _side(8, "left"),
    "bimodality": BIMODALITY,
    "norm": NORM,
}
MOMENTS = Table(
    "moments",
    {
        "feature": FEATURE,
        **_MOMENTS,
        "log10_density": Column("float32", "log10", "log10 share of tokens on which it fires", nullable=True),
        "alive": Column("bool", "1", "log10_density >= -9; null where unknown", nullable=True),
    },
)
EXTREMES = Table(
    "extremes",
    {
        "feature": FEATURE,
        "side": Column("string", "1", "top (most promoted) or bottom (most suppressed)"),
        "rank": Column("int32", "1", "0 is the most extreme; ties go to the lower token_id"),
        "token_id": TOKEN_ID,
        "token": TOKEN,
        "weight": Column("float64", "logit per activation", "logit weight of this token"),
    },
)
HISTOGRAMS = Table(
    "histograms",
    {
        "feature": FEATURE,
        "underflow": Column("int64", "tokens", "below mean - 8 std"),
        "counts": Column(
            "list<int64>", "tokens", "equal bins from mean - 8 std to mean + 8 std, [low, high)"
        ),
        "overflow": Column("int64", "tokens", "at or above mean + 8 std"),
    },
)
NULL = Table(
    "null",
    {
        "kind": NULL_KIND,
        "draw": Column("int32", "1", "number of the draw, from 0 in each kind"),
        **_MOMENTS,
    },
)

NULL_QUANTILES = Table(
    "null_quantiles",
    {
        "kind": NULL_KIND,
        "tail": Column(
            "string",
            "1",
            "right (left is its mirror), right_kurtosis (and left_kurtosis), heavy, flat; right_eighth: its "
            "median alone",
        ),
        "size": Column("int64", "values", "values pooled: twice the directions where a mirror is pooled"),
        "draws": Column("int64", "1", "directions"),
        "median": Column("float64", "as the value", "median"),
        "extreme": Column("float64", "as the value", "0.999 quantile"),
        "threshold": Column(
            "float64", "as the value", "start of the Pareto tail; null where too few draws", nullable=True
        ),
        "scale": Column("float64", "as the value", "scale of the Pareto tail", nullable=True),
        "shape": Column("float64", "1", "shape of the Pareto tail", nullable=True),
        "beyond": Column("int64", "values", "how many of the values are this large or larger"),
        "value": Column("float64", "1", "value of the tail: large is extreme, so flat has -kurtosis"),
    },
)
AXIS_SHARE = Table(
    "axis_share",
    {
        "feature": FEATURE,
        "axis_share": Column(
            "float64",
            "1",
            "share of the logit weights' variance along the activations' first principal axis; null where "
            "constant",
            nullable=True,
        ),
    },
)
