"""What each fact about a feature is called and how it is printed: one table for every page that shows it.

The scripts of a page (`assets/page.js`), in a notebook and in the browser, take names, units and forms from
here, so that the same number has the same name and the same digits in both. Needs no Torch. A form is one
of

    number    three significant digits (`fsrl.pages.text.number`)
    q         ten to the power of the value, two digits (`rate`)
    p         the same, however small (`fsrl.pages.text.power`)
    density   ten to the power of the value, as a share of tokens (`density`)
    rank      a share, 0 to 1, as per cent (`rank`)
    count     a whole number
    type, set, text
"""

from dataclasses import dataclass
from typing import Any

from fsrl.figures.style import LOG10, percent
from fsrl.pages.text import ABSENT, is_number, number, plain


@dataclass(frozen=True)
class Fact:
    """key: column of the table that holds it; label, unit: as printed; form: see above; says: what it is."""

    key: str
    label: str
    unit: str = ""
    form: str = "number"
    says: str = ""


# In the logit weights' own unit where none is given.
MOMENTS = (
    Fact("mean", "Mean", says="mean of the logit weights over the vocabulary"),
    Fact("std", "Standard deviation", says="of the logit weights over the vocabulary"),
    Fact("skewness", "Skewness", "0 for a Gaussian", says="third standardised moment"),
    Fact("kurtosis", "Kurtosis", "3 for a Gaussian", says="fourth standardised moment, not excess"),
    Fact("norm", "Norm of the direction", "residual per unit of activation", says="of the decoder's row"),
)
DENSITY = Fact("log10_density", "Fires on", "of tokens", "density", "share of the text's tokens")
SETS = (
    Fact("set", "set", form="set", says="named set of tokens"),
    Fact("side", "side", form="text"),
    Fact("z", "z", says="effect size of the set's mean logit weight"),
    Fact("t", "t", says="alignment with the set beside that of directions like this layer's"),
    Fact("log10_p", "p", form="p", says="of t, two-sided"),
    Fact("log10_q", "q", form="q", says="false discovery rate over all that was tested together"),
)
# Of those sets alone that `scores` holds.
SCORES = (
    Fact("auc", "AUC", says="chance that a member's logit weight is above another token's; .5: none"),
    Fact("es", "running sum", says="signed running-sum score, -1 to 1: an effect size, no test"),
)
EFFECTS = (
    Fact("state", "feature is", form="text", says="active or not, where it was added"),
    Fact(
        "step", "added", form="text", says="in units of the direction; own: its mean activation when active"
    ),
    Fact("positions", "positions", form="count", says="measured, each in another context"),
    Fact("pearson", "correlation", says="of the measured change with the logit weights"),
    Fact(
        "matched",
        "matched control",
        says="the same of a random direction of its norm and cosine with the stream",
    ),
    Fact("spearman", "of ranks", says="rank correlation of the same"),
    Fact("slope", "slope", says="of the change on the weights; 1: direct path only"),
    Fact("overlap", "top ten kept", says="share of the ten most raised tokens among the ten largest weights"),
    Fact("kept", "type kept", says="share of positions where the measured change has the feature's type"),
    Fact("measured_type", "measured type", form="type", says="most frequent type of the measured change"),
)
# The table of a layer's features, in this order where they are known.
TABLE = (
    Fact("feature", "feature", form="count", says="number: its row of the decoder"),
    Fact("type", "type", form="type", says="by the scheme"),
    Fact("evidence", "evidence", says="distance beyond chance; 1: the nulls' 0.999 quantile"),
    Fact("top", "top tokens", form="tokens", says="most promoted first"),
    Fact("skewness", "skewness", says="third standardised moment of the logit weights"),
    Fact("kurtosis", "kurtosis", says="fourth standardised moment, 3 for a Gaussian"),
    Fact("std", "std", says="standard deviation of the logit weights"),
    Fact("mean", "mean", says="mean of the logit weights"),
    Fact("norm", "norm", says="length of the direction"),
    Fact("tail_tokens", "right tail", says="how many tokens make the right tail; none: it is no tail"),
    Fact("left_tail_tokens", "left tail", says="how many tokens make the left tail; none: it is no tail"),
    Fact("log10_density", "fires on", form="density", says="share of the text's tokens"),
    Fact("promoted", "promotes", form="set", says="the set of smallest p among those promoted"),
    Fact("promoted_log10_q", "q", form="q", says="of the promoted set"),
    Fact("suppressed", "suppresses", form="set", says="the set of smallest p among those suppressed"),
    Fact("suppressed_log10_q", "q", form="q", says="of the suppressed set"),
    Fact("effect", "effect", says="correlation of the measured change with the logit weights, active, +1"),
    Fact("explanation", "explanation", form="text", says="in words"),
)
SECTIONS = {
    "explanations": "Explanations",
    "histogram": "Logit weights",
    "moments": "Moments of the logit weights",
    "top": "Most promoted tokens",
    "bottom": "Most suppressed tokens",
    "sets": "Enriched token sets",
    "effects": "Measured effects",
    "near": "Nearest features of this layer",
    "same": "The same direction at other layers",
    "examples": "Top activating examples",
    "notes": "Notes",
}
SETS_NOTE = (
    "z: effect size of the set's mean logit weight. t: alignment with the set beside that of directions like "
    "this layer's; p: of t, two-sided; q: false discovery rate over all features and sets that were tested "
    "together, where it is at hand."
)


def density(log10: float | None, *, alive: bool) -> tuple[str, str]:
    """How often a feature fires, and the line below: its logarithm, or that nothing is known."""
    if log10 is None or not is_number(log10):
        return ABSENT, "density unknown"
    return percent(10**log10) if alive else "dead", f"{DENSITY.unit}; {LOG10} {number(log10)}"


def rate(log10_q: float | None) -> str:
    """A false discovery rate, of which the logarithm is given."""
    return number(None if log10_q is None or not is_number(log10_q) else 10**log10_q, 2)


def explanation(description: str | None, model: str | None, kind: str | None) -> tuple[str, str]:
    """An explanation, and who made it how, as far as it is said."""
    by = [plain(part) for part in (model, kind) if part]
    return plain(description or "") or "(empty)", " \u00b7 ".join(by) or "author not stated"


def as_records(facts: tuple[Fact, ...]) -> list[dict[str, Any]]:
    """The facts as plain dictionaries, for a page that a script prints."""
    return [dict(vars(fact)) for fact in facts]
