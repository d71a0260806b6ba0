"""The headlines about what hangs on choices: thresholds, null draws, how W_U is read, schemes, views (see
`fsrl.numbers.headlines`).
"""

from fsrl.claims.ablation_sums import DRAWS, NULLS, READING, TYPED, alone, over_layers
from fsrl.latex import text as tex
from fsrl.names import BOUNDING, TYPES
from fsrl.numbers.headlines import StudyTables, extremes, headline
from fsrl.numbers.study import key_of, layer_name
from fsrl.tables.sensitivity import BY_CHANCE, Q


@headline("level", "sensitivity")
def level(tables: StudyTables) -> dict[str, str]:
    """Members of each type over all layers as the scheme's level moves: loosest, as in the config,
    strictest; and what the null that gives most over the layers would give.
    """
    frame = tables.frame("sensitivity")
    moved = frame[(frame["scheme"] == tables.scheme) & (frame["column"] == Q)]
    places = {"loosest": moved["factor"].max(), "config": 1.0, "strictest": moved["factor"].min()}
    values: dict[str, str] = {}
    for name, factor in places.items():
        sums = moved[moved["factor"] == factor].groupby("type")[["members", *BY_CHANCE]].sum()
        for label, row in sums.reindex(list(TYPES)).iterrows():
            key = f"{name}.{key_of(str(label))}"
            values[key] = tex.count(row["members"])
            values[f"{key}.expected"] = tex.number(row[BY_CHANCE].max(), digits=1)
    return values


@headline("ablation", "ablations")
def ablation(tables: StudyTables) -> dict[str, str]:
    """Features with a type by the fewest of the null draws (how many parts there are, the least and the most
    over them, and the mean overlap of two), by each null alone (with what chance gives by its bounds), and by
    each reading of W_U (with its overlap with the first).
    """
    found = over_layers(tables.frame("ablations"))
    found = found[found["label"] == TYPED]
    drawn, read = (found[found["ablation"] == name] for name in (DRAWS, READING))
    fewest = drawn[drawn["case"] == drawn["case"].iloc[-1]]
    values = {
        "parts": tex.count(len(fewest)),
        "parts.least": tex.count(int(fewest["features"].min())),
        "parts.most": tex.count(int(fewest["features"].max())),
        "parts.jaccard": tex.number(fewest["jaccard"].mean(), digits=2),
    }
    of_nulls = found[found["ablation"] == NULLS].set_index("case")
    for kind in BOUNDING:
        row = of_nulls.reindex([alone(kind)]).iloc[0]
        values[f"alone.{key_of(kind)}"] = tex.count(row["features"])
        values[f"alone.{key_of(kind)}.expected"] = tex.number(row["expected"], digits=1)
    for name, row in zip(("own", "w-u", "both"), read.itertuples(), strict=True):
        processing, tokens = str(row.case).split(", ")
        values[f"reading.{name}.case"] = f"{processing} $W_U$, {tokens} tokens"
        values[f"reading.{name}"] = tex.count(row.features)
        values[f"reading.{name}.jaccard"] = tex.number(row.jaccard, digits=2)
    return values


@headline("agreement", "agreement")
def agreement(tables: StudyTables) -> dict[str, str]:
    """Cohen's kappa of the primary labels, by layer: between the default scheme and `post`, and of the
    default scheme between the paper's view and the other one that is drawn.
    """
    frame = tables.frame("agreement")
    labels = frame[frame["type"] == "any"]
    ends = labels[["first", "second"]].apply(frozenset, axis=1)
    between = {
        "schemes": labels[(labels["compared"] == "schemes") & (ends == frozenset({"post", tables.scheme}))],
        "views": labels[
            (labels["compared"] == "views")
            & (labels["scheme"] == tables.scheme)
            & (ends == frozenset({tables.view, tables.other_view}))
        ],
    }
    values: dict[str, str] = {}
    for name, part in between.items():
        found = extremes(
            part.set_index("sae")["kappa"], lambda kappa: tex.number(kappa, digits=2), layer_name
        )
        values |= {f"{name}.{key}": value for key, value in found.items()}
    return values


HEADLINES = (level, ablation, agreement)
