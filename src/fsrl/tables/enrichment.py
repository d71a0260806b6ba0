"""The tables of token sets and their enrichment: what they hold, and how the large ones are read.

Sets that are too small to test in a view (see `fsrl.enrichment.statistics.testable`) are in the tables of
token sets and in no other. Where the tokens' counts are unknown, there are no strata and the columns
*_stratified are null.
"""

from collections.abc import Mapping

from fsrl.tables.core import FEATURE, LABELLED, SAE, TOKEN_ID, Column, Table

SET = Column("string", "1", "name of the token set, see token_set_list.tsv")
_Q = "log10 of Benjamini and Hochberg's q over all features and sets of the study in this view"


def _statistic(unit: str, description: str) -> Column:
    return Column("float32", unit, description, nullable=True)


ENRICHMENT = Table(
    "enrichment",
    {
        "feature": FEATURE,
        "set": SET,
        "z": _statistic(
            "1", "textbook z of the set's mean logit weight: an effect size, its p means nothing"
        ),
        "eta2": _statistic("1", "share of the variance of the logit weights between the set and the rest"),
        "t": _statistic(
            "1", "alignment with the set, Student's for Gaussian rows only: an effect size, see log10_p"
        ),
        "log10_p": _statistic("log10", "two-sided p of t, from a null of the row's own"),
        "t_stratified": _statistic("1", "t against tokens of the same frequency; null without counts"),
        "log10_p_stratified": _statistic("log10", "two-sided p of t_stratified, from the same null"),
    },
)
BEST_SETS = Table(
    "best_sets",
    {
        "feature": FEATURE,
        "cluster": Column("int32", "1", "features of this layer with similar decoder rows share a number"),
        "promoted": Column("string", "1", "set of smallest p among those with t > 0", nullable=True),
        "promoted_log10_p": _statistic("log10", "its two-sided p"),
        "promoted_log10_q": _statistic("log10", _Q),
        "promoted_eta2": _statistic("1", "its share of the variance of the logit weights"),
        "suppressed": Column("string", "1", "set of smallest p among those with t < 0", nullable=True),
        "suppressed_log10_p": _statistic("log10", "its two-sided p"),
        "suppressed_log10_q": _statistic("log10", _Q),
        "suppressed_eta2": _statistic("1", "its share of the variance of the logit weights"),
        "n_promoted": Column("int32", "sets", "promoted sets that are significant"),
        "n_suppressed": Column("int32", "sets", "suppressed sets that are significant"),
    },
)
SCORES = Table(
    "scores",
    {
        "feature": FEATURE,
        "set": SET,
        "auc": Column("float32", "1", "chance that a member's logit weight is above another token's"),
        "es": Column("float32", "1", "signed running-sum score, -1 to 1: an effect size, no test"),
    },
)
_COUNT_NONE = Column("int64", "features", "features without a type")
_INTERVAL = Column(
    "float64",
    "1",
    "95 % interval, bootstrapped over clusters; null where none or all of one side is significant",
    nullable=True,
)
ODDS_RATIOS = Table(
    "odds_ratios",
    {
        "type": Column("string", "1", "primary label under the default scheme"),
        "side": Column("string", "1", "promoted (t > 0) or suppressed (t < 0)"),
        "set": SET,
        "n_type": LABELLED,
        "n_unclassified": _COUNT_NONE,
        "k_type": Column("int64", "features", "of the type, for which the set is significant"),
        "k_unclassified": Column("int64", "features", "without a type, for which it is significant"),
        "clusters": Column("int64", "clusters", "of similar decoder rows that hold a feature of the type"),
        "odds_ratio": Column(
            "float64",
            "1",
            "with 1 / (features) added to each group's shares; null where none or all is significant",
            nullable=True,
        ),
        "low": _INTERVAL,
        "high": _INTERVAL,
    },
)
SPLITS = Table(
    "splits",
    {
        "type": Column("string", "1", "primary label under the default scheme"),
        "feature": FEATURE,
        "set": SET,
        "side": Column("string", "1", "promoted or suppressed"),
        "log10_q": Column("float64", "log10", "of the set, see best_sets"),
        "eta2": Column("float64", "1", "share of the variance of the logit weights that the set explains"),
        "low": Column("float64", "logit per activation", "lowest logit weight, where the first bin begins"),
        "high": Column("float64", "logit per activation", "highest logit weight, where the last bin ends"),
        "inside": Column("list<int64>", "tokens", "of the set, in equal bins from low to high"),
        "outside": Column("list<int64>", "tokens", "of all others, in the same bins"),
        "mean_inside": Column("float64", "logit per activation", "mean logit weight of the set's tokens"),
        "mean_outside": Column("float64", "logit per activation", "mean logit weight of all others"),
        "tokens": Column("list<string>", "1", "the set's most extreme tokens on this side, as stored"),
    },
)
NULL_P_VALUES = Table(
    "null_p_values",
    {
        "sae": SAE,
        "kind": Column(
            "string",
            "1",
            "shuffled: real rows, the sets' tokens shuffled; turned: real sets, the rows rotated",
        ),
        "feature": FEATURE,
        "set": Column("string", "1", "name of the token set"),
        "log10_p": Column(
            "float64",
            "log10",
            "two-sided p of t, from a null of the row's own; of turned rows a lower bound where it is large",
            nullable=True,
        ),
        "log10_p_t": Column("float64", "log10", "two-sided p if t were Student's", nullable=True),
        "log10_p_z": Column("float64", "log10", "two-sided p of the textbook z", nullable=True),
    },
)
NULL_DISCOVERIES = Table(
    "null_discoveries",
    {
        "sae": SAE,
        "kind": Column("string", "1", "shuffled, random or turned, see fsrl.enrichment.calibration"),
        "tokens": Column("int64", "tokens", "of each random set; null for the other kinds", nullable=True),
        "repetition": Column("int32", "1", "from 0 on"),
        "tests": Column("int64", "pairs", "features times sets that have a p"),
        "own": Column("int64", "pairs", "called by Benjamini and Hochberg, p from a null of the row's own"),
        "student": Column("int64", "pairs", "called by Benjamini and Hochberg, if t were Student's"),
        "beyond_cut": Column("int64", "pairs", "whose own p is significant among the study's real tests"),
        "level": Column("float64", "1", "false discovery rate that is accepted"),
    },
)
NULL_LEVEL = Table(
    "null_level",
    {
        "sae": Column("string", "1", "SAE; null: all of the study", nullable=True),
        "kind": Column("string", "1", "see null_discoveries"),
        "tokens": Column("int64", "tokens", "of each random set; null for the other kinds", nullable=True),
        "repetitions": Column("int64", "repetitions", "in each of which every discovery is false"),
        "wrong": Column("int64", "repetitions", "with a discovery, p from a null of the row's own"),
        "wrong_student": Column("int64", "repetitions", "with a discovery, if t were Student's"),
        "most": Column(
            "int64",
            "repetitions",
            "with a discovery that chance allows: 0.99 quantile of the binomial distribution at the level",
        ),
        "kept": Column("bool", "1", "wrong is at most that"),
        "level": Column("float64", "1", "share of repetitions with a discovery that is accepted"),
    },
)
SET_COVERAGE = Table(
    "set_coverage",
    {
        "sae": SAE,
        "set": Column("string", "1", "name of the token set; null: any of them", nullable=True),
        "type": Column("string", "1", "primary label under the default scheme"),
        "features": Column("int64", "features", "of this label that significantly promote or suppress it"),
        "significant": Column("int64", "features", "of any label that do"),
        "share": Column("float64", "1", "features / significant; null where none do", nullable=True),
    },
)
DISCOVERIES = Table(
    "discoveries",
    {
        "sae": SAE,
        "sets": Column("int64", "sets", "sets that were tested"),
        "tests": Column("int64", "pairs", "features times sets that have a p"),
        "promoted": Column("int64", "pairs", "significant with t > 0"),
        "suppressed": Column("int64", "pairs", "significant with t < 0"),
        "features": Column("int64", "features", "with a significant set"),
        "shuffled": Column("float64", "pairs", "as significant with shuffled tokens: mean of repetitions"),
        "turned": Column("float64", "pairs", "as significant with turned decoders: mean of repetitions"),
        "stratified": Column(
            "int64", "pairs", "significant within strata of frequency (q of its own)", nullable=True
        ),
        "log10_p_cut": Column(
            "float64",
            "log10",
            "largest p of the study and view that is significant; null where none is",
            nullable=True,
        ),
        "level": Column("float64", "1", "false discovery rate that is accepted"),
    },
)


def token_sets_table(definitions: Mapping[str, str]) -> Table:
    """The table `token_sets`: token_id, then one bool column per set; definitions: set -> in words."""
    columns = {name: Column("bool", "1", definition) for name, definition in definitions.items()}
    return Table("token_sets", {"token_id": TOKEN_ID, **columns})
