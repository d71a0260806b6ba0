"""Tables of steering, of next tokens where features fire, of paths to the logits, and of confidence."""

from fsrl.tables import core
from fsrl.tables.core import Column, Table

# What is added: a feature, or a random direction of its norm in its place.
FEATURE, RANDOM = "feature", "random"

TYPE = Column("string", "1", "type of the feature by its logit weights, from which it was drawn")
STRATUM = Column("int64", "features", "features of this type in the layer")
DENSITY = Column("float32", "log10", "log10 share of tokens on which it fires", nullable=True)
SAE = Column("string", "1", "SAE, in the order of the study")


def _number(text: str, unit: str = "1") -> Column:
    return Column("float64", unit, text, nullable=True)


_MEAN = "mean over the prompts; null for a feature that never fires on the text"
_ON_T = "null too where the study has no transport"
STEERING = Table(
    "steering",
    {
        "feature": core.FEATURE,
        "direction": Column("string", "1", "feature, or a random direction of the same norm, added as far"),
        "type": TYPE,
        "stratum": STRATUM,
        "log10_density": DENSITY,
        "largest_activation": _number("of the feature on the text; null where it never fires", "activation"),
        "multiple": Column("float64", "1", "what is added: this times the largest activation, times the row"),
        "relative_push": _number(f"length of what is added / of the centred stream there; {_MEAN}"),
        "input_score": _number(
            "Arad et al. 2025: share of the texts whose token of largest activation is among the top tokens "
            "of its weights; null for random directions and fewer than 10 texts"
        ),
        "clean_score": _number(f"the output score with nothing added; {_MEAN}"),
        "output_score": _number(
            f"Arad et al. 2025: (1 - least rank / d_vocab) x largest probability of the top tokens; {_MEAN}"
        ),
        "transported_score": _number(f"the same, of the top tokens of transported weights; {_MEAN}, {_ON_T}"),
        "total_variation": _number(f"between the next token's distributions with it and without; {_MEAN}"),
        "kl": _number(f"of the steered distribution from the clean one; {_MEAN}", "nat"),
        "direct_forecast": _number(
            f"the output score where what is added reaches the final norm as it is; {_MEAN}"
        ),
        "transported_forecast": _number(f"the same, carried there by T; {_MEAN}, {_ON_T}"),
        "output_score_percentile": _number("share of the layer's random directions below; null for these"),
        "total_variation_percentile": _number("share of the layer's random directions below; null for these"),
    },
)


def _interval(name: str, text: str) -> dict[str, Column]:
    """A figure and its 95 % interval."""
    ends = {"": "", "_low": ": 2.5 % of bootstrap over features", "_high": ": 97.5 %"}
    return {f"{name}{end}": _number(f"{text}{note}") for end, note in ends.items()}


_FIRES = "null for a feature that never fires on the text"


def _readings(weights: str, note: str = "") -> dict[str, Column]:
    """How the next token reads under one kind of weights."""
    return {
        weights: _number(
            f"mean percentile of the next token where the feature fires, {weights}; {_FIRES}{note}"
        ),
        f"{weights}_base": _number(f"the same over all sites, its base rate; {_FIRES}{note}"),
        f"{weights}_gain": _number(f"the first less the second; {_FIRES}{note}"),
    }


NEXT_TOKEN = Table(
    "next_token",
    {
        "feature": core.FEATURE,
        "type": TYPE,
        "stratum": STRATUM,
        "log10_density": DENSITY,
        "sites": Column(
            "int64", "positions", "where the feature fires, of those whose next token the view has"
        ),
        **_readings("direct"),
        **_readings("transported", f", {_ON_T}"),
        "difference": _number(f"transported_gain less direct_gain; {_FIRES}, {_ON_T}"),
    },
)
NEXT_TOKEN_SUMMARY = Table(
    "next_token_summary",
    {
        "sae": SAE,
        "features": Column("int64", "features", "that fire on the text"),
        "sites": Column("int64", "positions", "where they fire, all together"),
        **_interval("direct_gain", "percentile of the next token less its base rate, types by their numbers"),
        **_interval("transported_gain", "the same under transported weights"),
        **_interval("difference", "transported less direct, the same features"),
    },
)


def _share(term: str) -> Column:
    text = f"of the change of the logits, {term}; the three add up to 1; mean over sites, {_FIRES}"
    return _number(text)


PATHS = Table(
    "paths",
    {
        "feature": core.FEATURE,
        "direction": Column(
            "string", "1", "feature, or a random direction of the same norm at the same sites"
        ),
        "type": TYPE,
        "stratum": STRATUM,
        "log10_density": DENSITY,
        "sites": Column("int64", "positions", "of the effects, where the feature is active"),
        "alpha": _number(f"what is added: the feature's mean activation when active; {_FIRES}", "activation"),
        "std": _number(
            f"of the change of the logits over the view's tokens; mean over sites, {_FIRES}", "logit"
        ),
        "direct_share": _share("what the row itself makes at the final LayerNorm's scale as it was"),
        "blocks_share": _share("what the blocks between make of it at that scale"),
        "scale_share": _share("what the change of the scale makes"),
        "entropy_change": _number(f"of the next token's distribution; mean over sites, {_FIRES}", "nat"),
        "fixed_scale_entropy_change": _number(f"the same at the scale as it was; {_FIRES}", "nat"),
    },
)
_ZERO = "null for a zero row"


def _confidence(prefix: str, note: str) -> dict[str, Column]:
    """What `fsrl.moments.confidence` has of directions, as they are or transported."""
    return {
        f"{prefix}frequency_slope": _number(
            f"of the logit weights on the log of the token's count{note}; null where counts are unknown",
            "logit per activation and e-fold",
        ),
        f"{prefix}frequency_percentile": _number(
            f"of the slope / norm among isotropic directions{note}; {_ZERO}"
        ),
        f"{prefix}null_space_share": _number(f"share of the row's square in W_U's null space{note}; {_ZERO}"),
        f"{prefix}null_space_percentile": _number(f"of that among isotropic directions{note}; {_ZERO}"),
    }


def _among_spectrum(prefix: str, note: str) -> dict[str, Column]:
    """The same beside directions with the mean spectrum of the layer's decoder along W_U's axes."""
    null = f"among directions of the layer's spectrum{note}; {_ZERO}"
    return {
        f"{prefix}frequency_spectrum_percentile": _number(f"of the slope / norm {null}"),
        f"{prefix}null_space_spectrum_percentile": _number(f"of the share in the null space {null}"),
    }


_MOVED = ", carried by T (null where the study has no transport)"
CONFIDENCE = Table(
    "confidence",
    {
        "feature": core.FEATURE,
        **_confidence("", ""),
        **_confidence("transported_", _MOVED),
        **_among_spectrum("", ""),
        **_among_spectrum("transported_", _MOVED),
    },
)
FORECASTS = Table(
    "steering_forecasts",
    {
        "sae": SAE,
        "direction": Column("string", "1", "what was added: feature, or random directions of the same norms"),
        "weights": Column("string", "1", "direct, or transported through the later blocks"),
        "directions": Column("int64", "directions", "measured: of features that fire on the text"),
        **_interval("spearman", "rank correlation of the forecast with the output score"),
        **_interval("auc", "of the forecast, for an output score above the group's median"),
        **_interval("spearman_gain", "spearman less that of direct weights, the same directions"),
        **_interval(
            "spearman_over_random",
            "spearman less that of the random directions, drawn with the features; null for these",
        ),
        **_interval("score", "mean output score on these weights' own top tokens"),
        **_interval(
            "over_random",
            "chance that a feature's output score on these weights' own top tokens is above a random "
            "direction's; null for random directions",
        ),
    },
)
