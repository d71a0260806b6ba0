"""The tables that say what the choice of thresholds, scheme, tokens and layer decides. See `fsrl.tables`."""

from fsrl.names import BOUNDING
from fsrl.tables.core import SAE, SCHEME, TYPE, Column, Table

# In place of a column: the rows of a scheme of tails in which its level, or that of its spikes, is moved, and
# those with fewer draws.
Q, SPIKE_Q, DRAWS = "q", "q of spikes", "null draws"
# What chance gives, of each bounding kind of null by itself: sums over types and layers are of one kind, and
# only of these sums the largest is taken.
BY_CHANCE = [f"expected_{kind}" for kind in BOUNDING]
SENSITIVITY = Table(
    "sensitivity",
    {
        "sae": SAE,
        "scheme": SCHEME,
        "type": TYPE,
        "column": Column(
            "string",
            "1",
            f"column whose bound is moved; {Q}: every tail's but the eighth moments'; {SPIKE_Q}: theirs; "
            f"{DRAWS}: how many set the bounds",
        ),
        "word": Column("string", "1", "min (>=), above (>), max (<=) or below (<)", nullable=True),
        "bound": Column("string", "1", "the bound as the config writes it", nullable=True),
        "factor": Column(
            "float64", "1", "by which the share beyond a quantile, or the number, is multiplied"
        ),
        "value": Column("float64", "1", "the moved bound: a quantile 0 to 1, or a number"),
        "threshold": Column("float64", "as the column", "what it comes to in this layer", nullable=True),
        "features": Column("int64", "features", "with this primary label"),
        "members": Column("int64", "features", "that meet the type's rule"),
        **{
            f"expected_{kind}": Column(
                "float64",
                "features",
                f"members that fresh {kind} directions give by the moved bounds; null: none drawn",
                nullable=True,
            )
            for kind in BOUNDING
        },
        "jaccard": Column(
            "float64",
            "1",
            "members shared with the config's rule / members of either; null: none",
            nullable=True,
        ),
        "significant_share": Column(
            "float64",
            "1",
            "share of the members with a significant token set; null: no member",
            nullable=True,
        ),
    },
)
AGREEMENT = Table(
    "agreement",
    {
        "sae": SAE,
        "compared": Column("string", "1", "schemes (in one view), or views (under one scheme)"),
        "first": Column("string", "1", "scheme or view"),
        "second": Column("string", "1", "scheme or view"),
        "scheme": Column("string", "1", "the scheme under which views are compared", nullable=True),
        "type": Column("string", "1", "features that meet its rule are compared; any: the primary labels"),
        "n_first": Column("int64", "features", "members under the first; any: with a type", nullable=False),
        "n_second": Column("int64", "features", "members under the second; any: with a type"),
        "both": Column("int64", "features", "members under both; any: with the same type"),
        "jaccard": Column("float64", "1", "both / either; null where there is none", nullable=True),
        "kappa": Column(
            "float64", "1", "Cohen's: 1 agree, 0 as by chance; null where nothing varies", nullable=True
        ),
    },
)
STABILITY = Table(
    "stability",
    {
        "scheme": SCHEME,
        "type": TYPE,
        "layers": Column("int64", "SAEs", "of the study"),
        "mean_share": Column("float64", "1", "of features that meet the rule, mean over the layers"),
        "sd_share": Column("float64", "1", "its standard deviation over the layers", nullable=True),
        "min_share": Column("float64", "1", "in the layer that has fewest"),
        "max_share": Column("float64", "1", "in the layer that has most"),
        "layers_above_chance": Column(
            "int64",
            "SAEs",
            "with more features of this label than one, and than the 0.999 quantile of what chance gives at "
            "the layer's bounds",
        ),
    },
)
ABLATIONS = Table(
    "ablations",
    {
        "sae": SAE,
        "ablation": Column(
            "string",
            "1",
            "draws (of the nulls that bound the types), nulls (one of them alone), reading (of W_U)",
        ),
        "case": Column(
            "string",
            "1",
            "as is: the study's own draws; N parts: all draws dealt into N; KIND alone: its own draws of one "
            "kind; or processing and tokens of W_U",
        ),
        "part": Column("int64", "1", "which part of the draws; 0 where there is one"),
        **{
            f"draws_{kind}": Column("int64", "1", f"{kind} directions that bound the types")
            for kind in BOUNDING
        },
        "label": Column(
            "string", "1", "a type, as primary label; typed: any; evident: evidence above 1 in some tail"
        ),
        "features": Column("int64", "features", "with this label"),
        **{
            f"expected_{kind}": Column(
                "float64",
                "features",
                f"that fresh {kind} directions give by the layer's bounds; null for evidence, or none drawn",
                nullable=True,
            )
            for kind in BOUNDING
        },
        "other": Column(
            "int64",
            "features",
            "with this label by the next part, by all kinds of null, or in the view's own reading",
        ),
        "both": Column("int64", "features", "with this label in both"),
    },
)
