"""LaTeX tables of the types: how many, beside what chance gives; how they overlap; the best examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fsrl.explanations import local as explanations
from fsrl.hooks import hook_label
from fsrl.latex import text as tex
from fsrl.latex.table import Column, count_column, tabular
from fsrl.names import KINDS, TYPES, type_label
from fsrl.types.select import OFTEN, by_evidence, chance_by_kind, of_scheme, scheme_counts, typed

PER_TYPE = 3
TOP, BOTTOM = 5, 4  # tokens of each side that an exemplar lists
TOKEN_WIDTH = 14  # characters
EXPLANATION_WIDTH = 130  # characters, four lines of the column


def types_by_layer(
    counts: Mapping[str, pd.DataFrame],
    types: Mapping[str, pd.DataFrame],
    null_counts: Mapping[str, pd.DataFrame],
    scheme: str,
) -> str:
    """For each layer and type the features with that label, the count's interval and what chance gives.

    Chance: as many fresh null directions by the layer's own bounds, of the bounding kinds the most. Over all
    layers counts are summed, and so is each kind's chance, of which the most stands; no interval of the sum.

    counts: SAE id -> table `type_counts`; types: SAE id -> table `types`, for the features that meet the
    rules of several types; null_counts: SAE id -> table `type_null_counts`; scheme: the scheme whose types
    are counted.
    """
    tables = {sae: scheme_counts(frame, scheme) for sae, frame in counts.items()}
    names = [name for name in TYPES if name in next(iter(tables.values())).index]
    sums = chance_by_kind(list(null_counts.values()), scheme)
    total = [int(frame["features"].sum()) for frame in tables.values()]
    total.append(sum(total))
    columns = [Column("Hook", [*_layers(counts), "all"]), count_column("$n$", total)]
    for name in names:
        rows = pd.DataFrame([frame.loc[name] for frame in tables.values()])
        features = [*rows["features"].astype(int), int(rows["features"].sum())]
        chance = [*rows["expected_at_bounds"], sums.loc[name].max()]
        spans = [
            tex.interval(low, high, digits=0) for low, high in zip(rows["low"], rows["high"], strict=True)
        ]
        columns += [
            count_column("$n$", features),
            Column("", [*spans, ""], near=True),
            Column("chance", [tex.number(value, digits=1, bare=True) for value in chance], "S"),
        ]
    unclassified = [int(frame.loc["unclassified", "features"]) for frame in tables.values()]
    several = [_several(frame, scheme, names) for frame in types.values()]
    columns += [
        count_column("none", [*unclassified, sum(unclassified)]),
        count_column("$\\geq 2$", [*several, sum(several)]),
    ]
    groups = [("", 2), *((type_label(name), 3) for name in names), ("", 2)]
    return tabular(columns, groups=groups, rules=[len(counts)], size="scriptsize", tabcolsep=2)


def _layers(frames: Mapping[str, object]) -> list[str]:
    return [tex.escape(hook_label(sae)) for sae in frames]


def _several(types: pd.DataFrame, scheme: str, names: list[str]) -> int:
    rows = of_scheme(types, scheme, "types")
    return int((rows[names].sum(axis=1) > 1).sum())


def type_overlap(types: Mapping[str, pd.DataFrame]) -> str:
    """Features of all layers that meet a type's rule, that have it as label, and that meet another's as well.

    types: SAE id -> table `types`, with every scheme. A type that a scheme does not have is left out.
    """
    frame = pd.concat(types.values(), ignore_index=True)
    rows: list[tuple[Any, ...]] = []
    headings = {}
    for scheme, part in frame.groupby("scheme", sort=False):
        headings[len(rows)] = rf"\emph{{Scheme}} \texttt{{{tex.escape(str(scheme))}}}"
        names = [name for name in TYPES if part[name].any() or (part["type"] == name).any()]
        for name in names:
            members = part[part[name]]
            also = [members[other].sum() if other in names and other != name else None for other in TYPES]
            rows.append((rf"\quad {type_label(name)}", len(members), (part["type"] == name).sum(), *also))
        if not names:
            rows.append((r"\quad no feature meets a rule", *[None] * (2 + len(TYPES))))
    labels, *figures = zip(*rows, strict=True)
    heads = ["meet the rule", "so labelled", *map(type_label, TYPES)]
    columns = [Column("Type", labels)]
    for head, cells in zip(heads, figures, strict=True):
        columns.append(Column(head, [tex.count(value, bare=True) for value in cells], "S"))
    groups = [("", 3), ("of the former also meet the rule of", len(TYPES))]
    return tabular(columns, groups=groups, headings=headings, tabcolsep=5)


def tail_calibration(layers: Mapping[str, pd.DataFrame]) -> str:
    """How often fresh directions of each kind have a p of at most some levels, over the level: 1 as promised.

    layers: SAE id -> table `tail_calibration`. Directions of all layers are counted together; those that the
    layers share, the isotropic ones, count in each, which leaves their share what it is.
    """
    sums = pd.concat(layers.values()).groupby(["kind", "tail", "level"], sort=False)
    counts = sums[["beyond", "draws"]].sum()
    ratios = (counts["beyond"] / counts["draws"] / counts.index.get_level_values("level")).unstack("level")
    ratios = ratios[sorted(ratios, reverse=True)]
    rows: list[tuple[str, ...]] = []
    headings = {}
    for kind, part in ratios.groupby(level="kind", sort=False):
        said = tex.escape(KINDS[str(kind)]).replace(r"W\_U", "$W_U$")
        headings[len(rows)] = rf"\emph{{{said}}}"
        for (_, tail), values in part.iterrows():
            label = rf"\quad {type_label(str(tail))}"
            rows.append((label, *(tex.number(value, digits=2, bare=True) for value in values)))
    names, *cells = zip(*rows, strict=True)
    heads = [rf"$p \leq {level:g}$" for level in ratios]
    columns = [Column("Tail", names), *(Column(head, of, "S") for head, of in zip(heads, cells, strict=True))]
    return tabular(columns, headings=headings, tabcolsep=5)


@dataclass(frozen=True, eq=False)
class ExemplarLayer:
    """One layer's tables `moments`, `types` and `extremes`; explanations: columns feature and description."""

    moments: pd.DataFrame
    types: pd.DataFrame
    extremes: pd.DataFrame
    explanations: pd.DataFrame | None = None


def best_exemplars(
    layers: Mapping[str, ExemplarLayer], scheme: str, per_type: int = PER_TYPE
) -> pd.DataFrame:
    """The rows of `moments` with sae, type and evidence of each type's exemplars, in the order of the types.

    Of each layer first the feature that `fsrl.types.select.by_evidence` puts first, those in that order; then
    the second of each layer, and so on. Features that fire on a tenth of the tokens or more come last of all;
    equals go to the earlier layer and the lower feature.
    """
    labelled = pd.concat(
        [typed(layer.moments, layer.types, scheme).assign(sae=sae) for sae, layer in layers.items()],
        ignore_index=True,
    )
    labelled["layer_order"] = labelled["sae"].map({sae: i for i, sae in enumerate(layers)})
    parts = []
    for name in TYPES:
        rows = by_evidence(labelled[labelled["type"] == name].sort_values("layer_order", kind="stable"))
        turn = rows.groupby("sae").cumcount()
        order = ["often", "turn", "evidence", "layer_order"]
        often = rows["log10_density"].astype("float64") >= OFTEN
        rows = rows.assign(turn=turn, often=often)
        rows = rows.sort_values(order, ascending=[True, True, False, True], kind="stable")
        parts.append(rows.head(per_type))
    return pd.concat(parts, ignore_index=True)


def exemplars(layers: Mapping[str, ExemplarLayer], scheme: str) -> str:
    """The clearest features of each type: moments, top and bottom tokens, explanation where known."""
    rows: list[tuple[str, ...]] = []
    headings = {}
    chosen = best_exemplars(layers, scheme)
    for name, part in chosen.groupby("type", sort=False):
        headings[len(rows)] = rf"\emph{{{type_label(str(name))}}}"
        for row in part.to_dict("records"):
            rows.append(_exemplar(row, layers[row["sae"]]))
    if not rows:
        return r"No feature has a type under this scheme." + "\n"
    layer, feature, std, skewness, kurtosis, top, bottom = zip(*rows, strict=True)
    columns = [
        Column("Hook", layer),
        Column("Feature", feature, "r"),
        Column("Std/norm", std, "S"),
        Column("Skew", skewness, "S"),
        Column("Kurt", kurtosis, "S"),
        Column("Top tokens, most promoted first", top, "56mm"),
        Column("Bottom tokens", bottom, "39mm"),
    ]
    return tabular(columns, headings=headings)


def _exemplar(row: dict, layer: ExemplarLayer) -> tuple[str, ...]:
    tokens = layer.extremes[layer.extremes["feature"] == row["feature"]].sort_values("rank")
    sides = [
        [
            tex.token(text, limit=TOKEN_WIDTH)
            for text in tokens.loc[tokens["side"] == side, "token"].head(number)
        ]
        for side, number in (("top", TOP), ("bottom", BOTTOM))
    ]
    shown = [r"\hspace{0.9em}".join(rf"\mbox{{{token}}}" for token in side) for side in sides]
    if (said := _explanation(layer, row["feature"])) is not None:
        shown[0] += rf"\newline \emph{{{said}}}"
    figures = [
        tex.number(row["std"] / row["norm"], digits=3, bare=True),
        tex.number(row["skewness"], digits=2, bare=True),
        tex.number(row["kurtosis"], digits=2, bare=True),
    ]
    return (rf"\quad {tex.escape(hook_label(row['sae']))}", str(row["feature"]), *figures, *shown)


def _explanation(layer: ExemplarLayer, feature: int) -> str | None:
    """A feature's shortest explanation that says more than which tokens are extreme; None without one."""
    if layer.explanations is None:
        return None
    known = layer.explanations
    texts = known.loc[known["feature"] == feature, "description"].dropna()
    telling = [text for text in texts if not text.startswith(explanations.NOTHING)]
    if not telling:
        return None
    return tex.shortened(min(telling, key=lambda text: (len(text), text)), EXPLANATION_WIDTH)
